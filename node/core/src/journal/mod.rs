//! The journal: the ordered record stream of a master, (epoch, offset) -> transaction.
//!
//! ```text
//!  oldest block ... block | open block          end
//!  first..=last           | records so far       |
//! ```
//!
//! A record is appended under the locks of the partitions that it changes, so the order of the journal is the order of
//! every partition. Readers (a stream to a replica) take whole blocks; a block is sealed when it is full or when a
//! reader has caught up with it. The memory is bounded: the oldest blocks go, once they are on disk, and a reader behind
//! them goes on from there, or needs a full sync. As long as nobody could ever read a record (no disk, no replica yet),
//! only its offset is counted. A large record is several entries (`parts.rs`), so no block is much larger than another.
//!
//! **Invariant:** a record leaves the memory only when it is on disk, if there is one; and the disk's end never moves
//! back but by `continue_from` and `restart_from`, which it sees in their place between the records (`turn.rs`).

mod durability;
mod gate;
mod parts;
mod record;
pub mod relay;
mod turn;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering, fence};

use bytes::Bytes;
use event_listener::Event;

pub use durability::{Durability, Promise};
pub use gate::{Deposed, Due, Gate};
pub use parts::{Assembler, Error as PartError};
pub use record::Records;
pub use turn::{Reached, Turn};

use crate::ids::{Epoch, Offset};
use crate::limits;
use crate::lock::{Mutex, Rank};
use crate::wire;

/// What the journal refuses.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("block begins at {first}, but the journal ends at {end}")]
    Gap { first: Offset, end: Offset },
    #[error("a block of epoch {block} came after one of epoch {newest}")]
    OldEpoch { block: Epoch, newest: Epoch },
    #[error("the master of epoch {master} is deposed: epoch {promised} was promised")]
    Fenced { master: Epoch, promised: Epoch },
}

/// Consecutive records of one epoch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    pub epoch: Epoch,
    pub first: Offset,
    pub last: Offset,
    pub records: Bytes,
    /// The end of the only record, which lies in a buffer of its own. Whoever reads a block is given all of it in `records`.
    lent: Bytes,
}

impl Block {
    #[must_use]
    pub fn new(epoch: Epoch, first: Offset, last: Offset, records: Bytes) -> Self {
        Self { epoch, first, last, records, lent: Bytes::new() }
    }

    /// The same block in one piece: at most a part of a record is copied.
    #[must_use]
    fn joined(mut self) -> Self {
        if !self.lent.is_empty() {
            self.records = [&self.records[..], &self.lent[..]].concat().into();
            self.lent = Bytes::new();
        }
        self
    }

    /// The records with their offsets.
    #[must_use]
    pub fn iter(&self) -> Records<'_> {
        Records::new(self.first, &self.records)
    }
}

/// Records behind `start` were made under `epoch`, until the next span.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    pub epoch: Epoch,
    pub start: Offset,
}

/// What a reader finds behind an offset.
#[derive(Debug)]
pub enum Next {
    Block(Block),
    /// What follows is no longer in memory: `Storage::journal_behind` has it. What the row there holds behind `up_to`
    /// does not count.
    OnDisk {
        up_to: Offset,
    },
    /// It has everything.
    AtEnd,
    /// The records are no longer kept: a full sync is needed.
    Gone,
}

/// The journal in memory. One a node.
#[derive(Debug)]
pub struct Journal {
    inner: Mutex<Inner>,
    end: AtomicU64,
    retaining: AtomicBool,
    /// Up to here the others have been woken.
    published: AtomicU64,
    reader_waits: AtomicBool,
    appended: Event,
    disk_waits: AtomicBool,
    /// Wakes the disk thread.
    disk_work: parking_lot::Condvar,
    durability: Durability,
}

#[derive(Debug, Default)]
struct Inner {
    history: Vec<Span>,
    blocks: VecDeque<Block>,
    /// Records behind the last block, not sealed yet.
    open: Vec<u8>,
    open_first: u64,
    end: u64,
    /// Memory of all sealed blocks.
    bytes: usize,
    /// Everything up to here is no longer kept in memory.
    trimmed: u64,
    /// Replicas may read, so blocks stay in memory though they are on disk.
    is_shared: bool,
    disk: turn::Disk,
    /// The newest entry may be a part of a record whose other parts have not come.
    is_amid: bool,
    /// What a master of a lower epoch sends is refused.
    promised: Epoch,
}

impl Default for Journal {
    fn default() -> Self {
        Self::new()
    }
}

impl Journal {
    #[must_use]
    pub fn new() -> Self {
        Self {
            inner: Mutex::new(Rank::Journal, Inner { open_first: 1, ..Inner::default() }),
            end: AtomicU64::new(0),
            retaining: AtomicBool::new(false),
            published: AtomicU64::new(0),
            reader_waits: AtomicBool::new(false),
            appended: Event::new(),
            disk_waits: AtomicBool::new(false),
            disk_work: parking_lot::Condvar::new(),
            durability: Durability::default(),
        }
    }

    /// Whether records are kept. A transaction reads this once it holds its partitions, and may then leave the content
    /// of its record out.
    #[inline]
    #[must_use]
    pub fn is_retaining(&self) -> bool {
        self.retaining.load(Ordering::Acquire)
    }

    /// From now on records are kept, because somebody may read them.
    ///
    /// **Invariant:** an image of a partition is taken under its lock, after this call. So a record that was still
    /// appended empty lies before the cut of every image of its partitions.
    pub fn retain(&self) {
        let mut inner = self.inner.lock();
        inner.is_shared = true;
        if !self.retaining.load(Ordering::Acquire) {
            inner.trimmed = inner.end;
            inner.open_first = inner.end + 1;
            self.retaining.store(true, Ordering::Release);
        }
    }

    /// Appends one transaction and says where it lies. The caller holds the locks of the partitions that it changes.
    #[inline]
    pub fn append(&self, record: &[u8]) -> Offset {
        debug_assert!(parts::is_whole(record.len()), "a large record goes to `append_vec`");
        let mut inner = self.inner.lock();
        inner.end += 1;
        inner.is_amid = false;
        let end = inner.end;
        if self.retaining.load(Ordering::Relaxed) {
            wire::put_varint(&mut inner.open, record.len() as u64);
            inner.open.extend_from_slice(record);
            if inner.open.len() >= limits::JOURNAL_BLOCK_BYTES {
                inner.seal();
                self.check_backlog(&inner);
            }
        }
        self.end.store(end, Ordering::Release);
        Offset(end)
    }

    /// As `append`, of a record that may be large: its memory becomes blocks of the journal, and nothing is copied under
    /// the lock.
    #[inline]
    pub fn append_vec(&self, record: &mut Vec<u8>) -> Offset {
        if parts::is_whole(record.len()) { self.append(record) } else { self.append_parts(std::mem::take(record)) }
    }

    #[cold]
    fn append_parts(&self, record: Vec<u8>) -> Offset {
        if !self.is_retaining() {
            return self.append(&[]);
        }
        let parts = parts::divide(record);
        self.append_divided(parts.into_iter().map(|records| (records, Bytes::new())))
    }

    /// As `append_vec`, of a record in which large texts stand at these places: they are not copied.
    #[cold]
    pub fn append_shared(&self, record: &mut Vec<u8>, texts: Vec<(usize, Bytes)>) -> Offset {
        if !self.is_retaining() {
            return self.append(&[]);
        }
        let offset = self.append_divided(parts::divide_shared(record, texts).into_iter());
        record.clear();
        offset
    }

    fn append_divided(&self, parts: impl Iterator<Item = (Bytes, Bytes)>) -> Offset {
        let mut inner = self.inner.lock();
        inner.seal();
        let epoch = inner.epoch();
        for (records, lent) in parts {
            inner.end += 1;
            let offset = Offset(inner.end);
            inner.push(Block { lent, ..Block::new(epoch, offset, offset, records) });
        }
        inner.open_first = inner.end + 1;
        inner.is_amid = false;
        self.check_backlog(&inner);
        self.end.store(inner.end, Ordering::Release);
        Offset(inner.end)
    }

    /// Wakes the readers and the disk: to be called once behind a batch of commands, outside of all locks. A batch that
    /// has appended nothing wakes nobody.
    #[inline]
    pub fn publish(&self) {
        let end = self.end.load(Ordering::Acquire);
        // Whoever has put it there has woken the others, or is about to.
        if self.published.swap(end, Ordering::AcqRel) != end {
            self.wake();
        }
    }

    /// The journal has changed in a way that is no batch of commands.
    fn changed(&self) {
        self.published.store(self.end.load(Ordering::Acquire), Ordering::Release);
        self.wake();
    }

    fn wake(&self) {
        // Pairs with the one in `readable` and in `wait_for_turn`: either the other sees the new end, or its flag is seen
        // here.
        fence(Ordering::SeqCst);
        if self.reader_waits.load(Ordering::Acquire) && self.reader_waits.swap(false, Ordering::AcqRel) {
            self.appended.notify(usize::MAX);
        }
        if self.disk_waits.load(Ordering::Acquire) && self.disk_waits.swap(false, Ordering::AcqRel) {
            self.disk_work.notify_one();
        }
    }

    /// The offset of the newest record.
    #[inline]
    #[must_use]
    pub fn end(&self) -> Offset {
        Offset(self.end.load(Ordering::Acquire))
    }

    /// The newest record's epoch and offset: the greater pair knows more.
    #[must_use]
    pub fn position(&self) -> (Epoch, Offset) {
        self.inner.lock().position()
    }

    /// From now on nothing is taken from a master below `epoch`. Says where the journal ends, for good as far as such
    /// masters are concerned.
    pub fn promise(&self, epoch: Epoch) -> (Epoch, Offset) {
        let mut inner = self.inner.lock();
        inner.promised = inner.promised.max(epoch);
        inner.position()
    }

    #[must_use]
    pub fn history(&self) -> Vec<Span> {
        self.inner.lock().history.clone()
    }

    /// The next block behind `after`.
    #[must_use]
    pub fn read(&self, after: Offset) -> Next {
        let mut inner = self.inner.lock();
        if after.0 >= inner.end {
            return Next::AtEnd;
        }
        if after.0 < inner.start() || !self.retaining.load(Ordering::Relaxed) {
            return Next::Gone;
        }
        if after.0 < inner.trimmed {
            return Next::OnDisk { up_to: Offset(inner.trimmed) };
        }
        if after.0 + 1 >= inner.open_first {
            inner.seal();
        }
        let index = inner.blocks.partition_point(|block| block.last <= after);
        let block = inner.blocks[index].clone();
        drop(inner);
        let block = block.joined();
        Next::Block(if block.first.0 == after.0 + 1 { block } else { block.behind(after) })
    }

    /// Resolves when something may have been appended behind `after`, or the journal was changed in another way.
    pub async fn readable(&self, after: Offset) {
        let appended = self.appended.listen();
        self.reader_waits.store(true, Ordering::Release);
        fence(Ordering::SeqCst);
        if self.end() > after {
            return;
        }
        appended.await;
    }

    /// A new mastership begins behind the present end.
    pub fn begin_epoch(&self, epoch: Epoch) {
        let mut inner = self.inner.lock();
        inner.seal();
        let start = Offset(inner.end);
        inner.history.retain(|span| span.start < start || span.start == Offset::ZERO && start == Offset::ZERO);
        inner.history.push(Span { epoch, start });
        inner.history_changed();
        if std::mem::take(&mut inner.is_amid) {
            // What is left of an earlier master's record is void from here on.
            inner.end += 1;
            wire::put_bytes(&mut inner.open, &[]);
            self.end.store(inner.end, Ordering::Release);
        }
        drop(inner);
        self.changed();
    }

    /// What was read from the disk ends amid a record. Told before the first `begin_epoch`.
    pub fn ends_amid_record(&self) {
        self.inner.lock().is_amid = true;
    }

    /// Appends what the master of epoch `under` sent. (The block's own epoch is that of its records: a replica that was
    /// away gets records of earlier masters from the present one.)
    ///
    /// # Errors
    /// The block does not follow on what is there, or comes from a deposed master.
    pub fn append_block(&self, under: Epoch, block: Block) -> Result<(), Error> {
        let mut inner = self.inner.lock();
        inner.check_not_fenced(under)?;
        if block.first.0 != inner.end + 1 {
            return Err(Error::Gap { first: block.first, end: Offset(inner.end) });
        }
        match inner.history.last() {
            Some(span) if span.epoch > block.epoch => {
                return Err(Error::OldEpoch { block: block.epoch, newest: span.epoch });
            }
            Some(span) if span.epoch == block.epoch => {}
            _ => {
                let start = Offset(inner.end);
                inner.history.push(Span { epoch: block.epoch, start });
                inner.history_changed();
            }
        }
        inner.seal();
        inner.end = block.last.0;
        inner.open_first = inner.end + 1;
        inner.is_amid = block.ends_amid_record();
        inner.push(block);
        self.check_backlog(&inner);
        self.end.store(inner.end, Ordering::Release);
        drop(inner);
        self.changed();
        Ok(())
    }

    /// Takes over the history that the master of epoch `under` sent with CONTINUE, cutting off what lies behind `end`.
    ///
    /// # Errors
    /// The master is deposed.
    pub fn continue_from(&self, under: Epoch, end: Offset, history: Vec<Span>) -> Result<(), Error> {
        let mut inner = self.inner.lock();
        inner.check_not_fenced(under)?;
        inner.seal();
        while inner.blocks.back().is_some_and(|block| block.first > end) {
            inner.drop_newest();
        }
        if let Some(block) = inner.blocks.back().filter(|block| block.last > end) {
            let kept = block.up_to(end);
            inner.drop_newest();
            inner.push(kept);
        }
        inner.is_amid = match inner.blocks.back() {
            Some(block) => block.ends_amid_record(),
            // To void a record that was complete costs an empty one.
            None => inner.is_amid || end.0 != inner.end,
        };
        inner.end = end.0;
        inner.open_first = end.0 + 1;
        inner.trimmed = inner.trimmed.min(end.0);
        inner.history = history;
        inner.drop_spans_behind_end();
        inner.cut_disk(&self.durability, end);
        self.end.store(end.0, Ordering::Release);
        drop(inner);
        self.changed();
        Ok(())
    }

    /// Forgets everything: a full sync from the master of epoch `under` begins behind `end`.
    ///
    /// # Errors
    /// The master is deposed.
    pub fn restart_from(&self, under: Epoch, end: Offset, history: Vec<Span>) -> Result<(), Error> {
        let mut inner = self.inner.lock();
        inner.check_not_fenced(under)?;
        inner.restart(end, history);
        inner.drop_spans_behind_end();
        inner.wipe_disk(&self.durability, end);
        self.retaining.store(true, Ordering::Release);
        self.end.store(end.0, Ordering::Release);
        drop(inner);
        self.changed();
        Ok(())
    }

    /// Bytes kept for readers, for INFO.
    #[must_use]
    pub fn retained_bytes(&self) -> usize {
        let inner = self.inner.lock();
        inner.bytes + inner.open.len()
    }

    /// Bytes in memory that a reader who is at `after` has not read. All, if what he needs first is no longer there.
    #[must_use]
    pub fn bytes_behind(&self, after: Offset) -> usize {
        let inner = self.inner.lock();
        if after.0 < inner.trimmed {
            return usize::MAX;
        }
        let unread = inner.blocks.iter().rev().take_while(|block| block.last > after);
        unread.map(Block::bytes).sum::<usize>() + inner.open.len()
    }

    /// Where a reader may start: the first offset that is still kept.
    #[must_use]
    pub fn first_kept(&self) -> Offset {
        Offset(self.inner.lock().start() + 1)
    }
}

impl Inner {
    fn position(&self) -> (Epoch, Offset) {
        let epoch = self.history.iter().rev().find(|span| span.start.0 < self.end).map_or(Epoch(0), |span| span.epoch);
        (epoch, Offset(self.end))
    }

    fn check_not_fenced(&self, under: Epoch) -> Result<(), Error> {
        if under < self.promised {
            return Err(Error::Fenced { master: under, promised: self.promised });
        }
        Ok(())
    }

    /// Forgets all records; the next one is behind `end`.
    fn restart(&mut self, end: Offset, history: Vec<Span>) {
        (self.history, self.blocks, self.bytes) = (history, VecDeque::new(), 0);
        (self.end, self.trimmed, self.open_first) = (end.0, end.0, end.0 + 1);
        self.open.clear();
        self.is_amid = false;
    }

    /// Spans that begin behind the end come with their blocks.
    fn drop_spans_behind_end(&mut self) {
        let end = Offset(self.end);
        self.history.retain(|span| span.start <= end);
    }

    /// Under which what is appended now is made.
    fn epoch(&self) -> Epoch {
        self.history.last().map_or(Epoch(0), |span| span.epoch)
    }

    fn seal(&mut self) {
        if !self.open.is_empty() {
            let epoch = self.epoch();
            let records = if self.open.len() >= limits::JOURNAL_BLOCK_BYTES {
                // A full block keeps its buffer: nothing is copied.
                let next = Vec::with_capacity(limits::JOURNAL_BLOCK_BYTES + limits::JOURNAL_BLOCK_SLACK_BYTES);
                Bytes::from(std::mem::replace(&mut self.open, next))
            } else {
                let records = Bytes::copy_from_slice(&self.open);
                self.open.clear();
                records
            };
            let block = Block::new(epoch, Offset(self.open_first), Offset(self.end), records);
            self.push(block);
        }
        self.open_first = self.end + 1;
    }

    fn push(&mut self, block: Block) {
        self.bytes += block.bytes();
        if self.disk.is_on {
            self.disk.unwritten += block.bytes();
        }
        self.blocks.push_back(block);
        self.trim();
    }

    /// Keeps the memory within its bound, as far as the disk has what goes.
    fn trim(&mut self) {
        let budget = if self.disk.is_on && !self.is_shared {
            limits::JOURNAL_MEMORY_ALONE_BYTES
        } else {
            limits::JOURNAL_MEMORY_BYTES
        };
        while self.bytes > budget && self.blocks.len() > 1 {
            let disk = &self.disk;
            let Some(oldest) = self.blocks.pop_front_if(|block| !disk.is_on || block.last.0 <= disk.written) else {
                break;
            };
            self.bytes -= oldest.bytes();
            self.trimmed = oldest.last.0;
        }
    }

    fn drop_newest(&mut self) {
        if let Some(newest) = self.blocks.pop_back() {
            self.bytes -= newest.bytes();
        }
    }
}

impl Block {
    /// What it takes in memory. A block of one small record is mostly this structure and its allocation.
    pub fn bytes(&self) -> usize {
        const ALLOCATION_BYTES: usize = 64;
        self.records.len() + self.lent.len() + size_of::<Self>() + ALLOCATION_BYTES
    }

    /// Whether what follows goes on with its last record. Such a part fills a block of its own.
    #[must_use]
    pub fn ends_amid_record(&self) -> bool {
        self.first == self.last && parts::is_followed_entry(&self.records)
    }

    /// The part behind `after`, which lies within the block.
    #[must_use]
    pub fn behind(&self, after: Offset) -> Self {
        let mut records = self.iter();
        while records.next_offset() <= after && records.next().is_some() {}
        let skipped = self.records.len() - records.remaining();
        Self { first: after.next(), records: self.records.slice(skipped..), lent: Bytes::new(), ..*self }
    }

    /// The part up to `end`, which lies within the block.
    #[must_use]
    pub fn up_to(&self, end: Offset) -> Self {
        let mut records = self.iter();
        while records.next_offset() <= end && records.next().is_some() {}
        let kept = self.records.len() - records.remaining();
        Self { last: end, records: self.records.slice(..kept), lent: Bytes::new(), ..*self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn journal() -> Journal {
        let journal = Journal::new();
        journal.retain();
        journal.begin_epoch(Epoch(1));
        journal
    }

    fn contents(journal: &Journal, mut after: Offset) -> Vec<(u64, Vec<u8>)> {
        let mut found = Vec::new();
        loop {
            match journal.read(after) {
                Next::Block(block) => {
                    found.extend(block.iter().map(|(offset, record)| (offset.0, record.to_vec())));
                    after = block.last;
                }
                Next::AtEnd => return found,
                Next::OnDisk { .. } | Next::Gone => panic!("records behind {after} are gone"),
            }
        }
    }

    #[test]
    fn a_reader_in_the_middle_of_a_block_gets_what_lies_behind() {
        let journal = journal();
        for record in [b"one".as_slice(), b"two", b"three"] {
            journal.append(record);
        }
        assert_eq!(contents(&journal, Offset(0)).len(), 3);
        assert_eq!(contents(&journal, Offset(1)), [(2, b"two".to_vec()), (3, b"three".to_vec())]);
        assert_eq!(contents(&journal, Offset(2)), [(3, b"three".to_vec())]);
        assert!(matches!(journal.read(Offset(3)), Next::AtEnd));
    }

    #[test]
    fn a_replica_that_appends_blocks_holds_the_same_records() {
        let (master, replica) = (journal(), Journal::new());
        replica.restart_from(Epoch(1), Offset(0), vec![]).unwrap();
        for number in 0..100u32 {
            master.append(&number.to_le_bytes());
            if number % 7 == 0 {
                while let Next::Block(block) = master.read(replica.end()) {
                    replica.append_block(Epoch(1), block).unwrap();
                }
            }
        }
        while let Next::Block(block) = master.read(replica.end()) {
            replica.append_block(Epoch(1), block).unwrap();
        }
        assert_eq!(contents(&master, Offset(0)), contents(&replica, Offset(0)));
        assert_eq!(master.history(), replica.history());
    }

    #[test]
    fn a_tail_that_is_cut_off_is_replaced() {
        let journal = journal();
        for record in [b"a".as_slice(), b"b", b"c"] {
            journal.append(record);
        }
        let span = |epoch, start| Span { epoch: Epoch(epoch), start: Offset(start) };
        journal.continue_from(Epoch(2), Offset(1), vec![span(1, 0), span(2, 1), span(3, 4)]).unwrap();
        assert_eq!(journal.history(), [span(1, 0), span(2, 1)], "a span behind the end comes with its block");
        journal.append_block(Epoch(2), Block::new(Epoch(2), Offset(2), Offset(2), vec![1, b'x'].into())).unwrap();
        assert_eq!(contents(&journal, Offset(0)), [(1, b"a".to_vec()), (2, b"x".to_vec())]);
        assert_eq!(journal.position(), (Epoch(2), Offset(2)));
    }

    #[test]
    fn a_deposed_master_is_refused() {
        let journal = journal();
        journal.begin_epoch(Epoch(3));
        let late = Block::new(Epoch(2), Offset(1), Offset(1), vec![0].into());
        assert_eq!(journal.append_block(Epoch(3), late), Err(Error::OldEpoch { block: Epoch(2), newest: Epoch(3) }));
    }

    #[test]
    fn nothing_is_taken_below_a_promise() {
        let journal = journal();
        journal.append(b"a");
        assert_eq!(journal.promise(Epoch(4)), (Epoch(1), Offset(1)));
        let fenced = Err(Error::Fenced { master: Epoch(3), promised: Epoch(4) });
        let block = |epoch| Block::new(epoch, Offset(2), Offset(2), vec![0].into());
        assert_eq!(journal.append_block(Epoch(3), block(Epoch(3))), fenced);
        assert_eq!(journal.continue_from(Epoch(3), Offset(0), vec![]), fenced);
        assert_eq!(journal.restart_from(Epoch(3), Offset(0), vec![]), fenced);
        assert_eq!(journal.append_block(Epoch(4), block(Epoch(1))), Ok(()), "an old record from the new master");
    }

    #[test]
    fn a_gap_is_refused() {
        let block = Block::new(Epoch(1), Offset(5), Offset(5), vec![0].into());
        assert_eq!(journal().append_block(Epoch(1), block), Err(Error::Gap { first: Offset(5), end: Offset(0) }));
    }

    #[test]
    fn a_large_record_becomes_blocks_of_a_part_each_and_shares_the_order_of_all() {
        let journal = journal();
        journal.append(b"before");
        let large: Vec<u8> = (0..1_000_000u32).map(|number| number as u8 | 1).collect();
        let offset = journal.append_vec(&mut large.clone());
        assert_eq!((offset, journal.end()), (Offset(12), Offset(12)), "a part each 96 KiB");
        journal.append(b"behind");
        let (mut assembler, mut found, mut after) = (Assembler::default(), Vec::new(), Offset(0));
        while let Next::Block(block) = journal.read(after) {
            assert!(block.records.len() <= limits::RECORD_PART_BYTES + 20);
            assert_eq!(block.ends_amid_record(), (2..12).contains(&block.last.0));
            for (offset, entry) in block.iter() {
                found.extend(assembler.take(offset, entry).unwrap().map(|record| (offset.0, record.into_owned())));
            }
            after = block.last;
        }
        assert_eq!(found, [(1, b"before".to_vec()), (12, large), (13, b"behind".to_vec())]);
    }

    #[test]
    fn a_mastership_that_begins_amid_a_record_voids_it() {
        let (master, heir) = (journal(), journal());
        master.append_vec(&mut vec![7; 300 << 10]);
        for after in 0..2 {
            let Next::Block(block) = master.read(Offset(after)) else { panic!("it is kept") };
            heir.append_block(Epoch(1), block).unwrap();
        }
        heir.begin_epoch(Epoch(2));
        assert_eq!(heir.end(), Offset(3));
        let mut assembler = Assembler::default();
        let taken: Vec<_> = contents(&heir, Offset(0))
            .iter()
            .map(|(offset, entry)| assembler.take(Offset(*offset), entry).unwrap().map(|record| record.len()))
            .collect();
        assert_eq!((taken, assembler.begun()), (vec![None, None, Some(0)], None));
        let Next::Block(block) = heir.read(Offset(2)) else { panic!("it is kept") };
        assert_eq!(block.epoch, Epoch(2), "the empty record is the new master's");
        heir.begin_epoch(Epoch(3));
        assert_eq!(heir.end(), Offset(3), "nothing is incomplete any more");
    }

    #[test]
    fn a_cut_amid_a_record_is_known_to_be_one() {
        let journal = journal();
        journal.append_vec(&mut vec![7; 300 << 10]);
        journal.append(b"behind");
        let history = journal.history();
        for (end, is_amid) in [(5, false), (4, false), (3, true), (1, true)] {
            journal.continue_from(Epoch(1), Offset(end), history.clone()).unwrap();
            assert_eq!(journal.inner.lock().is_amid, is_amid, "{end}");
        }
    }

    #[test]
    fn memory_is_bounded_and_a_late_reader_is_told() {
        let journal = journal();
        for _ in 0..(limits::JOURNAL_MEMORY_BYTES >> 20) + 10 {
            journal.append_vec(&mut vec![7; 1 << 20]);
        }
        assert!(journal.retained_bytes() <= limits::JOURNAL_MEMORY_BYTES + (2 << 20));
        assert!(matches!(journal.read(Offset(0)), Next::Gone));
    }
}
