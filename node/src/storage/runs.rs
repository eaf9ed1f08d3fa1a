//! Runs of messages that are not in memory: written once, read as a whole, deleted when no checkpoint refers to them.
//!
//! ```text
//! runs   number (u64 BE)   -> a run, see `broker/queue/paging.rs`
//! meta   `run/<number>`    -> nothing: which runs there are, so that a start does not have to read them
//! ```
//!
//! Numbers ascend, so files of this family never overlap: a merge moves them, and what has been consumed goes by whole files.
//!
//! **Invariant:** runs are flushed before messages leave the memory, and before the rows of a queue that refer to them. A wipe
//! leaves them alone: those of the state before are nobody's then, and go with the next checkpoint or start.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;

use rocksdb::WriteOptions;

use super::{Error, Family, Storage, Sync};

/// What is known of the runs on disk.
#[derive(Debug, Default)]
pub(super) struct Present {
    numbers: BTreeSet<u64>,
    /// Some were written since the last flush, in this opening of the database.
    unflushed: Option<u64>,
}

const PREFIX: &str = "run/";

fn index(number: u64) -> Vec<u8> {
    format!("{PREFIX}{number:020}").into_bytes()
}

impl Storage {
    /// Reads which runs there are.
    pub(super) fn load_runs(&self) -> Result<(), Error> {
        let mut present = self.runs.lock();
        for row in self.rows(Family::Meta, PREFIX.as_bytes()) {
            let (key, _) = row?;
            let Some(digits) = key.strip_prefix(PREFIX.as_bytes()) else { break };
            let number = std::str::from_utf8(digits).ok().and_then(|digits| digits.parse().ok());
            present.numbers.insert(number.ok_or_else(|| self.damaged("run", format!("{key:?}")))?);
        }
        Ok(())
    }

    /// The numbers of the runs on disk.
    #[must_use]
    pub fn run_numbers(&self) -> BTreeSet<u64> {
        self.runs.lock().numbers.clone()
    }

    #[must_use]
    pub fn has_runs(&self) -> bool {
        !self.runs.lock().numbers.is_empty()
    }

    /// Bytes of the runs on disk, about.
    #[must_use]
    pub fn run_bytes(&self) -> u64 {
        self.bytes(Family::Runs)
    }

    /// A run.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn run(&self, number: u64) -> Result<Option<Vec<u8>>, Error> {
        self.row(Family::Runs, &number.to_be_bytes())
    }

    /// Writes a run. It may be lost until `settle_runs` has returned.
    ///
    /// # Errors
    /// The disk refuses.
    pub fn put_run(&self, number: u64, bytes: &[u8]) -> Result<(), Error> {
        let mut batch = self.batch();
        batch.put(Family::Meta, &index(number), b"");
        self.write(batch, Sync::Later)?;
        let mut batch = self.batch();
        batch.put(Family::Runs, &number.to_be_bytes(), bytes);
        let mut options = WriteOptions::default();
        options.disable_wal(true);
        let mut present = self.runs.lock();
        present.numbers.insert(number);
        present.unflushed.get_or_insert(self.openings.load(Ordering::SeqCst));
        drop(present);
        let changes = batch.into_changes()?;
        self.database.get()?.write_opt(changes, &options).map_err(|error| self.write_error(error))
    }

    /// Every run that was written before is on the disk when it returns.
    ///
    /// # Errors
    /// The disk refuses, or the database was opened again since and some of them are gone.
    pub fn settle_runs(&self) -> Result<(), Error> {
        let since = self.runs.lock().unflushed.take();
        let flushed = self.database.get().and_then(|database| {
            database.flush_cf(database.family(Family::Runs)).map_err(|error| self.write_error(error))
        });
        if let Err(error) = flushed {
            if let Some(since) = since {
                self.runs.lock().unflushed = Some(since);
            }
            return Err(error);
        }
        match since {
            Some(since) if since != self.openings.load(Ordering::SeqCst) => {
                let reason = "the database was opened again".to_owned();
                Err(Error::Write { path: self.path.clone(), reason })
            }
            _ => Ok(()),
        }
    }

    /// Deletes runs that nothing refers to.
    ///
    /// # Errors
    /// The disk refuses.
    pub fn delete_runs(&self, numbers: &[u64]) -> Result<(), Error> {
        if numbers.is_empty() {
            return Ok(());
        }
        let mut batch = self.batch();
        for number in numbers {
            batch.delete(Family::Meta, &index(*number));
            batch.delete(Family::Runs, &number.to_be_bytes());
        }
        self.write(batch, Sync::Later)?;
        let mut present = self.runs.lock();
        numbers.iter().for_each(|number| _ = present.numbers.remove(number));
        let first = present.numbers.first().copied();
        drop(present);
        // Whole files of what is gone. The end of the range is within it.
        let last_gone = first.unwrap_or(u64::MAX).saturating_sub(1);
        let database = self.database.get()?;
        database
            .delete_file_in_range_cf(database.family(Family::Runs), 0u64.to_be_bytes(), last_gone.to_be_bytes())
            .map_err(|error| self.write_error(error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_survive_a_restart_once_they_are_settled_and_others_are_known_to_be_gone() {
        let directory = tempfile::tempdir().unwrap();
        let storage = Storage::open(directory.path()).unwrap();
        for number in 1..=3 {
            storage.put_run(number, &[number as u8; 1000]).unwrap();
        }
        storage.settle_runs().unwrap();
        storage.delete_runs(&[2]).unwrap();
        drop(storage);
        let storage = Storage::open(directory.path()).unwrap();
        assert_eq!(storage.run_numbers().into_iter().collect::<Vec<_>>(), [1, 3]);
        assert_eq!(storage.run(3).unwrap(), Some(vec![3; 1000]));
        assert_eq!(storage.run(2).unwrap(), None);
    }

    #[test]
    fn whole_files_go_and_none_of_what_is_there() {
        let directory = tempfile::tempdir().unwrap();
        let storage = Storage::open(directory.path()).unwrap();
        for number in 1..=20 {
            storage.put_run(number, &[number as u8; 1000]).unwrap();
            storage.settle_runs().unwrap();
        }
        for number in 1..=19 {
            storage.delete_runs(&[number]).unwrap();
            assert_eq!(storage.run(number).unwrap(), None);
            (number + 1..=20).for_each(|next| assert!(storage.run(next).unwrap().is_some(), "{next} behind {number}"));
        }
    }

    #[test]
    fn runs_that_an_opening_has_lost_are_told_and_a_wipe_loses_none() {
        let directory = tempfile::tempdir().unwrap();
        let storage = Storage::open(directory.path()).unwrap();
        storage.put_run(1, b"one").unwrap();
        storage.reopen().unwrap();
        assert!(storage.settle_runs().is_err());
        storage.put_run(2, b"two").unwrap();
        storage.wipe(crate::ids::Offset::ZERO, &[]).unwrap();
        storage.settle_runs().unwrap();
        assert_eq!(storage.run(2).unwrap().as_deref(), Some(&b"two"[..]));
    }
}
