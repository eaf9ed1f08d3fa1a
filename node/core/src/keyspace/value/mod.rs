//! What can a key hold? One of the types of Redis. Pure data: no clock, no randomness of its own, no
//! engine; whatever changes a value is replicated as an effect by the layers above.

mod deadlines;
mod encoding;
mod hash;
mod hashing;
pub mod image;
mod integer;
mod integers;
mod keys;
mod list;
mod memory;
mod packed;
mod random;
mod rows;
mod scan;
mod segments;
mod set;
mod short_bytes;
mod sorted_set;
pub(crate) mod space;
pub mod stream;
mod table;
#[cfg(test)]
mod testing;
mod text;

pub use encoding::Limits;
pub use hash::{Hash, HashRef, Pair};
pub use hashing::{scan_position, table_hash};
pub use integer::parse_integer;
pub use list::{End, List, ListRef};
pub use scan::WHOLE_MAX as SCAN_WHOLE_MAX;
pub use scan::said_position;
pub use set::{Set, SetRef};
pub use short_bytes::{INLINE_MAX, ShortBytes};
pub use sorted_set::{Inserted, SortedSet, SortedSetRef};
pub use text::Text;

/// The iterators, for who has to name them.
pub mod iter {
    pub use super::hash::Iter as HashIter;
    pub use super::list::Iter as ListIter;
    pub use super::set::Iter as SetIter;
    pub use super::sorted_set::Iter as SortedSetIter;
}

use crate::prefetch;
pub use memory::allocated;

const CACHE_LINE_BYTES: usize = 64;
const PREFETCHED_LINES: usize = 4;

/// What a key holds. A string that is a canonical integer is kept as one; collections are never empty.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Integer(i64),
    String(ShortBytes),
    List(Box<List>),
    Hash(Box<Hash>),
    Set(Box<Set>),
    SortedSet(Box<SortedSet>),
    Stream(Box<stream::Stream>),
}

impl Value {
    /// A string value: an `Integer` where an i64 would print as exactly these bytes.
    #[inline]
    pub fn from_bytes(bytes: &[u8]) -> Value {
        match parse_integer(bytes) {
            Some(number) => Value::Integer(number),
            None => Value::String(ShortBytes::from(bytes)),
        }
    }

    /// The value, borrowed.
    #[inline]
    pub fn as_ref(&self) -> ValueRef<'_> {
        match self {
            Value::Integer(number) => ValueRef::Integer(*number),
            Value::String(text) => ValueRef::String(text),
            Value::List(list) => ValueRef::List(list.view()),
            Value::Hash(hash) => ValueRef::Hash(hash.view()),
            Value::Set(set) => ValueRef::Set(set.view()),
            Value::SortedSet(set) => ValueRef::SortedSet(set.view()),
            Value::Stream(stream) => ValueRef::Stream(stream),
        }
    }
}

/// What a key holds, where it lies.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ValueRef<'v> {
    Integer(i64),
    String(&'v [u8]),
    List(ListRef<'v>),
    Hash(HashRef<'v>),
    Set(SetRef<'v>),
    SortedSet(SortedSetRef<'v>),
    Stream(&'v stream::Stream),
}

impl<'v> ValueRef<'v> {
    /// Asks the memory for what lies outside of the entry: the beginning, behind which the processor itself sees the rest
    /// coming.
    #[inline]
    pub fn prefetch(self) {
        match self {
            ValueRef::Integer(_) => {}
            ValueRef::String(text) => {
                text.chunks(CACHE_LINE_BYTES).take(PREFETCHED_LINES).for_each(|line| prefetch::read(&line[0]));
            }
            ValueRef::List(list) => list.prefetch(),
            ValueRef::Hash(hash) => hash.prefetch(),
            ValueRef::Set(set) => set.prefetch(),
            ValueRef::SortedSet(set) => set.prefetch(),
            ValueRef::Stream(stream) => prefetch::read(stream),
        }
    }

    /// The text of a string value; an integer is written to `scratch`. Nothing for the other types.
    #[inline]
    pub fn as_bytes(self, scratch: &'v mut itoa::Buffer) -> Option<&'v [u8]> {
        match self {
            ValueRef::Integer(number) => Some(scratch.format(number).as_bytes()),
            ValueRef::String(text) => Some(text),
            ValueRef::List(_) | ValueRef::Hash(_) | ValueRef::Set(_) | ValueRef::SortedSet(_) | ValueRef::Stream(_) => {
                None
            }
        }
    }

    /// A copy of its own.
    pub fn to_owned(self) -> Value {
        match self {
            ValueRef::Integer(number) => Value::Integer(number),
            ValueRef::String(text) => Value::String(ShortBytes::from(text)),
            ValueRef::List(list) => Value::List(Box::new(list.to_owned())),
            ValueRef::Hash(hash) => Value::Hash(Box::new(hash.to_owned())),
            ValueRef::Set(set) => Value::Set(Box::new(set.to_owned())),
            ValueRef::SortedSet(set) => Value::SortedSet(Box::new(set.to_owned())),
            ValueRef::Stream(stream) => Value::Stream(Box::new(stream.clone())),
        }
    }

    /// The answer to TYPE.
    pub fn type_name(self) -> &'static str {
        match self {
            ValueRef::Integer(_) | ValueRef::String(_) => "string",
            ValueRef::List(_) => "list",
            ValueRef::Hash(_) => "hash",
            ValueRef::Set(_) => "set",
            ValueRef::SortedSet(_) => "zset",
            ValueRef::Stream(_) => "stream",
        }
    }

    /// A guess at the length of its image that spares most of the growing.
    #[must_use]
    pub fn image_capacity(self) -> usize {
        const SAMPLES: usize = 5;
        match self {
            ValueRef::String(text) => text.len() + 8,
            other => 24 + other.heap_bytes(SAMPLES),
        }
    }

    /// Bytes that a collection takes outside of the entry if it is not packed, its box included, judged by `samples` elements (0:
    /// all of them), as MEMORY USAGE does.
    pub fn heap_bytes(self, samples: usize) -> usize {
        match self {
            ValueRef::Integer(_) | ValueRef::String(_) => 0,
            ValueRef::List(list) => list.heap_bytes(),
            ValueRef::Hash(hash) => hash.heap_bytes(),
            ValueRef::Set(set) => set.heap_bytes(),
            ValueRef::SortedSet(set) => set.heap_bytes(samples),
            ValueRef::Stream(stream) => {
                let own = size_of::<stream::Stream>();
                allocated(own) + stream.memory_usage() - own
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_takes_24_bytes() {
        assert_eq!(size_of::<Value>(), 24);
        assert_eq!(size_of::<Option<Value>>(), 24);
    }

    #[test]
    fn canonical_integers_are_kept_as_numbers() {
        assert_eq!(Value::from_bytes(b"-17"), Value::Integer(-17));
        assert_eq!(Value::from_bytes(b"017"), Value::String(ShortBytes::from(b"017")));
        let mut scratch = itoa::Buffer::new();
        assert_eq!(ValueRef::Integer(i64::MIN).as_bytes(&mut scratch), Some(&b"-9223372036854775808"[..]));
        assert_eq!(ValueRef::List(List::new().view()).as_bytes(&mut scratch), None);
    }

    #[test]
    fn types_have_the_names_of_redis() {
        let values = [
            Value::Integer(1),
            Value::String(ShortBytes::new()),
            Value::List(Box::default()),
            Value::Hash(Box::default()),
            Value::Set(Box::default()),
            Value::SortedSet(Box::default()),
        ];
        assert_eq!(values.map(|v| v.as_ref().type_name()), ["string", "string", "list", "hash", "set", "zset"]);
    }

    #[test]
    fn memory_usage_grows_with_what_is_kept() {
        assert_eq!(ValueRef::Integer(7).heap_bytes(5), 0);
        let set: Set = (0..1_000).map(ShortBytes::from).collect();
        let usage = ValueRef::Set(set.view()).heap_bytes(5);
        assert!((8_000..20_000).contains(&usage), "{usage} bytes for a thousand members");
    }
}
