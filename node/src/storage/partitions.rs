//! The rows of partitions, each partition's behind a head that says up to which record they are exact.
//!
//! ```text
//! keys      partition (u32 BE)                   -> head of a shard
//!           partition | page (u16 BE)            -> entries
//!             ... | number | piece (u32 BE each) -> entries, of one large value to which its page refers by the number
//! messages  partition (u32 BE)                   -> head of a queue, or of the topology
//!           partition | id (u64 BE)              -> a message; id 0: the topology
//! cuts      `floor`                              -> the rows of all partitions hold every record up to here
//! ```
//!
//! Rows are not in the write-ahead log: they would be written twice, and a sync of the journal would have to wait for
//! them. They reach the disk when their family is flushed. Instead of a log there are three rules:
//!
//! **Invariant:** head and rows of a partition are of one family and, where it matters, of one batch. A family is flushed
//! in the order of its batches and whole batches at a time, so a crash leaves the state behind some batch.
//!
//! **Invariant:** rows are written behind the journal up to their cut, and the log is synced before they are flushed. So
//! they are never ahead of the journal on disk.
//!
//! **Invariant:** the floor, and with it the start of the journal, moves only after a flush.

use std::ops::Range;

use rocksdb::{ReadOptions, WriteOptions};

use super::journal::put_commit;
use super::{Batch, Error, Family, Storage, Sync};
use crate::ids::{Offset, Partition};
use crate::limits;
use crate::wire::{self, Reader};

const FLOOR: &str = "floor";

/// Counts the wipes of a directory, and how often it was opened again: rows of the state before one are not written behind
/// it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Generation(u64);

/// What became of a batch of rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Written {
    Yes,
    /// The directory was wiped meanwhile, for another state; or the database was opened again, and rows may be gone.
    Wiped,
}

#[must_use]
pub fn head_key(partition: Partition) -> [u8; 4] {
    partition.0.to_be_bytes()
}

#[must_use]
pub fn page_key(partition: Partition, page: usize) -> [u8; 6] {
    let mut key = [0; 6];
    key[..4].copy_from_slice(&partition.0.to_be_bytes());
    key[4..].copy_from_slice(&(page as u16).to_be_bytes());
    key
}

/// A row of a large value.
#[must_use]
pub fn piece_key(partition: Partition, page: usize, number: u32, piece: u32) -> [u8; 14] {
    let mut key = [0; 14];
    key[..6].copy_from_slice(&page_key(partition, page));
    key[6..10].copy_from_slice(&number.to_be_bytes());
    key[10..].copy_from_slice(&piece.to_be_bytes());
    key
}

/// What follows the partition in the key of a row of a shard: its page, or the page, the number and the piece of a large
/// value. `None`: neither.
#[must_use]
pub fn split_page(rest: &[u8]) -> Option<(usize, Option<(u32, u32)>)> {
    let (page, rest) = rest.split_first_chunk()?;
    let page = usize::from(u16::from_be_bytes(*page));
    if rest.is_empty() {
        return Some((page, None));
    }
    let (number, piece) = rest.split_first_chunk()?;
    let piece = piece.try_into().ok()?;
    Some((page, Some((u32::from_be_bytes(*number), u32::from_be_bytes(piece)))))
}

#[must_use]
pub fn message_key(partition: Partition, id: u64) -> [u8; 12] {
    let mut key = [0; 12];
    key[..4].copy_from_slice(&partition.0.to_be_bytes());
    key[4..].copy_from_slice(&id.to_be_bytes());
    key
}

/// The partition of a row, and what follows it in the key.
#[must_use]
pub fn split_key(key: &[u8]) -> Option<(Partition, &[u8])> {
    let (partition, rest) = key.split_first_chunk()?;
    Some((Partition(u32::from_be_bytes(*partition)), rest))
}

impl Storage {
    #[must_use]
    pub fn generation(&self) -> Generation {
        *self.generation.lock()
    }

    /// A wipe is under way as long as this is held.
    pub(super) fn next_generation(&self) -> impl Drop + '_ {
        let mut generation = self.generation.lock();
        generation.0 += 1;
        generation
    }

    /// Writes rows of partitions, without the log.
    ///
    /// # Errors
    /// The disk refuses; nothing of the batch counts.
    pub fn write_rows(&self, batch: Batch<'_>, generation: Generation) -> Result<Written, Error> {
        let present = self.generation.lock();
        if *present != generation {
            return Ok(Written::Wiped);
        }
        let mut options = WriteOptions::default();
        options.disable_wal(true);
        let changes = batch.into_changes()?;
        self.database.get()?.write_opt(changes, &options).map_err(|error| self.write_error(error))?;
        Ok(Written::Yes)
    }

    /// Brings all rows that were written to the disk.
    ///
    /// # Errors
    /// The disk refuses; what was written since the last flush may be lost.
    pub fn flush_rows(&self, generation: Generation) -> Result<Written, Error> {
        self.sync()?;
        let database = self.database.get()?;
        // Behind this the rows of this generation are in the database that is open, or lost with the one before.
        if self.generation() != generation {
            return Ok(Written::Wiped);
        }
        // Rows of queues refer to runs, so these come first.
        for family in [Family::Runs, Family::Keys, Family::Messages] {
            database.flush_cf(database.family(family)).map_err(|error| self.write_error(error))?;
        }
        Ok(Written::Yes)
    }

    /// The rows of all partitions, which are flushed, hold every record up to here; and so much is known to be committed. In
    /// the log when it returns.
    ///
    /// # Errors
    /// The disk refuses.
    pub fn put_floor(&self, floor: Offset, commit: Offset, generation: Generation) -> Result<Written, Error> {
        let present = self.generation.lock();
        if *present != generation {
            return Ok(Written::Wiped);
        }
        let mut value = Vec::new();
        wire::put_varint(&mut value, floor.0);
        let mut batch = self.batch();
        batch.put(Family::Cuts, FLOOR.as_bytes(), &value);
        put_commit(&mut batch, commit);
        self.write(batch, Sync::Later)?;
        Ok(Written::Yes)
    }

    /// # Errors
    /// It cannot be read, or is damaged.
    pub fn floor(&self) -> Result<Offset, Error> {
        let Some(value) = self.row(Family::Cuts, FLOOR.as_bytes())? else { return Ok(Offset::ZERO) };
        let floor = Reader::new(&value).varint().map(Offset);
        floor.map_err(|error| self.damaged(FLOOR, format!("{error} in {value:?}")))
    }

    /// Lends the rows of a family in a range of keys, ascending.
    ///
    /// # Errors
    /// They cannot be read, or `visit` says so.
    pub fn each_row<E: From<Error>>(
        &self,
        family: Family,
        range: Range<&[u8]>,
        mut visit: impl FnMut(&[u8], &[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut options = ReadOptions::default();
        options.set_readahead_size(limits::READ_AHEAD_BYTES);
        options.set_iterate_upper_bound(range.end);
        options.fill_cache(false);
        let database = self.database.get()?;
        let mut rows = database.raw_iterator_cf_opt(database.family(family), options);
        rows.seek(range.start);
        while let Some((key, value)) = rows.item() {
            visit(key, value)?;
            rows.next();
        }
        rows.status().map_err(|error| E::from(self.read_error(error)))
    }

    /// The next partition of a family that has rows, from `from` on.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn next_partition(&self, family: Family, from: Partition) -> Result<Option<Partition>, Error> {
        let database = self.database.get()?;
        let mut rows = database.raw_iterator_cf(database.family(family));
        rows.seek(head_key(from));
        rows.status().map_err(|error| self.read_error(error))?;
        match rows.key() {
            None => Ok(None),
            Some(key) => match split_key(key) {
                Some((partition, _)) => Ok(Some(partition)),
                None => Err(self.damaged("key of a row", format!("{key:?}"))),
            },
        }
    }

    /// Files that wait to be merged into the others: the more there are, the more a start has to look through.
    #[must_use]
    pub fn unmerged_files(&self) -> u64 {
        let property = |family| self.property(family, "rocksdb.num-files-at-level0");
        property(Family::Keys).max(property(Family::Messages))
    }

    /// Bytes of the rows in `messages`, about.
    #[must_use]
    pub fn message_bytes(&self) -> u64 {
        self.property(Family::Messages, "rocksdb.estimate-live-data-size")
    }
}
