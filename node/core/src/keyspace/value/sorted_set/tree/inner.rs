//! What is in an inner node? Its children, which are nodes themselves, where each begins, and how many entries each has.

use super::super::side::Side;
use super::super::slots::{Id, Slots};
use super::arrays::{level, open};
use super::leaf::{LEAF_MAX, LEAF_MIN, Leaf};
use super::place::{Place, Target, entries_before};

/// An inner node takes 1024 bytes and its children as much.
pub(super) const INNER_MAX: usize = 62;
/// With fewer children a node is refilled.
pub(super) const INNER_MIN: usize = INNER_MAX / 4;

#[derive(Clone, Debug)]
pub(super) enum Node {
    Leaf(Box<Leaf>),
    Inner(Box<Inner>),
}

#[derive(Clone, Debug)]
pub(super) struct Inner {
    /// Score and id of every child's first entry.
    pub(super) scores: [f64; INNER_MAX],
    pub(super) ids: [Id; INNER_MAX],
    pub(super) counts: [u32; INNER_MAX],
    pub(super) children: Vec<Node>,
}

impl Inner {
    pub(super) fn empty() -> Box<Inner> {
        Box::new(Inner {
            scores: [0.0; INNER_MAX],
            ids: [0; INNER_MAX],
            counts: [0; INNER_MAX],
            children: Vec::with_capacity(INNER_MAX),
        })
    }

    #[inline]
    pub(super) fn len(&self) -> usize {
        self.children.len().min(INNER_MAX)
    }

    /// The child in which an entry is, or belongs: the last one that does not begin behind it.
    #[inline]
    pub(super) fn child_of(&self, place: Place<'_>, slots: &Slots) -> usize {
        let len = self.len();
        entries_before(&self.scores[..len], &self.ids[..len], place, Side::Behind, slots).saturating_sub(1)
    }

    /// The child that has the entry of this rank, and the rank therein.
    #[inline]
    pub(super) fn child_of_rank(&self, mut rank: usize) -> (usize, usize) {
        let mut child = 0;
        while rank >= self.counts[child] as usize {
            rank -= self.counts[child] as usize;
            child += 1;
        }
        (child, rank)
    }

    #[inline]
    pub(super) fn count_before(&self, child: usize) -> usize {
        self.counts[..child].iter().map(|count| *count as usize).sum()
    }

    pub(super) fn insert(&mut self, place: Place<'_>, id: Id, slots: &Slots) -> Option<Box<Inner>> {
        let child = self.child_of(place, slots);
        let split = self.children[child].insert(place, id, slots);
        (self.scores[child], self.ids[child]) = self.children[child].first();
        let Some(right) = split else {
            self.counts[child] += 1;
            return None;
        };
        self.counts[child] = self.children[child].count() as u32;
        let at = child + 1;
        if self.len() < INNER_MAX {
            self.insert_at(at, right);
            return None;
        }
        // At the end the full node stays full but for one child: no node may have a single one.
        let middle = if at == INNER_MAX { INNER_MAX - 1 } else { INNER_MAX / 2 };
        let mut upper = Inner::empty();
        self.level(&mut upper, middle);
        if at < middle {
            self.insert_at(at, right)
        } else {
            upper.insert_at(at - middle, right)
        }
        Some(upper)
    }

    pub(super) fn remove(&mut self, target: Target<'_>, slots: &Slots) -> Id {
        let (child, target) = match target {
            Target::Place(place) => (self.child_of(place, slots), target),
            Target::Rank(rank) => {
                let (child, within) = self.child_of_rank(rank);
                (child, Target::Rank(within))
            }
        };
        let id = self.children[child].remove(target, slots);
        self.counts[child] -= 1;
        if self.children[child].is_short() {
            self.refill(child);
        } else {
            (self.scores[child], self.ids[child]) = self.children[child].first();
        }
        id
    }

    /// Evens a short child out with a neighbour, or unites the two.
    pub(super) fn refill(&mut self, child: usize) {
        let left = child.saturating_sub(1);
        let (head, tail) = self.children.split_at_mut(left + 1);
        let is_united = match (&mut head[left], &mut tail[0]) {
            (Node::Leaf(one), Node::Leaf(other)) => {
                let both = one.len() + other.len();
                one.level(other, if both <= LEAF_MAX { both } else { both / 2 });
                both <= LEAF_MAX
            }
            (Node::Inner(one), Node::Inner(other)) => {
                let both = one.len() + other.len();
                one.level(other, if both <= INNER_MAX { both } else { both / 2 });
                both <= INNER_MAX
            }
            (Node::Leaf(_), Node::Inner(_)) | (Node::Inner(_), Node::Leaf(_)) => {
                unreachable!("all leaves have the same depth")
            }
        };
        if is_united {
            let (at, len) = (left + 1, self.len());
            self.scores.copy_within(at + 1..len, at);
            self.ids.copy_within(at + 1..len, at);
            self.counts.copy_within(at + 1..len, at);
            self.children.remove(at);
        } else {
            self.describe(left + 1);
        }
        self.describe(left);
    }

    pub(super) fn insert_at(&mut self, at: usize, child: Node) {
        let len = self.len();
        let (score, id) = child.first();
        open(&mut self.scores, len, at, score);
        open(&mut self.ids, len, at, id);
        open(&mut self.counts, len, at, child.count() as u32);
        self.children.insert(at, child);
    }

    /// Brings what is known of a child up to date.
    pub(super) fn describe(&mut self, child: usize) {
        (self.scores[child], self.ids[child]) = self.children[child].first();
        self.counts[child] = self.children[child].count() as u32;
    }

    /// Moves children between neighbours until the left one has `left_len`.
    pub(super) fn level(&mut self, right: &mut Inner, left_len: usize) {
        let (own, other) = (self.len(), right.len());
        level(&mut self.scores, own, &mut right.scores, other, left_len);
        level(&mut self.ids, own, &mut right.ids, other, left_len);
        level(&mut self.counts, own, &mut right.counts, other, left_len);
        if own > left_len {
            right.children.splice(..0, self.children.drain(left_len..));
        } else {
            self.children.extend(right.children.drain(..left_len - own));
        }
    }
}

impl Node {
    pub(super) fn insert(&mut self, place: Place<'_>, id: Id, slots: &Slots) -> Option<Node> {
        match self {
            Node::Leaf(leaf) => leaf.insert(place, id, slots).map(Node::Leaf),
            Node::Inner(inner) => inner.insert(place, id, slots).map(Node::Inner),
        }
    }

    pub(super) fn remove(&mut self, target: Target<'_>, slots: &Slots) -> Id {
        match self {
            Node::Leaf(leaf) => leaf.remove(target, slots),
            Node::Inner(inner) => inner.remove(target, slots),
        }
    }

    /// The first entry. Not for an empty leaf, which only the root may be, or one that is about to be united.
    #[inline]
    pub(super) fn first(&self) -> (f64, Id) {
        match self {
            Node::Leaf(leaf) => (leaf.scores[0], leaf.ids[0]),
            Node::Inner(inner) => (inner.scores[0], inner.ids[0]),
        }
    }

    pub(super) fn count(&self) -> usize {
        match self {
            Node::Leaf(leaf) => leaf.len(),
            Node::Inner(inner) => inner.count_before(inner.len()),
        }
    }

    #[inline]
    pub(super) fn is_short(&self) -> bool {
        match self {
            Node::Leaf(leaf) => leaf.len() < LEAF_MIN,
            Node::Inner(inner) => inner.len() < INNER_MIN,
        }
    }

    pub(super) fn heap_bytes(&self) -> usize {
        match self {
            Node::Leaf(_) => size_of::<Leaf>(),
            Node::Inner(inner) => {
                size_of::<Inner>()
                    + INNER_MAX * size_of::<Node>()
                    + inner.children.iter().map(Node::heap_bytes).sum::<usize>()
            }
        }
    }
}
