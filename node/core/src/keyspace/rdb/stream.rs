//! Streams in Redis's files.
//!
//! ```text
//! nodes | (id, 16 bytes BE, as a string | listpack)... | length | last id | first id | greatest deleted id | added
//! | groups | (name | last id | entries read | pending | (id | ms i64 LE | count)...
//!             | consumers | (name | seen i64 LE | active i64 LE | pending | id...)...)...
//! ```
//!
//! The first form knows nothing from the first id to what was added, nor what groups have read; the second no times at
//! which consumers were active.

use std::collections::BTreeMap;

use super::kind;
use super::read::Reader;
use super::write::{put_bytes, put_length};
use crate::keyspace::value::stream::{Given, Group, Stream, StreamId};

/// Entries read, where nobody knows.
const UNKNOWN: u64 = u64::MAX;

/// Writes the second form.
pub(super) fn encode(stream: &Stream, out: &mut Vec<u8>) {
    put_length(stream.nodes().len() as u64, out);
    for (id, pack) in stream.nodes() {
        put_bytes(&id.to_bytes(), out);
        put_bytes(pack.as_bytes(), out);
    }
    let summary = stream.summary();
    put_length(summary.length, out);
    put_id(summary.last_id, out);
    put_id(summary.first_id, out);
    put_id(summary.max_deleted_id, out);
    put_length(summary.added, out);
    put_length(stream.groups().len() as u64, out);
    for (name, group) in stream.groups() {
        put_bytes(name, out);
        put_id(group.last_id, out);
        put_length(group.read.unwrap_or(UNKNOWN), out);
        put_length(group.pending().len() as u64, out);
        for (id, pending) in group.pending() {
            out.extend_from_slice(&id.to_bytes());
            out.extend_from_slice(&pending.given_at.to_le_bytes());
            put_length(pending.count, out);
        }
        put_length(group.consumers().len() as u64, out);
        for (name, consumer) in group.consumers() {
            put_bytes(name, out);
            out.extend_from_slice(&consumer.seen_at.to_le_bytes());
            put_length(consumer.pending().len() as u64, out);
            consumer.pending().iter().for_each(|id| out.extend_from_slice(&id.to_bytes()));
        }
    }
}

fn put_id(id: StreamId, out: &mut Vec<u8>) {
    put_length(id.ms, out);
    put_length(id.seq, out);
}

pub(super) fn decode(kind: u8, reader: &mut Reader<'_>) -> Option<Stream> {
    let mut stream = Stream::default();
    for _ in 0..reader.number()? {
        let id = <[u8; 16]>::try_from(&*reader.string()?).ok()?;
        stream.load_node(StreamId::from_bytes(id), reader.string()?.into_owned()).ok()?;
    }
    if reader.number()? != stream.len() {
        return None;
    }
    let last_id = take_id(reader)?;
    if kind == kind::STREAM {
        let length = stream.len();
        stream.load_summary(None, last_id, StreamId::MIN, length);
    } else {
        let (first_id, max_deleted_id) = (take_id(reader)?, take_id(reader)?);
        let added = reader.number()?;
        stream.load_summary(Some(first_id), last_id, max_deleted_id, added);
    }
    for _ in 0..reader.number()? {
        let name = reader.string()?;
        let last_id = take_id(reader)?;
        let read = match kind {
            kind::STREAM => stream.added_up_to(last_id),
            _ => Some(reader.number()?).filter(|read| *read != UNKNOWN),
        };
        let group = take_group(kind, reader, Group::new(last_id, read))?;
        stream.create_group(&name, group).then_some(())?;
    }
    Some(stream)
}

fn take_group(kind: u8, reader: &mut Reader<'_>, mut group: Group) -> Option<Group> {
    let mut pending = BTreeMap::new();
    for _ in 0..reader.number()? {
        let id = StreamId::from_bytes(reader.array()?);
        let (at, count) = (time(reader)?, reader.number()?);
        pending.insert(id, Given { id, at, count }).is_none().then_some(())?;
    }
    for _ in 0..reader.number()? {
        let name = reader.string()?;
        group.consumer(&name).is_none().then_some(())?;
        let seen_at = time(reader)?;
        let active_at = match kind {
            kind::STREAM_3 => Some(i64::from_le_bytes(reader.array()?)).and_then(|at| u64::try_from(at).ok()),
            _ => Some(seen_at),
        };
        group.see(&name, seen_at, active_at);
        for _ in 0..reader.number()? {
            // Each has one owner.
            let given = pending.remove(&StreamId::from_bytes(reader.array()?))?;
            group.give(&name, given);
        }
    }
    pending.is_empty().then_some(group)
}

fn take_id(reader: &mut Reader<'_>) -> Option<StreamId> {
    Some(StreamId::new(reader.number()?, reader.number()?))
}

fn time(reader: &mut Reader<'_>) -> Option<u64> {
    Some(i64::from_le_bytes(reader.array()?).max(0) as u64)
}
