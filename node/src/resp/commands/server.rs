//! Commands about the server: INFO, CONFIG, COMMAND, ROLE and the rest.

mod command;
mod config;
mod info;
mod save;

use tercet_proto::resp::Encoder;

use super::number;
use crate::clock;
use crate::node::Node;
use crate::resp::error::Error;
use crate::resp::session::{Home, Session};
use crate::resp::table::flag::{ADMIN, FAST, LOADING, NOT_IN_MULTI};
use crate::resp::table::{Args, Group, Outcome, Row, session};
use crate::role::Role;

/// The version of Redis whose behaviour this frontend has; clients branch on it.
pub(super) const REDIS_VERSION: &str = "7.2.6";

const G: Group = Group::Server;

pub(super) const ROWS: &[Row] = &[
    session("info", -1, LOADING, G, "Returns information and statistics about the server.", info::info),
    session("config", -2, ADMIN | LOADING, G, "A container for server configuration commands.", config::config),
    session("command", -1, LOADING, G, "Returns detailed information about all commands.", command::command),
    session("role", 1, FAST | LOADING, G, "Returns the replication role.", role),
    session("time", 1, FAST | LOADING, G, "Returns the server time.", time),
    session("shutdown", -1, ADMIN | LOADING, G, "Stops the server.", shutdown),
    session(
        "lastsave",
        1,
        FAST | LOADING,
        G,
        "Returns the Unix timestamp of the last successful save to disk.",
        save::lastsave,
    ),
    session("save", 1, ADMIN | NOT_IN_MULTI, G, "Synchronously saves the database(s) to disk.", save::save),
    session(
        "backup",
        2,
        ADMIN | NOT_IN_MULTI,
        G,
        "Writes a copy of the data on disk to a new directory of the server's machine.",
        save::backup,
    ),
    session("bgsave", -1, ADMIN, G, "Asynchronously saves the database(s) to disk.", save::bgsave),
    session("bgrewriteaof", 1, ADMIN, G, "Asynchronously rewrites the append-only file to disk.", save::bgrewriteaof),
    session("lolwut", -1, FAST, G, "Displays computer art and the Redis version.", lolwut),
    session("memory", -2, 0, G, "A container for memory diagnostics commands.", memory),
    session("module", -2, ADMIN, G, "A container for module commands.", module),
    session("slowlog", -2, ADMIN | LOADING, G, "A container for slow log commands.", slowlog),
    session("latency", -2, ADMIN | LOADING, G, "A container for latency diagnostics commands.", latency),
    session(
        "replicaof",
        3,
        ADMIN,
        G,
        "Configures a server as replica of another, or promotes it to a master.",
        replicaof,
    ),
    session(
        "slaveof",
        3,
        ADMIN,
        G,
        "Sets a Redis server as a replica of another, or promotes it to being a master.",
        replicaof,
    ),
];

pub(super) fn role_name(node: &Node) -> &'static str {
    match node.authority.standing().role {
        Role::Master => "master",
        Role::Replica | Role::Waiting | Role::Deposed => "replica",
    }
}

fn role(session: &mut Session, _: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let node = &session.node;
    let standing = node.authority.standing();
    if standing.role == Role::Master {
        let replicas = node.replicas.read().clone();
        out.array(3);
        out.bulk(b"master");
        out.integer(node.engine.journal.end().0 as i64);
        out.array(replicas.len());
        for replica in &replicas {
            let (host, port) = info::address(replica.member.resp.as_ref());
            out.array(3);
            out.bulk(host.as_bytes());
            out.bulk_integer(port);
            out.bulk_integer(replica.held.received.0 as i64);
        }
        return Ok(());
    }
    let link = node.link.read().clone();
    let master = link.master.or_else(|| node.other_master());
    let (host, port) = info::address(master.as_ref().and_then(|master| master.resp.as_ref()));
    out.array(5);
    out.bulk(b"slave");
    out.bulk(host.as_bytes());
    out.integer(port);
    out.bulk(match (link.is_up, link.syncing) {
        (true, true) => b"sync".as_slice(),
        (true, false) => b"connected",
        (false, _) => b"connect",
    });
    out.integer(node.engine.journal.end().0 as i64);
    Ok(())
}

fn time(_: &mut Session, _: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    out.array(2);
    out.bulk_integer(now.as_secs() as i64);
    out.bulk_integer(i64::from(now.subsec_micros()));
    Ok(())
}

fn shutdown(session: &mut Session, args: &Args<'_>, _: &mut Encoder<'_>) -> Outcome {
    for option in &args[1..] {
        if ![b"nosave".as_slice(), b"save", b"now", b"force"].contains(&option.to_ascii_lowercase().as_slice()) {
            return Err(Error::Syntax);
        }
    }
    if matches!(session.home, Home::Carried(_)) {
        return Err(Error::text(
            "ERR this connection is carried to the master by the node that it was made to; connect to the node that is to stop",
        ));
    }
    tracing::info!(client = session.client.id, "shutdown was asked for");
    // As Redis: no reply, the connection closes with the server.
    session.is_closing = true;
    session.node.shutdown.notify_one();
    Ok(())
}

fn lolwut(_: &mut Session, _: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let text = format!(
        "three lines of verse:\none state behind three voices,\nthree eyes on one throne\n\nTercet ver. {}\n",
        env!("CARGO_PKG_VERSION")
    );
    out.verbatim("txt", &text);
    Ok(())
}

fn unknown(command: &'static str, args: &Args<'_>) -> Error {
    Error::UnknownSubcommand { command, subcommand: String::from_utf8_lossy(args[1]).into_owned() }
}

fn memory(session: &mut Session, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    match (args[1].to_ascii_lowercase().as_slice(), args.len()) {
        (b"usage", 3..) => {
            let samples = match args.get(3..5) {
                Some([option, count]) if option.eq_ignore_ascii_case(b"samples") => {
                    usize::try_from(number::integer(count)?).map_err(|_| Error::Syntax)?
                }
                _ if args.len() == 3 => 5,
                _ => return Err(Error::Syntax),
            };
            let keyspace = &session.node.engine.keyspace;
            let shard = keyspace.lock(keyspace.shard_of(args[2]));
            match shard.database(session.database).find(args[2]).filter(|entry| !entry.is_expired(clock::unix_now())) {
                None => out.null(),
                Some(entry) => {
                    let bytes = size_of_val(entry) + entry.key.memory_usage() + entry.value.memory_usage(samples);
                    out.integer(bytes as i64);
                }
            }
        }
        (b"doctor", 2) => out.verbatim("txt", "Hi Sam, I can't find any memory issue in your instance."),
        (b"purge", 2) => out.ok(),
        _ => return Err(unknown("MEMORY", args)),
    }
    Ok(())
}

fn module(_: &mut Session, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    match args[1].to_ascii_lowercase().as_slice() {
        b"list" => out.array(0),
        b"load" | b"loadex" | b"unload" => {
            return Err(Error::text("ERR Error loading the extension. Tercet has no modules."));
        }
        _ => return Err(unknown("MODULE", args)),
    }
    Ok(())
}

/// There is no slow log yet: it is always empty, and says so by its length.
fn slowlog(_: &mut Session, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    match args[1].to_ascii_lowercase().as_slice() {
        b"get" => out.array(0),
        b"len" => out.integer(0),
        b"reset" => out.ok(),
        _ => return Err(unknown("SLOWLOG", args)),
    }
    Ok(())
}

/// No latency events are collected yet.
fn latency(_: &mut Session, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    match args[1].to_ascii_lowercase().as_slice() {
        b"latest" | b"history" => out.array(0),
        b"reset" => out.integer(0),
        b"histogram" => out.map(0),
        _ => return Err(unknown("LATENCY", args)),
    }
    Ok(())
}

fn replicaof(session: &mut Session, _: &Args<'_>, _: &mut Encoder<'_>) -> Outcome {
    Err(if session.node.config.is_clustered() {
        Error::text("ERR the sentinels decide who is master: use SENTINEL FAILOVER on a sentinel")
    } else {
        Error::text("ERR replication needs sentinels: start the node with --sentinels host:port,...")
    })
}
