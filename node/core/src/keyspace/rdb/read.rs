//! Reads the numbers and strings of Redis's files.
//!
//! ```text
//! length = 00nnnnnn | 01nnnnnn n | 0x80 u32 BE | 0x81 u64 BE
//! string = length | bytes      or  0xC0 i8 | 0xC1 i16 LE | 0xC2 i32 LE | 0xC3 packed length | length | LZF
//! ```

use std::borrow::Cow;

use super::lzf;

pub(super) struct Reader<'a> {
    rest: &'a [u8],
}

enum Length {
    Plain(u64),
    Encoded(u8),
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    pub(super) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    pub(super) fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(count)?;
        self.rest = rest;
        Some(taken)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.rest.split_first_chunk::<N>()?;
        self.rest = rest;
        Some(*taken)
    }

    pub(super) fn byte(&mut self) -> Option<u8> {
        self.array::<1>().map(|[byte]| byte)
    }

    fn any_length(&mut self) -> Option<Length> {
        let head = self.byte()?;
        Some(match head >> 6 {
            0 => Length::Plain(u64::from(head)),
            1 => Length::Plain(u64::from(head & 0x3F) << 8 | u64::from(self.byte()?)),
            2 if head == 0x80 => Length::Plain(u64::from(u32::from_be_bytes(self.array()?))),
            2 if head == 0x81 => Length::Plain(u64::from_be_bytes(self.array()?)),
            3 => Length::Encoded(head & 0x3F),
            _ => return None,
        })
    }

    pub(super) fn number(&mut self) -> Option<u64> {
        match self.any_length()? {
            Length::Plain(number) => Some(number),
            Length::Encoded(_) => None,
        }
    }

    fn length(&mut self) -> Option<usize> {
        usize::try_from(self.number()?).ok()
    }

    /// A number of elements, of which each takes a byte at the least.
    pub(super) fn elements(&mut self) -> Option<usize> {
        self.length().filter(|count| *count > 0 && *count <= self.rest.len())
    }

    pub(super) fn string(&mut self) -> Option<Cow<'a, [u8]>> {
        let number = |number: i64| Cow::Owned(number.to_string().into_bytes());
        Some(match self.any_length()? {
            Length::Plain(length) => Cow::Borrowed(self.take(usize::try_from(length).ok()?)?),
            Length::Encoded(0) => number(i64::from(i8::from_le_bytes(self.array()?))),
            Length::Encoded(1) => number(i64::from(i16::from_le_bytes(self.array()?))),
            Length::Encoded(2) => number(i64::from(i32::from_le_bytes(self.array()?))),
            Length::Encoded(3) => {
                let (packed, length) = (self.length()?, self.length()?);
                Cow::Owned(lzf::unpack(self.take(packed)?, length)?)
            }
            Length::Encoded(_) => return None,
        })
    }
}
