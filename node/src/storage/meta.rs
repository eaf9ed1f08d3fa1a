//! The family `meta`: who this node is, what it has promised, and how its data lies.
//!
//! Everything here is text, so that a person can read it, except for the histories and offsets of the journal.

use std::path::PathBuf;

use super::synced::Number;
use super::{Error, Family, Meta, Storage, Sync, name};
use crate::ids::Epoch;
use crate::limits;
use crate::node::{Identity, random_id};
use crate::wire::Reader;

/// The version of the disk's format that this program writes. Older ones are read; a newer one is refused.
///
/// | format | since |
/// |---|---|
/// | 1 | the beginning |
/// | 2 | messages of long queues lie in runs; fields of hashes expire |
pub(super) const FORMAT: u64 = 2;
/// Of the key's bytes, the upper bits.
const PARTITION_FUNCTION: &str = "xxh3_64";

impl Storage {
    /// What was written goes on behind the last write that is there.
    pub(super) fn check_synced(&self) -> Result<(), Error> {
        let found = match self.row(Family::Meta, name::WRITES.as_bytes())? {
            None => Number::default(),
            Some(bytes) => {
                let number = Reader::new(&bytes).varint();
                Number(number.map_err(|_| self.damaged(name::WRITES, format!("{bytes:?}")))?)
            }
        };
        let synced = *self.synced.number.lock();
        if found < synced {
            return Err(Error::Lost { path: self.path.clone(), found: found.0, synced: synced.0, file: self.note() });
        }
        *self.written.lock() = found;
        Ok(())
    }

    fn note(&self) -> PathBuf {
        self.path.join(super::synced::NAME)
    }

    pub(super) fn load_meta(&self) -> Result<(), Error> {
        let node_id = match self.read_text(name::NODE_ID)? {
            Some(id) => id,
            None => {
                let id = random_id();
                self.write_text(name::NODE_ID, &id)?;
                id
            }
        };
        match self.read_number(name::FORMAT)? {
            Some(format) if format > FORMAT => {
                let path = self.path.clone();
                return Err(Error::Format { path, format, known: FORMAT });
            }
            Some(FORMAT) => {}
            // Older ones are read as they are.
            Some(_) | None => self.write_text(name::FORMAT, &FORMAT.to_string())?,
        }
        match self.read_text(name::PARTITION_FUNCTION)? {
            None => self.write_text(name::PARTITION_FUNCTION, PARTITION_FUNCTION)?,
            Some(function) if function == PARTITION_FUNCTION => {}
            Some(function) => return Err(self.damaged(name::PARTITION_FUNCTION, function)),
        }
        let promised = self.read_number(name::PROMISED_EPOCH)?.unwrap_or(0);
        match self.read_number(name::SHARD_BITS)? {
            None => self.write_text(name::SHARD_BITS, &limits::SHARD_BITS.to_string())?,
            Some(bits) if bits == u64::from(limits::SHARD_BITS) => {}
            Some(bits) => return Err(self.damaged(name::SHARD_BITS, bits.to_string())),
        }
        let is_whole = self.row(Family::Meta, name::NOT_WHOLE.as_bytes())?.is_none();
        self.is_whole.store(is_whole, std::sync::atomic::Ordering::Release);
        let cluster_id = self.read_text(name::CLUSTER_ID)?;
        *self.meta.lock() = Meta { node_id, cluster_id, promised_epoch: Epoch(promised) };
        Ok(())
    }

    /// Who this process is, under the operator's name for it. The incarnation is a new one.
    #[must_use]
    pub fn identity(&self, name: &str) -> Identity {
        Identity { name: name.to_owned(), node_id: self.meta.lock().node_id.clone(), incarnation: random_id() }
    }

    /// The cluster that this node has once belonged to, for good.
    #[must_use]
    pub fn cluster_id(&self) -> Option<String> {
        self.meta.lock().cluster_id.clone()
    }

    /// Joins a cluster, durably; or checks that it is the one that was joined.
    ///
    /// # Errors
    /// The node belongs to another cluster, or the disk refuses.
    pub fn join_cluster(&self, id: &str) -> Result<(), Error> {
        let mut meta = self.meta.lock();
        match &meta.cluster_id {
            Some(ours) if ours == id => Ok(()),
            Some(ours) => Err(Error::OtherCluster { ours: ours.clone(), theirs: id.to_owned() }),
            None => {
                self.write_text(name::CLUSTER_ID, id)?;
                meta.cluster_id = Some(id.to_owned());
                Ok(())
            }
        }
    }

    /// The highest epoch that was ever promised: nobody below it is followed.
    #[must_use]
    pub fn promised_epoch(&self) -> Epoch {
        self.meta.lock().promised_epoch
    }

    /// Promises, durably, to follow nobody below `epoch`. Promises only grow; the present one is returned.
    ///
    /// # Errors
    /// The disk refuses; nothing is promised.
    pub fn promise(&self, epoch: Epoch) -> Result<Epoch, Error> {
        let mut meta = self.meta.lock();
        if epoch > meta.promised_epoch {
            self.write_text(name::PROMISED_EPOCH, &epoch.to_string())?;
            meta.promised_epoch = epoch;
        }
        Ok(meta.promised_epoch)
    }

    fn read_text(&self, key: &'static str) -> Result<Option<String>, Error> {
        let bytes = self.row(Family::Meta, key.as_bytes())?;
        let text = bytes.map(String::from_utf8).transpose();
        text.map_err(|error| self.damaged(key, String::from_utf8_lossy(error.as_bytes()).into_owned()))
    }

    fn read_number(&self, key: &'static str) -> Result<Option<u64>, Error> {
        let text = self.read_text(key)?;
        text.map(|text| text.parse().map_err(|_| self.damaged(key, text))).transpose()
    }

    pub(crate) fn damaged(&self, key: &'static str, found: String) -> Error {
        Error::Damaged { path: self.path.clone(), key, found }
    }

    /// Synced before it returns.
    fn write_text(&self, key: &'static str, value: &str) -> Result<(), Error> {
        let mut batch = self.batch();
        batch.put(Family::Meta, key.as_bytes(), value.as_bytes());
        self.write(batch, Sync::Now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_of_a_newer_format_or_another_partition_function_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let storage = Storage::open(directory.path()).unwrap();
        assert_eq!(storage.read_text(name::FORMAT).unwrap().as_deref(), Some("2"));
        storage.write_text(name::FORMAT, "3").unwrap();
        drop(storage);
        let error = Storage::open(directory.path()).unwrap_err();
        assert!(matches!(error, Error::Format { format: 3, known: FORMAT, .. }), "{error}");
        assert!(error.to_string().contains("written by a newer version"), "{error}");

        let directory = tempfile::tempdir().unwrap();
        let storage = Storage::open(directory.path()).unwrap();
        storage.write_text(name::PARTITION_FUNCTION, "crc16").unwrap();
        drop(storage);
        let error = Storage::open(directory.path()).unwrap_err();
        assert!(matches!(error, Error::Damaged { key: name::PARTITION_FUNCTION, .. }), "{error}");
    }

    #[test]
    fn promises_and_ids_survive_a_restart() {
        let directory = tempfile::tempdir().unwrap();
        let storage = Storage::open(directory.path()).unwrap();
        let before = storage.identity("n1");
        storage.join_cluster("abc").unwrap();
        storage.promise(Epoch(7)).unwrap();
        assert_eq!(storage.promise(Epoch(3)), Ok(Epoch(7)), "a promise never goes back");
        drop(storage);

        let storage = Storage::open(directory.path()).unwrap();
        let after = storage.identity("n1");
        assert_eq!((storage.promised_epoch(), storage.cluster_id()), (Epoch(7), Some("abc".to_owned())));
        assert_eq!(after.node_id, before.node_id);
        assert_ne!(after.incarnation, before.incarnation);
    }

    #[test]
    fn a_node_stays_in_its_cluster() {
        let directory = tempfile::tempdir().unwrap();
        let storage = Storage::open(directory.path()).unwrap();
        storage.join_cluster("abc").unwrap();
        let error = storage.join_cluster("xyz").unwrap_err();
        assert_eq!(error.to_string(), "this node belongs to cluster abc, not to xyz");
    }
}
