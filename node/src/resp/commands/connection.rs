//! Commands about the connection itself.

use sha2::{Digest, Sha256};
use tercet_proto::resp::{Encoder, Version};

use super::number;
use crate::clients::{Client, Protocol};
use crate::clock;
use crate::ids::Epoch;
use crate::limits;
use crate::resp::error::Error;
use crate::resp::frame;
use crate::resp::session::{Home, Session};
use crate::resp::table::flag::{FAST, LOADING, NO_AUTH, NOT_IN_MULTI};
use crate::resp::table::{Args, Group, Outcome, Row, session};

const G: Group = Group::Connection;

pub(super) const ROWS: &[Row] = &[
    session("ping", -1, FAST | LOADING, G, "Returns the server's liveliness response.", ping),
    session("echo", 2, FAST | LOADING, G, "Returns the given string.", echo),
    session("auth", -2, FAST | LOADING | NO_AUTH, G, "Authenticates the connection.", auth),
    session("hello", -1, FAST | LOADING | NO_AUTH, G, "Handshakes with the server.", hello),
    session("select", 2, FAST | LOADING, G, "Changes the selected database.", select),
    session("quit", -1, FAST | LOADING | NO_AUTH, G, "Closes the connection.", quit),
    session("reset", 1, FAST | LOADING | NO_AUTH | NOT_IN_MULTI, G, "Resets the connection.", reset),
    session("client", -2, LOADING, G, "A container for client connection commands.", client),
    session(
        frame::COMMAND,
        -2,
        FAST | LOADING | NO_AUTH | NOT_IN_MULTI,
        G,
        "Continues the session of a client that another node carries here.",
        carry,
    ),
    session("readonly", 1, FAST | LOADING, G, "Enables read-only queries for a connection.", accepted),
    session("readwrite", 1, FAST | LOADING, G, "Enables read-write queries for a connection.", accepted),
];

fn ping(_: &mut Session, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    match args {
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

fn accepted(_: &mut Session, _: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    out.ok();
    Ok(())
}

fn auth(session: &mut Session, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let (user, password) = match args {
        [_, password] => {
            if session.node.config.requirepass.is_empty() {
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
    let expected = &session.node.config.requirepass;
    let is_right = expected.is_empty() || equal_in_constant_time(expected.as_bytes(), password);
    if user != b"default" || !is_right {
        tracing::info!(client = session.client.id, address = %session.client.address, "wrong user or password");
        return Err(Error::WrongPassword);
    }
    session.is_authenticated = true;
    Ok(())
}

/// Compares digests, so that the time tells nothing about how much was right.
fn equal_in_constant_time(left: &[u8], right: &[u8]) -> bool {
    let (left, right) = (Sha256::digest(left), Sha256::digest(right));
    left.iter().zip(right.iter()).fold(0, |difference, (l, r)| difference | (l ^ r)) == 0
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
    let mut name = None;
    let mut rest = args.iter().skip(2);
    while let Some(option) = rest.next() {
        if option.eq_ignore_ascii_case(b"auth") {
            let (Some(user), Some(password)) = (rest.next(), rest.next()) else { return Err(hello_syntax(option)) };
            authenticate(session, user, password)?;
        } else if option.eq_ignore_ascii_case(b"setname") {
            name = Some(*rest.next().ok_or_else(|| hello_syntax(option))?);
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
    if let Some(name) = name {
        set_name(session, name)?;
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

/// `tercet.carry epoch [session]`, from another node: an announcement, and then the session.
fn carry(session: &mut Session, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    // Nothing that follows is executed by a session that is not the client's.
    session.is_closing = true;
    let epoch = u64::try_from(number::integer(args[1])?).map_err(|_| Error::Syntax)?;
    match args {
        [_, _] => {
            session.home = Home::Announced;
            out.ok();
        }
        [_, _, packed] => {
            let was_authenticated = session.unpack(packed).map_err(|error| Error::text(format!("ERR {error}")))?;
            if was_authenticated && !session.is_authenticated {
                return Err(Error::NotAuthenticated);
            }
            session.is_authenticated = was_authenticated;
            session.home = Home::Carried(Epoch(epoch));
            out.raw(frame::ACCEPTED);
        }
        _ => return Err(Error::Syntax),
    }
    session.is_closing = false;
    Ok(())
}

fn set_name(session: &Session, name: &[u8]) -> Outcome {
    session.client.about.lock().name = printable(name, "Client names")?;
    Ok(())
}

/// Text without spaces and line breaks, which would make CLIENT LIST ambiguous.
fn printable(text: &[u8], what: &str) -> Result<String, Error> {
    if text.iter().all(|byte| (b'!'..=b'~').contains(byte)) {
        Ok(String::from_utf8_lossy(text).into_owned())
    } else {
        Err(Error::text(format!("ERR {what} cannot contain spaces, newlines or special characters.")))
    }
}

fn client(session: &mut Session, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let subcommand = args[1].to_ascii_lowercase();
    let arity = |expected: usize| {
        if args.len() == expected {
            Ok(())
        } else {
            Err(Error::Arity(format!("client|{}", String::from_utf8_lossy(&subcommand)).into()))
        }
    };
    match subcommand.as_slice() {
        b"id" => {
            arity(2)?;
            out.integer(session.client.id as i64);
        }
        b"getname" => {
            arity(2)?;
            let name = session.client.about.lock().name.clone();
            if name.is_empty() { out.null() } else { out.bulk(name.as_bytes()) }
        }
        b"setname" => {
            arity(3)?;
            set_name(session, args[2])?;
            out.ok();
        }
        b"setinfo" => {
            arity(4)?;
            let mut about = session.client.about.lock();
            match args[2].to_ascii_lowercase().as_slice() {
                b"lib-name" => about.library = printable(args[3], "lib-name")?,
                b"lib-ver" => about.library_version = printable(args[3], "lib-ver")?,
                _ => {
                    let option = String::from_utf8_lossy(args[2]).into_owned();
                    return Err(Error::text(format!("ERR Unrecognized option '{option}'")));
                }
            }
            drop(about);
            out.ok();
        }
        b"info" => {
            arity(2)?;
            let line = describe(&session.client) + "\n";
            out.verbatim("txt", &line);
        }
        b"list" => {
            let lines: String = resp_clients(session).iter().map(|client| describe(client) + "\n").collect();
            out.verbatim("txt", &lines);
        }
        b"kill" => kill(session, args, out)?,
        b"no-evict" | b"no-touch" => {
            arity(3)?;
            on_or_off(args[2])?;
            out.ok();
        }
        b"reply" if args.len() == 3 && args[2].eq_ignore_ascii_case(b"on") => out.ok(),
        b"help" => {
            let lines = [
                "CLIENT <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
                "GETNAME",
                "ID",
                "INFO",
                "KILL <ip:port> | ID <id> | ADDR <ip:port> ...",
                "LIST",
                "NO-EVICT (ON|OFF)",
                "SETINFO (LIB-NAME|LIB-VER) <value>",
                "SETNAME <name>",
            ];
            out.array(lines.len());
            lines.iter().for_each(|line| out.simple(line));
        }
        _ => {
            let subcommand = String::from_utf8_lossy(args[1]).into_owned();
            return Err(Error::UnknownSubcommand { command: "CLIENT", subcommand });
        }
    }
    Ok(())
}

fn on_or_off(text: &[u8]) -> Outcome {
    if text.eq_ignore_ascii_case(b"on") || text.eq_ignore_ascii_case(b"off") { Ok(()) } else { Err(Error::Syntax) }
}

fn resp_clients(session: &Session) -> Vec<std::sync::Arc<Client>> {
    session.node.clients.list().into_iter().filter(|client| client.protocol == Protocol::Resp).collect()
}

/// `CLIENT KILL addr`, or filters: ID, ADDR, LADDR, TYPE, USER, SKIPME.
fn kill(session: &mut Session, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if let [_, _, address] = args {
        let address = text(address);
        let found = resp_clients(session).into_iter().find(|client| client.address.to_string() == address);
        let Some(found) = found else { return Err(Error::text("ERR No such client")) };
        close(session, &found);
        out.ok();
        return Ok(());
    }
    let (filters, []) = args[2..].as_chunks::<2>() else { return Err(Error::Syntax) };
    if filters.is_empty() {
        return Err(Error::Arity("client|kill".into()));
    }
    let (mut chosen, mut skip_me) = (resp_clients(session), true);
    for [name, value] in filters {
        match name.to_ascii_lowercase().as_slice() {
            b"id" => {
                let id = number::parse_integer(value).filter(|id| *id > 0);
                let id = id.ok_or(Error::text("ERR client-id should be greater than 0"))?;
                chosen.retain(|client| client.id == id as u64);
            }
            b"addr" => chosen.retain(|client| client.address.to_string() == text(value)),
            b"laddr" => chosen.retain(|client| client.local.to_string() == text(value)),
            b"user" => chosen.retain(|client| client.about.lock().user == text(value)),
            b"type" => match value.to_ascii_lowercase().as_slice() {
                b"normal" => {}
                b"master" | b"slave" | b"replica" | b"pubsub" => chosen.clear(),
                _ => return Err(Error::text(format!("ERR Unknown client type '{}'", text(value)))),
            },
            b"skipme" if value.eq_ignore_ascii_case(b"yes") => skip_me = true,
            b"skipme" if value.eq_ignore_ascii_case(b"no") => skip_me = false,
            _ => return Err(Error::Syntax),
        }
    }
    chosen.retain(|client| !(skip_me && client.id == session.client.id));
    for client in &chosen {
        close(session, client);
    }
    out.integer(chosen.len() as i64);
    Ok(())
}

/// Closes a client; this one only behind its reply.
fn close(session: &mut Session, client: &Client) {
    if client.id == session.client.id {
        session.is_closing = true;
    } else {
        client.close();
    }
}

/// A line of CLIENT LIST.
fn describe(client: &Client) -> String {
    let now = clock::boot_now();
    let about = client.about.lock();
    format!(
        "id={} addr={} laddr={} fd=-1 name={} age={} idle={} flags=N db={} sub=0 psub=0 ssub=0 multi=-1 watch=0 \
         qbuf=0 qbuf-free=0 argv-mem=0 multi-mem=0 rbs=0 rbp=0 obl=0 oll=0 omem=0 tot-mem=0 events=r cmd={} user={} \
         redir=-1 resp={} lib-name={} lib-ver={}",
        client.id,
        client.address,
        client.local,
        about.name,
        now.millis_since(client.since) / 1000,
        now.millis_since(about.last_active) / 1000,
        about.database,
        if about.last_command.is_empty() { "NULL" } else { about.last_command },
        about.user,
        about.resp,
        about.library,
        about.library_version,
    )
}
