//! Who reads a stream together? A group: how far it has come, its consumers, and what they have not acknowledged.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::id::StreamId;

/// A consumer group.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Group {
    /// The last entry that was given to anybody.
    pub last_id: StreamId,
    /// Entries that were read since the stream began; nobody knows after `XGROUP SETID` to somewhere in between.
    pub read: Option<u64>,
    pending: BTreeMap<StreamId, Pending>,
    consumers: BTreeMap<Arc<[u8]>, Consumer>,
}

/// An entry that was given to a consumer and is not acknowledged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pending {
    pub consumer: Arc<[u8]>,
    /// When it was given, in ms.
    pub given_at: u64,
    /// How often.
    pub count: u64,
}

/// A member of a group.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Consumer {
    /// When it last asked, in ms.
    pub seen_at: u64,
    /// When it last got something.
    pub active_at: Option<u64>,
    pending: BTreeSet<StreamId>,
}

impl Consumer {
    #[must_use]
    pub fn pending(&self) -> &BTreeSet<StreamId> {
        &self.pending
    }
}

/// What is given to a consumer by a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Given {
    pub id: StreamId,
    pub at: u64,
    pub count: u64,
}

impl Group {
    #[must_use]
    pub fn new(last_id: StreamId, read: Option<u64>) -> Self {
        Self { last_id, read, ..Self::default() }
    }

    #[must_use]
    pub fn pending(&self) -> &BTreeMap<StreamId, Pending> {
        &self.pending
    }

    #[must_use]
    pub fn consumers(&self) -> &BTreeMap<Arc<[u8]>, Consumer> {
        &self.consumers
    }

    #[must_use]
    pub fn consumer(&self, name: &[u8]) -> Option<&Consumer> {
        self.consumers.get(name)
    }

    /// Makes a consumer, unless it is there. Says whether it was made.
    pub fn create_consumer(&mut self, name: &[u8], at: u64) -> bool {
        if self.consumers.contains_key(name) {
            return false;
        }
        self.consumers.insert(name.into(), Consumer { seen_at: at, ..Consumer::default() });
        true
    }

    /// Notes that a consumer has asked, and whether it got anything. Makes it if it is not there.
    pub fn see(&mut self, name: &[u8], seen_at: u64, active_at: Option<u64>) {
        self.create_consumer(name, seen_at);
        if let Some(consumer) = self.consumers.get_mut(name) {
            consumer.seen_at = seen_at;
            consumer.active_at = active_at.or(consumer.active_at);
        }
    }

    /// Removes a consumer with all that it has not acknowledged.
    pub fn remove_consumer(&mut self, name: &[u8]) -> bool {
        let Some(consumer) = self.consumers.remove(name) else { return false };
        for id in &consumer.pending {
            self.pending.remove(id);
        }
        true
    }

    /// Gives an entry to a consumer, whoever had it.
    pub fn give(&mut self, name: &[u8], given: Given) {
        let Some((name, consumer)) =
            self.consumers.get_key_value(name).map(|(name, _)| Arc::clone(name)).and_then(|name| {
                let consumer = self.consumers.get_mut(&name)?;
                Some((name, consumer))
            })
        else {
            return;
        };
        consumer.pending.insert(given.id);
        let pending = Pending { consumer: Arc::clone(&name), given_at: given.at, count: given.count };
        if let Some(before) = self.pending.insert(given.id, pending)
            && before.consumer != name
            && let Some(consumer) = self.consumers.get_mut(&before.consumer)
        {
            consumer.pending.remove(&given.id);
        }
    }

    /// Forgets that an entry is pending. Says whether it was.
    pub fn forget(&mut self, id: StreamId) -> bool {
        let Some(pending) = self.pending.remove(&id) else { return false };
        if let Some(consumer) = self.consumers.get_mut(&pending.consumer) {
            consumer.pending.remove(&id);
        }
        true
    }

    /// Bytes taken, about.
    #[must_use]
    pub fn memory_usage(&self) -> usize {
        const PENDING_BYTES: usize = 16 + size_of::<Pending>() + 24;
        let names: usize = self.consumers.keys().map(|name| name.len() + 16 + size_of::<Consumer>()).sum();
        size_of::<Self>() + names + self.pending.len() * PENDING_BYTES
    }
}
