//! What is a node of a list? A buffer whose items lie in one run, with room in front of it, behind it, or both.
//!
//! ```text
//! [ room | item item item ... | room ]
//!        start                end
//! ```

use super::End;
use super::element::{self, Encoded};
use std::ops::Range;

/// Bytes of a node with several items at the most, as long as they are in this size.
pub(super) const NODE_BYTES: usize = 4096;
/// Bytes that a node begins with.
const FIRST_BYTES: usize = 512;

#[derive(Clone, Debug, Default)]
pub(super) struct Node {
    buffer: Vec<u8>,
    start: u32,
    end: u32,
    count: u32,
}

impl Node {
    /// A node in this buffer, with the items that lie in a part of it.
    pub(super) fn new(buffer: Vec<u8>, items: Range<usize>, count: usize) -> Node {
        Node { buffer, start: items.start as u32, end: items.end as u32, count: count as u32 }
    }

    /// An empty node with room for so many bytes.
    pub(super) fn with_room(bytes: usize) -> Node {
        Node { buffer: vec![0; bytes], ..Node::default() }
    }

    #[inline]
    pub(super) fn count(&self) -> usize {
        self.count as usize
    }

    /// The bytes of its items.
    #[inline]
    pub(super) fn items(&self) -> &[u8] {
        &self.buffer[self.start as usize..self.end as usize]
    }

    #[inline]
    pub(super) fn bytes(&self) -> usize {
        (self.end - self.start) as usize
    }

    /// Its buffer, and where the items are.
    pub(super) fn into_parts(self) -> (Vec<u8>, Range<usize>) {
        (self.buffer, self.start as usize..self.end as usize)
    }

    pub(super) fn capacity(&self) -> usize {
        self.buffer.capacity()
    }

    /// Adds an item; says whether there is room for it.
    #[inline]
    pub(super) fn push(&mut self, end: End, item: &Encoded<'_>) -> bool {
        let length = item.len();
        let room = match end {
            End::Front => self.start as usize,
            End::Back => self.buffer.len() - self.end as usize,
        };
        let is_full = self.bytes() + length > NODE_BYTES && self.count > 0;
        if is_full || room < length && !self.make_room(end, length) {
            return false;
        }
        let at = match end {
            End::Front => {
                self.start -= length as u32;
                self.start as usize
            }
            End::Back => {
                self.end += length as u32;
                self.end as usize - length
            }
        };
        item.write(&mut self.buffer[at..at + length]);
        self.count += 1;
        true
    }

    /// Moves the items within the buffer if that makes enough room, otherwise to a larger one.
    #[cold]
    fn make_room(&mut self, end: End, length: usize) -> bool {
        let needed = self.bytes() + length;
        let mut size = self.buffer.len();
        // The room at the other end of a full node is not worth the move.
        if self.count > 0 && size >= NODE_BYTES && size - self.bytes() < NODE_BYTES / 8 {
            return false;
        }
        // Items move within a buffer that is at most half full, so that a move is paid for by the pops before it, or within a small
        // one.
        if needed > size || self.bytes() > size / 2 && size > 2 * FIRST_BYTES {
            size = larger(size.max(needed)).max(needed);
        }
        self.move_to(size, end);
        true
    }

    /// Moves the items to a buffer of this size, away from `end`.
    fn move_to(&mut self, size: usize, end: End) {
        let bytes = self.bytes();
        let at = if end == End::Front { size - bytes } else { 0 };
        let items = self.start as usize..self.end as usize;
        if size == self.buffer.len() {
            self.buffer.copy_within(items, at);
        } else if at == 0 && size > self.buffer.len() {
            self.buffer.copy_within(items, 0);
            self.buffer.reserve_exact(size - self.buffer.len());
            self.buffer.resize(size, 0);
        } else {
            let mut buffer = vec![0; size];
            buffer[at..at + bytes].copy_from_slice(&self.buffer[items]);
            self.buffer = buffer;
        }
        (self.start, self.end) = (at as u32, (at + bytes) as u32);
    }

    /// Gives back room that will not be used any more.
    pub(super) fn close(&mut self) {
        if self.bytes() < self.buffer.len() - self.buffer.len() / 8 {
            self.move_to(self.bytes(), End::Back);
            self.buffer.shrink_to_fit();
        }
    }

    /// Removes an item at an end; there is one.
    #[inline]
    pub(super) fn pop(&mut self, end: End) {
        match end {
            End::Front => self.start += element::first_len(self.items()) as u32,
            End::Back => self.end -= element::last_len(self.items()) as u32,
        }
        self.count -= 1;
    }

    /// Where an item lies within the items.
    fn range_of(&self, index: usize) -> Range<usize> {
        let at = element::seek(self.items(), self.count(), index);
        at..at + element::first_len(&self.items()[at..])
    }

    #[inline]
    pub(super) fn get(&self, index: usize) -> &[u8] {
        &self.items()[self.range_of(index)]
    }

    /// Puts an item in the place of another one.
    pub(super) fn set(&mut self, index: usize, item: &Encoded<'_>) {
        let range = self.range_of(index);
        self.splice(range, Some(item));
    }

    /// The node may be larger than it should be afterwards.
    pub(super) fn insert(&mut self, index: usize, item: &Encoded<'_>) {
        let at = element::seek(self.items(), self.count(), index);
        self.splice(at..at, Some(item));
        self.count += 1;
    }

    pub(super) fn remove(&mut self, indexes: Range<usize>) {
        let count = indexes.len();
        let from = element::seek(self.items(), self.count(), indexes.start);
        let to = element::seek(self.items(), self.count(), indexes.end);
        self.splice(from..to, None);
        self.count -= count as u32;
    }

    /// Replaces some bytes of the items.
    fn splice(&mut self, range: Range<usize>, item: Option<&Encoded<'_>>) {
        let added = item.map_or(0, Encoded::len);
        let needed = self.bytes() - range.len() + added;
        let (head, tail) = (range.start, self.bytes() - range.end);
        if added > range.len() && self.end as usize + added - range.len() > self.buffer.len() {
            let size = if needed > self.buffer.len() { larger(needed).max(needed) } else { self.buffer.len() };
            self.move_to(size, End::Back);
        }
        let start = self.start as usize;
        if added <= range.len() && head < tail {
            // The shorter side moves.
            let moved = start + range.len() - added;
            self.buffer.copy_within(start..start + head, moved);
            self.start = moved as u32;
        } else {
            self.buffer.copy_within(start + range.end..start + range.end + tail, start + head + added);
            self.end = (start + needed) as u32;
        }
        if let Some(item) = item {
            let at = self.start as usize + head;
            item.write(&mut self.buffer[at..at + added]);
        }
    }

    pub(super) fn count_matching(&self, item: &Encoded<'_>) -> usize {
        let (mut items, mut found) = (self.items(), 0);
        while !items.is_empty() {
            let (one, rest) = items.split_at(element::first_len(items));
            found += usize::from(item.is(one));
            items = rest;
        }
        found
    }

    /// Removes up to `limit` of the equal items, but for the first `skipped` ones.
    pub(super) fn remove_matching(&mut self, item: &Encoded<'_>, mut skipped: usize, mut limit: usize) {
        let (mut at, mut to, end) = (self.start as usize, self.start as usize, self.end as usize);
        while at < end {
            let length = element::first_len(&self.buffer[at..end]);
            let is_match = limit > 0 && item.is(&self.buffer[at..at + length]);
            if is_match && skipped == 0 {
                limit -= 1;
                self.count -= 1;
            } else {
                skipped -= usize::from(is_match);
                self.buffer.copy_within(at..at + length, to);
                to += length;
            }
            at += length;
        }
        self.end = to as u32;
    }

    /// Takes the second half of the items out.
    pub(super) fn split(&mut self) -> Node {
        let (items, half) = (self.items(), self.bytes() / 2);
        let (mut at, mut count) = (0, 0);
        while count + 1 < self.count() && (count == 0 || at < half) {
            at += element::first_len(&items[at..]);
            count += 1;
        }
        let upper = items[at..].to_vec();
        let node = Node { start: 0, end: upper.len() as u32, count: self.count - count as u32, buffer: upper };
        self.end = self.start + at as u32;
        self.count = count as u32;
        self.close();
        node
    }

    /// Whether the items of the next node are better kept here: both are small.
    pub(super) fn has_room_for(&self, next: &Node) -> bool {
        self.bytes() + next.bytes() <= NODE_BYTES / 2
    }

    /// Takes the items of the next node in.
    pub(super) fn absorb(&mut self, next: &Node) {
        let needed = self.bytes() + next.bytes();
        if self.end as usize + next.bytes() > self.buffer.len() {
            self.move_to(self.buffer.len().max(larger(needed)).max(needed), End::Back);
        }
        let at = self.end as usize;
        self.buffer[at..at + next.bytes()].copy_from_slice(next.items());
        self.end += next.end - next.start;
        self.count += next.count;
    }
}

/// The size of a buffer for so many bytes, with room to grow: 512, 768, 1024, 1536 ... 4096.
fn larger(bytes: usize) -> usize {
    let power = (bytes + 1).next_power_of_two();
    let step = if bytes < power / 4 * 3 { power / 4 * 3 } else { power };
    step.clamp(FIRST_BYTES, NODE_BYTES)
}
