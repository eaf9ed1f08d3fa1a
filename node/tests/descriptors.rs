//! What becomes of the disk when the process has no descriptor left? A process of its own: the limit is everybody's.

#![allow(clippy::unwrap_used, reason = "a test may fail")]

use tercet_node::storage::{Family, Storage, Sync};

/// How many files this process may have, as long as this lives.
struct Descriptors(libc::rlimit);

impl Descriptors {
    #[allow(unsafe_code, reason = "std has no setrlimit")]
    fn limit(count: u64) -> Self {
        let mut before = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        // SAFETY: both are valid limits; the first call writes `before`, the second reads its own.
        unsafe {
            assert_eq!(libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut before), 0);
            let limit = libc::rlimit { rlim_cur: count, ..before };
            assert_eq!(libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit), 0);
        }
        Self(before)
    }
}

impl Drop for Descriptors {
    #[allow(unsafe_code, reason = "std has no setrlimit")]
    fn drop(&mut self) {
        // SAFETY: it is a valid limit.
        unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const self.0) };
    }
}

#[test]
fn what_was_taken_before_the_descriptors_ran_out_is_there_when_they_are_back() {
    let directory = tempfile::tempdir().unwrap();
    let storage = Storage::open(directory.path()).unwrap();
    let generation = storage.generation();
    let mut taken = 0u64;
    let mut write = |storage: &Storage| {
        let mut batch = storage.batch();
        batch.put(Family::Journal, &(taken + 1).to_be_bytes(), &vec![taken as u8; 1 << 20]);
        storage.write(batch, Sync::Later).map(|()| taken += 1)
    };
    write(&storage).unwrap();
    let open = std::fs::read_dir("/proc/self/fd").unwrap().count() as u64;
    let limited = Descriptors::limit(open);
    // A new file is needed every 32 MiB.
    let refused = (0..400).find_map(|_| write(&storage).err());
    assert!(refused.is_some(), "it runs out of descriptors");
    assert!(storage.mend_log().is_err() && write(&storage).is_err(), "and stays so");
    drop(limited);
    storage.mend_log().unwrap();
    assert_ne!(storage.generation(), generation, "rows that were not flushed may be gone");
    write(&storage).unwrap();
    storage.sync().unwrap();
    drop(storage);
    let storage = Storage::open(directory.path()).unwrap();
    let offsets: Vec<u64> = storage
        .rows(Family::Journal, &[])
        .map(|row| u64::from_be_bytes(row.unwrap().0[..].try_into().unwrap()))
        .collect();
    assert_eq!(offsets, (1..=taken).collect::<Vec<_>>());
}
