//! How is one byte string kept? In 24 bytes: up to 22 of them in place, a longer one in an allocation of its exact size.

use super::memory::{Heap, allocated};
use std::borrow::Borrow;
use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::Deref;

/// The longest string that needs no allocation. A member such as `element:000000123456` fits, and so does every i64.
pub const INLINE_MAX: usize = 22;

/// A byte string of 24 bytes that compares, orders and hashes as its slice.
#[derive(Clone)]
pub struct ShortBytes(Repr);

/// A string of up to `INLINE_MAX` bytes is always `Inline`.
#[derive(Clone)]
enum Repr {
    Inline { len: u8, buf: [u8; INLINE_MAX] },
    Heap(Box<[u8]>),
}

impl ShortBytes {
    pub const fn new() -> ShortBytes {
        ShortBytes(Repr::Inline { len: 0, buf: [0; INLINE_MAX] })
    }

    #[inline]
    pub fn as_slice(&self) -> &[u8] {
        match &self.0 {
            // `min` tells the compiler what always holds, so that the slice needs no bounds check.
            Repr::Inline { len, buf } => &buf[..usize::from(*len).min(INLINE_MAX)],
            Repr::Heap(bytes) => bytes,
        }
    }

    #[inline]
    pub fn as_mut_slice(&mut self) -> &mut [u8] {
        match &mut self.0 {
            Repr::Inline { len, buf } => &mut buf[..usize::from(*len).min(INLINE_MAX)],
            Repr::Heap(bytes) => bytes,
        }
    }

    /// Equality for lookups. Keys of one collection tend to share length and prefix (`field:17`), so the last byte
    /// is looked at before the call that compares them all.
    #[inline]
    pub fn matches(&self, other: &[u8]) -> bool {
        let own = self.as_slice();
        own.len() == other.len() && own.last() == other.last() && own == other
    }

    pub fn append(&mut self, tail: &[u8]) {
        self.grow(self.len() + tail.len(), tail);
    }

    /// Overwrites from `offset` on; what lies between the old end and `offset` becomes zero bytes. As with Redis'
    /// SETRANGE, writing nothing changes nothing. The caller has checked the length against its limit.
    pub fn set_range(&mut self, offset: usize, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        let end = offset + bytes.len();
        if end > self.len() {
            self.grow(end, &[]);
        }
        self.as_mut_slice()[offset..end].copy_from_slice(bytes);
    }

    /// Bytes taken in all, its own 24 included.
    pub fn memory_usage(&self) -> usize {
        size_of::<ShortBytes>() + self.heap_bytes()
    }

    /// Lengthens to `new_len`: first with `tail`, then with zero bytes.
    fn grow(&mut self, new_len: usize, tail: &[u8]) {
        let old_len = self.len();
        match &mut self.0 {
            Repr::Inline { len, buf } if new_len <= INLINE_MAX => {
                buf[old_len..old_len + tail.len()].copy_from_slice(tail);
                buf[old_len + tail.len()..new_len].fill(0);
                *len = new_len as u8;
            }
            Repr::Inline { buf, .. } => {
                let mut grown = Vec::with_capacity(new_len);
                grown.extend_from_slice(&buf[..old_len]);
                grown.extend_from_slice(tail);
                grown.resize(new_len, 0);
                self.0 = Repr::Heap(grown.into_boxed_slice());
            }
            // An exact reallocation: the allocator's size classes are what keeps a series of appends cheap.
            Repr::Heap(bytes) => {
                let mut grown = std::mem::take(bytes).into_vec();
                grown.reserve_exact(new_len - old_len);
                grown.extend_from_slice(tail);
                grown.resize(new_len, 0);
                *bytes = grown.into_boxed_slice();
            }
        }
    }
}

impl Heap for ShortBytes {
    #[inline]
    fn heap_bytes(&self) -> usize {
        match &self.0 {
            Repr::Inline { .. } => 0,
            Repr::Heap(bytes) => allocated(bytes.len()),
        }
    }
}

impl From<&[u8]> for ShortBytes {
    #[inline]
    fn from(bytes: &[u8]) -> ShortBytes {
        if bytes.len() > INLINE_MAX {
            return ShortBytes(Repr::Heap(bytes.into()));
        }
        let mut buf = [0; INLINE_MAX];
        buf[..bytes.len()].copy_from_slice(bytes);
        ShortBytes(Repr::Inline { len: bytes.len() as u8, buf })
    }
}

impl<const N: usize> From<&[u8; N]> for ShortBytes {
    fn from(bytes: &[u8; N]) -> ShortBytes {
        ShortBytes::from(bytes.as_slice())
    }
}

/// Takes the allocation over where the string is long enough to need one.
impl From<Vec<u8>> for ShortBytes {
    fn from(bytes: Vec<u8>) -> ShortBytes {
        if bytes.len() > INLINE_MAX {
            ShortBytes(Repr::Heap(bytes.into_boxed_slice()))
        } else {
            ShortBytes::from(bytes.as_slice())
        }
    }
}

impl From<i64> for ShortBytes {
    fn from(number: i64) -> ShortBytes {
        ShortBytes::from(itoa::Buffer::new().format(number).as_bytes())
    }
}

impl Default for ShortBytes {
    fn default() -> ShortBytes {
        ShortBytes::new()
    }
}

impl Deref for ShortBytes {
    type Target = [u8];
    #[inline]
    fn deref(&self) -> &[u8] {
        self.as_slice()
    }
}

impl AsRef<[u8]> for ShortBytes {
    fn as_ref(&self) -> &[u8] {
        self.as_slice()
    }
}

impl Borrow<[u8]> for ShortBytes {
    fn borrow(&self) -> &[u8] {
        self.as_slice()
    }
}

impl PartialEq for ShortBytes {
    fn eq(&self, other: &ShortBytes) -> bool {
        self.as_slice() == other.as_slice()
    }
}

impl Eq for ShortBytes {}

impl PartialOrd for ShortBytes {
    fn partial_cmp(&self, other: &ShortBytes) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for ShortBytes {
    fn cmp(&self, other: &ShortBytes) -> Ordering {
        self.as_slice().cmp(other.as_slice())
    }
}

impl Hash for ShortBytes {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_slice().hash(state);
    }
}

impl fmt::Debug for ShortBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.as_slice().escape_ascii())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn bytes(len: usize) -> Vec<u8> {
        (0..len).map(|i| i as u8).collect()
    }

    #[test]
    fn takes_24_bytes() {
        assert_eq!(size_of::<ShortBytes>(), 24);
    }

    #[test]
    fn every_length_reads_back() {
        for len in 0..100 {
            let expected = bytes(len);
            let short = ShortBytes::from(expected.as_slice());
            assert_eq!(short.as_slice(), expected);
            assert_eq!(ShortBytes::from(expected.clone()), short);
            assert_eq!(short.heap_bytes() > 0, len > INLINE_MAX, "length {len}");
            assert!(short.matches(&expected));
            assert!(!short.matches(&bytes(len + 1)));
        }
    }

    #[test]
    fn append_is_as_a_vec_for_every_pair_of_lengths() {
        for head in 0..50 {
            for tail in 0..50 {
                let mut expected = bytes(head);
                let mut short = ShortBytes::from(expected.as_slice());
                expected.extend(bytes(tail));
                short.append(&bytes(tail));
                assert_eq!(short.as_slice(), expected, "{head} + {tail}");
            }
        }
    }

    #[test]
    fn set_range_overwrites_and_pads_with_zero_bytes() {
        for len in [0, 1, 21, 22, 23, 40] {
            for offset in 0..60 {
                for written in [0, 1, 5, 30] {
                    let mut expected = bytes(len);
                    let mut short = ShortBytes::from(expected.as_slice());
                    if written > 0 {
                        expected.resize(len.max(offset + written), 0);
                        expected[offset..offset + written].fill(0xee);
                    }
                    short.set_range(offset, &vec![0xee; written]);
                    assert_eq!(short.as_slice(), expected, "{len} bytes, {written} at {offset}");
                }
            }
        }
    }

    #[test]
    fn orders_as_its_slice() {
        let texts = [&b"b"[..], b"a", b"", b"ab", b"a\xff", b"a\0", b"a longer one than twenty-two bytes", b"a l"];
        let short: BTreeSet<ShortBytes> = texts.iter().map(|t| ShortBytes::from(*t)).collect();
        let slices: BTreeSet<&[u8]> = texts.into_iter().collect();
        assert!(short.iter().map(ShortBytes::as_slice).eq(slices));
        assert!(short.contains(&b"ab"[..]), "lookup by slice");
    }

    #[test]
    fn integers_become_their_decimal_text() {
        assert_eq!(ShortBytes::from(i64::MIN).as_slice(), b"-9223372036854775808");
    }
}
