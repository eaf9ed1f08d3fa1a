//! How is a large table kept? In segments of about a thousand entries, found through a directory by the first bits of
//! an entry's scan position (extendible hashing). What a segment's entries lie in is its shelf.
//!
//! ```text
//! position 10110...     directory (2^depth slots)      segments
//!          101 -------> [000 001 010 011 100 101 110 111]
//!                          \  /   \  /    |    |    \ /
//!                           S0     S1     S2   S3    S4      S0, S1 and S4 have one bit less of depth
//! ```
//!
//! Three things follow. A scan reads the segments from its cursor on and nothing else. A table grows by splitting one
//! segment, so no command waits for a million entries to move. And within a segment the seeded hash decides, so
//! elements with prepared positions make one segment large (a slow scan) but never a slow lookup.

use super::hashing::{scan_position, table_hash};
use super::keys::{Keys, same};
use super::memory::allocated;
use super::random::below;
use super::scan::Page;
use hashbrown::HashTable;
use hashbrown::hash_table;
use rand::RngCore;

/// Entries of a full segment: what 1024 buckets hold, so a segment is born with its final size and never rehashed.
pub(super) const SEGMENT_MAX: usize = 896;
/// A segment is divided only while the average segment of its depth has this many entries, which bounds the directory
/// whatever positions the entries have.
const SPLIT_AVERAGE_MIN: usize = SEGMENT_MAX / 4;
/// Two neighbours become one when this many entries are left in both: a quarter, so that a split does not follow soon.
const MERGED_MAX: usize = SEGMENT_MAX / 4;
/// Bits of a position that a directory may use. 2^32 slots are more than memory has room for.
const DEPTH_MAX: u32 = 32;

/// What the entries of a segment lie in. `K` knows their keys.
pub(super) trait Shelf<K>: Sized {
    fn len(&self) -> usize;
    /// Places of entries, filled or not.
    fn places(&self) -> usize;
    /// Parts the entries by a bit of their positions: without it, with it.
    fn divide(self, bit: u64, keys: &K) -> (Self, Self);
    /// Takes entries in that are not there.
    fn unite(&mut self, other: Self, keys: &K);
    fn heap_bytes(&self) -> usize;
}

#[derive(Clone, Debug)]
pub(super) struct Segments<S> {
    /// Segment of every prefix of `depth` bits.
    directory: Vec<u32>,
    segments: Vec<Segment<S>>,
    /// At least 1, see `take_last`.
    depth: u32,
    /// Segments whose depth is that of the directory. With none of them the directory halves.
    deepest: usize,
    len: usize,
    /// No segment has more places, which is what makes a random pick fair.
    places_max: usize,
}

#[derive(Clone, Debug)]
struct Segment<S> {
    shelf: S,
    /// How many leading bits all positions in here share, and those bits, at the top of the word.
    depth: u32,
    prefix: u64,
}

impl<E, K: Keys<E>> Shelf<K> for HashTable<E> {
    fn len(&self) -> usize {
        HashTable::len(self)
    }

    fn places(&self) -> usize {
        self.num_buckets()
    }

    fn divide(self, bit: u64, keys: &K) -> (Self, Self) {
        let (mut lower, mut upper) = (HashTable::with_capacity(SEGMENT_MAX), HashTable::with_capacity(SEGMENT_MAX));
        for entry in self {
            let key = keys.key(&entry);
            let half = if scan_position(key) & bit == 0 { &mut lower } else { &mut upper };
            half.insert_unique(table_hash(key), entry, |e| table_hash(keys.key(e)));
        }
        (lower, upper)
    }

    fn unite(&mut self, other: Self, keys: &K) {
        for entry in other {
            let hash = table_hash(keys.key(&entry));
            self.insert_unique(hash, entry, |e| table_hash(keys.key(e)));
        }
    }

    fn heap_bytes(&self) -> usize {
        allocated(self.allocation_size())
    }
}

impl<S> Segments<S> {
    /// Divides a full shelf in two.
    pub(super) fn new<K>(shelf: S, keys: &K) -> Segments<S>
    where
        S: Shelf<K>,
    {
        let mut segments = Segments {
            len: shelf.len(),
            places_max: shelf.places(),
            directory: vec![0],
            segments: vec![Segment { shelf, depth: 0, prefix: 0 }],
            depth: 0,
            deepest: 1,
        };
        segments.split(0, keys);
        segments
    }

    #[inline]
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// What has the entry of a key, if it is there.
    #[inline]
    pub(super) fn shelf(&self, key: &[u8]) -> &S {
        &self.segments[self.segment_of(key)].shelf
    }

    /// All shelves.
    pub(super) fn shelves(&self) -> impl Iterator<Item = &S> {
        self.segments.iter().map(|segment| &segment.shelf)
    }

    /// The shelf of this number.
    #[inline]
    pub(super) fn nth(&self, number: usize) -> Option<&S> {
        self.segments.get(number).map(|segment| &segment.shelf)
    }

    /// A random shelf, and how many places any one has at the most.
    pub(super) fn random_shelf(&self, rng: &mut impl RngCore) -> (&S, usize) {
        (&self.segments[below(rng, self.segments.len())].shelf, self.places_max)
    }

    /// Makes room for an entry of a key: where it would be is not full.
    #[inline]
    fn make_room<K>(&mut self, key: &[u8], keys: &K) -> usize
    where
        S: Shelf<K>,
    {
        let mut segment = self.segment_of(key);
        while self.segments[segment].shelf.len() >= SEGMENT_MAX && self.may_split(segment) {
            self.split(segment, keys);
            segment = self.segment_of(key);
        }
        segment
    }

    /// Changes the shelf of a key, which may get an entry more or lose one.
    #[inline]
    pub(super) fn change<K, R>(&mut self, key: &[u8], keys: &K, change: impl FnOnce(&mut S) -> R) -> R
    where
        S: Shelf<K>,
    {
        let index = self.make_room(key, keys);
        let shelf = &mut self.segments[index].shelf;
        let before = shelf.len();
        let result = change(shelf);
        let after = shelf.len();
        self.places_max = self.places_max.max(shelf.places());
        self.len = self.len + after - before;
        if after < before {
            self.give_back(index, keys);
        }
        result
    }

    /// Unites a segment that has become small with its neighbours.
    #[inline]
    fn give_back<K>(&mut self, index: usize, keys: &K)
    where
        S: Shelf<K>,
    {
        // Half of `MERGED_MAX`: whichever of two neighbours shrinks last finds the other one no larger than that.
        if self.segments[index].shelf.len() <= MERGED_MAX / 2 {
            let mut shrunk = Some(index);
            while let Some(index) = shrunk {
                shrunk = self.merge(index, keys);
            }
        }
    }

    /// The shelf, when a single segment is left.
    pub(super) fn take_last(&mut self) -> Option<S> {
        if self.depth > 0 {
            return None;
        }
        self.segments.pop().map(|segment| segment.shelf)
    }

    /// Fills a page with what `offer` finds on the shelves from its cursor on.
    pub(super) fn scan<'t, T>(&'t self, page: &mut Page<T>, mut offer: impl FnMut(&'t S, &mut Page<T>)) {
        let mut from = page.first();
        loop {
            let segment = &self.segments[self.directory[self.slot(from)] as usize];
            offer(&segment.shelf, page);
            // The first position of the next segment; none after the last one.
            let Some(next) = segment.prefix.checked_add(1 << (64 - segment.depth)) else {
                return page.close(None);
            };
            if page.is_full() {
                return page.close(Some(next));
            }
            from = next;
        }
    }

    pub(super) fn heap_bytes<K>(&self, _: &K) -> usize
    where
        S: Shelf<K>,
    {
        allocated(self.directory.capacity() * size_of::<u32>())
            + allocated(self.segments.capacity() * size_of::<Segment<S>>())
            + self.shelves().map(Shelf::<K>::heap_bytes).sum::<usize>()
    }

    #[inline]
    fn segment_of(&self, key: &[u8]) -> usize {
        self.directory[self.slot(scan_position(key))] as usize
    }

    #[inline]
    fn slot(&self, position: u64) -> usize {
        (position >> (64 - self.depth)) as usize
    }

    fn may_split(&self, index: usize) -> bool {
        let depth = self.segments[index].depth;
        depth < DEPTH_MAX && self.len >> depth >= SPLIT_AVERAGE_MIN
    }

    /// Divides a segment by the next bit of its entries' positions.
    fn split<K>(&mut self, index: usize, keys: &K)
    where
        S: Shelf<K>,
    {
        let Segment { shelf, depth, prefix } = self.segments.swap_remove(index);
        if depth == self.depth {
            self.directory = self.directory.iter().flat_map(|segment| [*segment, *segment]).collect();
            self.depth += 1;
            self.deepest = 0;
        }
        let bit = 1 << (63 - depth);
        let (lower, upper) = shelf.divide(bit, keys);
        let lower = Segment { shelf: lower, depth: depth + 1, prefix };
        let upper = Segment { shelf: upper, depth: depth + 1, prefix: prefix | bit };
        for half in [&lower, &upper] {
            self.places_max = self.places_max.max(half.shelf.places());
        }
        if depth + 1 == self.depth {
            self.deepest += 2;
        }
        self.segments.push(lower);
        let last = self.segments.len() - 1;
        // It takes its old place, and the one that was moved there its own.
        self.segments.swap(index, last);
        self.segments.push(upper);
        self.point_at(index);
        self.point_at(last + 1);
    }

    /// Unites a segment with the one that differs from it in its last bit only, where both are nearly empty, and
    /// says where the union is.
    fn merge<K>(&mut self, index: usize, keys: &K) -> Option<usize>
    where
        S: Shelf<K>,
    {
        let &Segment { depth, prefix, .. } = &self.segments[index];
        if depth == 0 {
            return None;
        }
        let buddy = self.directory[self.slot(prefix ^ (1 << (64 - depth)))] as usize;
        let both = self.segments[index].shelf.len() + self.segments[buddy].shelf.len();
        if self.segments[buddy].depth != depth || both > MERGED_MAX {
            return None;
        }
        let (lower, upper) = if prefix < self.segments[buddy].prefix { (index, buddy) } else { (buddy, index) };
        // The last segment takes the place of the one that is gone.
        let last = self.segments.len() - 1;
        let gone = self.segments.swap_remove(upper);
        let kept = if lower == last { upper } else { lower };
        self.segments[kept].shelf.unite(gone.shelf, keys);
        self.segments[kept].depth = depth - 1;
        self.point_at(kept);
        if upper != last && upper != kept {
            self.point_at(upper);
        }
        if depth == self.depth {
            self.deepest -= 2;
        }
        while self.deepest == 0 {
            self.directory = self.directory.iter().copied().step_by(2).collect();
            self.depth -= 1;
            self.deepest = self.segments.iter().filter(|s| s.depth == self.depth).count();
        }
        Some(kept)
    }

    /// Enters a segment in all the slots of the directory that begin with its prefix.
    fn point_at(&mut self, index: usize) {
        let &Segment { depth, prefix, .. } = &self.segments[index];
        let slots = 1usize << (self.depth - depth);
        let first = if self.depth == 0 { 0 } else { self.slot(prefix) };
        self.directory[first..first + slots].fill(index as u32);
    }
}

pub(super) enum Entry<'t, E> {
    Occupied(&'t mut E),
    Vacant(Vacant<'t, E>),
}

pub(super) struct Vacant<'t, E> {
    place: hash_table::VacantEntry<'t, E>,
    len: &'t mut usize,
}

impl<E> Vacant<'_, E> {
    #[inline]
    pub(super) fn insert(self, entry: E) {
        self.place.insert(entry);
        *self.len += 1;
    }
}

impl<E> Segments<HashTable<E>> {
    #[inline]
    pub(super) fn get(&self, keys: &impl Keys<E>, key: &[u8]) -> Option<&E> {
        self.shelf(key).find(table_hash(key), |e| same(keys.key(e), key))
    }

    #[inline]
    pub(super) fn entry(&mut self, keys: &impl Keys<E>, key: &[u8]) -> Entry<'_, E> {
        let segment = self.make_room(key, keys);
        let table = &mut self.segments[segment].shelf;
        if table.len() == table.capacity() {
            table.reserve(1, |e| table_hash(keys.key(e)));
            self.places_max = self.places_max.max(table.num_buckets());
        }
        match table.entry(table_hash(key), |e| same(keys.key(e), key), |e| table_hash(keys.key(e))) {
            hash_table::Entry::Occupied(place) => Entry::Occupied(place.into_mut()),
            hash_table::Entry::Vacant(place) => Entry::Vacant(Vacant { place, len: &mut self.len }),
        }
    }

    #[inline]
    pub(super) fn remove(&mut self, keys: &impl Keys<E>, key: &[u8]) -> Option<E> {
        let index = self.segment_of(key);
        let table = &mut self.segments[index].shelf;
        let place = table.find_entry(table_hash(key), |e| same(keys.key(e), key)).ok()?;
        let (entry, _) = place.remove();
        self.len -= 1;
        self.give_back(index, keys);
        Some(entry)
    }

    pub(super) fn iter(&self) -> Iter<'_, E> {
        Iter { segments: self.segments.iter(), entries: None, left: self.len }
    }

    /// A random place of a random segment: an entry, or nothing, and every entry with the same probability.
    pub(super) fn probe(&self, rng: &mut impl RngCore) -> Option<&E> {
        let (table, places) = self.random_shelf(rng);
        let place = below(rng, places);
        if place < table.num_buckets() { table.get_bucket(place) } else { None }
    }
}

pub(super) struct Iter<'t, E> {
    segments: std::slice::Iter<'t, Segment<HashTable<E>>>,
    entries: Option<hash_table::Iter<'t, E>>,
    left: usize,
}

impl<'t, E> Iterator for Iter<'t, E> {
    type Item = &'t E;

    #[inline]
    fn next(&mut self) -> Option<&'t E> {
        loop {
            if let Some(entry) = self.entries.as_mut().and_then(Iterator::next) {
                self.left -= 1;
                return Some(entry);
            }
            self.entries = Some(self.segments.next()?.shelf.iter());
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}
