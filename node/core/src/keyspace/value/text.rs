//! What is an element of a packed collection, when it is read? Bytes where they lie, or a number in decimal.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::Deref;

use super::ShortBytes;

/// Digits and sign of an i64 at the most.
const DIGITS_MAX: usize = 20;

/// The text of an element. It compares, orders and hashes as its bytes.
#[derive(Clone, Copy)]
pub struct Text<'a>(Repr<'a>);

#[derive(Clone, Copy)]
enum Repr<'a> {
    Lent(&'a [u8]),
    Number { len: u8, digits: [u8; DIGITS_MAX] },
}

impl<'a> Text<'a> {
    #[inline]
    pub fn lent(bytes: &'a [u8]) -> Text<'a> {
        Text(Repr::Lent(bytes))
    }

    #[inline]
    pub fn number(number: i64) -> Text<'a> {
        let mut buffer = itoa::Buffer::new();
        let text = buffer.format(number).as_bytes();
        let mut digits = [0; DIGITS_MAX];
        digits[..text.len()].copy_from_slice(text);
        Text(Repr::Number { len: text.len() as u8, digits })
    }

    #[inline]
    pub fn as_slice(&self) -> &[u8] {
        match &self.0 {
            Repr::Lent(bytes) => bytes,
            // `min` tells the compiler what always holds.
            Repr::Number { len, digits } => &digits[..usize::from(*len).min(DIGITS_MAX)],
        }
    }

    /// Whether it is this text; the last byte is looked at first.
    #[inline]
    pub fn matches(&self, other: &[u8]) -> bool {
        let own = self.as_slice();
        own.len() == other.len() && own.last() == other.last() && own == other
    }
}

impl Deref for Text<'_> {
    type Target = [u8];
    #[inline]
    fn deref(&self) -> &[u8] {
        self.as_slice()
    }
}

impl AsRef<[u8]> for Text<'_> {
    fn as_ref(&self) -> &[u8] {
        self.as_slice()
    }
}

impl<'a> From<&'a [u8]> for Text<'a> {
    fn from(bytes: &'a [u8]) -> Text<'a> {
        Text::lent(bytes)
    }
}

impl From<Text<'_>> for ShortBytes {
    fn from(text: Text<'_>) -> ShortBytes {
        ShortBytes::from(text.as_slice())
    }
}

impl PartialEq for Text<'_> {
    fn eq(&self, other: &Text<'_>) -> bool {
        self.as_slice() == other.as_slice()
    }
}

impl Eq for Text<'_> {}

impl PartialOrd for Text<'_> {
    fn partial_cmp(&self, other: &Text<'_>) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Text<'_> {
    fn cmp(&self, other: &Text<'_>) -> Ordering {
        self.as_slice().cmp(other.as_slice())
    }
}

impl Hash for Text<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_slice().hash(state);
    }
}

impl fmt::Debug for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.as_slice().escape_ascii())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_as_their_digits() {
        for number in [0, 7, -7, i64::MAX, i64::MIN] {
            let text = Text::number(number);
            let digits = number.to_string();
            assert_eq!(text.as_slice(), digits.as_bytes());
            assert_eq!(text, Text::lent(digits.as_bytes()));
            assert!(text.matches(digits.as_bytes()) && !text.matches(b"x"));
        }
        assert_eq!(size_of::<Text<'_>>(), 24);
    }
}
