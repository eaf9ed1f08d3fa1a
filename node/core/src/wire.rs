//! How numbers and byte strings lie in journal records and images: LEB128 varints, and bytes behind their length.

/// The bytes are not what the format says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("the bytes end before the value does")]
    Short,
    #[error("a number is longer than 64 bits")]
    Overflow,
    #[error("unknown tag {0}")]
    Tag(u8),
    #[error("a name is not UTF-8")]
    NotUtf8,
}

#[inline]
pub fn put_varint(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// Bytes that `put_varint` writes.
#[inline]
#[must_use]
pub fn varint_len(number: u64) -> usize {
    (64 - (number | 1).leading_zeros() as usize).div_ceil(7)
}

/// Signed numbers, small when their absolute value is.
#[inline]
pub fn put_zigzag(out: &mut Vec<u8>, number: i64) {
    put_varint(out, ((number << 1) ^ (number >> 63)) as u64);
}

#[inline]
pub fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

#[inline]
pub fn put_f64(out: &mut Vec<u8>, number: f64) {
    out.extend_from_slice(&number.to_le_bytes());
}

/// Reads what the `put_` functions wrote. Slices borrow from the input.
#[derive(Debug, Clone, Copy)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    #[must_use]
    pub fn remaining(&self) -> usize {
        self.rest.len()
    }

    /// # Errors
    /// Nothing is left.
    #[inline]
    pub fn byte(&mut self) -> Result<u8, Error> {
        let (&first, rest) = self.rest.split_first().ok_or(Error::Short)?;
        self.rest = rest;
        Ok(first)
    }

    /// # Errors
    /// The number is cut off or too long.
    #[inline]
    pub fn varint(&mut self) -> Result<u64, Error> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7F) << shift;
            if byte < 0x80 {
                return Ok(number);
            }
        }
        Err(Error::Overflow)
    }

    /// # Errors
    /// As `varint`.
    pub fn zigzag(&mut self) -> Result<i64, Error> {
        let number = self.varint()?;
        Ok((number >> 1) as i64 ^ -((number & 1) as i64))
    }

    /// # Errors
    /// Fewer than `length` bytes are left.
    #[inline]
    pub fn take(&mut self, length: usize) -> Result<&'a [u8], Error> {
        let (taken, rest) = self.rest.split_at_checked(length).ok_or(Error::Short)?;
        self.rest = rest;
        Ok(taken)
    }

    /// # Errors
    /// The length or the bytes are cut off.
    #[inline]
    pub fn bytes(&mut self) -> Result<&'a [u8], Error> {
        let length = usize::try_from(self.varint()?).map_err(|_| Error::Overflow)?;
        self.take(length)
    }

    /// # Errors
    /// As `bytes`, or the bytes are not UTF-8.
    pub fn text(&mut self) -> Result<&'a str, Error> {
        std::str::from_utf8(self.bytes()?).map_err(|_| Error::NotUtf8)
    }

    /// # Errors
    /// Fewer than 8 bytes are left.
    pub fn f64(&mut self) -> Result<f64, Error> {
        let bytes = self.take(8)?;
        Ok(f64::from_le_bytes(bytes.try_into().expect("take(8) gives 8 bytes")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_back_as_written() {
        for number in [0u64, 1, 127, 128, 300, u64::from(u32::MAX), u64::MAX] {
            let mut out = Vec::new();
            put_varint(&mut out, number);
            assert_eq!(varint_len(number), out.len());
            assert_eq!(Reader::new(&out).varint(), Ok(number));
        }
        for number in [0i64, -1, 1, i64::MIN, i64::MAX] {
            let mut out = Vec::new();
            put_zigzag(&mut out, number);
            assert_eq!(Reader::new(&out).zigzag(), Ok(number));
        }
    }

    #[test]
    fn a_length_beyond_the_input_is_an_error() {
        assert_eq!(Reader::new(&[5, 1, 2]).bytes(), Err(Error::Short));
        assert_eq!(Reader::new(&[0xFF; 11]).varint(), Err(Error::Overflow));
    }
}
