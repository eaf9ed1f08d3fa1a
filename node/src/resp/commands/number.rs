//! Numbers in arguments, as Redis reads them.

use crate::ids::UnixMillis;
use crate::resp::error::Error;
use crate::resp::row::Args;

/// A whole number: digits with at most a minus, no leading zeros, nothing around it (`string2ll`).
pub(super) fn integer(text: &[u8]) -> Result<i64, Error> {
    parse_integer(text).ok_or(Error::NotInteger)
}

pub(crate) use crate::keyspace::value::parse_integer;

/// A number of elements: `getPositiveLongFromObjectOrReply` of Redis, which has one text for every mistake.
pub(super) fn count(text: &[u8]) -> Result<usize, Error> {
    usize::try_from(parse_integer(text).ok_or(Error::NotPositive)?).map_err(|_| Error::NotPositive)
}

/// A number that is `least` or more; `message` for every mistake.
pub(super) fn at_least(text: &[u8], least: i64, message: &'static str) -> Result<i64, Error> {
    parse_integer(text).filter(|number| *number >= least).ok_or(Error::text(message))
}

/// A number whose sign can be changed.
pub(super) fn symmetric(text: &[u8]) -> Result<i64, Error> {
    match integer(text)? {
        i64::MIN => Err(Error::text(
            "ERR value is out of range, value must between -9223372036854775807 and 9223372036854775807",
        )),
        number => Ok(number),
    }
}

/// A number that fits an `int` of C.
pub(super) fn small(text: &[u8]) -> Result<i32, Error> {
    i32::try_from(integer(text)?)
        .map_err(|_| Error::text("ERR value is out of range, value must between -2147483648 and 2147483647"))
}

/// A number of keys, that many keys, and what stands behind them, which is not nothing.
pub(super) fn counted_keys<'a, 'b>(args: &'b Args<'a>) -> Result<(&'b Args<'a>, &'b Args<'a>), Error> {
    let count = at_least(args[0], 1, "ERR numkeys should be greater than 0")?;
    match args[1..].split_at_checked(usize::try_from(count).unwrap_or(usize::MAX)) {
        Some((keys, rest)) if !rest.is_empty() => Ok((keys, rest)),
        _ => Err(Error::Syntax),
    }
}

/// `[COUNT count]`, 1 without it.
pub(super) fn count_option(mut rest: &Args<'_>) -> Result<usize, Error> {
    let mut count = None;
    while let [option, text, behind @ ..] = rest {
        if count.is_some() || !option.eq_ignore_ascii_case(b"count") {
            return Err(Error::Syntax);
        }
        count = Some(at_least(text, 1, "ERR count should be greater than 0")?);
        rest = behind;
    }
    let count = count.map_or(1, |count| usize::try_from(count).unwrap_or(usize::MAX));
    if rest.is_empty() { Ok(count) } else { Err(Error::Syntax) }
}

/// As `counted_keys`, for commands whose keys may be the end: SINTERCARD and its like.
pub(super) fn counted_keys_or_more<'a, 'b>(args: &'b Args<'a>) -> Result<(&'b Args<'a>, &'b Args<'a>), Error> {
    let count = at_least(args[0], 1, "ERR numkeys should be greater than 0")?;
    args[1..]
        .split_at_checked(usize::try_from(count).unwrap_or(usize::MAX))
        .ok_or(Error::text("ERR Number of keys can't be greater than number of args"))
}

/// `[LIMIT limit]`; 0 is no limit.
pub(super) fn limit(args: &Args<'_>) -> Result<usize, Error> {
    let (options, rest) = args.as_chunks::<2>();
    let mut limit = 0;
    for [option, text] in options {
        if !option.eq_ignore_ascii_case(b"limit") {
            return Err(Error::Syntax);
        }
        limit = at_least(text, 0, "ERR LIMIT can't be negative")?;
    }
    match (rest, limit) {
        ([], 0) => Ok(usize::MAX),
        ([], limit) => Ok(usize::try_from(limit).unwrap_or(usize::MAX)),
        _ => Err(Error::Syntax),
    }
}

/// Digits of whole numbers that a double certainly holds.
const WHOLE_DIGITS: usize = 15;

/// A float as `strtold` reads it: also `inf`, `-inf`, exponents and hexadecimal; no NaN, nothing around it.
pub(super) fn float(text: &[u8]) -> Result<f64, Error> {
    parse_float(text).ok_or(Error::NotFloat)
}

pub(in crate::resp) fn parse_float(text: &[u8]) -> Option<f64> {
    // Most scores are small whole numbers, for which the general way is long.
    if text.len() <= WHOLE_DIGITS
        && let Some(number) = parse_integer(text)
    {
        return Some(number as f64);
    }
    let number = plain_float(text)?;
    // C reports what is too large or too small for a double as out of range.
    let is_spelled_infinite = text.iter().find(|byte| byte.is_ascii_alphabetic()).is_some_and(|b| *b | 32 == b'i');
    let is_spelled_zero = !text.iter().take_while(|byte| **byte | 32 != b'e').any(|byte| (b'1'..=b'9').contains(byte));
    let is_in_range = (number.is_finite() || is_spelled_infinite) && (number != 0.0 || is_spelled_zero);
    is_in_range.then_some(number)
}

/// A bound of a range of scores, as `strtod` reads it: blanks before it and numbers out of range are fine, and nothing
/// is 0.
pub(super) fn parse_bound(text: &[u8]) -> Option<f64> {
    let text = c_text(text);
    match text.trim_ascii_start() {
        b"" => text.is_empty().then_some(0.0),
        text => plain_float(text),
    }
}

/// What C sees of a text: up to a zero byte.
pub(super) fn c_text(text: &[u8]) -> &[u8] {
    memchr::memchr(0, text).map_or(text, |end| &text[..end])
}

/// A weight of SORT: as a bound, but within the range of a double.
pub(super) fn parse_weight(text: &[u8]) -> Option<f64> {
    let text = c_text(text);
    let trimmed = text.trim_ascii_start();
    if trimmed.is_empty() { parse_bound(text) } else { parse_float(trimmed) }
}

/// The number that is all of `text`; not NaN.
fn plain_float(text: &[u8]) -> Option<f64> {
    let digits = text.strip_prefix(b"-").or_else(|| text.strip_prefix(b"+")).unwrap_or(text);
    let number = match digits {
        [b'0', b'x' | b'X', hexadecimal @ ..] => {
            let magnitude = hexadecimal_float(hexadecimal)?;
            if text[0] == b'-' { -magnitude } else { magnitude }
        }
        _ => std::str::from_utf8(text).ok()?.parse().ok()?,
    };
    (!number.is_nan()).then_some(number)
}

/// The part of a hexadecimal number behind its `0x`: digits, a fraction, a power of two.
fn hexadecimal_float(text: &[u8]) -> Option<f64> {
    let (digits, exponent) = match text.iter().position(|byte| *byte | 32 == b'p') {
        None => (text, 0),
        Some(at) => (&text[..at], std::str::from_utf8(&text[at + 1..]).ok()?.parse::<i32>().ok()?),
    };
    let (mut number, mut places, mut has_point, mut has_digit) = (0.0, 0, false, false);
    for byte in digits {
        match (char::from(*byte).to_digit(16), byte) {
            (Some(digit), _) => {
                number = number * 16.0 + f64::from(digit);
                places += i32::from(has_point);
                has_digit = true;
            }
            (None, b'.') if !has_point => has_point = true,
            _ => return None,
        }
    }
    has_digit.then(|| number * 2f64.powi(exponent - 4 * places))
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
