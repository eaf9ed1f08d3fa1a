//! The family `journal`: the records that everything on disk is replayed from, and its bounds in `meta`.
//!
//! ```text
//! first offset (u64 BE) -> epoch (varint) | last offset (varint) | records
//! start ------ first ... last | first ... last | ... ------ end
//! ```
//!
//! The rows are gapless from `start` on. What lies up to `start` does not count, though its rows may still be there: they
//! go with their files.

use std::sync::atomic::Ordering;

use bytes::Bytes;

use super::{Batch, Error, Family, Storage, Sync, name};
use crate::ids::{Epoch, Offset};
use crate::journal::{Block, Span};
use crate::limits;
use crate::wire::{self, Reader};

/// What the journal on disk holds.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Bounds {
    /// Its first record is the next one.
    pub start: Offset,
    pub end: Offset,
    pub history: Vec<Span>,
    /// A commit offset that was reached. The true one may have been greater.
    pub commit: Offset,
}

impl Storage {
    /// What the journal on disk holds.
    ///
    /// # Errors
    /// It cannot be read, or is damaged.
    pub fn journal_bounds(&self) -> Result<Bounds, Error> {
        let start = self.read_offset(name::JOURNAL_START)?;
        let end = self.last_row()?.map_or(start, |block| block.last.max(start));
        let history = match self.row(Family::Meta, name::JOURNAL_HISTORY.as_bytes())? {
            None => Vec::new(),
            Some(bytes) => decode_history(&bytes)
                .map_err(|_| self.damaged(name::JOURNAL_HISTORY, String::from_utf8_lossy(&bytes).into_owned()))?,
        };
        let commit = self.read_offset(name::JOURNAL_COMMIT)?.min(end);
        Ok(Bounds { start, end, history, commit })
    }

    /// The block behind `after`. `None`: there is none, or what follows on `after` is not kept.
    ///
    /// # Errors
    /// It cannot be read, or is damaged.
    pub fn journal_behind(&self, after: Offset) -> Result<Option<Block>, Error> {
        let database = self.database.get()?;
        let mut rows = database.raw_iterator_cf(database.family(Family::Journal));
        rows.seek_for_prev(key(after.next()));
        rows.status().map_err(|error| self.read_error(error))?;
        let Some((key, value)) = rows.item() else { return Ok(None) };
        let block = self.block(key, value)?;
        Ok(if block.last <= after {
            None
        } else if block.first == after.next() {
            Some(block)
        } else {
            Some(block.behind(after))
        })
    }

    /// Walks over the blocks behind `after`, as they are now; the first one begins with the record behind it.
    ///
    /// # Errors
    /// They cannot be read.
    pub fn journal_from(&self, after: Offset) -> Result<impl Iterator<Item = Result<Block, Error>> + '_, Error> {
        let first = self.journal_behind(after)?;
        let from = first.as_ref().map_or(u64::MAX, |block| block.last.0.saturating_add(1));
        let rest = self.rows(Family::Journal, &key(Offset(from)));
        let rest = rest.map(|row| row.and_then(|(key, value)| self.block(&key, &value)));
        Ok(first.map(Ok).into_iter().chain(rest))
    }

    /// Forgets what lies up to `offset`, as far as whole rows go; says where the journal starts now.
    ///
    /// # Errors
    /// The disk refuses.
    pub fn trim_journal(&self, offset: Offset) -> Result<Offset, Error> {
        let bounds_start = self.read_offset(name::JOURNAL_START)?;
        let database = self.database.get()?;
        let mut rows = database.raw_iterator_cf(database.family(Family::Journal));
        rows.seek_for_prev(key(offset.next()));
        rows.status().map_err(|error| self.read_error(error))?;
        let Some((row_key, value)) = rows.item() else { return Ok(bounds_start) };
        let block = self.block(row_key, value)?;
        let start = if block.last <= offset { block.last } else { Offset(block.first.0 - 1) };
        if start <= bounds_start {
            return Ok(bounds_start);
        }
        let mut batch = self.batch();
        put_offset(&mut batch, name::JOURNAL_START, start);
        self.write(batch, Sync::Later)?;
        // Deleting rows would only write more. Files that hold nothing else go as they are.
        database
            .delete_file_in_range_cf(database.family(Family::Journal), key(Offset::ZERO), key(start))
            .map_err(|error| self.write_error(error))?;
        Ok(start)
    }

    /// Bytes of the journal's rows on disk, about.
    #[must_use]
    pub fn journal_bytes(&self) -> u64 {
        self.bytes(Family::Journal)
    }

    /// Whether rows and journal make a whole copy. Not from the beginning of a full sync until everything has been
    /// written anew.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.is_whole.load(Ordering::Acquire)
    }

    /// Rows and journal make a whole copy again. On the disk when it returns.
    ///
    /// # Errors
    /// The disk refuses.
    pub fn mark_whole(&self) -> Result<(), Error> {
        let mut batch = self.batch();
        batch.delete(Family::Meta, name::NOT_WHOLE.as_bytes());
        self.write(batch, Sync::Now)?;
        self.is_whole.store(true, Ordering::Release);
        Ok(())
    }

    /// Forgets all rows and the journal, and says that what follows is no whole copy yet. The journal begins anew behind
    /// `start`. On the disk when it returns.
    ///
    /// # Errors
    /// The disk refuses; nothing is forgotten.
    pub fn wipe(&self, start: Offset, history: &[Span]) -> Result<(), Error> {
        const LAST: [u8; 16] = [0xFF; 16];
        let families = [Family::Journal, Family::Keys, Family::Messages, Family::Cuts];
        let mut batch = self.batch();
        batch.put(Family::Meta, name::NOT_WHOLE.as_bytes(), b"yes");
        for family in families {
            batch.delete_range(family, &[], &LAST);
        }
        put_offset(&mut batch, name::JOURNAL_START, start);
        put_offset(&mut batch, name::JOURNAL_COMMIT, Offset::ZERO);
        put_history(&mut batch, history);
        // Rows of the old state come no more.
        let _wiping = self.next_generation();
        self.is_whole.store(false, Ordering::Release);
        self.write(batch, Sync::Now)?;
        for family in families {
            let database = self.database.get()?;
            let dropped = database.delete_file_in_range_cf(database.family(family), [0; 16], LAST);
            dropped.map_err(|error| self.write_error(error))?;
        }
        Ok(())
    }

    /// Within `batch`: what lies behind `end` was never acknowledged, and goes.
    ///
    /// # Errors
    /// What is there cannot be read.
    pub fn put_cut(&self, batch: &mut Batch<'_>, end: Offset) -> Result<(), Error> {
        let database = self.database.get()?;
        let mut rows = database.raw_iterator_cf(database.family(Family::Journal));
        rows.seek_to_last();
        while let Some((row_key, value)) = rows.item() {
            let block = self.block(row_key, value)?;
            if block.last <= end {
                break;
            }
            batch.delete(Family::Journal, row_key);
            if block.first <= end {
                put_row(batch, &[block.up_to(end)], &mut Vec::new());
                break;
            }
            rows.prev();
        }
        rows.status().map_err(|error| self.read_error(error))
    }

    fn last_row(&self) -> Result<Option<Block>, Error> {
        let database = self.database.get()?;
        let mut rows = database.raw_iterator_cf(database.family(Family::Journal));
        rows.seek_to_last();
        rows.status().map_err(|error| self.read_error(error))?;
        rows.item().map(|(key, value)| self.block(key, value)).transpose()
    }

    fn block(&self, key: &[u8], value: &[u8]) -> Result<Block, Error> {
        let decode = || -> Result<Block, wire::Error> {
            let first = key.try_into().map(u64::from_be_bytes).map_err(|_| wire::Error::Short)?;
            let mut reader = Reader::new(value);
            let (epoch, last) = (Epoch(reader.varint()?), Offset(reader.varint()?));
            let records = Bytes::copy_from_slice(&value[value.len() - reader.remaining()..]);
            Ok(Block::new(epoch, Offset(first), last, records))
        };
        decode().map_err(|error| self.damaged("journal", format!("{error} at {key:?}")))
    }

    fn read_offset(&self, key: &'static str) -> Result<Offset, Error> {
        let Some(bytes) = self.row(Family::Meta, key.as_bytes())? else { return Ok(Offset::ZERO) };
        let number = Reader::new(&bytes).varint();
        number.map(Offset).map_err(|_| self.damaged(key, String::from_utf8_lossy(&bytes).into_owned()))
    }
}

fn key(first: Offset) -> [u8; 8] {
    first.0.to_be_bytes()
}

/// Within `batch`: the blocks follow on what is there. Small ones become one row as far as they are of one epoch.
pub fn put_blocks(batch: &mut Batch<'_>, blocks: &[Block]) {
    let mut scratch = Vec::new();
    let mut from = 0;
    while from < blocks.len() {
        let mut bytes = blocks[from].records.len();
        let mut to = from + 1;
        while to < blocks.len()
            && blocks[to].epoch == blocks[from].epoch
            && bytes + blocks[to].records.len() <= limits::JOURNAL_ROW_BYTES
        {
            bytes += blocks[to].records.len();
            to += 1;
        }
        put_row(batch, &blocks[from..to], &mut scratch);
        from = to;
    }
}

fn put_row(batch: &mut Batch<'_>, blocks: &[Block], scratch: &mut Vec<u8>) {
    let (Some(first), Some(last)) = (blocks.first(), blocks.last()) else { return };
    scratch.clear();
    wire::put_varint(scratch, first.epoch.0);
    wire::put_varint(scratch, last.last.0);
    for block in blocks {
        scratch.extend_from_slice(&block.records);
    }
    batch.put(Family::Journal, &key(first.first), scratch);
}

/// Within `batch`: everything up to here is committed.
pub fn put_commit(batch: &mut Batch<'_>, commit: Offset) {
    put_offset(batch, name::JOURNAL_COMMIT, commit);
}

/// Within `batch`: the epochs of the journal.
pub fn put_history(batch: &mut Batch<'_>, history: &[Span]) {
    let mut bytes = Vec::new();
    for span in history {
        wire::put_varint(&mut bytes, span.epoch.0);
        wire::put_varint(&mut bytes, span.start.0);
    }
    batch.put(Family::Meta, name::JOURNAL_HISTORY.as_bytes(), &bytes);
}

fn decode_history(bytes: &[u8]) -> Result<Vec<Span>, wire::Error> {
    let mut reader = Reader::new(bytes);
    let mut history = Vec::new();
    while !reader.is_empty() {
        history.push(Span { epoch: Epoch(reader.varint()?), start: Offset(reader.varint()?) });
    }
    Ok(history)
}

fn put_offset(batch: &mut Batch<'_>, key: &'static str, offset: Offset) {
    let mut bytes = Vec::new();
    wire::put_varint(&mut bytes, offset.0);
    batch.put(Family::Meta, key.as_bytes(), &bytes);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(epoch: u64, first: u64, count: u64) -> Block {
        let mut records = Vec::new();
        for offset in first..first + count {
            wire::put_bytes(&mut records, offset.to_string().as_bytes());
        }
        let (first, last) = (Offset(first), Offset(first + count - 1));
        Block::new(Epoch(epoch), first, last, records.into())
    }

    fn append(storage: &Storage, blocks: &[Block]) {
        let mut batch = storage.batch();
        put_blocks(&mut batch, blocks);
        storage.write(batch, Sync::Later).unwrap();
    }

    /// The offsets behind `after`; each record has to be the one that was written there.
    fn contents(storage: &Storage, after: u64) -> Vec<u64> {
        let mut found = Vec::new();
        for block in storage.journal_from(Offset(after)).unwrap() {
            for (offset, record) in block.unwrap().iter() {
                assert_eq!(record, offset.to_string().as_bytes());
                found.push(offset.0);
            }
        }
        found
    }

    #[test]
    fn what_was_appended_is_read_from_any_offset() {
        let directory = tempfile::tempdir().unwrap();
        let storage = Storage::open(directory.path()).unwrap();
        append(&storage, &[block(1, 1, 3), block(1, 4, 2), block(2, 6, 1)]);
        assert_eq!(storage.journal_bounds().unwrap().end, Offset(6));
        for after in 0..=6 {
            assert_eq!(contents(&storage, after), (after + 1..=6).collect::<Vec<_>>(), "behind {after}");
        }
        let read = storage.journal_behind(Offset(2)).unwrap().unwrap();
        assert_eq!((read.epoch, read.first, read.last), (Epoch(1), Offset(3), Offset(5)), "small blocks are one row");
        assert_eq!(storage.journal_behind(Offset(6)).unwrap(), None);
    }

    #[test]
    fn a_tail_is_cut_off_within_a_row() {
        let directory = tempfile::tempdir().unwrap();
        let storage = Storage::open(directory.path()).unwrap();
        append(&storage, &[block(1, 1, 5)]);
        append(&storage, &[block(1, 6, 5)]);
        append(&storage, &[block(2, 11, 5)]);
        for end in [12, 10, 8, 3] {
            let mut batch = storage.batch();
            storage.put_cut(&mut batch, Offset(end)).unwrap();
            storage.write(batch, Sync::Later).unwrap();
            assert_eq!(contents(&storage, 0), (1..=end).collect::<Vec<_>>());
        }
        append(&storage, &[block(3, 4, 2)]);
        assert_eq!(contents(&storage, 0), [1, 2, 3, 4, 5]);
    }

    #[test]
    fn bounds_survive_a_restart_and_a_trim_moves_the_start() {
        let directory = tempfile::tempdir().unwrap();
        let history = vec![Span { epoch: Epoch(1), start: Offset(0) }, Span { epoch: Epoch(3), start: Offset(7) }];
        {
            let storage = Storage::open(directory.path()).unwrap();
            append(&storage, &[block(1, 1, 5)]);
            append(&storage, &[block(1, 6, 5)]);
            let mut batch = storage.batch();
            put_history(&mut batch, &history);
            put_commit(&mut batch, Offset(9));
            storage.write(batch, Sync::Later).unwrap();
            assert_eq!(storage.trim_journal(Offset(3)), Ok(Offset(0)), "the row is still needed");
            assert_eq!(storage.trim_journal(Offset(7)), Ok(Offset(5)));
            assert_eq!(storage.trim_journal(Offset(2)), Ok(Offset(5)), "a trim never goes back");
        }
        let storage = Storage::open(directory.path()).unwrap();
        let bounds = storage.journal_bounds().unwrap();
        assert_eq!(bounds, Bounds { start: Offset(5), end: Offset(10), history, commit: Offset(9) });
        assert_eq!(contents(&storage, 5), [6, 7, 8, 9, 10]);
        assert_eq!(storage.trim_journal(Offset(10)), Ok(Offset(10)));
        assert_eq!(storage.journal_bounds().unwrap().end, Offset(10));
    }

    #[test]
    fn a_wipe_leaves_nothing_and_says_so() {
        let directory = tempfile::tempdir().unwrap();
        let storage = Storage::open(directory.path()).unwrap();
        append(&storage, &[block(1, 1, 5)]);
        let mut batch = storage.batch();
        batch.put(Family::Keys, &[0; 6], b"page");
        storage.write(batch, Sync::Later).unwrap();
        assert!(storage.is_whole());
        storage.wipe(Offset(2), &[]).unwrap();
        assert!(!storage.is_whole());
        assert_eq!(storage.rows(Family::Keys, &[]).count() + storage.rows(Family::Journal, &[]).count(), 0);
        assert_eq!(storage.journal_bounds().unwrap().end, Offset(2));
        append(&storage, &[block(4, 3, 2)]);
        assert_eq!(contents(&storage, 2), [3, 4]);
        drop(storage);
        let storage = Storage::open(directory.path()).unwrap();
        assert!(!storage.is_whole());
        storage.mark_whole().unwrap();
        assert!(storage.is_whole());
    }
}
