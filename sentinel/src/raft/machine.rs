//! Raft's state machine: the cluster state, written to RocksDB at every apply and published to whoever watches.

#![allow(clippy::result_large_err, reason = "the error type is openraft's, and the functions serve its traits")]

use std::{io::Cursor, sync::Arc};

use openraft::{EntryPayload, OptionalSend, RaftSnapshotBuilder, storage::RaftStateMachine};
use parking_lot::Mutex;
use rocksdb::WriteBatch;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tracing::info;

use super::{
    disk::{Disk, STATE},
    fence::FenceEpoch,
    types::{Entry, LogId, Snapshot, SnapshotMeta, StorageError, StorageIoError, StoredMembership, TypeConfig, voters},
};
use crate::state::{Answer, ClusterState};

const MACHINE: &[u8] = b"machine";
const SNAPSHOT: &[u8] = b"snapshot";
const SNAPSHOT_META: &[u8] = b"snapshot_meta";

/// Everything that the machine is; also the content of a snapshot.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Image {
    last_applied: Option<LogId>,
    membership: StoredMembership,
    state: ClusterState,
}

/// The state machine, and (as a clone) its snapshot builder.
#[derive(Debug, Clone)]
pub(crate) struct Machine {
    disk: Disk,
    fence: Arc<FenceEpoch>,
    image: Arc<Mutex<Image>>,
    published: watch::Sender<Arc<ClusterState>>,
}

impl Machine {
    pub(crate) fn new(disk: Disk, fence: Arc<FenceEpoch>) -> Result<Self, Box<StorageError>> {
        let image: Image = match disk.get(STATE, MACHINE).map_err(|error| unreadable(&error))? {
            None => Image::default(),
            Some(bytes) => serde_json::from_slice(&bytes).map_err(|error| unreadable(&error))?,
        };
        if let Some(applied) = image.last_applied {
            fence.applied(applied.index);
        }
        let (published, _) = watch::channel(Arc::new(image.state.clone()));
        Ok(Self { disk, fence, image: Arc::new(Mutex::new(image)), published })
    }

    pub(crate) fn watch(&self) -> watch::Receiver<Arc<ClusterState>> {
        self.published.subscribe()
    }

    fn put(&self, batch: &mut WriteBatch, image: &Image) -> Result<(), StorageError> {
        let bytes = serde_json::to_vec(image).map_err(|error| StorageIoError::write_state_machine(&error))?;
        batch.put_cf(self.disk.family(STATE), MACHINE, bytes);
        if image.state.sentinel(self.disk.sentinel_id()).is_some() {
            self.disk.mark_joined(batch);
        }
        Ok(())
    }

    fn publish(&self, image: &Image) {
        self.published.send_if_modified(|state| {
            let is_newer = **state != image.state;
            if is_newer {
                *state = Arc::new(image.state.clone());
            }
            is_newer
        });
    }

    fn stored_snapshot(&self) -> Result<Option<Snapshot>, StorageError> {
        let read = |key| self.disk.get(STATE, key).map_err(|error| StorageIoError::read_snapshot(None, &error));
        let (Some(meta), Some(content)) = (read(SNAPSHOT_META)?, read(SNAPSHOT)?) else { return Ok(None) };
        let meta = serde_json::from_slice(&meta).map_err(|error| StorageIoError::read_snapshot(None, &error))?;
        Ok(Some(Snapshot { meta, snapshot: Box::new(Cursor::new(content)) }))
    }

    fn put_snapshot(&self, batch: &mut WriteBatch, meta: &SnapshotMeta, content: &[u8]) -> Result<(), StorageError> {
        let signature = Some(meta.signature());
        let meta = serde_json::to_vec(meta).map_err(|error| StorageIoError::write_snapshot(signature, &error))?;
        batch.put_cf(self.disk.family(STATE), SNAPSHOT_META, meta);
        batch.put_cf(self.disk.family(STATE), SNAPSHOT, content);
        Ok(())
    }
}

impl RaftStateMachine<TypeConfig> for Machine {
    type SnapshotBuilder = Self;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, StoredMembership), StorageError> {
        let image = self.image.lock();
        Ok((image.last_applied, image.membership.clone()))
    }

    async fn apply<I>(&mut self, entries: I) -> Result<Vec<Answer>, StorageError>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let mut answers = Vec::new();
        let mut image = self.image.lock();
        let mut applied = 0;
        for entry in entries {
            applied = entry.log_id.index;
            image.last_applied = Some(entry.log_id);
            answers.push(match entry.payload {
                EntryPayload::Blank => Answer::Done,
                EntryPayload::Normal(command) => image.state.apply(&command, entry.log_id.index),
                EntryPayload::Membership(membership) => {
                    image.membership = StoredMembership::new(Some(entry.log_id), membership);
                    let sentinels = voters(&image.membership);
                    image.state.set_sentinels(sentinels, entry.log_id.index);
                    Answer::Done
                }
            });
        }
        let mut batch = WriteBatch::default();
        self.put(&mut batch, &image)?;
        self.disk.write(batch).map_err(|error| StorageIoError::write_state_machine(&error))?;
        // The state first: between the two the lease path sees the higher of both, never the lower.
        self.publish(&image);
        self.fence.applied(applied);
        Ok(answers)
    }

    async fn get_snapshot_builder(&mut self) -> Self {
        self.clone()
    }

    async fn begin_receiving_snapshot(&mut self) -> Result<Box<Cursor<Vec<u8>>>, StorageError> {
        Ok(Box::default())
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMeta,
        snapshot: Box<Cursor<Vec<u8>>>,
    ) -> Result<(), StorageError> {
        let content = snapshot.into_inner();
        let mut received: Image = serde_json::from_slice(&content)
            .map_err(|error| StorageIoError::read_snapshot(Some(meta.signature()), &error))?;
        received.last_applied = meta.last_log_id;
        received.membership = meta.last_membership.clone();
        let mut batch = WriteBatch::default();
        self.put(&mut batch, &received)?;
        self.put_snapshot(&mut batch, meta, &content)?;
        self.disk.write(batch).map_err(|error| StorageIoError::write_snapshot(Some(meta.signature()), &error))?;
        self.disk.sync().await.map_err(|error| StorageIoError::write_snapshot(Some(meta.signature()), &error))?;
        self.publish(&received);
        info!(snapshot = meta.snapshot_id, epoch = received.state.epoch, "caught up from a snapshot");
        if let Some(applied) = received.last_applied {
            self.fence.applied(applied.index);
        }
        *self.image.lock() = received;
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot>, StorageError> {
        self.stored_snapshot()
    }
}

impl RaftSnapshotBuilder<TypeConfig> for Machine {
    async fn build_snapshot(&mut self) -> Result<Snapshot, StorageError> {
        let image = self.image.lock().clone();
        let content = serde_json::to_vec(&image).map_err(|error| StorageIoError::read_state_machine(&error))?;
        let last_log_id = image.last_applied;
        let snapshot_id = match last_log_id {
            Some(id) => format!("{}-{}", id.leader_id, id.index),
            None => "empty".into(),
        };
        let meta = SnapshotMeta { last_log_id, last_membership: image.membership, snapshot_id };
        let mut batch = WriteBatch::default();
        self.put_snapshot(&mut batch, &meta, &content)?;
        self.disk.write(batch).map_err(|error| StorageIoError::write_snapshot(Some(meta.signature()), &error))?;
        // The log behind a snapshot is purged: what replaces it has to be durable first.
        self.disk.sync().await.map_err(|error| StorageIoError::write_snapshot(Some(meta.signature()), &error))?;
        Ok(Snapshot { meta, snapshot: Box::new(Cursor::new(content)) })
    }
}

fn unreadable<E: std::error::Error + 'static>(error: &E) -> Box<StorageError> {
    Box::new(StorageIoError::read_state_machine(error).into())
}

#[cfg(test)]
mod tests {
    use openraft::testing::{StoreBuilder, Suite};

    use super::{super::log::Log, *};

    /// Each database is closed by its own thread. A process that ends before that crashes in RocksDB's destructors.
    #[derive(Default)]
    struct Builder(std::sync::Mutex<Vec<tokio::sync::oneshot::Receiver<()>>>);

    impl StoreBuilder<TypeConfig, Log, Machine, tempfile::TempDir> for Arc<Builder> {
        async fn build(&self) -> Result<(tempfile::TempDir, Log, Machine), StorageError> {
            let directory = tempfile::tempdir().unwrap();
            let (disk, closing) = Disk::open(directory.path()).unwrap();
            self.0.lock().unwrap().push(closing);
            let fence = Arc::new(FenceEpoch::default());
            let log = Log::new(disk.clone(), Arc::clone(&fence)).map_err(|error| *error)?;
            let machine = Machine::new(disk, fence).map_err(|error| *error)?;
            Ok((directory, log, machine))
        }
    }

    #[test]
    fn the_store_passes_openrafts_own_suite() {
        let builder = Arc::new(Builder::default());
        Suite::test_all(Arc::clone(&builder)).unwrap();
        for closing in builder.0.lock().unwrap().drain(..) {
            closing.blocking_recv().unwrap();
        }
    }
}
