//! What is a list? A double-ended queue of strings, with the positional operations of Redis.

use super::memory::{self, allocated};
use super::short_bytes::ShortBytes;
use std::collections::{VecDeque, vec_deque};
use std::ops::Range;

/// Below this capacity a list never gives memory back.
const SHRINK_MIN: usize = 64;

/// The two ends of a list; also the direction in which occurrences are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Front,
    Back,
}

/// A list of strings. Positions count from the front and are in range unless said otherwise: the caller has resolved
/// negative ones.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct List {
    items: VecDeque<ShortBytes>,
}

pub type Iter<'a> = vec_deque::Iter<'a, ShortBytes>;

impl List {
    pub fn new() -> List {
        List::default()
    }

    pub fn with_capacity(capacity: usize) -> List {
        List { items: VecDeque::with_capacity(capacity) }
    }

    #[inline]
    pub fn len(&self) -> usize {
        self.items.len()
    }

    #[inline]
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    #[inline]
    pub fn push(&mut self, end: End, item: ShortBytes) {
        match end {
            End::Front => self.items.push_front(item),
            End::Back => self.items.push_back(item),
        }
    }

    #[inline]
    pub fn pop(&mut self, end: End) -> Option<ShortBytes> {
        let item = match end {
            End::Front => self.items.pop_front(),
            End::Back => self.items.pop_back(),
        };
        self.give_back();
        item
    }

    pub fn get(&self, index: usize) -> Option<&ShortBytes> {
        self.items.get(index)
    }

    /// Replaces the item at `index` and returns the old one, or nothing where there is none.
    pub fn set(&mut self, index: usize, item: ShortBytes) -> Option<ShortBytes> {
        self.items.get_mut(index).map(|place| std::mem::replace(place, item))
    }

    /// Inserts before the item at `index`; `index` may be the length.
    pub fn insert_at(&mut self, index: usize, item: ShortBytes) {
        self.items.insert(index, item);
    }

    pub fn remove_at(&mut self, index: usize) -> Option<ShortBytes> {
        let item = self.items.remove(index);
        self.give_back();
        item
    }

    /// Removes the items of `range`; what lies beyond the end is ignored.
    pub fn remove_range(&mut self, range: Range<usize>) {
        let range = self.clamp(range);
        self.items.drain(range);
        self.give_back();
    }

    /// Keeps the items of `range` only, as LTRIM does.
    pub fn trim(&mut self, range: Range<usize>) {
        let range = self.clamp(range);
        self.items.truncate(range.end);
        self.items.drain(..range.start);
        self.give_back();
    }

    /// Removes up to `limit` items equal to `item`, counted from `end`, and returns how many there were: LREM.
    pub fn remove_matching(&mut self, item: &[u8], limit: usize, end: End) -> usize {
        let before = self.items.len();
        let mut left = limit;
        match end {
            End::Front => self.items.retain(|other| {
                let gone = left > 0 && other.matches(item);
                left -= usize::from(gone);
                !gone
            }),
            End::Back => {
                // Counted from the back, the last `limit` occurrences go: skip the ones in front of them.
                let occurrences = self.items.iter().filter(|other| other.matches(item)).count();
                let mut kept = occurrences.saturating_sub(limit);
                self.items.retain(|other| {
                    let is_match = other.matches(item);
                    let keep = !is_match || kept > 0;
                    kept -= usize::from(is_match && keep);
                    keep
                });
            }
        }
        self.give_back();
        before - self.items.len()
    }

    pub fn iter(&self) -> Iter<'_> {
        self.items.iter()
    }

    /// The items of `range`; what lies beyond the end is ignored.
    pub fn range(&self, range: Range<usize>) -> Iter<'_> {
        self.items.range(self.clamp(range))
    }

    /// Bytes taken in all, judged by `samples` items (0: all of them).
    pub fn memory_usage(&self, samples: usize) -> usize {
        size_of::<List>()
            + allocated(self.items.capacity() * size_of::<ShortBytes>())
            + memory::sampled(self.iter(), self.len(), samples)
    }

    fn clamp(&self, range: Range<usize>) -> Range<usize> {
        let end = range.end.min(self.items.len());
        range.start.min(end)..end
    }

    /// A list that drained keeps at most eight times what it needs; halving leaves room for it to grow again, so the
    /// copying is paid for by the pops before it.
    #[inline]
    fn give_back(&mut self) {
        let capacity = self.items.capacity();
        if capacity > SHRINK_MIN && self.items.len() < capacity / 8 {
            self.items.shrink_to(capacity / 2);
        }
    }
}

impl FromIterator<ShortBytes> for List {
    fn from_iter<I: IntoIterator<Item = ShortBytes>>(items: I) -> List {
        List { items: items.into_iter().collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keyspace::value::testing::{Seeded, text};
    use rand::Rng;

    #[test]
    fn random_operations_agree_with_a_vec() {
        for seed in Seeded::seeds(20) {
            let mut rng = seed.rng();
            let mut list = List::new();
            let mut model: Vec<Vec<u8>> = Vec::new();
            for _ in 0..2_000 {
                let item = text(&mut rng, 8);
                let index = rng.random_range(0..=model.len());
                let other = rng.random_range(0..=model.len() + 3);
                match rng.random_range(0..13) {
                    0..=2 => {
                        list.push(End::Back, ShortBytes::from(item.as_slice()));
                        model.push(item);
                    }
                    3..=5 => {
                        list.push(End::Front, ShortBytes::from(item.as_slice()));
                        model.insert(0, item);
                    }
                    6 => assert_eq!(list.pop(End::Back).map(|i| i.to_vec()), model.pop()),
                    7 => {
                        let expected = (!model.is_empty()).then(|| model.remove(0));
                        assert_eq!(list.pop(End::Front).map(|i| i.to_vec()), expected);
                    }
                    8 => {
                        list.insert_at(index, ShortBytes::from(item.as_slice()));
                        model.insert(index, item);
                    }
                    9 => {
                        let expected = (index < model.len()).then(|| model.remove(index));
                        assert_eq!(list.remove_at(index).map(|i| i.to_vec()), expected);
                    }
                    10 => {
                        let old = list.set(index, ShortBytes::from(item.as_slice()));
                        assert_eq!(old.is_some(), index < model.len());
                        if let Some(place) = model.get_mut(index) {
                            *place = item;
                        }
                    }
                    11 if rng.random_range(0..20) == 0 => {
                        list.remove_range(index..other);
                        let end = other.min(model.len());
                        model.drain(index.min(end)..end);
                    }
                    11 if rng.random_range(0..20) == 0 => {
                        list.trim(index..other);
                        let end = other.min(model.len());
                        model = model[index.min(end)..end].to_vec();
                    }
                    _ => {
                        let limit = rng.random_range(0..4);
                        let end = if rng.random() { End::Front } else { End::Back };
                        let removed = list.remove_matching(&item, limit, end);
                        for count in 0..limit {
                            let mut places = (0..model.len()).filter(|i| model[*i] == item);
                            let place = if end == End::Front { places.next() } else { places.next_back() };
                            let Some(place) = place else {
                                assert_eq!(removed, count);
                                break;
                            };
                            model.remove(place);
                        }
                    }
                }
                assert!(list.iter().map(|i| i.to_vec()).eq(model.iter().cloned()), "{seed:?}");
                assert!(list.range(index..other).eq(list.iter().take(other).skip(index)), "{seed:?}");
                assert_eq!(list.get(index).map(|i| i.to_vec()), model.get(index).cloned());
            }
        }
    }

    #[test]
    fn a_drained_list_gives_its_memory_back() {
        let mut list: List = (0..100_000).map(ShortBytes::from).collect();
        while list.len() > 10 {
            list.pop(End::Front);
        }
        assert!(list.memory_usage(0) < 10_000, "{} bytes", list.memory_usage(0));
        assert_eq!(list.get(0), Some(&ShortBytes::from(99_990)));
    }
}
