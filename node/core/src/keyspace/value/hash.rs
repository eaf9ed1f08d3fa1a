//! What is a hash? Fields with a value each, in no order of their own.

use super::memory::{self, Heap, allocated};
use super::packed::{self, Packed};
use super::short_bytes::ShortBytes;
use super::table::{self, Entry, Keys, Table};
use rand::RngCore;

/// A map from field to value: packed while it is small, a table from then on, as in Redis.
#[derive(Clone, Debug)]
pub struct Hash {
    form: Form,
}

#[derive(Clone, Debug)]
enum Form {
    Packed(Packed<2>),
    Table(Box<Table<Field>>),
}

/// A field and its value.
pub type Pair<'a> = (&'a [u8], &'a [u8]);

/// Fields of a packed hash, and bytes of each text: Redis's thresholds.
const PACKED_FIELDS_MAX: usize = 128;
const PACKED_TEXT_MAX: usize = 64;

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
    fn pair(&self) -> Pair<'_> {
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
        Hash { form: Form::Packed(Packed::new()) }
    }

    #[inline]
    pub fn len(&self) -> usize {
        match &self.form {
            Form::Packed(packed) => packed.len(),
            Form::Table(table) => table.len(),
        }
    }

    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether it is still kept as a small one: once it has been large, it never is again.
    pub fn is_packed(&self) -> bool {
        matches!(self.form, Form::Packed(_))
    }

    #[inline]
    pub fn get(&self, field: &[u8]) -> Option<&[u8]> {
        match &self.form {
            Form::Packed(packed) => packed.find(field).map(|row| packed.row(row)[1]),
            Form::Table(table) => table.get(&Names, field).map(|found| found.value.as_slice()),
        }
    }

    #[inline]
    pub fn contains(&self, field: &[u8]) -> bool {
        match &self.form {
            Form::Packed(packed) => packed.find(field).is_some(),
            Form::Table(table) => table.get(&Names, field).is_some(),
        }
    }

    /// Sets a field and returns whether it is new.
    #[inline]
    pub fn set(&mut self, field: &[u8], value: &[u8]) -> bool {
        if let Form::Packed(packed) = &mut self.form {
            let row = packed.find(field);
            let fits = field.len() <= PACKED_TEXT_MAX && value.len() <= PACKED_TEXT_MAX;
            match row {
                Some(row) if fits => packed.replace(row, 1, value),
                None if fits && packed.len() < PACKED_FIELDS_MAX => packed.push([field, value]),
                _ => return self.unpack().set(field, value),
            }
            return row.is_none();
        }
        let Form::Table(table) = &mut self.form else { return false };
        match table.entry(&Names, field) {
            Entry::Occupied(found) => {
                found.value = value.into();
                false
            }
            Entry::Vacant(place) => {
                place.insert(Field { name: field.into(), value: value.into() });
                true
            }
        }
    }

    #[cold]
    fn unpack(&mut self) -> &mut Self {
        let mut table = Box::new(Table::new());
        if let Form::Packed(packed) = &self.form {
            for [name, value] in packed.iter() {
                if let Entry::Vacant(place) = table.entry(&Names, name) {
                    place.insert(Field { name: name.into(), value: value.into() });
                }
            }
        }
        self.form = Form::Table(table);
        self
    }

    /// Removes a field and says whether it was there.
    #[inline]
    pub fn remove(&mut self, field: &[u8]) -> bool {
        match &mut self.form {
            Form::Packed(packed) => match packed.find(field) {
                Some(row) => {
                    packed.remove(row);
                    true
                }
                None => false,
            },
            Form::Table(table) => table.remove(&Names, field).is_some(),
        }
    }

    pub fn iter(&self) -> Iter<'_> {
        match &self.form {
            Form::Packed(packed) => Iter(Rows::Packed(packed.iter())),
            Form::Table(table) => Iter(Rows::Table(table.iter())),
        }
    }

    /// A field and its value, each field with the same probability.
    pub fn random(&self, rng: &mut impl RngCore) -> Option<Pair<'_>> {
        match &self.form {
            Form::Packed(packed) => packed.random(rng).map(|[field, value]| (field, value)),
            Form::Table(table) => table.random(rng).map(Field::pair),
        }
    }

    /// The next cursor (0: the end) and the fields from `cursor` on, see `scan`.
    pub fn scan(&self, cursor: u64, count: usize) -> (u64, Vec<Pair<'_>>) {
        match &self.form {
            Form::Packed(packed) => (0, packed.iter().map(|[field, value]| (field, value)).collect()),
            Form::Table(table) => {
                let (next, fields) = table.scan(&Names, cursor, count);
                (next, fields.into_iter().map(Field::pair).collect())
            }
        }
    }

    /// Bytes taken in all, judged by `samples` fields (0: all of them).
    pub fn memory_usage(&self, samples: usize) -> usize {
        size_of::<Hash>()
            + match &self.form {
                Form::Packed(packed) => packed.heap_bytes(),
                Form::Table(table) => {
                    allocated(size_of::<Table<Field>>())
                        + table.heap_bytes()
                        + memory::sampled(table.iter(), self.len(), samples)
                }
            }
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
pub struct Iter<'a>(Rows<'a>);

enum Rows<'a> {
    Packed(packed::Iter<'a, 2>),
    Table(table::Iter<'a, Field>),
}

impl<'a> Iterator for Iter<'a> {
    type Item = Pair<'a>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        match &mut self.0 {
            Rows::Packed(rows) => rows.next().map(|[field, value]| (field, value)),
            Rows::Table(fields) => fields.next().map(Field::pair),
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        match &self.0 {
            Rows::Packed(rows) => rows.size_hint(),
            Rows::Table(fields) => fields.size_hint(),
        }
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
                    let is_new = hash.set(&field, &value);
                    assert_eq!(is_new, model.insert(field.clone(), value).is_none());
                } else {
                    assert_eq!(hash.remove(&field), model.remove(&field).is_some());
                }
                assert_eq!(hash.get(&field).map(|v| v.to_vec()), model.get(&field).cloned());
                assert_eq!(hash.len(), model.len());
            }
            assert_eq!(contents(&hash), model, "{seed:?}");
            assert_eq!(hash, hash.clone());
        }
    }

    #[test]
    fn a_hash_that_was_large_is_not_packed_again() {
        let mut hash = Hash::new();
        (0..128).for_each(|i| assert!(hash.set(&ShortBytes::from(i), b"v")));
        assert!(hash.is_packed());
        hash.set(b"one more", b"v");
        assert!(!hash.is_packed());
        (1..128).for_each(|i| assert!(hash.remove(&ShortBytes::from(i))));
        assert_eq!((hash.len(), hash.is_packed()), (2, false));
        let mut long = Hash::new();
        long.set(b"field", &[b'v'; 64]);
        assert!(long.is_packed());
        long.set(b"field", &[b'v'; 65]);
        assert_eq!((long.is_packed(), long.get(b"field").unwrap().len()), (false, 65));
    }

    #[test]
    fn hashes_differ_by_one_value() {
        let mut one = Hash::new();
        (0..50).for_each(|i| assert!(one.set(&ShortBytes::from(i), &ShortBytes::from(i))));
        let mut other = one.clone();
        assert_eq!(one, other);
        other.set(b"7", b"8");
        assert_ne!(one, other);
    }
}
