//! The thread that keeps the rows up to date, until the node stops.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use tracing::{debug, info, warn};

use super::known::Known;
use super::pace::{self, Growth};
use super::pass::{self, Bounds, Broken, Ground, Rest};
use super::{Control, Position, Report};
use crate::ids::Offset;
use crate::limits;
use crate::node::Node;
use crate::storage::Storage;

/// Makes checkpoints until `Control::close`. `position` says how far the partitions are; nothing while they are not the
/// state of one moment.
pub(crate) fn keep(node: &Node, storage: &Storage, known: Known, position: &dyn Fn() -> Option<Position>) {
    let control = &node.checkpoint;
    control.orders.lock().is_kept = true;
    let growth = JournalGrowth::new(storage);
    Keeper { node, storage, known, position, control, growth, last: Instant::now(), settled: Instant::now() }.run();
    control.orders.lock().is_kept = false;
}

struct Keeper<'a> {
    node: &'a Node,
    storage: &'a Storage,
    known: Known,
    position: &'a dyn Fn() -> Option<Position>,
    control: &'a Control,
    growth: JournalGrowth,
    /// When the last pass ended.
    last: Instant,
    settled: Instant,
}

/// How a pass is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Haste {
    /// Clients come first.
    Gentle,
    /// Somebody waits for it.
    Asked,
    /// The node stops.
    Until(Instant),
}

impl Keeper<'_> {
    fn run(&mut self) {
        let mut answered = 0;
        loop {
            let (asked, closing) = self.wait(answered);
            if self.settled.elapsed() >= limits::SETTLE_EVERY {
                self.settled = Instant::now();
                (0..self.node.engine.keyspace.len()).for_each(|index| self.node.engine.keyspace.lock(index).settle());
            }
            self.growth.look(self.storage, self.node.engine.journal.durability().written());
            let haste = match closing {
                Some(until) => Haste::Until(until),
                None if asked > answered => Haste::Asked,
                None => Haste::Gentle,
            };
            if haste != Haste::Gentle || self.is_due() {
                self.pass(asked, haste);
                answered = asked;
            }
            if closing.is_some() {
                return;
            }
        }
    }

    /// Waits for a request or the next look; says how many requests there were, and until when the node stops.
    fn wait(&self, answered: u64) -> (u64, Option<Instant>) {
        let mut orders = self.control.orders.lock();
        if orders.asked == answered && orders.closing.is_none() {
            self.control.changed.wait_for(&mut orders, limits::CHECKPOINT_TICK);
        }
        (orders.asked, orders.closing)
    }

    fn data_bytes(&self) -> u64 {
        self.known.page_bytes() + self.storage.message_bytes()
    }

    fn is_due(&self) -> bool {
        let age = self.last.elapsed();
        if !self.storage.is_whole() {
            return (self.position)().is_some() && age >= limits::CHECKPOINT_RETRY;
        }
        let growth = Growth { journal_bytes: self.growth.since_pass(), data_bytes: self.data_bytes(), age };
        pace::is_due(growth) && age >= limits::CHECKPOINT_RETRY
    }

    fn pass(&mut self, asked: u64, haste: Haste) {
        let result = match (self.position)() {
            Some(position) => self.pass_from(position, haste),
            None => Err("the state is not whole at the moment".to_owned()),
        };
        let backups = self.control.take_backups(asked);
        let result = result.and_then(|report| {
            backups
                .iter()
                .try_for_each(|directory| self.storage.backup(directory))
                .map_err(|error| error.to_string())?;
            Ok(report)
        });
        self.last = Instant::now();
        self.control.end(asked, result);
    }

    fn pass_from(&mut self, from: Position, haste: Haste) -> Result<Report, String> {
        // What is written last is what a full disk is to have room for.
        self.storage
            .check_room(self.node.config.live.disk_free_limit.load() as u64)
            .map_err(|error| error.to_string())?;
        self.control.begin();
        let data_bytes = self.data_bytes();
        let (control, storage, position, growth) = (self.control, self.storage, self.position, &mut self.growth);
        let journal = &self.node.engine.journal;
        let is_same = || position().is_some_and(|now| now.state == from.state);
        let (engine, gate, bounds) = (&self.node.engine, &self.node.gate, Bounds::default());
        let progress = |portion| control.reached(portion);
        let ground = Ground { engine, gate, storage, bounds, is_same: &is_same, progress: &progress };
        let mut rest = |rest: Rest| {
            match rest {
                Rest::After(worked) => {
                    growth.look(storage, journal.durability().written());
                    let is_urgent = pace::is_urgent(growth.since_pass(), data_bytes);
                    if haste == Haste::Gentle && !is_urgent {
                        std::thread::sleep(worked * limits::CHECKPOINT_REST);
                    }
                }
                Rest::ForCommit => std::thread::sleep(Duration::from_millis(1)),
                Rest::ForFiles => std::thread::sleep(Duration::from_millis(20)),
            }
            match haste {
                Haste::Until(until) => Instant::now() < until,
                // The last pass does the rest.
                Haste::Gentle | Haste::Asked => control.closing().is_none(),
            }
        };
        let (was_whole, wipes) = (storage.is_whole(), journal.wipes());
        // What nobody has by now is not in the rows of this pass.
        let shelf = self.node.engine.broker.shelf();
        let released = shelf.take_released();
        match pass::run(&ground, &mut self.known, from.offset, &mut rest) {
            Ok(report) => {
                if !was_whole {
                    self.survives_again(wipes)?;
                }
                if let Err(error) = storage.delete_runs(&released) {
                    warn!(%error, "messages that have been consumed stay on the disk for now");
                    shelf.release(released);
                }
                self.growth.pass_ended();
                self.trim(report.floor);
                say(&report);
                Ok(report)
            }
            Err(broken @ (Broken::Stopped | Broken::Deposed | Broken::Wiped)) => {
                shelf.release(released);
                debug!(%broken, "a checkpoint was broken off");
                Err(broken.to_string())
            }
            Err(Broken::Storage(error)) => {
                shelf.release(released);
                warn!(%error, "a checkpoint failed, the journal keeps growing");
                Err(error.to_string())
            }
        }
    }

    /// The copy that a full sync has brought is whole on disk. What was written meanwhile did not count as durable, and
    /// perhaps nothing follows that would: a master may wait for this copy before it takes writes.
    fn survives_again(&self, wipes: u64) -> Result<(), String> {
        let journal = &self.node.engine.journal;
        let reached = journal.reached();
        // One that was begun since is not whole, though its wipe may not have come to the disk.
        if journal.wipes() == wipes {
            self.storage.sync().map_err(|error| error.to_string())?;
            journal.synced(reached);
            self.node.disk_advanced();
        }
        Ok(())
    }

    /// What lies before the floor is kept for replicas only, within a bound.
    fn trim(&mut self, floor: Offset) {
        let keep = if self.node.config.is_clustered() { limits::JOURNAL_KEEP_BYTES } else { 0 };
        match self.storage.trim_journal(self.growth.behind(keep).min(floor)) {
            Ok(start) => self.node.engine.journal.trimmed_on_disk(start),
            Err(error) => warn!(%error, "the journal cannot be trimmed"),
        }
        self.growth.trimmed(self.storage);
    }
}

fn say(report: &Report) {
    info!(
        partitions = report.partitions,
        keys = report.keys,
        pages = report.pages,
        messages = report.messages,
        bytes = report.bytes,
        floor = report.floor.0,
        took_ms = report.took.as_millis() as u64,
        busy_ms = report.busy.as_millis() as u64,
        longest_lock_us = report.longest_lock.as_micros() as u64,
        "checkpoint"
    );
}

/// How much was appended to the journal on disk, and when.
#[derive(Debug)]
struct JournalGrowth {
    /// Bytes on disk at the last look.
    seen: u64,
    /// Bytes since the start.
    total: u64,
    at_pass: u64,
    /// Offsets and the totals at which they were written.
    marks: VecDeque<(Offset, u64)>,
}

/// Marks within the bytes that are kept.
const MARKS: u64 = 16;

impl JournalGrowth {
    fn new(storage: &Storage) -> Self {
        // What is there has to be replayed by the next start, so it counts.
        let seen = storage.journal_bytes();
        Self { seen, total: seen, at_pass: 0, marks: VecDeque::new() }
    }

    fn look(&mut self, storage: &Storage, written: Offset) {
        let bytes = storage.journal_bytes();
        self.total += bytes.saturating_sub(self.seen);
        self.seen = bytes;
        let is_far = self.marks.back().is_none_or(|(_, at)| self.total - at >= limits::JOURNAL_KEEP_BYTES / MARKS);
        if is_far {
            self.marks.push_back((written, self.total));
        }
        while self.marks.get(1).is_some_and(|(_, at)| self.total - at > limits::JOURNAL_KEEP_BYTES) {
            self.marks.pop_front();
        }
    }

    fn since_pass(&self) -> u64 {
        self.total - self.at_pass
    }

    fn pass_ended(&mut self) {
        self.at_pass = self.total;
    }

    fn trimmed(&mut self, storage: &Storage) {
        self.seen = storage.journal_bytes();
    }

    /// The offset behind which at least `keep` bytes lie. All of it, for nothing.
    fn behind(&self, keep: u64) -> Offset {
        if keep == 0 {
            return Offset(u64::MAX);
        }
        let far = self.marks.iter().rev().find(|(_, at)| self.total - at >= keep);
        far.map_or(Offset::ZERO, |(offset, _)| *offset)
    }
}
