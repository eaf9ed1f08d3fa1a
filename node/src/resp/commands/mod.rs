//! The commands, a file a family. To add one: a row in its family's table and a function below it.

mod bits;
mod client;
mod cluster;
mod comparing;
mod connection;
mod generic;
mod geo;
mod hashes;
mod hyperloglog;
mod lcs;
mod lists;
mod long_double;
mod mq;
pub(super) mod number;
mod pubsub;
mod sample;
mod scanning;
mod scripting;
mod server;
mod sets;
mod sorted_sets;
mod streams;
mod strings;
mod tracking;
mod transactions;
mod typed;

use tercet_proto::resp::Encoder;

pub(super) use number::parse_float;

use super::command::Command;

/// All families; `table` is built from them.
pub(super) const FAMILIES: &[&[Command]] = &[
    strings::ROWS,
    comparing::ROWS,
    lcs::ROWS,
    lists::ROWS,
    hashes::ROWS,
    sets::ROWS,
    sorted_sets::ROWS,
    bits::ROWS,
    hyperloglog::ROWS,
    geo::ROWS,
    streams::ROWS,
    generic::ROWS,
    transactions::ROWS,
    connection::ROWS,
    cluster::ROWS,
    server::ROWS,
    mq::ROWS,
    pubsub::ROWS,
    scripting::ROWS,
];

/// The answer to the HELP of a container.
fn help(out: &mut Encoder<'_>, lines: &[&str]) {
    out.array(lines.len());
    lines.iter().for_each(|line| out.simple(line));
}
