//! Commands about keys, whatever they hold.

mod dump;
mod expiry;
mod keyspace;
mod migrate;
mod moving;
mod object;
mod scan;
mod sort;
mod wait;

use tercet_proto::resp::Encoder;

use super::{number, scanning};
use crate::effect::KeyChange;
use crate::engine::{Transaction, View};
use crate::resp::table::flag::{BLOCKING, DENY_OOM, FAST, NO_SCRIPT, NOT_IN_MULTI, WHOLE};
use crate::resp::table::{Args, Command, Group, Handler, Keys, Outcome, container, read, session, write};

const G: Group = Group::Generic;

pub(super) const ROWS: &[Command] = &[
    write("del", -2, 0, Keys::REST, G, "Deletes one or more keys.", del),
    write("unlink", -2, FAST, Keys::REST, G, "Asynchronously deletes one or more keys.", del),
    read("exists", -2, FAST, Keys::REST, G, "Determines whether one or more keys exist.", exists),
    read(
        "touch",
        -2,
        FAST,
        Keys::REST,
        G,
        "Returns the number of existing keys out of those specified after updating the time they were last accessed.",
        touch,
    ),
    read("type", 2, FAST, Keys::ONE, G, "Determines the type of value stored at a key.", type_name),
    read("keys", 2, 0, Keys::Space, G, "Returns all key names that match a pattern.", scan::keys),
    read("scan", -2, 0, Keys::Space, G, "Iterates over the key names in the database.", scan::scan),
    read("randomkey", 1, 0, Keys::Space, G, "Returns a random key name from the database.", scan::randomkey),
    container("object", G, "A container for object introspection commands.", object::ROWS),
    write("rename", 3, WHOLE, Keys::TWO, G, "Renames a key and overwrites the destination.", moving::rename),
    write(
        "renamenx",
        3,
        FAST | WHOLE,
        Keys::TWO,
        G,
        "Renames a key only when the target key name doesn't exist.",
        moving::renamenx,
    ),
    read(
        "dump",
        2,
        WHOLE,
        Keys::ONE,
        G,
        "Returns a serialized representation of the value stored at a key.",
        dump::dump,
    ),
    write(
        "restore",
        -4,
        DENY_OOM,
        Keys::ONE,
        G,
        "Creates a key from the serialized representation of a value.",
        dump::restore,
    ),
    write(
        "restore-asking",
        -4,
        DENY_OOM,
        Keys::ONE,
        Group::Server,
        "An internal command for migrating keys in a cluster.",
        dump::restore,
    ),
    Command::new(
        "migrate",
        -6,
        NOT_IN_MULTI | NO_SCRIPT,
        Keys::Migrate,
        G,
        "Atomically transfers a key from one Redis instance to another.",
        Handler::Session(migrate::migrate),
    ),
    write("copy", -3, DENY_OOM | WHOLE, Keys::TWO, G, "Copies the value of a key to a new key.", moving::copy),
    write("move", 3, FAST | WHOLE, Keys::ONE, G, "Moves a key to another database.", moving::move_key),
    write(
        "sort",
        -2,
        DENY_OOM | WHOLE,
        Keys::Any,
        G,
        "Sorts the elements in a list, a set, or a sorted set, optionally storing the result.",
        sort::sort,
    ),
    read(
        "sort_ro",
        -2,
        WHOLE,
        Keys::Any,
        G,
        "Returns the sorted elements of a list, a set, or a sorted set.",
        sort::sort_ro,
    ),
    session(
        "wait",
        3,
        BLOCKING,
        G,
        "Blocks until the asynchronous replication of all preceding write commands sent by the connection is completed.",
        wait::wait,
    ),
    session(
        "waitaof",
        4,
        BLOCKING,
        G,
        "Blocks until all of the preceding write commands sent by the connection are written to the append-only file of the master and/or replicas.",
        wait::waitaof,
    ),
    write("expire", -3, FAST, Keys::ONE, G, "Sets the expiration time of a key in seconds.", expiry::expire),
    write("pexpire", -3, FAST, Keys::ONE, G, "Sets the expiration time of a key in milliseconds.", expiry::pexpire),
    write(
        "expireat",
        -3,
        FAST,
        Keys::ONE,
        G,
        "Sets the expiration time of a key to a Unix timestamp.",
        expiry::expireat,
    ),
    write(
        "pexpireat",
        -3,
        FAST,
        Keys::ONE,
        G,
        "Sets the expiration time of a key to a Unix milliseconds timestamp.",
        expiry::pexpireat,
    ),
    write("persist", 2, FAST, Keys::ONE, G, "Removes the expiration time of a key.", expiry::persist),
    read("ttl", 2, FAST, Keys::ONE, G, "Returns the expiration time in seconds of a key.", expiry::ttl),
    read("pttl", 2, FAST, Keys::ONE, G, "Returns the expiration time in milliseconds of a key.", expiry::pttl),
    read(
        "expiretime",
        2,
        FAST,
        Keys::ONE,
        G,
        "Returns the expiration time of a key as a Unix timestamp.",
        expiry::expiretime,
    ),
    read(
        "pexpiretime",
        2,
        FAST,
        Keys::ONE,
        G,
        "Returns the expiration time of a key as a Unix milliseconds timestamp.",
        expiry::pexpiretime,
    ),
    read(
        "dbsize",
        1,
        FAST,
        Keys::Space,
        Group::Server,
        "Returns the number of keys in the database.",
        keyspace::dbsize,
    ),
    write(
        "flushdb",
        -1,
        0,
        Keys::Space,
        Group::Server,
        "Removes all keys from the current database.",
        keyspace::flushdb,
    ),
    write("flushall", -1, 0, Keys::Space, Group::Server, "Removes all keys from all databases.", keyspace::flushall),
    write("swapdb", 3, FAST, Keys::Space, Group::Server, "Swaps two Redis databases.", keyspace::swapdb),
];

fn del(transaction: &mut Transaction<'_>, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let mut deleted = 0;
    for key in &args[1..] {
        deleted += transaction.apply(key, &KeyChange::Delete)?.count;
    }
    out.integer(deleted as i64);
    Ok(())
}

fn exists(view: &View<'_>, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let found = args[1..].iter().filter(|key| view.glance(key).is_some()).count();
    out.integer(found as i64);
    Ok(())
}

fn touch(view: &View<'_>, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let found = args[1..].iter().filter(|key| view.get(key).is_some()).count();
    out.integer(found as i64);
    Ok(())
}

fn type_name(view: &View<'_>, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    out.simple(view.glance(args[1]).map_or("none", |entry| entry.value().type_name()));
    Ok(())
}
