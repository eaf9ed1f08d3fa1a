//! How is a large sorted set ordered? By a B+tree that counts, so that ranks cost as little as scores do.
//!
//! ```text
//! inner   (first entry of the child, number of entries in the child, child) x 2..=62
//! leaf    (score, id of the member) x 1..=53
//! ```
//!
//! A node holds scores and slot numbers only. Members are looked up in the slots where scores are equal, so a search
//! over distinct scores stays within four or five arrays of numbers. All leaves have the same depth; an inner node has at least two
//! children, and a removal that leaves less than a quarter refills the node from its neighbour or unites the two.

use super::Side;
use super::slots::{Id, Slots};
use smallvec::SmallVec;

/// A leaf takes 640 bytes, which is a size class of the allocator.
const LEAF_MAX: usize = 53;
/// An inner node takes 1024 bytes and its children as much.
const INNER_MAX: usize = 62;
const LEAF_MIN: usize = LEAF_MAX / 4;
const INNER_MIN: usize = INNER_MAX / 4;
/// Inner levels of a tree of fifty million members; a higher one costs an iterator an allocation.
const USUAL_HEIGHT: usize = 4;

#[derive(Clone, Debug)]
pub(super) struct Tree {
    root: Node,
}

#[derive(Clone, Debug)]
enum Node {
    Leaf(Box<Leaf>),
    Inner(Box<Inner>),
}

#[derive(Clone, Debug)]
struct Leaf {
    scores: [f64; LEAF_MAX],
    ids: [Id; LEAF_MAX],
    len: u32,
}

#[derive(Clone, Debug)]
struct Inner {
    /// Score and id of every child's first entry.
    scores: [f64; INNER_MAX],
    ids: [Id; INNER_MAX],
    counts: [u32; INNER_MAX],
    children: Vec<Node>,
}

/// Where an entry belongs.
#[derive(Clone, Copy)]
pub(super) struct Place<'a> {
    pub(super) score: f64,
    pub(super) member: &'a [u8],
}

/// Which entry is to be removed: one that is there, or the one of a rank below the length.
#[derive(Clone, Copy)]
pub(super) enum Target<'a> {
    Place(Place<'a>),
    Rank(usize),
}

impl Tree {
    pub(super) fn new() -> Tree {
        Tree { root: Node::Leaf(Leaf::empty()) }
    }

    /// Adds an entry that is not there yet.
    pub(super) fn insert(&mut self, place: Place<'_>, id: Id, slots: &Slots) {
        if let Some(right) = self.root.insert(place, id, slots) {
            let left = std::mem::replace(&mut self.root, Node::Leaf(Leaf::empty()));
            let mut root = Inner::empty();
            root.insert_at(0, left);
            root.insert_at(1, right);
            self.root = Node::Inner(root);
        }
    }

    /// Removes an entry and returns its id.
    pub(super) fn remove(&mut self, target: Target<'_>, slots: &Slots) -> Id {
        let id = self.root.remove(target, slots);
        if let Node::Inner(root) = &mut self.root
            && root.children.len() == 1
            && let Some(child) = root.children.pop()
        {
            self.root = child;
        }
        id
    }

    /// Gives an entry another score where it keeps its rank and that is seen from its own leaf. Otherwise nothing
    /// happens and the answer is `None`.
    pub(super) fn adjust(&mut self, place: Place<'_>, score: f64, slots: &Slots) -> Option<()> {
        let mut node = &mut self.root;
        loop {
            match node {
                Node::Inner(inner) => {
                    let index = inner.child_of(place, slots);
                    node = &mut inner.children[index];
                }
                Node::Leaf(leaf) => {
                    let at = entries_before(leaf.scores(), leaf.ids(), place, Side::Before, slots);
                    // The first entry of a leaf is known to its parents, and is left to them.
                    let before = leaf.scores().get(at.checked_sub(1)?)?;
                    let behind = leaf.scores().get(at + 1)?;
                    if !(*before < score && score < *behind) {
                        return None;
                    }
                    leaf.scores[at] = score;
                    return Some(());
                }
            }
        }
    }

    /// How many entries a predicate holds for that holds for all up to some entry and for none behind it.
    pub(super) fn count_while(&self, holds: impl Fn(f64, Id) -> bool) -> usize {
        let mut node = &self.root;
        let mut rank = 0;
        loop {
            match node {
                Node::Inner(inner) => {
                    let held = partition(inner.len(), |i| holds(inner.scores[i], inner.ids[i]));
                    let Some(child) = held.checked_sub(1) else { return rank };
                    rank += inner.count_before(child);
                    node = &inner.children[child];
                }
                Node::Leaf(leaf) => return rank + partition(leaf.len(), |i| holds(leaf.scores[i], leaf.ids[i])),
            }
        }
    }

    /// A cursor at the entry of a rank that is below the length.
    pub(super) fn seek(&self, mut rank: usize) -> Cursor<'_> {
        let mut path = SmallVec::new();
        let mut node = &self.root;
        loop {
            match node {
                Node::Inner(inner) => {
                    let (child, within) = inner.child_of_rank(rank);
                    path.push((&**inner, child));
                    node = &inner.children[child];
                    rank = within;
                }
                Node::Leaf(leaf) => return Cursor { path, leaf, at: rank },
            }
        }
    }

    pub(super) fn heap_bytes(&self) -> usize {
        self.root.heap_bytes()
    }
}

/// A place in a tree that can be moved entry by entry.
pub(super) struct Cursor<'t> {
    path: SmallVec<[(&'t Inner, usize); USUAL_HEIGHT]>,
    leaf: &'t Leaf,
    at: usize,
}

impl<'t> Cursor<'t> {
    #[inline]
    pub(super) fn id(&self) -> Id {
        self.leaf.ids[self.at]
    }

    /// Moves to the next entry, which must exist.
    #[inline]
    pub(super) fn advance(&mut self) {
        self.at += 1;
        if self.at == self.leaf.len() {
            self.climb(|inner, child| (child + 1 < inner.len()).then_some(child + 1), |_| 0);
            self.at = 0;
        }
    }

    /// Moves to the entry before, which must exist.
    #[inline]
    pub(super) fn retreat(&mut self) {
        if self.at == 0 {
            self.climb(|_, child| child.checked_sub(1), |inner| inner.len() - 1);
            self.at = self.leaf.len();
        }
        self.at -= 1;
    }

    /// Goes up to where a sibling is, and down to the leaf on that side of it.
    fn climb(&mut self, sibling: impl Fn(&Inner, usize) -> Option<usize>, edge: impl Fn(&Inner) -> usize) {
        while let Some((inner, child)) = self.path.pop() {
            let Some(child) = sibling(inner, child) else { continue };
            self.path.push((inner, child));
            let mut node = &inner.children[child];
            while let Node::Inner(inner) = node {
                let child = edge(inner);
                self.path.push((inner, child));
                node = &inner.children[child];
            }
            if let Node::Leaf(leaf) = node {
                self.leaf = leaf;
            }
            return;
        }
    }
}

impl Node {
    fn insert(&mut self, place: Place<'_>, id: Id, slots: &Slots) -> Option<Node> {
        match self {
            Node::Leaf(leaf) => leaf.insert(place, id, slots).map(Node::Leaf),
            Node::Inner(inner) => inner.insert(place, id, slots).map(Node::Inner),
        }
    }

    fn remove(&mut self, target: Target<'_>, slots: &Slots) -> Id {
        match self {
            Node::Leaf(leaf) => leaf.remove(target, slots),
            Node::Inner(inner) => inner.remove(target, slots),
        }
    }

    /// The first entry. Not for an empty leaf, which only the root may be, or one that is about to be united.
    #[inline]
    fn first(&self) -> (f64, Id) {
        match self {
            Node::Leaf(leaf) => (leaf.scores[0], leaf.ids[0]),
            Node::Inner(inner) => (inner.scores[0], inner.ids[0]),
        }
    }

    fn count(&self) -> usize {
        match self {
            Node::Leaf(leaf) => leaf.len(),
            Node::Inner(inner) => inner.count_before(inner.len()),
        }
    }

    #[inline]
    fn is_short(&self) -> bool {
        match self {
            Node::Leaf(leaf) => leaf.len() < LEAF_MIN,
            Node::Inner(inner) => inner.len() < INNER_MIN,
        }
    }

    fn heap_bytes(&self) -> usize {
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

impl Leaf {
    fn empty() -> Box<Leaf> {
        Box::new(Leaf { scores: [0.0; LEAF_MAX], ids: [0; LEAF_MAX], len: 0 })
    }

    #[inline]
    fn len(&self) -> usize {
        (self.len as usize).min(LEAF_MAX)
    }

    #[inline]
    fn scores(&self) -> &[f64] {
        &self.scores[..self.len()]
    }

    #[inline]
    fn ids(&self) -> &[Id] {
        &self.ids[..self.len()]
    }

    /// Adds an entry and returns the right half, if the leaf had to be divided.
    fn insert(&mut self, place: Place<'_>, id: Id, slots: &Slots) -> Option<Box<Leaf>> {
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

    fn remove(&mut self, target: Target<'_>, slots: &Slots) -> Id {
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
    fn insert_at(&mut self, at: usize, score: f64, id: Id) {
        let len = self.len();
        open(&mut self.scores, len, at, score);
        open(&mut self.ids, len, at, id);
        self.len += 1;
    }

    fn split_off(&mut self, middle: usize) -> Box<Leaf> {
        let mut right = Leaf::empty();
        let moved = self.len() - middle;
        right.scores[..moved].copy_from_slice(&self.scores[middle..self.len()]);
        right.ids[..moved].copy_from_slice(&self.ids[middle..self.len()]);
        right.len = moved as u32;
        self.len = middle as u32;
        right
    }

    /// Moves entries between neighbours until the left one has `left_len`.
    fn level(&mut self, right: &mut Leaf, left_len: usize) {
        let (own, other) = (self.len(), right.len());
        level(&mut self.scores, own, &mut right.scores, other, left_len);
        level(&mut self.ids, own, &mut right.ids, other, left_len);
        self.len = left_len as u32;
        right.len = (own + other - left_len) as u32;
    }
}

impl Inner {
    fn empty() -> Box<Inner> {
        Box::new(Inner {
            scores: [0.0; INNER_MAX],
            ids: [0; INNER_MAX],
            counts: [0; INNER_MAX],
            children: Vec::with_capacity(INNER_MAX),
        })
    }

    #[inline]
    fn len(&self) -> usize {
        self.children.len().min(INNER_MAX)
    }

    /// The child in which an entry is, or belongs: the last one that does not begin behind it.
    #[inline]
    fn child_of(&self, place: Place<'_>, slots: &Slots) -> usize {
        let len = self.len();
        entries_before(&self.scores[..len], &self.ids[..len], place, Side::Behind, slots).saturating_sub(1)
    }

    /// The child that has the entry of this rank, and the rank therein.
    #[inline]
    fn child_of_rank(&self, mut rank: usize) -> (usize, usize) {
        let mut child = 0;
        while rank >= self.counts[child] as usize {
            rank -= self.counts[child] as usize;
            child += 1;
        }
        (child, rank)
    }

    #[inline]
    fn count_before(&self, child: usize) -> usize {
        self.counts[..child].iter().map(|count| *count as usize).sum()
    }

    fn insert(&mut self, place: Place<'_>, id: Id, slots: &Slots) -> Option<Box<Inner>> {
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

    fn remove(&mut self, target: Target<'_>, slots: &Slots) -> Id {
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
    fn refill(&mut self, child: usize) {
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

    fn insert_at(&mut self, at: usize, child: Node) {
        let len = self.len();
        let (score, id) = child.first();
        open(&mut self.scores, len, at, score);
        open(&mut self.ids, len, at, id);
        open(&mut self.counts, len, at, child.count() as u32);
        self.children.insert(at, child);
    }

    /// Brings what is known of a child up to date.
    fn describe(&mut self, child: usize) {
        (self.scores[child], self.ids[child]) = self.children[child].first();
        self.counts[child] = self.children[child].count() as u32;
    }

    /// Moves children between neighbours until the left one has `left_len`.
    fn level(&mut self, right: &mut Inner, left_len: usize) {
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

/// How many entries of a node stand before `place`; behind it, an entry that is equal counts too.
#[inline]
fn entries_before(scores: &[f64], ids: &[Id], place: Place<'_>, side: Side, slots: &Slots) -> usize {
    let start = scores.partition_point(|score| *score < place.score);
    if scores.get(start) != Some(&place.score) {
        return start;
    }
    let end = start + scores[start..].partition_point(|score| *score <= place.score);
    let equal = &ids[start..end];
    start
        + match side {
            Side::Before => equal.partition_point(|id| slots.member(*id) < place.member),
            Side::Behind => equal.partition_point(|id| slots.member(*id) <= place.member),
        }
}

/// The first of `len` indexes for which `holds` does not hold.
fn partition(len: usize, holds: impl Fn(usize) -> bool) -> usize {
    let (mut start, mut end) = (0, len);
    while start < end {
        let middle = (start + end) / 2;
        if holds(middle) { start = middle + 1 } else { end = middle }
    }
    start
}

/// Puts an item before the one at `at`, in an array that has room.
#[inline]
fn open<T: Copy>(items: &mut [T], len: usize, at: usize, item: T) {
    items.copy_within(at..len, at + 1);
    items[at] = item;
}

/// Moves items from the end of the left array to the start of the right one, or back, until the left has `goal`.
fn level<T: Copy>(left: &mut [T], left_len: usize, right: &mut [T], right_len: usize, goal: usize) {
    if let Some(moved) = left_len.checked_sub(goal) {
        right.copy_within(..right_len, moved);
        right[..moved].copy_from_slice(&left[goal..left_len]);
    } else {
        let moved = goal - left_len;
        left[left_len..goal].copy_from_slice(&right[..moved]);
        right.copy_within(moved..right_len, 0);
    }
}

#[cfg(test)]
impl Tree {
    /// Checks what must hold for every tree and returns its entries.
    pub(super) fn check(&self, slots: &Slots) -> Vec<Id> {
        fn walk(node: &Node, is_root: bool, depth: usize, leaf_depth: &mut Option<usize>, ids: &mut Vec<Id>) {
            match node {
                Node::Leaf(leaf) => {
                    assert!(is_root || leaf.len() > 0, "only the root may be empty");
                    assert_eq!(*leaf_depth.get_or_insert(depth), depth, "all leaves have the same depth");
                    ids.extend_from_slice(leaf.ids());
                }
                Node::Inner(inner) => {
                    assert!(inner.len() >= 2 && inner.children.len() <= INNER_MAX);
                    for (index, child) in inner.children.iter().enumerate() {
                        let before = ids.len();
                        walk(child, false, depth + 1, leaf_depth, ids);
                        assert_eq!(inner.counts[index] as usize, ids.len() - before);
                        assert_eq!(inner.ids[index], ids[before]);
                        assert_eq!(inner.scores[index], child.first().0);
                    }
                }
            }
        }
        let mut ids = Vec::new();
        walk(&self.root, true, 0, &mut None, &mut ids);
        let in_order = |a: &Id, b: &Id| {
            let (a, b) = (slots.get(*a), slots.get(*b));
            (a.score, a.member.as_slice()) < (b.score, b.member.as_slice())
        };
        assert!(ids.is_sorted_by(in_order), "entries are in order");
        ids
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_fill_size_classes() {
        assert_eq!(size_of::<Leaf>(), 640);
        assert_eq!(size_of::<Inner>(), 1024 - 8);
    }
}
