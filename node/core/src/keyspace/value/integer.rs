//! Which byte strings are integers? Those that an i64, printed in decimal, would give back byte for byte.

/// The number that prints exactly as `text`: no plus sign, no leading zero, no space, no `-0`.
///
/// The same texts as Redis' `string2ll` accepts; what INCR, SET's integer encoding and intsets mean by an integer.
#[inline]
pub fn parse_integer(text: &[u8]) -> Option<i64> {
    let (negative, digits) = match text {
        [b'-', rest @ ..] => (true, rest),
        _ => (false, text),
    };
    match digits {
        [] => return None,
        [b'0', ..] => return (text.len() == 1).then_some(0),
        // 19 digits are below 2^64, so the sum cannot overflow.
        _ if digits.len() > 19 => return None,
        _ => {}
    }
    let mut magnitude = 0u64;
    for byte in digits {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        magnitude = magnitude * 10 + u64::from(digit);
    }
    if negative { 0i64.checked_sub_unsigned(magnitude) } else { i64::try_from(magnitude).ok() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn canonical_decimals_are_integers() {
        for number in [0, 1, -1, 9, 10, -10, i64::MAX, i64::MIN, 1_000_000_000_000_000_000] {
            assert_eq!(parse_integer(number.to_string().as_bytes()), Some(number));
        }
    }

    #[test]
    fn other_spellings_are_not() {
        let texts = [
            "",
            "-",
            "+1",
            "-0",
            "00",
            "01",
            "-01",
            " 1",
            "1 ",
            "1.0",
            "1e3",
            "0x10",
            "a",
            "9223372036854775808",
            "-9223372036854775809",
            "99999999999999999999",
            "18446744073709551616",
            "1\0",
            "/",
            ":",
        ];
        for text in texts {
            assert_eq!(parse_integer(text.as_bytes()), None, "{text:?}");
        }
    }
}
