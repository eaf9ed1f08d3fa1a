//! What is a list? A double-ended queue of strings, with the positional operations of Redis.
//!
//! A small one is the items of one node, packed in the entry of its key; a large one a chain of nodes.
//!
//! ```text
//! packed   number of items u16 | item item item ...        see `element`
//! ```

mod chain;
mod element;
mod end;
mod node;
#[cfg(test)]
mod tests;
mod within;

pub use end::End;

use super::memory::allocated;
use super::short_bytes::ShortBytes;
use super::text::Text;
use crate::prefetch;
use chain::Chain;
use element::Encoded;
use node::Node;
use std::ops::Range;

/// Bytes of the items of a small list at the most.
const SMALL_BYTES_MAX: usize = 896;
/// A large list with no more bytes is a small one again.
const SMALL_BYTES_AGAIN: usize = SMALL_BYTES_MAX / 4;
const HEAD_BYTES: usize = 2;
/// Room that a small list is given when it is changed.
const ROOM_BYTES: usize = 64;

/// A list of strings. Positions count from the front and are in range unless said otherwise: the caller has resolved
/// negative ones.
#[derive(Clone, Debug)]
pub struct List {
    form: Form,
}

#[derive(Clone, Debug)]
enum Form {
    Small(Node),
    Large(Chain),
}

/// A list, to be read.
#[derive(Clone, Copy, Debug)]
pub struct ListRef<'v>(Lent<'v>);

#[derive(Clone, Copy, Debug)]
enum Lent<'v> {
    Small { items: &'v [u8], count: usize },
    Large(&'v Chain),
}

impl<'v> ListRef<'v> {
    /// A list that is packed in these bytes, see `List::into_packed`.
    #[inline]
    pub(in crate::keyspace) fn packed(bytes: &'v [u8]) -> Self {
        Self(match bytes.split_first_chunk::<HEAD_BYTES>() {
            Some((head, items)) => Lent::Small { items, count: usize::from(u16::from_le_bytes(*head)) },
            None => Lent::Small { items: &[], count: 0 },
        })
    }

    #[inline]
    pub fn len(self) -> usize {
        match self.0 {
            Lent::Small { count, .. } => count,
            Lent::Large(chain) => chain.len(),
        }
    }

    #[inline]
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    #[inline]
    pub fn get(self, index: usize) -> Option<Text<'v>> {
        if index >= self.len() {
            return None;
        }
        Some(element::text(match self.0 {
            Lent::Small { items, count } => {
                let from = &items[element::seek(items, count, index)..];
                &from[..element::first_len(from)]
            }
            Lent::Large(chain) => chain.get(index),
        }))
    }

    pub fn iter(self) -> Iter<'v> {
        self.range(0..self.len())
    }

    /// The items of `range`; what lies beyond the end is ignored.
    pub fn range(self, range: Range<usize>) -> Iter<'v> {
        let range = clamp(range, self.len());
        let (node, front) = match self.part(range.start, End::Back) {
            Some(found) if !range.is_empty() => found,
            _ => (0, &[][..]),
        };
        Iter { list: self, node, front, back: None, next: range.start, left: range.len() }
    }

    /// The node of an item, and of its bytes those before the item or from it on.
    fn part(self, index: usize, side: End) -> Option<(usize, &'v [u8])> {
        if index >= self.len() {
            return None;
        }
        Some(match self.0 {
            Lent::Small { items, count } => {
                let at = element::seek(items, count, index);
                (0, if side == End::Front { &items[..at] } else { &items[at..] })
            }
            Lent::Large(chain) => {
                let (node, within) = chain.locate(index);
                (node, chain.part(node, within, side))
            }
        })
    }

    /// Bytes that a large one takes.
    pub(super) fn heap_bytes(self) -> usize {
        match self.0 {
            Lent::Small { .. } => 0,
            Lent::Large(chain) => allocated(size_of::<List>()) + chain.heap_bytes(),
        }
    }

    pub fn to_owned(self) -> List {
        match self.0 {
            Lent::Small { items, count } => {
                List { form: Form::Small(Node::new(items.to_vec(), 0..items.len(), count)) }
            }
            Lent::Large(chain) => List { form: Form::Large(chain.clone()) },
        }
    }

    pub(super) fn prefetch(self) {
        if let Lent::Large(chain) = self.0 {
            prefetch::read(chain);
        }
    }
}

impl PartialEq for ListRef<'_> {
    fn eq(&self, other: &ListRef<'_>) -> bool {
        self.len() == other.len() && self.iter().eq(other.iter())
    }
}

/// The items of a list, from either end.
#[derive(Clone)]
pub struct Iter<'v> {
    list: ListRef<'v>,
    /// The node of the next item, and the bytes from it on.
    node: usize,
    front: &'v [u8],
    /// The node of the last item, and the bytes up to it and with it, as soon as anybody asks for them.
    back: Option<(usize, &'v [u8])>,
    next: usize,
    left: usize,
}

impl<'v> Iter<'v> {
    fn items_of(&self, node: usize) -> &'v [u8] {
        match self.list.0 {
            Lent::Small { items, .. } => items,
            Lent::Large(chain) => chain.node(node).items(),
        }
    }
}

impl<'v> Iterator for Iter<'v> {
    type Item = Text<'v>;

    #[inline]
    fn next(&mut self) -> Option<Text<'v>> {
        if self.left == 0 {
            return None;
        }
        if self.front.is_empty() {
            self.node += 1;
            self.front = self.items_of(self.node);
        }
        let (item, rest) = self.front.split_at(element::first_len(self.front));
        self.front = rest;
        self.next += 1;
        self.left -= 1;
        Some(element::text(item))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl<'v> DoubleEndedIterator for Iter<'v> {
    #[inline]
    fn next_back(&mut self) -> Option<Text<'v>> {
        if self.left == 0 {
            return None;
        }
        let (mut node, mut items) = match self.back {
            Some(back) => back,
            None => match self.list.part(self.next + self.left, End::Front) {
                Some(back) => back,
                // The end of the list: the last node.
                None => {
                    let (node, _) = self.list.part(self.next + self.left - 1, End::Front)?;
                    (node, self.items_of(node))
                }
            },
        };
        if items.is_empty() {
            node -= 1;
            items = self.items_of(node);
        }
        let (rest, item) = items.split_at(items.len() - element::last_len(items));
        self.back = Some((node, rest));
        self.left -= 1;
        Some(element::text(item))
    }
}

impl ExactSizeIterator for Iter<'_> {}

impl List {
    pub fn new() -> List {
        List { form: Form::Small(Node::default()) }
    }

    #[inline]
    pub fn view(&self) -> ListRef<'_> {
        ListRef(match &self.form {
            Form::Small(node) => Lent::Small { items: node.items(), count: node.count() },
            Form::Large(chain) => Lent::Large(chain),
        })
    }

    /// A list from the bytes of a packed one.
    #[inline]
    pub(in crate::keyspace) fn from_packed(mut bytes: Vec<u8>) -> List {
        let count = bytes.first_chunk::<HEAD_BYTES>().map_or(0, |head| usize::from(u16::from_le_bytes(*head)));
        let items = HEAD_BYTES.min(bytes.len())..bytes.len();
        bytes.resize(bytes.len() + ROOM_BYTES, 0);
        List { form: Form::Small(Node::new(bytes, items, count)) }
    }

    /// Its bytes, if it is small.
    #[inline]
    pub(in crate::keyspace) fn into_packed(self) -> Result<Vec<u8>, List> {
        match self.form {
            Form::Small(node) => {
                let count = node.count() as u16;
                let (mut bytes, items) = node.into_parts();
                let end = HEAD_BYTES + items.len();
                if bytes.len() < end {
                    bytes.resize(end, 0);
                }
                bytes.copy_within(items, HEAD_BYTES);
                bytes.truncate(end);
                bytes[..HEAD_BYTES].copy_from_slice(&count.to_le_bytes());
                Ok(bytes)
            }
            Form::Large(_) => Err(self),
        }
    }

    #[inline]
    pub fn len(&self) -> usize {
        self.view().len()
    }

    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The chain of a list that is large, or becomes it.
    #[cold]
    fn enlarge(&mut self) -> &mut Chain {
        if let Form::Small(node) = &mut self.form {
            self.form = Form::Large(Chain::new(std::mem::take(node)));
        }
        match &mut self.form {
            Form::Large(chain) => chain,
            Form::Small(_) => unreachable!("it has just been made a large one"),
        }
    }

    /// Makes it small again if little is left.
    #[inline]
    fn give_back(&mut self) {
        if let Form::Large(chain) = &mut self.form
            && let Some(node) = chain.take_single(SMALL_BYTES_AGAIN)
        {
            self.form = Form::Small(node);
        }
    }

    #[inline]
    pub fn push(&mut self, end: End, item: &[u8]) {
        let item = Encoded::new(item);
        match &mut self.form {
            Form::Small(node) if node.bytes() + item.len() <= SMALL_BYTES_MAX => _ = node.push(end, &item),
            Form::Small(_) => self.enlarge().push(end, &item),
            Form::Large(chain) => chain.push(end, &item),
        }
    }

    /// Removes the item at an end; says whether there was one.
    #[inline]
    pub fn pop(&mut self, end: End) -> bool {
        if self.is_empty() {
            return false;
        }
        match &mut self.form {
            Form::Small(node) => node.pop(end),
            Form::Large(chain) => {
                chain.pop(end);
                self.give_back();
            }
        }
        true
    }

    /// Replaces the item at `index`; says whether there is one.
    pub fn set(&mut self, index: usize, item: &[u8]) -> bool {
        if index >= self.len() {
            return false;
        }
        let item = Encoded::new(item);
        match &mut self.form {
            Form::Small(node) if node.bytes() + item.len() <= SMALL_BYTES_MAX => node.set(index, &item),
            Form::Small(_) => self.enlarge().set(index, &item),
            Form::Large(chain) => chain.set(index, &item),
        }
        true
    }

    /// Inserts before the item at `index`; `index` may be the length.
    pub fn insert_at(&mut self, index: usize, text: &[u8]) {
        if index == self.len() {
            return self.push(End::Back, text);
        }
        let item = Encoded::new(text);
        match &mut self.form {
            Form::Small(node) if node.bytes() + item.len() <= SMALL_BYTES_MAX => node.insert(index, &item),
            Form::Small(_) => self.enlarge().insert(index, &item),
            Form::Large(chain) => chain.insert(index, &item),
        }
    }

    /// Removes the item at `index`; says whether there is one.
    pub fn remove_at(&mut self, index: usize) -> bool {
        let is_there = index < self.len();
        if is_there {
            self.remove_range(index..index + 1);
        }
        is_there
    }

    /// Removes the items of `range`; what lies beyond the end is ignored.
    pub fn remove_range(&mut self, range: Range<usize>) {
        let range = clamp(range, self.len());
        match &mut self.form {
            Form::Small(node) => node.remove(range),
            Form::Large(chain) => {
                chain.remove_range(range);
                self.give_back();
            }
        }
    }

    /// Keeps the items of `range` only, as LTRIM does.
    pub fn trim(&mut self, range: Range<usize>) {
        let range = clamp(range, self.len());
        self.remove_range(range.end..self.len());
        self.remove_range(0..range.start);
    }

    /// Removes up to `limit` items equal to `item`, counted from `end`, and returns how many there were: LREM.
    pub fn remove_matching(&mut self, item: &[u8], limit: usize, end: End) -> usize {
        let item = Encoded::new(item);
        match &mut self.form {
            Form::Small(node) => {
                let found = node.count_matching(&item);
                let removed = found.min(limit);
                node.remove_matching(&item, if end == End::Back { found - removed } else { 0 }, removed);
                removed
            }
            Form::Large(chain) => {
                let removed = chain.remove_matching(&item, limit, end);
                self.give_back();
                removed
            }
        }
    }
}

fn clamp(range: Range<usize>, length: usize) -> Range<usize> {
    let end = range.end.min(length);
    range.start.min(end)..end
}

impl Default for List {
    fn default() -> List {
        List::new()
    }
}

impl PartialEq for List {
    fn eq(&self, other: &List) -> bool {
        self.view() == other.view()
    }
}

impl Eq for List {}

impl FromIterator<ShortBytes> for List {
    fn from_iter<I: IntoIterator<Item = ShortBytes>>(items: I) -> List {
        let mut list = List::new();
        items.into_iter().for_each(|item| list.push(End::Back, &item));
        list
    }
}
