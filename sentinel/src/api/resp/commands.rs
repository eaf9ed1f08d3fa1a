//! The table of commands, and the road of a command through it; connection commands.

use tercet_edge::{seldom::Seldom, token::is_equal};
use tercet_proto::resp::Version;
use tracing::warn;

use super::{
    client, info, introspect, pubsub,
    row::{Call, Next, Row, find},
    sentinel,
    session::Login,
};

const fn row(
    name: &'static str,
    arity: i64,
    flags: &'static [&'static str],
    summary: &'static str,
    run: fn(&mut Call<'_>),
) -> Row {
    Row { name, arity, flags, summary, run, subcommands: &[] }
}

const fn container(name: &'static str, summary: &'static str, subcommands: &'static [Row]) -> Row {
    Row { name, arity: -2, flags: &[], summary, run: unknown_subcommand, subcommands }
}

const ADMIN: &[&str] = &["admin", "sentinel", "only_sentinel"];
const FAST: &[&str] = &["noscript", "loading", "stale", "fast", "sentinel"];
const NO_AUTH: &[&str] = &["noscript", "loading", "stale", "fast", "no_auth", "sentinel", "allow_busy"];
const PUBSUB: &[&str] = &["pubsub", "noscript", "loading", "stale", "sentinel"];
const PLAIN: &[&str] = &["loading", "stale", "sentinel"];

/// Every command of the port.
pub(crate) static COMMANDS: &[Row] = &[
    container("acl", "Commands about users.", ACL),
    row("auth", -2, NO_AUTH, "Logs the connection in.", auth),
    container("client", "Commands about connections.", client::SUBCOMMANDS),
    Row {
        name: "command",
        arity: -1,
        flags: PLAIN,
        summary: "Describes the commands of this port.",
        run: introspect::command,
        subcommands: introspect::SUBCOMMANDS,
    },
    row("hello", -1, NO_AUTH, "Negotiates protocol version, login and name.", hello),
    row("info", -1, PLAIN, "Shows state and counters, by section.", info::info),
    row("ping", -1, FAST, "Answers PONG, or the argument.", ping),
    row("psubscribe", -2, PUBSUB, "Subscribes to events by pattern.", pubsub::psubscribe),
    row("publish", 3, PUBSUB, "Takes the hello messages of other sentinels, and nothing else.", pubsub::publish),
    row("punsubscribe", -1, PUBSUB, "Ends subscriptions by pattern.", pubsub::punsubscribe),
    row("quit", -1, NO_AUTH, "Answers OK and hangs up.", quit),
    row("reset", 1, NO_AUTH, "Puts the connection back to how it began.", reset),
    row("role", 1, FAST, "Says that this is a sentinel, and of which services.", role),
    container("sentinel", "Commands about masters, replicas and sentinels.", SENTINEL),
    row("shutdown", -1, &["admin", "noscript", "loading", "stale", "sentinel"], "Ends this sentinel.", shutdown),
    row("subscribe", -2, PUBSUB, "Subscribes to events by name.", pubsub::subscribe),
    row("unsubscribe", -1, PUBSUB, "Ends subscriptions by name.", pubsub::unsubscribe),
];

/// There is one user; what asks who it is gets an answer.
static ACL: &[Row] = &[
    row("users", 2, ADMIN, "Names the one user.", users),
    row("whoami", 2, FAST, "Names the user of this connection.", whoami),
];

/// Every subcommand of SENTINEL; those with `primar` are Valkey's names.
static SENTINEL: &[Row] = &[
    row("ckquorum", 3, ADMIN, "Says whether enough sentinels answer for a failover.", sentinel::ckquorum),
    row("config", -3, ADMIN, "Shows settings of this sentinel.", sentinel::config),
    row("debug", -2, ADMIN, "Shows the intervals of this sentinel.", sentinel::debug),
    row("failover", 3, ADMIN, "Hands the mastership over to a replica in sync.", sentinel::failover),
    row("flushconfig", 2, ADMIN, "Does nothing: what has to last is in Raft.", sentinel::flushconfig),
    row("get-master-addr-by-name", 3, ADMIN, "Says where the master is.", sentinel::master_address),
    row("get-primary-addr-by-name", 3, ADMIN, "Says where the master is.", sentinel::master_address),
    row("help", 2, PLAIN, "Shows this list.", sentinel::help),
    row("info-cache", -3, ADMIN, "Shows what nodes last said of themselves.", sentinel::info_cache),
    row(
        "is-master-down-by-addr",
        6,
        ADMIN,
        "Says whether this sentinel suspects the master.",
        sentinel::is_master_down,
    ),
    row(
        "is-primary-down-by-addr",
        6,
        ADMIN,
        "Says whether this sentinel suspects the master.",
        sentinel::is_master_down,
    ),
    row("master", 3, ADMIN, "Shows the master of a service.", sentinel::master),
    row("masters", 2, ADMIN, "Shows the masters of all services.", sentinel::masters),
    row("monitor", 6, ADMIN, "Refused: there is one service, named at the start.", sentinel::monitor),
    row("myid", 2, ADMIN, "Shows the id of this sentinel.", sentinel::myid),
    row("pending-scripts", 2, ADMIN, "Answers none: there are no scripts.", sentinel::pending_scripts),
    row("primaries", 2, ADMIN, "Shows the masters of all services.", sentinel::masters),
    row("primary", 3, ADMIN, "Shows the master of a service.", sentinel::master),
    row(
        "recover",
        -3,
        ADMIN,
        "Goes on without the nodes that have not reported: RECOVER <name> [node] FORCE.",
        sentinel::recover,
    ),
    row("remove-sentinel", 4, ADMIN, "Takes its vote from a sentinel, by name or id.", sentinel::remove_sentinel),
    row("remove-node", 4, ADMIN, "Forgets a node that was stopped for good.", sentinel::remove_node),
    row("remove", 3, ADMIN, "Refused: there is one service, named at the start.", sentinel::remove),
    row("replicas", 3, ADMIN, "Shows the replicas of a service.", sentinel::replicas),
    row("reset", 3, ADMIN, "Forgets what was observed of services by pattern, and looks again.", sentinel::reset),
    row("sentinels", 3, ADMIN, "Shows the other sentinels.", sentinel::sentinels),
    row("set", -5, ADMIN, "Changes how this sentinel watches a service.", sentinel::set),
    row("simulate-failure", -3, ADMIN, "Crashes at a step of the next failover.", sentinel::simulate_failure),
    row("slaves", 3, ADMIN, "Shows the replicas of a service.", sentinel::replicas),
];

/// Executes the command of `call`: finds its row, checks what is derived from it in Redis' order, runs it.
pub(crate) fn execute(call: &mut Call<'_>) {
    let Some(command) = find(COMMANDS, call.args[0]) else {
        return unknown_command(call);
    };
    let child = call.args.get(1).and_then(|name| find(command.subcommands, name));
    let row = child.unwrap_or(command);
    let full_name = match child {
        Some(child) => format!("{}|{}", command.name, child.name),
        None => command.name.to_owned(),
    };
    // A container with an unknown subcommand speaks for itself; Redis looks for it before it counts.
    if child.is_none() && !command.subcommands.is_empty() && call.args.len() > 1 {
        return unknown_subcommand(call);
    }
    if !row.takes(call.args.len()) {
        return call.reply().error(&format!("ERR wrong number of arguments for '{full_name}' command"));
    }
    if call.session.login == Login::Needed && row.needs_login() {
        return call.reply().error("NOAUTH Authentication required.");
    }
    let in_context = ["subscribe", "psubscribe", "unsubscribe", "punsubscribe", "ping", "quit", "reset"];
    if call.session.is_subscribed() && call.session.version == Version::Resp2 && !in_context.contains(&command.name) {
        return call.reply().error(&format!(
            "ERR Can't execute '{full_name}': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in this context"
        ));
    }
    call.session.client.facts.lock().last_command.clone_from(&full_name);
    (row.run)(call);
}

/// Redis shows at most so many bytes of what it does not know.
const SHOWN: usize = 128;

fn unknown_command(call: &mut Call<'_>) {
    let shown = |bytes: &[u8]| String::from_utf8_lossy(&bytes[..bytes.len().min(SHOWN)]).into_owned();
    let mut text = format!("ERR unknown command '{}', with args beginning with: ", shown(call.args[0]));
    let mut left = SHOWN;
    for arg in &call.args[1..] {
        if left == 0 {
            break;
        }
        let part = format!("'{}' ", String::from_utf8_lossy(&arg[..arg.len().min(left)]));
        left = left.saturating_sub(part.len());
        text.push_str(&part);
    }
    call.reply().error(&text);
}

fn unknown_subcommand(call: &mut Call<'_>) {
    let name = String::from_utf8_lossy(&call.args[1][..call.args[1].len().min(SHOWN)]).into_owned();
    let command = String::from_utf8_lossy(call.args[0]).to_uppercase();
    call.reply().error(&format!("ERR unknown subcommand '{name}'. Try {command} HELP."));
}

fn auth(call: &mut Call<'_>) {
    if call.args.len() > 3 {
        return call.reply().error("ERR syntax error");
    }
    let (user, password) =
        if call.args.len() == 3 { (call.args[1], call.args[2]) } else { (b"default".as_slice(), call.args[1]) };
    if call.args.len() == 2 && call.server.password.is_none() {
        return call.reply().error(
            "ERR AUTH <password> called without any password configured for the default user. \
             Are you sure your configuration is correct?",
        );
    }
    if log_in(call, user, password) { call.reply().ok() } else { wrong_password(call) }
}

fn wrong_password(call: &mut Call<'_>) {
    call.reply().error("WRONGPASS invalid username-password pair or user is disabled.");
}

/// Without a password every password of the default user is right, as in Redis.
fn log_in(call: &mut Call<'_>, user: &[u8], password: &[u8]) -> bool {
    let is_right = user == b"default"
        && call.server.password.as_ref().is_none_or(|expected| is_equal(expected.as_bytes(), password));
    if is_right {
        call.session.login = Login::Done;
    } else {
        static WRONG: Seldom = Seldom::new();
        let client = &call.session.client;
        if let Some(left_out) = WRONG.due() {
            warn!(client = client.id, address = client.address, left_out, "wrong user or password");
        }
        call.session.penalty = Some(call.server.logins.wrong(client.ip));
    }
    is_right
}

fn hello(call: &mut Call<'_>) {
    let mut version = call.session.version;
    let mut rest = &call.args[1..];
    if let [number, options @ ..] = rest {
        version = match std::str::from_utf8(number).ok().and_then(|text| text.parse::<i64>().ok()) {
            Some(2) => Version::Resp2,
            Some(3) => Version::Resp3,
            Some(_) => return call.reply().error("NOPROTO unsupported protocol version"),
            None => return call.reply().error("ERR Protocol version is not an integer or out of range"),
        };
        rest = options;
    }
    let mut name = None;
    while let [option, values @ ..] = rest {
        rest = match (option.to_ascii_lowercase().as_slice(), values) {
            (b"auth", [user, password, others @ ..]) => {
                if !log_in(call, user, password) {
                    return wrong_password(call);
                }
                others
            }
            (b"setname", [value, others @ ..]) => {
                if !client::is_name(value) {
                    return call.reply().error(client::WRONG_NAME);
                }
                name = Some(*value);
                others
            }
            _ => {
                let option = String::from_utf8_lossy(option);
                return call.reply().error(&format!("ERR Syntax error in HELLO option '{option}'"));
            }
        };
    }
    if call.session.login == Login::Needed {
        return call.reply().error(
            "NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO <proto> AUTH \
             <user> <pass> option can be used to authenticate the client and select the RESP protocol version at the \
             same time",
        );
    }
    let id = {
        let mut facts = call.session.client.facts.lock();
        if let Some(name) = name {
            facts.name = String::from_utf8_lossy(name).into_owned();
        }
        facts.version = if version == Version::Resp3 { 3 } else { 2 };
        call.session.client.id
    };
    call.session.version = version;
    let mut reply = call.reply();
    reply.map(6);
    reply.bulk(b"server");
    reply.bulk(b"redis");
    reply.bulk(b"version");
    reply.bulk(super::REDIS_VERSION.as_bytes());
    reply.bulk(b"proto");
    reply.integer(if version == Version::Resp3 { 3 } else { 2 });
    reply.bulk(b"id");
    reply.integer(id as i64);
    reply.bulk(b"mode");
    reply.bulk(b"sentinel");
    reply.bulk(b"modules");
    reply.array(0);
}

fn users(call: &mut Call<'_>) {
    call.reply().array(1);
    call.reply().bulk(b"default");
}

fn whoami(call: &mut Call<'_>) {
    call.reply().bulk(b"default");
}

fn ping(call: &mut Call<'_>) {
    if call.args.len() > 2 {
        return call.reply().error("ERR wrong number of arguments for 'ping' command");
    }
    let text = call.args.get(1);
    if call.session.is_subscribed() && call.session.version == Version::Resp2 {
        call.reply().array(2);
        call.reply().bulk(b"pong");
        call.reply().bulk(text.copied().unwrap_or_default());
    } else {
        match text {
            Some(text) => call.reply().bulk(text),
            None => call.reply().simple("PONG"),
        }
    }
}

fn quit(call: &mut Call<'_>) {
    call.reply().ok();
    call.next = Next::Close;
}

fn reset(call: &mut Call<'_>) {
    let login = if call.server.password.is_some() { Login::Needed } else { Login::Done };
    call.session.reset(login);
    call.reply().simple("RESET");
}

fn role(call: &mut Call<'_>) {
    let picture = call.server.backend.picture();
    call.reply().array(2);
    call.reply().bulk(b"sentinel");
    call.reply().array(usize::from(picture.master.is_some()));
    if picture.master.is_some() {
        call.reply().bulk(picture.service.as_bytes());
    }
}

/// Redis does not answer a SHUTDOWN that succeeds.
fn shutdown(call: &mut Call<'_>) {
    let known = ["nosave", "save", "now", "force", "abort"];
    let is_known = |arg: &&[u8]| known.iter().any(|word| word.as_bytes().eq_ignore_ascii_case(arg));
    if !call.args[1..].iter().all(is_known) {
        return call.reply().error("ERR syntax error");
    }
    if call.args[1..].iter().any(|arg| arg.eq_ignore_ascii_case(b"abort")) {
        return call.reply().error("ERR No shutdown in progress.");
    }
    call.next = Next::ShutDown;
}
