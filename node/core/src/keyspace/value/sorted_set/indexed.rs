//! How is a large sorted set kept? Members in slots, found by a hash table of slot numbers and ordered by a tree.

use super::super::memory::allocated;
use super::super::short_bytes::ShortBytes;
use super::super::table::{Entry, Table};
use super::flat::Scored;
use super::side::{Inserted, Side};
use super::slots::{Id, Slots};
use super::tree::{Cursor, Place, Target, Tree};
use rand::RngCore;
use std::ops::Range;

#[derive(Clone, Debug)]
pub(super) struct Indexed {
    slots: Slots,
    table: Table<Id>,
    tree: Tree,
}

impl Indexed {
    /// Takes entries that are in order.
    pub(super) fn from_sorted(entries: impl IntoIterator<Item = Scored>) -> Indexed {
        let mut set = Indexed { slots: Slots::new(), table: Table::new(), tree: Tree::new() };
        for Scored { score, member } in entries {
            set.insert(&member, score);
        }
        set
    }

    /// Gives its entries up, in order.
    pub(super) fn into_sorted(mut self) -> Vec<Scored> {
        let mut entries = Vec::with_capacity(self.len());
        let mut cursor = self.tree.seek(0);
        for rank in 0..self.len() {
            if rank > 0 {
                cursor.advance();
            }
            entries.push(self.slots.remove(cursor.id()));
        }
        entries
    }

    #[inline]
    pub(super) fn len(&self) -> usize {
        self.table.len()
    }

    #[inline]
    pub(super) fn score(&self, member: &[u8]) -> Option<f64> {
        self.table.get(&self.slots, member).map(|id| self.slots.get(*id).score)
    }

    pub(super) fn rank(&self, member: &[u8]) -> Option<usize> {
        let score = self.score(member)?;
        Some(self.tree.count_while(|s, id| s < score || (s == score && self.slots.member(id) < member)))
    }

    pub(super) fn insert(&mut self, member: &[u8], score: f64) -> Inserted {
        match self.table.entry(&self.slots, member) {
            Entry::Vacant(place) => {
                let id = self.slots.insert(Scored { score, member: ShortBytes::from(member) });
                place.insert(id);
                self.tree.insert(Place { score, member }, id, &self.slots);
                Inserted::Added
            }
            Entry::Occupied(id) => {
                let id = *id;
                let old = Place { score: self.slots.get(id).score, member };
                if old.score == score {
                    return Inserted::Same;
                }
                if self.tree.adjust(old, score, &self.slots).is_none() {
                    self.tree.remove(Target::Place(old), &self.slots);
                    self.tree.insert(Place { score, member }, id, &self.slots);
                }
                self.slots.set_score(id, score);
                Inserted::Updated
            }
        }
    }

    pub(super) fn remove(&mut self, member: &[u8]) -> Option<f64> {
        let id = self.table.remove(&self.slots, member)?;
        let score = self.slots.get(id).score;
        let removed = self.tree.remove(Target::Place(Place { score, member }), &self.slots);
        debug_assert_eq!(removed, id, "table and tree know the same members");
        self.slots.remove(id);
        Some(score)
    }

    pub(super) fn remove_rank(&mut self, rank: usize) -> (ShortBytes, f64) {
        let id = self.tree.remove(Target::Rank(rank), &self.slots);
        self.table.remove(&self.slots, self.slots.member(id));
        let Scored { member, score } = self.slots.remove(id);
        (member, score)
    }

    /// Whether moving what is left to a new place would free most of the memory.
    pub(super) fn is_sparse(&self) -> bool {
        self.slots.is_sparse()
    }

    pub(super) fn rank_of_score(&self, score: f64, side: Side) -> usize {
        match side {
            Side::Before => self.tree.count_while(|s, _| s < score),
            Side::Behind => self.tree.count_while(|s, _| s <= score),
        }
    }

    pub(super) fn rank_of_member(&self, member: &[u8], side: Side) -> usize {
        match side {
            Side::Before => self.tree.count_while(|_, id| self.slots.member(id) < member),
            Side::Behind => self.tree.count_while(|_, id| self.slots.member(id) <= member),
        }
    }

    pub(super) fn range(&self, ranks: Range<usize>) -> Iter<'_> {
        Iter { set: self, ranks, front: None, back: None }
    }

    pub(super) fn random(&self, rng: &mut impl RngCore) -> Option<&Scored> {
        self.table.random(rng).map(|id| self.slots.get(*id))
    }

    pub(super) fn scan(&self, cursor: u64, count: usize) -> (u64, Vec<&Scored>) {
        let (next, ids) = self.table.scan(&self.slots, cursor, count);
        (next, ids.into_iter().map(|id| self.slots.get(*id)).collect())
    }

    pub(super) fn heap_bytes(&self, samples: usize) -> usize {
        allocated(size_of::<Indexed>())
            + self.slots.heap_bytes(samples)
            + self.table.heap_bytes(&self.slots)
            + self.tree.heap_bytes()
    }

    #[cfg(test)]
    pub(super) fn check(&self) {
        let mut ordered = self.tree.check(&self.slots);
        let mut known: Vec<Id> = self.table.iter().copied().collect();
        ordered.sort_unstable();
        known.sort_unstable();
        assert_eq!(ordered, known, "table and tree know the same members");
    }
}

/// The entries of some ranks. Each end looks for its place when it is first asked.
pub(super) struct Iter<'a> {
    set: &'a Indexed,
    ranks: Range<usize>,
    front: Option<Cursor<'a>>,
    back: Option<Cursor<'a>>,
}

impl<'a> Iterator for Iter<'a> {
    type Item = &'a Scored;

    #[inline]
    fn next(&mut self) -> Option<&'a Scored> {
        let rank = self.ranks.next()?;
        match &mut self.front {
            Some(cursor) => cursor.advance(),
            None => self.front = Some(self.set.tree.seek(rank)),
        }
        self.front.as_ref().map(|cursor| self.set.slots.get(cursor.id()))
    }

    fn nth(&mut self, skipped: usize) -> Option<&'a Scored> {
        if skipped > 0 {
            self.ranks.nth(skipped - 1)?;
            self.front = None;
        }
        self.next()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.ranks.size_hint()
    }
}

impl<'a> DoubleEndedIterator for Iter<'a> {
    #[inline]
    fn next_back(&mut self) -> Option<&'a Scored> {
        let rank = self.ranks.next_back()?;
        match &mut self.back {
            Some(cursor) => cursor.retreat(),
            None => self.back = Some(self.set.tree.seek(rank)),
        }
        self.back.as_ref().map(|cursor| self.set.slots.get(cursor.id()))
    }

    fn nth_back(&mut self, skipped: usize) -> Option<&'a Scored> {
        if skipped > 0 {
            self.ranks.nth_back(skipped - 1)?;
            self.back = None;
        }
        self.next_back()
    }
}
