//! How is a large table kept? In segments of about a thousand entries, found through a directory by the first bits of
//! an entry's scan position (extendible hashing).
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
use super::memory::allocated;
use super::scan::Page;
use super::table::{Keys, below, same};
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

#[derive(Clone, Debug)]
pub(super) struct Segments<E> {
    /// Segment of every prefix of `depth` bits.
    directory: Vec<u32>,
    segments: Vec<Segment<E>>,
    /// At least 1, see `take_last`.
    depth: u32,
    /// Segments whose depth is that of the directory. With none of them the directory halves.
    deepest: usize,
    len: usize,
    /// No segment has more buckets, which is what makes a random pick fair.
    buckets_max: usize,
}

#[derive(Clone, Debug)]
struct Segment<E> {
    table: HashTable<E>,
    /// How many leading bits all positions in here share, and those bits, at the top of the word.
    depth: u32,
    prefix: u64,
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

impl<E> Segments<E> {
    /// Divides a full table in two.
    pub(super) fn new(table: HashTable<E>, keys: &impl Keys<E>) -> Segments<E> {
        let mut segments = Segments {
            len: table.len(),
            buckets_max: table.num_buckets(),
            directory: vec![0],
            segments: vec![Segment { table, depth: 0, prefix: 0 }],
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

    #[inline]
    pub(super) fn get(&self, keys: &impl Keys<E>, key: &[u8]) -> Option<&E> {
        self.segments[self.segment_of(key)].table.find(table_hash(key), |e| same(keys.key(e), key))
    }

    #[inline]
    pub(super) fn entry(&mut self, keys: &impl Keys<E>, key: &[u8]) -> Entry<'_, E> {
        let mut segment = self.segment_of(key);
        while self.segments[segment].table.len() >= SEGMENT_MAX && self.may_split(segment) {
            self.split(segment, keys);
            segment = self.segment_of(key);
        }
        let table = &mut self.segments[segment].table;
        if table.len() == table.capacity() {
            table.reserve(1, |e| table_hash(keys.key(e)));
            self.buckets_max = self.buckets_max.max(table.num_buckets());
        }
        match table.entry(table_hash(key), |e| same(keys.key(e), key), |e| table_hash(keys.key(e))) {
            hash_table::Entry::Occupied(place) => Entry::Occupied(place.into_mut()),
            hash_table::Entry::Vacant(place) => Entry::Vacant(Vacant { place, len: &mut self.len }),
        }
    }

    #[inline]
    pub(super) fn remove(&mut self, keys: &impl Keys<E>, key: &[u8]) -> Option<E> {
        let index = self.segment_of(key);
        let table = &mut self.segments[index].table;
        let place = table.find_entry(table_hash(key), |e| same(keys.key(e), key)).ok()?;
        let (entry, _) = place.remove();
        self.len -= 1;
        // Half of `MERGED_MAX`: whichever of two neighbours shrinks last finds the other one no larger than that.
        if self.segments[index].table.len() <= MERGED_MAX / 2 {
            let mut shrunk = Some(index);
            while let Some(index) = shrunk {
                shrunk = self.merge(index, keys);
            }
        }
        Some(entry)
    }

    /// The table, when a single segment is left.
    pub(super) fn take_last(&mut self) -> Option<HashTable<E>> {
        if self.depth > 0 {
            return None;
        }
        self.segments.pop().map(|segment| segment.table)
    }

    pub(super) fn iter(&self) -> Iter<'_, E> {
        Iter { segments: self.segments.iter(), entries: None, left: self.len }
    }

    /// A random bucket of a random segment: an entry, or nothing, and every entry with the same probability.
    pub(super) fn probe(&self, rng: &mut impl RngCore) -> Option<&E> {
        let segment = &self.segments[below(rng, self.segments.len())];
        let bucket = below(rng, self.buckets_max);
        if bucket < segment.table.num_buckets() { segment.table.get_bucket(bucket) } else { None }
    }

    pub(super) fn scan<'t>(&'t self, keys: &impl Keys<E>, page: &mut Page<'t, E>) {
        let mut from = page.cursor();
        loop {
            let segment = &self.segments[self.directory[self.slot(from)] as usize];
            for entry in &segment.table {
                page.offer(scan_position(keys.key(entry)), entry);
            }
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

    pub(super) fn heap_bytes(&self) -> usize {
        allocated(self.directory.capacity() * size_of::<u32>())
            + allocated(self.segments.capacity() * size_of::<Segment<E>>())
            + self.segments.iter().map(|s| allocated(s.table.allocation_size())).sum::<usize>()
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
    fn split(&mut self, index: usize, keys: &impl Keys<E>) {
        if self.segments[index].depth == self.depth {
            self.directory = self.directory.iter().flat_map(|segment| [*segment, *segment]).collect();
            self.depth += 1;
            self.deepest = 0;
        }
        let segment = &mut self.segments[index];
        segment.depth += 1;
        let bit = 1 << (64 - segment.depth);
        let full = std::mem::replace(&mut segment.table, HashTable::with_capacity(SEGMENT_MAX));
        let mut upper = HashTable::with_capacity(SEGMENT_MAX);
        for entry in full {
            let key = keys.key(&entry);
            let half = if scan_position(key) & bit == 0 { &mut segment.table } else { &mut upper };
            half.insert_unique(table_hash(key), entry, |e| table_hash(keys.key(e)));
        }
        let upper = Segment { table: upper, depth: segment.depth, prefix: segment.prefix | bit };
        for half in [&*segment, &upper] {
            self.buckets_max = self.buckets_max.max(half.table.num_buckets());
        }
        if upper.depth == self.depth {
            self.deepest += 2;
        }
        self.segments.push(upper);
        self.point_at(self.segments.len() - 1);
    }

    /// Unites a segment with the one that differs from it in its last bit only, where both are nearly empty, and
    /// says where the union is.
    fn merge(&mut self, index: usize, keys: &impl Keys<E>) -> Option<usize> {
        let &Segment { depth, prefix, .. } = &self.segments[index];
        if depth == 0 {
            return None;
        }
        let buddy = self.directory[self.slot(prefix ^ (1 << (64 - depth)))] as usize;
        let both = self.segments[index].table.len() + self.segments[buddy].table.len();
        if self.segments[buddy].depth != depth || both > MERGED_MAX {
            return None;
        }
        let (lower, upper) = if prefix < self.segments[buddy].prefix { (index, buddy) } else { (buddy, index) };
        let entries = std::mem::take(&mut self.segments[upper].table);
        let table = &mut self.segments[lower].table;
        for entry in entries {
            let hash = table_hash(keys.key(&entry));
            table.insert_unique(hash, entry, |e| table_hash(keys.key(e)));
        }
        self.segments[lower].depth = depth - 1;
        self.point_at(lower);
        // The last segment takes the place of the one that is gone.
        let last = self.segments.len() - 1;
        self.segments.swap_remove(upper);
        if upper != last {
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
        Some(if lower == last { upper } else { lower })
    }

    /// Enters a segment in all the slots of the directory that begin with its prefix.
    fn point_at(&mut self, index: usize) {
        let &Segment { depth, prefix, .. } = &self.segments[index];
        let slots = 1usize << (self.depth - depth);
        let first = if self.depth == 0 { 0 } else { self.slot(prefix) };
        self.directory[first..first + slots].fill(index as u32);
    }
}

pub(super) struct Iter<'t, E> {
    segments: std::slice::Iter<'t, Segment<E>>,
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
            self.entries = Some(self.segments.next()?.table.iter());
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}
