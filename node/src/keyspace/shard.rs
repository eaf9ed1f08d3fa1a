//! A shard: its tables, one a database, and where an entry lies in them.

use std::hash::BuildHasher;

use hashbrown::HashTable;

use super::expiry::Deadlines;
use super::value::{ShortBytes, Value};
use crate::ids::{Offset, UnixMillis};
use crate::limits;

/// A key and what it holds: 64 bytes, one cache line.
#[derive(Debug, Clone)]
pub struct Entry {
    pub key: ShortBytes,
    pub value: Value,
    /// 0 = never.
    expire_at: u64,
    /// Changes with every change of the key: what WATCH compares.
    version: u32,
}

impl Entry {
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
    databases: Vec<Database>,
    /// The last record that changed this shard: what a read of it depends on.
    last_offset: Offset,
    /// Counts changes; gives entries their versions.
    pub(super) changes: u32,
    seed: foldhash::fast::RandomState,
}

impl Shard {
    pub(super) fn new(seed: foldhash::fast::RandomState) -> Self {
        Self { databases: vec![Database::new(seed.clone())], last_offset: Offset::ZERO, changes: 0, seed }
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
        self.databases.iter().all(|database| database.len() == 0)
    }

    #[inline]
    #[must_use]
    pub fn database(&self, index: u8) -> &Database {
        // A database that nobody wrote to has no table of its own; the first is always there and stands for an
        // empty one only through `EMPTY`.
        self.databases.get(usize::from(index)).unwrap_or(&EMPTY)
    }

    #[inline]
    pub fn database_mut(&mut self, index: u8) -> &mut Database {
        let index = usize::from(index);
        if index >= self.databases.len() {
            debug_assert!(index < usize::from(limits::DATABASES));
            let seed = &self.seed;
            self.databases.resize_with(index + 1, || Database::new(seed.clone()));
        }
        &mut self.databases[index]
    }

    /// Where `key` lies in a database, expired or not.
    #[inline]
    #[must_use]
    pub fn locate(&self, database: u8, key: &[u8]) -> Place {
        // The seed of every table of this shard, also of one that nobody has written to yet.
        let hash = self.seed.hash_one(key);
        let table = self.databases.get(usize::from(database));
        let bucket = table.and_then(|table| table.table.find_bucket_index(hash, |entry| entry.key.matches(key)));
        Place { hash, bucket }
    }

    /// The databases in use, with their numbers.
    pub fn databases(&self) -> impl Iterator<Item = (u8, &Database)> {
        self.databases.iter().enumerate().map(|(index, database)| (index as u8, database))
    }

    pub(super) fn flush(&mut self, database: Option<u8>) -> usize {
        let seed = self.seed.clone();
        let mut emptied = 0;
        for (index, table) in self.databases.iter_mut().enumerate() {
            if database.is_none_or(|wanted| usize::from(wanted) == index) {
                emptied += table.len();
                *table = Database::new(seed.clone());
            }
        }
        self.changes = self.changes.wrapping_add(1);
        emptied
    }

    pub(super) fn swap(&mut self, first: u8, second: u8) {
        self.database_mut(first.max(second));
        self.databases.swap(usize::from(first), usize::from(second));
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
        *self = Self::new(self.seed.clone());
    }
}

static EMPTY: std::sync::LazyLock<Database> =
    std::sync::LazyLock::new(|| Database::new(foldhash::fast::RandomState::default()));

/// The keys of one database within one shard.
#[derive(Debug)]
pub struct Database {
    pub(super) table: HashTable<Entry>,
    pub(super) deadlines: Deadlines,
    expiring: usize,
    seed: foldhash::fast::RandomState,
}

impl Database {
    fn new(seed: foldhash::fast::RandomState) -> Self {
        Self { table: HashTable::new(), deadlines: Deadlines::default(), expiring: 0, seed }
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
        self.table.is_empty()
    }

    /// Keys with a time to live.
    #[must_use]
    pub fn expiring(&self) -> usize {
        self.expiring
    }

    pub fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.table.iter()
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
        self.table.get_bucket(place.bucket?)
    }

    /// A random entry, found by probing buckets from `random`.
    #[must_use]
    pub fn random(&self, random: u64) -> Option<&Entry> {
        let buckets = self.table.num_buckets();
        if self.table.is_empty() {
            return None;
        }
        let start = random as usize % buckets;
        (0..buckets).find_map(|step| self.table.get_bucket((start + step) % buckets))
    }

    #[inline]
    pub(super) fn at_mut(&mut self, bucket: usize) -> Option<&mut Entry> {
        self.table.get_bucket_mut(bucket)
    }

    /// Puts a new key where `place` says that it is not, and returns its bucket.
    #[inline]
    pub(super) fn insert(&mut self, place: Place, key: &[u8], value: Value) -> usize {
        debug_assert!(place.bucket.is_none(), "a key stands once in its table");
        let entry = Entry { key: ShortBytes::from(key), value, expire_at: 0, version: 0 };
        let seed = &self.seed;
        self.table.insert_unique(place.hash, entry, |entry| seed.hash_one(entry.key.as_slice())).bucket_index()
    }

    pub(super) fn remove(&mut self, bucket: usize) -> Option<Entry> {
        let found = self.table.get_bucket_entry(bucket).ok()?;
        let (entry, _) = found.remove();
        if entry.expire_at != 0 {
            self.expiring -= 1;
        }
        if self.table.capacity() > 64 && self.table.len() < self.table.capacity() / 8 {
            let seed = &self.seed;
            self.table.shrink_to(self.table.len() * 2, |entry| seed.hash_one(entry.key.as_slice()));
        }
        Some(entry)
    }

    /// Sets or clears the expiry of an entry. Says whether that changed anything.
    pub(super) fn set_expiry(&mut self, bucket: usize, hash: u64, at: Option<UnixMillis>) -> bool {
        let Some(entry) = self.table.get_bucket_mut(bucket) else { return false };
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
    pub(super) bucket: Option<usize>,
}

impl Place {
    /// The same place, without what was there.
    #[must_use]
    pub fn vacated(self) -> Self {
        Self { bucket: None, ..self }
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
