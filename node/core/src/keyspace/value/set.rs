//! What is a set? Members without duplicates, in no order of their own.

use super::integer::parse_integer;
use super::memory::{self, allocated};
use super::packed::{self, Packed};
use super::short_bytes::ShortBytes;
use super::table::{self, Entry, Keys, Table};
use rand::RngCore;

/// A set of byte strings: packed while it is small, a table from then on, as in Redis.
#[derive(Clone, Debug)]
pub struct Set {
    form: Form,
}

#[derive(Clone, Debug)]
enum Form {
    /// Nothing but integers so far.
    Integers(Packed<1>),
    Packed(Packed<1>),
    Table(Box<Table<ShortBytes>>),
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

struct Members;

impl Keys<ShortBytes> for Members {
    #[inline]
    fn key<'a>(&'a self, member: &'a ShortBytes) -> &'a [u8] {
        member
    }
}

impl Set {
    pub const fn new() -> Set {
        Set { form: Form::Integers(Packed::new()) }
    }

    #[inline]
    pub fn len(&self) -> usize {
        match &self.form {
            Form::Integers(packed) | Form::Packed(packed) => packed.len(),
            Form::Table(table) => table.len(),
        }
    }

    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How it is kept: never as something smaller than before.
    pub fn kept(&self) -> Kept {
        match &self.form {
            Form::Integers(_) => Kept::Integers,
            Form::Packed(_) => Kept::Packed,
            Form::Table(_) => Kept::Table,
        }
    }

    #[inline]
    pub fn contains(&self, member: &[u8]) -> bool {
        match &self.form {
            Form::Integers(packed) | Form::Packed(packed) => packed.find(member).is_some(),
            Form::Table(table) => table.get(&Members, member).is_some(),
        }
    }

    /// Adds a member and returns whether it is new.
    #[inline]
    pub fn insert(&mut self, member: &[u8]) -> bool {
        let (is_integers, packed) = match &mut self.form {
            Form::Integers(packed) => (true, packed),
            Form::Packed(packed) => (false, packed),
            Form::Table(table) => {
                return match table.entry(&Members, member) {
                    Entry::Occupied(_) => false,
                    Entry::Vacant(place) => {
                        place.insert(ShortBytes::from(member));
                        true
                    }
                };
            }
        };
        if packed.find(member).is_some() {
            return false;
        }
        let is_integer = is_integers && parse_integer(member).is_some();
        let most = if is_integer { PACKED_INTEGERS_MAX } else { PACKED_MEMBERS_MAX };
        if packed.len() >= most || member.len() > PACKED_TEXT_MAX {
            return self.unpack().insert(member);
        }
        packed.push([member]);
        if is_integers && !is_integer {
            self.form = Form::Packed(std::mem::replace(packed, Packed::new()));
        }
        true
    }

    #[cold]
    fn unpack(&mut self) -> &mut Self {
        let mut table = Box::new(Table::new());
        if let Form::Integers(packed) | Form::Packed(packed) = &self.form {
            for [member] in packed.iter() {
                if let Entry::Vacant(place) = table.entry(&Members, member) {
                    place.insert(ShortBytes::from(member));
                }
            }
        }
        self.form = Form::Table(table);
        self
    }

    /// Removes a member and returns whether it was there.
    #[inline]
    pub fn remove(&mut self, member: &[u8]) -> bool {
        match &mut self.form {
            Form::Integers(packed) | Form::Packed(packed) => match packed.find(member) {
                Some(row) => {
                    packed.remove(row);
                    true
                }
                None => false,
            },
            Form::Table(table) => table.remove(&Members, member).is_some(),
        }
    }

    pub fn iter(&self) -> Iter<'_> {
        match &self.form {
            Form::Integers(packed) | Form::Packed(packed) => Iter(Rows::Packed(packed.iter())),
            Form::Table(table) => Iter(Rows::Table(table.iter())),
        }
    }

    /// A member, each with the same probability.
    pub fn random(&self, rng: &mut impl RngCore) -> Option<&[u8]> {
        match &self.form {
            Form::Integers(packed) | Form::Packed(packed) => packed.random(rng).map(|[member]| member),
            Form::Table(table) => table.random(rng).map(ShortBytes::as_slice),
        }
    }

    /// The next cursor (0: the end) and the members from `cursor` on, see `scan`.
    pub fn scan(&self, cursor: u64, count: usize) -> (u64, Vec<&[u8]>) {
        match &self.form {
            Form::Integers(packed) | Form::Packed(packed) => (0, packed.iter().map(|[member]| member).collect()),
            Form::Table(table) => {
                let (next, members) = table.scan(&Members, cursor, count);
                (next, members.into_iter().map(ShortBytes::as_slice).collect())
            }
        }
    }

    /// Bytes taken in all, judged by `samples` members (0: all of them).
    pub fn memory_usage(&self, samples: usize) -> usize {
        size_of::<Set>()
            + match &self.form {
                Form::Integers(packed) | Form::Packed(packed) => packed.heap_bytes(),
                Form::Table(table) => {
                    allocated(size_of::<Table<ShortBytes>>())
                        + table.heap_bytes()
                        + memory::sampled(table.iter(), self.len(), samples)
                }
            }
    }
}

/// The members of a set, in an order that holds while the set does not change.
pub struct Iter<'a>(Rows<'a>);

enum Rows<'a> {
    Packed(packed::Iter<'a, 1>),
    Table(table::Iter<'a, ShortBytes>),
}

impl<'a> Iterator for Iter<'a> {
    type Item = &'a [u8];

    #[inline]
    fn next(&mut self) -> Option<&'a [u8]> {
        match &mut self.0 {
            Rows::Packed(rows) => rows.next().map(|[member]| member),
            Rows::Table(members) => members.next().map(ShortBytes::as_slice),
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        match &self.0 {
            Rows::Packed(rows) => rows.size_hint(),
            Rows::Table(members) => members.size_hint(),
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
        self.len() == other.len() && self.iter().all(|member| other.contains(member))
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
            let (next, members) = set.scan(cursor, count);
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
                assert_eq!(set.contains(&member), model.contains(&member));
                assert_eq!(set.len(), model.len());
            }
            assert!(set.iter().map(|m| m.to_vec()).collect::<BTreeSet<_>>() == model, "{seed:?}");
            assert_eq!(set.iter().len(), model.len());
            assert_eq!(set.iter().count(), model.len());
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
            assert!(set.contains(&ShortBytes::from(number)));
            assert!(set.remove(&ShortBytes::from(number)));
            assert!(!set.contains(&ShortBytes::from(number)));
            let left = 20_000 - number as usize - 1;
            assert_eq!(set.len(), left);
            if left.is_power_of_two() {
                assert_eq!(set.iter().count(), left);
                let usage = set.memory_usage(0);
                assert!(usage <= 1_000 + left * 300, "{usage} bytes for {left} members of a set that was large");
            }
        }
        assert!(set.is_empty());
        assert!(set.memory_usage(0) < 1_000, "an emptied set keeps {} bytes", set.memory_usage(0));
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
        assert_eq!(set.kept(), Kept::Integers);
        set.insert(b"512");
        assert_eq!(set.kept(), Kept::Table);
        (1..513).for_each(|number| assert!(set.remove(&ShortBytes::from(number))));
        assert_eq!((set.len(), set.kept()), (1, Kept::Table));
        let mut set = numbers(0..100);
        set.insert(b"text");
        set.remove(b"text");
        assert_eq!(set.kept(), Kept::Packed, "a text was there");
        let mut set = numbers(0..129);
        set.insert(b"text");
        assert_eq!((set.kept(), set.len()), (Kept::Table, 130));
        let mut set = numbers(0..3);
        set.insert(&[b'x'; 65]);
        assert_eq!((set.kept(), set.len()), (Kept::Table, 4));
    }

    #[test]
    fn a_small_set_is_scanned_in_one_page() {
        let set = numbers(0..128);
        assert_eq!(set.kept(), Kept::Integers);
        let (next, members) = set.scan(0, 10);
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
            let page = one.scan(cursor, 64);
            assert_eq!(page, other.scan(cursor, 64));
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
            *hits.entry(ShortBytes::from(set.random(rng).unwrap())).or_default() += 1;
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
                assert!(set.random(&mut Constant(constant)).is_some());
            }
        }
        assert!(Set::new().random(&mut Constant(0)).is_none());
    }

    #[test]
    fn members_with_prepared_positions_do_not_break_a_set() {
        let members: Vec<_> = prepared().take(3_000).collect();
        let mut set: Set = members.iter().collect();
        assert_eq!(set.len(), members.len());
        assert!(members.iter().all(|m| set.contains(m)));
        let seen = scan_all(&mut set, 10, |_| {});
        assert_eq!(seen.len(), members.len());
        assert!(set.memory_usage(0) < members.len() * 80, "{} bytes", set.memory_usage(0));
        assert!(members.iter().all(|m| set.remove(m)));
    }
}
