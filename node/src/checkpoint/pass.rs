//! One pass: what has changed since the last one is taken, partition by partition, and becomes rows.
//!
//! ```text
//! topology, queues, shards:  lock - take - unlock --> batch --commit and journal have passed its cuts--> rows
//! large values, long queues: lock - step - unlock - lock - step - unlock ... --> rows of their own (`large.rs`, `queue.rs`)
//! at the end:                sync the log, flush the rows, move the floor
//! ```
//!
//! **Invariant:** nothing is written that is not committed and in the journal on disk. So rows never hold what may be cut
//! off, and a mastership that ends leaves nothing behind: what was taken is given back. The first rows behind a full sync
//! need not be committed: they cannot be cut back, only wiped.

mod large;

use std::time::{Duration, Instant};

use super::head::{QueueHead, encode_topology};
use super::known::{Known, ShardRows};
use crate::broker::rows::{Came, QueueRows};
use crate::engine::Engine;
use crate::ids::{Offset, Partition};
use crate::journal::Gate;
use crate::keyspace::pages::{PageSet, Taken};
use crate::limits;
use crate::peers::Portion;
use crate::storage::{self, Batch, Family, Generation, Storage, Written, head_key, message_key};

/// What a pass did.
#[derive(Debug, Clone, Copy, Default)]
pub struct Report {
    /// Every partition holds the records up to here.
    pub floor: Offset,
    pub partitions: usize,
    pub pages: usize,
    /// Keys that had changed. Their pages hold others, too.
    pub keys: usize,
    pub messages: usize,
    pub bytes: u64,
    pub took: Duration,
    /// Time of work, without rests and waits.
    pub busy: Duration,
    pub longest_lock: Duration,
}

/// Why a pass ended early. What it had written stays; the rest is for the next one.
#[derive(Debug, thiserror::Error)]
pub(super) enum Broken {
    #[error("the node stops")]
    Stopped,
    #[error("the state has become another master's")]
    Deposed,
    #[error("a full sync has begun")]
    Wiped,
    #[error(transparent)]
    Storage(#[from] storage::Error),
}

/// What a pass asks in between.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rest {
    /// It has worked for so long, and may go on when this returns.
    After(Duration),
    /// It waits for the commit offset or the journal, and will look again.
    ForCommit,
    /// It waits for the database to put its files in order.
    ForFiles,
}

/// Bytes of rows in one batch, and in memory before they are flushed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    pub(super) batch: usize,
    pub(super) flush: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { batch: limits::CHECKPOINT_BATCH_BYTES, flush: limits::CHECKPOINT_FLUSH_BYTES }
    }
}

/// What a pass stands on.
pub(super) struct Ground<'a> {
    pub(super) engine: &'a Engine,
    pub(super) gate: &'a Gate,
    pub(super) storage: &'a Storage,
    pub(super) bounds: Bounds,
    /// Whether the partitions still are the state that they were when the pass began.
    pub(super) is_same: &'a dyn Fn() -> bool,
    /// Told how far the pass is: keys and messages that were looked at, whether they had changed or not.
    pub(super) progress: &'a dyn Fn(Portion),
}

/// Makes a pass. `floor`: everything up to here is in the partitions. `rest` says whether to go on.
pub(super) fn run(
    ground: &Ground<'_>,
    known: &mut Known,
    floor: Offset,
    rest: &mut dyn FnMut(Rest) -> bool,
) -> Result<Report, Broken> {
    let generation = ground.storage.generation();
    if known.generation != generation {
        // What was written under the generation before may be there or not.
        *known = Known::read(ground.storage, ground.engine.keyspace.len(), generation)?;
        forget_taken(ground.engine);
    }
    let began = Instant::now();
    let mut pass = Pass {
        ground,
        known,
        rest,
        generation,
        batch: ground.storage.batch(),
        pending: Vec::new(),
        due: Offset::ZERO,
        unflushed: 0,
        working_since: began,
        taken: Taken::default(),
        visited: 0,
        portion: Portion::begin(0, messages(ground.engine) + keys(ground.engine)),
        report: Report { floor, ..Report::default() },
    };
    let result = pass.all();
    pass.give_back();
    let mut report = pass.report;
    report.took = began.elapsed();
    result.map(|()| report)
}

fn messages(engine: &Engine) -> u64 {
    let counts = engine.broker.queues().into_iter().map(|queue| queue.counts());
    counts.map(|counts| (counts.ready + counts.unacknowledged) as u64).sum()
}

/// About so many: nobody is waited for.
fn keys(engine: &Engine) -> u64 {
    (0..limits::DATABASES).map(|database| engine.keyspace.seen_keys(database).0 as u64).sum()
}

/// Everything is to be taken anew, as if nothing had been.
fn forget_taken(engine: &Engine) {
    let of_another_division = PageSet::none(0);
    for index in 0..engine.keyspace.len() {
        engine.keyspace.lock(index).give_back(u32::MAX, &of_another_division);
    }
    engine.broker.numbers().into_iter().for_each(|number| engine.broker.give_back_queue(number));
}

struct Pass<'a> {
    ground: &'a Ground<'a>,
    known: &'a mut Known,
    rest: &'a mut dyn FnMut(Rest) -> bool,
    generation: Generation,
    batch: Batch<'a>,
    /// What was taken for `batch`.
    pending: Vec<Pending>,
    /// The youngest cut of what is in `batch`.
    due: Offset,
    /// Bytes written since the last flush.
    unflushed: usize,
    working_since: Instant,
    taken: Taken,
    /// Keys of the shard that was looked at last.
    visited: usize,
    portion: Portion,
    report: Report,
}

/// Taken and not written.
enum Pending {
    Shard {
        index: usize,
        pages: PageSet,
        rows: ShardRows,
    },
    /// With its head, if that is in the batch.
    Queue(u32, Option<QueueHead>),
    NoQueue(Partition),
    Topology(Offset),
    Accounts(Offset),
}

impl Pass<'_> {
    fn all(&mut self) -> Result<(), Broken> {
        (self.ground.progress)(self.portion);
        self.topology()?;
        self.accounts()?;
        self.queues()?;
        self.reached(messages(self.ground.engine));
        for index in 0..self.ground.engine.keyspace.len() {
            self.shard(index)?;
            self.reached(self.portion.done + self.visited as u64);
        }
        self.due = self.due.max(self.report.floor);
        self.write()?;
        self.flush()?;
        let floor = self.ground.storage.put_floor(self.report.floor, self.ground.gate.commit(), self.generation)?;
        if floor == Written::Wiped {
            return Err(Broken::Wiped);
        }
        if !self.ground.storage.is_whole() {
            self.ground.storage.mark_whole()?;
        }
        Ok(())
    }

    fn reached(&mut self, done: u64) {
        self.portion.done = done.min(self.portion.all);
        (self.ground.progress)(self.portion);
    }

    fn shard(&mut self, index: usize) -> Result<(), Broken> {
        let Some(large) = self.take_shard(index)? else { return Ok(()) };
        let rows = &self.known.shards[index];
        let rows = rows.put(Partition::shard(index), &self.taken, &large, &mut self.batch);
        self.due = self.due.max(self.taken.cut);
        self.report.partitions += 1;
        self.report.pages += self.taken.pages.len();
        self.report.keys += self.taken.changed;
        self.pending.push(Pending::Shard { index, pages: std::mem::take(&mut self.taken.pages), rows });
        self.write_if_full()
    }

    fn topology(&mut self) -> Result<(), Broken> {
        let offset = self.ground.engine.broker.topology_offset();
        if offset == Offset::ZERO && self.known.topology.is_none() || self.known.topology == Some(offset) {
            return Ok(());
        }
        let mut image = Vec::new();
        let cut = self.ground.engine.broker.take_topology(&mut image);
        self.batch.put(Family::Messages, &head_key(Partition::TOPOLOGY), &encode_topology(cut));
        self.batch.put(Family::Messages, &message_key(Partition::TOPOLOGY, 0), &image);
        self.due = self.due.max(cut);
        self.report.partitions += 1;
        self.pending.push(Pending::Topology(cut));
        self.write_if_full()
    }

    fn accounts(&mut self) -> Result<(), Broken> {
        let accounts = &self.ground.engine.accounts;
        let offset = accounts.last_offset();
        if offset == Offset::ZERO && self.known.accounts.is_none() || self.known.accounts == Some(offset) {
            return Ok(());
        }
        let mut image = Vec::new();
        let cut = accounts.image(|last| last, &mut image);
        self.batch.put(Family::Messages, &head_key(Partition::ACCOUNTS), &encode_topology(cut));
        self.batch.put(Family::Messages, &message_key(Partition::ACCOUNTS, 0), &image);
        self.due = self.due.max(cut);
        self.report.partitions += 1;
        self.pending.push(Pending::Accounts(cut));
        self.write_if_full()
    }

    fn queues(&mut self) -> Result<(), Broken> {
        // In this order: a queue that is not among the numbers was deleted by a record up to the offset that follows.
        let numbers = self.ground.engine.broker.numbers();
        let offset = self.ground.engine.broker.topology_offset();
        for number in &numbers {
            let began = Instant::now();
            let rows = self.ground.engine.broker.begin_queue_rows(*number);
            self.report.longest_lock = self.report.longest_lock.max(began.elapsed());
            if let Some(rows) = rows {
                self.queue(*number, rows)?;
            }
        }
        let is_gone = |queue: &&Partition| numbers.binary_search_by_key(*queue, |n| Partition::queue(*n)).is_err();
        for queue in self.known.queues.keys().filter(is_gone).copied().collect::<Vec<_>>() {
            let next = Partition(queue.0.saturating_add(1));
            self.batch.delete_range(Family::Messages, &head_key(queue), &head_key(next));
            self.due = self.due.max(offset);
            self.pending.push(Pending::NoQueue(queue));
            self.write_if_full()?;
        }
        Ok(())
    }

    /// Rows may reach the disk ahead of their head: what a record made comes again with the record, and what a record took
    /// is not missed. The head says that they do.
    fn queue(&mut self, number: u32, mut rows: QueueRows) -> Result<(), Broken> {
        let partition = Partition::queue(number);
        self.pending.push(Pending::Queue(number, None));
        self.due = self.due.max(rows.cut);
        self.report.partitions += 1;
        let is_anew = rows.is_whole && self.known.queues.contains_key(&partition);
        let before = *self.known.queues.entry(partition).or_default();
        self.put_head(partition, QueueHead { pending: rows.cut, ..before });
        for (first, last) in &rows.gone {
            self.delete_messages(partition, *first, Some(*last));
        }
        let mut next = 1;
        let mut row = Vec::new();
        while let Some(step) = self.step(&mut rows) {
            // What a record has taken meanwhile has no row: so that record has to be there when these are loaded.
            self.due = self.due.max(rows.taken_until);
            self.put_head(partition, QueueHead { pending: rows.taken_until, ..before });
            self.report.messages += step.len();
            self.reached(self.portion.done + step.len() as u64);
            for came in step {
                if is_anew && came.id > next {
                    self.delete_messages(partition, next, Some(came.id - 1));
                }
                next = came.id + 1;
                row.clear();
                came.encode(&mut row);
                self.batch.put(Family::Messages, &message_key(partition, came.id), &row);
                self.write_amid(number)?;
            }
            let worked = self.working_since.elapsed();
            if worked >= limits::CHECKPOINT_WORK {
                self.rest(Rest::After(worked))?;
            }
        }
        if is_anew {
            self.delete_messages(partition, next, None);
        }
        let taken_until = if rows.taken_until > rows.cut { rows.taken_until } else { Offset::ZERO };
        let head = QueueHead { cut: rows.cut, last_id: rows.last_id, pending: Offset::ZERO, taken_until };
        self.put_head(partition, head);
        self.pending.push(Pending::Queue(number, Some(head)));
        self.write_if_full()
    }

    fn step(&mut self, rows: &mut QueueRows) -> Option<Vec<Came>> {
        let began = Instant::now();
        let came = self.ground.engine.broker.step_queue_rows(rows);
        self.report.longest_lock = self.report.longest_lock.max(began.elapsed());
        came
    }

    fn put_head(&mut self, partition: Partition, head: QueueHead) {
        self.batch.put(Family::Messages, &head_key(partition), &head.encode());
    }

    fn delete_messages(&mut self, partition: Partition, first: u64, last: Option<u64>) {
        match last {
            Some(last) if last - first < limits::ROWS_DELETED_ONE_BY_ONE => {
                (first..=last).for_each(|id| self.batch.delete(Family::Messages, &message_key(partition, id)));
            }
            last => {
                let end = match last.and_then(|last| last.checked_add(1)) {
                    Some(end) => message_key(partition, end).to_vec(),
                    None => head_key(Partition(partition.0.saturating_add(1))).to_vec(),
                };
                self.batch.delete_range(Family::Messages, &message_key(partition, first), &end);
            }
        }
    }

    /// Between two rows of a queue, which is pending until its head is written.
    fn write_amid(&mut self, number: u32) -> Result<(), Broken> {
        if self.batch.bytes() >= self.ground.bounds.batch {
            let result = self.write();
            // Also if the pass ends here: what follows of the queue is not written.
            self.pending.push(Pending::Queue(number, None));
            return result;
        }
        Ok(())
    }

    fn write_if_full(&mut self) -> Result<(), Broken> {
        let worked = self.working_since.elapsed();
        if self.batch.bytes() >= self.ground.bounds.batch {
            self.write()?;
        } else if worked >= limits::CHECKPOINT_WORK {
            self.rest(Rest::After(worked))?;
        }
        Ok(())
    }

    fn rest(&mut self, rest: Rest) -> Result<(), Broken> {
        self.report.busy += self.working_since.elapsed();
        let goes_on = (self.rest)(rest);
        self.working_since = Instant::now();
        if !goes_on {
            return Err(Broken::Stopped);
        }
        Ok(())
    }

    fn write(&mut self) -> Result<(), Broken> {
        let journal = &self.ground.engine.journal;
        // A copy that is not whole yet has nothing that could be cut off: what is not committed in it goes with all of it. And
        // a master may wait for it to survive before it can commit anything.
        let (ground, due) = (self.ground, self.due);
        let is_committed = || !ground.storage.is_whole() || ground.gate.commit() >= due;
        while !is_committed() || journal.durability().written() < due {
            self.rest(Rest::ForCommit)?;
        }
        // Asked behind the look at the commit offset, so that one of the next state is never taken for this one's.
        if !(self.ground.is_same)() {
            return Err(Broken::Deposed);
        }
        let batch = std::mem::replace(&mut self.batch, self.ground.storage.batch());
        if !batch.is_empty() {
            let bytes = batch.bytes();
            if self.ground.storage.write_rows(batch, self.generation)? == Written::Wiped {
                return Err(Broken::Wiped);
            }
            self.unflushed += bytes;
            self.report.bytes += bytes as u64;
            self.written();
            if self.unflushed >= self.ground.bounds.flush {
                self.flush()?;
            }
        }
        let worked = self.working_since.elapsed();
        self.rest(Rest::After(worked))
    }

    fn written(&mut self) {
        for pending in self.pending.drain(..) {
            match pending {
                Pending::Shard { index, rows, .. } => self.known.shards[index] = rows,
                Pending::Queue(_, None) => {}
                Pending::Queue(number, Some(head)) => _ = self.known.queues.insert(Partition::queue(number), head),
                Pending::NoQueue(queue) => _ = self.known.queues.remove(&queue),
                Pending::Topology(cut) => self.known.topology = Some(cut),
                Pending::Accounts(cut) => self.known.accounts = Some(cut),
            }
        }
    }

    fn flush(&mut self) -> Result<(), Broken> {
        if self.ground.storage.flush_rows(self.generation)? == Written::Wiped {
            return Err(Broken::Wiped);
        }
        self.unflushed = 0;
        while self.ground.storage.unmerged_files() > limits::UNMERGED_FILES {
            self.rest(Rest::ForFiles)?;
        }
        Ok(())
    }

    fn give_back(&mut self) {
        for pending in self.pending.drain(..) {
            match pending {
                Pending::Shard { index, pages, rows } => {
                    self.ground.engine.keyspace.lock(index).give_back(rows.bits(), &pages);
                }
                Pending::Queue(number, _) => self.ground.engine.broker.give_back_queue(number),
                Pending::NoQueue(_) | Pending::Topology(_) | Pending::Accounts(_) => {}
            }
        }
    }
}
