//! How does a value travel to and from a Redis? In the format of DUMP and RESTORE:
//!
//! ```text
//! payload = type (1 byte) | value | version of the format (u16 LE) | CRC-64 of all before (u64 LE)
//! ```
//!
//! Written is what Redis 7.0 reads, but for fields that expire, which only 7.4 knows; read is what any Redis up to 7.4 writes, but for modules.

mod crc64;
mod decode;
mod encode;
mod file;
mod lzf;
mod read;
mod stream;
#[cfg(test)]
mod tests;
mod write;
mod ziplist;

pub use file::{File, Item, Kept};

use super::value::{Limits, Value, ValueRef};

/// The version that is written: Redis 7.0's.
const VERSION: u16 = 10;
/// That of a hash with fields that expire, and the newest that is read: Redis 7.4's.
const NEWEST: u16 = 12;
const FOOTER: usize = 10;

mod kind {
    pub(super) const STRING: u8 = 0;
    pub(super) const LIST: u8 = 1;
    pub(super) const SET: u8 = 2;
    pub(super) const ZSET: u8 = 3;
    pub(super) const HASH: u8 = 4;
    pub(super) const ZSET_2: u8 = 5;
    pub(super) const HASH_ZIPMAP: u8 = 9;
    pub(super) const LIST_ZIPLIST: u8 = 10;
    pub(super) const SET_INTSET: u8 = 11;
    pub(super) const ZSET_ZIPLIST: u8 = 12;
    pub(super) const HASH_ZIPLIST: u8 = 13;
    pub(super) const LIST_QUICKLIST: u8 = 14;
    pub(super) const STREAM: u8 = 15;
    pub(super) const HASH_LISTPACK: u8 = 16;
    pub(super) const ZSET_LISTPACK: u8 = 17;
    pub(super) const LIST_QUICKLIST_2: u8 = 18;
    pub(super) const STREAM_2: u8 = 19;
    pub(super) const SET_LISTPACK: u8 = 20;
    pub(super) const STREAM_3: u8 = 21;
    pub(super) const TIMED_HASH: u8 = 24;
    pub(super) const TIMED_HASH_LISTPACK: u8 = 25;
}

/// A payload that cannot be restored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("DUMP payload version or checksum are wrong")]
    Footer,
    #[error("Bad data format")]
    Format,
}

/// A value as DUMP answers it.
#[must_use]
pub fn dump(value: ValueRef<'_>, limits: &Limits) -> Vec<u8> {
    let mut out = Vec::new();
    encode::value(value, limits, &mut out);
    let is_timed = matches!(value, ValueRef::Hash(hash) if hash.is_timed());
    finish(&mut out, if is_timed { NEWEST } else { VERSION });
    out
}

/// Puts version and checksum behind a value.
fn finish(out: &mut Vec<u8>, version: u16) {
    out.extend_from_slice(&version.to_le_bytes());
    let crc = crc64::checksum(out);
    out.extend_from_slice(&crc.to_le_bytes());
}

/// Reads a payload. It takes memory in proportion to the payload, whatever numbers it claims.
///
/// # Errors
/// It is damaged, or of a kind that is not known.
pub fn restore(payload: &[u8]) -> Result<Value, Error> {
    let (content, footer) = payload.split_at_checked(payload.len().wrapping_sub(FOOTER)).ok_or(Error::Footer)?;
    let (version, crc) = footer.split_first_chunk::<2>().ok_or(Error::Footer)?;
    let is_whole = crc64::checksum(&payload[..payload.len() - 8]).to_le_bytes() == crc;
    if u16::from_le_bytes(*version) > NEWEST || !is_whole {
        return Err(Error::Footer);
    }
    let mut reader = read::Reader::new(content);
    let value = decode::value(&mut reader).ok_or(Error::Format)?;
    if reader.is_empty() { Ok(value) } else { Err(Error::Format) }
}
