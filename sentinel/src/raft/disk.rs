//! The one RocksDB of a sentinel: column families, identity, and the thread that makes writes durable.
//!
//! ```text
//! meta   format, sentinel_id, raft_id, joined (it has had a vote), vote, last_purged
//! logs   index (u64, big endian) -> entry (JSON)
//! state  machine (last applied, membership, cluster state), snapshot, snapshot_meta
//! ```
//! Everything goes through one write-ahead log, so what is durable is always a prefix of what was written: the state
//! machine can never be ahead of the log, nor a purge ahead of the state machine.

use std::{
    io,
    path::Path,
    sync::{Arc, mpsc},
    time::{Duration, Instant},
};

use openraft::storage::LogFlushed;
use rand::RngCore;
use rocksdb::{ColumnFamily, ColumnFamilyDescriptor, DB, LogLevel, Options, WriteBatch};
use tokio::sync::oneshot;
use tracing::warn;

use super::types::TypeConfig;
use crate::limits;

pub(super) const META: &str = "meta";
pub(super) const LOGS: &str = "logs";
pub(super) const STATE: &str = "state";

const SENTINEL_ID: &[u8] = b"sentinel_id";
const RAFT_ID: &[u8] = b"raft_id";
const JOINED: &[u8] = b"joined";
/// Of the data in this directory, a decimal number. Not there: 1.
const FORMAT: &[u8] = b"format";

/// The version of the disk's format that this program writes. Older ones are read; a newer one is refused.
const KNOWN_FORMAT: u64 = 1;

/// Waiting syncs: Raft has a handful under way at most.
const PENDING_SYNCS: usize = 1024;

/// An election or a promotion that waits this long for a disk is late.
const SLOW_SYNC: Duration = Duration::from_millis(100);

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot open the data directory {path}: {source}; is another sentinel using it?")]
    Open { path: String, source: rocksdb::Error },
    #[error("no room for a start in the data directory {path}: {source}; make room or choose another one")]
    Room { path: String, source: io::Error },
    #[error(
        "the data directory {path} has format {format}, and this program knows those up to {KNOWN_FORMAT}: a newer version has written it; run that one, or choose another directory"
    )]
    Format { path: String, format: String },
    #[error("the data directory cannot be read or written: {0}")]
    Access(#[from] rocksdb::Error),
}

/// The database, and the way to durability. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Disk {
    db: Arc<DB>,
    syncs: mpsc::SyncSender<Sync>,
    sentinel_id: String,
    raft_id: u64,
}

enum Sync {
    Append(LogFlushed<TypeConfig>),
    Wait(oneshot::Sender<io::Result<()>>),
}

impl Disk {
    /// Opens or creates the database under `path`; draws the sentinel's ids at creation.
    ///
    /// The second value ends when the last clone is dropped and the database is closed.
    pub(crate) fn open(path: &Path) -> Result<(Self, oneshot::Receiver<()>), Error> {
        let mut options = Options::default();
        options.create_if_missing(true);
        options.create_missing_column_families(true);
        // A sentinel's data is some kilobytes: keep what RocksDB leaves around small.
        options.set_keep_log_file_num(2);
        // It writes its diary at the start and never again: a line that meets a full disk would end the process with the
        // line behind it, by an assertion that Debian's build keeps. What it fails at we are told anyway.
        options.set_log_level(LogLevel::Fatal);
        options.set_max_total_wal_size(16 << 20);
        check_room(path)?;
        let families = [META, LOGS, STATE].map(|name| ColumnFamilyDescriptor::new(name, Options::default()));
        let db = DB::open_cf_descriptors(&options, path, families)
            .map_err(|source| Error::Open { path: path.display().to_string(), source })?;
        let db = Arc::new(db);
        check_format(&db, path)?;
        let (sentinel_id, raft_id) = identity(&db)?;
        let (syncs, requests) = mpsc::sync_channel(PENDING_SYNCS);
        let (closed, closing) = oneshot::channel();
        let flushed = Arc::clone(&db);
        std::thread::Builder::new()
            .name("raft-sync".into())
            .spawn(move || {
                sync_loop(&flushed, &requests);
                // Whoever waits for the end is told only after the database is closed.
                drop((flushed, requests));
                let _ = closed.send(());
            })
            .expect("a thread can be started at startup");
        Ok((Self { db, syncs, sentinel_id, raft_id }, closing))
    }

    pub(crate) fn sentinel_id(&self) -> &str {
        &self.sentinel_id
    }

    pub(crate) fn raft_id(&self) -> u64 {
        self.raft_id
    }

    /// This sentinel has had a vote: if it has none any more, it was removed.
    pub(crate) fn has_joined(&self) -> Result<bool, Error> {
        Ok(self.get(META, JOINED)?.is_some())
    }

    /// Readable from now on, durable after a sync.
    pub(crate) fn remember(&self, name: &str, value: u64) -> Result<(), rocksdb::Error> {
        self.db.put_cf(self.family(META), name, value.to_string())
    }

    pub(crate) fn remembered(&self, name: &str) -> Option<u64> {
        let bytes = self.get(META, name.as_bytes()).ok().flatten()?;
        std::str::from_utf8(&bytes).ok()?.parse().ok()
    }

    pub(super) fn mark_joined(&self, batch: &mut WriteBatch) {
        batch.put_cf(self.family(META), JOINED, []);
    }

    pub(super) fn db(&self) -> &DB {
        &self.db
    }

    pub(super) fn family(&self, name: &str) -> &ColumnFamily {
        self.db.cf_handle(name).expect("every column family is created at open")
    }

    pub(super) fn get(&self, family: &str, key: &[u8]) -> Result<Option<Vec<u8>>, rocksdb::Error> {
        self.db.get_cf(self.family(family), key)
    }

    /// Readable from now on, in the write-ahead log, not yet durable.
    pub(super) fn write(&self, batch: WriteBatch) -> Result<(), rocksdb::Error> {
        self.db.write(batch)
    }

    /// Calls back once everything written so far is durable.
    pub(super) fn sync_append(&self, callback: LogFlushed<TypeConfig>) -> io::Result<()> {
        self.syncs.send(Sync::Append(callback)).map_err(|_| io::Error::other("the sync thread has ended"))
    }

    /// Returns once everything written so far is durable.
    pub(super) async fn sync(&self) -> io::Result<()> {
        let (done, wait) = oneshot::channel();
        let ended = || io::Error::other("the sync thread has ended");
        self.syncs.send(Sync::Wait(done)).map_err(|_| ended())?;
        wait.await.map_err(|_| ended())?
    }
}

/// RocksDB begins new files when it opens. On a full disk its assertions would end the process before it can say why.
fn check_room(path: &Path) -> Result<(), Error> {
    let probe = path.join(format!("room.{}", std::process::id()));
    let written = tercet_edge::files::make_private_directory(path)
        .and_then(|()| std::fs::write(&probe, vec![0; limits::ROOM_TO_OPEN]));
    let removed = std::fs::remove_file(&probe);
    match written.and(removed) {
        Err(source) if matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) => {
            Err(Error::Room { path: path.display().to_string(), source })
        }
        // What else is wrong with the directory RocksDB can say.
        Ok(()) | Err(_) => Ok(()),
    }
}

fn check_format(db: &DB, path: &Path) -> Result<(), Error> {
    let meta = db.cf_handle(META).expect("every column family is created at open");
    let Some(bytes) = db.get_cf(meta, FORMAT)? else {
        db.put_cf(meta, FORMAT, KNOWN_FORMAT.to_string())?;
        return Ok(());
    };
    let format = String::from_utf8_lossy(&bytes).into_owned();
    match format.parse::<u64>() {
        Ok(number) if number <= KNOWN_FORMAT => Ok(()),
        Ok(_) | Err(_) => Err(Error::Format { path: path.display().to_string(), format }),
    }
}

/// The ids of this directory, which a wiped one does not have: 40 hex digits, and a number for Raft that was never another
/// directory's, so that nobody votes twice.
fn identity(db: &DB) -> Result<(String, u64), Error> {
    let meta = db.cf_handle(META).expect("every column family is created at open");
    let stored = db.get_cf(meta, SENTINEL_ID)?.map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    if let (Some(id), Some(bytes)) = (stored, db.get_cf(meta, RAFT_ID)?) {
        return Ok((id, bytes.try_into().map_or(0, u64::from_be_bytes)));
    }
    let id = draw_id();
    let raft_id = rand::rng().next_u64() >> RAFT_ID_SPARE_BITS | 1;
    let mut batch = WriteBatch::default();
    batch.put_cf(meta, SENTINEL_ID, &id);
    batch.put_cf(meta, RAFT_ID, raft_id.to_be_bytes());
    db.write(batch)?;
    db.flush_wal(true)?;
    Ok((id, raft_id))
}

/// What is left of 64 bits is read without loss as a number of JSON by whatever reads the log.
const RAFT_ID_SPARE_BITS: u32 = 11;

/// 40 random hex digits, the form of every id of the project.
pub(crate) fn draw_id() -> String {
    let mut bytes = [0; 20];
    rand::rng().fill_bytes(&mut bytes);
    bytes.iter().fold(String::with_capacity(40), |mut id, byte| {
        use std::fmt::Write as _;
        write!(id, "{byte:02x}").expect("writing to a string does not fail");
        id
    })
}

/// One fsync answers everybody who waits: group commit. Ends when the last `Disk` is dropped.
fn sync_loop(db: &DB, requests: &mpsc::Receiver<Sync>) {
    let mut last_warning = None;
    while let Ok(first) = requests.recv() {
        let waiting: Vec<Sync> = std::iter::once(first).chain(requests.try_iter()).collect();
        let began = Instant::now();
        let result = db.flush_wal(true).map_err(|error| error.to_string());
        let took = began.elapsed();
        if took > SLOW_SYNC && last_warning.is_none_or(|at: Instant| at.elapsed() > limits::LOG_AGAIN) {
            last_warning = Some(Instant::now());
            warn!(took_ms = took.as_millis(), "the disk is slow: votes and promotions wait for it");
        }
        for sync in waiting {
            let result = result.clone().map_err(io::Error::other);
            match sync {
                Sync::Append(callback) => callback.log_io_completed(result),
                Sync::Wait(done) => drop(done.send(result)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_of_a_newer_format_is_refused() {
        let directory = tempfile::tempdir().expect("a directory for a test");
        let (disk, _closed) = Disk::open(directory.path()).expect("a new directory opens");
        assert_eq!(disk.get(META, FORMAT), Ok(Some(b"1".to_vec())));
        disk.db.put_cf(disk.family(META), FORMAT, "2").expect("it is written");
        let path = disk.db.path().to_owned();
        drop(disk);
        // The thread that syncs closes the database.
        let error = loop {
            match Disk::open(&path) {
                Err(Error::Open { .. }) => std::thread::sleep(Duration::from_millis(5)),
                Err(error) => break error,
                Ok(_) => panic!("it opens"),
            }
        };
        assert!(matches!(&error, Error::Format { format, .. } if format == "2"), "{error}");
    }
}
