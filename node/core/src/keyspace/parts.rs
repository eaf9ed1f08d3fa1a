//! The tables of a database within a shard. A large one is kept in parts, so that none of them is ever rebuilt for long.
//!
//! ```text
//! number of a part   lower bits of the upper half of the seeded hash: as many as there are parts (linear hashing)
//!
//! 4 parts   00  01  10  11
//! 5 parts  000  01  10  11  100        the next part that is divided gives the entries with one bit more to a new one
//! ```
//!
//! Parts have four to eight thousand entries: growing, compacting or dividing one takes some hundred microseconds.
//!
//! **Invariant:** an entry lies in the part that its hash says.

use std::hash::BuildHasher;

use super::collection::{Boxed, Collection};
use super::entry::{About, Entry};
use super::payload::New;
use super::table::{Slot, Table};
use super::value::ShortBytes;
use super::value::space::Room;
use crate::ids::UnixMillis;

/// Entries of a part on average, above which there is one part more.
const PART_ENTRIES: usize = 4096;
/// Below so many there is one part less.
const PART_ENTRIES_MIN: usize = PART_ENTRIES / 4;
/// Parts at the most: their number is part of a slot.
const PARTS_MAX: usize = 1 << 16;

#[derive(Debug)]
pub(super) struct Parts<S> {
    /// Most databases have no other one.
    first: Table<S>,
    others: Vec<Table<S>>,
    /// Entries of all.
    len: usize,
}

impl<S: BuildHasher + Clone> Parts<S> {
    pub(super) fn new(seed: S) -> Self {
        Self { first: Table::new(seed), others: Vec::new(), len: 0 }
    }

    #[inline]
    pub(super) fn hash(&self, key: &[u8]) -> u64 {
        self.first.hash(key)
    }

    fn count(&self) -> usize {
        1 + self.others.len()
    }

    fn all(&self) -> impl DoubleEndedIterator<Item = &Table<S>> + Clone {
        std::iter::once(&self.first).chain(&self.others)
    }

    fn all_mut(&mut self) -> impl Iterator<Item = &mut Table<S>> {
        std::iter::once(&mut self.first).chain(&mut self.others)
    }

    #[inline]
    fn part(&self, number: usize) -> &Table<S> {
        match number.checked_sub(1) {
            None => &self.first,
            Some(other) => &self.others[other],
        }
    }

    #[inline]
    fn part_mut(&mut self, number: usize) -> &mut Table<S> {
        match number.checked_sub(1) {
            None => &mut self.first,
            Some(other) => &mut self.others[other],
        }
    }

    #[inline]
    fn number_of(&self, hash: u64) -> usize {
        if self.others.is_empty() { 0 } else { number_of((hash >> 32) as u32, self.count()) }
    }

    #[inline]
    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn expiring(&self) -> usize {
        self.all().map(Table::expiring).sum()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = Entry<'_>> + Clone {
        self.all().flat_map(Table::iter)
    }

    /// Bytes that the tables have of the allocator, and those of them that hold nothing.
    pub(super) fn bytes(&self) -> (usize, usize) {
        let parts = self.others.capacity() * size_of::<Table<S>>();
        self.all().map(Table::bytes).fold((parts, 0), |sum, bytes| (sum.0 + bytes.0, sum.1 + bytes.1))
    }

    #[inline]
    pub(super) fn slot_of(&self, hash: u64, key: &[u8]) -> Option<Slot> {
        let number = self.number_of(hash);
        self.part(number).slot_of(hash, key).map(|slot| slot.of_part(number))
    }

    /// The slot of an entry whose hash has this upper half.
    pub(super) fn slot_of_half(&self, half: u32) -> Option<Slot> {
        let number = number_of(half, self.count());
        self.part(number).slot_of_half(half).map(|slot| slot.of_part(number))
    }

    #[inline]
    pub(super) fn find(&self, hash: u64, key: &[u8]) -> Option<Entry<'_>> {
        self.part(self.number_of(hash)).find(hash, key)
    }

    /// The entry of a slot.
    #[inline]
    pub(super) fn at(&self, slot: Slot) -> Entry<'_> {
        self.part(slot.part()).at(slot)
    }

    /// A random entry, each about as likely.
    pub(super) fn random(&self, mut random: impl FnMut() -> u64) -> Option<Entry<'_>> {
        // A part by the weight of its entries.
        let mut left = ((u128::from(random()) * self.len() as u128) >> 64) as usize;
        for part in self.all() {
            match left.checked_sub(part.len()) {
                Some(rest) => left = rest,
                None => return part.random(random),
            }
        }
        None
    }

    /// Entries from a random bucket on, all of them once; `wanted` ends the walk with `false`.
    pub(super) fn each_from(&self, random: u64, mut wanted: impl FnMut(Entry<'_>) -> bool) {
        let mut goes_on = true;
        for part in self.all_from(random) {
            part.each_from(random, |entry| {
                goes_on = wanted(entry);
                goes_on
            });
            if !goes_on {
                return;
            }
        }
    }

    /// As `each_from`, without buckets in which nothing expires.
    pub(super) fn each_expiring_from(&self, random: u64, mut wanted: impl FnMut(Entry<'_>) -> bool) {
        let mut goes_on = true;
        for part in self.all_from(random) {
            part.each_expiring_from(random, |entry| {
                goes_on = wanted(entry);
                goes_on
            });
            if !goes_on {
                return;
            }
        }
    }

    /// All parts from a random one on. The upper bits of the number choose a bucket: these are others.
    fn all_from(&self, random: u64) -> impl Iterator<Item = &Table<S>> {
        let first = random as u32 as usize % self.count();
        self.all().skip(first).chain(self.all().take(first))
    }

    /// Makes room for so many entries in all.
    pub(super) fn reserve(&mut self, entries: usize) {
        if self.len() == 0 {
            while self.count() < (entries / PART_ENTRIES).min(PARTS_MAX) {
                let new = self.first.like();
                self.others.push(new);
            }
        }
        // Hashes are spread: a part gets a little more or less than the others, and twice as much if it is still to be divided.
        let (count, whole) = (self.count(), entries + entries / 32);
        let level = 1 << count.ilog2();
        for number in 0..count {
            let is_divided = number < count - level || number >= level;
            let share = whole / if is_divided { 2 * level } else { level };
            self.part_mut(number).reserve(share);
        }
    }

    /// Adds a key that is not there. Says in which slot.
    #[inline]
    pub(super) fn insert(&mut self, hash: u64, key: &[u8], about: About, new: New<'_>) -> Slot {
        if self.len >= self.count() * PART_ENTRIES && self.count() < PARTS_MAX {
            self.divide();
        }
        self.len += 1;
        let number = self.number_of(hash);
        self.part_mut(number).insert(hash, key, about, new).of_part(number)
    }

    #[inline]
    pub(super) fn replace(&mut self, slot: Slot, key: &[u8], version: u32, expire_at: u64, new: New<'_>) {
        self.part_mut(slot.part()).replace(slot, key, version, expire_at, new);
    }

    pub(super) fn change_text(
        &mut self,
        slot: Slot,
        key: &[u8],
        version: u32,
        change: impl FnOnce(&mut Vec<u8>),
    ) -> Option<usize> {
        self.part_mut(slot.part()).change_text(slot, key, version, change)
    }

    pub(super) fn make_shared(&mut self, slot: Slot, key: &[u8]) {
        self.part_mut(slot.part()).make_shared(slot, key);
    }

    pub(super) fn set_expiry(&mut self, slot: Slot, expire_at: u64) -> bool {
        self.part_mut(slot.part()).set_expiry(slot, expire_at)
    }

    #[inline]
    pub(super) fn set_version(&mut self, slot: Slot, version: u32) {
        self.part_mut(slot.part()).set_version(slot, version);
    }

    pub(super) fn set_all_versions(&mut self, version: u32) {
        self.all_mut().for_each(|part| part.set_all_versions(version));
    }

    #[inline]
    pub(super) fn collection(&mut self, slot: Slot) -> Option<Boxed<'_>> {
        self.part_mut(slot.part()).collection(slot)
    }

    #[inline]
    pub(super) fn change<C: Collection, R>(
        &mut self,
        slot: Slot,
        key: &[u8],
        version: u32,
        within: impl FnOnce(u8, &mut Room<'_>) -> Option<(R, bool)>,
        change: impl FnOnce(&mut C) -> (R, bool),
    ) -> Option<R> {
        let part = self.part_mut(slot.part());
        let before = part.len();
        let result = part.change(slot, key, version, within, change);
        let after = part.len();
        self.len = self.len + after - before;
        result
    }

    pub(super) fn remove(&mut self, slot: Slot) {
        self.len -= 1;
        self.part_mut(slot.part()).remove(slot);
    }

    /// To be called after changes of a key with this hash, when no slot is kept any more: gives back what is not needed where that
    /// pays.
    #[inline]
    pub(super) fn tidy(&mut self, hash: u64) {
        let number = self.number_of(hash);
        self.part_mut(number).tidy();
        if number > 0 && self.len < self.count() * PART_ENTRIES_MIN {
            self.unite();
        }
    }

    /// Keys that are due at `now`, `most` at the most. They are to be removed: the hints forget them.
    pub(super) fn due(&mut self, now: UnixMillis, most: usize) -> Vec<ShortBytes> {
        let mut due = Vec::new();
        for part in self.all_mut() {
            if due.len() < most && part.may_be_due(now) {
                due.extend(part.due(now, most - due.len()));
            }
        }
        due
    }

    /// Whether a key may be due at `now`.
    #[inline]
    pub(super) fn may_be_due(&self, now: UnixMillis) -> bool {
        self.all().any(|part| part.may_be_due(now))
    }

    #[inline]
    pub(super) fn prefetch_index(&self, hash: u64) {
        self.part(self.number_of(hash)).prefetch_index(hash);
    }

    /// Asks for the entries that may be the one with this hash.
    #[inline]
    pub(super) fn prefetch_entry(&self, hash: u64) {
        self.part(self.number_of(hash)).prefetch_entry(hash);
    }

    #[cold]
    fn divide(&mut self) {
        let count = self.count();
        let next = count - (1 << count.ilog2());
        let new = self.part_mut(next).divide(|half| number_of(half, count + 1) == count);
        if self.others.len() == self.others.capacity() {
            self.others.reserve_exact((count / 4).max(1));
        }
        self.others.push(new);
    }

    #[cold]
    fn unite(&mut self) {
        if let Some(last) = self.others.pop() {
            let number = self.count();
            self.part_mut(number - (1 << number.ilog2())).absorb(last);
            self.others.shrink_to(self.others.len() * 2);
        }
    }

    /// What has to hold.
    #[cfg(test)]
    pub(super) fn check(&self) {
        assert_eq!(self.all().map(Table::len).sum::<usize>(), self.len);
        for (number, part) in self.all().enumerate() {
            part.check();
            for entry in part.iter() {
                assert_eq!(self.number_of(self.hash(entry.key())), number, "an entry lies in its part");
            }
        }
    }

    #[cfg(test)]
    fn largest(&self) -> usize {
        self.all().map(Table::len).max().unwrap_or(0)
    }
}

/// The part of a hash with this upper half, of so many parts.
#[inline]
fn number_of(half: u32, count: usize) -> usize {
    let level = 1usize << count.ilog2();
    let number = half as usize & (2 * level - 1);
    if number < count { number } else { number & (level - 1) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keyspace::value::ValueRef;

    type Seeded = foldhash::fast::RandomState;

    fn put(parts: &mut Parts<Seeded>, number: u64, expire_at: u64) {
        let key = number.to_string().into_bytes();
        let hash = parts.hash(&key);
        let about = About { version: 1, access: 0, expire_at };
        match parts.slot_of(hash, &key) {
            Some(slot) => parts.replace(slot, &key, 2, expire_at, New::Integer(number as i64)),
            None => _ = parts.insert(hash, &key, about, New::Integer(number as i64)),
        }
        parts.tidy(hash);
    }

    fn remove(parts: &mut Parts<Seeded>, number: u64) {
        let key = number.to_string().into_bytes();
        let hash = parts.hash(&key);
        let slot = parts.slot_of(hash, &key).expect("the key is there");
        parts.remove(slot);
        parts.tidy(hash);
    }

    fn has(parts: &Parts<Seeded>, number: u64) -> bool {
        let key = number.to_string().into_bytes();
        let found = parts.find(parts.hash(&key), &key).map(Entry::value);
        assert!(found.is_none() || found == Some(ValueRef::Integer(number as i64)));
        found.is_some()
    }

    #[test]
    fn parts_come_and_go_with_the_keys() {
        const KEYS: u64 = 60_000;
        let mut parts = Parts::new(Seeded::default());
        for number in 0..KEYS {
            put(&mut parts, number, if number % 3 == 0 { 1_750_000_000_000 + number } else { 0 });
            if number % 7_000 == 0 {
                parts.check();
            }
        }
        parts.check();
        assert_eq!((parts.len(), parts.expiring()), (KEYS as usize, KEYS as usize / 3));
        assert_eq!(parts.count(), (KEYS as usize).div_ceil(PART_ENTRIES));
        assert!(parts.largest() < 2 * PART_ENTRIES + PART_ENTRIES / 2, "{} in one part", parts.largest());
        assert!((0..KEYS).all(|number| has(&parts, number)) && !has(&parts, KEYS));
        assert!((0..KEYS).all(|number| {
            let hash = parts.hash(number.to_string().as_bytes());
            parts.slot_of_half((hash >> 32) as u32).is_some()
        }));
        let mut seen: Vec<Vec<u8>> = parts.iter().map(|entry| entry.key().to_vec()).collect();
        seen.sort();
        seen.dedup();
        assert_eq!(seen.len(), KEYS as usize);
        let mut walked = 0;
        parts.each_from(rand::random(), |_| {
            walked += 1;
            true
        });
        assert_eq!(walked, KEYS as usize);
        for number in 0..KEYS - 100 {
            remove(&mut parts, number);
            if number % 7_000 == 0 {
                parts.check();
            }
        }
        parts.check();
        assert!(parts.count() <= 2 && parts.len() == 100, "{} parts of 100 keys", parts.count());
        assert!((0..KEYS).all(|number| has(&parts, number) == (number >= KEYS - 100)));
    }

    #[test]
    fn what_is_due_is_found_in_every_part() {
        const START: u64 = 1_750_000_000_000;
        let mut parts = Parts::new(Seeded::default());
        (0..20_000).for_each(|number| put(&mut parts, number, START + number % 2 * 1_000_000));
        let (now, mut gone) = (UnixMillis(START + 1_000), 0);
        while parts.may_be_due(now) {
            let due = parts.due(now, 100);
            if due.is_empty() {
                break;
            }
            for key in due {
                let slot = parts.slot_of(parts.hash(&key), &key).expect("what is due is there");
                parts.remove(slot);
                gone += 1;
            }
        }
        assert_eq!((gone, parts.len()), (10_000, 10_000));
        parts.check();
    }

    #[test]
    fn room_that_was_reserved_is_enough() {
        let mut parts = Parts::new(Seeded::default());
        parts.reserve(50_000);
        let (before, count) = (parts.bytes().0, parts.count());
        let all: usize = parts.all().map(|part| part.bytes().0).sum();
        (0..50_000).for_each(|number| put(&mut parts, number, 0));
        assert!(before > 0 && all > 0 && parts.count() <= count + 1, "{} parts, {count} reserved", parts.count());
        parts.check();
    }

    #[test]
    fn random_entries_come_from_all_parts() {
        let mut parts = Parts::new(Seeded::default());
        (0..30_000).for_each(|number| put(&mut parts, number, 0));
        let mut met = vec![0; parts.count()];
        for _ in 0..8_000 {
            let entry = parts.random(rand::random::<u64>).expect("there are entries");
            met[parts.number_of(parts.hash(entry.key()))] += 1;
        }
        assert!(met.iter().all(|times| *times > 8_000 / met.len() / 4), "{met:?}");
    }
}
