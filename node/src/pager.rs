//! The thread that carries messages of long queues to the disk and back, so that a queue may be larger than the memory.
//!
//! ```text
//! queue above `queue-memory`, or all queues above half of the watermark  --> the oldest that do not come next leave
//! a consumer comes near what has left                                    --> the next run is read, and he is served
//! ```
//!
//! It does so on masters and replicas alike, each by itself: what is in memory is no part of the state. A thread that serves
//! clients never waits for it.

use std::collections::BTreeSet;
use std::sync::{Arc, Weak};
use std::time::Instant;

use tercet_edge::seldom::Seldom;
use tracing::warn;

use crate::broker::shelf::{Bodies, Shelf};
use crate::broker::{Leaving, Queue};
use crate::clock;
use crate::limits;
use crate::node::{Node, Shared};
use crate::role::Verdict;
use crate::storage::{self, Storage};

/// Runs of messages in the data directory, as long as that is open.
#[derive(Debug)]
pub(crate) struct OnDisk(Weak<Storage>);

impl OnDisk {
    pub(crate) fn new(storage: &storage::Shared) -> Self {
        Self(Arc::downgrade(storage))
    }

    fn with<T>(&self, work: impl FnOnce(&Storage) -> Result<T, storage::Error>) -> Result<T, String> {
        let storage = self.0.upgrade().ok_or("the data directory is closed")?;
        work(&storage).map_err(|error| error.to_string())
    }
}

impl Bodies for OnDisk {
    fn read(&self, run: u64) -> Result<Option<Vec<u8>>, String> {
        self.with(|storage| storage.run(run))
    }

    fn put(&self, run: u64, bytes: &[u8]) -> Result<(), String> {
        self.with(|storage| storage.put_run(run, bytes))
    }

    fn settle(&self) -> Result<(), String> {
        self.with(Storage::settle_runs)
    }
}

/// From now on messages may leave the memory: before anything is loaded.
pub(crate) fn open(node: &Node, storage: &storage::Shared) {
    let last = storage.run_numbers().last().copied().unwrap_or(0);
    let shelf = node.engine.broker.shelf();
    shelf.set_bound(node.config.live.queue_memory.size());
    shelf.open(Arc::new(OnDisk::new(storage)), last);
}

/// Carries messages until the shelf is closed.
pub(crate) fn carry(node: &Shared, storage: &Storage) {
    let shelf = Arc::clone(node.engine.broker.shelf());
    let mut pager =
        Pager { node, storage, shelf: &shelf, record: Vec::new(), looked: Instant::now(), refused: Seldom::new() };
    while shelf.wait(limits::PAGER_TICK) {
        pager.turn();
    }
}

struct Pager<'a> {
    node: &'a Shared,
    storage: &'a Storage,
    shelf: &'a Arc<Shelf>,
    record: Vec<u8>,
    /// When all queues were looked at last.
    looked: Instant,
    refused: Seldom,
}

impl Pager<'_> {
    fn turn(&mut self) {
        self.shelf.set_bound(self.node.config.live.queue_memory.size());
        let (mut wanted, mut long) = (BTreeSet::new(), self.shelf.take_long());
        if self.looked.elapsed() >= limits::PAGER_LOOK && self.storage.has_runs() {
            self.looked = Instant::now();
            wanted.extend(self.node.engine.broker.queues_with_runs());
            // A copy that was loaded keeps what came last, and nobody says that it is long.
            long.extend(&wanted);
        }
        self.bring(wanted);
        for queue in long {
            self.node.engine.broker.leave_again(queue);
            while self.node.engine.broker.beyond_memory_bound(queue) > 0 && self.leave(queue) {
                self.bring(BTreeSet::new());
            }
        }
        while self.node.engine.broker.to_leave() > 0 {
            let Some(queue) = self.node.engine.broker.largest_queue() else { break };
            self.node.engine.broker.leave_again(queue);
            if !self.leave(queue) {
                break;
            }
            self.bring(BTreeSet::new());
        }
    }

    /// Brings what these queues and those that have asked need, a run at a time each.
    fn bring(&mut self, mut wanted: BTreeSet<u32>) {
        loop {
            wanted.append(&mut self.shelf.take_wanted());
            if wanted.is_empty() {
                return;
            }
            wanted.retain(|queue| self.bring_one(*queue));
        }
    }

    /// Whether the queue may need more.
    fn bring_one(&mut self, queue: u32) -> bool {
        let broker = &self.node.engine.broker;
        let Some(wanted) = broker.wanted_run(queue) else { return false };
        let brought = match self.storage.run(wanted.number) {
            Ok(Some(bytes)) => broker.bring(wanted, &bytes).map_err(|error| error.to_string()),
            Ok(None) => Err("it is not there".to_owned()),
            Err(error) => Err(error.to_string()),
        };
        match brought {
            Ok(Some(queue)) => {
                self.serve(&queue);
                true
            }
            Ok(None) => false,
            // The next look tries again.
            Err(reason) => {
                if let Some(others) = self.refused.due() {
                    warn!(queue, run = wanted.number, reason, others, "messages cannot be read from the disk");
                }
                false
            }
        }
    }

    /// Consumers get what has come, if this node is master.
    fn serve(&mut self, queue: &Arc<Queue>) {
        let permit = self.node.authority.enter(clock::boot_now());
        if permit.verdict != Verdict::Master {
            return;
        }
        let engine = &self.node.engine;
        let mut batch = engine.broker.begin(&engine.journal, &mut self.record, clock::unix_now());
        queue.serve_returned(&mut batch);
        batch.finish();
        drop(permit);
        self.node.publish();
    }

    /// Some messages of a queue leave the memory. False: none can, or the disk refuses.
    fn leave(&mut self, queue: u32) -> bool {
        let broker = &self.node.engine.broker;
        let leaving = match self.write(queue) {
            Ok(leaving) => leaving,
            Err(error) => {
                if let Some(others) = self.refused.due() {
                    warn!(queue, %error, others, "messages cannot leave the memory");
                }
                std::thread::sleep(limits::DISK_RETRY);
                return false;
            }
        };
        let has_left = !leaving.is_empty();
        leaving.into_iter().for_each(|leaving| broker.leave(leaving));
        has_left
    }

    /// Writes runs of a queue that may leave then.
    fn write(&self, queue: u32) -> Result<Vec<Leaving>, storage::Error> {
        self.storage.check_room(self.node.config.live.disk_free_limit.load() as u64)?;
        let mut leaving: Vec<Leaving> = Vec::new();
        let mut bytes = 0;
        while bytes < limits::PAGER_STEP_BYTES {
            let Some(next) = self.node.engine.broker.pick(queue, leaving.last()) else { break };
            let (number, run) = next.run();
            self.storage.put_run(number, &run)?;
            bytes += next.bytes();
            leaving.push(next);
        }
        if !leaving.is_empty() {
            self.storage.settle_runs()?;
        }
        Ok(leaving)
    }
}
