//! The types that consist of elements, as entries keep them: packed as bytes while they are small, in a box from then on.
//!
//! A packed one is taken out of its entry to be changed, and put back; see `Table::change`.

use std::cell::Cell;

use super::layout::{HASH, INTEGERS, LIST, SET, SORTED_SET};
use super::value::stream::Stream;
use super::value::{Hash, List, Set, SortedSet, Value};

/// Bytes of a buffer that is kept for the next change.
const KEPT_BYTES_MAX: usize = 64 << 10;

/// A collection in its box, to be changed.
#[derive(Debug)]
pub(super) enum Boxed<'t> {
    List(&'t mut List),
    Hash(&'t mut Hash),
    Set(&'t mut Set),
    SortedSet(&'t mut SortedSet),
    Stream(&'t mut Stream),
}

impl Boxed<'_> {
    /// Elements.
    #[inline]
    pub(super) fn len(&self) -> usize {
        match self {
            Self::List(list) => list.len(),
            Self::Hash(hash) => hash.len(),
            Self::Set(set) => set.len(),
            Self::SortedSet(set) => set.len(),
            Self::Stream(stream) => stream.len() as usize,
        }
    }

    /// What it holds, of which nothing is left.
    pub(super) fn take(self) -> Value {
        match self {
            Self::List(list) => Value::List(Box::new(std::mem::take(list))),
            Self::Hash(hash) => Value::Hash(Box::new(std::mem::take(hash))),
            Self::Set(set) => Value::Set(Box::new(std::mem::take(set))),
            Self::SortedSet(set) => Value::SortedSet(Box::new(std::mem::take(set))),
            Self::Stream(stream) => Value::Stream(Box::new(std::mem::take(stream))),
        }
    }
}

pub(super) trait Collection: Sized {
    /// The kind of a new one.
    const KIND: u8;
    /// Whether a packed one is of this kind.
    fn is_kind(kind: u8) -> bool;
    /// From the bytes of a packed one; no bytes are an empty one.
    fn unpack(kind: u8, bytes: Vec<u8>) -> Self;
    /// The bytes of a packed one, or itself if it is large, and the kind.
    fn pack(self) -> Result<(u8, Vec<u8>), (u8, Self)>;
    fn of(collection: Boxed<'_>) -> Option<&mut Self>;
    fn into_value(self) -> Value;
    fn is_empty(&self) -> bool;
}

macro_rules! collection {
    ($type:ident, $kind:ident) => {
        impl Collection for $type {
            const KIND: u8 = $kind;

            #[inline]
            fn is_kind(kind: u8) -> bool {
                kind == $kind
            }

            #[inline]
            fn unpack(_: u8, bytes: Vec<u8>) -> Self {
                $type::from_packed(bytes)
            }

            #[inline]
            fn pack(self) -> Result<(u8, Vec<u8>), (u8, Self)> {
                self.into_packed().map(|bytes| ($kind, bytes)).map_err(|large| ($kind, large))
            }

            collection!($type);
        }
    };
    ($type:ident) => {
        #[inline]
        fn of(collection: Boxed<'_>) -> Option<&mut Self> {
            match collection {
                Boxed::$type(collection) => Some(collection),
                _ => None,
            }
        }

        fn into_value(self) -> Value {
            Value::$type(Box::new(self))
        }

        #[inline]
        fn is_empty(&self) -> bool {
            $type::is_empty(self)
        }
    };
}

collection!(List, LIST);
collection!(Hash, HASH);
collection!(SortedSet, SORTED_SET);

impl Collection for Set {
    const KIND: u8 = INTEGERS;

    #[inline]
    fn is_kind(kind: u8) -> bool {
        kind == SET || kind == INTEGERS
    }

    #[inline]
    fn unpack(kind: u8, bytes: Vec<u8>) -> Self {
        Set::from_packed(bytes, kind == INTEGERS)
    }

    #[inline]
    fn pack(self) -> Result<(u8, Vec<u8>), (u8, Self)> {
        match self.into_packed() {
            Ok((bytes, are_integers)) => Ok((if are_integers { INTEGERS } else { SET }, bytes)),
            Err(large) => Err((SET, large)),
        }
    }

    collection!(Set);
}

thread_local! {
    static SCRATCH: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// A buffer for the bytes of a packed collection, of any contents.
#[inline]
pub(super) fn take_scratch() -> Vec<u8> {
    SCRATCH.take()
}

/// The same, of no contents.
#[inline]
pub(super) fn empty_scratch() -> Vec<u8> {
    let mut bytes = SCRATCH.take();
    bytes.clear();
    bytes
}

#[inline]
pub(super) fn keep_scratch(bytes: Vec<u8>) {
    if bytes.capacity() <= KEPT_BYTES_MAX {
        SCRATCH.set(bytes);
    }
}
