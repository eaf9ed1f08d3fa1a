//! Raft's log and vote in RocksDB: readable when `append` returns, durable when its callback is called.

use std::{
    fmt::Debug,
    ops::{Bound, RangeBounds},
    sync::Arc,
};

use openraft::{
    EntryPayload, LogState, OptionalSend, RaftLogReader,
    storage::{LogFlushed, RaftLogStorage},
};
use rocksdb::{Direction, IteratorMode, WriteBatch};

use super::{
    disk::{Disk, LOGS, META},
    fence::FenceEpoch,
    types::{Entry, LogId, StorageError, StorageIoError, TypeConfig, Vote},
};

const VOTE: &[u8] = b"vote";
const LAST_PURGED: &[u8] = b"last_purged";

/// The log store. Clones are its readers.
#[derive(Debug, Clone)]
pub(crate) struct Log {
    disk: Disk,
    fence: Arc<FenceEpoch>,
}

impl Log {
    /// The store; `fence` is filled with the promotions that the log holds already.
    pub(crate) fn new(disk: Disk, fence: Arc<FenceEpoch>) -> Result<Self, Box<StorageError>> {
        let log = Self { disk, fence };
        for entry in log.read(..)? {
            log.note(&entry);
        }
        Ok(log)
    }

    fn note(&self, entry: &Entry) {
        match &entry.payload {
            EntryPayload::Normal(command) => self.fence.appended(entry.log_id.index, command),
            // Other voters always come as both sets together first.
            EntryPayload::Membership(membership) if membership.get_joint_config().len() > 1 => {
                self.fence.appended_set(entry.log_id.index);
            }
            EntryPayload::Membership(_) | EntryPayload::Blank => {}
        }
    }

    /// Nothing was ever voted, appended or purged.
    pub(crate) fn is_pristine(&self) -> Result<bool, Box<StorageError>> {
        let vote = self.disk.get(META, VOTE).map_err(|error| StorageIoError::read_vote(&error)).map_err(boxed)?;
        Ok(vote.is_none() && self.last()?.is_none() && self.last_purged()?.is_none())
    }

    fn read(&self, range: impl RangeBounds<u64>) -> Result<Vec<Entry>, Box<StorageError>> {
        let start = match range.start_bound() {
            Bound::Included(&index) => index,
            Bound::Excluded(&index) => index + 1,
            Bound::Unbounded => 0,
        };
        let from = start.to_be_bytes();
        let mode = IteratorMode::From(&from, Direction::Forward);
        let mut entries = Vec::new();
        for row in self.disk.db().iterator_cf(self.disk.family(LOGS), mode) {
            let (_, value) = row.map_err(|error| StorageIoError::read_logs(&error)).map_err(boxed)?;
            let entry = decode(&value)?;
            if !range.contains(&entry.log_id.index) {
                break;
            }
            entries.push(entry);
        }
        Ok(entries)
    }

    fn last(&self) -> Result<Option<LogId>, Box<StorageError>> {
        match self.disk.db().iterator_cf(self.disk.family(LOGS), IteratorMode::End).next() {
            None => Ok(None),
            Some(row) => {
                let (_, value) = row.map_err(|error| StorageIoError::read_logs(&error)).map_err(boxed)?;
                Ok(Some(decode(&value)?.log_id))
            }
        }
    }

    fn last_purged(&self) -> Result<Option<LogId>, Box<StorageError>> {
        let bytes =
            self.disk.get(META, LAST_PURGED).map_err(|error| StorageIoError::read_logs(&error)).map_err(boxed)?;
        match bytes {
            None => Ok(None),
            Some(bytes) => serde_json::from_slice(&bytes).map_err(|error| boxed(StorageIoError::read_logs(&error))),
        }
    }

    fn delete_range(&self, batch: &mut WriteBatch, from: u64, to: u64) {
        batch.delete_range_cf(self.disk.family(LOGS), from.to_be_bytes(), to.to_be_bytes());
    }
}

impl RaftLogReader<TypeConfig> for Log {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> Result<Vec<Entry>, StorageError> {
        self.read(range).map_err(|error| *error)
    }
}

impl RaftLogStorage<TypeConfig> for Log {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Result<LogState<TypeConfig>, StorageError> {
        let last_purged_log_id = self.last_purged().map_err(|error| *error)?;
        let last_log_id = self.last().map_err(|error| *error)?.or(last_purged_log_id);
        Ok(LogState { last_purged_log_id, last_log_id })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), StorageError> {
        let value = serde_json::to_vec(vote).map_err(|error| StorageIoError::write_vote(&error))?;
        let mut batch = WriteBatch::default();
        batch.put_cf(self.disk.family(META), VOTE, value);
        self.disk.write(batch).map_err(|error| StorageIoError::write_vote(&error))?;
        self.disk.sync().await.map_err(|error| StorageIoError::write_vote(&error))?;
        Ok(())
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, StorageError> {
        match self.disk.get(META, VOTE).map_err(|error| StorageIoError::read_vote(&error))? {
            None => Ok(None),
            // A vote that cannot be read is an error, never "no vote": that would vote twice.
            Some(bytes) => Ok(serde_json::from_slice(&bytes).map_err(|error| StorageIoError::read_vote(&error))?),
        }
    }

    async fn append<I>(&mut self, entries: I, callback: LogFlushed<TypeConfig>) -> Result<(), StorageError>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let mut batch = WriteBatch::default();
        for entry in entries {
            let value =
                serde_json::to_vec(&entry).map_err(|error| StorageIoError::write_log_entry(entry.log_id, &error))?;
            batch.put_cf(self.disk.family(LOGS), entry.log_id.index.to_be_bytes(), value);
            self.note(&entry);
        }
        self.disk.write(batch).map_err(|error| StorageIoError::write_logs(&error))?;
        self.disk.sync_append(callback).map_err(|error| StorageIoError::write_logs(&error))?;
        Ok(())
    }

    async fn truncate(&mut self, log_id: LogId) -> Result<(), StorageError> {
        let mut batch = WriteBatch::default();
        self.delete_range(&mut batch, log_id.index, u64::MAX);
        self.disk.write(batch).map_err(|error| StorageIoError::write_logs(&error))?;
        self.fence.truncated(log_id.index);
        Ok(())
    }

    async fn purge(&mut self, log_id: LogId) -> Result<(), StorageError> {
        let purged = serde_json::to_vec(&log_id).map_err(|error| StorageIoError::write_logs(&error))?;
        let mut batch = WriteBatch::default();
        batch.put_cf(self.disk.family(META), LAST_PURGED, purged);
        self.delete_range(&mut batch, 0, log_id.index + 1);
        self.disk.write(batch).map_err(|error| StorageIoError::write_logs(&error))?;
        Ok(())
    }
}

fn decode(value: &[u8]) -> Result<Entry, Box<StorageError>> {
    serde_json::from_slice(value).map_err(|error| boxed(StorageIoError::read_logs(&error)))
}

fn boxed(error: StorageIoError) -> Box<StorageError> {
    Box::new(error.into())
}
