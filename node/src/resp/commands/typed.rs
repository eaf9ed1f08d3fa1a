//! Which type does a command work on? The collection in a value, or the error of a key that holds something else.

use std::borrow::Cow;

use crate::keyspace::Entry;
use crate::keyspace::value::{HashRef, ListRef, SetRef, SortedSetRef, ValueRef};
use crate::resp::error::Error;

macro_rules! typed {
    ($function:ident, $type:ident, $lent:ident) => {
        #[inline]
        pub(super) fn $function(value: Option<ValueRef<'_>>) -> Result<Option<$lent<'_>>, Error> {
            match value {
                None => Ok(None),
                Some(ValueRef::$type(collection)) => Ok(Some(collection)),
                Some(_) => Err(Error::WrongType),
            }
        }
    };
}

typed!(list, List, ListRef);
typed!(hash, Hash, HashRef);
typed!(set, Set, SetRef);
typed!(sorted, SortedSet, SortedSetRef);

/// The value of an entry that a view has found.
#[inline]
pub(super) fn value(entry: Option<Entry<'_>>) -> Option<ValueRef<'_>> {
    entry.map(Entry::value)
}

/// The bytes of a string value; an integer is printed.
pub(super) fn bytes(value: ValueRef<'_>) -> Result<Cow<'_, [u8]>, Error> {
    match value {
        ValueRef::String(text) => Ok(Cow::Borrowed(text)),
        ValueRef::Integer(number) => Ok(Cow::Owned(number.to_string().into_bytes())),
        _ => Err(Error::WrongType),
    }
}
