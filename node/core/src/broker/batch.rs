//! What the operations of one batch share: the journal, the time, who is to be woken, what the replies depend on.

use std::sync::Arc;

use smallvec::SmallVec;

use super::Broker;
use super::dead_letter::{Dead, Reason};
use super::link::Link;
use super::message::Message;
use super::queue::Queue;
use crate::ids::{Offset, UnixMillis};
use crate::journal::Journal;

/// Operations on the broker that a connection executes together, under one permit. `finish` it outside of all locks.
#[derive(Debug)]
#[must_use]
pub struct Batch<'e> {
    broker: &'e Broker,
    journal: &'e Journal,
    record: &'e mut Vec<u8>,
    now: UnixMillis,
    depends_on: Offset,
    woken: SmallVec<[Arc<Link>; 8]>,
    /// Messages that go to a dead letter exchange, once no queue is held.
    dead: Vec<Dead>,
}

impl<'e> Batch<'e> {
    /// `record` is scratch space; its content is overwritten.
    pub(super) fn new(broker: &'e Broker, journal: &'e Journal, record: &'e mut Vec<u8>, now: UnixMillis) -> Self {
        let woken = SmallVec::new();
        Self { broker, journal, record, now, depends_on: Offset::ZERO, woken, dead: Vec::new() }
    }

    #[must_use]
    pub fn now(&self) -> UnixMillis {
        self.now
    }

    /// Replies of this batch may leave once this record is committed.
    #[inline]
    pub fn depends_on(&mut self, offset: Offset) {
        self.depends_on = self.depends_on.max(offset);
    }

    /// Replies of this batch may leave once all that is in the journal now is committed.
    pub fn depends_on_end(&mut self) {
        self.depends_on(self.journal.end());
    }

    /// Dead letters find their way, connections that got something are woken; says what the replies depend on.
    pub fn finish(mut self) -> Offset {
        self.bury_all();
        for link in self.woken {
            link.wake();
        }
        self.depends_on
    }

    /// Dead letters find their way. It may make more of them; circles are broken in `dead_letter`.
    pub fn bury_all(&mut self) {
        while !self.dead.is_empty() {
            for dead in std::mem::take(&mut self.dead) {
                self.broker.bury(self, dead);
            }
        }
    }

    pub(super) fn bury(&mut self, queue: &Arc<Queue>, id: u64, message: Arc<Message>, reason: Reason) {
        self.dead.push(Dead { queue: Arc::clone(queue), id, message, reason });
    }

    pub(super) fn wakes(&mut self, link: Arc<Link>) {
        self.woken.push(link);
    }

    /// Appends one record. The partitions that it changes are held; it is only written if anybody may ever read it.
    #[inline]
    pub(super) fn append(&mut self, encode: impl FnOnce(&mut Vec<u8>)) -> Offset {
        self.record.clear();
        if self.journal.is_retaining() {
            encode(self.record);
        }
        self.journal.append(self.record)
    }
}
