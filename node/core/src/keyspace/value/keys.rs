//! Where is the key of an entry of a collection, and is it the one that is looked for?

/// Where the key of an entry is.
pub(super) trait Keys<E> {
    fn key<'a>(&'a self, entry: &'a E) -> &'a [u8];
}

/// Equality with the last byte first, for the keys of one collection tend to share their prefix.
#[inline]
pub(super) fn same(own: &[u8], key: &[u8]) -> bool {
    own.len() == key.len() && own.last() == key.last() && own == key
}
