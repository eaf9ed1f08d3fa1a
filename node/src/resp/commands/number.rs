//! Numbers in arguments, as Redis reads them.

use crate::ids::UnixMillis;
use crate::resp::error::Error;

/// A whole number: digits with at most a minus, no leading zeros, nothing around it (`string2ll`).
pub(super) fn integer(text: &[u8]) -> Result<i64, Error> {
    parse_integer(text).ok_or(Error::NotInteger)
}

/// As `integer`, without an error.
pub(super) fn parse_integer(text: &[u8]) -> Option<i64> {
    let digits = text.strip_prefix(b"-").unwrap_or(text);
    let canonical = match digits {
        [] => false,
        [b'0'] => text.len() == 1,
        [b'0', ..] => false,
        _ => digits.iter().all(u8::is_ascii_digit),
    };
    if !canonical || text.len() > 20 {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// A float as `strtold` reads it: also `inf`, `-inf`, exponents and hexadecimal; no NaN, nothing around it.
pub(super) fn float(text: &[u8]) -> Result<f64, Error> {
    parse_float(text).ok_or(Error::NotFloat)
}

pub(super) fn parse_float(text: &[u8]) -> Option<f64> {
    let text = std::str::from_utf8(text).ok()?;
    if text.is_empty() || text.starts_with(char::is_whitespace) || text.ends_with(char::is_whitespace) {
        return None;
    }
    let number: f64 = text.parse().ok()?;
    // "1e999" overflows to infinity, which C reports as out of range.
    let is_spelled_infinite = text.trim_start_matches(['+', '-']).starts_with(['i', 'I']);
    (!number.is_nan() && (number.is_finite() || is_spelled_infinite)).then_some(number)
}

/// Unit and origin of an expiry argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TimeUnit {
    Seconds,
    Millis,
    UnixSeconds,
    UnixMillis,
}

/// An absolute time from an argument. Zero and less are for the caller to judge.
pub(super) fn expiry(text: &[u8], unit: TimeUnit, now: UnixMillis, command: &'static str) -> Result<i64, Error> {
    let number = integer(text)?;
    let wrong = || Error::ExpireTime(command);
    let millis = match unit {
        TimeUnit::Seconds | TimeUnit::UnixSeconds => number.checked_mul(1000).ok_or_else(wrong)?,
        TimeUnit::Millis | TimeUnit::UnixMillis => number,
    };
    match unit {
        TimeUnit::Seconds | TimeUnit::Millis => millis.checked_add(now.0 as i64).ok_or_else(wrong),
        TimeUnit::UnixSeconds | TimeUnit::UnixMillis => Ok(millis),
    }
}

/// As `expiry`, for commands that refuse a time to live that is not positive.
pub(super) fn positive_expiry(
    text: &[u8],
    unit: TimeUnit,
    now: UnixMillis,
    command: &'static str,
) -> Result<UnixMillis, Error> {
    if integer(text)? <= 0 {
        return Err(Error::ExpireTime(command));
    }
    Ok(UnixMillis(expiry(text, unit, now, command)? as u64))
}

/// The elements `start..end` that an inclusive range with negative indexes means, of `length`.
pub(super) fn range(start: i64, stop: i64, length: usize) -> std::ops::Range<usize> {
    let length = length as i64;
    let from_end = |index: i64| if index < 0 { index.saturating_add(length) } else { index };
    let start = from_end(start).max(0);
    let stop = from_end(stop).min(length - 1);
    if start > stop || start >= length { 0..0 } else { start as usize..stop as usize + 1 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_are_read_strictly() {
        for (text, number) in
            [("0", 0), ("-1", -1), ("9223372036854775807", i64::MAX), ("-9223372036854775808", i64::MIN)]
        {
            assert_eq!(parse_integer(text.as_bytes()), Some(number));
        }
        for text in ["", "-", "00", "01", "-0", "+1", " 1", "1 ", "9223372036854775808", "1.0", "abc"] {
            assert_eq!(parse_integer(text.as_bytes()), None, "{text:?}");
        }
    }

    #[test]
    fn ranges_are_clipped_as_in_lrange() {
        assert_eq!(range(0, -1, 3), 0..3);
        assert_eq!(range(-2, -1, 3), 1..3);
        assert_eq!(range(-100, 100, 3), 0..3);
        assert_eq!(range(2, 1, 3), 0..0);
        assert_eq!(range(5, 9, 3), 0..0);
        assert_eq!(range(0, -1, 0), 0..0);
    }
}
