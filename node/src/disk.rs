//! The thread `disk`: what the journal holds goes to disk, many records in one batch.
//!
//! ```text
//! journal --take_turn--> one batch: wipe | cut | blocks, history, commit hint --> write-ahead log --> written
//!                                                     --fsync: always, every second, never -------> durable
//! ```
//!
//! The thread is woken by whoever appends. Where acknowledgements wait for it (a node by itself, `--fsync always`), the
//! records that came during one write are the next batch; elsewhere records gather for some milliseconds. With `everysec`
//! another thread syncs, so that writing goes on meanwhile.
//!
//! When the disk refuses, the same turn is tried again until it is taken; `Durability::refusal` says why meanwhile.

mod hint;
mod work;

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use tracing::{error, info, warn};

use crate::config::{Config, Fsync};
use crate::ids::Offset;
use crate::journal::{Promise, Reached, Turn};
use crate::limits;
use crate::node;
use crate::role;
use crate::storage::{self, Sync, put_blocks, put_commit, put_history};
use crate::task;
use hint::Hint;
use work::{ToSync, Work};

/// The threads, for as long as this lives. Dropped, everything that was appended is written and synced first, if the
/// disk takes it.
#[derive(Debug)]
pub struct Threads {
    work: Arc<Work>,
    threads: Vec<std::thread::JoinHandle<()>>,
}

/// What can be wrong with a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trouble {
    Write,
    Sync,
}

/// What `--fsync` and `--ack` let be acknowledged.
#[must_use]
pub fn promise(config: &Config) -> Promise {
    match config.fsync {
        Fsync::Always => Promise::Durable,
        Fsync::EverySecond | Fsync::Never if config.is_ack_written() => Promise::Written,
        Fsync::EverySecond | Fsync::Never => Promise::Appended,
    }
}

/// Starts the threads. The journal has been told of its disk with `Journal::start_disk`.
///
/// # Errors
/// The system has no more threads.
pub fn start(node: node::Shared, storage: storage::Shared) -> std::io::Result<Threads> {
    let fsync = node.config.fsync;
    let work = Work {
        node,
        storage,
        closed: OnceLock::new(),
        sync: Mutex::new(ToSync::default()),
        to_sync: Condvar::new(),
        troubles: Mutex::default(),
    };
    let work = Arc::new(work);
    let mut threads = Vec::new();
    let writer = Arc::clone(&work);
    threads.push(task::thread("disk", move || writer.write_turns())?);
    if fsync == Fsync::EverySecond {
        let syncer = Arc::clone(&work);
        threads.push(task::thread("disk-sync", move || syncer.sync_every_second())?);
    }
    Ok(Threads { work, threads })
}

impl Drop for Threads {
    fn drop(&mut self) {
        self.work.closed.get_or_init(Instant::now);
        self.work.node.engine.journal.wake_disk();
        {
            let _sync = self.work.sync.lock();
            self.work.to_sync.notify_all();
        }
        for thread in self.threads.drain(..) {
            // A panic was logged where it happened.
            _ = thread.join();
        }
    }
}

impl Work {
    fn is_closed(&self) -> bool {
        self.closed.get().is_some()
    }

    /// A node that stops tries for a while: what refuses may pass.
    fn gives_up(&self) -> bool {
        self.closed.get().is_some_and(|since| since.elapsed() > limits::DISK_LAST_TRIES)
    }

    fn write_turns(&self) {
        let journal = &self.node.engine.journal;
        let fsync = self.node.config.fsync;
        let gathers = promise(&self.node.config) == Promise::Appended;
        let mut hint = Hint::new();
        while !self.is_closed() {
            self.wait_for_late_sync();
            match journal.take_turn() {
                Some(turn) => {
                    if let Some(commit) = self.carry_out(&turn) {
                        hint.written(commit, turn.reached(), fsync);
                    }
                    if gathers && turn.bytes() < limits::DISK_TURN_BYTES / 2 {
                        std::thread::sleep(limits::DISK_GATHER);
                    }
                }
                None => _ = journal.wait_for_turn(hint.follow(self)),
            }
        }
        while let Some(turn) = journal.take_turn() {
            if self.carry_out(&turn).is_none() {
                return error!("the newest records could not be written");
            }
        }
        hint.follow(self);
        self.sync_up_to(journal.reached());
    }

    /// Clients are told why nothing is written; sentinels look for another master. `None`: this is well again. Two threads
    /// tell, and the disk is well when both say so.
    fn tell(&self, what: Trouble, error: Option<&storage::Error>) {
        let mut troubles = self.troubles.lock();
        troubles[what as usize] = error.map(storage::Error::reason);
        let refusal = troubles.iter().flatten().next().cloned();
        let disk = if refusal.is_some() { role::DiskHealth::Failed } else { role::DiskHealth::Well };
        if !self.node.is_ack_replicated() {
            self.node.gate.show_uncommitted(refusal.is_some());
        }
        self.node.engine.journal.durability().set_refusal(refusal);
        if self.node.authority.standing().disk != disk {
            self.node.authority.change(|standing| standing.disk = disk);
        }
    }

    /// Writes a turn, however long it takes; says which commit offset is on disk then. `None`: the node stops, and the disk
    /// has refused for as long as it may.
    fn carry_out(&self, turn: &Turn) -> Option<Offset> {
        let mut is_refused = false;
        let commit = loop {
            let error = match self.try_write(turn) {
                Ok(commit) => break commit,
                Err(error) => error,
            };
            if !is_refused {
                is_refused = true;
                error!(%error, "the disk cannot be written: writes are refused until it can");
                self.tell(Trouble::Write, Some(&error));
            }
            if self.gives_up() {
                return None;
            }
            std::thread::sleep(limits::DISK_RETRY);
        };
        if is_refused {
            info!("the disk can be written again");
            self.tell(Trouble::Write, None);
        }
        self.node.engine.journal.wrote(turn);
        match self.node.config.fsync {
            Fsync::Always => self.synced(turn.reached()),
            Fsync::EverySecond => self.sync.lock().written = Some(turn.reached()),
            Fsync::Never => {}
        }
        self.node.disk_advanced();
        Some(commit)
    }

    /// RocksDB is not let run into a full disk: what it has in memory has to find room.
    fn try_write(&self, turn: &Turn) -> Result<Offset, storage::Error> {
        self.storage.check_room(self.node.config.live.disk_free_limit.load() as u64)?;
        self.storage.mend_log()?;
        self.write(turn)
    }

    fn write(&self, turn: &Turn) -> Result<Offset, storage::Error> {
        if let Some(start) = turn.wipe {
            self.storage.wipe(start, turn.history.as_deref().unwrap_or_default())?;
        }
        let mut batch = self.storage.batch();
        if let Some(end) = turn.cut {
            self.storage.put_cut(&mut batch, end)?;
        }
        if let Some(history) = &turn.history {
            put_history(&mut batch, history);
        }
        put_blocks(&mut batch, &turn.blocks);
        let commit = self.node.gate.commit();
        put_commit(&mut batch, commit);
        let sync = if self.node.config.fsync == Fsync::Always { Sync::Now } else { Sync::Later };
        self.storage.write(batch, sync)?;
        Ok(commit)
    }

    fn synced(&self, reached: Reached) {
        // A copy that is not whole does not survive anything.
        if self.storage.is_whole() {
            self.node.engine.journal.synced(reached);
        }
    }

    fn sync_every_second(&self) {
        let mut next = Instant::now() + limits::SYNC_EVERY;
        loop {
            let reached = {
                let mut sync = self.sync.lock();
                while !self.is_closed() && Instant::now() < next {
                    self.to_sync.wait_until(&mut sync, next);
                }
                // The last sync is the other thread's.
                if self.is_closed() {
                    return;
                }
                let reached = sync.written.take();
                sync.since = reached.map(|_| Instant::now());
                reached
            };
            next = Instant::now() + limits::SYNC_EVERY;
            if let Some(reached) = reached {
                self.sync_up_to(reached);
                self.sync.lock().since = None;
                self.node.disk_advanced();
            }
        }
    }

    /// Syncs, however long it takes. After a failed sync nobody knows what is on the disk: everything that is not in
    /// files yet is written to new ones.
    fn sync_up_to(&self, reached: Reached) {
        let Err(error) = self.storage.sync() else { return self.synced(reached) };
        error!(%error, "the disk cannot be synced: writes are refused until it can");
        self.tell(Trouble::Sync, Some(&error));
        while let Err(error) = self.storage.mend() {
            if self.gives_up() {
                return error!("the newest records could not be synced");
            }
            warn!(%error, "the disk cannot be synced yet");
            std::thread::sleep(limits::DISK_RETRY);
        }
        info!("the disk can be synced again");
        self.tell(Trouble::Sync, None);
        self.synced(reached);
    }

    /// A sync that takes long: nothing more is written, and acknowledgements wait, so that a power cut costs no more
    /// than some seconds.
    fn wait_for_late_sync(&self) {
        let durability = self.node.engine.journal.durability();
        let is_late = || self.sync.lock().since.is_some_and(|since| since.elapsed() > limits::SYNC_LATE);
        if !is_late() {
            return;
        }
        warn!("a sync of the disk takes long, acknowledgements wait for it");
        durability.set_behind(true);
        while is_late() && !self.is_closed() {
            std::thread::sleep(Duration::from_millis(10));
        }
        durability.set_behind(false);
        self.node.disk_advanced();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Action, Config};
    use crate::node::Node;
    use crate::role::Verdict;
    use crate::storage::Storage;

    #[test]
    fn a_disk_takes_writes_again_when_neither_writing_nor_syncing_fails() {
        let directory = tempfile::tempdir().unwrap();
        let storage = Arc::new(Storage::open(directory.path()).unwrap());
        let Ok(Action::Serve(config)) = Config::from_args(["tercet-node".into()], |_| None) else { panic!("defaults") };
        let node = Arc::new(Node::new(*config, storage.identity("n1")));
        let work = Work {
            node: Arc::clone(&node),
            storage,
            closed: OnceLock::new(),
            sync: Mutex::default(),
            to_sync: Condvar::new(),
            troubles: Mutex::default(),
        };
        let verdict = || node.authority.enter(crate::clock::boot_now()).verdict;
        let error = |reason: &str| storage::Error::Write { path: "/data".into(), reason: reason.to_owned() };
        work.tell(Trouble::Sync, Some(&error("IO error: Input/output error")));
        work.tell(Trouble::Write, Some(&error("IO error: No space left on device")));
        work.tell(Trouble::Write, None);
        assert_eq!(node.engine.journal.durability().refusal(), Some("Input/output error".to_owned()));
        assert_eq!(verdict(), Verdict::DiskFailed);
        work.tell(Trouble::Sync, None);
        assert_eq!((node.engine.journal.durability().refusal(), verdict()), (None, Verdict::Master));
    }
}
