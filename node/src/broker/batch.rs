//! What the operations of one batch share: the journal, the time, who is to be woken, what the replies depend on.

use std::sync::Arc;

use smallvec::SmallVec;

use super::link::Link;
use crate::ids::{Offset, UnixMillis};
use crate::journal::Journal;

/// Operations on the broker that a connection executes together, under one permit. `finish` it outside of all locks.
#[derive(Debug)]
#[must_use]
pub struct Batch<'e> {
    journal: &'e Journal,
    record: &'e mut Vec<u8>,
    now: UnixMillis,
    depends_on: Offset,
    woken: SmallVec<[Arc<Link>; 8]>,
}

impl<'e> Batch<'e> {
    /// `record` is scratch space; its content is overwritten.
    pub fn new(journal: &'e Journal, record: &'e mut Vec<u8>, now: UnixMillis) -> Self {
        Self { journal, record, now, depends_on: Offset::ZERO, woken: SmallVec::new() }
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

    /// Wakes the connections that got something, and says what the replies depend on.
    pub fn finish(self) -> Offset {
        for link in self.woken {
            link.wake();
        }
        self.depends_on
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
