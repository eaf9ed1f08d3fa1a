//! What does a stream look like as bytes? In full syncs, checkpoints and effects.
//!
//! ```text
//! stream   = nodes | (id | length | listpack)... | length | first id | last id | greatest deleted id | entries added
//!            | groups | group...
//! group    = name | last id | 1 + entries read, 0 = unknown | consumers | consumer... | pending | pending...
//! consumer = name | seen at | 1 + active at, 0 = never
//! pending  = id | place of its consumer among those above | given at | how often
//! ```

use std::sync::Arc;

use super::group::{Given, Group};
use super::node::Node;
use super::{Stream, StreamId};
use crate::keyspace::listpack::Listpack;
use crate::wire::{self, Reader, put_bytes, put_varint};

/// An image that is no stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Wire(#[from] wire::Error),
    #[error("a node of a stream is damaged")]
    Node,
    #[error("a group of a stream is damaged")]
    Group,
}

pub fn put_id(out: &mut Vec<u8>, id: StreamId) {
    put_varint(out, id.ms);
    put_varint(out, id.seq);
}

/// # Errors
/// The bytes end too early.
pub fn take_id(reader: &mut Reader<'_>) -> Result<StreamId, wire::Error> {
    Ok(StreamId::new(reader.varint()?, reader.varint()?))
}

/// Appends the image.
pub fn encode(stream: &Stream, out: &mut Vec<u8>) {
    put_varint(out, stream.nodes.len() as u64);
    for (id, pack) in stream.nodes() {
        put_id(out, id);
        put_bytes(out, pack.as_bytes());
    }
    put_varint(out, stream.length);
    put_id(out, stream.first_id);
    put_id(out, stream.last_id);
    put_id(out, stream.max_deleted_id);
    put_varint(out, stream.added);
    put_varint(out, stream.groups.len() as u64);
    for (name, group) in &stream.groups {
        put_bytes(out, name);
        put_id(out, group.last_id);
        put_option(out, group.read);
        put_varint(out, group.consumers().len() as u64);
        for (name, consumer) in group.consumers() {
            put_bytes(out, name);
            put_varint(out, consumer.seen_at);
            put_option(out, consumer.active_at);
        }
        let names: Vec<&Arc<[u8]>> = group.consumers().keys().collect();
        put_varint(out, group.pending().len() as u64);
        for (id, pending) in group.pending() {
            put_id(out, *id);
            put_varint(out, names.binary_search(&&pending.consumer).unwrap_or(0) as u64);
            put_varint(out, pending.given_at);
            put_varint(out, pending.count);
        }
    }
}

/// Reads an image.
///
/// # Errors
/// The bytes are not what `encode` writes.
pub fn decode(reader: &mut Reader<'_>) -> Result<Stream, Error> {
    let mut stream = Stream::default();
    for _ in 0..reader.varint()? {
        let id = take_id(reader)?;
        stream.load_node(id, reader.bytes()?.to_vec()).map_err(|_| Error::Node)?;
    }
    if reader.varint()? != stream.length {
        return Err(Error::Node);
    }
    stream.first_id = take_id(reader)?;
    stream.last_id = take_id(reader)?;
    stream.max_deleted_id = take_id(reader)?;
    stream.added = reader.varint()?;
    for _ in 0..reader.varint()? {
        let name = reader.bytes()?;
        let mut group = Group::new(take_id(reader)?, take_option(reader)?);
        let mut names = Vec::new();
        for _ in 0..reader.varint()? {
            let consumer = reader.bytes()?;
            let (seen_at, active_at) = (reader.varint()?, take_option(reader)?);
            group.see(consumer, seen_at, active_at);
            names.push(consumer);
        }
        for _ in 0..reader.varint()? {
            let id = take_id(reader)?;
            let place = usize::try_from(reader.varint()?).map_err(|_| Error::Group)?;
            let name = names.get(place).ok_or(Error::Group)?;
            group.give(name, Given { id, at: reader.varint()?, count: reader.varint()? });
        }
        if !stream.create_group(name, group) {
            return Err(Error::Group);
        }
    }
    Ok(stream)
}

impl Stream {
    /// Takes a node over that lies behind the others, and counts its entries.
    ///
    /// # Errors
    /// It is damaged, or not in its place.
    pub fn load_node(&mut self, id: StreamId, pack: Vec<u8>) -> Result<(), Error> {
        let pack = Listpack::from_bytes(pack).map_err(|_| Error::Node)?;
        let node = Node::checked(id, pack).ok_or(Error::Node)?;
        if self.nodes.last_key_value().is_some_and(|(last, _)| *last >= id) {
            return Err(Error::Node);
        }
        self.length += node.live();
        self.nodes.insert(id, node);
        Ok(())
    }

    /// Sets what stands beside the entries; the first id as found among them where it is not given.
    pub fn load_summary(&mut self, first: Option<StreamId>, last: StreamId, max_deleted: StreamId, added: u64) {
        (self.last_id, self.max_deleted_id, self.added) = (last, max_deleted, added);
        match first {
            Some(first) => self.first_id = first,
            None => self.find_first(),
        }
    }
}

fn put_option(out: &mut Vec<u8>, number: Option<u64>) {
    put_varint(out, number.map_or(0, |number| number.saturating_add(1)));
}

fn take_option(reader: &mut Reader<'_>) -> Result<Option<u64>, wire::Error> {
    Ok(reader.varint()?.checked_sub(1))
}
