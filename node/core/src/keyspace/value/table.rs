//! How are the members of a large sorted set found? By a table that changes its form with its size:
//!
//! ```text
//! up to 16 elements    a vector, searched from its start (of a collection that was large: small ones are packed)
//! up to 896            one hash table
//! beyond               segments of one hash table each, see `segments`
//! ```
//!
//! The table holds entries and does not know where their keys are: in the entry, or beside it (`Keys`).

use super::hashing::{scan_position, table_hash};
use super::keys::{Keys, same};
use super::memory::allocated;
use super::random::{PROBES_MAX, below};
use super::scan::{Page, WHOLE_MAX};
use super::segments::{self, SEGMENT_MAX, Segments};
use hashbrown::HashTable;
use hashbrown::hash_table;
use rand::RngCore;

const SMALL_MAX: usize = 16;
/// A table this small becomes a vector again. Half of `SMALL_MAX`, so that a size in between does not flap.
const SMALL_AGAIN: usize = SMALL_MAX / 2;
#[derive(Clone, Debug)]
pub(super) enum Table<E> {
    Small(Vec<E>),
    Single(HashTable<E>),
    Segmented(Box<Segments<HashTable<E>>>),
}

/// The outcome of a lookup that may insert.
pub(super) enum Entry<'t, E> {
    Occupied(&'t mut E),
    Vacant(Vacant<'t, E>),
}

pub(super) enum Vacant<'t, E> {
    Small(&'t mut Vec<E>),
    Single(hash_table::VacantEntry<'t, E>),
    Segmented(segments::Vacant<'t, E>),
}

impl<E> Vacant<'_, E> {
    /// The entry must have the key that was looked up.
    #[inline]
    pub(super) fn insert(self, entry: E) {
        match self {
            Vacant::Small(entries) => entries.push(entry),
            Vacant::Single(place) => {
                place.insert(entry);
            }
            Vacant::Segmented(place) => place.insert(entry),
        }
    }
}

impl<E> Table<E> {
    pub(super) const fn new() -> Table<E> {
        Table::Small(Vec::new())
    }

    #[inline]
    pub(super) fn len(&self) -> usize {
        match self {
            Table::Small(entries) => entries.len(),
            Table::Single(table) => table.len(),
            Table::Segmented(segments) => segments.len(),
        }
    }

    #[inline]
    pub(super) fn get(&self, keys: &impl Keys<E>, key: &[u8]) -> Option<&E> {
        match self {
            Table::Small(entries) => entries.iter().find(|e| same(keys.key(e), key)),
            Table::Single(table) => table.find(table_hash(key), |e| same(keys.key(e), key)),
            Table::Segmented(segments) => segments.get(keys, key),
        }
    }

    /// Looks `key` up and, where it is missing, gives the place in which to put it.
    #[inline]
    pub(super) fn entry(&mut self, keys: &impl Keys<E>, key: &[u8]) -> Entry<'_, E> {
        let mut found = None;
        match self {
            Table::Small(entries) => {
                found = entries.iter().position(|e| same(keys.key(e), key));
                if found.is_none() && entries.len() == SMALL_MAX {
                    *self = Table::Single(single(std::mem::take(entries), keys));
                }
            }
            Table::Single(table) if table.len() >= SEGMENT_MAX => {
                *self = Table::Segmented(Box::new(Segments::new(std::mem::take(table), keys)));
            }
            Table::Single(_) | Table::Segmented(_) => {}
        }
        match self {
            Table::Small(entries) => match found {
                Some(index) => Entry::Occupied(&mut entries[index]),
                None => Entry::Vacant(Vacant::Small(entries)),
            },
            Table::Single(table) => {
                match table.entry(table_hash(key), |e| same(keys.key(e), key), |e| table_hash(keys.key(e))) {
                    hash_table::Entry::Occupied(place) => Entry::Occupied(place.into_mut()),
                    hash_table::Entry::Vacant(place) => Entry::Vacant(Vacant::Single(place)),
                }
            }
            Table::Segmented(segments) => match segments.entry(keys, key) {
                segments::Entry::Occupied(entry) => Entry::Occupied(entry),
                segments::Entry::Vacant(place) => Entry::Vacant(Vacant::Segmented(place)),
            },
        }
    }

    #[inline]
    pub(super) fn remove(&mut self, keys: &impl Keys<E>, key: &[u8]) -> Option<E> {
        match self {
            Table::Small(entries) => {
                let index = entries.iter().position(|e| same(keys.key(e), key))?;
                Some(entries.swap_remove(index))
            }
            Table::Single(table) => {
                let place = table.find_entry(table_hash(key), |e| same(keys.key(e), key)).ok()?;
                let (entry, _) = place.remove();
                if table.len() <= SMALL_AGAIN {
                    *self = Table::Small(table.drain().collect());
                } else if table.len() < table.num_buckets() / 8 {
                    table.shrink_to(table.len() * 2, |e| table_hash(keys.key(e)));
                }
                Some(entry)
            }
            Table::Segmented(segments) => {
                let entry = segments.remove(keys, key)?;
                if let Some(last) = segments.take_last() {
                    *self = Table::Single(last);
                }
                Some(entry)
            }
        }
    }

    pub(super) fn iter(&self) -> Iter<'_, E> {
        match self {
            Table::Small(entries) => Iter::Small(entries.iter()),
            Table::Single(table) => Iter::Single(table.iter()),
            Table::Segmented(segments) => Iter::Segmented(segments.iter()),
        }
    }

    /// An entry, each with the same probability, in constant expected time.
    pub(super) fn random(&self, rng: &mut impl RngCore) -> Option<&E> {
        if self.len() == 0 {
            return None;
        }
        for _ in 0..PROBES_MAX {
            let hit = match self {
                Table::Small(entries) => entries.get(below(rng, entries.len())),
                Table::Single(table) => table.get_bucket(below(rng, table.num_buckets())),
                Table::Segmented(segments) => segments.probe(rng),
            };
            if hit.is_some() {
                return hit;
            }
        }
        self.iter().nth(below(rng, self.len()))
    }

    /// One page of a scan, see `scan`.
    pub(super) fn scan(&self, keys: &impl Keys<E>, cursor: u64, count: usize) -> (u64, Vec<&E>) {
        if self.len() <= WHOLE_MAX {
            return (0, self.iter().collect());
        }
        let mut page = Page::new(cursor, count);
        match self {
            Table::Segmented(segments) => segments.scan(&mut page, |table, page| {
                for entry in table {
                    page.offer(scan_position(keys.key(entry)), entry);
                }
            }),
            Table::Small(_) | Table::Single(_) => {
                for entry in self.iter() {
                    page.offer(scan_position(keys.key(entry)), entry);
                }
                page.close(None);
            }
        }
        page.finish()
    }

    /// Bytes of the table itself, without what its entries own elsewhere.
    pub(super) fn heap_bytes(&self, keys: &impl Keys<E>) -> usize {
        match self {
            Table::Small(entries) => allocated(entries.capacity() * size_of::<E>()),
            Table::Single(table) => allocated(table.allocation_size()),
            Table::Segmented(segments) => allocated(size_of_val(&**segments)) + segments.heap_bytes(keys),
        }
    }
}

fn single<E>(entries: Vec<E>, keys: &impl Keys<E>) -> HashTable<E> {
    let mut table = HashTable::with_capacity(2 * SMALL_MAX);
    for entry in entries {
        let hash = table_hash(keys.key(&entry));
        table.insert_unique(hash, entry, |e| table_hash(keys.key(e)));
    }
    table
}

pub(super) enum Iter<'t, E> {
    Small(std::slice::Iter<'t, E>),
    Single(hash_table::Iter<'t, E>),
    Segmented(segments::Iter<'t, E>),
}

impl<'t, E> Iterator for Iter<'t, E> {
    type Item = &'t E;

    #[inline]
    fn next(&mut self) -> Option<&'t E> {
        match self {
            Iter::Small(entries) => entries.next(),
            Iter::Single(entries) => entries.next(),
            Iter::Segmented(entries) => entries.next(),
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        match self {
            Iter::Small(entries) => entries.size_hint(),
            Iter::Single(entries) => entries.size_hint(),
            Iter::Segmented(entries) => entries.size_hint(),
        }
    }
}

impl<E> ExactSizeIterator for Iter<'_, E> {}
