//! A shard: its tables, one a database, and where an entry lies in them.

use std::hash::BuildHasher;

use super::expiry::Deadlines;
use super::pages::Tracking;
use super::table::Table;
use super::value::{ShortBytes, Value};
use crate::ids::{Offset, UnixMillis};
use crate::limits;

/// A key and what it holds: 64 bytes, one cache line.
#[derive(Debug, Clone)]
#[repr(align(64))]
pub struct Entry {
    pub key: ShortBytes,
    pub value: Value,
    /// 0 = never.
    expire_at: u64,
    /// Changes with every change of the key: what WATCH compares.
    version: u32,
}

impl Entry {
    pub(super) fn new(key: ShortBytes, value: Value) -> Self {
        Self { key, value, expire_at: 0, version: 0 }
    }

    #[must_use]
    pub fn expire_at(&self) -> Option<UnixMillis> {
        (self.expire_at != 0).then_some(UnixMillis(self.expire_at))
    }

    #[inline]
    #[must_use]
    pub fn is_expired(&self, now: UnixMillis) -> bool {
        self.expire_at != 0 && self.expire_at <= now.0
    }

    #[must_use]
    pub fn version(&self) -> u32 {
        self.version
    }

    pub(super) fn touch(&mut self, version: u32) {
        self.version = version;
    }
}

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
    seed: foldhash::fast::RandomState,
}

impl Shard {
    /// One of 2^`bits`.
    pub(super) fn new(bits: u32, seed: foldhash::fast::RandomState) -> Self {
        Self {
            first: Database::new(seed.clone()),
            others: Vec::new(),
            last_offset: Offset::ZERO,
            changes: 0,
            tracking: Tracking::new(bits),
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
            let seed = &self.seed;
            self.others.resize_with(other + 1, || Database::new(seed.clone()));
        }
        &mut self.others[other]
    }

    /// Where `key` lies in a database, expired or not.
    #[inline]
    #[must_use]
    pub fn locate(&self, database: u8, key: &[u8]) -> Place {
        // The seed of every table of this shard, also of one that nobody has written to yet.
        let hash = self.seed.hash_one(key);
        let slot = self.database(database).table.slot_of(hash, |entry| entry.key.matches(key));
        Place { hash, slot }
    }

    /// The databases in use, with their numbers.
    pub fn databases(&self) -> impl Iterator<Item = (u8, &Database)> {
        std::iter::once(&self.first).chain(&self.others).zip(0..).map(|(database, index)| (index, database))
    }

    pub(super) fn flush(&mut self, database: Option<u8>) -> usize {
        let seed = self.seed.clone();
        let mut emptied = 0;
        for (table, index) in std::iter::once(&mut self.first).chain(&mut self.others).zip(0u8..) {
            if database.is_none_or(|wanted| wanted == index) {
                emptied += table.len();
                *table = Database::new(seed.clone());
            }
        }
        self.changes = self.changes.wrapping_add(1);
        if emptied > 0 {
            self.tracking.lost_any();
        }
        emptied
    }

    pub(super) fn swap(&mut self, first: u8, second: u8) {
        let seed = self.seed.clone();
        let taken = std::mem::replace(self.database_mut(first), Database::new(seed));
        let taken = std::mem::replace(self.database_mut(second), taken);
        *self.database_mut(first) = taken;
        // Whoever watches a key sees another version of it.
        for index in [first, second] {
            self.changes = self.changes.wrapping_add(1);
            let version = self.changes;
            for entry in self.database_mut(index).table.iter_mut() {
                entry.version = version;
            }
        }
    }

    /// Forgets everything: an image of this partition follows.
    pub fn reset(&mut self) {
        *self = Self::new(self.tracking.shard_bits(), self.seed.clone());
    }
}

static EMPTY: std::sync::LazyLock<Database> =
    std::sync::LazyLock::new(|| Database::new(foldhash::fast::RandomState::default()));

/// The keys of one database within one shard.
#[derive(Debug)]
pub struct Database {
    pub(super) table: Table,
    pub(super) deadlines: Deadlines,
    expiring: usize,
    seed: foldhash::fast::RandomState,
}

impl Database {
    fn new(seed: foldhash::fast::RandomState) -> Self {
        Self { table: Table::default(), deadlines: Deadlines::default(), expiring: 0, seed }
    }

    #[inline]
    pub(super) fn hash(&self, key: &[u8]) -> u64 {
        self.seed.hash_one(key)
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
        self.expiring
    }

    pub fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.table.iter()
    }

    /// All entries, for who reads their values too: those lie anywhere in the memory, so they are asked for ahead.
    pub fn iter_values(&self) -> impl Iterator<Item = &Entry> {
        let mut ahead = self.table.iter().skip(limits::VALUES_AHEAD);
        self.table.iter().inspect(move |_| {
            if let Some(entry) = ahead.next() {
                entry.value.prefetch();
            }
        })
    }

    /// The entry, expired or not.
    #[inline]
    #[must_use]
    pub fn find(&self, key: &[u8]) -> Option<&Entry> {
        self.table.find(self.hash(key), |entry| entry.key.matches(key))
    }

    /// The entry at a place, if there is one.
    #[inline]
    #[must_use]
    pub fn at(&self, place: Place) -> Option<&Entry> {
        self.table.nth(place.slot?)
    }

    /// A random entry, chosen by `random`.
    #[must_use]
    pub fn random(&self, random: u64) -> Option<&Entry> {
        let place = (random as usize).checked_rem(self.table.len())?;
        self.table.nth(place)
    }

    /// Bytes of the tables, without what the values hold outside of their entries.
    #[must_use]
    pub fn memory_usage(&self) -> usize {
        self.table.memory_usage()
    }

    /// The hash that `prefetch_index` and `prefetch_entry` take.
    #[inline]
    #[must_use]
    pub fn prefetch_index(&self, key: &[u8]) -> u64 {
        let hash = self.hash(key);
        self.table.prefetch_index(hash);
        hash
    }

    #[inline]
    pub fn prefetch_entry(&self, hash: u64) {
        self.table.prefetch_entry(hash);
    }

    #[inline]
    pub(super) fn at_mut(&mut self, slot: usize) -> Option<&mut Entry> {
        self.table.nth_mut(slot)
    }

    /// Puts a new key where `place` says that it is not, and returns its slot.
    #[inline]
    pub(super) fn insert(&mut self, place: Place, key: &[u8], value: Value) -> usize {
        debug_assert!(place.slot.is_none(), "a key stands once in its table");
        self.table.insert(place.hash, Entry::new(ShortBytes::from(key), value))
    }

    pub(super) fn remove(&mut self, slot: usize) -> Option<Entry> {
        let seed = &self.seed;
        let entry = self.table.remove(slot, |entry| seed.hash_one(entry.key.as_slice()))?;
        if entry.expire_at != 0 {
            self.expiring -= 1;
        }
        Some(entry)
    }

    /// Sets or clears the expiry of an entry. Says whether that changed anything.
    pub(super) fn set_expiry(&mut self, slot: usize, hash: u64, at: Option<UnixMillis>) -> bool {
        let Some(entry) = self.table.nth_mut(slot) else { return false };
        let at = at.map_or(0, |at| at.0.max(1));
        let before = std::mem::replace(&mut entry.expire_at, at);
        self.expiring = self.expiring + usize::from(at != 0) - usize::from(before != 0);
        if at != 0 && at != before {
            self.deadlines.push(at, hash, self.expiring);
        }
        before != at
    }
}

/// Where a key lies in a table, or that it does not: the result of one lookup, good until the table changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    pub(super) hash: u64,
    pub(super) slot: Option<usize>,
}

impl Place {
    /// The same place, without what was there.
    #[must_use]
    pub fn vacated(self) -> Self {
        Self { slot: None, ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_one_cache_line() {
        assert_eq!(size_of::<Entry>(), 64);
    }
}
