//! The table of a database within a shard: an index of hashes, and the entries side by side.
//!
//! ```text
//! index    [ hash | slot+1 ][ 0 ][ hash | slot+1 ] ...      8 bytes a cell, linear probing, at most 70 % full
//! entries  [ entry ][ entry ][ entry ] ...                  64 bytes each, aligned, no holes
//! ```
//!
//! A look-up touches two cache lines, one of each, and both addresses are known early enough to be fetched ahead when a
//! pipeline of commands is there (`prefetch_index`, `prefetch_entry`). Growing moves only the index. A removal moves the
//! last entry into the hole, so that iteration and the choice of a random entry need no search.

use super::shard::Entry;
use crate::prefetch;

/// Half of the hash, as kept in the index.
const HASH_SHIFT: u32 = 32;
const SLOT_MASK: u64 = u32::MAX as u64;
const EMPTY: u64 = 0;
/// Cells of the smallest index.
const MIN_CELLS: usize = 8;

#[derive(Debug, Default)]
pub(super) struct Table {
    /// A power of two of cells, or none.
    index: Box<[u64]>,
    entries: Vec<Entry>,
}

impl Table {
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn iter(&self) -> std::slice::Iter<'_, Entry> {
        self.entries.iter()
    }

    pub(super) fn iter_mut(&mut self) -> std::slice::IterMut<'_, Entry> {
        self.entries.iter_mut()
    }

    /// The entry at a place in the present order, for random choices.
    pub(super) fn nth(&self, place: usize) -> Option<&Entry> {
        self.entries.get(place)
    }

    #[inline]
    pub(super) fn find(&self, hash: u64, is_it: impl Fn(&Entry) -> bool) -> Option<&Entry> {
        self.cell_of(hash, is_it).map(|cell| &self.entries[slot_in(self.index[cell])])
    }

    /// The slot of an entry: good until the table changes.
    #[inline]
    pub(super) fn slot_of(&self, hash: u64, is_it: impl Fn(&Entry) -> bool) -> Option<usize> {
        self.cell_of(hash, is_it).map(|cell| slot_in(self.index[cell]))
    }

    #[inline]
    pub(super) fn nth_mut(&mut self, slot: usize) -> Option<&mut Entry> {
        self.entries.get_mut(slot)
    }

    /// Makes room for so many entries in all.
    pub(super) fn reserve(&mut self, entries: usize) {
        let cells = (entries * 10).div_ceil(7).next_power_of_two().max(MIN_CELLS);
        if cells > self.index.len() {
            self.resize(cells);
        }
        self.entries.reserve_exact(entries.saturating_sub(self.entries.len()));
    }

    /// Adds an entry whose key is not there; says in which slot.
    pub(super) fn insert(&mut self, hash: u64, entry: Entry) -> usize {
        if (self.entries.len() + 1) * 10 > self.index.len() * 7 {
            self.resize((self.index.len() * 2).max(MIN_CELLS));
        }
        if self.entries.len() == self.entries.capacity() {
            // A quarter at a time: the space that is not used yet stays small.
            self.entries.reserve_exact((self.entries.len() / 4).max(4));
        }
        let slot = self.entries.len();
        self.entries.push(entry);
        self.place(cell_value(hash, slot));
        slot
    }

    /// Takes the entry of a slot out; the last one moves there.
    pub(super) fn remove(&mut self, slot: usize, rehash: impl Fn(&Entry) -> u64) -> Option<Entry> {
        let last = self.entries.len().checked_sub(1)?;
        let cell = self.cell_with(cell_value(rehash(self.entries.get(slot)?), slot));
        self.close_gap(cell);
        let removed = self.entries.swap_remove(slot);
        if let Some(moved) = self.entries.get(slot) {
            let hash = rehash(moved);
            let cell = self.cell_with(cell_value(hash, last));
            self.index[cell] = cell_value(hash, slot);
        }
        if self.index.len() > 64 && self.entries.len() * 8 < self.index.len() {
            self.resize(self.index.len() / 4);
            self.entries.shrink_to(self.entries.len() * 2);
        }
        Some(removed)
    }

    /// Asks the memory for the cell where `hash` is looked up first.
    #[inline]
    pub(super) fn prefetch_index(&self, hash: u64) {
        if let Some(cell) = self.index.get(home(hash, self.index.len().wrapping_sub(1))) {
            prefetch::read(cell);
        }
    }

    /// Asks the memory for the entry that `hash` most likely means.
    #[inline]
    pub(super) fn prefetch_entry(&self, hash: u64) {
        if let Some(cell) = self.cell_of(hash, |_| true) {
            prefetch::read(&self.entries[slot_in(self.index[cell])]);
        }
    }

    /// Bytes of the table itself.
    pub(super) fn memory_usage(&self) -> usize {
        self.index.len() * size_of::<u64>() + self.entries.capacity() * size_of::<Entry>()
    }

    #[inline]
    fn cell_of(&self, hash: u64, is_it: impl Fn(&Entry) -> bool) -> Option<usize> {
        if self.index.is_empty() {
            return None;
        }
        let mask = self.index.len() - 1;
        let mut at = home(hash, mask);
        loop {
            let cell = self.index[at];
            if cell == EMPTY {
                return None;
            }
            if (cell ^ hash) >> HASH_SHIFT == 0 && is_it(&self.entries[slot_in(cell)]) {
                return Some(at);
            }
            at = (at + 1) & mask;
        }
    }

    /// The cell that holds exactly this value, which is there.
    fn cell_with(&self, value: u64) -> usize {
        let mask = self.index.len() - 1;
        let mut at = home(value, mask);
        while self.index[at] != value {
            at = (at + 1) & mask;
        }
        at
    }

    fn place(&mut self, value: u64) {
        let mask = self.index.len() - 1;
        let mut at = home(value, mask);
        while self.index[at] != EMPTY {
            at = (at + 1) & mask;
        }
        self.index[at] = value;
    }

    /// Empties a cell and moves those behind it that would not be found any more.
    fn close_gap(&mut self, mut gap: usize) {
        let mask = self.index.len() - 1;
        let mut at = gap;
        loop {
            at = (at + 1) & mask;
            let cell = self.index[at];
            if cell == EMPTY {
                break;
            }
            // How far the cell is from its home, and how far it would be in the gap.
            let distance = at.wrapping_sub(home(cell, mask)) & mask;
            let from_gap = at.wrapping_sub(gap) & mask;
            if distance >= from_gap {
                self.index[gap] = cell;
                gap = at;
            }
        }
        self.index[gap] = EMPTY;
    }

    fn resize(&mut self, cells: usize) {
        let old = std::mem::replace(&mut self.index, vec![EMPTY; cells].into_boxed_slice());
        for cell in old {
            if cell != EMPTY {
                self.place(cell);
            }
        }
    }
}

/// A hash's first cell: by its upper half, which the index keeps.
#[inline]
fn home(hash: u64, mask: usize) -> usize {
    (hash >> HASH_SHIFT) as usize & mask
}

#[inline]
fn cell_value(hash: u64, slot: usize) -> u64 {
    debug_assert!((slot as u64) < SLOT_MASK, "a shard holds fewer than 2^32 keys");
    hash & !SLOT_MASK | (slot as u64 + 1)
}

#[inline]
fn slot_in(cell: u64) -> usize {
    ((cell & SLOT_MASK) - 1) as usize
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use rand::rngs::StdRng;
    use rand::{Rng, SeedableRng};

    use super::*;
    use crate::keyspace::value::{ShortBytes, Value};

    /// A poor hash on purpose: long runs in the index.
    fn hash(key: &[u8]) -> u64 {
        (xxhash_rust::xxh3::xxh3_64(key) % 97) << HASH_SHIFT | 1
    }

    #[test]
    fn random_operations_agree_with_a_map() {
        let seed: u64 = rand::random();
        println!("seed {seed}");
        let mut rng = StdRng::seed_from_u64(seed);
        let (mut table, mut model) = (Table::default(), HashMap::<Vec<u8>, i64>::new());
        for step in 0..20_000i64 {
            let key = format!("k{}", rng.random_range(0..if step < 10_000 { 700 } else { 50 })).into_bytes();
            let at = hash(&key);
            let is_it = |entry: &Entry| entry.key.as_slice() == key;
            if rng.random_bool(0.5) {
                match table.slot_of(at, is_it) {
                    Some(slot) => table.nth_mut(slot).unwrap().value = Value::Integer(step),
                    None => _ = table.insert(at, Entry::new(ShortBytes::from(&key[..]), Value::Integer(step))),
                }
                model.insert(key, step);
            } else {
                let slot = table.slot_of(at, is_it);
                let removed = slot.and_then(|slot| table.remove(slot, |entry| hash(&entry.key))).is_some();
                assert_eq!(removed, model.remove(&key).is_some());
            }
            assert_eq!(table.len(), model.len());
        }
        for (key, value) in &model {
            let found = table.find(hash(key), |entry| entry.key.as_slice() == key.as_slice());
            assert!(matches!(found.map(|entry| &entry.value), Some(Value::Integer(number)) if number == value));
        }
        assert_eq!(table.iter().count(), model.len());
    }
}
