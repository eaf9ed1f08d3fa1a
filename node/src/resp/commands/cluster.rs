//! CLUSTER: there are no slots here, and whoever asks is told so in the words of a Redis that is no part of a cluster.

use tercet_proto::resp::Encoder;

use super::connection::no_cluster;
use crate::resp::session::Session;
use crate::resp::table::flag::{FAST, LOADING};
use crate::resp::table::{Args, Command, Group, Outcome, container, session};

const G: Group = Group::Cluster;

pub(super) const ROWS: &[Command] = &[
    container("cluster", G, "A container for Redis Cluster commands.", SUBCOMMANDS),
    session("asking", 1, FAST, G, "Signals that a cluster client is following an -ASK redirect.", refuse),
];

const fn row(name: &'static str, arity: i32) -> Command {
    session(name, arity, LOADING, G, "Of a Redis Cluster, which this is not.", refuse)
}

fn refuse(session: &mut Session, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    no_cluster(session, args, out)
}

const SUBCOMMANDS: &[Command] = &[
    row("cluster|addslots", -3),
    row("cluster|addslotsrange", -4),
    row("cluster|bumpepoch", 2),
    row("cluster|count-failure-reports", 3),
    row("cluster|countkeysinslot", 3),
    row("cluster|delslots", -3),
    row("cluster|delslotsrange", -4),
    row("cluster|failover", -2),
    row("cluster|flushslots", 2),
    row("cluster|forget", 3),
    row("cluster|getkeysinslot", 4),
    row("cluster|info", 2),
    row("cluster|keyslot", 3),
    row("cluster|links", 2),
    row("cluster|meet", -4),
    row("cluster|myid", 2),
    row("cluster|nodes", 2),
    row("cluster|replicas", 3),
    row("cluster|replicate", 3),
    row("cluster|reset", -2),
    row("cluster|saveconfig", 2),
    row("cluster|set-config-epoch", 3),
    row("cluster|setslot", -4),
    row("cluster|shards", 2),
    row("cluster|slaves", 3),
    row("cluster|slots", 2),
    session("cluster|help", 2, LOADING, G, "Returns helpful text about the different subcommands.", |_, _, out| {
        super::help(
            out,
            &["CLUSTER <subcommand> [<arg> [value] [opt] ...]. Subcommands are:", "HELP", "    Print this help."],
        );
        Ok(())
    }),
];
