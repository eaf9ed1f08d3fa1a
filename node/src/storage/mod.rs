//! What lies on disk: the one module that opens RocksDB.
//!
//! ```text
//! <data>/   column family `meta`: node_id, cluster_id, promised_epoch
//! ```
//!
//! Whatever a promise to others rests on is synced before the call returns. RocksDB locks the directory, so two
//! processes never share one.

use std::path::{Path, PathBuf};

use parking_lot::Mutex;
use rocksdb::{ColumnFamilyDescriptor, DB, Options, WriteOptions};

use crate::ids::Epoch;
use crate::node::{Identity, random_id};

/// The data directory cannot be used. One line, for the operator.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("data directory {}: {reason}; check the path or choose another one with --data", path.display())]
    Directory { path: PathBuf, reason: String },
    #[error("data directory {} is in use by another process; stop it or choose another one with --data", path.display())]
    InUse { path: PathBuf },
    #[error("data directory {}: {key} is damaged ({found:?}); restore the directory or start with an empty one", path.display())]
    Damaged { path: PathBuf, key: &'static str, found: String },
    #[error("data directory {}: {reason}", path.display())]
    Write { path: PathBuf, reason: String },
    #[error("this node belongs to cluster {ours}, not to {theirs}")]
    OtherCluster { ours: String, theirs: String },
}

const META: &str = "meta";
const NODE_ID: &str = "node_id";
const CLUSTER_ID: &str = "cluster_id";
const PROMISED_EPOCH: &str = "promised_epoch";

/// The data directory of this node, open and locked.
#[derive(Debug)]
pub struct Storage {
    path: PathBuf,
    database: DB,
    meta: Mutex<Meta>,
}

#[derive(Debug, Clone)]
struct Meta {
    node_id: String,
    cluster_id: Option<String>,
    promised_epoch: Epoch,
}

impl Storage {
    /// Opens the directory, and makes it if it is not there.
    ///
    /// # Errors
    /// It cannot be made, read or locked.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let refused = |reason: String| Error::Directory { path: path.to_owned(), reason };
        std::fs::create_dir_all(path).map_err(|error| refused(error.to_string()))?;
        let mut options = Options::default();
        options.create_if_missing(true);
        options.create_missing_column_families(true);
        options.set_keep_log_file_num(2);
        let families = [ColumnFamilyDescriptor::new(META, Options::default())];
        let database = DB::open_cf_descriptors(&options, path, families).map_err(|error| {
            let reason = error.into_string();
            // RocksDB has no code of its own for this.
            if reason.contains("lock") { Error::InUse { path: path.to_owned() } } else { refused(reason) }
        })?;
        let meta = Meta { node_id: String::new(), cluster_id: None, promised_epoch: Epoch(0) };
        let storage = Self { path: path.to_owned(), database, meta: Mutex::new(meta) };
        storage.load()?;
        Ok(storage)
    }

    fn load(&self) -> Result<(), Error> {
        let node_id = match self.read(NODE_ID)? {
            Some(id) => id,
            None => {
                let id = random_id();
                self.write(NODE_ID, &id)?;
                id
            }
        };
        let promised = self.read(PROMISED_EPOCH)?.unwrap_or_else(|| "0".to_owned());
        let promised_epoch = promised.parse().map(Epoch).map_err(|_| Error::Damaged {
            path: self.path.clone(),
            key: PROMISED_EPOCH,
            found: promised,
        })?;
        *self.meta.lock() = Meta { node_id, cluster_id: self.read(CLUSTER_ID)?, promised_epoch };
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
                self.write(CLUSTER_ID, id)?;
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
            self.write(PROMISED_EPOCH, &epoch.to_string())?;
            meta.promised_epoch = epoch;
        }
        Ok(meta.promised_epoch)
    }

    fn read(&self, key: &'static str) -> Result<Option<String>, Error> {
        let family = self.database.cf_handle(META).expect("opened with the database");
        let bytes = self
            .database
            .get_cf(family, key)
            .map_err(|error| Error::Directory { path: self.path.clone(), reason: error.into_string() })?;
        bytes.map(String::from_utf8).transpose().map_err(|error| Error::Damaged {
            path: self.path.clone(),
            key,
            found: String::from_utf8_lossy(error.as_bytes()).into_owned(),
        })
    }

    /// Synced before it returns.
    fn write(&self, key: &'static str, value: &str) -> Result<(), Error> {
        let family = self.database.cf_handle(META).expect("opened with the database");
        let mut options = WriteOptions::default();
        options.set_sync(true);
        self.database
            .put_cf_opt(family, key, value, &options)
            .map_err(|error| Error::Write { path: self.path.clone(), reason: error.into_string() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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

    #[test]
    fn a_directory_serves_one_process() {
        let directory = tempfile::tempdir().unwrap();
        let _first = Storage::open(directory.path()).unwrap();
        let error = Storage::open(directory.path()).unwrap_err();
        assert_eq!(error, Error::InUse { path: directory.path().to_owned() });
    }

    #[test]
    fn a_file_in_the_way_is_one_clear_line() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let error = Storage::open(file.path()).unwrap_err().to_string();
        assert!(error.contains("check the path") && !error.contains('\n'), "{error}");
    }
}
