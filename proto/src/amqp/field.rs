//! The field types of methods. Consecutive bits share octets, the lowest bit first.

use bytes::Bytes;

use super::wire::{Cursor, put_long, put_short};
use super::{Error, FieldTable, ShortString, TableView};

/// A field of a method, as it is read and written.
pub(super) trait Field: Sized {
    fn read(reader: &mut FieldReader<'_>) -> Result<Self, Error>;
    fn write(&self, writer: &mut FieldWriter<'_>);
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
