//! What is in a leaf? Scores in order and, beside them, the numbers of their members' slots.

use super::super::side::Side;
use super::super::slots::{Id, Slots};
use super::arrays::{level, open};
use super::place::{Place, Target, entries_before};

/// A leaf takes 640 bytes, which is a size class of the allocator.
pub(super) const LEAF_MAX: usize = 53;
/// With fewer entries a leaf is refilled.
pub(super) const LEAF_MIN: usize = LEAF_MAX / 4;

#[derive(Clone, Debug)]
pub(super) struct Leaf {
    pub(super) scores: [f64; LEAF_MAX],
    pub(super) ids: [Id; LEAF_MAX],
    pub(super) len: u32,
}

impl Leaf {
    pub(super) fn empty() -> Box<Leaf> {
        Box::new(Leaf { scores: [0.0; LEAF_MAX], ids: [0; LEAF_MAX], len: 0 })
    }

    #[inline]
    pub(super) fn len(&self) -> usize {
        (self.len as usize).min(LEAF_MAX)
    }

    #[inline]
    pub(super) fn scores(&self) -> &[f64] {
        &self.scores[..self.len()]
    }

    #[inline]
    pub(super) fn ids(&self) -> &[Id] {
        &self.ids[..self.len()]
    }

    /// Adds an entry and returns the right half, if the leaf had to be divided.
    pub(super) fn insert(&mut self, place: Place<'_>, id: Id, slots: &Slots) -> Option<Box<Leaf>> {
        let at = entries_before(self.scores(), self.ids(), place, Side::Before, slots);
        if self.len() < LEAF_MAX {
            self.insert_at(at, place.score, id);
            return None;
        }
        // In the order of arrival, as with times for scores, the full leaf stays full.
        let middle = if at == LEAF_MAX || at == 0 { at } else { LEAF_MAX / 2 };
        let mut right = self.split_off(middle);
        if at < middle || middle == 0 {
            self.insert_at(at, place.score, id);
        } else {
            right.insert_at(at - middle, place.score, id);
        }
        Some(right)
    }

    pub(super) fn remove(&mut self, target: Target<'_>, slots: &Slots) -> Id {
        let at = match target {
            Target::Rank(rank) => rank,
            Target::Place(place) => entries_before(self.scores(), self.ids(), place, Side::Before, slots),
        };
        let id = self.ids()[at];
        let len = self.len();
        self.scores.copy_within(at + 1..len, at);
        self.ids.copy_within(at + 1..len, at);
        self.len -= 1;
        id
    }

    #[inline]
    pub(super) fn insert_at(&mut self, at: usize, score: f64, id: Id) {
        let len = self.len();
        open(&mut self.scores, len, at, score);
        open(&mut self.ids, len, at, id);
        self.len += 1;
    }

    pub(super) fn split_off(&mut self, middle: usize) -> Box<Leaf> {
        let mut right = Leaf::empty();
        let moved = self.len() - middle;
        right.scores[..moved].copy_from_slice(&self.scores[middle..self.len()]);
        right.ids[..moved].copy_from_slice(&self.ids[middle..self.len()]);
        right.len = moved as u32;
        self.len = middle as u32;
        right
    }

    /// Moves entries between neighbours until the left one has `left_len`.
    pub(super) fn level(&mut self, right: &mut Leaf, left_len: usize) {
        let (own, other) = (self.len(), right.len());
        level(&mut self.scores, own, &mut right.scores, other, left_len);
        level(&mut self.ids, own, &mut right.ids, other, left_len);
        self.len = left_len as u32;
        right.len = (own + other - left_len) as u32;
    }
}
