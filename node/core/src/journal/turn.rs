//! What the disk takes from the journal next, in the order in which it happened.

use std::sync::atomic::{Ordering, fence};
use std::time::Duration;

use super::{Block, Durability, Inner, Journal, Promise, Span};
use crate::ids::Offset;
use crate::limits;
use crate::lock::MutexGuard;

/// The journal's side of the disk.
#[derive(Debug, Default)]
pub(super) struct Disk {
    pub(super) is_on: bool,
    /// Records up to here are not on disk either.
    start: u64,
    /// Everything up to here was handed over.
    taken: u64,
    /// Everything up to here is written.
    pub(super) written: u64,
    /// Bytes of sealed blocks that are not written.
    pub(super) unwritten: usize,
    /// A tail that is to be cut off before anything else is written.
    cut: Option<Offset>,
    /// Everything is to be forgotten before anything else is written.
    wipe: Option<Offset>,
    has_new_history: bool,
    /// Counts cuts and wipes: what was taken before one says nothing of the offsets behind it.
    generation: u64,
    /// Counts wipes.
    wipes: u64,
}

/// What the disk does next, all in one batch.
#[derive(Debug)]
pub struct Turn {
    /// Forget everything; the journal begins anew behind this.
    pub wipe: Option<Offset>,
    /// Cut off what lies behind this.
    pub cut: Option<Offset>,
    pub history: Option<Vec<Span>>,
    pub blocks: Vec<Block>,
    /// Where the journal on disk ends afterwards.
    pub end: Offset,
    bytes: usize,
    generation: u64,
}

/// A position that the disk has reached; it counts unless the journal was cut back meanwhile.
#[derive(Debug, Clone, Copy)]
pub struct Reached {
    pub offset: Offset,
    generation: u64,
}

impl Turn {
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    #[must_use]
    pub fn reached(&self) -> Reached {
        Reached { offset: self.end, generation: self.generation }
    }
}

impl Journal {
    /// From now on everything goes to disk, where the records from `start` to `end` already are. Called before the first
    /// append.
    pub fn start_disk(&self, promise: Promise, start: Offset, end: Offset, history: Vec<Span>) {
        let mut inner = self.inner.lock();
        inner.restart(end, history);
        inner.disk = Disk { is_on: true, start: start.0, taken: end.0, written: end.0, ..Disk::default() };
        self.end.store(end.0, Ordering::Release);
        self.retaining.store(true, Ordering::Release);
        self.durability.start(promise, end);
    }

    /// How far the disk is.
    #[inline]
    #[must_use]
    pub fn durability(&self) -> &Durability {
        &self.durability
    }

    /// Up to here this node may acknowledge, as far as it goes by itself.
    #[inline]
    #[must_use]
    pub fn acknowledgeable(&self) -> Offset {
        self.durability.acknowledgeable(self.end())
    }

    /// More is in memory and not on disk than the bound allows: nothing more is to be taken in.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.durability.is_behind() && self.inner.lock().disk.unwritten > limits::DISK_BACKLOG_BYTES
    }

    /// What the disk has to do next. `None`: nothing.
    #[must_use]
    pub fn take_turn(&self) -> Option<Turn> {
        let mut inner = self.inner.lock();
        if inner.disk.taken + 1 >= inner.open_first {
            inner.seal();
        }
        let Inner { disk, blocks, .. } = &mut *inner;
        let from = blocks.partition_point(|block| block.last.0 <= disk.taken);
        let mut turn = Turn {
            wipe: disk.wipe.take(),
            cut: disk.cut.take(),
            history: None,
            blocks: Vec::new(),
            end: Offset(disk.taken),
            bytes: 0,
            generation: disk.generation,
        };
        for block in blocks.range(from..) {
            if turn.bytes > 0 && turn.bytes + block.bytes() > limits::DISK_TURN_BYTES {
                break;
            }
            turn.bytes += block.bytes();
            turn.end = block.last;
            turn.blocks.push(block.clone());
        }
        disk.taken = turn.end.0;
        if std::mem::take(&mut disk.has_new_history) {
            turn.history = Some(inner.history.clone());
        }
        let is_something =
            turn.wipe.is_some() || turn.cut.is_some() || turn.history.is_some() || !turn.blocks.is_empty();
        drop(inner);
        turn.blocks = turn.blocks.into_iter().map(Block::joined).collect();
        is_something.then_some(turn)
    }

    /// The turn is written; `durable` is the last position of which that is known.
    pub fn wrote(&self, turn: &Turn) {
        let mut inner = self.inner.lock();
        if turn.generation != inner.disk.generation {
            return;
        }
        inner.disk.unwritten = inner.disk.unwritten.saturating_sub(turn.bytes);
        let durable = self.durability.durable();
        self.durability.publish(turn.end, durable);
        inner.disk.written = turn.end.0;
        inner.trim();
        if inner.disk.unwritten <= limits::DISK_BACKLOG_BYTES {
            self.durability.set_behind(false);
        }
    }

    /// What is written by now: durable, as soon as it was synced and the copy on disk is whole.
    #[must_use]
    pub fn reached(&self) -> Reached {
        let inner = self.inner.lock();
        Reached { offset: Offset(inner.disk.written), generation: inner.disk.generation }
    }

    /// How often everything on disk was to be forgotten, since the process began.
    pub fn wipes(&self) -> u64 {
        self.inner.lock().disk.wipes
    }

    pub(super) fn check_backlog(&self, inner: &Inner) {
        if inner.disk.unwritten > limits::DISK_BACKLOG_BYTES {
            self.durability.set_behind(true);
        }
    }

    /// Bytes of records that are not on disk yet; zero without a disk.
    #[must_use]
    pub fn unwritten_bytes(&self) -> usize {
        self.inner.lock().disk.unwritten
    }

    /// Everything up to `reached` is synced.
    pub fn synced(&self, reached: Reached) {
        let inner = self.inner.lock();
        if reached.generation == inner.disk.generation && reached.offset > self.durability.durable() {
            self.durability.publish(self.durability.written(), reached.offset);
        }
    }

    /// The disk has forgotten what lies up to `start` (`Storage::trim_journal`).
    pub fn trimmed_on_disk(&self, start: Offset) {
        let mut inner = self.inner.lock();
        inner.disk.start = inner.disk.start.max(start.0);
    }

    /// Waits until there is something for the disk to do, or the time is over; says whether there is. Whoever appends wakes
    /// it with `publish`.
    pub fn wait_for_turn(&self, most: Duration) -> bool {
        let mut inner = self.inner.lock();
        self.disk_waits.store(true, Ordering::Release);
        fence(Ordering::SeqCst);
        if !inner.has_turn() {
            self.disk_work.wait_for(MutexGuard::bare(&mut inner), most);
        }
        self.disk_waits.store(false, Ordering::Release);
        inner.has_turn()
    }

    /// Ends a wait of the disk thread.
    pub fn wake_disk(&self) {
        // Behind the lock the thread either waits or will look again.
        drop(self.inner.lock());
        self.disk_work.notify_one();
    }
}

impl Inner {
    fn has_turn(&self) -> bool {
        let disk = &self.disk;
        self.end > disk.taken || disk.cut.is_some() || disk.wipe.is_some() || disk.has_new_history
    }

    /// The first record that can be read is the one behind this.
    pub(super) fn start(&self) -> u64 {
        if self.disk.is_on { self.disk.start.min(self.trimmed) } else { self.trimmed }
    }

    pub(super) fn history_changed(&mut self) {
        self.disk.has_new_history = self.disk.is_on;
    }

    /// What lies behind `end` is gone. `written` and `durable` no longer hold beyond it.
    pub(super) fn cut_disk(&mut self, durability: &Durability, end: Offset) {
        let disk = &mut self.disk;
        if !disk.is_on {
            return;
        }
        disk.generation += 1;
        if disk.wipe.is_none() && disk.taken > end.0 {
            disk.cut = Some(disk.cut.map_or(end, |earlier| earlier.min(end)));
        }
        disk.taken = disk.taken.min(end.0);
        disk.written = disk.written.min(end.0);
        disk.has_new_history = true;
        self.count_unwritten();
        durability.publish(durability.written().min(end), durability.durable().min(end));
    }

    /// Everything is gone; the journal begins anew behind `end`. Nothing is durable until the copy is whole again.
    pub(super) fn wipe_disk(&mut self, durability: &Durability, end: Offset) {
        let disk = &mut self.disk;
        if !disk.is_on {
            return;
        }
        *disk = Disk {
            is_on: true,
            start: end.0,
            taken: end.0,
            written: end.0,
            wipe: Some(end),
            has_new_history: true,
            generation: disk.generation + 1,
            wipes: disk.wipes + 1,
            ..Disk::default()
        };
        durability.publish(end, Offset::ZERO);
    }

    fn count_unwritten(&mut self) {
        let taken = self.disk.taken;
        self.disk.unwritten = self.blocks.iter().filter(|block| block.last.0 > taken).map(Block::bytes).sum();
    }
}

#[cfg(test)]
mod tests {
    use super::super::Next;
    use super::*;
    use crate::ids::Epoch;

    fn journal(promise: Promise) -> Journal {
        let journal = Journal::new();
        journal.start_disk(promise, Offset(0), Offset(0), Vec::new());
        journal
    }

    fn append(journal: &Journal, count: usize) {
        for _ in 0..count {
            journal.append(b"record");
        }
    }

    fn offsets(turn: &Turn) -> Vec<u64> {
        turn.blocks.iter().flat_map(Block::iter).map(|(offset, _)| offset.0).collect()
    }

    #[test]
    fn the_disk_gets_each_record_once_and_in_order() {
        let journal = journal(Promise::Appended);
        append(&journal, 3);
        let first = journal.take_turn().unwrap();
        append(&journal, 2);
        let second = journal.take_turn().unwrap();
        assert_eq!((offsets(&first), offsets(&second)), (vec![1, 2, 3], vec![4, 5]));
        assert!(journal.take_turn().is_none());
        journal.wrote(&first);
        assert_eq!(journal.durability().written(), Offset(3));
        journal.wrote(&second);
        journal.synced(first.reached());
        assert_eq!((journal.durability().written(), journal.durability().durable()), (Offset(5), Offset(3)));
    }

    #[test]
    fn a_node_by_itself_acknowledges_what_the_kernel_has() {
        let journal = journal(Promise::Written);
        append(&journal, 3);
        let turn = journal.take_turn().unwrap();
        append(&journal, 1);
        assert_eq!(journal.acknowledgeable(), Offset(0));
        journal.wrote(&turn);
        assert_eq!(journal.acknowledgeable(), Offset(3), "and the sync comes later");
    }

    #[test]
    fn with_fsync_always_an_acknowledgement_waits_for_the_sync() {
        let journal = journal(Promise::Durable);
        append(&journal, 3);
        assert_eq!(journal.acknowledgeable(), Offset(0));
        let turn = journal.take_turn().unwrap();
        append(&journal, 1);
        journal.wrote(&turn);
        assert_eq!(journal.acknowledgeable(), Offset(0));
        journal.synced(turn.reached());
        assert_eq!(journal.acknowledgeable(), Offset(3));
    }

    #[test]
    fn a_disk_that_is_behind_its_bound_holds_acknowledgements_and_all_records() {
        let journal = journal(Promise::Appended);
        let record = vec![0; 64 << 10];
        let within = limits::DISK_BACKLOG_BYTES / (record.len() + 256);
        let count = within + 4;
        (0..within).for_each(|_| _ = journal.append(&record));
        assert_eq!(journal.acknowledgeable(), journal.end());
        (within..count).for_each(|_| _ = journal.append(&record));
        assert_eq!(journal.acknowledgeable(), Offset(0));
        assert!(journal.is_full());
        let mut seen = 0;
        while let Some(turn) = journal.take_turn() {
            assert!(turn.bytes() <= limits::DISK_TURN_BYTES);
            seen += turn.blocks.len();
            journal.wrote(&turn);
        }
        assert_eq!(seen, count, "nothing has left the memory before it was written");
        assert_eq!(journal.acknowledgeable(), journal.end());
        assert!(!journal.is_full());
        assert!(journal.retained_bytes() <= limits::JOURNAL_MEMORY_ALONE_BYTES + record.len() + 1000);
        assert!(matches!(journal.read(Offset(0)), Next::OnDisk { .. }));
    }

    #[test]
    fn a_refusal_holds_what_a_replica_has_not_written_and_not_what_was_promised_already() {
        let journal = journal(Promise::Appended);
        append(&journal, 2);
        let turn = journal.take_turn().unwrap();
        journal.wrote(&turn);
        append(&journal, 1);
        let held_by_replica = || journal.durability().held_by_replica(journal.end());
        assert_eq!((journal.acknowledgeable(), held_by_replica()), (Offset(3), Offset(3)));
        journal.durability().set_refusal(Some("No space left on device".to_owned()));
        assert_eq!((journal.acknowledgeable(), held_by_replica()), (Offset(3), Offset(2)));
        journal.durability().set_refusal(None);
        assert_eq!((journal.acknowledgeable(), held_by_replica()), (Offset(3), Offset(3)));
    }

    #[test]
    fn what_was_on_its_way_when_a_tail_was_cut_off_is_not_taken_for_what_follows() {
        let journal = journal(Promise::Durable);
        append(&journal, 5);
        let on_its_way = journal.take_turn().unwrap();
        journal.continue_from(Epoch(0), Offset(3), Vec::new()).unwrap();
        append(&journal, 2);
        journal.wrote(&on_its_way);
        journal.synced(on_its_way.reached());
        assert_eq!(journal.durability().durable(), Offset(0), "records 4 and 5 are others by now");
        let turn = journal.take_turn().unwrap();
        assert_eq!((turn.cut, offsets(&turn)), (Some(Offset(3)), vec![4, 5]));
        journal.wrote(&turn);
        journal.synced(turn.reached());
        assert_eq!(journal.durability().durable(), Offset(5));
    }

    #[test]
    fn a_tail_that_was_not_handed_over_needs_no_cut() {
        let journal = journal(Promise::Appended);
        append(&journal, 2);
        let turn = journal.take_turn().unwrap();
        journal.wrote(&turn);
        append(&journal, 3);
        journal.continue_from(Epoch(0), Offset(2), Vec::new()).unwrap();
        let turn = journal.take_turn().unwrap();
        assert_eq!((turn.cut, offsets(&turn)), (None, vec![]));
        assert_eq!(turn.history, Some(Vec::new()));
    }

    #[test]
    fn a_full_sync_wipes_before_anything_else() {
        let journal = journal(Promise::Appended);
        append(&journal, 5);
        let turn = journal.take_turn().unwrap();
        journal.wrote(&turn);
        journal.continue_from(Epoch(0), Offset(3), Vec::new()).unwrap();
        journal.restart_from(Epoch(0), Offset(40), Vec::new()).unwrap();
        append(&journal, 1);
        let turn = journal.take_turn().unwrap();
        assert_eq!((turn.wipe, turn.cut, offsets(&turn)), (Some(Offset(40)), None, vec![41]));
        assert_eq!(journal.first_kept(), Offset(41));
    }

    #[test]
    fn a_recovered_journal_goes_on_where_it_was() {
        let journal = Journal::new();
        let history = vec![Span { epoch: Epoch(2), start: Offset(0) }];
        journal.start_disk(Promise::Appended, Offset(10), Offset(20), history);
        assert_eq!(journal.position(), (Epoch(2), Offset(20)));
        assert_eq!((journal.first_kept(), journal.durability().durable()), (Offset(11), Offset(20)));
        assert!(matches!(journal.read(Offset(9)), Next::Gone));
        assert!(matches!(journal.read(Offset(10)), Next::OnDisk { up_to: Offset(20) }));
        append(&journal, 1);
        assert_eq!(offsets(&journal.take_turn().unwrap()), [21]);
    }
}
