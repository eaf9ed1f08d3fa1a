//! What the operations of one batch share: the journal, the time, who is to be woken, what the replies depend on.
//!
//! ```text
//! each by itself:  lock queues -> record -> journal -> apply -> deliver -> unlock
//! together:        door for itself -> apply ... apply -> one record -> journal -> deliver
//! ```
//!
//! By itself, an operation is a transaction: it locks what it changes and appends a record. Together, operations over
//! keys, topology and queues make one record. They have the broker to themselves meanwhile (its door is held alone), so
//! nobody sees a part of them, and their queues may be locked in any order, one at a time. Deliveries, dead letters and
//! limits of length come after the record.

use std::collections::VecDeque;
use std::sync::Arc;

use smallvec::SmallVec;

use super::Broker;
use super::dead_letter::{Dead, Reason};
use super::limits;
use super::link::{Consumer, Event, Link};
use super::message::Message;
use super::queue::Queue;
use super::statistics::Statistics;
use crate::ids::{Offset, UnixMillis};
use crate::journal::{Due, Journal};
use crate::limits as core_limits;
use crate::lock::{ReadGuard, WriteGuard};

/// Operations on the broker that a connection executes together, under one permit. `finish` it outside of all locks.
#[derive(Debug)]
#[must_use]
pub struct Batch<'e> {
    broker: &'e Broker,
    journal: &'e Journal,
    record: Vec<u8>,
    /// Where the scratch space goes back to.
    home: Option<&'e mut Vec<u8>>,
    now: UnixMillis,
    due: Due,
    woken: SmallVec<[Arc<Link>; 8]>,
    /// Messages that go to a dead letter exchange, once no queue is held.
    dead: VecDeque<Dead>,
    /// Steps that this batch has made: messages that went into, through or out of a queue.
    work: usize,
    statistics: Statistics,
    together: Option<Box<Together>>,
    door: Option<Door<'e>>,
}

/// How a batch holds the broker's door.
#[derive(Debug)]
enum Door<'e> {
    #[expect(dead_code, reason = "it is held, and dropped")]
    Shared(ReadGuard<'e, ()>),
    Alone(WriteGuard<'e, ()>),
}

/// What operations that make one record have done so far.
#[derive(Debug, Default)]
struct Together {
    record: Vec<u8>,
    /// Bytes of the same record that are not the broker's.
    other_bytes: usize,
    touched: Vec<Arc<Queue>>,
    made: Vec<Arc<Message>>,
    cancelled: Vec<Arc<Consumer>>,
    has_changed_topology: bool,
}

impl<'e> Batch<'e> {
    /// `record` is scratch space; its content is overwritten.
    pub(super) fn new(broker: &'e Broker, journal: &'e Journal, record: &'e mut Vec<u8>, now: UnixMillis) -> Self {
        let door = Some(Door::Shared(broker.door.read()));
        let mut batch = Self::bare(broker, journal, now, door);
        batch.record = std::mem::take(record);
        batch.home = Some(record);
        batch
    }

    /// Operations that make one record from the beginning on, together with those of `engine::Transaction`.
    pub(super) fn together_from(broker: &'e Broker, journal: &'e Journal, now: UnixMillis) -> Self {
        let door = Some(Door::Alone(broker.door.write()));
        let mut batch = Self::bare(broker, journal, now, door);
        batch.together = Some(Box::default());
        batch
    }

    fn bare(broker: &'e Broker, journal: &'e Journal, now: UnixMillis, door: Option<Door<'e>>) -> Self {
        Self {
            broker,
            journal,
            record: Vec::new(),
            home: None,
            now,
            due: Due::NOTHING,
            woken: SmallVec::new(),
            dead: VecDeque::new(),
            work: 0,
            statistics: Statistics::default(),
            together: None,
            door,
        }
    }

    #[must_use]
    pub fn now(&self) -> UnixMillis {
        self.now
    }

    #[must_use]
    pub fn broker(&self) -> &'e Broker {
        self.broker
    }

    /// Replies of this batch may leave once this record is committed.
    #[inline]
    pub fn depends_on(&mut self, offset: Offset) {
        self.due = self.due.and(Due::write(offset));
    }

    /// Replies of this batch show what this record has made.
    pub fn shows(&mut self, offset: Offset) {
        self.due = self.due.and(Due::read(offset));
    }

    /// Replies of this batch may leave once all that is in the journal now is committed.
    pub fn depends_on_end(&mut self) {
        self.depends_on(self.journal.end());
    }

    /// Messages that operations of this batch have moved so far: a measure of the time that it has taken.
    #[inline]
    #[must_use]
    pub fn work(&self) -> usize {
        self.work
    }

    /// What the operations of this batch count as, for the whole broker.
    #[inline]
    pub fn count(&mut self) -> &mut Statistics {
        &mut self.statistics
    }

    #[inline]
    pub(super) fn worked(&mut self, steps: usize) {
        self.work += steps;
    }

    /// As `finish_due`, for whoever waits for all of it.
    pub fn finish(self) -> Offset {
        self.finish_due().offset()
    }

    /// Dead letters find their way, connections that got something are woken; says what the replies depend on.
    pub fn finish_due(mut self) -> Due {
        self.bury_some();
        if !self.dead.is_empty() {
            self.broker.bury_later(std::mem::take(&mut self.dead));
        }
        self.broker.totals.add(&self.statistics);
        self.door = None;
        if let Some(home) = self.home.take() {
            *home = std::mem::take(&mut self.record);
        }
        for link in std::mem::take(&mut self.woken) {
            link.wake();
        }
        self.due
    }

    /// Dead letters find their way, within this batch's budget: each may make more of them.
    pub fn bury_some(&mut self) {
        let end = self.work + limits::DEAD_LETTERS_A_TURN;
        while self.work < end {
            let Some(dead) = self.dead.pop_front() else { return };
            let mut later = std::mem::take(&mut self.dead);
            self.broker.bury(self, dead);
            // What it made goes first: so few wait at a time, and those of one queue stay in order.
            std::mem::swap(&mut self.dead, &mut later);
            for dead in later.into_iter().rev() {
                self.dead.push_front(dead);
            }
            self.work += 1;
        }
    }

    pub(super) fn bury(&mut self, queue: &Arc<Queue>, id: u64, message: Arc<Message>, reason: Reason) {
        self.dead.push_back(Dead { queue: Arc::clone(queue), id, message, reason });
    }

    /// Takes up dead letters that an earlier batch left.
    pub(super) fn take_up(&mut self, dead: VecDeque<Dead>) {
        self.dead.extend(dead);
    }

    pub(super) fn wakes(&mut self, link: Arc<Link>) {
        self.woken.push(link);
    }

    /// A consumer's queue is gone; its connection is told.
    pub(super) fn cancelled(&mut self, consumer: Arc<Consumer>) {
        if let Some(together) = &mut self.together {
            together.cancelled.push(consumer);
            return;
        }
        let link = Arc::clone(&consumer.link);
        if link.push(Event::Cancelled(consumer)) {
            self.wakes(link);
        }
    }

    /// Whether operations make one record at the end, and deliveries wait for it.
    #[inline]
    pub(super) fn is_together(&self) -> bool {
        self.together.is_some()
    }

    /// A queue was changed by operations that make one record: it is told the offset, and served then.
    pub(super) fn touch(&mut self, queue: &Arc<Queue>) {
        if let Some(together) = &mut self.together
            && together.touched.last().is_none_or(|last| !Arc::ptr_eq(last, queue))
        {
            together.touched.push(Arc::clone(queue));
        }
    }

    /// A message learns its record when there is one.
    pub(super) fn made(&mut self, message: &Arc<Message>) {
        if let Some(together) = &mut self.together {
            together.made.push(Arc::clone(message));
        }
    }

    pub(super) fn changed_topology(&mut self) {
        if let Some(together) = &mut self.together {
            together.has_changed_topology = true;
        }
    }

    /// Appends one record, or a part of the one that is being made; then the offset is zero, and told later. The
    /// partitions that it changes are held. It is only written if anybody may ever read it.
    #[inline]
    pub(super) fn append(&mut self, encode: impl FnOnce(&mut Vec<u8>)) -> Offset {
        if let Some(together) = &mut self.together {
            encode(&mut together.record);
            return Offset::ZERO;
        }
        self.record.clear();
        if self.journal.is_retaining() {
            encode(&mut self.record);
        }
        self.journal.append_vec(&mut self.record)
    }

    /// Bytes of the record that operations together have made so far.
    #[must_use]
    pub fn record_bytes(&self) -> usize {
        self.together.as_ref().map_or(0, |together| together.record.len())
    }

    /// The record of operations together has so many bytes that are not the broker's.
    pub(crate) fn shares_record_with(&mut self, bytes: usize) {
        if let Some(together) = &mut self.together {
            together.other_bytes = bytes;
        }
    }

    /// Whether the record may grow by a message of so many bytes in so many queues.
    #[inline]
    pub(super) fn has_room(&self, bytes: usize, queues: usize) -> bool {
        let more = bytes.saturating_mul(queues);
        match &self.together {
            None => queues <= 1 || more <= core_limits::FAN_OUT_BYTES,
            Some(together) => {
                let used = together.record.len() + together.other_bytes;
                used.saturating_add(more) <= core_limits::TRANSACTION_BYTES
            }
        }
    }

    /// From now on operations make one record, until `end_together`. Nothing that is locked is held by the caller.
    pub fn begin_together(&mut self) {
        if self.is_together() {
            return;
        }
        // Others may come in between; nothing of this batch is half done.
        self.door = None;
        self.door = Some(Door::Alone(self.broker.door.write()));
        self.together = Some(Box::default());
    }

    /// The record is made, and what follows from it happens.
    pub fn end_together(&mut self) {
        if !self.is_together() {
            return;
        }
        self.bury_some();
        let offset = self.take_record().map_or(Offset::ZERO, |mut record| self.journal.append_vec(&mut record));
        self.appended(offset);
    }

    /// What the operations have made, if they have changed anything that is replicated.
    pub(crate) fn take_record(&mut self) -> Option<Vec<u8>> {
        let together = self.together.as_mut()?;
        (!together.record.is_empty()).then(|| std::mem::take(&mut together.record))
    }

    /// The record is in the journal, at `offset` (zero: there was none). Everybody gets what has become possible.
    pub(crate) fn appended(&mut self, offset: Offset) {
        let Some(together) = self.together.take() else { return };
        let Together { mut touched, made, cancelled, has_changed_topology, .. } = *together;
        self.depends_on(offset);
        for message in made {
            message.made_by(offset);
        }
        if has_changed_topology {
            self.broker.topology.write().changed_at(offset);
        }
        touched.sort_unstable_by_key(|queue| queue.number);
        touched.dedup_by_key(|queue| queue.number);
        for queue in &touched {
            queue.lock().changed_at(offset);
        }
        // Nobody waits for the deliveries.
        self.door = match self.door.take() {
            Some(Door::Alone(guard)) => Some(Door::Shared(WriteGuard::downgrade(guard))),
            other => other,
        };
        for consumer in cancelled {
            self.cancelled(consumer);
        }
        for queue in touched {
            queue.serve_returned(self);
        }
    }
}
