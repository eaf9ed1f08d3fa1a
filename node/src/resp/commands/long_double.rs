//! INCRBYFLOAT and HINCRBYFLOAT: sums with the 64-bit mantissa of x86's `long double`, printed with 17 decimals, for
//! that is what Redis computes and clients have come to see (0.1 + 0.2 is 0.3 there).
//!
//! ```text
//! value = (-1)^negative * mantissa * 2^exponent        mantissa: 0, or its top bit is set
//! ```

/// Longest text that is read as a number; Redis's MAX_LONG_DOUBLE_CHARS.
const TEXT_MAX: usize = 5 * 1024;
/// Decimal exponents beyond it are out of the range of a `long double`.
const DECIMAL_EXPONENT_MAX: i64 = 5000;
/// Exponent of the greatest number's top bit.
const TOP_EXPONENT_MAX: i32 = 16_383;
/// Exponent of the smallest normal number's top bit.
const TOP_EXPONENT_MIN: i32 = -16_382;
const DECIMALS: usize = 17;
const TEN_TO_DECIMALS: u128 = 100_000_000_000_000_000;

/// A number, or infinity, which only an argument can be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LongDouble {
    Finite(Finite),
    Infinite,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Finite {
    is_negative: bool,
    mantissa: u64,
    exponent: i32,
}

pub(super) const ZERO: LongDouble = LongDouble::Finite(Finite { is_negative: false, mantissa: 0, exponent: 0 });

impl LongDouble {
    /// Reads what `strtold` reads, except NaN; nothing around it.
    pub(super) fn parse(text: &[u8]) -> Option<Self> {
        if text.len() >= TEXT_MAX {
            return None;
        }
        let (is_negative, digits) = match text {
            [b'-', digits @ ..] => (true, digits),
            [b'+', digits @ ..] => (false, digits),
            digits => (false, digits),
        };
        if digits.eq_ignore_ascii_case(b"inf") || digits.eq_ignore_ascii_case(b"infinity") {
            return Some(Self::Infinite);
        }
        if let [b'0', b'x' | b'X', ..] = digits {
            return super::number::parse_float(text).map(from_double);
        }
        decimal(is_negative, digits).map(Self::Finite)
    }

    /// The sum as Redis prints it; nothing if it is not finite.
    pub(super) fn sum(self, other: Self) -> Option<String> {
        match (self, other) {
            (Self::Finite(first), Self::Finite(second)) => Some(add(first, second)?.print()),
            _ => None,
        }
    }

    pub(super) fn is_finite(self) -> bool {
        matches!(self, Self::Finite(_))
    }
}

fn from_double(number: f64) -> LongDouble {
    if number.is_infinite() {
        return LongDouble::Infinite;
    }
    let bits = number.abs().to_bits();
    let (fraction, biased) = (bits & ((1 << 52) - 1), (bits >> 52) as i32);
    let (mantissa, exponent) = if biased == 0 { (fraction, -1074) } else { (fraction | 1 << 52, biased - 1075) };
    let shift = mantissa.leading_zeros() % 64;
    let exponent = if mantissa == 0 { 0 } else { exponent - shift as i32 };
    LongDouble::Finite(Finite { is_negative: number < 0.0, mantissa: mantissa << shift, exponent })
}

/// `digits[.digits][e[sign]digits]`, rounded to the nearest.
fn decimal(is_negative: bool, text: &[u8]) -> Option<Finite> {
    let (digits, exponent) = match text.iter().position(|byte| *byte | 32 == b'e') {
        None => (text, 0),
        Some(at) => (&text[..at], exponent_of(&text[at + 1..])?),
    };
    let mut number = Big::default();
    let (mut places, mut has_point, mut has_digit) = (0i64, false, false);
    for byte in digits {
        match byte {
            b'.' if !has_point => has_point = true,
            b'0'..=b'9' => {
                number.multiply_add(10, u32::from(byte - b'0'));
                places += i64::from(has_point);
                has_digit = true;
            }
            _ => return None,
        }
    }
    if !has_digit {
        return None;
    }
    if number.is_zero() {
        return Some(Finite { is_negative, mantissa: 0, exponent: 0 });
    }
    let exponent = exponent - places;
    if exponent.abs() > DECIMAL_EXPONENT_MAX + TEXT_MAX as i64 {
        return None;
    }
    let (quotient, shift, has_rest) = if exponent >= 0 {
        (0..exponent).for_each(|_| number.multiply_add(10, 0));
        (number, 0, false)
    } else {
        let mut divisor = Big::from(1);
        (0..-exponent).for_each(|_| divisor.multiply_add(10, 0));
        // So far to the left that the quotient has more than 64 bits.
        let shift = (divisor.bits() + 66).saturating_sub(number.bits());
        number.shift_left(shift);
        let (quotient, has_rest) = number.divide(&divisor);
        (quotient, shift, has_rest)
    };
    let (top, below, lost) = quotient.top();
    round(is_negative, top, below, has_rest || lost, quotient.bits() as i32 - 64 - shift as i32)
}

fn exponent_of(text: &[u8]) -> Option<i64> {
    let digits = text.strip_prefix(b"-").or_else(|| text.strip_prefix(b"+")).unwrap_or(text);
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    // More digits than fit are as far out of range as the most that fit.
    let magnitude = digits.iter().fold(0i64, |sum, byte| (sum * 10 + i64::from(byte - b'0')).min(1 << 40));
    Some(if text[0] == b'-' { -magnitude } else { magnitude })
}

/// A mantissa with what lies below its last bit: half or more of it, and whether there is anything else.
fn round(is_negative: bool, mantissa: u64, is_half: bool, has_rest: bool, exponent: i32) -> Option<Finite> {
    let up = is_half && (has_rest || mantissa & 1 == 1);
    let (mantissa, exponent) = match mantissa.checked_add(u64::from(up)) {
        Some(mantissa) => (mantissa, exponent),
        None => (1 << 63, exponent + 1),
    };
    let is_in_range = (TOP_EXPONENT_MIN..=TOP_EXPONENT_MAX).contains(&(exponent + 63));
    is_in_range.then_some(Finite { is_negative, mantissa, exponent })
}

fn add(first: Finite, second: Finite) -> Option<Finite> {
    /// Free bits below the greater mantissa, in which the smaller one ends.
    const BELOW: u32 = 62;

    if first.mantissa == 0 || second.mantissa == 0 {
        return Some(if first.mantissa == 0 { second } else { first });
    }
    let is_greater = (first.exponent, first.mantissa) >= (second.exponent, second.mantissa);
    let (great, small) = if is_greater { (first, second) } else { (second, first) };
    let distance = (great.exponent - small.exponent) as u32;
    let great_bits = u128::from(great.mantissa) << BELOW;
    let small_bits = u128::from(small.mantissa) << BELOW;
    let shifted = small_bits.checked_shr(distance).unwrap_or(0);
    let is_cut = shifted.checked_shl(distance) != Some(small_bits) || distance >= u128::BITS;
    let sum = if great.is_negative == small.is_negative {
        great_bits + shifted
    } else {
        great_bits - shifted - u128::from(is_cut)
    };
    if sum == 0 {
        return Some(Finite { is_negative: false, mantissa: 0, exponent: 0 });
    }
    let leading = sum.leading_zeros();
    let normal = sum << leading;
    let mantissa = (normal >> 64) as u64;
    let below = normal as u64;
    let exponent = great.exponent - BELOW as i32 + 64 - leading as i32;
    let rest = below << 1 != 0 || is_cut;
    match round(great.is_negative, mantissa, below >> 63 == 1, rest, exponent) {
        // A difference that is too small for a normal number; nobody prints so many decimals.
        None if exponent < 0 => Some(Finite { is_negative: false, mantissa: 0, exponent: 0 }),
        rounded => rounded,
    }
}

impl Finite {
    /// 17 decimals without the zeros at their end.
    fn print(self) -> String {
        let mut text = if self.exponent >= 0 { self.whole() } else { self.fraction() };
        if self.is_negative && text != "0" {
            text.insert(0, '-');
        }
        text
    }

    fn whole(self) -> String {
        let mut number = Big::from(self.mantissa);
        number.shift_left(self.exponent as usize);
        number.print()
    }

    fn fraction(self) -> String {
        // Below 2^121, so exact.
        let scaled = u128::from(self.mantissa) * TEN_TO_DECIMALS;
        let shift = self.exponent.unsigned_abs();
        let rounded = match scaled.checked_shr(shift) {
            None => 0,
            Some(cut) => {
                let rest = scaled - (cut << shift);
                let half = 1u128 << (shift - 1);
                cut + u128::from(rest > half || rest == half && cut & 1 == 1)
            }
        };
        let text = format!("{}.{:0DECIMALS$}", rounded / TEN_TO_DECIMALS, rounded % TEN_TO_DECIMALS);
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    }
}

/// A natural number of any length, the lowest 32 bits first, without zeros at its end.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Big(Vec<u32>);

impl From<u64> for Big {
    fn from(number: u64) -> Self {
        let mut new = Self(vec![number as u32, (number >> 32) as u32]);
        new.trim();
        new
    }
}

impl Big {
    fn trim(&mut self) {
        while self.0.last() == Some(&0) {
            self.0.pop();
        }
    }

    fn is_zero(&self) -> bool {
        self.0.is_empty()
    }

    fn bits(&self) -> usize {
        self.0.last().map_or(0, |top| self.0.len() * 32 - top.leading_zeros() as usize)
    }

    fn bit(&self, index: usize) -> bool {
        self.0.get(index / 32).is_some_and(|word| word >> (index % 32) & 1 == 1)
    }

    fn multiply_add(&mut self, factor: u32, summand: u32) {
        let mut carry = u64::from(summand);
        for word in &mut self.0 {
            carry += u64::from(*word) * u64::from(factor);
            *word = carry as u32;
            carry >>= 32;
        }
        if carry > 0 {
            self.0.push(carry as u32);
        }
    }

    fn shift_left(&mut self, count: usize) {
        if self.is_zero() {
            return;
        }
        self.multiply_add(1 << (count % 32), 0);
        self.0.splice(0..0, std::iter::repeat_n(0, count / 32));
    }

    /// The quotient, and whether there is a rest. The quotient is short, so it is found bit by bit.
    fn divide(&self, divisor: &Self) -> (Self, bool) {
        let mut rest = Self::default();
        let mut quotient = Self(vec![0; self.0.len()]);
        for index in (0..self.bits()).rev() {
            rest.multiply_add(2, u32::from(self.bit(index)));
            if rest.subtract(divisor) {
                quotient.0[index / 32] |= 1 << (index % 32);
            }
        }
        quotient.trim();
        (quotient, !rest.is_zero())
    }

    /// Subtracts, unless the other number is greater.
    fn subtract(&mut self, other: &Self) -> bool {
        let lengths = self.0.len().cmp(&other.0.len());
        if lengths.then_with(|| self.0.iter().rev().cmp(other.0.iter().rev())).is_lt() {
            return false;
        }
        let mut borrow = 0;
        for (index, word) in self.0.iter_mut().enumerate() {
            let wanted = u64::from(other.0.get(index).copied().unwrap_or(0)) + borrow;
            borrow = u64::from(u64::from(*word) < wanted);
            *word = (u64::from(*word) + (borrow << 32) - wanted) as u32;
        }
        self.trim();
        true
    }

    /// The 64 top bits, the bit below them, and whether any bit below that one is set.
    fn top(&self) -> (u64, bool, bool) {
        let bits = self.bits();
        let at = |place: usize| bits > place && self.bit(bits - 1 - place);
        let top = (0..64).fold(0, |top, place| top << 1 | u64::from(at(place)));
        (top, at(64), (65..bits).any(at))
    }

    fn print(mut self) -> String {
        const CHUNK: u64 = 1_000_000_000;
        let mut chunks = Vec::new();
        while !self.is_zero() {
            let mut rest = 0;
            for word in self.0.iter_mut().rev() {
                let number = rest << 32 | u64::from(*word);
                *word = (number / CHUNK) as u32;
                rest = number % CHUNK;
            }
            self.trim();
            chunks.push(rest);
        }
        match chunks.split_last() {
            None => "0".to_owned(),
            Some((first, others)) => {
                others.iter().rev().fold(first.to_string(), |text, chunk| format!("{text}{chunk:09}"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sum(first: &str, second: &str) -> String {
        let parse = |text: &str| LongDouble::parse(text.as_bytes()).unwrap();
        parse(first).sum(parse(second)).unwrap()
    }

    #[test]
    fn sums_are_those_of_redis() {
        // Replies of INCRBYFLOAT of Redis 7.2.6 on x86-64.
        let cases = [
            ("0.1", "0.2", "0.3"),
            ("10.50", "0.1", "10.6"),
            ("5.0e3", "2.0e2", "5200"),
            ("3", "-3", "0"),
            ("0", "-0", "0"),
            ("1", "1e-17", "1.00000000000000001"),
            ("0", "123456789012345678901234567890", "123456789012345678899921813504"),
            ("0", "0x10", "16"),
            ("0", "12345.678", "12345.67799999999999994"),
            ("12345.67799999999999994", "0.1", "12345.77799999999999958"),
            ("0", "1e-40", "0"),
        ];
        for (first, second, expected) in cases {
            assert_eq!(sum(first, second), expected, "{first} + {second}");
        }
    }

    #[test]
    fn what_is_no_number_is_refused() {
        for text in ["", "-", ".", "1.2.3", "1e", "e5", "nan", " 1", "1 ", "1e99999999999999999999", "--1"] {
            assert_eq!(LongDouble::parse(text.as_bytes()), None, "{text:?}");
        }
        assert_eq!(LongDouble::parse(b"-inf"), Some(LongDouble::Infinite));
        assert_eq!(LongDouble::Infinite.sum(ZERO), None);
    }
}
