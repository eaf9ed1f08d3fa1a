//! How much of the log is known to be synced: a file beside the database, overwritten in place after each sync.
//!
//! ```text
//! <data>/synced:  number of a write (u64 BE) | xxh3 of these bytes (u64 BE)
//! ```
//!
//! RocksDB takes a damaged byte in its newest log for the end of what was written before a power cut, and goes on
//! without the rest. So each batch carries its number to `meta`, and a start whose log ends before a write that was
//! synced is refused.
//!
//! **Invariant:** the file is never ahead of what is synced. It is not synced itself: it may be old, damaged or missing
//! after a power cut, and then says less, or nothing.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use parking_lot::Mutex;
use tracing::debug;
use xxhash_rust::xxh3::xxh3_64;

/// On disk for ever.
pub(super) const NAME: &str = "synced";

/// A write's place among all that the log has taken since the directory was made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Number(pub(super) u64);

impl Number {
    pub(super) fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// The file.
#[derive(Debug)]
pub(super) struct Synced {
    /// `None`: it cannot be made. Then a start takes what it finds.
    file: Option<File>,
    pub(super) number: Mutex<Number>,
}

impl Synced {
    /// Opens the file, and makes it if it is not there.
    pub(super) fn open(directory: &Path) -> Self {
        let file = File::options().read(true).write(true).create(true).truncate(false).open(directory.join(NAME));
        let file = file.inspect_err(|error| debug!(%error, "what is synced cannot be noted")).ok();
        let number = file.as_ref().and_then(read).unwrap_or_default();
        Self { file, number: Mutex::new(number) }
    }

    /// A sync that began behind this write has returned.
    pub(super) fn note(&self, synced: Number) {
        let mut number = self.number.lock();
        if synced <= *number {
            return;
        }
        *number = synced;
        if let Some(file) = &self.file
            && let Err(error) = file.write_all_at(&encode(synced), 0)
        {
            debug!(%error, "what is synced cannot be noted");
        }
    }
}

fn encode(number: Number) -> [u8; 16] {
    let mut bytes = [0; 16];
    let (content, checksum) = bytes.split_at_mut(8);
    content.copy_from_slice(&number.0.to_be_bytes());
    checksum.copy_from_slice(&xxh3_64(content).to_be_bytes());
    bytes
}

/// `None`: nothing is known.
fn read(file: &File) -> Option<Number> {
    let mut bytes = [0; 16];
    file.read_exact_at(&mut bytes, 0).ok()?;
    let number = Number(u64::from_be_bytes(*bytes.first_chunk()?));
    (encode(number) == bytes).then_some(number)
}

/// As a power cut may leave it: of some moment before.
#[cfg(test)]
pub(super) fn age(file: &Path, rng: &mut impl rand::Rng) {
    let number = read(&File::open(file).unwrap()).unwrap();
    std::fs::write(file, encode(Number(rng.random_range(0..=number.0)))).unwrap();
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::{Family, Storage, Sync};
    use super::*;

    fn write(storage: &Storage, sync: Sync) {
        let mut batch = storage.batch();
        batch.put(Family::Cuts, b"key", &[b'v'; 40]);
        storage.write(batch, sync).unwrap();
    }

    fn noted(directory: &Path) -> Option<Number> {
        read(&File::open(directory.join(NAME)).unwrap())
    }

    #[test]
    fn the_file_follows_syncs_and_never_writes() {
        let folder = tempfile::tempdir().unwrap();
        let storage = Storage::open(folder.path()).unwrap();
        let at_start = noted(folder.path()).unwrap();
        write(&storage, Sync::Later);
        assert_eq!(noted(folder.path()), Some(at_start));
        storage.sync().unwrap();
        assert_eq!(noted(folder.path()), Some(at_start.next()));
        write(&storage, Sync::Later);
        write(&storage, Sync::Now);
        assert_eq!(noted(folder.path()), Some(at_start.next().next().next()));
        assert_eq!(noted(folder.path()), Some(*storage.written.lock()));
    }

    #[test]
    fn numbers_go_on_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        for _ in 0..3 {
            let storage = Storage::open(folder.path()).unwrap();
            let before = *storage.written.lock();
            write(&storage, Sync::Now);
            assert_eq!((*storage.written.lock(), noted(folder.path())), (before.next(), Some(before.next())));
        }
        assert!(noted(folder.path()) >= Some(Number(3)));
    }

    #[test]
    fn a_file_that_is_missing_or_damaged_says_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join(NAME);
        let mut far = encode(Number(u64::MAX));
        far[9] ^= 1;
        for garbage in [None, Some(&far[..]), Some(&[][..]), Some(&[0; 16][..]), Some(&b"garbage, and a lot of it"[..])]
        {
            write(&Storage::open(folder.path()).unwrap(), Sync::Now);
            match garbage {
                Some(bytes) => fs::write(&file, bytes).unwrap(),
                None => fs::remove_file(&file).unwrap(),
            }
            let storage = Storage::open(folder.path()).unwrap_or_else(|error| panic!("{garbage:?}: {error}"));
            write(&storage, Sync::Now);
            assert_eq!(noted(folder.path()), Some(*storage.written.lock()), "{garbage:?}");
        }
    }
}
