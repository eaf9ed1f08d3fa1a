//! How is the id of an entry written? `ms-seq`, or `ms` alone, `-`, `+`, and with `(` where it is not included.

use super::number::c_text;
use crate::keyspace::value::stream::StreamId;
use crate::resp::error::Error;

/// Longer texts are no ids.
const LONGEST: usize = 127;

fn invalid() -> Error {
    Error::text("ERR Invalid stream ID specified as stream command argument")
}

/// A number without sign, as `string2ull` reads it.
fn unsigned(text: &[u8]) -> Option<u64> {
    // What `strtoull` leaves to the caller: it takes blanks and a plus.
    let text = std::str::from_utf8(text).ok()?;
    let digits = text.trim_start_matches([' ', '\t', '\n', '\x0b', '\x0c', '\r']);
    let digits = digits.strip_prefix('+').unwrap_or(digits);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    digits.parse().ok()
}

/// What an id says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Written {
    Whole(StreamId),
    /// `ms-*`: the number within the millisecond is to be found.
    Millisecond(u64),
}

fn parse(text: &[u8], missing_seq: u64) -> Option<StreamId> {
    if text.len() > LONGEST {
        return None;
    }
    let text = c_text(text);
    let (ms, seq) = match memchr::memchr(b'-', text) {
        Some(dash) => (&text[..dash], Some(&text[dash + 1..])),
        None => (text, None),
    };
    let seq = match seq {
        Some(seq) => unsigned(seq)?,
        None => missing_seq,
    };
    Some(StreamId::new(unsigned(ms)?, seq))
}

/// An id that names an entry.
pub(super) fn strict(text: &[u8]) -> Result<StreamId, Error> {
    parse(text, 0).ok_or_else(invalid)
}

/// The id of XADD.
pub(super) fn of_new_entry(text: &[u8]) -> Result<Written, Error> {
    match text.strip_suffix(b"-*").filter(|ms| ms.len() <= LONGEST - 2).and_then(unsigned) {
        Some(ms) => Ok(Written::Millisecond(ms)),
        None => strict(text).map(Written::Whole),
    }
}

/// As `strict`; `-` and `+` are the ends.
pub(super) fn with_ends(text: &[u8], missing_seq: u64) -> Result<StreamId, Error> {
    match text {
        b"-" => Ok(StreamId::MIN),
        b"+" => Ok(StreamId::MAX),
        text => parse(text, missing_seq).ok_or_else(invalid),
    }
}

/// The lower end of a range.
pub(super) fn start(text: &[u8]) -> Result<StreamId, Error> {
    match text {
        [b'(', rest @ ..] if !rest.is_empty() => {
            strict(rest)?.next().ok_or(Error::text("ERR invalid start ID for the interval"))
        }
        text => with_ends(text, 0),
    }
}

/// The upper end of a range.
pub(super) fn end(text: &[u8]) -> Result<StreamId, Error> {
    match text {
        [b'(', rest @ ..] if !rest.is_empty() => parse(rest, u64::MAX)
            .ok_or_else(invalid)?
            .previous()
            .ok_or(Error::text("ERR invalid end ID for the interval")),
        text => with_ends(text, u64::MAX),
    }
}
