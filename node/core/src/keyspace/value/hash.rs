//! What is a hash? Fields with a value each, in no order of their own.

use super::deadlines::Deadlines;
use super::memory::allocated;
use super::packed::{self, Packed};
use super::random::below;
use super::rows::{self, Rows};
use super::short_bytes::ShortBytes;
use super::space::{Room, Space};
use crate::ids::UnixMillis;
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
    /// Some fields expire.
    Timed(Box<Timed>),
}

/// A hash some of whose fields expire: a plain one, and the deadlines beside it. Hashes without deadlines pay nothing.
///
/// **Invariant:** each field with a deadline is in the hash, and there is one at least.
#[derive(Clone, Debug)]
struct Timed {
    hash: Hash,
    deadlines: Deadlines,
}

impl Timed {
    #[inline]
    fn is_due(&self, field: &[u8], now: UnixMillis) -> bool {
        self.deadlines.is_due(field, now)
    }

    /// Fields that are not due.
    fn len(&self, now: UnixMillis) -> usize {
        self.hash.len() - self.deadlines.due(now).count()
    }

    fn heap_bytes(&self) -> usize {
        let hash = match self.hash.view().0 {
            Lent::Packed(rows) => allocated(rows.bytes().len()),
            Lent::Table(table) => table.heap_bytes(),
            Lent::Timed(..) => 0,
        };
        allocated(size_of::<Self>()) + hash + self.deadlines.heap_bytes()
    }
}

/// A field and its value.
pub type Pair<'a> = (&'a [u8], &'a [u8]);

/// Fields of a packed hash, and bytes of each text: Redis's thresholds.
const PACKED_FIELDS_MAX: usize = 128;
const PACKED_TEXT_MAX: usize = 64;

/// Draws for a random field that is not due, before all of them are walked.
const DRAWS_MAX: usize = 64;

/// A hash, to be read.
#[derive(Clone, Copy, Debug)]
pub struct HashRef<'v>(Lent<'v>);

#[derive(Clone, Copy, Debug)]
enum Lent<'v> {
    Packed(packed::Rows<'v, 2>),
    Table(&'v Rows<2>),
    /// As it is at a time: fields that are due then are not there.
    Timed(&'v Timed, UnixMillis),
}

impl<'v> HashRef<'v> {
    /// A hash that is packed in these bytes, see `Hash::into_packed`.
    #[inline]
    pub(in crate::keyspace) fn packed(bytes: &'v [u8]) -> Self {
        Self(Lent::Packed(packed::Rows::new(bytes)))
    }

    /// As it is at a time: fields that are due then are not there. Without this, all of them are.
    #[inline]
    #[must_use]
    pub fn at(self, now: UnixMillis) -> Self {
        match self.0 {
            Lent::Timed(timed, _) => Self(Lent::Timed(timed, now)),
            Lent::Packed(_) | Lent::Table(_) => self,
        }
    }

    /// Whether some fields expire.
    #[inline]
    pub fn is_timed(self) -> bool {
        matches!(self.0, Lent::Timed(..))
    }

    /// When a field expires.
    pub fn deadline(self, field: &[u8]) -> Option<UnixMillis> {
        match self.0 {
            Lent::Timed(timed, _) => timed.deadlines.get(field),
            Lent::Packed(_) | Lent::Table(_) => None,
        }
    }

    /// When the next field expires, or has.
    pub fn earliest(self) -> Option<UnixMillis> {
        match self.0 {
            Lent::Timed(timed, _) => timed.deadlines.earliest(),
            Lent::Packed(_) | Lent::Table(_) => None,
        }
    }

    /// Fields that are due, the earliest first, `most` at the most.
    pub fn due(self, now: UnixMillis, most: usize) -> Vec<ShortBytes> {
        match self.0 {
            Lent::Timed(timed, _) => timed.deadlines.due(now).take(most).cloned().collect(),
            Lent::Packed(_) | Lent::Table(_) => Vec::new(),
        }
    }

    #[inline]
    pub fn len(self) -> usize {
        match self.0 {
            Lent::Packed(rows) => rows.len(),
            Lent::Table(table) => table.len(),
            Lent::Timed(timed, now) => timed.len(now),
        }
    }

    #[inline]
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// Whether it is still kept as a small one: once it has been large, it never is again.
    pub fn is_packed(self) -> bool {
        match self.0 {
            Lent::Packed(_) => true,
            Lent::Table(_) => false,
            Lent::Timed(timed, _) => timed.hash.view().is_packed(),
        }
    }

    #[inline]
    pub fn get(self, field: &[u8]) -> Option<&'v [u8]> {
        match self.0 {
            Lent::Packed(rows) => rows.find(field).map(|row| rows.row(row)[1]),
            Lent::Table(table) => table.get(field).map(|[_, value]| value),
            Lent::Timed(timed, now) if timed.is_due(field, now) => None,
            Lent::Timed(timed, _) => timed.hash.view().get(field),
        }
    }

    #[inline]
    pub fn contains(self, field: &[u8]) -> bool {
        match self.0 {
            Lent::Packed(rows) => rows.find(field).is_some(),
            Lent::Table(table) => table.contains(field),
            Lent::Timed(timed, now) => !timed.is_due(field, now) && timed.hash.view().contains(field),
        }
    }

    pub fn iter(self) -> Iter<'v> {
        match self.0 {
            Lent::Packed(rows) => Iter(Source::Packed(rows.iter())),
            Lent::Table(table) => Iter(Source::Table(table.iter())),
            Lent::Timed(timed, now) => {
                Iter(Source::Timed { fields: Box::new(timed.hash.view().iter()), timed, now, left: timed.len(now) })
            }
        }
    }

    /// A field and its value, each field with the same probability.
    pub fn random(self, rng: &mut impl RngCore) -> Option<Pair<'v>> {
        match self.0 {
            Lent::Packed(rows) => rows.random(rng).map(|[field, value]| (field, value)),
            Lent::Table(table) => table.random(rng).map(|[field, value]| (field, value)),
            Lent::Timed(timed, now) => {
                let hash = timed.hash.view();
                for _ in 0..DRAWS_MAX {
                    if let Some(pair) = hash.random(rng).filter(|(field, _)| !timed.is_due(field, now)) {
                        return Some(pair);
                    }
                }
                let left = timed.len(now);
                if left == 0 { None } else { self.iter().nth(below(rng, left)) }
            }
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
            Lent::Timed(timed, now) => {
                let (next, mut fields) = timed.hash.view().scan(cursor, count);
                fields.retain(|(field, _)| !timed.is_due(field, now));
                (next, fields)
            }
        }
    }

    /// Bytes that a large one takes.
    pub(super) fn heap_bytes(self) -> usize {
        match self.0 {
            Lent::Packed(_) => 0,
            Lent::Table(table) => allocated(size_of::<Hash>()) + table.heap_bytes(),
            Lent::Timed(timed, _) => allocated(size_of::<Hash>()) + timed.heap_bytes(),
        }
    }

    pub fn to_owned(self) -> Hash {
        match self.0 {
            Lent::Packed(rows) => Hash::from_packed(rows.bytes().to_vec()),
            Lent::Table(table) => Hash { form: Form::Table(table.clone()) },
            Lent::Timed(timed, _) => Hash { form: Form::Timed(Box::new(timed.clone())) },
        }
    }

    pub(super) fn prefetch(self) {
        match self.0 {
            Lent::Packed(_) => {}
            Lent::Table(table) => prefetch::read(table),
            Lent::Timed(timed, _) => prefetch::read(timed),
        }
    }
}

impl PartialEq for HashRef<'_> {
    fn eq(&self, other: &HashRef<'_>) -> bool {
        self.len() == other.len()
            && self
                .iter()
                .all(|(field, value)| other.get(field) == Some(value) && self.deadline(field) == other.deadline(field))
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
            Form::Timed(timed) => Lent::Timed(timed, UnixMillis(0)),
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
            Form::Table(_) | Form::Timed(_) => Err(self),
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
            Form::Timed(timed) => {
                let is_new = timed.hash.set(field, value);
                timed.deadlines.set(field, None);
                self.untime();
                is_new
            }
        }
    }

    /// Sets when a field expires, or that it does not. Says whether that changed anything: nothing for a field that is not there.
    pub fn set_deadline(&mut self, field: &[u8], at: Option<UnixMillis>) -> bool {
        if !self.view().contains(field) {
            return false;
        }
        if let Form::Timed(timed) = &mut self.form {
            let is_changed = timed.deadlines.set(field, at);
            self.untime();
            return is_changed;
        }
        if at.is_none() {
            return false;
        }
        let mut timed = Timed { hash: std::mem::take(self), deadlines: Deadlines::default() };
        timed.deadlines.set(field, at);
        self.form = Form::Timed(Box::new(timed));
        true
    }

    /// Makes it a plain one again if no field expires.
    fn untime(&mut self) {
        if let Form::Timed(timed) = &mut self.form
            && timed.deadlines.is_empty()
        {
            *self = std::mem::take(&mut timed.hash);
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
            Form::Timed(timed) => {
                let was_there = timed.hash.remove(field);
                timed.deadlines.set(field, None);
                self.untime();
                was_there
            }
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
    Timed { fields: Box<Iter<'a>>, timed: &'a Timed, now: UnixMillis, left: usize },
}

impl<'a> Iterator for Iter<'a> {
    type Item = Pair<'a>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        match &mut self.0 {
            Source::Packed(rows) => rows.next().map(|[field, value]| (field, value)),
            Source::Table(fields) => fields.next().map(|[field, value]| (field, value)),
            Source::Timed { fields, timed, now, left } => {
                let next = fields.find(|(field, _)| !timed.is_due(field, *now))?;
                *left -= 1;
                Some(next)
            }
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        match &self.0 {
            Source::Packed(rows) => rows.size_hint(),
            Source::Table(fields) => fields.size_hint(),
            Source::Timed { left, .. } => (*left, Some(*left)),
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
    fn fields_that_are_due_are_not_there() {
        for count in [5, 500] {
            let mut hash = Hash::new();
            (0..count).for_each(|i| assert!(hash.set(&ShortBytes::from(i), b"v")));
            let plain = hash.clone();
            for i in (0..count).step_by(2) {
                assert!(hash.set_deadline(&ShortBytes::from(i), Some(UnixMillis(1000 + i as u64))));
                assert!(!hash.set_deadline(&ShortBytes::from(i), Some(UnixMillis(1000 + i as u64))));
            }
            assert!(!hash.set_deadline(b"none", Some(UnixMillis(1))) && hash != plain);
            let (all, later) = (hash.view(), hash.view().at(UnixMillis(1002)));
            assert_eq!(
                (all.len(), later.len(), later.iter().len()),
                (count as usize, count as usize - 2, count as usize - 2)
            );
            assert_eq!(later.iter().count(), later.len());
            assert!(all.contains(b"2") && later.get(b"2").is_none() && !later.contains(b"0") && later.contains(b"4"));
            assert!(later.scan(0, 10_000).1.iter().all(|(field, _)| *field != b"0" && *field != b"2"));
            assert!((0..200).all(|_| later.random(&mut rand::rng()).is_some_and(|(field, _)| field != b"0")));
            assert_eq!(all.due(UnixMillis(1002), 10), [ShortBytes::from(0), ShortBytes::from(2)]);
            assert_eq!((all.earliest(), all.due(UnixMillis(1002), 1).len()), (Some(UnixMillis(1000)), 1));
            assert!(all.at(UnixMillis(9999)).random(&mut rand::rng()).is_some(), "half of them never expire");
            assert_eq!(all.to_owned(), hash);
            // Setting takes a deadline away, removing as well; with the last one the hash is a plain one again.
            assert!(!hash.set(b"0", b"v") && hash.view().deadline(b"0").is_none());
            assert!(hash.remove(b"2"));
            assert_eq!(hash.view().earliest(), Some(UnixMillis(1004)));
            assert!(hash.set(b"2", b"v"));
            (4..count).step_by(2).for_each(|i| assert!(hash.set_deadline(&ShortBytes::from(i), None)));
            assert!(!hash.view().is_timed() && hash == plain && hash.view().is_packed() == (count < 100));
        }
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
