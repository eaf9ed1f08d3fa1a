//! How a shard is taken: what is small at once, large values in steps between which the shard is free.
//!
//! ```text
//! lock - take, open snapshots - unlock - lock - step - unlock ... --> pieces, under a number that nothing refers to yet
//! the shard's batch: pages that refer to the numbers, head, and the rows of those that they do not refer to any more go
//! ```
//!
//! Pieces need not wait for the commit offset, for they mean nothing until their page refers to them. A pass that ends early
//! leaves some: they are known, and go when their page is written next.

use std::time::Instant;

use super::{Broken, Pass, Rest};
use crate::engine::Engine;
use crate::ids::{Offset, Partition};
use crate::keyspace::entry_image::Elsewhere;
use crate::keyspace::pages::{Extent, LargeValue, is_unsuitable};
use crate::keyspace::{SnapshotId, Step};
use crate::limits;
use crate::storage::{Batch, Family, Written, piece_key};

impl<'p> Pass<'p> {
    /// Takes what has changed in a shard, and writes the pieces of its large values. Says under which numbers they are.
    /// Nothing: nothing has changed.
    pub(super) fn take_shard(&mut self, index: usize) -> Result<Option<Vec<u32>>, Broken> {
        for tries in 1.. {
            if !self.take_pages(index, tries < limits::IMAGE_TRIES) {
                return Ok(None);
            }
            let written = self.large_values(index);
            if let Ok(Some(numbers)) = written {
                return Ok(Some(numbers));
            }
            let (bits, pages) = (self.taken.bits, std::mem::take(&mut self.taken.pages));
            self.ground.engine.keyspace.lock(index).give_back(bits, &pages);
            written?;
        }
        Ok(None)
    }

    /// False: nothing has changed.
    fn take_pages(&mut self, index: usize, in_steps: bool) -> bool {
        let mut shard = self.ground.engine.keyspace.lock(index);
        self.visited = (0..limits::DATABASES).map(|database| shard.database(database).len()).sum();
        let rows = &self.known.shards[index];
        if !shard.is_changed() || rows.is_none() && shard.last_offset() == Offset::ZERO && shard.is_empty() {
            return false;
        }
        let is_unsuitable =
            rows.is_none() || shard.page_bits() != rows.bits() || is_unsuitable(rows.bytes(), rows.bits());
        let extent = if is_unsuitable { Extent::Whole } else { Extent::Changed };
        let began = Instant::now();
        if in_steps {
            shard.take_in_steps(extent, &mut self.taken);
        } else {
            shard.take(extent, &mut self.taken);
        }
        drop(shard);
        self.report.longest_lock = self.report.longest_lock.max(began.elapsed());
        true
    }

    /// Writes the pieces of the large values that were left out, and lets their pages refer to them. Nothing: one of them was
    /// changed in a way that cannot be followed.
    fn large_values(&mut self, index: usize) -> Result<Option<Vec<u32>>, Broken> {
        let large = std::mem::take(&mut self.taken.large);
        if large.is_empty() {
            return Ok(Some(Vec::new()));
        }
        let engine = self.ground.engine;
        let _open = Open { engine, index, values: &large };
        let mut numbers = Vec::new();
        let mut batch = self.ground.storage.batch();
        for value in &large {
            let Some(snapshot) = value.snapshot else { return Ok(None) };
            let number = self.known.shards[index].next_number();
            let Some(rows) = self.pieces(index, value, snapshot, number, &mut batch)? else { return Ok(None) };
            self.taken.refer(value, Elsewhere { number, rows });
            numbers.push(number);
        }
        self.write_pieces(batch)?;
        Ok(Some(numbers))
    }

    /// Says how many rows it has written. Nothing: the value was changed in a way that cannot be followed.
    fn pieces(
        &mut self,
        index: usize,
        value: &LargeValue,
        snapshot: SnapshotId,
        number: u32,
        batch: &mut Batch<'p>,
    ) -> Result<Option<u32>, Broken> {
        let (partition, page) = (Partition::shard(index), self.taken.page_of(value));
        let (mut rows, mut row) = (0, Vec::new());
        loop {
            let step = {
                let began = Instant::now();
                let mut shard = self.ground.engine.keyspace.lock(index);
                let step = shard.step_snapshot(snapshot, limits::IMAGE_STEP_BYTES, &mut row);
                drop(shard);
                self.report.longest_lock = self.report.longest_lock.max(began.elapsed());
                step
            };
            if step == Step::Broken {
                return Ok(None);
            }
            if row.len() >= limits::LARGE_ROW_BYTES || step == Step::Done {
                batch.put(Family::Keys, &piece_key(partition, page, number, rows), &row);
                self.known.shards[index].note_piece(page, number, rows, row.len());
                rows += 1;
                row.clear();
            }
            if step == Step::Done {
                return Ok(Some(rows));
            }
            if batch.bytes() >= self.ground.bounds.batch {
                let full = std::mem::replace(batch, self.ground.storage.batch());
                self.write_pieces(full)?;
            } else if self.working_since.elapsed() >= limits::CHECKPOINT_WORK {
                let worked = self.working_since.elapsed();
                self.rest(Rest::After(worked))?;
            }
        }
    }

    fn write_pieces(&mut self, batch: Batch<'_>) -> Result<(), Broken> {
        if !batch.is_empty() {
            let bytes = batch.bytes();
            if self.ground.storage.write_rows(batch, self.generation)? == Written::Wiped {
                return Err(Broken::Wiped);
            }
            self.unflushed += bytes;
            self.report.bytes += bytes as u64;
            if self.unflushed >= self.ground.bounds.flush {
                self.flush()?;
            }
        }
        let worked = self.working_since.elapsed();
        self.rest(Rest::After(worked))
    }
}

/// The snapshots of a shard's large values, for as long as this lives.
struct Open<'e> {
    engine: &'e Engine,
    index: usize,
    values: &'e [LargeValue],
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        let closed: Vec<_> = {
            let mut shard = self.engine.keyspace.lock(self.index);
            self.values.iter().filter_map(|value| value.snapshot).map(|id| shard.close_snapshot(id)).collect()
        };
        // What they have kept is dropped without the lock.
        drop(closed);
    }
}
