//! What can a key hold? One of the types of Redis, in 24 bytes. Pure data: no clock, no randomness of its own, no
//! engine; whatever changes a value is replicated as an effect by the layers above.

mod encoding;
mod hash;
mod hashing;
pub mod image;
mod integer;
mod list;
mod memory;
mod scan;
mod segments;
mod set;
mod short_bytes;
mod sorted_set;
mod table;
#[cfg(test)]
mod testing;

pub use encoding::Limits;
pub use hash::Hash;
pub use hashing::{scan_position, table_hash};
pub use integer::parse_integer;
pub use list::{End, List};
pub use scan::WHOLE_MAX as SCAN_WHOLE_MAX;
pub use set::Set;
pub use short_bytes::{INLINE_MAX, ShortBytes};
pub use sorted_set::{Inserted, SortedSet};

/// The iterators, for who has to name them.
pub mod iter {
    pub use super::hash::Iter as HashIter;
    pub use super::list::Iter as ListIter;
    pub use super::set::Iter as SetIter;
    pub use super::sorted_set::Iter as SortedSetIter;
}

use crate::prefetch;
use memory::{Heap, allocated};

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

    /// Asks the memory for what lies outside of the entry: the beginning, behind which the processor itself sees the rest
    /// coming.
    #[inline]
    pub fn prefetch(&self) {
        match self {
            Value::Integer(_) => {}
            Value::String(text) => {
                text.chunks(CACHE_LINE_BYTES).take(PREFETCHED_LINES).for_each(|line| prefetch::read(&line[0]));
            }
            Value::List(list) => prefetch::read(&**list),
            Value::Hash(hash) => prefetch::read(&**hash),
            Value::Set(set) => prefetch::read(&**set),
            Value::SortedSet(set) => prefetch::read(&**set),
        }
    }

    /// The text of a string value; an integer is written to `scratch`. Nothing for the other types.
    #[inline]
    pub fn as_bytes<'a>(&'a self, scratch: &'a mut itoa::Buffer) -> Option<&'a [u8]> {
        match self {
            Value::Integer(number) => Some(scratch.format(*number).as_bytes()),
            Value::String(text) => Some(text),
            Value::List(_) | Value::Hash(_) | Value::Set(_) | Value::SortedSet(_) => None,
        }
    }

    /// The text of a string value, to be changed: an integer becomes its text first. Nothing for the other types.
    pub fn as_string_mut(&mut self) -> Option<&mut ShortBytes> {
        if let Value::Integer(number) = self {
            *self = Value::String(ShortBytes::from(*number));
        }
        match self {
            Value::String(text) => Some(text),
            Value::Integer(_) | Value::List(_) | Value::Hash(_) | Value::Set(_) | Value::SortedSet(_) => None,
        }
    }

    /// The answer to TYPE.
    pub fn type_name(&self) -> &'static str {
        match self {
            Value::Integer(_) | Value::String(_) => "string",
            Value::List(_) => "list",
            Value::Hash(_) => "hash",
            Value::Set(_) => "set",
            Value::SortedSet(_) => "zset",
        }
    }

    /// Bytes taken in all, its own 24 included. Collections are judged by `samples` elements (0: all of them), as
    /// MEMORY USAGE does.
    pub fn memory_usage(&self, samples: usize) -> usize {
        let boxed = |own: usize, total: usize| allocated(own) + total - own;
        size_of::<Value>()
            + match self {
                Value::Integer(_) => 0,
                Value::String(text) => text.heap_bytes(),
                Value::List(list) => boxed(size_of::<List>(), list.memory_usage(samples)),
                Value::Hash(hash) => boxed(size_of::<Hash>(), hash.memory_usage(samples)),
                Value::Set(set) => boxed(size_of::<Set>(), set.memory_usage(samples)),
                Value::SortedSet(set) => boxed(size_of::<SortedSet>(), set.memory_usage(samples)),
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
        assert_eq!(Value::Integer(i64::MIN).as_bytes(&mut scratch), Some(&b"-9223372036854775808"[..]));
        assert_eq!(Value::List(Box::default()).as_bytes(&mut scratch), None);
    }

    #[test]
    fn an_integer_becomes_text_when_its_bytes_are_changed() {
        let mut value = Value::Integer(12);
        value.as_string_mut().unwrap().append(b"3");
        assert_eq!(value, Value::String(ShortBytes::from(b"123")));
        assert_eq!(Value::Set(Box::default()).as_string_mut(), None);
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
        assert_eq!(values.map(|v| v.type_name()), ["string", "string", "list", "hash", "set", "zset"]);
    }

    #[test]
    fn memory_usage_grows_with_what_is_kept() {
        assert_eq!(Value::Integer(7).memory_usage(5), 24);
        assert_eq!(Value::from_bytes(&[b'x'; 100]).memory_usage(5), 24 + 112);
        let set: Set = (0..1_000).map(ShortBytes::from).collect();
        let usage = Value::Set(Box::new(set)).memory_usage(5);
        assert!((24_000..80_000).contains(&usage), "{usage} bytes for a thousand members");
    }
}
