//! Which messages of a queue have a row on disk, and which of these rows are to go.
//!
//! ```text
//! ids:  1 .............. through | ..........  last
//!       rows, but for `gone`     | no row yet
//! ```
//!
//! A message that comes and goes between two checkpoints is never noted at all.

use std::collections::BTreeMap;

use crate::broker::effect::ranges;
use crate::broker::limits;
use crate::ids::Offset;

#[derive(Debug)]
pub(crate) struct Written {
    through: u64,
    gone: Ranges,
    /// What is on disk is not known, or too much of it has gone: all rows are written anew.
    is_whole: bool,
    /// The newest record that was taken.
    cut: Offset,
}

impl Default for Written {
    fn default() -> Self {
        Self { through: 0, gone: Ranges::default(), is_whole: true, cut: Offset::ZERO }
    }
}

impl Written {
    /// A persistent message is gone for good.
    #[inline]
    pub(crate) fn removed(&mut self, id: u64) {
        if id <= self.through {
            self.note(id);
        }
    }

    fn note(&mut self, id: u64) {
        if !self.is_whole {
            self.gone.insert(id);
            if self.gone.0.len() > limits::GONE_RANGES {
                self.forget();
            }
        }
    }

    /// As `removed`, for ids that ascend.
    pub(crate) fn removed_all(&mut self, ids: &[u64]) {
        if self.is_whole {
            return;
        }
        for (first, count) in ranges(ids.iter().copied().take_while(|id| *id <= self.through)) {
            self.gone.insert_range(first, first + count - 1);
        }
        if self.gone.0.len() > limits::GONE_RANGES {
            self.forget();
        }
    }

    /// A message has come under an id of its own choice. Below those that were taken that is not expected.
    #[inline]
    pub(crate) fn came(&mut self, id: u64) {
        if id <= self.through {
            self.forget();
        }
    }

    /// What was taken is not what is on disk.
    pub(crate) fn forget(&mut self) {
        *self = Self::default();
    }

    /// Everything up to id `through` and record `cut` is on disk.
    pub(crate) fn set(&mut self, through: u64, cut: Offset) {
        *self = Self { through, gone: Ranges::default(), is_whole: false, cut };
    }

    pub(crate) fn cut(&self) -> Offset {
        self.cut
    }

    pub(crate) fn is_whole(&self) -> bool {
        self.is_whole
    }

    /// The id behind which nothing has a row.
    pub(crate) fn through(&self) -> u64 {
        self.through
    }

    /// First and last id of the rows that are to go.
    pub(crate) fn gone(&self) -> Vec<(u64, u64)> {
        self.gone.0.iter().map(|(first, last)| (*first, *last)).collect()
    }
}

/// First id -> last id. Neighbours are one range.
#[derive(Debug, Default)]
struct Ranges(BTreeMap<u64, u64>);

impl Ranges {
    /// As `insert`, of neighbours.
    fn insert_range(&mut self, first: u64, last: u64) {
        self.insert(first);
        if first == last {
            return;
        }
        let covered: Vec<u64> = self.0.range(first.saturating_add(1)..=last).map(|(start, _)| *start).collect();
        let mut end = last;
        for start in covered {
            end = end.max(self.0.remove(&start).unwrap_or(last));
        }
        let behind = end.checked_add(1).and_then(|next| self.0.remove(&next));
        if let Some((_, present)) = self.0.range_mut(..=first).next_back() {
            *present = (*present).max(behind.unwrap_or(end));
        }
    }

    fn insert(&mut self, id: u64) {
        let behind = id.checked_add(1).and_then(|next| self.0.remove(&next));
        let last = behind.unwrap_or(id);
        match self.0.range_mut(..=id).next_back() {
            Some((_, end)) if *end >= id => {}
            Some((_, end)) if *end + 1 == id => *end = last,
            _ => _ = self.0.insert(id, last),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use rand::Rng as _;
    use rand::seq::SliceRandom;

    use super::*;

    #[test]
    fn ids_in_any_order_become_the_fewest_ranges() {
        let mut ids: Vec<u64> = (1..=200).filter(|id| id % 50 != 0).collect();
        ids.shuffle(&mut rand::rng());
        let mut ranges = Ranges::default();
        let mut model = BTreeSet::new();
        for id in ids {
            ranges.insert(id);
            model.insert(id);
            let held: BTreeSet<u64> = ranges.0.iter().flat_map(|(first, last)| *first..=*last).collect();
            assert_eq!(held, model);
        }
        assert_eq!(ranges.0.into_iter().collect::<Vec<_>>(), [(1, 49), (51, 99), (101, 149), (151, 199)]);
    }

    #[test]
    fn neighbours_together_are_as_each_by_itself() {
        let mut random = rand::rng();
        for _ in 0..1_000 {
            let (mut together, mut each) = (Ranges::default(), Ranges::default());
            for _ in 0..5 {
                let first = random.random_range(1..60);
                let last = first + random.random_range(0..20);
                together.insert_range(first, last);
                (first..=last).for_each(|id| each.insert(id));
                assert_eq!(together.0, each.0);
            }
        }
    }

    #[test]
    fn what_was_consumed_is_bounded() {
        let mut written = Written::default();
        written.set(u64::MAX, Offset(1));
        (0..limits::GONE_RANGES as u64).for_each(|number| written.removed(2 * number));
        assert!(!written.is_whole());
        written.removed(u64::MAX);
        assert!(written.is_whole() && written.gone().is_empty(), "all rows are written anew");
    }
}
