//! How is a large list kept? As a deque of nodes of up to 4 KiB. The ends cost a write to one node; what lies between them is
//! found by the nodes' counts.

use super::End;
use super::element::{self, Encoded};
use super::node::{NODE_BYTES, Node};
use crate::keyspace::value::memory::allocated;
use std::collections::VecDeque;
use std::ops::Range;

#[derive(Clone, Debug, Default)]
pub(super) struct Chain {
    nodes: VecDeque<Node>,
    len: usize,
}

impl Chain {
    /// A list that was one node.
    pub(super) fn new(mut node: Node) -> Chain {
        let len = node.count();
        node.close();
        Chain { nodes: VecDeque::from([node]), len }
    }

    #[inline]
    pub(super) fn len(&self) -> usize {
        self.len
    }

    #[inline]
    pub(super) fn node(&self, index: usize) -> &Node {
        &self.nodes[index]
    }

    /// The only node, if it has no more than so many bytes.
    #[inline]
    pub(super) fn take_single(&mut self, most: usize) -> Option<Node> {
        if self.nodes.len() > 1 || self.nodes.front().is_some_and(|node| node.bytes() > most) {
            return None;
        }
        Some(self.nodes.pop_front().unwrap_or_default())
    }

    #[inline]
    pub(super) fn push(&mut self, end: End, item: &Encoded<'_>) {
        self.len += 1;
        let node = match end {
            End::Front => self.nodes.front_mut(),
            End::Back => self.nodes.back_mut(),
        };
        if !node.is_some_and(|node| node.push(end, item)) {
            self.push_node(end, item);
        }
    }

    #[cold]
    fn push_node(&mut self, end: End, item: &Encoded<'_>) {
        let last = if end == End::Front { self.nodes.front_mut() } else { self.nodes.back_mut() };
        if let Some(last) = last {
            last.close();
        }
        // A node that begins is small beside what is there already.
        let room = (self.nodes.len() * (NODE_BYTES / 8)).next_power_of_two().clamp(NODE_BYTES / 8, NODE_BYTES);
        let mut node = if item.len() > NODE_BYTES { Node::with_room(item.len()) } else { Node::with_room(room) };
        node.push(end, item);
        if self.nodes.len() == self.nodes.capacity() {
            // An eighth, so that a long list does not keep many places for nodes that it has not got.
            self.nodes.reserve_exact((self.nodes.len() / 8).max(2));
        }
        match end {
            End::Front => self.nodes.push_front(node),
            End::Back => self.nodes.push_back(node),
        }
    }

    /// Removes an item at an end; there is one.
    #[inline]
    pub(super) fn pop(&mut self, end: End) {
        let node = match end {
            End::Front => self.nodes.front_mut(),
            End::Back => self.nodes.back_mut(),
        };
        let Some(node) = node else { return };
        self.len -= 1;
        if node.count() > 1 {
            return node.pop(end);
        }
        match end {
            End::Front => self.nodes.pop_front(),
            End::Back => self.nodes.pop_back(),
        };
        self.give_back();
    }

    /// The node of an item, and the item's index in it. The index is below the length.
    #[inline]
    pub(super) fn locate(&self, index: usize) -> (usize, usize) {
        debug_assert!(index < self.len);
        if index < self.len / 2 {
            let mut left = index;
            for (at, node) in self.nodes.iter().enumerate() {
                if left < node.count() {
                    return (at, left);
                }
                left -= node.count();
            }
        } else {
            let mut after = self.len;
            for (at, node) in self.nodes.iter().enumerate().rev() {
                after -= node.count();
                if index >= after {
                    return (at, index - after);
                }
            }
        }
        unreachable!("the nodes hold as many items as the list has")
    }

    pub(super) fn get(&self, index: usize) -> &[u8] {
        let (node, within) = self.locate(index);
        self.nodes[node].get(within)
    }

    pub(super) fn set(&mut self, index: usize, item: &Encoded<'_>) {
        let (node, within) = self.locate(index);
        self.nodes[node].set(within, item);
        self.divide(node);
    }

    /// Inserts before the item of this index, which there is.
    pub(super) fn insert(&mut self, index: usize, item: &Encoded<'_>) {
        let (node, within) = self.locate(index);
        self.nodes[node].insert(within, item);
        self.len += 1;
        self.divide(node);
    }

    /// Divides a node as often as it is too large.
    fn divide(&mut self, at: usize) {
        while self.nodes[at].bytes() > NODE_BYTES && self.nodes[at].count() > 1 {
            let upper = self.nodes[at].split();
            self.nodes.insert(at + 1, upper);
            self.divide(at + 1);
        }
    }

    pub(super) fn remove_range(&mut self, range: Range<usize>) {
        if range.is_empty() {
            return;
        }
        let (mut first, within) = self.locate(range.start);
        let mut left = range.len();
        self.len -= left;
        if within > 0 {
            let count = left.min(self.nodes[first].count() - within);
            self.nodes[first].remove(within..within + count);
            left -= count;
            first += 1;
        }
        let mut whole = first;
        while whole < self.nodes.len() && left >= self.nodes[whole].count() {
            left -= self.nodes[whole].count();
            whole += 1;
        }
        self.nodes.drain(first..whole);
        if left > 0 {
            self.nodes[first].remove(0..left);
        }
        for at in [first + 1, first, first.wrapping_sub(1)] {
            self.unite(at);
        }
        self.give_back();
    }

    /// Makes one node of a node and the one before it, if both are small.
    fn unite(&mut self, at: usize) {
        let is_small = at > 0 && at < self.nodes.len() && self.nodes[at - 1].has_room_for(&self.nodes[at]);
        if is_small && let Some(node) = self.nodes.remove(at) {
            self.nodes[at - 1].absorb(&node);
        }
    }

    /// Removes up to `limit` equal items, counted from `end`; says how many there were.
    pub(super) fn remove_matching(&mut self, item: &Encoded<'_>, limit: usize, end: End) -> usize {
        let mut left = limit;
        let mut visit = |node: &mut Node| {
            if left > 0 {
                let found = node.count_matching(item);
                let removed = found.min(left);
                if removed > 0 {
                    node.remove_matching(item, if end == End::Back { found - removed } else { 0 }, removed);
                }
                left -= removed;
            }
        };
        match end {
            End::Front => self.nodes.iter_mut().for_each(&mut visit),
            End::Back => self.nodes.iter_mut().rev().for_each(&mut visit),
        }
        let removed = limit - left;
        if removed > 0 {
            self.len -= removed;
            let mut nodes: VecDeque<Node> = VecDeque::with_capacity(self.nodes.len());
            for node in std::mem::take(&mut self.nodes) {
                match nodes.back_mut() {
                    _ if node.count() == 0 => {}
                    Some(last) if last.has_room_for(&node) => last.absorb(&node),
                    _ => nodes.push_back(node),
                }
            }
            self.nodes = nodes;
            self.give_back();
        }
        removed
    }

    /// Places for nodes that are not needed any more.
    fn give_back(&mut self) {
        if self.nodes.capacity() > 16 && self.nodes.len() < self.nodes.capacity() / 4 {
            self.nodes.shrink_to(self.nodes.len() * 2);
        }
    }

    pub(super) fn heap_bytes(&self) -> usize {
        allocated(self.nodes.capacity() * size_of::<Node>())
            + self.nodes.iter().map(|node| allocated(node.capacity())).sum::<usize>()
    }

    /// The items of a node before or from an index on.
    pub(super) fn part(&self, node: usize, within: usize, side: End) -> &[u8] {
        let node = &self.nodes[node];
        let at = element::seek(node.items(), node.count(), within);
        if side == End::Front { &node.items()[..at] } else { &node.items()[at..] }
    }

    #[cfg(test)]
    pub(super) fn check(&self) {
        assert_eq!(self.nodes.iter().map(Node::count).sum::<usize>(), self.len);
        assert!(self.nodes.iter().all(|node| node.count() > 0));
        assert!(self.nodes.iter().all(|node| node.bytes() <= NODE_BYTES || node.count() == 1));
    }
}
