//! The numbers in an entry: its tags, its bytes; see `entry` for where they stand.

/// Tag of a free run.
pub(super) const FREE: u8 = 0;
pub(super) const INTEGER: u8 = 1;
pub(super) const TEXT: u8 = 2;
pub(super) const FAR: u8 = 3;
pub(super) const LIST: u8 = 4;
pub(super) const HASH: u8 = 5;
pub(super) const SET: u8 = 6;
pub(super) const SORTED_SET: u8 = 7;
pub(super) const STREAM: u8 = 8;
/// A packed set of integers.
pub(super) const INTEGERS: u8 = 9;
/// A large text that others may keep too; see `lent`.
pub(super) const SHARED: u8 = 10;
pub(super) const KIND_MASK: u8 = 15;
pub(super) const EXPIRES: u8 = 16;
/// A text that APPEND or SETRANGE has made: Redis calls it raw whatever its length.
pub(super) const CHANGED: u8 = 32;
/// A collection whose bytes are the value.
pub(super) const NEAR: u8 = 64;
/// A collection whose bytes lie elsewhere, as those of a far text.
pub(super) const ELSEWHERE_PACKED: u8 = 128;
pub(super) const FORM_MASK: u8 = NEAR | ELSEWHERE_PACKED;

pub(super) const FIXED_BYTES: usize = 10;
/// Milliseconds since 1970, all 64 bits of them: a client that gives EXPIREAT milliseconds asks for the year 58,000.
pub(super) const EXPIRY_BYTES: usize = 8;
/// A length byte that says that a u16 follows.
pub(super) const LONG: usize = 255;
/// A length of a key that says that the key lies elsewhere.
pub(super) const ELSEWHERE: usize = u16::MAX as usize;
pub(super) const FAR_KEY_BYTES: usize = 12;
pub(super) const FAR_TEXT_BYTES: usize = 16;
/// Bytes of an entry at the most.
pub(super) const ENTRY_BYTES_MAX: usize = 1024;
/// Longer keys lie elsewhere.
pub(super) const KEY_BYTES_MAX: usize = 900;
/// A text that grows lies elsewhere, with room to grow, as soon as it is longer than this.
pub(super) const GROWING_BYTES_MAX: usize = 64;

/// Bytes of an entry with a key and a value of these lengths within it.
#[inline]
pub(super) fn size(key: usize, value: usize, expires: bool) -> usize {
    FIXED_BYTES
        + if expires { EXPIRY_BYTES } else { 0 }
        + if key >= LONG { 2 } else { 0 }
        + if value >= LONG { 2 } else { 0 }
        + if key == ELSEWHERE { FAR_KEY_BYTES } else { key }
        + value
}
