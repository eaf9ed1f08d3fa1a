//! What is a hash? Fields with a value each, in no order of their own.

use super::memory::allocated;
use super::packed::{self, Packed};
use super::rows::{self, Rows};
use super::space::{Room, Space};
use crate::prefetch;
use rand::RngCore;

/// A map from field to value: packed while it is small, a table from then on, as in Redis.
#[derive(Clone, Debug)]
pub struct Hash {
    form: Form,
}

#[derive(Clone, Debug)]
enum Form {
    Packed(Packed<2>),
    Table(Rows<2>),
}

/// A field and its value.
pub type Pair<'a> = (&'a [u8], &'a [u8]);

/// Fields of a packed hash, and bytes of each text: Redis's thresholds.
const PACKED_FIELDS_MAX: usize = 128;
const PACKED_TEXT_MAX: usize = 64;

/// A hash, to be read.
#[derive(Clone, Copy, Debug)]
pub struct HashRef<'v>(Lent<'v>);

#[derive(Clone, Copy, Debug)]
enum Lent<'v> {
    Packed(packed::Rows<'v, 2>),
    Table(&'v Rows<2>),
}

impl<'v> HashRef<'v> {
    /// A hash that is packed in these bytes, see `Hash::into_packed`.
    #[inline]
    pub(in crate::keyspace) fn packed(bytes: &'v [u8]) -> Self {
        Self(Lent::Packed(packed::Rows::new(bytes)))
    }

    #[inline]
    pub fn len(self) -> usize {
        match self.0 {
            Lent::Packed(rows) => rows.len(),
            Lent::Table(table) => table.len(),
        }
    }

    #[inline]
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// Whether it is still kept as a small one: once it has been large, it never is again.
    pub fn is_packed(self) -> bool {
        matches!(self.0, Lent::Packed(_))
    }

    #[inline]
    pub fn get(self, field: &[u8]) -> Option<&'v [u8]> {
        match self.0 {
            Lent::Packed(rows) => rows.find(field).map(|row| rows.row(row)[1]),
            Lent::Table(table) => table.get(field).map(|[_, value]| value),
        }
    }

    #[inline]
    pub fn contains(self, field: &[u8]) -> bool {
        match self.0 {
            Lent::Packed(rows) => rows.find(field).is_some(),
            Lent::Table(table) => table.contains(field),
        }
    }

    pub fn iter(self) -> Iter<'v> {
        match self.0 {
            Lent::Packed(rows) => Iter(Source::Packed(rows.iter())),
            Lent::Table(table) => Iter(Source::Table(table.iter())),
        }
    }

    /// A field and its value, each field with the same probability.
    pub fn random(self, rng: &mut impl RngCore) -> Option<Pair<'v>> {
        match self.0 {
            Lent::Packed(rows) => rows.random(rng).map(|[field, value]| (field, value)),
            Lent::Table(table) => table.random(rng).map(|[field, value]| (field, value)),
        }
    }

    /// The next cursor (0: the end) and the fields from `cursor` on, see `scan`.
    pub fn scan(self, cursor: u64, count: usize) -> (u64, Vec<Pair<'v>>) {
        match self.0 {
            Lent::Packed(rows) => (0, rows.iter().map(|[field, value]| (field, value)).collect()),
            Lent::Table(table) => {
                let (next, fields) = table.scan(cursor, count);
                (next, fields.into_iter().map(|[field, value]| (field, value)).collect())
            }
        }
    }

    /// Bytes that a large one takes.
    pub(super) fn heap_bytes(self) -> usize {
        match self.0 {
            Lent::Packed(_) => 0,
            Lent::Table(table) => allocated(size_of::<Hash>()) + table.heap_bytes(),
        }
    }

    pub fn to_owned(self) -> Hash {
        match self.0 {
            Lent::Packed(rows) => Hash::from_packed(rows.bytes().to_vec()),
            Lent::Table(table) => Hash { form: Form::Table(table.clone()) },
        }
    }

    pub(super) fn prefetch(self) {
        if let Lent::Table(table) = self.0 {
            prefetch::read(table);
        }
    }
}

impl PartialEq for HashRef<'_> {
    fn eq(&self, other: &HashRef<'_>) -> bool {
        self.len() == other.len() && self.iter().all(|(field, value)| other.get(field) == Some(value))
    }
}

impl Hash {
    pub const fn new() -> Hash {
        Hash { form: Form::Packed(Packed::new()) }
    }

    #[inline]
    pub fn view(&self) -> HashRef<'_> {
        HashRef(match &self.form {
            Form::Packed(packed) => Lent::Packed(packed.rows()),
            Form::Table(table) => Lent::Table(table),
        })
    }

    /// A hash from the bytes of a packed one.
    #[inline]
    pub(in crate::keyspace) fn from_packed(bytes: Vec<u8>) -> Hash {
        Hash { form: Form::Packed(Packed::from_bytes(bytes)) }
    }

    /// Its bytes, if it is packed.
    #[inline]
    pub(in crate::keyspace) fn into_packed(self) -> Result<Vec<u8>, Hash> {
        match self.form {
            Form::Packed(packed) => Ok(packed.into_bytes()),
            Form::Table(_) => Err(self),
        }
    }

    #[inline]
    pub fn len(&self) -> usize {
        self.view().len()
    }

    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Sets a field and returns whether it is new.
    #[inline]
    pub fn set(&mut self, field: &[u8], value: &[u8]) -> bool {
        match &mut self.form {
            Form::Packed(packed) => set_packed(packed, field, value).unwrap_or_else(|| self.unpack().set(field, value)),
            Form::Table(table) => table.set([field, value]),
        }
    }

    /// As `set`, of a hash that is packed in its entry. Nothing, and nothing has changed: it is to be kept in another way.
    #[inline]
    pub(in crate::keyspace) fn set_within(room: &mut Room<'_>, field: &[u8], value: &[u8]) -> Option<bool> {
        set_packed(&mut Packed::from_bytes(room), field, value)
    }

    /// As `remove`, of a hash that is packed in its entry. Nothing, and nothing has changed: too little is left of it.
    #[inline]
    pub(in crate::keyspace) fn remove_within(room: &mut Room<'_>, field: &[u8]) -> Option<bool> {
        packed::remove_within::<2>(room, field)
    }

    #[cold]
    fn unpack(&mut self) -> &mut Self {
        let mut table = Rows::new();
        for (field, value) in self.view().iter() {
            table.set([field, value]);
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
            Form::Table(table) => table.remove(field),
        }
    }
}

/// Sets a field and says whether it is new. Nothing, and nothing has changed: such a hash is not packed, or not there.
#[inline]
fn set_packed<S: Space>(packed: &mut Packed<2, S>, field: &[u8], value: &[u8]) -> Option<bool> {
    if field.len() > PACKED_TEXT_MAX || value.len() > PACKED_TEXT_MAX {
        return None;
    }
    match packed.find(field) {
        Some(row) => packed.replace(row, 1, value).then_some(false),
        None if packed.len() < PACKED_FIELDS_MAX => packed.push([field, value]).then_some(true),
        None => None,
    }
}

impl Default for Hash {
    fn default() -> Hash {
        Hash::new()
    }
}

impl PartialEq for Hash {
    fn eq(&self, other: &Hash) -> bool {
        self.view() == other.view()
    }
}

impl Eq for Hash {}

/// The fields of a hash and their values, in an order that holds while the hash does not change.
pub struct Iter<'a>(Source<'a>);

enum Source<'a> {
    Packed(packed::Iter<'a, 2>),
    Table(rows::Iter<'a, 2>),
}

impl<'a> Iterator for Iter<'a> {
    type Item = Pair<'a>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        match &mut self.0 {
            Source::Packed(rows) => rows.next().map(|[field, value]| (field, value)),
            Source::Table(fields) => fields.next().map(|[field, value]| (field, value)),
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        match &self.0 {
            Source::Packed(rows) => rows.size_hint(),
            Source::Table(fields) => fields.size_hint(),
        }
    }
}

impl ExactSizeIterator for Iter<'_> {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keyspace::value::ShortBytes;
    use crate::keyspace::value::testing::{Seeded, text};
    use rand::Rng;
    use std::collections::BTreeMap;

    fn contents(hash: &Hash) -> BTreeMap<Vec<u8>, Vec<u8>> {
        let fields: BTreeMap<_, _> = hash.view().iter().map(|(f, v)| (f.to_vec(), v.to_vec())).collect();
        assert_eq!(fields.len(), hash.view().iter().len(), "no field twice");
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
                assert_eq!(hash.view().get(&field).map(|v| v.to_vec()), model.get(&field).cloned());
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
        assert!(hash.view().is_packed());
        hash.set(b"one more", b"v");
        assert!(!hash.view().is_packed());
        (1..128).for_each(|i| assert!(hash.remove(&ShortBytes::from(i))));
        assert_eq!((hash.len(), hash.view().is_packed()), (2, false));
        let mut long = Hash::new();
        long.set(b"field", &[b'v'; 64]);
        assert!(long.view().is_packed());
        long.set(b"field", &[b'v'; 65]);
        assert_eq!((long.view().is_packed(), long.view().get(b"field").unwrap().len()), (false, 65));
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
