//! A replica's state follows its journal: a thread of its own that loads images and applies records in the order in
//! which they came, so that acknowledgements wait for nothing.
//!
//! ```text
//! Link --block, commit--> [ block | image | block | ... ] --thread--> engine
//!                           up to `target`: the commit offset; during a full sync, everything
//! ```
//!
//! During a full sync a block is applied at once, committed or not: the images hold such records too, and nobody reads
//! before the commit offset has passed the youngest cut. A partition whose image has not come takes nothing (its image
//! will hold it), and one whose image has come takes what lies behind its cut.

use std::collections::{HashMap, HashSet, VecDeque};

use parking_lot::{Condvar, Mutex};
use tokio::sync::Notify;
use tracing::error;

use super::image;
use super::load::{self, Chunk, Loader};
use crate::engine::Engine;
use crate::ids::{Epoch, Offset, Partition};
use crate::journal::{Assembler, Block, PartError};
use crate::limits;

/// What this node's copy of the state is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Condition {
    /// The process has begun and holds nothing.
    Fresh,
    /// What lies on disk is being loaded.
    Loading,
    /// It is what the journal's position says.
    Whole,
    /// A full sync is under way, or has broken off and may go on.
    Syncing,
    /// A record did not fit: only a full sync mends it.
    Lost,
}

/// Which states count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Committed {
    Only,
    OrNot,
}

/// What has come of a full sync.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Partial {
    /// Of the master that makes the images.
    pub(crate) epoch: Epoch,
    /// Their images have come whole.
    pub(crate) partitions: HashSet<Partition>,
    pub(crate) youngest_cut: Offset,
}

/// The queue between the stream and the thread. One a node.
#[derive(Debug)]
pub struct Applier {
    queue: Mutex<Queue>,
    work: Condvar,
    /// Something was applied.
    pub(crate) progress: Notify,
}

#[derive(Debug)]
struct Queue {
    items: VecDeque<Item>,
    /// Bytes of items that nothing but the thread holds up.
    backlog: usize,
    applied: Offset,
    /// The first part of a record of which not all have come: it is not in the state, though `applied` has passed it.
    incomplete: Option<Offset>,
    target: Offset,
    condition: Condition,
    /// The full sync that is under way.
    sync: Option<(Epoch, HashSet<Partition>)>,
    /// End of the state that the images made: readable once the commit offset has passed it.
    youngest_cut: Offset,
    /// The youngest cut is not reached: records are applied whether they are committed or not.
    is_loading: bool,
    is_past_images: bool,
    /// Counts resets: what the thread began before one does not count.
    generation: u64,
    is_closed: bool,
}

#[derive(Debug, Clone)]
enum Item {
    Reset(Begin),
    /// Whether its bytes are in the backlog.
    Block {
        block: Block,
        is_counted: bool,
    },
    Image(Chunk),
    SyncEnd(Offset),
}

/// What follows on an empty state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Begin {
    Images,
    /// The journal from its first record on.
    Records,
}

impl Default for Applier {
    fn default() -> Self {
        Self::new()
    }
}

impl Applier {
    #[must_use]
    pub fn new() -> Self {
        let queue = Queue {
            items: VecDeque::new(),
            backlog: 0,
            applied: Offset::ZERO,
            incomplete: None,
            target: Offset::ZERO,
            condition: Condition::Fresh,
            sync: None,
            youngest_cut: Offset::ZERO,
            is_loading: false,
            is_past_images: false,
            generation: 0,
            is_closed: false,
        };
        Self { queue: Mutex::new(queue), work: Condvar::new(), progress: Notify::new() }
    }

    /// What lies on disk is still to be loaded: `recover` ends that.
    pub(crate) fn loading() -> Self {
        let applier = Self::new();
        applier.with(|queue| queue.condition = Condition::Loading);
        applier
    }

    /// The disk held a state in which everything up to `applied` is, and the records behind it; so much is known to be
    /// committed.
    pub(crate) fn recover(&self, applied: Offset, committed: Offset, tail: Vec<Block>) {
        self.with(|queue| {
            let condition =
                if applied == Offset::ZERO && tail.is_empty() { Condition::Fresh } else { Condition::Whole };
            queue.restart(applied, condition);
            queue.target = committed;
            queue.items.extend(tail.into_iter().map(|block| Item::Block { block, is_counted: false }));
        });
        self.progress.notify_waiters();
    }

    /// What the thread does, until `close`.
    pub fn run(&self, engine: &Engine) {
        let mut cuts = Cuts::default();
        while self.wait_for_work() {
            self.turn(&mut cuts, engine);
        }
    }

    /// Does the next thing that can be done. False: there is none.
    pub fn turn(&self, cuts: &mut Cuts, engine: &Engine) -> bool {
        let (generation, step) = {
            let mut queue = self.queue.lock();
            let Some(step) = queue.next_step() else { return false };
            (queue.generation, step)
        };
        let result = cuts.perform(engine, &step);
        let mut queue = self.queue.lock();
        if queue.generation == generation {
            match result {
                Ok(()) => {
                    queue.incomplete = cuts.assembler.begun();
                    queue.finish(&step);
                }
                Err(error) => {
                    error!(%error, "the copy does not fit its journal, a full sync will mend it");
                    queue.condition = Condition::Lost;
                    queue.items.clear();
                    queue.backlog = 0;
                }
            }
        }
        drop(queue);
        self.progress.notify_waiters();
        true
    }

    /// False: the node stops.
    fn wait_for_work(&self) -> bool {
        let mut queue = self.queue.lock();
        while !queue.is_closed && queue.next_step().is_none() {
            self.work.wait(&mut queue);
        }
        !queue.is_closed
    }

    pub fn close(&self) {
        self.queue.lock().is_closed = true;
        self.work.notify_all();
    }

    fn with<T>(&self, change: impl FnOnce(&mut Queue) -> T) -> T {
        let result = change(&mut self.queue.lock());
        self.work.notify_one();
        result
    }

    pub fn condition(&self) -> Condition {
        self.queue.lock().condition
    }

    /// Everything up to here is in the state, and cannot be taken out of it.
    pub fn applied(&self) -> Offset {
        let queue = self.queue.lock();
        queue.applied.max(queue.youngest_cut)
    }

    /// Whether the state is one that a master has acknowledged.
    pub fn is_readable(&self) -> bool {
        self.queue.lock().is_readable()
    }

    /// Up to where everything is in the state, and which state it is. Nothing while it is not that of one moment.
    pub(crate) fn position(&self, committed: Committed) -> Option<(Offset, u64)> {
        let queue = self.queue.lock();
        let is_state = match committed {
            Committed::Only => queue.is_readable(),
            Committed::OrNot => queue.is_of_one_moment(),
        };
        let complete = queue.incomplete.map_or(queue.applied, |first| Offset(first.0 - 1));
        is_state.then_some((complete, queue.generation))
    }

    /// Resolves while there is room for more.
    pub async fn room(&self) {
        loop {
            let progress = self.progress.notified();
            tokio::pin!(progress);
            progress.as_mut().enable();
            if self.queue.lock().backlog < limits::APPLY_BACKLOG_BYTES {
                return;
            }
            progress.await;
        }
    }

    /// A block was appended to the journal.
    pub fn push(&self, block: Block) {
        let mut queue = self.queue.lock();
        let is_counted = queue.is_loading || block.last <= queue.target;
        if is_counted {
            queue.backlog += block.records.len();
        }
        let is_work = queue.is_loading || block.first <= queue.target;
        queue.items.push_back(Item::Block { block, is_counted });
        drop(queue);
        if is_work {
            self.work.notify_one();
        }
    }

    /// Everything up to here is committed.
    pub fn commit(&self, offset: Offset) {
        let mut queue = self.queue.lock();
        if offset > queue.target {
            queue.target = offset;
            queue.count_up_to_target();
            drop(queue);
            self.work.notify_one();
        }
    }

    /// The master said CONTINUE from `end`: the tail behind it, of which nothing is applied, is cut off.
    pub fn resume(&self, end: Offset) {
        self.with(|queue| {
            // What is cut off is not committed, so it is not in the backlog either.
            while matches!(queue.items.back(), Some(Item::Block { block, .. }) if block.first > end) {
                queue.items.pop_back();
            }
            if let Some(Item::Block { block, is_counted: false }) = queue.items.back_mut()
                && block.last > end
            {
                *block = block.up_to(end);
            }
            // Who continues from nothing has forgotten what was lost.
            queue.condition = Condition::Whole;
        });
    }

    /// A full sync from the master of `epoch` begins behind `offset`.
    pub fn begin_sync(&self, epoch: Epoch, offset: Offset) {
        self.with(|queue| {
            queue.restart(offset, Condition::Syncing);
            queue.sync = Some((epoch, HashSet::new()));
            queue.is_loading = true;
            queue.items.push_back(Item::Reset(Begin::Images));
        });
    }

    /// A chunk of an image has come.
    pub fn push_image(&self, chunk: Chunk) {
        self.with(|queue| {
            queue.backlog += chunk.bytes.len();
            queue.youngest_cut = queue.youngest_cut.max(chunk.cut);
            if chunk.is_last
                && let Some((_, partitions)) = &mut queue.sync
            {
                partitions.insert(chunk.partition);
            }
            queue.items.push_back(Item::Image(chunk));
        });
    }

    /// All images have come.
    pub fn end_sync(&self, offset: Offset) {
        self.with(|queue| {
            queue.youngest_cut = queue.youngest_cut.max(offset);
            queue.items.push_back(Item::SyncEnd(offset));
        });
    }

    /// All images and the journal up to the youngest cut have come: the copy is whole, though not all of it is loaded.
    pub fn complete_sync(&self) {
        self.with(|queue| (queue.condition, queue.sync) = (Condition::Whole, None));
    }

    /// What has come of a full sync that is not at its end. All of it is in the state, or in the queue.
    pub fn partial(&self) -> Option<Partial> {
        let queue = self.queue.lock();
        let (epoch, partitions) = queue.sync.as_ref().filter(|_| queue.condition == Condition::Syncing)?;
        Some(Partial { epoch: *epoch, partitions: partitions.clone(), youngest_cut: queue.youngest_cut })
    }

    /// What this node holds does not fit what its master says.
    pub fn lose(&self) {
        self.with(|queue| queue.condition = Condition::Lost);
    }

    /// Forgets a copy that is lost, so that a new one can be begun from nothing.
    pub fn forget(&self) {
        self.with(|queue| {
            queue.restart(Offset::ZERO, Condition::Lost);
            queue.items.push_back(Item::Reset(Begin::Records));
        });
    }

    /// This node was master: its state is that of its whole journal.
    pub fn was_master(&self, end: Offset, commit: Offset) {
        self.with(|queue| {
            queue.restart(end, Condition::Whole);
            queue.target = commit;
        });
    }

    /// Applies everything that was appended, committed or not: this node becomes master. False if it does not fit.
    ///
    /// Whoever gives up waiting leaves the applier as it was: what is not committed is not applied from then on.
    pub async fn drain(&self) -> bool {
        let draining = self.begin_drain();
        loop {
            let progress = self.progress.notified();
            tokio::pin!(progress);
            progress.as_mut().enable();
            if let Some(fits) = self.is_drained() {
                if fits {
                    std::mem::forget(draining);
                }
                return fits;
            }
            progress.await;
        }
    }

    /// Everything that was appended is to be applied, committed or not, until the guard is dropped.
    pub fn begin_drain(&self) -> Draining<'_> {
        let target = self.with(|queue| std::mem::replace(&mut queue.target, Offset(u64::MAX)));
        Draining { applier: self, target }
    }

    /// Whether all is applied (`None`: not yet), or does not fit.
    pub fn is_drained(&self) -> Option<bool> {
        let mut queue = self.queue.lock();
        if queue.condition == Condition::Lost {
            return Some(false);
        }
        if !queue.items.is_empty() {
            return None;
        }
        queue.condition = Condition::Whole;
        Some(true)
    }
}

/// A drain under way. Dropped before its end, the target is again what was committed.
#[derive(Debug)]
pub struct Draining<'a> {
    applier: &'a Applier,
    target: Offset,
}

impl Drop for Draining<'_> {
    fn drop(&mut self) {
        self.applier.with(|queue| queue.target = self.target);
    }
}

/// What the thread does next, without the lock.
#[derive(Debug)]
enum Step {
    Reset(Begin),
    Apply {
        block: Block,
        behind: Offset,
        to: Offset,
    },
    Load {
        chunk: Chunk,
        /// More has come than a loading that rests would take in.
        is_urgent: bool,
    },
    SyncEnd {
        offset: Offset,
        applied: Offset,
    },
}

impl Queue {
    /// Who was master, or was loaded by one, has applied what may not be committed.
    fn is_readable(&self) -> bool {
        self.is_of_one_moment() && self.target >= self.applied
    }

    fn is_of_one_moment(&self) -> bool {
        self.condition == Condition::Whole && !self.is_loading && self.applied >= self.youngest_cut
    }

    fn restart(&mut self, applied: Offset, condition: Condition) {
        self.items.clear();
        (self.backlog, self.applied, self.target) = (0, applied, Offset::ZERO);
        self.incomplete = None;
        (self.condition, self.youngest_cut, self.sync) = (condition, Offset::ZERO, None);
        (self.is_loading, self.is_past_images) = (false, false);
        self.generation += 1;
    }

    fn next_step(&mut self) -> Option<Step> {
        self.drop_applied();
        Some(match self.items.front()? {
            Item::Block { block, .. } => {
                let to = match (self.is_loading, self.is_past_images) {
                    (true, false) => block.last,
                    (true, true) => block.last.min(self.target.max(self.youngest_cut)),
                    (false, _) => block.last.min(self.target),
                };
                if to <= self.applied {
                    return None;
                }
                Step::Apply { block: block.clone(), behind: self.applied, to }
            }
            Item::Reset(begin) => Step::Reset(*begin),
            Item::SyncEnd(offset) => Step::SyncEnd { offset: *offset, applied: self.applied },
            Item::Image(chunk) => {
                Step::Load { chunk: chunk.clone(), is_urgent: self.backlog > limits::LOAD_HURRY_BYTES }
            }
        })
    }

    fn finish(&mut self, step: &Step) {
        match step {
            Step::Apply { to, .. } => self.applied = *to,
            Step::SyncEnd { .. } => self.is_past_images = true,
            Step::Load { chunk, .. } => self.backlog -= chunk.bytes.len(),
            Step::Reset(_) => {}
        }
        if matches!(step, Step::Apply { .. }) {
            self.drop_applied();
        } else {
            self.items.pop_front();
        }
        if self.is_past_images && self.applied >= self.youngest_cut {
            (self.is_loading, self.is_past_images) = (false, false);
        }
    }

    fn drop_applied(&mut self) {
        while let Some(Item::Block { block, is_counted }) = self.items.front()
            && block.last <= self.applied
        {
            if *is_counted {
                self.backlog -= block.records.len();
            }
            self.items.pop_front();
        }
    }

    /// Blocks that are committed by now: only the thread holds them up.
    fn count_up_to_target(&mut self) {
        let Self { items, backlog, target, .. } = self;
        for item in items.iter_mut().rev() {
            match item {
                Item::Block { block, is_counted } if !*is_counted => {
                    if block.last <= *target {
                        *backlog += block.records.len();
                        *is_counted = true;
                    }
                }
                _ => return,
            }
        }
    }
}

/// What each partition's image holds already. Empty as long as there was no full sync.
#[derive(Debug, Default)]
pub struct Cuts {
    by_partition: HashMap<Partition, Offset>,
    /// The youngest of them, once all images have come.
    youngest: Option<Offset>,
    is_syncing: bool,
    /// Puts large records together.
    assembler: Assembler,
    /// The image that is coming.
    loader: Loader,
}

impl Cuts {
    /// Every partition holds what it should.
    fn are_passed(&mut self) {
        *self = Self { assembler: std::mem::take(&mut self.assembler), ..Self::default() };
    }

    fn perform(&mut self, engine: &Engine, step: &Step) -> Result<(), Error> {
        match step {
            Step::Reset(begin) => {
                image::reset(engine);
                *self = Self { is_syncing: *begin == Begin::Images, ..Self::default() };
                Ok(())
            }
            Step::Load { chunk, is_urgent } => {
                self.loader.push(engine, chunk)?;
                if chunk.is_last {
                    self.by_partition.insert(chunk.partition, chunk.cut);
                }
                if !is_urgent && chunk.bytes.len() >= limits::LOAD_SLICE_BYTES {
                    std::thread::sleep(limits::LOAD_REST);
                }
                Ok(())
            }
            Step::SyncEnd { offset, applied } => {
                (self.is_syncing, self.youngest) = (false, Some(*offset));
                if applied >= offset {
                    self.are_passed();
                }
                Ok(())
            }
            Step::Apply { block, behind, to } => self.apply(engine, block, *behind, *to),
        }
    }

    fn apply(&mut self, engine: &Engine, block: &Block, behind: Offset, to: Offset) -> Result<(), Error> {
        let records = block.iter().skip_while(|(offset, _)| *offset <= behind).take_while(|(offset, _)| *offset <= to);
        let mut last = behind;
        for (offset, entry) in records {
            last = offset;
            let Some(record) = self.assembler.take(offset, entry)? else { continue };
            if self.by_partition.is_empty() && !self.is_syncing {
                engine.apply_owned(offset, record, |_| true)?;
            } else {
                engine.apply_owned(offset, record, |partition| match self.by_partition.get(&partition) {
                    Some(cut) => offset > *cut,
                    // Before all images have come its image is still to come. Behind that it is a partition that
                    // was made after the last image was taken.
                    None => !self.is_syncing,
                })?;
            }
        }
        if last != to {
            return Err(Error::Short { last, to });
        }
        if self.youngest.is_some_and(|youngest| last >= youngest) {
            self.are_passed();
        }
        Ok(())
    }
}

#[derive(Debug, thiserror::Error)]
enum Error {
    #[error(transparent)]
    Replay(#[from] crate::engine::ReplayError),
    #[error(transparent)]
    Part(#[from] PartError),
    #[error(transparent)]
    Image(#[from] load::Error),
    #[error("a block ends at {last} and claims to reach {to}")]
    Short { last: Offset, to: Offset },
}

#[cfg(test)]
mod tests;
