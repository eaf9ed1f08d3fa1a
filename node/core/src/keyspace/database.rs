//! The keys of one database within one shard, and where one of them lies.

use std::sync::LazyLock;

use super::access::{Access, Rule};
use super::collection::Collection;
use super::entry::{About, Entry};
use super::fifo::Queues;
use super::parts::Parts;
use super::payload::New;
use super::table::{self, Slot};
use super::value::ShortBytes;
use crate::limits;

/// What a database is that nobody has written to.
pub(super) static EMPTY: LazyLock<Database> =
    LazyLock::new(|| Database::new(foldhash::fast::RandomState::default(), &Access::default()));

/// The keys of one database within one shard.
#[derive(Debug)]
pub struct Database {
    pub(super) table: Parts<foldhash::fast::RandomState>,
    /// Where the policy goes by them.
    pub(super) queues: Option<Box<Queues>>,
}

impl Database {
    pub(super) fn new(seed: foldhash::fast::RandomState, access: &Access) -> Self {
        let queues = (access.rule() == Rule::Queue).then(Box::default);
        Self { table: Parts::new(seed), queues }
    }

    /// Begins to queue keys, or ends it.
    pub(super) fn set_queued(&mut self, is_queued: bool) {
        if !is_queued {
            self.queues = None;
        } else if self.queues.is_none() {
            self.queues = Some(Box::new(Queues::of(&self.table)));
        }
    }

    /// Takes the key that has to go out of its queue.
    pub(super) fn dequeue(&mut self) -> Option<ShortBytes> {
        self.queues.as_mut()?.dequeue(&self.table)
    }

    /// Adds a key that is not there.
    #[inline]
    pub(super) fn insert(&mut self, hash: u64, key: &[u8], mut about: About, new: New<'_>) -> Slot {
        if let Some(queues) = &mut self.queues {
            about.access = queues.enqueue(hash, &self.table);
        }
        self.table.insert(hash, key, about, new)
    }

    /// Adds a key that is not there, with a collection.
    #[inline]
    pub(super) fn insert_collection<C: Collection>(
        &mut self,
        hash: u64,
        key: &[u8],
        about: About,
        collection: C,
    ) -> Slot {
        table::stored(key.len(), collection, None, |new| self.insert(hash, key, about, new))
    }

    /// What has to hold.
    #[cfg(test)]
    pub(super) fn check(&self) {
        self.table.check();
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.table.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Keys with a time to live.
    #[must_use]
    pub fn expiring(&self) -> usize {
        self.table.expiring()
    }

    pub fn iter(&self) -> impl Iterator<Item = Entry<'_>> {
        self.table.iter()
    }

    /// All entries, for who reads their values too: those of collections lie anywhere in the memory, so they are asked for
    /// ahead.
    pub fn iter_values(&self) -> impl Iterator<Item = Entry<'_>> {
        let mut ahead = self.table.iter().skip(limits::VALUES_AHEAD);
        self.table.iter().inspect(move |_| {
            if let Some(entry) = ahead.next() {
                entry.value().prefetch();
            }
        })
    }

    /// The entry, expired or not.
    #[inline]
    #[must_use]
    pub fn find(&self, key: &[u8]) -> Option<Entry<'_>> {
        self.table.find(self.table.hash(key), key)
    }

    /// The entry at a place, if there is one.
    #[inline]
    #[must_use]
    pub fn at(&self, place: Place) -> Option<Entry<'_>> {
        place.slot.map(|slot| self.table.at(slot))
    }

    /// A random entry, chosen by `random`.
    pub fn random(&self, random: impl FnMut() -> u64) -> Option<Entry<'_>> {
        self.table.random(random)
    }

    /// Bytes of the table that the allocator gave, and those of them that hold nothing now.
    #[must_use]
    pub fn bytes(&self) -> (usize, usize) {
        let (bytes, dead) = self.table.bytes();
        (bytes + self.queues.as_ref().map_or(0, |queues| queues.bytes()), dead)
    }

    /// The hash that `prefetch_index` and `prefetch_entry` take.
    #[inline]
    #[must_use]
    pub fn prefetch_index(&self, key: &[u8]) -> u64 {
        let hash = self.table.hash(key);
        self.table.prefetch_index(hash);
        hash
    }

    #[inline]
    pub fn prefetch_entry(&self, hash: u64) {
        self.table.prefetch_entry(hash);
    }
}

/// Where a key lies in a table, or that it does not: the result of one lookup, good until the table changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    pub(super) hash: u64,
    pub(super) slot: Option<Slot>,
}

impl Place {
    /// Whether nothing is there.
    #[must_use]
    pub fn is_vacant(self) -> bool {
        self.slot.is_none()
    }

    /// The same place, without what was there.
    #[must_use]
    pub fn vacated(self) -> Self {
        Self { slot: None, ..self }
    }
}
