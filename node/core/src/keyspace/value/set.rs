//! What is a set? Members without duplicates, in no order of their own.

use super::integer::parse_integer;
use super::integers::{self, Integers};
use super::memory::allocated;
use super::packed::{self, Packed};
use super::rows::{self, Rows};
use super::space::{Room, Space};
use super::text::Text;
use crate::prefetch;
use rand::RngCore;

/// A set of byte strings: packed while it is small, a table from then on, as in Redis.
#[derive(Clone, Debug)]
pub struct Set {
    form: Form,
}

#[derive(Clone, Debug)]
enum Form {
    /// Nothing but integers so far, see `integers`.
    Integers(Vec<u8>),
    Packed(Packed<1>),
    Table(Rows<1>),
}

/// A set, to be read.
#[derive(Clone, Copy, Debug)]
pub struct SetRef<'v>(Lent<'v>);

#[derive(Clone, Copy, Debug)]
enum Lent<'v> {
    Integers(Integers<'v>),
    Packed(packed::Rows<'v, 1>),
    Table(&'v Rows<1>),
}

/// Members of a packed set, of numbers or of other texts, and bytes of each: Redis's thresholds.
const PACKED_INTEGERS_MAX: usize = 512;
const PACKED_MEMBERS_MAX: usize = 128;
const PACKED_TEXT_MAX: usize = 64;

/// Which form a set has, see OBJECT ENCODING.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    Integers,
    Packed,
    Table,
}

impl<'v> SetRef<'v> {
    /// A set that is packed in these bytes, see `Set::into_packed`.
    #[inline]
    pub(in crate::keyspace) fn packed(bytes: &'v [u8], are_integers: bool) -> Self {
        Self(if are_integers { Lent::Integers(Integers::new(bytes)) } else { Lent::Packed(packed::Rows::new(bytes)) })
    }

    #[inline]
    pub fn len(self) -> usize {
        match self.0 {
            Lent::Integers(numbers) => numbers.len(),
            Lent::Packed(rows) => rows.len(),
            Lent::Table(table) => table.len(),
        }
    }

    #[inline]
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// How it is kept: never as something smaller than before.
    pub fn kept(self) -> Kept {
        match self.0 {
            Lent::Integers(_) => Kept::Integers,
            Lent::Packed(_) => Kept::Packed,
            Lent::Table(_) => Kept::Table,
        }
    }

    #[inline]
    pub fn contains(self, member: &[u8]) -> bool {
        match self.0 {
            Lent::Integers(numbers) => parse_integer(member).is_some_and(|number| numbers.find(number).is_ok()),
            Lent::Packed(rows) => rows.find(member).is_some(),
            Lent::Table(table) => table.contains(member),
        }
    }

    pub fn iter(self) -> Iter<'v> {
        Iter(match self.0 {
            Lent::Integers(numbers) => Source::Integers(numbers.iter()),
            Lent::Packed(rows) => Source::Packed(rows.iter()),
            Lent::Table(table) => Source::Table(table.iter()),
        })
    }

    /// A member, each with the same probability.
    pub fn random(self, rng: &mut impl RngCore) -> Option<Text<'v>> {
        match self.0 {
            Lent::Integers(numbers) => numbers.random(rng),
            Lent::Packed(rows) => rows.random(rng).map(|[member]| Text::lent(member)),
            Lent::Table(table) => table.random(rng).map(|[member]| Text::lent(member)),
        }
    }

    /// The next cursor (0: the end) and the members from `cursor` on, see `scan`.
    pub fn scan(self, cursor: u64, count: usize) -> (u64, Vec<Text<'v>>) {
        match self.0 {
            Lent::Integers(_) | Lent::Packed(_) => (0, self.iter().collect()),
            Lent::Table(table) => {
                let (next, members) = table.scan(cursor, count);
                (next, members.into_iter().map(|[member]| Text::lent(member)).collect())
            }
        }
    }

    /// Bytes that a large one takes.
    pub(super) fn heap_bytes(self) -> usize {
        match self.0 {
            Lent::Integers(_) | Lent::Packed(_) => 0,
            Lent::Table(table) => allocated(size_of::<Set>()) + table.heap_bytes(),
        }
    }

    pub fn to_owned(self) -> Set {
        Set {
            form: match self.0 {
                Lent::Integers(numbers) => Form::Integers(numbers.bytes().to_vec()),
                Lent::Packed(rows) => Form::Packed(Packed::from_bytes(rows.bytes().to_vec())),
                Lent::Table(table) => Form::Table(table.clone()),
            },
        }
    }

    pub(super) fn prefetch(self) {
        if let Lent::Table(table) = self.0 {
            prefetch::read(table);
        }
    }
}

impl PartialEq for SetRef<'_> {
    fn eq(&self, other: &SetRef<'_>) -> bool {
        self.len() == other.len() && self.iter().all(|member| other.contains(&member))
    }
}

impl Set {
    pub const fn new() -> Set {
        Set { form: Form::Integers(Vec::new()) }
    }

    #[inline]
    pub fn view(&self) -> SetRef<'_> {
        SetRef(match &self.form {
            Form::Integers(bytes) => Lent::Integers(Integers::new(bytes)),
            Form::Packed(packed) => Lent::Packed(packed.rows()),
            Form::Table(table) => Lent::Table(table),
        })
    }

    /// A set from the bytes of a packed one.
    #[inline]
    pub(in crate::keyspace) fn from_packed(bytes: Vec<u8>, are_integers: bool) -> Set {
        Set { form: if are_integers { Form::Integers(bytes) } else { Form::Packed(Packed::from_bytes(bytes)) } }
    }

    /// Its bytes, if it is packed, and whether they are integers.
    #[inline]
    pub(in crate::keyspace) fn into_packed(self) -> Result<(Vec<u8>, bool), Set> {
        match self.form {
            Form::Integers(bytes) => Ok((bytes, true)),
            Form::Packed(packed) => Ok((packed.into_bytes(), false)),
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

    /// Adds a member and returns whether it is new.
    #[inline]
    pub fn insert(&mut self, member: &[u8]) -> bool {
        match &mut self.form {
            Form::Integers(bytes) => match parse_integer(member) {
                Some(number) => match insert_integer(bytes, number) {
                    Some(is_new) => is_new,
                    None => self.unpack().insert(member),
                },
                None if Integers::new(bytes).len() < PACKED_MEMBERS_MAX => {
                    let mut packed = Packed::new();
                    Integers::new(bytes).iter().for_each(|number| _ = packed.push([&number]));
                    self.form = Form::Packed(packed);
                    self.insert(member)
                }
                None => self.unpack().insert(member),
            },
            Form::Packed(packed) => match insert_packed(packed, member) {
                Some(is_new) => is_new,
                None => self.unpack().insert(member),
            },
            Form::Table(table) => table.set([member]),
        }
    }

    /// As `insert`, of a set that is packed in its entry. Nothing, and nothing has changed: it is to be kept in another way.
    #[inline]
    pub(in crate::keyspace) fn insert_within(room: &mut Room<'_>, are_integers: bool, member: &[u8]) -> Option<bool> {
        if are_integers {
            return insert_integer(room, parse_integer(member)?);
        }
        insert_packed(&mut Packed::from_bytes(room), member)
    }

    /// As `remove`, of a set that is packed in its entry. Nothing, and nothing has changed: too little is left of it.
    #[inline]
    pub(in crate::keyspace) fn remove_within(room: &mut Room<'_>, are_integers: bool, member: &[u8]) -> Option<bool> {
        if !are_integers {
            return packed::remove_within::<1>(room, member);
        }
        let integers = Integers::new(room.bytes());
        match parse_integer(member).and_then(|number| integers.find(number).ok()) {
            Some(index) => (integers.len() > 1 && integers::remove(room, index)).then_some(true),
            None => Some(false),
        }
    }

    #[cold]
    fn unpack(&mut self) -> &mut Self {
        let mut table = Rows::new();
        for member in self.view().iter() {
            table.set([&member]);
        }
        self.form = Form::Table(table);
        self
    }

    /// Removes a member and returns whether it was there.
    #[inline]
    pub fn remove(&mut self, member: &[u8]) -> bool {
        match &mut self.form {
            Form::Integers(bytes) => {
                let found = parse_integer(member).and_then(|number| Integers::new(bytes).find(number).ok());
                if let Some(index) = found {
                    integers::remove(bytes, index);
                }
                found.is_some()
            }
            Form::Packed(packed) => {
                let found = packed.find(member);
                if let Some(row) = found {
                    packed.remove(row);
                }
                found.is_some()
            }
            Form::Table(table) => table.remove(member),
        }
    }
}

/// Adds a number and says whether it is new. Nothing, and nothing has changed: such a set is not packed, or not there.
#[inline]
fn insert_integer(bytes: &mut impl Space, number: i64) -> Option<bool> {
    let integers = Integers::new(bytes.bytes());
    let Err(index) = integers.find(number) else { return Some(false) };
    (integers.len() < PACKED_INTEGERS_MAX && integers::insert(bytes, index, number)).then_some(true)
}

/// As `insert_integer`, for a member of any kind.
#[inline]
fn insert_packed<S: Space>(packed: &mut Packed<1, S>, member: &[u8]) -> Option<bool> {
    if packed.find(member).is_some() {
        return Some(false);
    }
    let fits = packed.len() < PACKED_MEMBERS_MAX && member.len() <= PACKED_TEXT_MAX;
    (fits && packed.push([member])).then_some(true)
}

/// The members of a set, in an order that holds while the set does not change.
pub struct Iter<'a>(Source<'a>);

enum Source<'a> {
    Integers(integers::Iter<'a>),
    Packed(packed::Iter<'a, 1>),
    Table(rows::Iter<'a, 1>),
}

impl<'a> Iterator for Iter<'a> {
    type Item = Text<'a>;

    #[inline]
    fn next(&mut self) -> Option<Text<'a>> {
        match &mut self.0 {
            Source::Integers(numbers) => numbers.next(),
            Source::Packed(rows) => rows.next().map(|[member]| Text::lent(member)),
            Source::Table(members) => members.next().map(|[member]| Text::lent(member)),
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        match &self.0 {
            Source::Integers(numbers) => numbers.size_hint(),
            Source::Packed(rows) => rows.size_hint(),
            Source::Table(members) => members.size_hint(),
        }
    }
}

impl ExactSizeIterator for Iter<'_> {}

impl Default for Set {
    fn default() -> Set {
        Set::new()
    }
}

impl PartialEq for Set {
    fn eq(&self, other: &Set) -> bool {
        self.view() == other.view()
    }
}

impl Eq for Set {}

impl<B: AsRef<[u8]>> FromIterator<B> for Set {
    fn from_iter<I: IntoIterator<Item = B>>(members: I) -> Set {
        let mut set = Set::new();
        members.into_iter().for_each(|member| {
            set.insert(member.as_ref());
        });
        set
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keyspace::value::ShortBytes;
    use crate::keyspace::value::hashing::scan_position;
    use crate::keyspace::value::testing::{Seeded, text};
    use rand::Rng;
    use std::collections::{BTreeMap, BTreeSet};

    fn numbers(range: std::ops::Range<i64>) -> Set {
        range.map(ShortBytes::from).collect()
    }

    /// Members whose positions share their first nine bits.
    fn prepared() -> impl Iterator<Item = ShortBytes> {
        (1_000_000..).map(ShortBytes::from).filter(|m| scan_position(m) >> 55 == 77)
    }

    /// All pages of a scan; `change` runs between two of them.
    fn scan_all(set: &mut Set, count: usize, mut change: impl FnMut(&mut Set)) -> Vec<ShortBytes> {
        let (mut cursor, mut seen) = (0, Vec::new());
        loop {
            let (next, members) = set.view().scan(cursor, count);
            seen.extend(members.into_iter().map(ShortBytes::from));
            if next == 0 {
                return seen;
            }
            assert!(next > cursor, "a cursor moves on");
            cursor = next;
            change(set);
        }
    }

    #[test]
    fn random_operations_agree_with_a_set() {
        for (round, seed) in Seeded::seeds(12).into_iter().enumerate() {
            let mut rng = seed.rng();
            let distinct = [10, 40, 500, 12_000][round % 4];
            let (mut set, mut model) = (Set::new(), BTreeSet::new());
            for step in 0..40_000 {
                let grows = step / 10_000 % 2 == 0;
                let member = text(&mut rng, distinct);
                if rng.random_ratio(if grows { 4 } else { 1 }, 5) {
                    assert_eq!(set.insert(&member), model.insert(member.clone()));
                } else {
                    assert_eq!(set.remove(&member), model.remove(&member));
                }
                assert_eq!(set.view().contains(&member), model.contains(&member));
                assert_eq!(set.len(), model.len());
            }
            assert!(set.view().iter().map(|m| m.to_vec()).collect::<BTreeSet<_>>() == model, "{seed:?}");
            assert_eq!(set.view().iter().len(), model.len());
            assert_eq!(set.view().iter().count(), model.len());
        }
    }

    #[test]
    fn every_size_from_empty_to_large_and_back_is_complete() {
        let mut set = Set::new();
        for number in 0..20_000 {
            assert!(set.insert(&ShortBytes::from(number)));
            assert!(!set.insert(&ShortBytes::from(number / 2)));
        }
        for number in 0..20_000 {
            assert!(set.view().contains(&ShortBytes::from(number)));
            assert!(set.remove(&ShortBytes::from(number)));
            assert!(!set.view().contains(&ShortBytes::from(number)));
            let left = 20_000 - number as usize - 1;
            assert_eq!(set.len(), left);
            if left.is_power_of_two() {
                assert_eq!(set.view().iter().count(), left);
                let usage = set.view().heap_bytes();
                assert!(usage <= 1_000 + left * 300, "{usage} bytes for {left} members of a set that was large");
            }
        }
        assert!(set.is_empty());
        assert!(set.view().heap_bytes() < 1_000, "an emptied set keeps {} bytes", set.view().heap_bytes());
    }

    #[test]
    fn a_scan_returns_every_member_once() {
        for size in [0, 1, 16, 128, 129, 500, 896, 897, 5_000, 30_000] {
            for count in [1, 10, 1_000] {
                if size / count > 5_000 {
                    continue;
                }
                let mut set = numbers(0..size as i64);
                let mut seen = scan_all(&mut set, count, |_| {});
                let ordered = seen.is_sorted_by_key(|m| scan_position(m));
                assert!(ordered || size <= 512, "in the order of positions");
                seen.sort();
                seen.dedup();
                assert_eq!(seen.len(), size, "{size} members, {count} a page");
            }
        }
    }

    #[test]
    fn a_set_that_was_large_is_not_packed_again() {
        let mut set = numbers(0..512);
        assert_eq!(set.view().kept(), Kept::Integers);
        set.insert(b"512");
        assert_eq!(set.view().kept(), Kept::Table);
        (1..513).for_each(|number| assert!(set.remove(&ShortBytes::from(number))));
        assert_eq!((set.len(), set.view().kept()), (1, Kept::Table));
        let mut set = numbers(0..100);
        set.insert(b"text");
        set.remove(b"text");
        assert_eq!(set.view().kept(), Kept::Packed, "a text was there");
        let mut set = numbers(0..129);
        set.insert(b"text");
        assert_eq!((set.view().kept(), set.len()), (Kept::Table, 130));
        let mut set = numbers(0..3);
        set.insert(&[b'x'; 65]);
        assert_eq!((set.view().kept(), set.len()), (Kept::Table, 4));
    }

    #[test]
    fn a_small_set_is_scanned_in_one_page() {
        let set = numbers(0..128);
        assert_eq!(set.view().kept(), Kept::Integers);
        let (next, members) = set.view().scan(0, 10);
        assert_eq!((next, members.len()), (0, 128));
    }

    #[test]
    fn a_scan_misses_nothing_that_stays_while_the_set_grows_and_shrinks() {
        for seed in Seeded::seeds(5) {
            let mut rng = seed.rng();
            let mut set = numbers(0..3_000);
            let mut extra = 10_000..40_000;
            let seen = scan_all(&mut set, 20, |set| {
                for number in extra.by_ref().take(200) {
                    set.insert(&ShortBytes::from(number));
                }
                for _ in 0..100 {
                    set.remove(&ShortBytes::from(rng.random_range(1_000..3_000)));
                }
            });
            let kept: BTreeSet<_> = (0..1_000).map(ShortBytes::from).collect();
            let seen_once: BTreeSet<_> = seen.iter().cloned().collect();
            assert_eq!(seen.len(), seen_once.len(), "nothing twice, {seed:?}");
            assert!(seen_once.is_superset(&kept), "{seed:?}");
        }
    }

    #[test]
    fn a_cursor_means_the_same_to_a_set_with_another_history() {
        let one = numbers(0..5_000);
        let mut other: Set = (0..40_000).rev().map(ShortBytes::from).collect();
        for number in 5_000..40_000 {
            other.remove(&ShortBytes::from(number));
        }
        let mut cursor = 0;
        loop {
            let page = one.view().scan(cursor, 64);
            assert_eq!(page, other.view().scan(cursor, 64));
            cursor = page.0;
            if cursor == 0 {
                break;
            }
        }
    }

    /// Picks a hundred times as often as there are members and compares the hits with an even spread.
    fn assert_fair(set: &Set, rng: &mut impl RngCore) {
        let mut hits: BTreeMap<ShortBytes, u64> = BTreeMap::new();
        for _ in 0..set.len() * 100 {
            *hits.entry(ShortBytes::from(set.view().random(rng).unwrap())).or_default() += 1;
        }
        // Chi squared has a mean of size - 1 and a variance of twice that; eight deviations and thirty are beyond chance.
        let missed = (set.len() - hits.len()) as f64 * 100.0;
        let chi: f64 = hits.values().map(|h| (*h as f64 - 100.0).powi(2) / 100.0).sum::<f64>() + missed;
        let mean = (set.len() - 1) as f64;
        assert!(chi <= mean + 8.0 * (2.0 * mean).sqrt() + 30.0, "chi squared {chi} of {} members", set.len());
    }

    #[test]
    fn random_members_are_fairly_distributed() {
        for seed in Seeded::seeds(1) {
            let mut rng = seed.rng();
            for size in [1, 7, 100, 900, 3_000] {
                // Shrunk from four times the size, so that buckets and segments are unevenly filled.
                let mut set = numbers(0..size * 4);
                for number in size..size * 4 {
                    set.remove(&ShortBytes::from(number));
                }
                assert_fair(&set, &mut rng);
            }
            // One segment that is larger than the others.
            let mut set = numbers(0..1_000);
            prepared().take(2_000).for_each(|m| assert!(set.insert(&m)));
            assert_fair(&set, &mut rng);
        }
    }

    #[test]
    fn a_random_pick_ends_with_a_source_that_repeats_itself() {
        struct Constant(u64);
        impl RngCore for Constant {
            fn next_u32(&mut self) -> u32 {
                self.0 as u32
            }
            fn next_u64(&mut self) -> u64 {
                self.0
            }
            fn fill_bytes(&mut self, bytes: &mut [u8]) {
                bytes.fill(0);
            }
        }
        for size in [1, 20, 1_000, 5_000] {
            let set = numbers(0..size);
            for constant in [0, 1 << 60, u64::MAX] {
                assert!(set.view().random(&mut Constant(constant)).is_some());
            }
        }
        assert!(Set::new().view().random(&mut Constant(0)).is_none());
    }

    #[test]
    fn members_with_prepared_positions_do_not_break_a_set() {
        let members: Vec<_> = prepared().take(3_000).collect();
        let mut set: Set = members.iter().collect();
        assert_eq!(set.len(), members.len());
        assert!(members.iter().all(|m| set.view().contains(m)));
        let seen = scan_all(&mut set, 10, |_| {});
        assert_eq!(seen.len(), members.len());
        assert!(set.view().heap_bytes() < members.len() * 80, "{} bytes", set.view().heap_bytes());
        assert!(members.iter().all(|m| set.remove(m)));
    }
}
