//! Rows of any family: written in batches, read in order.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;

use rocksdb::{ReadOptions, WriteBatch, WriteOptions};
use tracing::warn;

use super::database::Open;
use super::{Error, Family, Storage, name};
use crate::wire;

/// Changes that reach the disk together, or not at all.
pub struct Batch<'s> {
    storage: &'s Storage,
    changes: WriteBatch,
    /// The database was closed at one of the changes.
    refused: Option<Error>,
}

impl std::fmt::Debug for Batch<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Batch").field("bytes", &self.bytes()).finish_non_exhaustive()
    }
}

/// Whether a batch is on the disk once the call returns, or with the next one that is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sync {
    Now,
    Later,
}

impl Batch<'_> {
    pub fn put(&mut self, family: Family, key: &[u8], value: &[u8]) {
        self.with(|changes, database| changes.put_cf(database.family(family), key, value));
    }

    pub fn delete(&mut self, family: Family, key: &[u8]) {
        self.with(|changes, database| changes.delete_cf(database.family(family), key));
    }

    /// Deletes every row from `from` up to and without `to`. Not for what happens often: each such range is looked at by
    /// later reads.
    pub fn delete_range(&mut self, family: Family, from: &[u8], to: &[u8]) {
        self.with(|changes, database| changes.delete_range_cf(database.family(family), from, to));
    }

    /// The numbers of families, which are what a change says, are the same in every database that is opened here.
    fn with(&mut self, change: impl FnOnce(&mut WriteBatch, &Open<'_>)) {
        match self.storage.database.get() {
            Ok(database) => change(&mut self.changes, &database),
            Err(error) => self.refused = Some(error),
        }
    }

    pub(super) fn into_changes(self) -> Result<WriteBatch, Error> {
        self.refused.map_or(Ok(self.changes), Err)
    }

    #[must_use]
    pub fn bytes(&self) -> usize {
        self.changes.size_in_bytes()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }
}

impl Storage {
    #[must_use]
    pub fn batch(&self) -> Batch<'_> {
        Batch { storage: self, changes: WriteBatch::default(), refused: None }
    }

    /// Writes a batch behind everything that was written before.
    ///
    /// # Errors
    /// The disk refuses; nothing of the batch counts.
    pub fn write(&self, mut batch: Batch<'_>, sync: Sync) -> Result<(), Error> {
        let mut written = self.written.lock();
        let number = written.next();
        let mut bytes = Vec::new();
        wire::put_varint(&mut bytes, number.0);
        batch.put(Family::Meta, name::WRITES.as_bytes(), &bytes);
        let mut options = WriteOptions::default();
        options.set_sync(sync == Sync::Now);
        let refused = |error| {
            self.is_log_broken.store(true, Ordering::SeqCst);
            error
        };
        let changes = batch.into_changes().map_err(refused)?;
        let database = self.database.get().map_err(refused)?;
        database.write_opt(changes, &options).map_err(|error| refused(self.write_error(error)))?;
        drop(database);
        *written = number;
        drop(written);
        if sync == Sync::Now {
            self.synced.note(number);
            #[cfg(test)]
            self.synced_logs.lock().extend(super::torn::lengths(&self.path));
        }
        Ok(())
    }

    /// After a failed write: what is in memory becomes files, and a new log is begun; if that is refused too, the database is
    /// opened again. Does nothing to a log that is whole.
    ///
    /// # Errors
    /// The disk still refuses.
    pub fn mend_log(&self) -> Result<(), Error> {
        if self.is_log_broken.load(Ordering::SeqCst) {
            self.mend()?;
        }
        Ok(())
    }

    /// After a failed write or sync: everything that is in memory becomes files, which are synced.
    ///
    /// # Errors
    /// The disk still refuses.
    pub fn mend(&self) -> Result<(), Error> {
        if let Err(error) = self.flush() {
            warn!(%error, "the database is opened again");
            self.reopen()?;
            self.flush()?;
        }
        self.is_log_broken.store(false, Ordering::SeqCst);
        Ok(())
    }

    /// # Errors
    /// The file system has less room than `limit` bytes.
    pub fn check_room(&self, limit: u64) -> Result<(), Error> {
        let path = || self.path.clone();
        let room = rustix::fs::statvfs(&self.path)
            .map_err(|error| Error::Read { path: path(), reason: std::io::Error::from(error).to_string() })?;
        if room.f_bavail.saturating_mul(room.f_frsize) < limit {
            Err(Error::NoRoom { path: path(), limit })
        } else {
            Ok(())
        }
    }

    /// Everything that was written before the call is on the disk when it returns.
    ///
    /// # Errors
    /// The disk refuses: what was not synced before may be lost.
    pub fn sync(&self) -> Result<(), Error> {
        // Its assertion would end the process.
        if self.is_log_broken.load(Ordering::SeqCst) {
            return Err(self.broken_log());
        }
        let number = *self.written.lock();
        #[cfg(test)]
        let lengths = super::torn::lengths(&self.path);
        self.database.get()?.flush_wal(true).map_err(|error| self.write_error(error))?;
        self.synced.note(number);
        #[cfg(test)]
        self.synced_logs.lock().extend(lengths);
        Ok(())
    }

    /// Everything that is in memory and in the log becomes files, which are synced.
    ///
    /// # Errors
    /// The disk refuses.
    pub fn flush(&self) -> Result<(), Error> {
        let database = self.database.get()?;
        Family::ALL
            .into_iter()
            .try_for_each(|family| database.flush_cf(database.family(family)).map_err(|error| self.write_error(error)))
    }

    fn broken_log(&self) -> Error {
        Error::Write { path: self.path.clone(), reason: "the log could not be written".to_owned() }
    }

    /// Bytes of rows and journal on disk, about.
    #[must_use]
    pub fn data_bytes(&self) -> u64 {
        [Family::Journal, Family::Keys, Family::Messages, Family::Runs]
            .into_iter()
            .map(|family| self.bytes(family))
            .sum()
    }

    pub(super) fn bytes(&self, family: Family) -> u64 {
        ["rocksdb.live-sst-files-size", "rocksdb.cur-size-all-mem-tables"]
            .map(|name| self.property(family, name))
            .iter()
            .sum()
    }

    /// Zero, if the database does not know.
    pub(super) fn property(&self, family: Family, name: &str) -> u64 {
        let Ok(database) = self.database.get() else { return 0 };
        database.property_int_value_cf(database.family(family), name).ok().flatten().unwrap_or(0)
    }

    /// One row.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn row(&self, family: Family, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        let database = self.database.get()?;
        database.get_cf(database.family(family), key).map_err(|error| self.read_error(error))
    }

    /// The rows from `from` on, in the order of their keys.
    #[must_use]
    pub fn rows(&self, family: Family, from: &[u8]) -> Rows<'_> {
        Rows { storage: self, family, next: Some(from.to_vec()), read: VecDeque::new() }
    }

    /// Some rows from `from` on, and where the next ones begin.
    fn some_rows(&self, family: Family, from: &[u8]) -> Result<(VecDeque<Row>, Option<Vec<u8>>), Error> {
        let mut options = ReadOptions::default();
        options.set_readahead_size(crate::limits::READ_AHEAD_BYTES);
        // What is read once in order would only push other things out of the cache.
        options.fill_cache(false);
        let database = self.database.get()?;
        let mut rows = database.raw_iterator_cf_opt(database.family(family), options);
        rows.seek(from);
        let (mut read, mut bytes) = (VecDeque::new(), 0);
        while let Some((key, value)) = rows.item() {
            if bytes >= crate::limits::READ_AHEAD_BYTES {
                return Ok((read, Some(key.to_vec())));
            }
            bytes += key.len() + value.len();
            read.push_back((key.into(), value.into()));
            rows.next();
        }
        rows.status().map_err(|error| self.read_error(error))?;
        Ok((read, None))
    }
}

/// Walks over the rows of a family, some at a time: the database may be opened again in between.
#[derive(Debug)]
pub struct Rows<'s> {
    storage: &'s Storage,
    family: Family,
    next: Option<Vec<u8>>,
    read: VecDeque<Row>,
}

/// Key and value.
type Row = (Box<[u8]>, Box<[u8]>);

impl Iterator for Rows<'_> {
    type Item = Result<Row, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.read.is_empty() {
            let from = self.next.take()?;
            match self.storage.some_rows(self.family, &from) {
                Ok((read, next)) => (self.read, self.next) = (read, next),
                Err(error) => return Some(Err(error)),
            }
        }
        self.read.pop_front().map(Ok)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_come_in_the_order_of_their_keys_and_end_with_the_family() {
        let directory = tempfile::tempdir().unwrap();
        let storage = Storage::open(directory.path()).unwrap();
        let mut batch = storage.batch();
        for number in [3u32, 1, 2] {
            batch.put(Family::Keys, &number.to_be_bytes(), &[number as u8]);
        }
        batch.put(Family::Messages, b"other", b"family");
        storage.write(batch, Sync::Now).unwrap();
        let mut batch = storage.batch();
        batch.delete(Family::Keys, &2u32.to_be_bytes());
        storage.write(batch, Sync::Later).unwrap();
        let rows: Result<Vec<_>, _> = storage.rows(Family::Keys, &[]).collect();
        let values: Vec<u8> = rows.unwrap().iter().map(|(_, value)| value[0]).collect();
        assert_eq!(values, [1, 3]);
        assert_eq!(storage.row(Family::Keys, &3u32.to_be_bytes()).unwrap(), Some(vec![3]));
    }
}
