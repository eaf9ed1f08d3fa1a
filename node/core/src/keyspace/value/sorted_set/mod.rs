//! What is a sorted set? Members with a score each, in the order of (score, member bytes).

mod flat;
mod indexed;
mod side;
mod slots;
#[cfg(test)]
mod tests;
mod tree;

use super::memory::allocated;
use super::short_bytes::ShortBytes;
use super::space::{Room, Space};
use crate::prefetch;
use flat::{Flat, FlatRef, Scored};
use indexed::Indexed;
use rand::RngCore;
use std::ops::{Bound, Range, RangeBounds};

pub use side::Inserted;
use side::Side;

/// A sorted set. Scores are never NaN: whoever parses or adds them refuses it first. As in Redis, -0 and 0 are the
/// same score.
#[derive(Clone, Debug)]
pub struct SortedSet {
    form: Form,
}

#[derive(Clone, Debug)]
enum Form {
    Flat(Flat),
    /// In a box, for most sorted sets are small.
    Indexed(Box<Indexed>),
}

/// Reads from either form.
macro_rules! either {
    ($form:expr, $set:ident => $action:expr) => {
        match $form {
            Lent::Flat($set) => $action,
            Lent::Indexed($set) => $action,
        }
    };
}

/// A sorted set, to be read.
#[derive(Clone, Copy, Debug)]
pub struct SortedSetRef<'v>(Lent<'v>);

#[derive(Clone, Copy, Debug)]
enum Lent<'v> {
    Flat(FlatRef<'v>),
    Indexed(&'v Indexed),
}

impl<'v> SortedSetRef<'v> {
    /// A set that is packed in these bytes, see `SortedSet::into_packed`.
    #[inline]
    pub(in crate::keyspace) fn packed(bytes: &'v [u8]) -> Self {
        Self(Lent::Flat(FlatRef::new(bytes)))
    }

    #[inline]
    pub fn len(self) -> usize {
        either!(self.0, set => set.len())
    }

    #[inline]
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    pub fn score(self, member: &[u8]) -> Option<f64> {
        either!(self.0, set => set.score(member))
    }

    /// How many members stand before this one.
    pub fn rank(self, member: &[u8]) -> Option<usize> {
        either!(self.0, set => set.rank(member))
    }

    /// How many members stand behind this one.
    pub fn rev_rank(self, member: &[u8]) -> Option<usize> {
        self.rank(member).map(|rank| self.len() - 1 - rank)
    }

    /// The member of this rank.
    pub fn nth(self, rank: usize) -> Option<(&'v [u8], f64)> {
        self.range_by_rank(rank..=rank).next()
    }

    /// The ranks of the members whose scores lie between the bounds.
    pub fn ranks_by_score(self, min: Bound<f64>, max: Bound<f64>) -> Range<usize> {
        let start = match min {
            Bound::Included(min) => either!(self.0, set => set.rank_of_score(min, Side::Before)),
            Bound::Excluded(min) => either!(self.0, set => set.rank_of_score(min, Side::Behind)),
            Bound::Unbounded => 0,
        };
        let end = match max {
            Bound::Included(max) => either!(self.0, set => set.rank_of_score(max, Side::Behind)),
            Bound::Excluded(max) => either!(self.0, set => set.rank_of_score(max, Side::Before)),
            Bound::Unbounded => self.len(),
        };
        start..end.max(start)
    }

    /// The ranks of the members that lie between the bounds, in a set whose members all have the same score; with
    /// different scores the answer is some range, as in Redis.
    pub fn ranks_by_lex(self, min: Bound<&[u8]>, max: Bound<&[u8]>) -> Range<usize> {
        let start = match min {
            Bound::Included(min) => either!(self.0, set => set.rank_of_member(min, Side::Before)),
            Bound::Excluded(min) => either!(self.0, set => set.rank_of_member(min, Side::Behind)),
            Bound::Unbounded => 0,
        };
        let end = match max {
            Bound::Included(max) => either!(self.0, set => set.rank_of_member(max, Side::Behind)),
            Bound::Excluded(max) => either!(self.0, set => set.rank_of_member(max, Side::Before)),
            Bound::Unbounded => self.len(),
        };
        start..end.max(start)
    }

    /// The members of these ranks, from either end; what lies beyond the last rank is ignored.
    pub fn range_by_rank(self, ranks: impl RangeBounds<usize>) -> Iter<'v> {
        self.range(clamp(ranks, self.len()))
    }

    pub fn range_by_score(self, min: Bound<f64>, max: Bound<f64>) -> Iter<'v> {
        self.range(self.ranks_by_score(min, max))
    }

    /// See `ranks_by_lex`.
    pub fn range_by_lex(self, min: Bound<&[u8]>, max: Bound<&[u8]>) -> Iter<'v> {
        self.range(self.ranks_by_lex(min, max))
    }

    /// How many members have a score between the bounds.
    pub fn count_in(self, min: Bound<f64>, max: Bound<f64>) -> usize {
        self.ranks_by_score(min, max).len()
    }

    pub fn iter(self) -> Iter<'v> {
        self.range_by_rank(..)
    }

    /// A member, each with the same probability.
    pub fn random(self, rng: &mut impl RngCore) -> Option<(&'v [u8], f64)> {
        match self.0 {
            Lent::Flat(set) => set.random(rng),
            Lent::Indexed(set) => set.random(rng).map(Scored::pair),
        }
    }

    /// The next cursor (0: the end) and the members from `cursor` on, see `scan`.
    pub fn scan(self, cursor: u64, count: usize) -> (u64, Vec<(&'v [u8], f64)>) {
        match self.0 {
            Lent::Flat(_) => (0, self.iter().collect()),
            Lent::Indexed(set) => {
                let (next, members) = set.scan(cursor, count);
                (next, members.into_iter().map(Scored::pair).collect())
            }
        }
    }

    /// Whether it is still kept as a small one: once it has been large, it never is again.
    pub fn is_packed(self) -> bool {
        matches!(self.0, Lent::Flat(_))
    }

    /// Bytes that a large one takes, judged by `samples` members (0: all of them).
    pub(super) fn heap_bytes(self, samples: usize) -> usize {
        match self.0 {
            Lent::Flat(_) => 0,
            Lent::Indexed(set) => allocated(size_of::<SortedSet>()) + set.heap_bytes(samples),
        }
    }

    pub fn to_owned(self) -> SortedSet {
        SortedSet {
            form: match self.0 {
                Lent::Flat(set) => Form::Flat(Flat::from_bytes(set.bytes().to_vec())),
                Lent::Indexed(set) => Form::Indexed(Box::new(set.clone())),
            },
        }
    }

    pub(super) fn prefetch(self) {
        if let Lent::Indexed(set) = self.0 {
            prefetch::read(set);
        }
    }

    fn range(self, ranks: Range<usize>) -> Iter<'v> {
        Iter(match self.0 {
            Lent::Flat(set) => Entries::Flat(set.range(ranks)),
            Lent::Indexed(set) => Entries::Indexed(set.range(ranks)),
        })
    }
}

impl PartialEq for SortedSetRef<'_> {
    fn eq(&self, other: &SortedSetRef<'_>) -> bool {
        self.len() == other.len() && self.iter().eq(other.iter())
    }
}

impl SortedSet {
    pub const fn new() -> SortedSet {
        SortedSet { form: Form::Flat(Flat::new()) }
    }

    #[inline]
    pub fn view(&self) -> SortedSetRef<'_> {
        SortedSetRef(match &self.form {
            Form::Flat(set) => Lent::Flat(set.view()),
            Form::Indexed(set) => Lent::Indexed(set),
        })
    }

    /// A set from the bytes of a packed one.
    #[inline]
    pub(in crate::keyspace) fn from_packed(bytes: Vec<u8>) -> SortedSet {
        SortedSet { form: Form::Flat(Flat::from_bytes(bytes)) }
    }

    /// Its bytes, if it is packed.
    #[inline]
    pub(in crate::keyspace) fn into_packed(self) -> Result<Vec<u8>, SortedSet> {
        match self.form {
            Form::Flat(set) => Ok(set.into_bytes()),
            Form::Indexed(_) => Err(self),
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

    /// Gives `member` this score.
    pub fn insert(&mut self, member: &[u8], score: f64) -> Inserted {
        assert!(!score.is_nan(), "a score that is not a number has no place in an order");
        match &mut self.form {
            Form::Flat(set)
                if member.len() > flat::TEXT_MAX
                    || set.len() == flat::MEMBERS_MAX && set.view().rank(member).is_none() =>
            {
                let mut set = Box::new(Indexed::from_sorted(set.to_sorted()));
                set.insert(member, score);
                self.form = Form::Indexed(set);
                Inserted::Added
            }
            Form::Flat(set) => set.insert(member, score),
            Form::Indexed(set) => set.insert(member, score),
        }
    }

    /// As `insert`, of a set that is packed in its entry. Nothing, and nothing has changed: it is to be kept in another way.
    #[inline]
    pub(in crate::keyspace) fn insert_within(room: &mut Room<'_>, member: &[u8], score: f64) -> Option<Inserted> {
        let mut set = Flat::from_bytes(room);
        if member.len() > flat::TEXT_MAX || set.len() == flat::MEMBERS_MAX && set.view().rank(member).is_none() {
            return None;
        }
        set.insert_in_place(member, score)
    }

    /// As `remove_range`, of a set that is packed in its entry. Nothing, and nothing has changed: too little is left of it.
    #[inline]
    pub(in crate::keyspace) fn remove_range_within(room: &mut Room<'_>, ranks: Range<usize>) -> Option<usize> {
        let mut set = Flat::from_bytes(room);
        let ranks = clamp(ranks, set.len());
        let removed = ranks.len();
        (removed < set.len() && set.remove_in_place(ranks)).then_some(removed)
    }

    /// As `remove`, of a set that is packed in its entry: says whether the member was there. Nothing, and nothing has changed: too
    /// little is left of it.
    #[inline]
    pub(in crate::keyspace) fn remove_within(room: &mut Room<'_>, member: &[u8]) -> Option<bool> {
        match SortedSetRef::packed(room.bytes()).rank(member) {
            Some(rank) => Self::remove_range_within(room, rank..rank + 1).map(|_| true),
            None => Some(false),
        }
    }

    /// Removes a member and returns its score.
    pub fn remove(&mut self, member: &[u8]) -> Option<f64> {
        let score = match &mut self.form {
            Form::Flat(set) => set.remove(member),
            Form::Indexed(set) => set.remove(member),
        };
        self.give_back();
        score
    }

    pub fn pop_min(&mut self) -> Option<(ShortBytes, f64)> {
        if self.is_empty() { None } else { Some(self.remove_rank(0)) }
    }

    pub fn pop_max(&mut self) -> Option<(ShortBytes, f64)> {
        let last = self.len().checked_sub(1)?;
        Some(self.remove_rank(last))
    }

    /// Removes the members of these ranks and returns how many there were.
    pub fn remove_range(&mut self, ranks: impl RangeBounds<usize>) -> usize {
        let ranks = clamp(ranks, self.len());
        let removed = ranks.len();
        match &mut self.form {
            Form::Flat(set) => set.remove_range(ranks),
            Form::Indexed(set) => {
                for _ in 0..removed {
                    set.remove_rank(ranks.start);
                }
                self.give_back();
            }
        }
        removed
    }

    fn remove_rank(&mut self, rank: usize) -> (ShortBytes, f64) {
        let removed = match &mut self.form {
            Form::Flat(set) => set.remove_rank(rank),
            Form::Indexed(set) => set.remove_rank(rank),
        };
        self.give_back();
        removed
    }

    /// A set that has shrunk far is packed together.
    #[inline]
    fn give_back(&mut self) {
        let Form::Indexed(set) = &mut self.form else { return };
        if !set.is_sparse() {
            return;
        }
        let empty = Form::Flat(Flat::new());
        if let Form::Indexed(set) = std::mem::replace(&mut self.form, empty) {
            self.form = Form::Indexed(Box::new(Indexed::from_sorted(set.into_sorted())));
        }
    }
}

fn clamp(ranks: impl RangeBounds<usize>, length: usize) -> Range<usize> {
    let start = match ranks.start_bound() {
        Bound::Included(start) => *start,
        Bound::Excluded(start) => start.saturating_add(1),
        Bound::Unbounded => 0,
    };
    let end = match ranks.end_bound() {
        Bound::Included(end) => end.saturating_add(1),
        Bound::Excluded(end) => *end,
        Bound::Unbounded => length,
    };
    let end = end.min(length);
    start.min(end)..end
}

impl Default for SortedSet {
    fn default() -> SortedSet {
        SortedSet::new()
    }
}

impl PartialEq for SortedSet {
    fn eq(&self, other: &SortedSet) -> bool {
        self.view() == other.view()
    }
}

/// Members and scores in order, from either end.
pub struct Iter<'a>(Entries<'a>);

#[allow(
    clippy::large_enum_variant,
    reason = "an iterator lives on the stack; a box would cost every range an allocation"
)]
enum Entries<'a> {
    Flat(flat::Iter<'a>),
    Indexed(indexed::Iter<'a>),
}

impl<'a> Iterator for Iter<'a> {
    type Item = (&'a [u8], f64);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        match &mut self.0 {
            Entries::Flat(entries) => entries.next(),
            Entries::Indexed(entries) => entries.next().map(Scored::pair),
        }
    }

    /// Skips by rank, in logarithmic time.
    fn nth(&mut self, skipped: usize) -> Option<Self::Item> {
        match &mut self.0 {
            Entries::Flat(entries) => entries.nth(skipped),
            Entries::Indexed(entries) => entries.nth(skipped).map(Scored::pair),
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        match &self.0 {
            Entries::Flat(entries) => entries.size_hint(),
            Entries::Indexed(entries) => entries.size_hint(),
        }
    }
}

impl DoubleEndedIterator for Iter<'_> {
    #[inline]
    fn next_back(&mut self) -> Option<Self::Item> {
        match &mut self.0 {
            Entries::Flat(entries) => entries.next_back(),
            Entries::Indexed(entries) => entries.next_back().map(Scored::pair),
        }
    }

    /// Skips by rank, in logarithmic time.
    fn nth_back(&mut self, skipped: usize) -> Option<Self::Item> {
        match &mut self.0 {
            Entries::Flat(entries) => entries.nth_back(skipped),
            Entries::Indexed(entries) => entries.nth_back(skipped).map(Scored::pair),
        }
    }
}

impl ExactSizeIterator for Iter<'_> {}
