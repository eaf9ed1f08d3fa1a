//! How is a large sorted set ordered? By a B+tree that counts, so that ranks cost as little as scores do.
//!
//! ```text
//! inner   (first entry of the child, number of entries in the child, child) x 2..=62
//! leaf    (score, id of the member) x 1..=53
//! ```
//!
//! A node holds scores and slot numbers only. Members are looked up in the slots where scores are equal, so a search
//! over distinct scores stays within four or five arrays of numbers. All leaves have the same depth; an inner node has
//! at least two children, and a removal that leaves less than a quarter refills the node from its neighbour or unites
//! the two.

mod arrays;
mod cursor;
mod inner;
mod leaf;
mod place;

pub(super) use cursor::Cursor;
pub(super) use place::{Place, Target};

use super::side::Side;
use super::slots::{Id, Slots};
#[cfg(test)]
use inner::INNER_MAX;
use inner::{Inner, Node};
use leaf::Leaf;
use place::entries_before;

#[derive(Clone, Debug)]
pub(super) struct Tree {
    root: Node,
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
        let mut path = cursor::Path::new();
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

/// The first of `len` indexes for which `holds` does not hold.
fn partition(len: usize, holds: impl Fn(usize) -> bool) -> usize {
    let (mut start, mut end) = (0, len);
    while start < end {
        let middle = (start + end) / 2;
        if holds(middle) { start = middle + 1 } else { end = middle }
    }
    start
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
