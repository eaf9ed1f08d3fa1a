//! How is a small sorted set kept? As one vector in its order: less memory than any index, and quicker to search.

use super::super::memory::{self, Heap, allocated};
use super::super::short_bytes::ShortBytes;
use super::super::table::below;
use super::{Inserted, Side};
use rand::RngCore;
use std::cmp::Ordering;
use std::ops::Range;

#[derive(Clone, Debug)]
pub(super) struct Flat {
    entries: Vec<Scored>,
}

#[derive(Clone, Debug)]
pub(super) struct Scored {
    pub(super) score: f64,
    pub(super) member: ShortBytes,
}

impl Heap for Scored {
    fn heap_bytes(&self) -> usize {
        self.member.heap_bytes()
    }
}

impl Scored {
    #[inline]
    pub(super) fn pair(&self) -> (&ShortBytes, f64) {
        (&self.member, self.score)
    }

    #[inline]
    fn cmp(&self, score: f64, member: &[u8]) -> Ordering {
        // Never NaN, so never `None`.
        self.score.partial_cmp(&score).unwrap_or(Ordering::Equal).then_with(|| self.member.as_slice().cmp(member))
    }
}

impl Flat {
    pub(super) const fn new() -> Flat {
        Flat { entries: Vec::new() }
    }

    /// Takes entries that are in order.
    pub(super) fn from_sorted(entries: Vec<Scored>) -> Flat {
        Flat { entries }
    }

    pub(super) fn into_sorted(self) -> Vec<Scored> {
        self.entries
    }

    #[inline]
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    #[inline]
    pub(super) fn rank(&self, member: &[u8]) -> Option<usize> {
        self.entries.iter().position(|e| e.member.matches(member))
    }

    #[inline]
    pub(super) fn score(&self, member: &[u8]) -> Option<f64> {
        self.rank(member).map(|rank| self.entries[rank].score)
    }

    pub(super) fn insert(&mut self, member: &[u8], score: f64) -> Inserted {
        let Some(old) = self.rank(member) else {
            let place = self.entries.partition_point(|e| e.cmp(score, member).is_lt());
            self.entries.insert(place, Scored { score, member: ShortBytes::from(member) });
            return Inserted::Added;
        };
        if self.entries[old].score == score {
            return Inserted::Same;
        }
        // Its new place, counted without itself; what lies between the two places moves by one.
        let moves_up = self.entries[old].score < score;
        self.entries[old].score = score;
        if moves_up {
            let behind = &self.entries[old + 1..];
            let passed = behind.partition_point(|e| e.cmp(score, member).is_lt());
            self.entries[old..=old + passed].rotate_left(1);
        } else {
            let place = self.entries[..old].partition_point(|e| e.cmp(score, member).is_lt());
            self.entries[place..=old].rotate_right(1);
        }
        Inserted::Updated
    }

    pub(super) fn remove(&mut self, member: &[u8]) -> Option<f64> {
        let rank = self.rank(member)?;
        Some(self.entries.remove(rank).score)
    }

    pub(super) fn remove_rank(&mut self, rank: usize) -> (ShortBytes, f64) {
        let Scored { member, score } = self.entries.remove(rank);
        (member, score)
    }

    pub(super) fn remove_range(&mut self, ranks: Range<usize>) {
        self.entries.drain(ranks);
    }

    pub(super) fn rank_of_score(&self, score: f64, side: Side) -> usize {
        match side {
            Side::Before => self.entries.partition_point(|e| e.score < score),
            Side::Behind => self.entries.partition_point(|e| e.score <= score),
        }
    }

    pub(super) fn rank_of_member(&self, member: &[u8], side: Side) -> usize {
        match side {
            Side::Before => self.entries.partition_point(|e| e.member.as_slice() < member),
            Side::Behind => self.entries.partition_point(|e| e.member.as_slice() <= member),
        }
    }

    pub(super) fn range(&self, ranks: Range<usize>) -> Iter<'_> {
        self.entries[ranks].iter()
    }

    pub(super) fn random(&self, rng: &mut impl RngCore) -> Option<&Scored> {
        if self.entries.is_empty() { None } else { self.entries.get(below(rng, self.entries.len())) }
    }

    pub(super) fn heap_bytes(&self, samples: usize) -> usize {
        allocated(self.entries.capacity() * size_of::<Scored>())
            + memory::sampled(self.entries.iter(), self.len(), samples)
    }
}

pub(super) type Iter<'a> = std::slice::Iter<'a, Scored>;
