//! The commit hint: what is known to be committed is said on disk too, also when no record follows that would carry it.
//!
//! After the end of all processes a member shows, until a master is known, what its hint says is committed. So the hint
//! follows the commit offset within milliseconds of the last record. It costs a small write once the records pause, and
//! no sync of its own: the next one takes it along, or one a second later.

use std::time::{Duration, Instant};

use tracing::debug;

use super::work::Work;
use crate::config::Fsync;
use crate::ids::Offset;
use crate::journal::Reached;
use crate::limits;
use crate::storage::{Sync, put_commit};

/// What the disk says is committed. The writing thread's own.
#[derive(Debug)]
pub(super) struct Hint {
    on_disk: Offset,
    /// What the last turn reached.
    reached: Option<Reached>,
    /// How long the next look may take to come.
    pause: Duration,
    /// Since when a hint waits for a sync.
    unsynced: Option<Instant>,
}

impl Hint {
    pub(super) fn new() -> Self {
        Self { on_disk: Offset::ZERO, reached: None, pause: limits::SYNC_EVERY, unsynced: None }
    }

    /// A turn has written this hint along with its records.
    pub(super) fn written(&mut self, commit: Offset, reached: Reached, fsync: Fsync) {
        self.on_disk = commit;
        self.reached = Some(reached);
        self.pause = limits::HINT_PAUSE;
        if fsync == Fsync::Always {
            self.unsynced = None;
        }
    }

    /// Nothing is there to be written: brings the hint up to date. Says when the next look is due.
    pub(super) fn follow(&mut self, work: &Work) -> Duration {
        let journal = &work.node.engine.journal;
        let commit = work.node.gate.commit().min(journal.durability().written());
        if commit > self.on_disk && journal.durability().refusal().is_none() {
            self.write(work, commit);
        }
        if self.unsynced.is_some_and(|since| since.elapsed() >= limits::SYNC_EVERY) {
            self.unsynced = None;
            // One that fails is found out by the next record's.
            _ = work.storage.sync();
        }
        if self.unsynced.is_none() && self.on_disk >= journal.end() {
            self.pause = limits::SYNC_EVERY;
        }
        let pause = self.pause;
        self.pause = (2 * pause).min(limits::SYNC_EVERY);
        pause
    }

    fn write(&mut self, work: &Work, commit: Offset) {
        let mut batch = work.storage.batch();
        put_commit(&mut batch, commit);
        match work.storage.write(batch, Sync::Later) {
            Ok(()) => self.on_disk = commit,
            // The next record says so aloud.
            Err(error) => return debug!(%error, "the commit offset cannot be written"),
        }
        match work.node.config.fsync {
            Fsync::Always => _ = self.unsynced.get_or_insert_with(Instant::now),
            // The other thread syncs what it is told was written.
            Fsync::EverySecond => {
                let mut sync = work.sync.lock();
                sync.written = sync.written.or(self.reached);
            }
            Fsync::Never => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::config::{Action, Config};
    use crate::journal::Promise;
    use crate::node::Node;
    use crate::storage::Storage;

    fn until(what: &str, mut is_so: impl FnMut() -> bool) {
        let began = Instant::now();
        while !is_so() {
            assert!(began.elapsed() < Duration::from_secs(10), "it took too long until {what}");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    #[test]
    fn what_is_committed_after_the_last_record_is_said_on_disk() {
        for fsync in ["always", "everysec", "no"] {
            let directory = tempfile::tempdir().unwrap();
            let storage = Arc::new(Storage::open(directory.path()).unwrap());
            let args = ["tercet-node", "--sentinels", "127.0.0.1:1", "--fsync", fsync];
            let Ok(Action::Serve(config)) = Config::from_args(args.map(Into::into), |_| None) else { panic!("flags") };
            let node = Arc::new(Node::new(*config, storage.identity("n1")));
            let journal = &node.engine.journal;
            journal.start_disk(Promise::Appended, Offset::ZERO, Offset::ZERO, Vec::new());
            let disk = super::super::start(Arc::clone(&node), Arc::clone(&storage)).unwrap();
            (0..3).for_each(|_| _ = journal.append(b"record"));
            node.publish();
            until("the records are on disk", || storage.journal_bounds().unwrap().end == Offset(3));
            assert_eq!(storage.journal_bounds().unwrap().commit, Offset::ZERO, "nothing is committed yet");
            node.gate.advance(Offset(2));
            until("the hint follows", || storage.journal_bounds().unwrap().commit == Offset(2));
            node.gate.advance(Offset(3));
            until("the hint follows again", || storage.journal_bounds().unwrap().commit == Offset(3));
            drop(disk);
        }
    }
}
