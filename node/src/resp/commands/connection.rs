//! Commands about the connection itself.

use tercet_edge::seldom::Seldom;
use tercet_edge::token;
use tercet_proto::resp::{Encoder, Version};

use super::{client, number};
use crate::ids::Epoch;
use crate::limits;
use crate::resp::acl::Context;
use crate::resp::error::Error;
use crate::resp::frame::{self, Meeting, Side};
use crate::resp::session::{Caller, Home, Session};
use crate::resp::table::flag::{AT_ONCE, FAST, LOADING, NO_AUTH, NO_SCRIPT, NOT_IN_MULTI, WHILE_SUBSCRIBED};
use crate::resp::table::{Args, Command, Group, Outcome, container, session};

const G: Group = Group::Connection;

pub(super) const ROWS: &[Command] = &[
    session("ping", -1, FAST | LOADING | WHILE_SUBSCRIBED, G, "Returns the server's liveliness response.", ping),
    session("echo", 2, FAST | LOADING, G, "Returns the given string.", echo),
    session("auth", -2, FAST | LOADING | NO_AUTH | NO_SCRIPT, G, "Authenticates the connection.", auth),
    session("hello", -1, FAST | LOADING | NO_AUTH | NO_SCRIPT, G, "Handshakes with the server.", hello),
    session("select", 2, FAST | LOADING, G, "Changes the selected database.", select),
    session(
        "quit",
        -1,
        FAST | LOADING | NO_AUTH | AT_ONCE | NO_SCRIPT | WHILE_SUBSCRIBED,
        G,
        "Closes the connection.",
        quit,
    ),
    session(
        "reset",
        1,
        FAST | LOADING | NO_AUTH | AT_ONCE | NO_SCRIPT | WHILE_SUBSCRIBED,
        G,
        "Resets the connection.",
        reset,
    ),
    container("client", G, "A container for client connection commands.", client::ROWS),
    session(
        frame::COMMAND,
        -2,
        FAST | LOADING | NO_AUTH | NOT_IN_MULTI | NO_SCRIPT,
        G,
        "Continues the session of a client that another node carries here.",
        carry,
    ),
    session(
        "readonly",
        1,
        FAST | LOADING,
        G,
        "Enables read-only queries for a Redis Cluster replica node.",
        no_cluster,
    ),
    session(
        "readwrite",
        1,
        FAST | LOADING,
        G,
        "Enables read-write queries for a Redis Cluster replica node.",
        no_cluster,
    ),
];

fn ping(session: &mut Session, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    match args {
        // As one of the messages that the client reads.
        [_] | [_, _] if session.is_subscriber() => {
            out.array(2);
            out.bulk(b"pong");
            out.bulk(args.get(1).copied().unwrap_or_default());
        }
        [_] => out.raw(b"+PONG\r\n"),
        [_, text] => out.bulk(text),
        _ => return Err(Error::Arity("ping".into())),
    }
    Ok(())
}

fn echo(_: &mut Session, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    out.bulk(args[1]);
    Ok(())
}

pub(super) fn no_cluster(_: &mut Session, _: &Args<'_>, _: &mut Encoder<'_>) -> Outcome {
    Err(Error::text("ERR This instance has cluster support disabled"))
}

fn auth(session: &mut Session, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let (user, password) = match args {
        [_, password] => {
            if session.node.is_open_to_resp() == Some(true) {
                return Err(Error::text(
                    "ERR AUTH <password> called without any password configured for the default user. \
                     Are you sure your configuration is correct?",
                ));
            }
            (b"default".as_slice(), *password)
        }
        [_, user, password] => (*user, *password),
        _ => return Err(Error::Syntax),
    };
    authenticate(session, user, password)?;
    out.ok();
    Ok(())
}

fn authenticate(session: &mut Session, user: &[u8], password: &[u8]) -> Outcome {
    let directory = session.node.engine.accounts.directory();
    if let Err(refused) = directory.check_resp(session.node.requirepass(), user, password) {
        static WRONG: Seldom = Seldom::new();
        let address = session.client.address;
        if let Some(left_out) = WRONG.due() {
            tracing::warn!(client = session.client.id, %address, %refused, left_out, "AUTH refused");
        }
        session.penalty = Some(session.node.logins.wrong(address.ip()));
        let name = String::from_utf8_lossy(user).into_owned();
        session.note_refusal("auth", b"AUTH".to_vec(), &name, Context::TopLevel);
        return Err(Error::WrongPassword);
    }
    session.is_authenticated = true;
    session.become_user(&String::from_utf8_lossy(user));
    Ok(())
}

fn hello(session: &mut Session, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let mut version = session.version;
    if let Some(text) = args.get(1) {
        let number =
            number::parse_integer(text).ok_or(Error::text("ERR Protocol version is not an integer or out of range"))?;
        version = match number {
            2 => Version::Resp2,
            3 => Version::Resp3,
            _ => return Err(Error::text("NOPROTO unsupported protocol version")),
        };
    }
    // In their order, as Redis does: what stands before a mistake has happened.
    let mut rest = args.iter().skip(2);
    while let Some(option) = rest.next() {
        if option.eq_ignore_ascii_case(b"auth") {
            let (Some(user), Some(password)) = (rest.next(), rest.next()) else { return Err(hello_syntax(option)) };
            authenticate(session, user, password)?;
        } else if option.eq_ignore_ascii_case(b"setname") {
            client::set_name(session, rest.next().ok_or_else(|| hello_syntax(option))?)?;
        } else {
            return Err(hello_syntax(option));
        }
    }
    if !session.is_authenticated {
        return Err(Error::text(
            "NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO <proto> AUTH \
             <user> <pass> option can be used to authenticate the client and select the RESP protocol version at the \
             same time",
        ));
    }
    session.version = version;
    session.client.about.lock().resp = if version == Version::Resp3 { 3 } else { 2 };
    // The answer comes in the version that was just chosen; the encoder still has the old one.
    let mut text = Vec::new();
    let mut reply = Encoder::new(&mut text, version);
    reply.map(7);
    for (key, value) in [("server", "redis"), ("version", super::server::REDIS_VERSION)] {
        reply.bulk(key.as_bytes());
        reply.bulk(value.as_bytes());
    }
    reply.bulk(b"proto");
    reply.integer(if version == Version::Resp3 { 3 } else { 2 });
    reply.bulk(b"id");
    reply.integer(session.client.id as i64);
    reply.bulk(b"mode");
    reply.bulk(b"standalone");
    reply.bulk(b"role");
    reply.bulk(super::server::role_name(&session.node).as_bytes());
    reply.bulk(b"modules");
    reply.array(0);
    out.raw(&text);
    Ok(())
}

fn hello_syntax(option: &[u8]) -> Error {
    Error::text(format!("ERR Syntax error in HELLO option '{}'", String::from_utf8_lossy(option)))
}

fn select(session: &mut Session, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let index = number::small(args[1])?;
    let index = u8::try_from(index).ok().filter(|index| *index < limits::DATABASES).ok_or(Error::DatabaseIndex)?;
    session.database = index;
    session.client.about.lock().database = index;
    out.ok();
    Ok(())
}

fn quit(session: &mut Session, _: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    session.is_closing = true;
    out.ok();
    Ok(())
}

fn reset(session: &mut Session, _: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    session.reset();
    out.simple("RESET");
    Ok(())
}

/// `tercet.carry epoch what bytes`, from another node: an announcement, its proof, and then the session. See `frame.rs`.
fn carry(session: &mut Session, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    // Nothing that follows is executed by a session that is not the client's.
    session.is_closing = true;
    let [_, epoch, what, bytes] = args else { return Err(Error::Syntax) };
    let epoch = Epoch(u64::try_from(number::integer(epoch)?).map_err(|_| Error::Syntax)?);
    match (*what, session.home) {
        (b"hello", Home::Anywhere | Home::Master) => {
            let caller = token::from_hex(bytes).ok_or(Error::Syntax)?;
            let meeting = Meeting { caller, master: token::nonce(), epoch };
            session.home = Home::Announced(meeting, Caller::Unknown);
            out.simple(&meeting.welcome(&session.node.config));
        }
        (b"proof", Home::Announced(meeting, Caller::Unknown)) => {
            let proof: token::Proof = token::from_hex(bytes).ok_or(Error::Syntax)?;
            let known = meeting.prove(Side::Caller, &session.node.config);
            if !known.is_some_and(|known| token::is_equal(&known, &proof)) {
                static STRANGER: Seldom = Seldom::new();
                if let Some(left_out) = STRANGER.due() {
                    let address = session.client.address;
                    tracing::warn!(%address, left_out, "who carries a client has another cluster token or password");
                }
                return Err(Error::NotAuthenticated);
            }
            session.home = Home::Announced(meeting, Caller::Proven);
            out.raw(frame::PROVEN);
        }
        (b"session", Home::Announced(meeting, caller)) if meeting.epoch == epoch => {
            if session.node.config.cluster_token.is_some() && caller == Caller::Unknown {
                return Err(Error::NotAuthenticated);
            }
            // Nobody gains rights by saying who the client is: a node of this cluster may, or who could do anything anyway.
            let is_trusted = session.is_authenticated && session.is_unrestricted();
            let was_authenticated = session.unpack(bytes).map_err(|error| Error::text(format!("ERR {error}")))?;
            let is_another = session.user != crate::accounts::INITIAL_RESP_USER;
            let is_allowed = session.is_authenticated && (!is_another || is_trusted);
            if was_authenticated && !is_allowed && caller == Caller::Unknown {
                return Err(Error::NotAuthenticated);
            }
            session.is_authenticated = was_authenticated;
            session.home = Home::Carried(epoch);
            out.raw(frame::ACCEPTED);
        }
        _ => return Err(Error::Syntax),
    }
    session.is_closing = false;
    Ok(())
}
