//! The field types of methods: octets in and out. Consecutive bits share octets, the lowest bit first.

use bytes::Bytes;

use super::{Error, FieldTable, ShortString, TableView};

/// A field of a method, as it is read and written.
pub(super) trait Field: Sized {
    fn read(reader: &mut FieldReader<'_>) -> Result<Self, Error>;
    fn write(&self, writer: &mut FieldWriter<'_>);
}

/// Takes numbers and byte strings from the front of a slice; `None` where it ends too early.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cursor<'a> {
    pub(super) rest: &'a [u8],
}

impl<'a> Cursor<'a> {
    #[inline]
    pub(super) fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.rest.split_at_checked(length)?;
        self.rest = rest;
        Some(head)
    }

    #[inline]
    pub(super) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.rest.split_first_chunk::<N>()?;
        self.rest = rest;
        Some(*head)
    }

    pub(super) fn u8(&mut self) -> Option<u8> {
        self.array::<1>().map(|[octet]| octet)
    }

    pub(super) fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_be_bytes)
    }

    pub(super) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_be_bytes)
    }

    pub(super) fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_be_bytes)
    }

    /// Bytes behind a length octet.
    pub(super) fn short(&mut self) -> Option<&'a [u8]> {
        let length = self.u8()?;
        self.take(usize::from(length))
    }

    /// Bytes behind a length of four octets.
    pub(super) fn long(&mut self) -> Option<&'a [u8]> {
        let length = self.u32()?;
        self.take(length as usize)
    }
}

/// Reads the fields of one method; byte strings share `source`.
pub(super) struct FieldReader<'a> {
    source: &'a Bytes,
    cursor: Cursor<'a>,
    method: &'static str,
    /// The octet whose bits are being read, and how many of them are left.
    bits: (u8, u8),
}

impl<'a> FieldReader<'a> {
    pub(super) fn new(source: &'a Bytes, cursor: Cursor<'a>, method: &'static str) -> Self {
        Self { source, cursor, method, bits: (0, 0) }
    }

    /// Every octet must have been a field.
    pub(super) fn finish(&self) -> Result<(), Error> {
        if self.cursor.rest.is_empty() { Ok(()) } else { Err(Error::MethodFields { method: self.method }) }
    }

    /// A field that is no bit: `take` reads it whole octets from here on.
    #[inline]
    fn field<T>(&mut self, take: impl FnOnce(&mut Cursor<'a>) -> Option<T>) -> Result<T, Error> {
        self.bits = (0, 0);
        take(&mut self.cursor).ok_or(Error::MethodFields { method: self.method })
    }

    fn bit(&mut self) -> Result<bool, Error> {
        if self.bits.1 == 0 {
            self.bits = (self.field(Cursor::u8)?, 8);
        }
        let (octet, left) = self.bits;
        self.bits = (octet >> 1, left - 1);
        Ok(octet & 1 == 1)
    }
}

/// Appends the fields of one method.
pub(super) struct FieldWriter<'a> {
    out: &'a mut Vec<u8>,
    /// The bit of the last octet that is set next; 0 when a bit needs a new octet.
    mask: u8,
}

impl<'a> FieldWriter<'a> {
    pub(super) fn new(out: &'a mut Vec<u8>) -> Self {
        Self { out, mask: 0 }
    }

    #[inline]
    fn octets(&mut self) -> &mut Vec<u8> {
        self.mask = 0;
        self.out
    }

    fn bit(&mut self, value: bool) {
        if self.mask == 0 {
            self.out.push(0);
            self.mask = 1;
        }
        if value && let Some(octet) = self.out.last_mut() {
            *octet |= self.mask;
        }
        self.mask <<= 1;
    }
}

/// Bytes behind a length octet. The types of the callers hold the length at 255.
pub(super) fn put_short(out: &mut Vec<u8>, bytes: &[u8]) {
    let length = u8::try_from(bytes.len()).expect("a short string has at most 255 bytes");
    out.push(length);
    out.extend_from_slice(bytes);
}

/// Bytes behind a length of four octets.
pub(super) fn put_long(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(&length_u32(bytes.len()).to_be_bytes());
    out.extend_from_slice(bytes);
}

/// Whatever `write` appends, behind its length of four octets.
pub(super) fn put_counted(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    write(out);
    let length = length_u32(out.len() - start - 4);
    out[start..start + 4].copy_from_slice(&length.to_be_bytes());
}

pub(super) fn length_u32(length: usize) -> u32 {
    u32::try_from(length).expect("nothing that is sent reaches 4 GiB: a message is bounded far below")
}

impl Field for bool {
    fn read(reader: &mut FieldReader<'_>) -> Result<Self, Error> {
        reader.bit()
    }

    fn write(&self, writer: &mut FieldWriter<'_>) {
        writer.bit(*self);
    }
}

macro_rules! number_fields {
    ($($number:ident)*) => { $(
        impl Field for $number {
            #[inline]
            fn read(reader: &mut FieldReader<'_>) -> Result<Self, Error> {
                reader.field(Cursor::$number)
            }

            #[inline]
            fn write(&self, writer: &mut FieldWriter<'_>) {
                writer.octets().extend_from_slice(&self.to_be_bytes());
            }
        }
    )* };
}

number_fields! { u8 u16 u32 u64 }

impl Field for ShortString {
    fn read(reader: &mut FieldReader<'_>) -> Result<Self, Error> {
        let bytes = reader.field(Cursor::short)?;
        let shared = if bytes.is_empty() { Bytes::new() } else { reader.source.slice_ref(bytes) };
        Self::from_utf8(shared).ok_or(Error::ShortStringUtf8 { method: reader.method })
    }

    fn write(&self, writer: &mut FieldWriter<'_>) {
        put_short(writer.octets(), self.as_bytes());
    }
}

/// A long string: any bytes.
impl Field for Bytes {
    fn read(reader: &mut FieldReader<'_>) -> Result<Self, Error> {
        let bytes = reader.field(Cursor::long)?;
        Ok(reader.source.slice_ref(bytes))
    }

    fn write(&self, writer: &mut FieldWriter<'_>) {
        put_long(writer.octets(), self);
    }
}

impl Field for FieldTable {
    fn read(reader: &mut FieldReader<'_>) -> Result<Self, Error> {
        let bytes = reader.field(Cursor::long)?;
        Ok(TableView::parse(bytes)?.to_table())
    }

    fn write(&self, writer: &mut FieldWriter<'_>) {
        self.encode(writer.octets());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_share_octets_and_a_ninth_begins_another() {
        let values: Vec<bool> = (0..9).map(|n| n % 3 == 0).collect();
        let mut out = Vec::new();
        let mut writer = FieldWriter::new(&mut out);
        values.iter().for_each(|value| value.write(&mut writer));
        7u8.write(&mut writer);
        true.write(&mut writer);
        assert_eq!(out, [0b0100_1001, 0, 7, 1]);

        let source = Bytes::from(out);
        let mut reader = FieldReader::new(&source, Cursor { rest: &source }, "test");
        let read: Vec<bool> = (0..9).map(|_| bool::read(&mut reader).unwrap()).collect();
        assert_eq!(read, values);
        assert_eq!(u8::read(&mut reader), Ok(7));
        assert_eq!(bool::read(&mut reader), Ok(true));
        assert_eq!(reader.finish(), Ok(()));
    }
}
