//! The database behind `Storage`: open, or between two openings.
//!
//! An error in the background (a file that cannot be opened, or not be synced) leaves RocksDB read-only until it is resumed,
//! which its C interface cannot. So it is closed and opened again. What is in its log is still there then; rows, which are not
//! in the log, may be lost as far as they were not flushed: the generation of rows tells.

use std::path::{Path, PathBuf};

use parking_lot::{MappedRwLockReadGuard, RwLock, RwLockReadGuard};
use rocksdb::{ColumnFamily, DB};

use super::{Error, Family, options};

#[derive(Debug)]
pub(super) struct Database {
    path: PathBuf,
    /// `None`: it could not be opened again yet.
    open: RwLock<Option<DB>>,
}

/// The open database, which is not closed as long as this lives.
pub(super) struct Open<'d>(MappedRwLockReadGuard<'d, DB>);

impl std::ops::Deref for Open<'_> {
    type Target = DB;

    fn deref(&self) -> &DB {
        &self.0
    }
}

impl Open<'_> {
    pub(super) fn family(&self, family: Family) -> &ColumnFamily {
        self.0.cf_handle(family.name()).expect("opened with the database")
    }
}

impl Database {
    pub(super) fn new(path: &Path) -> Result<Self, Error> {
        Ok(Self { path: path.to_owned(), open: RwLock::new(Some(open(path)?)) })
    }

    /// Also for a thread that has it already: one that waits to close it does not come between.
    pub(super) fn get(&self) -> Result<Open<'_>, Error> {
        let open = RwLockReadGuard::try_map(self.open.read_recursive(), Option::as_ref);
        open.map(Open).map_err(|_| Error::Write { path: self.path.clone(), reason: "it is closed".to_owned() })
    }

    /// Closes it and opens it again, once nobody reads.
    pub(super) fn reopen(&self) -> Result<(), Error> {
        let mut open_now = self.open.write();
        // It locks the directory until it is closed.
        drop(open_now.take());
        *open_now = Some(open(&self.path)?);
        Ok(())
    }
}

fn open(path: &Path) -> Result<DB, Error> {
    let families = Family::ALL.map(options::family);
    DB::open_cf_descriptors(&options::database(), path, families).map_err(|error| {
        // RocksDB has no code of its own for these.
        let reason = error.into_string();
        let says = |words: &[&str]| words.iter().any(|word| reason.contains(word));
        if says(&["lock hold by current process", "While lock file"]) {
            Error::InUse { path: path.to_owned() }
        } else if says(&["Corruption", "No such file or directory", "does not exist"]) {
            Error::Broken { path: path.to_owned(), reason }
        } else {
            Error::Directory { path: path.to_owned(), reason }
        }
    })
}
