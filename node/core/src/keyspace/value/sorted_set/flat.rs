//! How is a small sorted set kept? As one run of bytes in its order, so that a rank is a place.
//!
//! ```text
//! members u8 | width of a score u8 | length x members | score x members | the members
//! ```
//!
//! Scores are whole numbers of 1, 2 or 4 bytes where all of them are, or floats of 8. A change writes the run anew, at most some
//! kilobytes, but for a score that keeps its rank.

use super::super::memory::allocated;
use super::super::short_bytes::ShortBytes;
use super::super::table::below;
use super::{Inserted, Side};
use rand::RngCore;
use smallvec::SmallVec;
use std::cmp::Ordering;
use std::ops::Range;

const HEAD_BYTES: usize = 2;
/// Members at the most, and bytes of each: Redis's thresholds.
pub(super) const MEMBERS_MAX: usize = 128;
pub(super) const TEXT_MAX: usize = 64;

#[derive(Clone, Debug)]
pub(super) struct Flat {
    bytes: Vec<u8>,
}

#[derive(Clone, Debug)]
pub(super) struct Scored {
    pub(super) score: f64,
    pub(super) member: ShortBytes,
}

impl Scored {
    #[inline]
    pub(super) fn pair(&self) -> (&[u8], f64) {
        (&self.member, self.score)
    }
}

impl super::super::memory::Heap for Scored {
    fn heap_bytes(&self) -> usize {
        self.member.heap_bytes()
    }
}

type Pair<'a> = (&'a [u8], f64);

#[inline]
fn compare(pair: Pair<'_>, score: f64, member: &[u8]) -> Ordering {
    // Never NaN, so never `None`.
    pair.1.partial_cmp(&score).unwrap_or(Ordering::Equal).then_with(|| pair.0.cmp(member))
}

/// Bytes that a score takes.
#[inline]
fn width_of(score: f64) -> u8 {
    // A cast saturates, so a number that does not fit is not the same afterwards.
    if f64::from(score as i8) == score {
        1
    } else if f64::from(score as i16) == score {
        2
    } else if f64::from(score as i32) == score {
        4
    } else {
        8
    }
}

fn put_score(out: &mut Vec<u8>, width: u8, score: f64) {
    match width {
        1 => out.extend((score as i8).to_le_bytes()),
        2 => out.extend((score as i16).to_le_bytes()),
        4 => out.extend((score as i32).to_le_bytes()),
        _ => out.extend(score.to_le_bytes()),
    }
}

impl Flat {
    pub(super) const fn new() -> Flat {
        Flat { bytes: Vec::new() }
    }

    /// Takes entries that are in order.
    fn write<'a>(&mut self, pairs: impl ExactSizeIterator<Item = Pair<'a>> + Clone) {
        let width = pairs.clone().map(|(_, score)| width_of(score)).max().unwrap_or(1);
        let texts = pairs.clone().map(|(member, _)| member.len()).sum::<usize>();
        let mut out = Vec::with_capacity(HEAD_BYTES + pairs.len() * (1 + usize::from(width)) + texts);
        out.extend([pairs.len() as u8, width]);
        out.extend(pairs.clone().map(|(member, _)| member.len() as u8));
        pairs.clone().for_each(|(_, score)| put_score(&mut out, width, score));
        pairs.for_each(|(member, _)| out.extend_from_slice(member));
        self.bytes = out;
    }

    pub(super) fn to_sorted(&self) -> Vec<Scored> {
        self.range(0..self.len()).map(|(member, score)| Scored { score, member: member.into() }).collect()
    }

    #[inline]
    pub(super) fn len(&self) -> usize {
        self.bytes.first().map_or(0, |members| usize::from(*members))
    }

    #[inline]
    fn lengths(&self) -> &[u8] {
        &self.bytes[HEAD_BYTES.min(self.bytes.len())..][..self.len()]
    }

    #[inline]
    fn width(&self) -> usize {
        self.bytes.get(1).map_or(1, |width| usize::from(*width))
    }

    #[inline]
    fn texts_at(&self) -> usize {
        HEAD_BYTES + self.len() * (1 + self.width())
    }

    #[inline]
    fn score_at(&self, rank: usize) -> f64 {
        let width = self.width();
        let at = HEAD_BYTES + self.len() + rank * width;
        match self.bytes[at..at + width] {
            [byte] => f64::from(byte as i8),
            [a, b] => f64::from(i16::from_le_bytes([a, b])),
            [a, b, c, d] => f64::from(i32::from_le_bytes([a, b, c, d])),
            [a, b, c, d, e, f, g, h] => f64::from_le_bytes([a, b, c, d, e, f, g, h]),
            _ => unreachable!("no score is of another width"),
        }
    }

    #[inline]
    pub(super) fn rank(&self, member: &[u8]) -> Option<usize> {
        let mut at = if self.bytes.is_empty() { 0 } else { self.texts_at() };
        for (rank, length) in self.lengths().iter().enumerate() {
            let end = at + usize::from(*length);
            if end - at == member.len() && &self.bytes[at..end] == member {
                return Some(rank);
            }
            at = end;
        }
        None
    }

    #[inline]
    pub(super) fn score(&self, member: &[u8]) -> Option<f64> {
        self.rank(member).map(|rank| self.score_at(rank))
    }

    /// How many members `is_before` is true of, which are the first ones.
    fn partition_point(&self, is_before: impl Fn(Pair<'_>) -> bool) -> usize {
        self.range(0..self.len()).take_while(|pair| is_before(*pair)).count()
    }

    pub(super) fn insert(&mut self, member: &[u8], score: f64) -> Inserted {
        let old = self.rank(member);
        if old.is_some_and(|rank| self.score_at(rank) == score) {
            return Inserted::Same;
        }
        let before = std::mem::replace(self, Flat::new());
        let mut pairs: SmallVec<[Pair<'_>; MEMBERS_MAX]> = before.range(0..before.len()).collect();
        if let Some(rank) = old {
            pairs.remove(rank);
        }
        let place = pairs.partition_point(|pair| compare(*pair, score, member).is_lt());
        pairs.insert(place, (member, score));
        self.write(pairs.iter().copied());
        if old.is_some() { Inserted::Updated } else { Inserted::Added }
    }

    pub(super) fn remove(&mut self, member: &[u8]) -> Option<f64> {
        let rank = self.rank(member)?;
        let score = self.score_at(rank);
        self.remove_range(rank..rank + 1);
        Some(score)
    }

    pub(super) fn remove_rank(&mut self, rank: usize) -> (ShortBytes, f64) {
        let removed = self.range(rank..rank + 1).next().map(|(member, score)| (ShortBytes::from(member), score));
        self.remove_range(rank..rank + 1);
        removed.expect("callers name a rank that there is")
    }

    pub(super) fn remove_range(&mut self, ranks: Range<usize>) {
        let before = std::mem::replace(self, Flat::new());
        let mut pairs: SmallVec<[Pair<'_>; MEMBERS_MAX]> = before.range(0..before.len()).collect();
        pairs.drain(ranks);
        if !pairs.is_empty() {
            self.write(pairs.iter().copied());
        }
    }

    pub(super) fn rank_of_score(&self, score: f64, side: Side) -> usize {
        match side {
            Side::Before => self.partition_point(|pair| pair.1 < score),
            Side::Behind => self.partition_point(|pair| pair.1 <= score),
        }
    }

    pub(super) fn rank_of_member(&self, member: &[u8], side: Side) -> usize {
        match side {
            Side::Before => self.partition_point(|pair| pair.0 < member),
            Side::Behind => self.partition_point(|pair| pair.0 <= member),
        }
    }

    pub(super) fn range(&self, ranks: Range<usize>) -> Iter<'_> {
        let sum = |lengths: &[u8]| lengths.iter().map(|length| usize::from(*length)).sum::<usize>();
        let first = if self.bytes.is_empty() { 0 } else { self.texts_at() };
        let start = first + sum(&self.lengths()[..ranks.start]);
        let end = start + sum(&self.lengths()[ranks.clone()]);
        Iter { flat: self, ranks, start, end }
    }

    pub(super) fn random(&self, rng: &mut impl RngCore) -> Option<Pair<'_>> {
        let rank = if self.len() == 0 { return None } else { below(rng, self.len()) };
        self.range(rank..rank + 1).next()
    }

    pub(super) fn heap_bytes(&self) -> usize {
        allocated(self.bytes.capacity())
    }
}

/// Members from either end.
#[derive(Clone)]
pub(super) struct Iter<'a> {
    flat: &'a Flat,
    ranks: Range<usize>,
    /// The bytes of these members.
    start: usize,
    end: usize,
}

impl<'a> Iterator for Iter<'a> {
    type Item = Pair<'a>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let rank = self.ranks.next()?;
        let start = self.start;
        self.start += usize::from(self.flat.lengths()[rank]);
        Some((&self.flat.bytes[start..self.start], self.flat.score_at(rank)))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.ranks.size_hint()
    }
}

impl DoubleEndedIterator for Iter<'_> {
    #[inline]
    fn next_back(&mut self) -> Option<Self::Item> {
        let rank = self.ranks.next_back()?;
        let end = self.end;
        self.end -= usize::from(self.flat.lengths()[rank]);
        Some((&self.flat.bytes[self.end..end], self.flat.score_at(rank)))
    }
}

impl ExactSizeIterator for Iter<'_> {}
