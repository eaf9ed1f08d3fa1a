//! How does Redis 7.2 print a double? With the fewest digits that read back as the same number, and with an exponent
//! only where that many zeros would be needed otherwise.

use std::ops::Deref;

/// Longest text: a sign, a zero, a point, six zeros and 17 digits.
const LENGTH_MAX: usize = 32;

/// A double as text, without an allocation.
#[derive(Debug, Clone, Copy)]
pub struct DoubleText {
    bytes: [u8; LENGTH_MAX],
    length: usize,
}

impl Deref for DoubleText {
    type Target = str;

    fn deref(&self) -> &str {
        std::str::from_utf8(&self.bytes[..self.length]).expect("only ASCII is pushed")
    }
}

impl DoubleText {
    fn of(text: &str) -> Self {
        let mut new = Self { bytes: [0; LENGTH_MAX], length: 0 };
        new.push(text.as_bytes());
        new
    }

    fn push(&mut self, text: &[u8]) {
        self.bytes[self.length..self.length + text.len()].copy_from_slice(text);
        self.length += text.len();
    }

    fn push_zeros(&mut self, count: usize) {
        self.push(&[b'0'; LENGTH_MAX][..count]);
    }
}

/// A score or an increment as Redis prints it.
#[must_use]
pub fn format_double(value: f64) -> DoubleText {
    /// Half of the greatest i64: up to here Redis prints whole numbers as integers.
    const WHOLE_MAX: f64 = (i64::MAX / 2) as f64;

    if value.is_nan() {
        return DoubleText::of("nan");
    }
    if value.is_infinite() {
        return DoubleText::of(if value > 0.0 { "inf" } else { "-inf" });
    }
    if value == 0.0 {
        return DoubleText::of(if value.is_sign_negative() { "-0" } else { "0" });
    }
    if value.abs() <= WHOLE_MAX && value as i64 as f64 == value {
        return DoubleText::of(itoa::Buffer::new().format(value as i64));
    }
    shortest(value)
}

fn shortest(value: f64) -> DoubleText {
    let mut buffer = ryu::Buffer::new();
    let text = buffer.format_finite(value.abs());
    let mut digits = [0u8; 24];
    let (count, power) = take_apart(text.as_bytes(), &mut digits);
    let digits = &digits[..count];
    // Exponent of the first digit.
    let exponent = power + count as i32 - 1;
    let mut out = DoubleText::of(if value < 0.0 { "-" } else { "" });
    if power >= 0 && exponent < count as i32 + 7 {
        out.push(digits);
        out.push_zeros(power as usize);
    } else if power < 0 && (power > -7 || exponent.abs() < 4) {
        let whole = count as i32 + power;
        if whole <= 0 {
            out.push(b"0.");
            out.push_zeros(whole.unsigned_abs() as usize);
            out.push(digits);
        } else {
            out.push(&digits[..whole as usize]);
            out.push(b".");
            out.push(&digits[whole as usize..]);
        }
    } else {
        out.push(&digits[..1]);
        if count > 1 {
            out.push(b".");
            out.push(&digits[1..]);
        }
        out.push(if exponent < 0 { b"e-" } else { b"e+" });
        out.push(itoa::Buffer::new().format(exponent.unsigned_abs()).as_bytes());
    }
    out
}

/// The significant digits of a positive number's text, their count, and the power of ten of the last one.
fn take_apart(text: &[u8], digits: &mut [u8; 24]) -> (usize, i32) {
    let (mut count, mut power, mut has_point) = (0, 0, false);
    let mut rest = text.iter();
    for byte in rest.by_ref() {
        match byte {
            b'.' => has_point = true,
            b'e' => break,
            digit => {
                power -= i32::from(has_point);
                if count > 0 || *digit != b'0' {
                    digits[count] = *digit;
                    count += 1;
                }
            }
        }
    }
    let exponent = std::str::from_utf8(rest.as_slice()).ok().and_then(|text| text.parse::<i32>().ok()).unwrap_or(0);
    while count > 1 && digits[count - 1] == b'0' {
        count -= 1;
        power += 1;
    }
    (count, power + exponent)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_read_as_redis_prints_them() {
        let cases = [
            (1.0, "1"),
            (-0.0, "-0"),
            (0.1, "0.1"),
            (-1.5, "-1.5"),
            (3.0e20, "3e+20"),
            (1e-5, "0.00001"),
            (1.5e-5, "0.000015"),
            (1.23e-5, "1.23e-5"),
            (1.234e-7, "1.234e-7"),
            (f64::INFINITY, "inf"),
            (f64::NEG_INFINITY, "-inf"),
            (1e16, "10000000000000000"),
            (1e18, "1000000000000000000"),
            (1e19, "1e+19"),
            (1.2345678901234568e20, "123456789012345680000"),
            (0.30000000000000004, "0.30000000000000004"),
            (123456.7890123, "1.234567890123e+5"),
            (1234567.891, "1234567.891"),
            (-2.5e-300, "-2.5e-300"),
            (f64::MAX, "1.7976931348623157e+308"),
            (f64::MIN_POSITIVE, "2.2250738585072014e-308"),
        ];
        for (value, text) in cases {
            assert_eq!(&*format_double(value), text);
        }
    }

    #[test]
    fn every_text_reads_back_and_fits() {
        let mut bits = 0x9E37_79B9_7F4A_7C15_u64;
        for _ in 0..100_000 {
            bits ^= bits << 13;
            bits ^= bits >> 7;
            bits ^= bits << 17;
            let value = f64::from_bits(bits);
            if value.is_finite() {
                assert_eq!(format_double(value).parse::<f64>().map(f64::to_bits), Ok(bits));
            }
        }
    }
}
