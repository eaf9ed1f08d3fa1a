//! Writes that a power cut tears: what is left of the write-ahead log, and what a start makes of it. Tests only.
//!
//! ```text
//! closed logs: synced whole | newest log: synced ......... | unsynced: any part of it may be there
//! the file `synced`: as of now, of any moment before, damaged or missing
//! ```
//!
//! Tables and the manifest are synced by RocksDB before anything refers to them, so they are whole in every cut.

use std::collections::BTreeMap;
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

use rand::Rng;

use super::{Storage, synced};

/// Bytes of each log, by its name; the newest has the greatest.
pub(crate) type Lengths = BTreeMap<String, u64>;

/// The logs of a directory.
pub(crate) fn lengths(directory: &Path) -> Lengths {
    let entries = fs::read_dir(directory).into_iter().flatten().filter_map(Result::ok);
    entries
        .filter_map(|entry| Some((entry.file_name().into_string().ok()?, entry.metadata().ok()?.len())))
        .filter(|(name, _)| name.ends_with(".log"))
        .collect()
}

/// A log file, and which bytes of it nobody has synced.
#[derive(Debug)]
pub(crate) struct Tail {
    pub(crate) file: PathBuf,
    pub(crate) unsynced: Range<u64>,
}

impl Storage {
    /// What of each log was synced by now. Asked before a copy is made, so that it is never too much.
    pub(crate) fn synced(&self) -> Lengths {
        self.synced_logs.lock().clone()
    }
}

/// What a power cut may take of a copy of a directory. `None`: there is no log.
pub(crate) fn tail(copy: &Path, synced: &Lengths) -> Option<Tail> {
    let (name, length) = lengths(copy).pop_last()?;
    let from = synced.get(&name).copied().unwrap_or(0);
    Some(Tail { file: copy.join(name), unsynced: from..length })
}

/// Leaves some part of the tail: cut off, or with zeros for what the disk has not got, or with sectors missing.
pub(crate) fn tear(tail: &Tail, rng: &mut impl Rng) {
    const SECTOR: u64 = 512;
    let Range { start, end } = tail.unsynced;
    let at = rng.random_range(start..=end);
    let mut bytes = fs::read(&tail.file).unwrap();
    match rng.random_range(0..3) {
        0 => bytes.truncate(at as usize),
        1 => bytes[at as usize..].fill(0),
        _ => {
            for sector in (start / SECTOR)..=(end / SECTOR) {
                let (from, to) = ((sector * SECTOR).max(start), ((sector + 1) * SECTOR).min(end));
                if from < to && rng.random_range(0..3) == 0 {
                    bytes[from as usize..to as usize].fill(0);
                }
            }
        }
    }
    fs::write(&tail.file, bytes).unwrap();
}

/// Leaves the file `synced` as it is, of some moment before, torn, or not at all.
pub(crate) fn tear_note(copy: &Path, rng: &mut impl Rng) {
    let file = copy.join(synced::NAME);
    match rng.random_range(0..8) {
        0..4 => {}
        4 => fs::remove_file(file).unwrap(),
        5 => fs::File::options().write(true).open(file).unwrap().set_len(rng.random_range(0..16)).unwrap(),
        6 => fs::write(file, [0; 16]).unwrap(),
        _ => synced::age(&file, rng),
    }
}

/// A directory in memory where there is one: what is tested is not the disk of this machine.
pub(crate) fn directory() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

/// Copies the files of a directory.
pub(crate) fn copy(from: &Path, to: &Path) {
    _ = fs::remove_dir_all(to);
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        if !entry.file_name().to_string_lossy().starts_with("LOG") {
            fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }
}

mod tests {
    use super::super::{Error, Sync, put_blocks};
    use super::*;
    use crate::ids::{Epoch, Offset};
    use crate::journal::Block;
    use crate::wire;

    /// RocksDB's log has blocks of 32 KiB, over whose ends a record goes in fragments.
    const BLOCK: u64 = 32 << 10;

    fn append(storage: &Storage, offset: u64, bytes: usize) {
        let mut records = Vec::new();
        wire::put_bytes(&mut records, &vec![offset as u8; bytes]);
        let block = Block::new(Epoch(1), Offset(offset), Offset(offset), records.into());
        let mut batch = storage.batch();
        put_blocks(&mut batch, &[block]);
        storage.write(batch, Sync::Later).unwrap();
    }

    /// Where the journal ends that a start finds; each record has to be the one that was written there.
    fn recovered_end(directory: &Path) -> u64 {
        let storage = Storage::open(directory).unwrap();
        let mut end = 0;
        for block in storage.journal_from(Offset::ZERO).unwrap() {
            for (offset, record) in block.unwrap().iter() {
                assert_eq!(offset.0, end + 1, "no record is missing");
                assert!(record.iter().all(|byte| *byte == offset.0 as u8), "record {offset}");
                end = offset.0;
            }
        }
        end
    }

    /// Checks all of them, on two threads.
    fn each(positions: Range<u64>, check: impl Fn(&Path, u64) + std::marker::Sync) {
        let middle = positions.start + (positions.end - positions.start) / 2;
        std::thread::scope(|scope| {
            for half in [positions.start..middle, middle..positions.end] {
                let check = &check;
                scope.spawn(move || {
                    let folder = directory();
                    half.for_each(|position| check(&folder.path().join("copy"), position));
                });
            }
        });
    }

    #[test]
    fn a_log_that_is_torn_at_any_byte_of_its_last_blocks_recovers_to_the_records_before() {
        let folder = directory();
        let data = folder.path().join("data");
        let storage = Storage::open(&data).unwrap();
        let length = || lengths(&data).pop_last().unwrap().1;
        let mut synced = 0;
        while length() < BLOCK - 250 {
            synced += 1;
            append(&storage, synced, 100);
        }
        storage.sync().unwrap();
        let image = folder.path().join("image");
        let start = length();
        // Where each record that is not synced ends.
        let mut ends = vec![(start, synced)];
        for (index, bytes) in [1, 40, 150, 7, 30].into_iter().enumerate() {
            let offset = synced + 1 + index as u64;
            append(&storage, offset, bytes);
            ends.push((length(), offset));
        }
        let end = length();
        assert!(start < BLOCK && end > BLOCK + 40, "the tail goes over the end of a block: {start} to {end}");
        copy(&data, &image);
        let tail = tail(&image, &storage.synced()).unwrap();
        assert_eq!(tail.unsynced, start..end);
        let name = tail.file.file_name().unwrap();
        let whole_at = |position: u64| ends.iter().rfind(|(end, _)| *end <= position).unwrap().1;

        each(start..end + 1, |directory, at| {
            copy(&image, directory);
            fs::File::options().write(true).open(directory.join(name)).unwrap().set_len(at).unwrap();
            assert_eq!(recovered_end(directory), whole_at(at), "cut at {at}");
        });
        each(start..end, |directory, at| {
            copy(&image, directory);
            let mut bytes = fs::read(directory.join(name)).unwrap();
            bytes[at as usize] ^= 0x55;
            fs::write(directory.join(name), bytes).unwrap();
            let end = recovered_end(directory);
            // A block's last bytes, too few for a header, belong to no record.
            assert!(end >= whole_at(at), "flipped at {at}: {end}");
            assert!(end <= whole_at(at) || (BLOCK - 7..BLOCK).contains(&at), "flipped at {at}: {end}");
        });
    }

    #[test]
    fn a_damaged_byte_in_what_was_synced_is_refused_until_it_is_mended() {
        let folder = directory();
        let data = folder.path().join("data");
        let storage = Storage::open(&data).unwrap();
        let length = || lengths(&data).pop_last().unwrap().1;
        let mut written = 0;
        while length() < BLOCK + 2000 {
            written += 1;
            append(&storage, written, 100);
        }
        storage.sync().unwrap();
        let synced = length();
        for _ in 0..5 {
            written += 1;
            append(&storage, written, 100);
        }
        let image = folder.path().join("image");
        copy(&data, &image);
        let tail = tail(&image, &storage.synced()).unwrap();
        assert_eq!(tail.unsynced, synced..length());
        let name = tail.file.file_name().unwrap();
        let flip = |directory: &Path, at: u64| {
            copy(&image, directory);
            let mut bytes = fs::read(directory.join(name)).unwrap();
            bytes[at as usize] ^= 0x55;
            fs::write(directory.join(name), bytes).unwrap();
        };

        // All kinds of bytes of some records, those over the end of a block among them; and some of each of the others.
        let all = |at: &u64| *at < 100 || (BLOCK - 200..BLOCK + 200).contains(at) || *at >= synced - 200;
        let positions: Vec<_> = (0..synced).filter(|at| all(at) || at % 101 == 0).collect();
        each(0..positions.len() as u64, |directory, index| {
            let at = positions[index as usize];
            flip(directory, at);
            match Storage::open(directory) {
                Err(Error::Lost { found, synced, .. }) => assert!(found < synced, "flipped at {at}"),
                // A block's last bytes, too few for a header, belong to no record.
                Ok(storage) if (BLOCK - 7..BLOCK).contains(&at) => {
                    assert_eq!(storage.journal_bounds().unwrap().end, Offset(written), "flipped at {at}");
                }
                other => panic!("flipped at {at}: {other:?}"),
            }
        });

        let victim = folder.path().join("victim");
        flip(&victim, synced - 1);
        // RocksDB has put the log away after the first time.
        for _ in 0..2 {
            let (path, error) = (victim.display(), Storage::open(&victim).unwrap_err());
            let Error::Lost { found, synced, .. } = error else { panic!("{error:?}") };
            assert_eq!(found + 1, synced);
            assert_eq!(
                error.to_string(),
                format!(
                    "data directory {path} is damaged: its log ends at write {found}, but write {synced} had been synced; \
                     restore a backup with `tercet-node restore`, or empty the directory: a member of a cluster is then \
                     loaded by its master; a node by itself goes on without what is lost if {path}/synced is removed"
                )
            );
        }
        fs::remove_file(victim.join("synced")).unwrap();
        assert_eq!(recovered_end(&victim), written - 6);
        // Mended for good: what comes now is looked after again.
        let storage = Storage::open(&victim).unwrap();
        append(&storage, written - 5, 1);
        storage.sync().unwrap();
        drop(storage);
        assert_eq!(recovered_end(&victim), written - 5);
    }
}
