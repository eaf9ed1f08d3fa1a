//! How is a small sorted set kept? As one run of bytes in its order, so that a rank is a place.
//!
//! ```text
//! members u8 | width of a score u8 | length of all | score x members | the members
//! members u8 | width of a score u8 | 255 | length x members | score x members | the members
//! ```
//!
//! Members are of one length more often than not. Scores are whole numbers of 1, 2 or 4 bytes where all of them are, or floats of 8. A change writes the run anew, at most some
//! kilobytes, but for a score that keeps its rank.

use super::super::short_bytes::ShortBytes;
use super::super::table::below;
use super::{Inserted, Side};
use rand::RngCore;
use smallvec::SmallVec;
use std::cmp::Ordering;
use std::ops::Range;

const HEAD_BYTES: usize = 3;
/// Members have lengths of their own.
const DIFFERENT: u8 = 255;
/// Members at the most, and bytes of each: Redis's thresholds.
pub(super) const MEMBERS_MAX: usize = 128;
pub(super) const TEXT_MAX: usize = 64;

/// The members where they lie.
#[derive(Clone, Copy, Debug)]
pub(super) struct FlatRef<'a> {
    bytes: &'a [u8],
}

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
type Pairs<'a> = SmallVec<[Pair<'a>; MEMBERS_MAX]>;

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

fn put_score(out: &mut impl Extend<u8>, width: u8, score: f64) {
    match width {
        1 => out.extend((score as i8).to_le_bytes()),
        2 => out.extend((score as i16).to_le_bytes()),
        4 => out.extend((score as i32).to_le_bytes()),
        _ => out.extend(score.to_le_bytes()),
    }
}

impl<'a> FlatRef<'a> {
    #[inline]
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    #[inline]
    pub(super) fn bytes(self) -> &'a [u8] {
        self.bytes
    }

    #[inline]
    pub(super) fn len(self) -> usize {
        self.bytes.first().map_or(0, |members| usize::from(*members))
    }

    /// The length that all members have, if they have one.
    #[inline]
    fn common_length(self) -> Option<usize> {
        self.bytes.get(2).filter(|length| **length != DIFFERENT).map(|length| usize::from(*length))
    }

    #[inline]
    fn lengths(self) -> &'a [u8] {
        &self.bytes[HEAD_BYTES.min(self.bytes.len())..][..self.len()]
    }

    #[inline]
    fn length(self, rank: usize) -> usize {
        self.common_length().unwrap_or_else(|| usize::from(self.lengths()[rank]))
    }

    /// Bytes of the members before this one.
    #[inline]
    fn bytes_before(self, rank: usize) -> usize {
        let sum = |lengths: &[u8]| lengths.iter().map(|length| usize::from(*length)).sum::<usize>();
        self.common_length().map_or_else(|| sum(&self.lengths()[..rank]), |length| length * rank)
    }

    #[inline]
    fn width(self) -> usize {
        self.bytes.get(1).map_or(1, |width| usize::from(*width))
    }

    #[inline]
    fn scores_at(self) -> usize {
        HEAD_BYTES + if self.common_length().is_some() { 0 } else { self.len() }
    }

    #[inline]
    fn texts_at(self) -> usize {
        self.scores_at() + self.len() * self.width()
    }

    #[inline]
    fn score_at(self, rank: usize) -> f64 {
        let width = self.width();
        let at = self.scores_at() + rank * width;
        match self.bytes[at..at + width] {
            [byte] => f64::from(byte as i8),
            [a, b] => f64::from(i16::from_le_bytes([a, b])),
            [a, b, c, d] => f64::from(i32::from_le_bytes([a, b, c, d])),
            [a, b, c, d, e, f, g, h] => f64::from_le_bytes([a, b, c, d, e, f, g, h]),
            _ => unreachable!("no score is of another width"),
        }
    }

    #[inline]
    pub(super) fn rank(self, member: &[u8]) -> Option<usize> {
        if self.bytes.is_empty() {
            return None;
        }
        let mut texts = &self.bytes[self.texts_at()..];
        if let Some(length) = self.common_length() {
            if length == 0 || member.len() != length {
                return (member.len() == length).then_some(0);
            }
            return texts.chunks_exact(length).position(|other| other.last() == member.last() && other == member);
        }
        for (rank, length) in self.lengths().iter().enumerate() {
            let (other, rest) = texts.split_at(usize::from(*length));
            if other == member {
                return Some(rank);
            }
            texts = rest;
        }
        None
    }

    #[inline]
    pub(super) fn score(self, member: &[u8]) -> Option<f64> {
        self.rank(member).map(|rank| self.score_at(rank))
    }

    /// How many members `is_before` is true of, which are the first ones.
    fn partition_point(self, is_before: impl Fn(Pair<'_>) -> bool) -> usize {
        self.range(0..self.len()).take_while(|pair| is_before(*pair)).count()
    }

    pub(super) fn rank_of_score(self, score: f64, side: Side) -> usize {
        match side {
            Side::Before => self.partition_point(|pair| pair.1 < score),
            Side::Behind => self.partition_point(|pair| pair.1 <= score),
        }
    }

    pub(super) fn rank_of_member(self, member: &[u8], side: Side) -> usize {
        match side {
            Side::Before => self.partition_point(|pair| pair.0 < member),
            Side::Behind => self.partition_point(|pair| pair.0 <= member),
        }
    }

    pub(super) fn range(self, ranks: Range<usize>) -> Iter<'a> {
        let first = if self.bytes.is_empty() { 0 } else { self.texts_at() };
        let (start, end) =
            (first + self.bytes_before(ranks.start), first + self.bytes_before(ranks.end.max(ranks.start)));
        Iter { flat: self, ranks, start, end }
    }

    pub(super) fn random(self, rng: &mut impl RngCore) -> Option<Pair<'a>> {
        let rank = if self.len() == 0 { return None } else { below(rng, self.len()) };
        self.range(rank..rank + 1).next()
    }
}

impl Flat {
    pub(super) const fn new() -> Flat {
        Flat { bytes: Vec::new() }
    }

    #[inline]
    pub(super) fn from_bytes(bytes: Vec<u8>) -> Flat {
        Flat { bytes }
    }

    #[inline]
    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    #[inline]
    pub(super) fn view(&self) -> FlatRef<'_> {
        FlatRef::new(&self.bytes)
    }

    #[inline]
    pub(super) fn len(&self) -> usize {
        self.view().len()
    }

    /// Takes entries that are in order.
    fn write<'a>(&mut self, pairs: impl ExactSizeIterator<Item = Pair<'a>> + Clone) {
        let (mut width, mut texts, mut longest, mut shortest) = (1, 0, 0, usize::MAX);
        for (member, score) in pairs.clone() {
            width = width.max(width_of(score));
            texts += member.len();
            longest = longest.max(member.len());
            shortest = shortest.min(member.len());
        }
        let out = &mut self.bytes;
        out.clear();
        out.reserve(HEAD_BYTES + pairs.len() * (1 + usize::from(width)) + texts);
        out.extend([pairs.len() as u8, width]);
        if longest == shortest {
            out.push(longest as u8);
        } else {
            out.push(DIFFERENT);
            out.extend(pairs.clone().map(|(member, _)| member.len() as u8));
        }
        pairs.clone().for_each(|(_, score)| put_score(out, width, score));
        pairs.for_each(|(member, _)| out.extend_from_slice(member));
    }

    pub(super) fn to_sorted(&self) -> Vec<Scored> {
        self.view().range(0..self.len()).map(|(member, score)| Scored { score, member: member.into() }).collect()
    }

    pub(super) fn insert(&mut self, member: &[u8], score: f64) -> Inserted {
        let flat = self.view();
        let old = flat.rank(member);
        if old.is_some_and(|rank| flat.score_at(rank) == score) {
            return Inserted::Same;
        }
        if let Some(rank) = old
            && self.keeps_rank(rank, member, score)
        {
            return Inserted::Updated;
        }
        let before = self.copy();
        let flat = FlatRef::new(&before);
        let mut pairs: Pairs<'_> = flat.range(0..flat.len()).collect();
        if let Some(rank) = old {
            pairs.remove(rank);
        }
        let place = pairs.partition_point(|pair| compare(*pair, score, member).is_lt());
        pairs.insert(place, (member, score));
        self.write(pairs.iter().copied());
        if old.is_some() { Inserted::Updated } else { Inserted::Added }
    }

    /// Writes a score over the old one if it takes as many bytes and the member stays where it is.
    fn keeps_rank(&mut self, rank: usize, member: &[u8], score: f64) -> bool {
        let flat = self.view();
        let (width, at) = (flat.width(), flat.scores_at() + rank * flat.width());
        let neighbour = |rank: usize| flat.range(rank..rank + 1).next();
        let stays = usize::from(width_of(score)) <= width
            && rank.checked_sub(1).and_then(neighbour).is_none_or(|pair| compare(pair, score, member).is_lt())
            && (rank + 1 == flat.len() || neighbour(rank + 1).is_none_or(|pair| compare(pair, score, member).is_gt()));
        if stays {
            let mut bytes = SmallVec::<[u8; 8]>::new();
            put_score(&mut bytes, width as u8, score);
            self.bytes[at..at + width].copy_from_slice(&bytes);
        }
        stays
    }

    /// What is there, to be written anew; most sets are that small.
    fn copy(&self) -> SmallVec<[u8; 1024]> {
        SmallVec::from_slice(&self.bytes)
    }

    pub(super) fn remove(&mut self, member: &[u8]) -> Option<f64> {
        let rank = self.view().rank(member)?;
        let score = self.view().score_at(rank);
        self.remove_range(rank..rank + 1);
        Some(score)
    }

    pub(super) fn remove_rank(&mut self, rank: usize) -> (ShortBytes, f64) {
        let removed = self.view().range(rank..rank + 1).next().map(|(member, score)| (ShortBytes::from(member), score));
        self.remove_range(rank..rank + 1);
        removed.expect("callers name a rank that there is")
    }

    pub(super) fn remove_range(&mut self, ranks: Range<usize>) {
        let before = self.copy();
        let flat = FlatRef::new(&before);
        let mut pairs: Pairs<'_> = flat.range(0..flat.len()).collect();
        pairs.drain(ranks);
        if pairs.is_empty() {
            self.bytes.clear();
        } else {
            self.write(pairs.iter().copied());
        }
    }
}

/// Members from either end.
#[derive(Clone)]
pub(super) struct Iter<'a> {
    flat: FlatRef<'a>,
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
        self.start += self.flat.length(rank);
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
        self.end -= self.flat.length(rank);
        Some((&self.flat.bytes[self.end..end], self.flat.score_at(rank)))
    }
}

impl ExactSizeIterator for Iter<'_> {}
