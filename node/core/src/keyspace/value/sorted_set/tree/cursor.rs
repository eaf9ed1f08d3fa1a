//! How does an iterator walk a tree? From leaf to leaf, through the nodes on the way to where it is.

use super::super::slots::Id;
use super::inner::{Inner, Node};
use super::leaf::Leaf;
use smallvec::SmallVec;

/// Inner levels of a tree of fifty million members; a higher one costs an iterator an allocation.
const USUAL_HEIGHT: usize = 4;

/// The inner nodes above a leaf, and which child of each leads to it.
pub(super) type Path<'t> = SmallVec<[(&'t Inner, usize); USUAL_HEIGHT]>;

/// A place in a tree that can be moved entry by entry.
pub(in super::super) struct Cursor<'t> {
    pub(super) path: Path<'t>,
    pub(super) leaf: &'t Leaf,
    pub(super) at: usize,
}

impl<'t> Cursor<'t> {
    #[inline]
    pub(in super::super) fn id(&self) -> Id {
        self.leaf.ids[self.at]
    }

    /// Moves to the next entry, which must exist.
    #[inline]
    pub(in super::super) fn advance(&mut self) {
        self.at += 1;
        if self.at == self.leaf.len() {
            self.climb(|inner, child| (child + 1 < inner.len()).then_some(child + 1), |_| 0);
            self.at = 0;
        }
    }

    /// Moves to the entry before, which must exist.
    #[inline]
    pub(in super::super) fn retreat(&mut self) {
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
