//! Commands about the server: INFO, CONFIG, COMMAND, ROLE and the rest.

mod acl;
mod command;
mod config;
mod debug;
mod info;
mod memory;
mod save;
mod slow;

use tercet_proto::resp::Encoder;

use crate::node::Node;
use crate::resp::error::Error;
use crate::resp::session::{Home, Session};
use crate::resp::table::flag::{ADMIN, FAST, LOADING, NO_SCRIPT, NOT_IN_MULTI};
use crate::resp::table::{Args, Command, Group, Outcome, container, session, survey};
use crate::role::Role;

/// The version of Redis that clients are told, which branch on it: behaviour is that of 7.2 with the expiry of hash fields
/// that came with 7.4. redis-py caches on the client's side from 7.4 on.
pub(super) const REDIS_VERSION: &str = "7.4.0";

const G: Group = Group::Server;

pub(super) const ROWS: &[Command] = &[
    survey("info", -1, LOADING, G, "Returns information and statistics about the server.", info::info),
    container("config", G, "A container for server configuration commands.", config::ROWS),
    session("command", -1, LOADING, G, "Returns detailed information about all commands.", command::command)
        .with(command::ROWS),
    session("role", 1, FAST | LOADING, G, "Returns the replication role.", role),
    session("time", 1, FAST | LOADING, G, "Returns the server time.", time),
    session("shutdown", -1, ADMIN | LOADING | NOT_IN_MULTI | NO_SCRIPT, G, "Stops the server.", shutdown),
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
    session(
        "monitor",
        1,
        ADMIN | LOADING | NO_SCRIPT,
        G,
        "Listens for all requests received by the server in real-time.",
        monitor,
    ),
    session("lolwut", -1, FAST, G, "Displays computer art and the Redis version.", lolwut),
    container("memory", G, "A container for memory diagnostics commands.", memory::ROWS),
    container("acl", G, "A container for Access List Control commands.", acl::ROWS),
    container("debug", G, "A container for debugging commands.", debug::ROWS),
    container("module", G, "A container for module commands.", MODULE),
    container("slowlog", G, "A container for slow log commands.", slow::SLOWLOG),
    container("latency", G, "A container for latency diagnostics commands.", slow::LATENCY),
    session(
        "replicaof",
        3,
        ADMIN,
        G,
        "Configures a server as replica of another, or promotes it to a master.",
        replicaof,
    ),
    session(
        "failover",
        -1,
        ADMIN | NO_SCRIPT,
        G,
        "Starts a coordinated failover from a server to one of its replicas.",
        failover,
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

fn monitor(session: &mut Session, _: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    if session.denies_blocking() {
        return Err(Error::text("ERR MONITOR isn't allowed for DENY BLOCKING client"));
    }
    session.monitor();
    out.ok();
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

const MODULE: &[Command] = &[
    session("module|list", 2, ADMIN | NO_SCRIPT, G, "Returns all loaded modules.", |_, _, out| {
        out.array(0);
        Ok(())
    }),
    session("module|load", -3, ADMIN | NO_SCRIPT, G, "Loads a module.", no_modules),
    session("module|loadex", -3, ADMIN | NO_SCRIPT, G, "Loads a module using extended parameters.", no_modules),
    session("module|unload", 3, ADMIN | NO_SCRIPT, G, "Unloads a module.", no_modules),
];

fn no_modules(_: &mut Session, _: &Args<'_>, _: &mut Encoder<'_>) -> Outcome {
    Err(Error::text("ERR Error loading the extension. Tercet has no modules."))
}

/// Whoever is master stays it; all else is for the sentinels to decide.
fn replicaof(session: &mut Session, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let is_no_one = args[1].eq_ignore_ascii_case(b"no") && args[2].eq_ignore_ascii_case(b"one");
    if is_no_one && session.node.authority.standing().role == Role::Master {
        out.ok();
        return Ok(());
    }
    Err(if session.node.config.is_clustered() {
        Error::text("ERR the sentinels decide who is master: use SENTINEL FAILOVER on a sentinel")
    } else {
        Error::text("ERR replication needs sentinels: start the node with --sentinels host:port,...")
    })
}

fn failover(session: &mut Session, args: &Args<'_>, _: &mut Encoder<'_>) -> Outcome {
    if args.len() == 2 && args[1].eq_ignore_ascii_case(b"abort") {
        return Err(Error::text("ERR No failover in progress."));
    }
    let node = &session.node;
    Err(Error::text(if node.authority.standing().role != Role::Master {
        "ERR FAILOVER is not valid when server is a replica."
    } else if node.replicas.read().is_empty() {
        "ERR FAILOVER requires connected replicas."
    } else {
        "ERR the sentinels decide who is master: use SENTINEL FAILOVER on a sentinel, which hands over without an error \
         to any client"
    }))
}
