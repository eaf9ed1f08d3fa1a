//! How is a small sorted set kept? As one run of bytes in its order, so that a rank is a place.
//!
//! ```text
//! members u8 | width of a score u8 | length of all | score x members | the members
//! members u8 | width of a score u8 | 255 | length x members | score x members | the members
//! ```
//!
//! Members are of one length more often than not. Scores are whole numbers of 1, 2 or 4 bytes where all of them are, or floats
//! of 8. A member whose length or score does not fit makes that the run is written anew, at most some kilobytes.

use super::super::random::below;
use super::super::short_bytes::ShortBytes;
use super::super::space::Space;
use super::side::{Inserted, Side};
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
pub(super) struct Flat<S = Vec<u8>> {
    bytes: S,
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

/// Writes a score to a place of its width.
#[inline]
fn put_score(place: &mut [u8], score: f64) {
    match place.len() {
        1 => place.copy_from_slice(&(score as i8).to_le_bytes()),
        2 => place.copy_from_slice(&(score as i16).to_le_bytes()),
        4 => place.copy_from_slice(&(score as i32).to_le_bytes()),
        _ => place.copy_from_slice(&score.to_le_bytes()),
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

    /// How many scores `is_before` is true of, which are the first ones.
    #[inline]
    fn scores_before(self, is_before: impl Fn(f64) -> bool) -> usize {
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = usize::midpoint(low, high);
            if is_before(self.score_at(middle)) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low
    }

    pub(super) fn rank_of_score(self, score: f64, side: Side) -> usize {
        match side {
            Side::Before => self.scores_before(|other| other < score),
            Side::Behind => self.scores_before(|other| other <= score),
        }
    }

    /// How many members stand before this one, or would.
    fn place_of(self, member: &[u8], score: f64) -> usize {
        let first = self.rank_of_score(score, Side::Before);
        let same = self.range(first..self.len()).take_while(|pair| pair.1 == score && pair.0 < member);
        first + same.count()
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
    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.bytes
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
        for (_, score) in pairs.clone() {
            let at = out.len();
            out.resize(at + usize::from(width), 0);
            put_score(&mut out[at..], score);
        }
        pairs.for_each(|(member, _)| out.extend_from_slice(member));
    }

    pub(super) fn to_sorted(&self) -> Vec<Scored> {
        self.view().range(0..self.len()).map(|(member, score)| Scored { score, member: member.into() }).collect()
    }

    pub(super) fn insert(&mut self, member: &[u8], score: f64) -> Inserted {
        if let Some(inserted) = self.insert_in_place(member, score) {
            return inserted;
        }
        let before: SmallVec<[u8; 1024]> = SmallVec::from_slice(&self.bytes);
        let flat = FlatRef::new(&before);
        let mut pairs: Pairs<'_> = flat.range(0..flat.len()).collect();
        let old = flat.rank(member);
        if let Some(rank) = old {
            pairs.remove(rank);
        }
        let place = pairs.partition_point(|pair| compare(*pair, score, member).is_lt());
        pairs.insert(place, (member, score));
        self.write(pairs.iter().copied());
        if old.is_some() { Inserted::Updated } else { Inserted::Added }
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
        if ranks.len() == self.len() {
            self.bytes.clear();
        } else {
            self.remove_in_place(ranks);
        }
    }
}

impl<S: Space> Flat<S> {
    #[inline]
    pub(super) fn from_bytes(bytes: S) -> Self {
        Self { bytes }
    }

    #[inline]
    pub(super) fn view(&self) -> FlatRef<'_> {
        FlatRef::new(self.bytes.bytes())
    }

    #[inline]
    pub(super) fn len(&self) -> usize {
        self.view().len()
    }

    /// Gives a member a score, if both are as wide as those that are there, and there is room. Nothing has changed otherwise.
    #[inline]
    pub(super) fn insert_in_place(&mut self, member: &[u8], score: f64) -> Option<Inserted> {
        let flat = self.view();
        let old = flat.rank(member);
        if old.is_some_and(|rank| flat.score_at(rank) == score) {
            return Some(Inserted::Same);
        }
        if flat.bytes.is_empty() || usize::from(width_of(score)) > flat.width() {
            return None;
        }
        let place = flat.place_of(member, score);
        match old {
            Some(rank) => {
                // It is not counted itself.
                self.move_to(rank, if place > rank { place - 1 } else { place }, score);
                Some(Inserted::Updated)
            }
            None => self.add_at(place, member, score).then_some(Inserted::Added),
        }
    }

    /// Gives the member of a rank another score, and another rank.
    fn move_to(&mut self, from: usize, to: usize, score: f64) {
        let flat = self.view();
        let (width, scores_at, texts_at) = (flat.width(), flat.scores_at(), flat.texts_at());
        let (low, high) = (from.min(to), from.max(to) + 1);
        let (start, end) = (texts_at + flat.bytes_before(low), texts_at + flat.bytes_before(high));
        let (length, is_common) = (flat.length(from), flat.common_length().is_some());
        let bytes = self.bytes.bytes_mut();
        let mut turn = |range: Range<usize>, by: usize| {
            let part = &mut bytes[range];
            if from < to { part.rotate_left(by) } else { part.rotate_right(by) }
        };
        if from != to {
            turn(start..end, length);
            turn(scores_at + low * width..scores_at + high * width, width);
            if !is_common {
                turn(HEAD_BYTES + low..HEAD_BYTES + high, 1);
            }
        }
        put_score(&mut bytes[scores_at + to * width..][..width], score);
    }

    /// Adds a member at its place. Says whether there is room for it.
    fn add_at(&mut self, place: usize, member: &[u8], score: f64) -> bool {
        let flat = self.view();
        let (count, width, scores_at, texts_at) = (flat.len(), flat.width(), flat.scores_at(), flat.texts_at());
        let lengths = match flat.common_length() {
            Some(length) if length == member.len() => 0,
            Some(_) => return false,
            None => 1,
        };
        let (text_at, before) = (texts_at + flat.bytes_before(place), flat.bytes.len());
        let after = before + lengths + width + member.len();
        if !self.bytes.allows(after) {
            return false;
        }
        self.bytes.set_length(after);
        let bytes = self.bytes.bytes_mut();
        // From the back: each part moves by what is added before it.
        let (score_at, score_to) = (scores_at + place * width, scores_at + place * width + lengths);
        let text_to = text_at + lengths + width;
        bytes.copy_within(text_at..before, text_to + member.len());
        bytes.copy_within(score_at..text_at, score_to + width);
        bytes[text_to..text_to + member.len()].copy_from_slice(member);
        if lengths > 0 {
            bytes.copy_within(HEAD_BYTES + place..score_at, HEAD_BYTES + place + 1);
            bytes[HEAD_BYTES + place] = member.len() as u8;
        }
        put_score(&mut bytes[score_to..score_to + width], score);
        bytes[0] = (count + 1) as u8;
        true
    }

    /// Removes members, of which some are left. Says whether what is left may lie there.
    pub(super) fn remove_in_place(&mut self, ranks: Range<usize>) -> bool {
        let flat = self.view();
        let (count, width, scores_at, texts_at) = (flat.len(), flat.width(), flat.scores_at(), flat.texts_at());
        let (start, end) = (texts_at + flat.bytes_before(ranks.start), texts_at + flat.bytes_before(ranks.end));
        let (gone, is_common, before) = (ranks.len(), flat.common_length().is_some(), flat.bytes.len());
        let lengths = if is_common { 0 } else { gone };
        let after = before - lengths - gone * width - (end - start);
        if !self.bytes.allows(after) {
            return false;
        }
        let bytes = self.bytes.bytes_mut();
        let (score_from, score_to) = (scores_at + ranks.start * width, scores_at + ranks.end * width);
        if !is_common {
            bytes.copy_within(HEAD_BYTES + ranks.end..score_from, HEAD_BYTES + ranks.start);
        }
        bytes.copy_within(score_to..start, score_from - lengths);
        bytes.copy_within(end..before, start - lengths - gone * width);
        bytes[0] = (count - gone) as u8;
        self.bytes.set_length(after);
        true
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
