//! Images become partitions, chunk by chunk as they come.
//!
//! What of a chunk is no whole entry or message waits for the next chunk. A partition is held for one chunk at a time.

use tercet_proto::grpc::peer::v1 as wire_messages;

use crate::broker::rows::{Exact, QueueLoader};
use crate::engine::Engine;
use crate::ids::{Offset, Partition, PartitionKind};
use crate::keyspace::entry_image::{self, take_entry};
use crate::limits;
use crate::wire::{self, Reader};

/// An image that cannot be loaded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("the image of partition {partition} cannot be read: {error}")]
    Image { partition: u32, error: entry_image::Error },
    #[error("the image of partition {partition} does not fit: {what}")]
    State { partition: u32, what: String },
}

/// A chunk of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chunk {
    pub partition: Partition,
    pub cut: Offset,
    pub bytes: bytes::Bytes,
    /// The image begins with it: what was there goes.
    pub is_first: bool,
    /// The image is whole with it.
    pub is_last: bool,
}

impl From<wire_messages::Image> for Chunk {
    fn from(image: wire_messages::Image) -> Self {
        let (partition, cut) = (Partition(image.partition), Offset(image.cut));
        Self { partition, cut, bytes: image.chunk, is_first: image.first, is_last: image.last }
    }
}

/// The image that is coming. One a replica.
#[derive(Debug, Default)]
pub struct Loader {
    present: Option<Present>,
}

#[derive(Debug)]
struct Present {
    partition: Partition,
    /// What has come and was not whole.
    rest: Vec<u8>,
    /// A queue, with its last id.
    queue: Option<(u64, QueueLoader)>,
}

impl Loader {
    /// Takes the next chunk.
    ///
    /// # Errors
    /// It cannot be read, or is out of place.
    pub fn push(&mut self, engine: &Engine, chunk: &Chunk) -> Result<(), Error> {
        let partition = chunk.partition;
        let wrong = |what: &str| Error::State { partition: partition.0, what: what.to_owned() };
        if chunk.is_first {
            self.present = Some(Present { partition, rest: Vec::new(), queue: None });
            if let PartitionKind::Shard(index) = partition.kind() {
                if index >= engine.keyspace.len() {
                    return Err(wrong("no such shard"));
                }
                engine.keyspace.lock(index).reset();
            }
        }
        let present = self.present.as_mut().filter(|present| present.partition == partition);
        let present = present.ok_or_else(|| wrong("a chunk that goes on with another image"))?;
        if present.rest.len().saturating_add(chunk.bytes.len()) > limits::RECORD_BYTES {
            return Err(wrong("an entry that is larger than any legal record"));
        }
        // Mostly a chunk is read where it lies.
        let mut joined = std::mem::take(&mut present.rest);
        let is_joined = !joined.is_empty();
        if is_joined {
            joined.extend_from_slice(&chunk.bytes);
        }
        let bytes = if is_joined { &joined[..] } else { &chunk.bytes[..] };
        let read = match partition.kind() {
            PartitionKind::Shard(index) => shard(engine, index, chunk, bytes)?,
            PartitionKind::Queue(number) => present.queue(engine, number, chunk, bytes)?,
            PartitionKind::Topology | PartitionKind::Accounts => whole(engine, chunk, bytes)?,
        };
        if chunk.is_last {
            self.present = None;
            return if read == bytes.len() { Ok(()) } else { Err(wrong("it ends amid an entry")) };
        }
        present.rest = if is_joined {
            joined.drain(..read);
            joined
        } else {
            bytes[read..].to_vec()
        };
        Ok(())
    }
}

/// Says how many bytes were whole entries.
fn shard(engine: &Engine, index: usize, chunk: &Chunk, bytes: &[u8]) -> Result<usize, Error> {
    let broken = |error| Error::Image { partition: chunk.partition.0, error };
    let mut shard = engine.keyspace.lock(index);
    let mut reader = Reader::new(bytes);
    while !reader.is_empty() {
        let mut ahead = reader;
        match take_entry(&mut ahead) {
            Ok(entry) => shard.load(&entry).map_err(broken)?,
            Err(entry_image::Error::Wire(wire::Error::Short)) => break,
            Err(error) => return Err(broken(error)),
        }
        reader = ahead;
    }
    if chunk.is_last {
        shard.changed_at(chunk.cut);
    }
    Ok(bytes.len() - reader.remaining())
}

/// What is read once all of it has come.
fn whole(engine: &Engine, chunk: &Chunk, bytes: &[u8]) -> Result<usize, Error> {
    if !chunk.is_last {
        return Ok(0);
    }
    let wrong = |what: String| Error::State { partition: chunk.partition.0, what };
    match chunk.partition.kind() {
        PartitionKind::Accounts => {
            engine.accounts.load_image(chunk.cut, bytes).map_err(|error| wrong(error.to_string()))?;
        }
        PartitionKind::Topology | PartitionKind::Shard(_) | PartitionKind::Queue(_) => {
            let loaded = engine.broker.load_image(chunk.partition, chunk.cut, bytes);
            loaded.map_err(|error| wrong(error.to_string()))?;
        }
    }
    Ok(bytes.len())
}

impl Present {
    fn queue(&mut self, engine: &Engine, number: u32, chunk: &Chunk, bytes: &[u8]) -> Result<usize, Error> {
        let wrong = |what: String| Error::State { partition: chunk.partition.0, what };
        let mut reader = Reader::new(bytes);
        if self.queue.is_none() && !bytes.is_empty() {
            match reader.varint() {
                Ok(last_id) => self.queue = Some((last_id, QueueLoader::new(&engine.broker))),
                Err(wire::Error::Short) => return Ok(0),
                Err(error) => return Err(wrong(error.to_string())),
            }
        }
        // None: it has been deleted; the record that says so is on its way.
        if let Some((_, loader)) = &mut self.queue {
            while !reader.is_empty() {
                match loader.push_next(&mut reader) {
                    Ok(()) => {}
                    Err(crate::broker::Error::Image(wire::Error::Short)) => break,
                    Err(error) => return Err(wrong(error.to_string())),
                }
            }
        }
        if chunk.is_last
            && let Some((last_id, loader)) = self.queue.take()
        {
            let finished = loader.finish(&engine.broker, number, chunk.cut, last_id, Exact::No);
            finished.map_err(|error| wrong(error.to_string()))?;
        }
        Ok(bytes.len() - reader.remaining())
    }
}

#[cfg(test)]
mod tests;
