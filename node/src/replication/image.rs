//! A partition as bytes, for a full sync, in chunks.
//!
//! ```text
//! image of a shard = entry ...      see `keyspace::entry_image`; large values follow on the others, in pieces
//! image of a queue = last id, message ...      see `broker::image`
//! ```
//!
//! The cut of an image is the end of the journal when it begins: every record that changed the partition was appended
//! under the same lock, so the image holds exactly the effects of the records up to the cut. The lock is held for what is
//! small, and then for a step at a time.

use bytes::Bytes;
use tercet_proto::grpc::peer::v1 as wire;
use tracing::warn;

use crate::engine::Engine;
use crate::ids::{Offset, Partition, PartitionKind};
use crate::keyspace::entry_image::put_entry;
use crate::keyspace::value::image::pieces::is_large;
use crate::keyspace::{SnapshotId, Step};
use crate::limits;

/// Nobody wants the image any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Abandoned;

/// Takes a chunk away.
pub(crate) type Send<'s> = dyn FnMut(wire::Image) -> Result<(), Abandoned> + 's;

/// Makes the image of a partition and says its cut.
///
/// # Errors
/// `send` wants no more of it.
pub(crate) fn make(engine: &Engine, partition: Partition, send: &mut Send<'_>) -> Result<Offset, Abandoned> {
    match partition.kind() {
        PartitionKind::Shard(index) => shard(engine, index, send),
        PartitionKind::Queue(number) => queue(engine, number, send),
        PartitionKind::Topology => {
            let mut image = Vec::new();
            let cut = engine.broker.image(partition, || engine.journal.end(), &mut image);
            whole(partition, cut, image, send)
        }
        PartitionKind::Accounts => {
            let mut image = Vec::new();
            let cut = engine.accounts.image(|_| engine.journal.end(), &mut image);
            whole(partition, cut, image, send)
        }
    }
}

fn whole(partition: Partition, cut: Offset, image: Vec<u8>, send: &mut Send<'_>) -> Result<Offset, Abandoned> {
    let mut chunks = Chunks::new(partition, cut, send);
    chunks.put(image)?;
    chunks.finish()
}

fn shard(engine: &Engine, index: usize, send: &mut Send<'_>) -> Result<Offset, Abandoned> {
    for tries in 1.. {
        let mut open = Open { engine, shard: index, snapshots: Vec::new() };
        let mut image = Vec::new();
        let cut = open.begin(tries < limits::IMAGE_TRIES, &mut image);
        let mut chunks = Chunks::new(Partition::shard(index), cut, send);
        chunks.put(image)?;
        if open.steps(&mut chunks)? == Step::Done {
            return chunks.finish();
        }
    }
    Err(Abandoned)
}

/// The snapshots of one image, for as long as this lives.
struct Open<'e> {
    engine: &'e Engine,
    shard: usize,
    snapshots: Vec<SnapshotId>,
}

impl Open<'_> {
    /// Takes what is small, and opens a snapshot of everything else.
    fn begin(&mut self, in_steps: bool, image: &mut Vec<u8>) -> Offset {
        let mut shard = self.engine.keyspace.lock(self.shard);
        let (mut scratch, mut large) = (Vec::new(), Vec::new());
        for (database, table) in shard.databases() {
            for entry in table.iter_values() {
                if in_steps && is_large(entry.value()) {
                    large.push((database, entry.key().to_vec()));
                } else {
                    put_entry(database, entry, &mut scratch, image);
                }
            }
        }
        self.snapshots = large.iter().filter_map(|(database, key)| shard.open_snapshot(*database, key)).collect();
        self.engine.journal.end()
    }

    /// `Broken`: all of it has to begin again.
    fn steps(&self, chunks: &mut Chunks<'_, '_>) -> Result<Step, Abandoned> {
        for snapshot in &self.snapshots {
            loop {
                let mut pieces = Vec::with_capacity(limits::IMAGE_CHUNK_BYTES);
                let step = {
                    let mut shard = self.engine.keyspace.lock(self.shard);
                    shard.step_snapshot(*snapshot, limits::IMAGE_STEP_BYTES, &mut pieces)
                };
                chunks.put(pieces)?;
                match step {
                    Step::More => {}
                    Step::Done => break,
                    Step::Broken => return Ok(Step::Broken),
                }
            }
        }
        Ok(Step::Done)
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        let closed: Vec<_> = {
            let mut shard = self.engine.keyspace.lock(self.shard);
            self.snapshots.iter().map(|snapshot| shard.close_snapshot(*snapshot)).collect()
        };
        drop(closed);
    }
}

fn queue(engine: &Engine, number: u32, send: &mut Send<'_>) -> Result<Offset, Abandoned> {
    let partition = Partition::queue(number);
    let mut bytes = Vec::new();
    let Some(mut image) = engine.broker.begin_queue_image(number, || engine.journal.end(), &mut bytes) else {
        return Chunks::new(partition, engine.journal.end(), send).finish();
    };
    let mut chunks = Chunks::new(partition, image.cut, send);
    let mut tries = 0;
    loop {
        let before = (image, bytes.len());
        match engine.broker.step_queue_image(&mut image, limits::IMAGE_STEP_BYTES, &mut bytes) {
            Ok(true) => chunks.put(std::mem::take(&mut bytes))?,
            Ok(false) => break,
            Err(error) if tries >= limits::IMAGE_READS => {
                warn!(queue = number, %error, "the image of a queue cannot be made");
                return Err(Abandoned);
            }
            Err(_) => {
                tries += 1;
                image = before.0;
                bytes.truncate(before.1);
                std::thread::sleep(limits::DISK_RETRY);
            }
        }
    }
    chunks.put(bytes)?;
    chunks.finish()
}

/// The chunks of one image. The last one is held back until it is known to be the last.
struct Chunks<'c, 's> {
    partition: Partition,
    cut: Offset,
    is_first: bool,
    held: Option<Bytes>,
    send: &'c mut Send<'s>,
}

impl<'c, 's> Chunks<'c, 's> {
    fn new(partition: Partition, cut: Offset, send: &'c mut Send<'s>) -> Self {
        Self { partition, cut, is_first: true, held: None, send }
    }

    fn put(&mut self, bytes: Vec<u8>) -> Result<(), Abandoned> {
        let mut bytes = Bytes::from(bytes);
        while !bytes.is_empty() {
            let chunk = bytes.split_to(bytes.len().min(limits::IMAGE_CHUNK_BYTES));
            if let Some(before) = self.held.replace(chunk) {
                self.send(before, false)?;
            }
        }
        Ok(())
    }

    /// An empty image is a chunk too: it says that the partition is empty.
    fn finish(mut self) -> Result<Offset, Abandoned> {
        let last = self.held.take().unwrap_or_default();
        self.send(last, true)?;
        Ok(self.cut)
    }

    fn send(&mut self, chunk: Bytes, last: bool) -> Result<(), Abandoned> {
        let first = std::mem::replace(&mut self.is_first, false);
        (self.send)(wire::Image { partition: self.partition.0, cut: self.cut.0, chunk, last, first })
    }
}

/// Forgets everything that is replicated.
pub fn reset(engine: &Engine) {
    for index in 0..engine.keyspace.len() {
        engine.keyspace.lock(index).reset();
    }
    engine.broker.reset();
    engine.accounts.reset();
}

/// The chunks of an image, all at once.
#[cfg(test)]
pub(super) fn chunks(engine: &Engine, partition: Partition) -> Vec<wire::Image> {
    let mut chunks = Vec::new();
    make(engine, partition, &mut |chunk| {
        chunks.push(chunk);
        Ok(())
    })
    .unwrap();
    chunks
}
