//! A shard: its tables, one a database, and where an entry lies in them.

use std::hash::BuildHasher;
use std::sync::Arc;

use super::access::{Access, Rule};
use super::collection::Collection;
use super::entry::About;
use super::fifo::Queues;
use super::interest::{Interested, Name, Ticket, Watch};
use super::pages::Tracking;
use super::parts::Parts;
use super::payload::New;
use super::snapshot::Snapshots;
use super::table::{self, Slot};
use super::timed::TimedHashes;
use crate::ids::Offset;
use crate::{freeing, limits};

pub use super::entry::Entry;

/// One partition of the key space.
#[derive(Debug)]
pub struct Shard {
    /// Database 0, which nearly everybody uses, without a step in between.
    first: Database,
    /// The others, as far as they are in use.
    others: Vec<Database>,
    /// The last record that changed this shard: what a read of it depends on.
    last_offset: Offset,
    /// Counts changes; gives entries their versions.
    pub(super) changes: u32,
    /// What the last checkpoint has taken.
    pub(super) tracking: Tracking,
    /// How the use of keys is noted.
    pub(super) access: Arc<Access>,
    /// Large values that are read in steps.
    pub(super) snapshots: Snapshots,
    /// Who wants to know of changes of which key.
    pub(super) interested: Interested,
    /// Hashes with fields that expire.
    pub(super) timed: TimedHashes,
    seed: foldhash::fast::RandomState,
}

impl Shard {
    /// One of 2^`bits`.
    pub(super) fn new(bits: u32, seed: foldhash::fast::RandomState, access: Arc<Access>) -> Self {
        Self {
            first: Database::new(seed.clone(), &access),
            others: Vec::new(),
            last_offset: Offset::ZERO,
            changes: 0,
            tracking: Tracking::new(bits),
            access,
            snapshots: Snapshots::default(),
            interested: Interested::default(),
            timed: TimedHashes::default(),
            seed,
        }
    }

    #[inline]
    #[must_use]
    pub fn last_offset(&self) -> Offset {
        self.last_offset
    }

    #[inline]
    pub fn changed_at(&mut self, offset: Offset) {
        self.last_offset = offset;
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.databases().all(|(_, database)| database.is_empty())
    }

    #[inline]
    #[must_use]
    pub fn database(&self, index: u8) -> &Database {
        match usize::from(index).checked_sub(1) {
            None => &self.first,
            Some(other) => self.others.get(other).unwrap_or(&EMPTY),
        }
    }

    #[inline]
    pub fn database_mut(&mut self, index: u8) -> &mut Database {
        let Some(other) = usize::from(index).checked_sub(1) else { return &mut self.first };
        if other >= self.others.len() {
            debug_assert!(index < limits::DATABASES);
            let (seed, access) = (&self.seed, &self.access);
            self.others.resize_with(other + 1, || Database::new(seed.clone(), access));
        }
        &mut self.others[other]
    }

    /// Where `key` lies in a database, expired or not.
    #[inline]
    #[must_use]
    pub fn locate(&self, database: u8, key: &[u8]) -> Place {
        // The seed of every table of this shard, also of one that nobody has written to yet.
        let hash = self.seed.hash_one(key);
        let slot = self.database(database).table.slot_of(hash, key);
        Place { hash, slot }
    }

    /// The databases in use, with their numbers.
    pub fn databases(&self) -> impl Iterator<Item = (u8, &Database)> {
        std::iter::once(&self.first).chain(&self.others).zip(0..).map(|(database, index)| (index, database))
    }

    pub(super) fn flush(&mut self, database: Option<u8>) -> usize {
        self.flush_snapshots(database);
        self.flush_deadlines(database);
        for (index, key) in self.names_of_interest(database) {
            if self.database(index).find(&key).is_some() {
                self.interested.changed(index, &key);
            }
        }
        let seed = self.seed.clone();
        let mut emptied = 0;
        for (table, index) in std::iter::once(&mut self.first).chain(&mut self.others).zip(0u8..) {
            if database.is_none_or(|wanted| wanted == index) {
                emptied += table.len();
                let keys = std::mem::replace(table, Database::new(seed.clone(), &self.access));
                if !keys.is_empty() {
                    let (bytes, _) = keys.bytes();
                    freeing::later(keys, bytes);
                }
            }
        }
        self.changes = self.changes.wrapping_add(1);
        if emptied > 0 {
            self.tracking.lost_any();
        }
        emptied
    }

    pub(super) fn swap(&mut self, first: u8, second: u8) {
        self.swap_snapshots(first, second);
        self.swap_deadlines(first, second);
        let seed = self.seed.clone();
        let empty = Database::new(seed, &self.access);
        let taken = std::mem::replace(self.database_mut(first), empty);
        let taken = std::mem::replace(self.database_mut(second), taken);
        *self.database_mut(first) = taken;
        for index in [first, second] {
            for (_, key) in self.names_of_interest(Some(index)) {
                if self.database(first).find(&key).is_some() || self.database(second).find(&key).is_some() {
                    self.interested.changed(index, &key);
                }
            }
        }
        // Whoever watches a key sees another version of it.
        for index in [first, second] {
            self.changes = self.changes.wrapping_add(1);
            let version = self.changes;
            self.database_mut(index).table.set_all_versions(version);
        }
    }

    /// Begins to queue keys in the order in which they come, or ends it.
    pub(super) fn set_queued(&mut self, is_queued: bool) {
        std::iter::once(&mut self.first).chain(&mut self.others).for_each(|keys| keys.set_queued(is_queued));
    }

    /// The keys of a database (`None`: of all) that anybody watches or waits for.
    #[must_use]
    pub fn names_of_interest(&self, database: Option<u8>) -> Vec<(u8, Vec<u8>)> {
        self.interested.get().map_or_else(Vec::new, |interest| interest.names(database).cloned().collect())
    }

    /// Lets `watch` know of every change of a key from now on.
    pub fn watch(&mut self, database: u8, key: &[u8], watch: &Arc<Watch>) {
        self.interested.watch(database, key, watch);
    }

    pub fn unwatch(&mut self, database: u8, key: &[u8], watch: &Arc<Watch>) {
        self.interested.unwatch(database, key, watch);
    }

    /// Puts a client at the end of the line for a key.
    pub fn wait(&mut self, key: &[u8], ticket: &Arc<Ticket>) {
        self.interested.wait(key, ticket);
    }

    pub fn leave(&mut self, key: &[u8], ticket: &Ticket) {
        self.interested.leave(key, ticket);
    }

    /// Whether anybody waits for any key of this shard.
    #[inline]
    #[must_use]
    pub fn has_waiters(&self) -> bool {
        self.interested.has_waiters()
    }

    /// Whether anybody waits for a key.
    #[must_use]
    pub fn is_awaited(&self, name: &Name) -> bool {
        self.interested.is_awaited(name)
    }

    /// Who waits for a key.
    pub fn waiters(&self, name: &Name) -> impl Iterator<Item = &Arc<Ticket>> {
        self.interested.waiters(name)
    }

    /// Who waits for a key and is to be served next, after `after`: the first comer first among those who want what it holds.
    #[must_use]
    pub fn next_waiter(&self, name: &Name, after: Option<&Ticket>) -> Option<&Arc<Ticket>> {
        let value = self.database(name.0).find(&name.1).map(Entry::value);
        self.interested.next_waiter(name, value, after)
    }

    /// All who wait for keys of this shard.
    pub fn all_waiters(&self) -> impl Iterator<Item = &Arc<Ticket>> {
        self.interested.all_waiters()
    }

    /// Forgets everything: an image of this partition follows.
    pub fn reset(&mut self) {
        for (index, key) in self.names_of_interest(None) {
            self.interested.changed(index, &key);
        }
        let interested = std::mem::take(&mut self.interested);
        *self = Self::new(self.tracking.shard_bits(), self.seed.clone(), Arc::clone(&self.access));
        self.interested = interested;
    }
}

static EMPTY: std::sync::LazyLock<Database> =
    std::sync::LazyLock::new(|| Database::new(foldhash::fast::RandomState::default(), &Access::default()));

/// The keys of one database within one shard.
#[derive(Debug)]
pub struct Database {
    pub(super) table: Parts<foldhash::fast::RandomState>,
    /// Where the policy goes by them.
    pub(super) queues: Option<Box<Queues>>,
}

impl Database {
    fn new(seed: foldhash::fast::RandomState, access: &Access) -> Self {
        let queues = (access.rule() == Rule::Queue).then(Box::default);
        Self { table: Parts::new(seed), queues }
    }

    /// Adds a key that is not there.
    #[inline]
    pub(super) fn insert(&mut self, hash: u64, key: &[u8], mut about: About, new: New<'_>) -> Slot {
        if let Some(access) = self.enqueue(hash) {
            about.access = access;
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
