//! What lies on disk: the one module that opens RocksDB.
//!
//! ```text
//! <data>/  synced                                           how much of the log is synced          synced.rs
//!          family    key                                    value
//!          meta      name                                   ids, promises, the journal's bounds        meta.rs
//!          journal   first offset (u64 BE)                  epoch, last offset, records                journal.rs
//!          keys      partition (u32 BE) | page (u16 BE)     entries of a page of a shard                  partitions.rs
//!          messages  partition (u32 BE) | id (u64 BE)       a message; id 0: the topology, the accounts                 partitions.rs
//!          cuts      `floor`                                up to where all rows are exact                partitions.rs
//!          runs      number (u64 BE)                        messages that are not in memory               runs.rs
//! ```
//!
//! All families share one write-ahead log, so what was written first is never lost without what was written later:
//! **whoever writes rows of a state at a cut writes them behind the journal up to that cut.** Whatever a promise to others
//! rests on is synced before the call returns. RocksDB locks the directory, so two processes never share one.

mod database;
mod error;
mod family;
mod journal;
mod meta;
mod name;
mod options;
mod partitions;
mod rows;
mod runs;
mod synced;
#[cfg(test)]
pub(crate) mod torn;

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;
use rocksdb::checkpoint::Checkpoint;

pub use error::Error;
pub use family::Family;
pub use journal::{Bounds, put_blocks, put_commit, put_history};
pub use partitions::{Generation, Written, head_key, message_key, page_key, piece_key, split_key, split_page};
pub use rows::{Batch, Rows, Sync};

use crate::ids::Epoch;
use crate::limits;
use database::Database;
use synced::Synced;

/// The data directory of this node, open and locked.
#[derive(Debug)]
pub struct Storage {
    path: PathBuf,
    database: Database,
    meta: Mutex<Meta>,
    /// Rows and journal make a whole copy.
    is_whole: AtomicBool,
    generation: Mutex<Generation>,
    /// Counts how often the database was opened.
    openings: AtomicU64,
    runs: Mutex<runs::Present>,
    /// A write to the log has failed: RocksDB must not be asked to sync that file.
    is_log_broken: AtomicBool,
    /// The last write. Held by whoever writes, so that numbers are in the order of the log.
    written: Mutex<synced::Number>,
    synced: Synced,
    /// What of the logs was synced.
    #[cfg(test)]
    synced_logs: Mutex<torn::Lengths>,
}

/// What is asked for often.
#[derive(Debug, Clone, Default)]
struct Meta {
    node_id: String,
    cluster_id: Option<String>,
    promised_epoch: Epoch,
}

/// A handle that every task may have.
pub type Shared = Arc<Storage>;

impl Storage {
    /// Opens the directory, and makes it if it is not there.
    ///
    /// # Errors
    /// It cannot be made, read or locked.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let refused = |reason: String| Error::Directory { path: path.to_owned(), reason };
        std::fs::create_dir_all(path).map_err(|error| refused(error.to_string()))?;
        check_room_to_open(path)?;
        let database = Database::new(path)?;
        let storage = Self {
            path: path.to_owned(),
            database,
            meta: Mutex::new(Meta::default()),
            is_whole: AtomicBool::new(true),
            generation: Mutex::default(),
            openings: AtomicU64::new(0),
            runs: Mutex::default(),
            is_log_broken: AtomicBool::new(false),
            written: Mutex::default(),
            synced: Synced::open(path),
            #[cfg(test)]
            synced_logs: Mutex::default(),
        };
        storage.check_synced()?;
        storage.load_meta()?;
        storage.load_runs()?;
        Ok(storage)
    }

    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes a copy of everything to `directory`, which must not be there yet: what cannot change any more is linked, not
    /// copied, if it is on the same file system.
    ///
    /// # Errors
    /// The directory is there, or the disk refuses.
    pub fn backup(&self, directory: &Path) -> Result<(), Error> {
        let refused = |reason: String| Error::Backup { directory: directory.to_owned(), reason };
        if directory.exists() {
            return Err(refused("it is there already".to_owned()));
        }
        if let Some(parent) = directory.parent() {
            std::fs::create_dir_all(parent).map_err(|error| refused(error.to_string()))?;
        }
        let database = self.database.get()?;
        let checkpoint = Checkpoint::new(&database).map_err(|error| refused(error.to_string()))?;
        checkpoint.create_checkpoint(directory).map_err(|error| refused(error.to_string()))
    }

    /// Opens the database again, because nothing else makes it take writes. What was written to the log is still there; rows
    /// that were not flushed may be gone, so they are of another generation.
    ///
    /// # Errors
    /// It cannot be opened: it stays closed, and the next call tries again.
    pub fn reopen(&self) -> Result<(), Error> {
        check_room_to_open(&self.path)?;
        let _generation = self.next_generation();
        self.openings.fetch_add(1, Ordering::SeqCst);
        self.database.reopen()?;
        let written = *self.written.lock();
        self.check_synced()?;
        let found = *self.written.lock();
        if found < written {
            *self.written.lock() = written;
            tracing::error!(?found, ?written, "writes that the disk had taken are gone");
        }
        Ok(())
    }

    fn read_error(&self, error: rocksdb::Error) -> Error {
        let (path, reason) = (self.path.clone(), error.to_string());
        match error.kind() {
            rocksdb::ErrorKind::Corruption => Error::Broken { path, reason },
            _ => Error::Read { path, reason },
        }
    }

    fn write_error(&self, error: rocksdb::Error) -> Error {
        Error::Write { path: self.path.clone(), reason: error.into_string() }
    }
}

/// RocksDB begins new files when it opens. On a full disk its assertions would end the process before it can say why.
fn check_room_to_open(path: &Path) -> Result<(), Error> {
    let probe = path.join(format!("room.{}", std::process::id()));
    let written = std::fs::write(&probe, vec![0; limits::ROOM_TO_OPEN_BYTES]);
    let removed = std::fs::remove_file(&probe);
    match written.and(removed) {
        Err(error) if matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded) => {
            Err(Error::NoRoomToOpen {
                path: path.to_owned(),
                bytes: limits::ROOM_TO_OPEN_BYTES,
                reason: error.to_string(),
            })
        }
        Err(error) => Err(Error::Directory { path: path.to_owned(), reason: error.to_string() }),
        Ok(()) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_families_never_change() {
        let names = Family::ALL.map(Family::name);
        assert_eq!(names, ["meta", "journal", "keys", "messages", "cuts", "runs"]);
    }

    #[test]
    fn a_directory_of_the_first_version_opens() {
        let directory = tempfile::tempdir().unwrap();
        {
            let mut options = rocksdb::Options::default();
            options.create_if_missing(true);
            options.create_missing_column_families(true);
            let database = rocksdb::DB::open_cf(&options, directory.path(), ["meta"]).unwrap();
            let meta = database.cf_handle("meta").unwrap();
            database.put_cf(meta, "node_id", "abc").unwrap();
            database.put_cf(meta, "promised_epoch", "7").unwrap();
        }
        let storage = Storage::open(directory.path()).unwrap();
        assert_eq!(storage.identity("n1").node_id, "abc");
        assert_eq!(storage.promised_epoch(), Epoch(7));
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
