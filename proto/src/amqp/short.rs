//! Short strings: at most 255 bytes, shared and not copied when they come out of a receive buffer.
//!
//! RabbitMQ demands UTF-8 of the short strings of methods (`ShortString`), but relays properties and keys of field tables
//! as they are (`ShortBytes`): some clients put raw UUIDs into correlation_id.

use std::{borrow::Borrow, borrow::Cow, fmt, ops::Deref};

use bytes::Bytes;

/// A length octet counts no further.
const MAX_LENGTH: usize = 255;

/// The text does not fit a short string.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("short string of {0} bytes is longer than 255")]
pub struct TooLong(usize);

fn check_length(length: usize) -> Result<(), TooLong> {
    if length > MAX_LENGTH { Err(TooLong(length)) } else { Ok(()) }
}

/// UTF-8 of at most 255 bytes. A clone shares the bytes.
#[derive(Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ShortString(Bytes);

impl ShortString {
    /// # Panics
    /// When the literal is longer than 255 bytes.
    #[must_use]
    pub const fn from_static(text: &'static str) -> Self {
        assert!(text.len() <= MAX_LENGTH, "a short string has at most 255 bytes");
        Self(Bytes::from_static(text.as_bytes()))
    }

    /// Cut at a character, for texts that are only read by people.
    #[must_use]
    pub fn truncated(text: &str) -> Self {
        let end = text.floor_char_boundary(MAX_LENGTH);
        Self(Bytes::copy_from_slice(&text.as_bytes()[..end]))
    }

    /// `None`: not UTF-8, or too long.
    #[must_use]
    pub fn from_utf8(bytes: Bytes) -> Option<Self> {
        (bytes.len() <= MAX_LENGTH && std::str::from_utf8(&bytes).is_ok()).then_some(Self(bytes))
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("UTF-8 was checked when it was made")
    }

    /// Without the check that `as_str` repeats: for comparing and looking up.
    #[inline]
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    #[must_use]
    pub fn into_bytes(self) -> Bytes {
        self.0
    }

    /// A copy that does not keep the receive buffer alive: for whatever outlives the request.
    #[must_use]
    pub fn detached(&self) -> Self {
        Self(Bytes::copy_from_slice(&self.0))
    }
}

impl Deref for ShortString {
    type Target = str;

    fn deref(&self) -> &str {
        self.as_str()
    }
}

impl Borrow<[u8]> for ShortString {
    fn borrow(&self) -> &[u8] {
        &self.0
    }
}

impl TryFrom<&str> for ShortString {
    type Error = TooLong;

    fn try_from(text: &str) -> Result<Self, TooLong> {
        check_length(text.len()).map(|()| Self(Bytes::copy_from_slice(text.as_bytes())))
    }
}

impl TryFrom<String> for ShortString {
    type Error = TooLong;

    fn try_from(text: String) -> Result<Self, TooLong> {
        check_length(text.len()).map(|()| Self(text.into()))
    }
}

impl PartialEq<str> for ShortString {
    fn eq(&self, other: &str) -> bool {
        self.0 == other.as_bytes()
    }
}

impl PartialEq<&str> for ShortString {
    fn eq(&self, other: &&str) -> bool {
        self.0 == other.as_bytes()
    }
}

impl fmt::Display for ShortString {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Debug for ShortString {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

/// Any bytes, at most 255. A clone shares them.
#[derive(Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ShortBytes(Bytes);

impl ShortBytes {
    /// # Panics
    /// When the literal is longer than 255 bytes.
    #[must_use]
    pub const fn from_static(text: &'static str) -> Self {
        assert!(text.len() <= MAX_LENGTH, "a short string has at most 255 bytes");
        Self(Bytes::from_static(text.as_bytes()))
    }

    /// # Errors
    /// More than 255 bytes.
    pub fn new(bytes: Bytes) -> Result<Self, TooLong> {
        check_length(bytes.len()).map(|()| Self(bytes))
    }

    /// For the parts of this codec that have just read a length octet.
    pub(super) fn counted(bytes: &[u8]) -> Self {
        debug_assert!(bytes.len() <= MAX_LENGTH);
        Self(Bytes::copy_from_slice(bytes))
    }

    #[inline]
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    #[must_use]
    pub fn into_bytes(self) -> Bytes {
        self.0
    }

    #[must_use]
    pub fn to_text(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.0)
    }
}

impl From<ShortString> for ShortBytes {
    fn from(text: ShortString) -> Self {
        Self(text.0)
    }
}

impl TryFrom<&str> for ShortBytes {
    type Error = TooLong;

    fn try_from(text: &str) -> Result<Self, TooLong> {
        ShortString::try_from(text).map(Self::from)
    }
}

impl TryFrom<String> for ShortBytes {
    type Error = TooLong;

    fn try_from(text: String) -> Result<Self, TooLong> {
        ShortString::try_from(text).map(Self::from)
    }
}

impl Borrow<[u8]> for ShortBytes {
    fn borrow(&self) -> &[u8] {
        &self.0
    }
}

impl PartialEq<str> for ShortBytes {
    fn eq(&self, other: &str) -> bool {
        self.0 == other.as_bytes()
    }
}

impl PartialEq<&str> for ShortBytes {
    fn eq(&self, other: &&str) -> bool {
        self.0 == other.as_bytes()
    }
}

impl fmt::Debug for ShortBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.to_text(), f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn length_is_bounded_at_255_bytes() {
        assert!(ShortString::try_from("x".repeat(255)).is_ok());
        assert_eq!(ShortString::try_from("x".repeat(256)), Err(TooLong(256)));
        assert_eq!(ShortBytes::new(vec![0; 256].into()), Err(TooLong(256)));
        assert_eq!(ShortString::from_utf8(vec![b'x'; 256].into()), None);
    }

    #[test]
    fn only_utf8_becomes_a_short_string() {
        assert_eq!(ShortString::from_utf8(Bytes::from_static(&[0xc3, 0x28])), None);
        assert_eq!(ShortString::from_utf8(Bytes::from_static("ä".as_bytes())).unwrap(), "ä");
    }

    #[test]
    fn truncation_keeps_characters_whole() {
        let text = ShortString::truncated(&format!("x{}", "ä".repeat(200)));
        assert_eq!(text.len(), 255);
        assert_eq!(ShortString::truncated(&"ä".repeat(200)).len(), 254);
    }
}
