//! Streams: entries in the order of their ids, and the groups that read them.

mod add;
mod claim;
mod group;
mod id;
mod info;
mod pending;
mod range;
mod read;

use tercet_proto::resp::Encoder;

use super::{help, number, typed};
use crate::effect::{KeyChange, StreamChange, class};
use crate::engine::Transaction;
use crate::keyspace::Entry as KeyEntry;
use crate::keyspace::value::ValueRef;
use crate::keyspace::value::stream::{Entry, Group as ConsumerGroup, Stream, StreamId};
use crate::resp::error::Error;
use crate::resp::table::flag::{BLOCKING, DENY_OOM, FAST};
use crate::resp::table::{Command, Group, Keys, Outcome, container, read as reading, write};

const G: Group = Group::Stream;

pub(super) const ROWS: &[Command] = &[
    write(
        "xadd",
        -5,
        DENY_OOM | FAST,
        Keys::ONE,
        G,
        "Appends a new message to a stream. Creates the key if it doesn't exist.",
        add::xadd,
    ),
    write("xtrim", -4, 0, Keys::ONE, G, "Deletes messages from the beginning of a stream.", add::xtrim),
    write(
        "xdel",
        -3,
        FAST,
        Keys::ONE,
        G,
        "Returns the number of messages after removing them from a stream.",
        add::xdel,
    ),
    write(
        "xsetid",
        -3,
        DENY_OOM | FAST,
        Keys::ONE,
        G,
        "An internal command for replicating stream values.",
        add::xsetid,
    ),
    reading("xlen", 2, FAST, Keys::ONE, G, "Return the number of messages in a stream.", range::xlen),
    reading("xrange", -4, 0, Keys::ONE, G, "Returns the messages from a stream within a range of IDs.", range::xrange),
    reading(
        "xrevrange",
        -4,
        0,
        Keys::ONE,
        G,
        "Returns the messages from a stream within a range of IDs in reverse order.",
        range::xrevrange,
    ),
    reading(
        "xread",
        -4,
        BLOCKING,
        Keys::Streams,
        G,
        "Returns messages from multiple streams with IDs greater than the ones requested. Blocks until a message is available otherwise.",
        read::xread,
    ),
    write(
        "xreadgroup",
        -7,
        BLOCKING,
        Keys::Streams,
        G,
        "Returns new or historical messages from a stream for a consumer in a group. Blocks until a message is available otherwise.",
        read::xreadgroup,
    ),
    container("xgroup", G, "A container for consumer groups commands.", group::ROWS),
    write(
        "xack",
        -4,
        FAST,
        Keys::ONE,
        G,
        "Returns the number of messages that were successfully acknowledged by the consumer group member of a stream.",
        pending::xack,
    ),
    reading(
        "xpending",
        -3,
        0,
        Keys::ONE,
        G,
        "Returns the information and entries from a stream consumer group's pending entries list.",
        pending::xpending,
    ),
    write(
        "xclaim",
        -6,
        FAST,
        Keys::ONE,
        G,
        "Changes, or acquires, ownership of a message in a consumer group, as if the message was delivered a consumer group member.",
        claim::xclaim,
    ),
    write(
        "xautoclaim",
        -6,
        FAST,
        Keys::ONE,
        G,
        "Changes, or acquires, ownership of messages in a consumer group, as if the messages were delivered to as consumer group member.",
        claim::xautoclaim,
    ),
    container("xinfo", G, "A container for stream introspection commands.", info::ROWS),
];

fn stream(value: Option<ValueRef<'_>>) -> Result<Option<&Stream>, Error> {
    match value {
        None => Ok(None),
        Some(ValueRef::Stream(stream)) => Ok(Some(stream)),
        Some(_) => Err(Error::WrongType),
    }
}

fn stream_of(entry: Option<KeyEntry<'_>>) -> Result<Option<&Stream>, Error> {
    stream(typed::value(entry))
}

fn lossy(bytes: &[u8]) -> std::borrow::Cow<'_, str> {
    String::from_utf8_lossy(number::c_text(bytes))
}

/// The group, or the error of commands that need it and the key.
fn group_of<'s>(stream: Option<&'s Stream>, key: &[u8], group: &[u8]) -> Result<&'s ConsumerGroup, Error> {
    let found = stream.and_then(|stream| stream.group(group));
    found.ok_or_else(|| {
        Error::text(format!("NOGROUP No such key '{}' or consumer group '{}'", lossy(key), lossy(group)))
    })
}

/// Notes that a consumer was here, and makes it if the group does not know it.
fn see(
    transaction: &mut Transaction<'_>,
    key: &[u8],
    (group, consumer): (&[u8], &[u8]),
    active_at: Option<u64>,
) -> Outcome {
    let seen_at = transaction.now().0;
    let slot = transaction.open(key);
    let known = stream(slot.value())?.and_then(|stream| stream.group(group)?.consumer(consumer)).is_some();
    let (class, name) = if known { (0, "") } else { (class::STREAM, "xgroup-createconsumer") };
    slot.apply_as(class, name, &KeyChange::Stream(StreamChange::See { group, consumer, seen_at, active_at }))?;
    Ok(())
}

fn reply_id(id: StreamId, out: &mut Encoder<'_>) {
    out.bulk(id.to_string().as_bytes());
}

fn reply_entry(entry: &Entry<'_>, out: &mut Encoder<'_>) {
    out.array(2);
    reply_id(entry.id, out);
    out.array(entry.len() * 2);
    for (field, value) in entry.fields() {
        field.with_text(|text| out.bulk(text));
        value.with_text(|text| out.bulk(text));
    }
}

fn reply_entries(entries: &[Entry<'_>], out: &mut Encoder<'_>) {
    out.array(entries.len());
    entries.iter().for_each(|entry| reply_entry(entry, out));
}

/// A count of entries, where 0 is all of them.
fn limit(count: u64) -> usize {
    if count == 0 { usize::MAX } else { usize::try_from(count).unwrap_or(usize::MAX) }
}
