//! What is a hash? Fields with a value each, in no order of their own.

use super::memory::{self, Heap};
use super::short_bytes::ShortBytes;
use super::table::{self, Entry, Keys, Table};
use rand::RngCore;

/// A map from field to value.
#[derive(Clone, Debug)]
pub struct Hash {
    fields: Table<Field>,
}

#[derive(Clone, Debug)]
struct Field {
    name: ShortBytes,
    value: ShortBytes,
}

struct Names;

impl Keys<Field> for Names {
    #[inline]
    fn key<'a>(&'a self, field: &'a Field) -> &'a [u8] {
        &field.name
    }
}

impl Field {
    fn pair(&self) -> (&ShortBytes, &ShortBytes) {
        (&self.name, &self.value)
    }
}

impl Heap for Field {
    fn heap_bytes(&self) -> usize {
        self.name.heap_bytes() + self.value.heap_bytes()
    }
}

impl Hash {
    pub const fn new() -> Hash {
        Hash { fields: Table::new() }
    }

    #[inline]
    pub fn len(&self) -> usize {
        self.fields.len()
    }

    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    #[inline]
    pub fn get(&self, field: &[u8]) -> Option<&ShortBytes> {
        self.fields.get(&Names, field).map(|found| &found.value)
    }

    #[inline]
    pub fn get_mut(&mut self, field: &[u8]) -> Option<&mut ShortBytes> {
        self.fields.get_mut(&Names, field).map(|found| &mut found.value)
    }

    #[inline]
    pub fn contains(&self, field: &[u8]) -> bool {
        self.fields.get(&Names, field).is_some()
    }

    /// Sets a field and returns whether it is new.
    #[inline]
    pub fn set(&mut self, field: &[u8], value: ShortBytes) -> bool {
        match self.fields.entry(&Names, field) {
            Entry::Occupied(found) => {
                found.value = value;
                false
            }
            Entry::Vacant(place) => {
                place.insert(Field { name: ShortBytes::from(field), value });
                true
            }
        }
    }

    /// Removes a field and returns its value.
    #[inline]
    pub fn remove(&mut self, field: &[u8]) -> Option<ShortBytes> {
        self.fields.remove(&Names, field).map(|removed| removed.value)
    }

    pub fn iter(&self) -> Iter<'_> {
        Iter(self.fields.iter())
    }

    /// A field and its value, each field with the same probability.
    pub fn random(&self, rng: &mut impl RngCore) -> Option<(&ShortBytes, &ShortBytes)> {
        self.fields.random(rng).map(Field::pair)
    }

    /// The next cursor (0: the end) and the fields from `cursor` on, see `scan`.
    pub fn scan(&self, cursor: u64, count: usize) -> (u64, Vec<(&ShortBytes, &ShortBytes)>) {
        let (next, fields) = self.fields.scan(&Names, cursor, count);
        (next, fields.into_iter().map(Field::pair).collect())
    }

    /// Bytes taken in all, judged by `samples` fields (0: all of them).
    pub fn memory_usage(&self, samples: usize) -> usize {
        size_of::<Hash>() + self.fields.heap_bytes() + memory::sampled(self.fields.iter(), self.len(), samples)
    }
}

impl Default for Hash {
    fn default() -> Hash {
        Hash::new()
    }
}

impl PartialEq for Hash {
    fn eq(&self, other: &Hash) -> bool {
        self.len() == other.len() && self.iter().all(|(field, value)| other.get(field) == Some(value))
    }
}

impl Eq for Hash {}

/// The fields of a hash and their values, in an order that holds while the hash does not change.
pub struct Iter<'a>(table::Iter<'a, Field>);

impl<'a> Iterator for Iter<'a> {
    type Item = (&'a ShortBytes, &'a ShortBytes);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        self.0.next().map(Field::pair)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.0.size_hint()
    }
}

impl ExactSizeIterator for Iter<'_> {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keyspace::value::testing::{Seeded, text};
    use rand::Rng;
    use std::collections::BTreeMap;

    fn contents(hash: &Hash) -> BTreeMap<Vec<u8>, Vec<u8>> {
        let fields: BTreeMap<_, _> = hash.iter().map(|(f, v)| (f.to_vec(), v.to_vec())).collect();
        assert_eq!(fields.len(), hash.iter().len(), "no field twice");
        fields
    }

    #[test]
    fn random_operations_agree_with_a_map() {
        for (round, seed) in Seeded::seeds(12).into_iter().enumerate() {
            let mut rng = seed.rng();
            let distinct = [10, 40, 500, 6_000][round % 4];
            let (mut hash, mut model) = (Hash::new(), BTreeMap::new());
            for step in 0..20_000 {
                // The table grows for a while, then shrinks for a while.
                let grows = step / 5_000 % 2 == 0;
                let field = text(&mut rng, distinct);
                let value = text(&mut rng, 1_000);
                if rng.random_ratio(if grows { 3 } else { 1 }, 4) {
                    let is_new = hash.set(&field, ShortBytes::from(value.as_slice()));
                    assert_eq!(is_new, model.insert(field.clone(), value).is_none());
                } else {
                    assert_eq!(hash.remove(&field).map(|v| v.to_vec()), model.remove(&field));
                }
                assert_eq!(hash.get(&field).map(|v| v.to_vec()), model.get(&field).cloned());
                assert_eq!(hash.len(), model.len());
            }
            assert_eq!(contents(&hash), model, "{seed:?}");
            assert_eq!(hash, hash.clone());
        }
    }

    #[test]
    fn a_field_is_changed_in_place() {
        let mut hash = Hash::new();
        assert!(hash.set(b"f", ShortBytes::from(b"1")));
        hash.get_mut(b"f").unwrap().append(b"23");
        assert_eq!(hash.get(b"f").unwrap().as_slice(), b"123");
    }

    #[test]
    fn hashes_differ_by_one_value() {
        let mut one = Hash::new();
        (0..50).for_each(|i| assert!(one.set(&ShortBytes::from(i), ShortBytes::from(i))));
        let mut other = one.clone();
        assert_eq!(one, other);
        other.set(b"7", ShortBytes::from(8));
        assert_ne!(one, other);
    }
}
