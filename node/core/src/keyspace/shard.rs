//! A shard: its databases, and what is known of all of them together.

use std::hash::BuildHasher;
use std::sync::Arc;

use super::access::Access;
use super::database::{Database, EMPTY, Place};
use super::entry::Entry;
use super::interest::{Interested, Name, Ticket, Watch};
use super::snapshot::Snapshots;
use super::timed::TimedHashes;
use super::tracking::Tracking;
use crate::ids::Offset;
use crate::{freeing, limits};

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
        *self = Self::new(self.tracking.shard_bits, self.seed.clone(), Arc::clone(&self.access));
        self.interested = interested;
    }
}
