//! Field tables and arrays as they lie in a buffer: checked once, then read without copying.
//!
//! ```text
//! table: (key length u8, key, type u8, value)*        array: (type u8, value)*
//! ```
//!
//! The types are RabbitMQ's reading of the 0-9-1 errata: `s` is a signed 16-bit number (and no short string), `l` and `L`
//! are both signed 64-bit numbers, `i` is unsigned and `I` signed.

use bytes::Bytes;

use super::wire::Cursor;
use super::{Error, FieldTable, FieldValue, ShortBytes};

/// Tables and arrays inside each other. Real headers (x-death) need three; the bound keeps recursion off the stack's end.
pub const MAX_DEPTH: usize = 64;

/// The content of a table whose every field has been checked.
#[derive(Debug, Clone, Copy)]
pub struct TableView<'a>(&'a [u8]);

/// The content of an array whose every element has been checked.
#[derive(Debug, Clone, Copy)]
pub struct ArrayView<'a>(&'a [u8]);

/// A field as it lies in a buffer; variants as in `FieldValue`.
#[derive(Debug, Clone, Copy)]
pub enum FieldView<'a> {
    Bool(bool),
    I8(i8),
    U8(u8),
    I16(i16),
    U16(u16),
    I32(i32),
    U32(u32),
    I64(i64),
    F32(f32),
    F64(f64),
    Decimal { scale: u8, value: u32 },
    LongString(&'a [u8]),
    Array(ArrayView<'a>),
    Timestamp(u64),
    Table(TableView<'a>),
    Void,
    Bytes(&'a [u8]),
}

impl<'a> TableView<'a> {
    /// Checks the bytes behind the length of a table.
    ///
    /// # Errors
    /// The fields do not fill the bytes, have an unknown type, or are nested too deep: 502 SYNTAX_ERROR.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Error> {
        check_table(bytes, 1)?;
        Ok(Self(bytes))
    }

    /// For bytes that `parse` has accepted before.
    pub(super) fn checked(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// Keys and values in the order in which they were sent.
    pub fn iter(self) -> impl Iterator<Item = (&'a [u8], FieldView<'a>)> {
        let mut cursor = Cursor { rest: self.0 };
        std::iter::from_fn(move || {
            if cursor.rest.is_empty() {
                return None;
            }
            Some(read_entry(&mut cursor).expect("checked when the view was made"))
        })
    }

    /// The first field of this key, as RabbitMQ looks it up.
    #[must_use]
    pub fn find(self, key: &str) -> Option<FieldView<'a>> {
        self.iter().find(|(name, _)| *name == key.as_bytes()).map(|(_, value)| value)
    }

    #[must_use]
    pub fn is_empty(self) -> bool {
        self.0.is_empty()
    }

    /// A copy that does not keep the buffer alive.
    #[must_use]
    pub fn to_table(self) -> FieldTable {
        self.iter().map(|(key, value)| (ShortBytes::counted(key), value.to_value())).collect()
    }
}

impl<'a> ArrayView<'a> {
    pub fn iter(self) -> impl Iterator<Item = FieldView<'a>> {
        let mut cursor = Cursor { rest: self.0 };
        std::iter::from_fn(move || {
            if cursor.rest.is_empty() {
                return None;
            }
            Some(read_value(&mut cursor).expect("checked when the view was made"))
        })
    }
}

impl FieldView<'_> {
    /// A copy that does not keep the buffer alive.
    #[must_use]
    pub fn to_value(self) -> FieldValue {
        match self {
            Self::Bool(value) => FieldValue::Bool(value),
            Self::I8(value) => FieldValue::I8(value),
            Self::U8(value) => FieldValue::U8(value),
            Self::I16(value) => FieldValue::I16(value),
            Self::U16(value) => FieldValue::U16(value),
            Self::I32(value) => FieldValue::I32(value),
            Self::U32(value) => FieldValue::U32(value),
            Self::I64(value) => FieldValue::I64(value),
            Self::F32(value) => FieldValue::F32(value),
            Self::F64(value) => FieldValue::F64(value),
            Self::Decimal { scale, value } => FieldValue::Decimal { scale, value },
            Self::LongString(bytes) => FieldValue::LongString(Bytes::copy_from_slice(bytes)),
            Self::Array(array) => FieldValue::Array(array.iter().map(FieldView::to_value).collect()),
            Self::Timestamp(seconds) => FieldValue::Timestamp(seconds),
            Self::Table(table) => FieldValue::Table(table.to_table()),
            Self::Void => FieldValue::Void,
            Self::Bytes(bytes) => FieldValue::Bytes(Bytes::copy_from_slice(bytes)),
        }
    }
}

fn check_table(bytes: &[u8], depth: usize) -> Result<(), Error> {
    let mut cursor = Cursor { rest: bytes };
    while !cursor.rest.is_empty() {
        let (_, value) = read_entry(&mut cursor)?;
        check_inside(value, depth)?;
    }
    Ok(())
}

fn check_array(bytes: &[u8], depth: usize) -> Result<(), Error> {
    let mut cursor = Cursor { rest: bytes };
    while !cursor.rest.is_empty() {
        let value = read_value(&mut cursor)?;
        check_inside(value, depth)?;
    }
    Ok(())
}

fn check_inside(value: FieldView<'_>, depth: usize) -> Result<(), Error> {
    match value {
        FieldView::Table(_) | FieldView::Array(_) if depth == MAX_DEPTH => Err(Error::TableDepth(MAX_DEPTH)),
        FieldView::Table(TableView(bytes)) => check_table(bytes, depth + 1),
        FieldView::Array(ArrayView(bytes)) => check_array(bytes, depth + 1),
        _ => Ok(()),
    }
}

fn read_entry<'a>(cursor: &mut Cursor<'a>) -> Result<(&'a [u8], FieldView<'a>), Error> {
    let key = cursor.short().ok_or(Error::TableTruncated)?;
    Ok((key, read_value(cursor)?))
}

/// What is inside a table or array that is read here is not checked yet.
fn read_value<'a>(cursor: &mut Cursor<'a>) -> Result<FieldView<'a>, Error> {
    let kind = cursor.u8().ok_or(Error::TableTruncated)?;
    let value = match kind {
        b't' => cursor.u8().map(|octet| FieldView::Bool(octet != 0)),
        b'b' => cursor.array().map(|octets| FieldView::I8(i8::from_be_bytes(octets))),
        b'B' => cursor.u8().map(FieldView::U8),
        b's' => cursor.array().map(|octets| FieldView::I16(i16::from_be_bytes(octets))),
        b'u' => cursor.u16().map(FieldView::U16),
        b'I' => cursor.array().map(|octets| FieldView::I32(i32::from_be_bytes(octets))),
        b'i' => cursor.u32().map(FieldView::U32),
        b'l' | b'L' => cursor.array().map(|octets| FieldView::I64(i64::from_be_bytes(octets))),
        b'f' => cursor.array().map(|octets| FieldView::F32(f32::from_be_bytes(octets))),
        b'd' => cursor.array().map(|octets| FieldView::F64(f64::from_be_bytes(octets))),
        b'D' => cursor.u8().zip(cursor.u32()).map(|(scale, value)| FieldView::Decimal { scale, value }),
        b'S' => cursor.long().map(FieldView::LongString),
        b'A' => cursor.long().map(|bytes| FieldView::Array(ArrayView(bytes))),
        b'T' => cursor.u64().map(FieldView::Timestamp),
        b'F' => cursor.long().map(|bytes| FieldView::Table(TableView(bytes))),
        b'V' => Some(FieldView::Void),
        b'x' => cursor.long().map(FieldView::Bytes),
        other => return Err(Error::FieldType(other)),
    };
    value.ok_or(Error::TableTruncated)
}

impl FieldTable {
    /// Reads a table with its length from the start of `bytes`: for what was stored with `encode`.
    ///
    /// # Errors
    /// The bytes are not one whole table.
    pub fn decode(bytes: &[u8]) -> Result<Self, Error> {
        let (length, content) = bytes.split_first_chunk().ok_or(Error::TableTruncated)?;
        if u32::from_be_bytes(*length) as usize != content.len() {
            return Err(Error::TableTruncated);
        }
        Ok(TableView::parse(content)?.to_table())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::amqp::testing::Random;

    fn value(bytes: &[u8]) -> FieldValue {
        let entry = [b"\x01k", bytes].concat();
        TableView::parse(&entry).unwrap().find("k").unwrap().to_value()
    }

    #[test]
    fn ambiguous_types_are_read_as_rabbitmq_reads_them() {
        assert_eq!(value(b"s\xff\xfe"), FieldValue::I16(-2));
        assert_eq!(value(b"u\xff\xfe"), FieldValue::U16(65534));
        assert_eq!(value(b"b\xff"), FieldValue::I8(-1));
        assert_eq!(value(b"B\xff"), FieldValue::U8(255));
        assert_eq!(value(b"I\xff\xff\xff\xff"), FieldValue::I32(-1));
        assert_eq!(value(b"i\xff\xff\xff\xff"), FieldValue::U32(u32::MAX));
        assert_eq!(value(b"l\xff\xff\xff\xff\xff\xff\xff\xff"), FieldValue::I64(-1));
        assert_eq!(value(b"L\xff\xff\xff\xff\xff\xff\xff\xff"), FieldValue::I64(-1));
        assert_eq!(value(b"t\x02"), FieldValue::Bool(true));
        assert_eq!(value(b"T\xff\xff\xff\xff\xff\xff\xff\xff"), FieldValue::Timestamp(u64::MAX));
        assert_eq!(value(b"D\x02\x00\x00\x01\x00"), FieldValue::Decimal { scale: 2, value: 256 });
        assert_eq!(value(b"x\x00\x00\x00\x01\xff"), FieldValue::Bytes(Bytes::from_static(&[255])));
        assert_eq!(value(b"V"), FieldValue::Void);
    }

    #[test]
    fn every_octet_that_is_no_type_is_refused() {
        let known = b"tbBsuIilLfdDSATFVx";
        for octet in (0..=255).filter(|octet| !known.contains(octet)) {
            let entry = [1, b'k', octet, 0, 0, 0, 0, 0, 0, 0, 0];
            assert_eq!(TableView::parse(&entry).unwrap_err(), Error::FieldType(octet));
        }
    }

    #[test]
    fn the_first_of_two_equal_keys_is_found() {
        let view = TableView::parse(b"\x01kB\x01\x01kB\x02").unwrap();
        assert_eq!(view.find("k").unwrap().to_value(), FieldValue::U8(1));
        assert_eq!(view.iter().count(), 2);
    }

    /// A table whose field holds an array in an array and so on: `depth` levels.
    fn nested(depth: usize) -> Vec<u8> {
        (2..=depth).fold(Vec::new(), |inside, level| {
            let head: &[u8] = if level == depth { b"\x01kA" } else { b"A" };
            [head, &u32::try_from(inside.len()).unwrap().to_be_bytes(), &inside].concat()
        })
    }

    #[test]
    fn nesting_is_bounded() {
        assert!(TableView::parse(&nested(MAX_DEPTH)).is_ok());
        assert_eq!(TableView::parse(&nested(MAX_DEPTH + 1)).unwrap_err(), Error::TableDepth(MAX_DEPTH));
        assert_eq!(TableView::parse(&nested(2_000)).unwrap_err(), Error::TableDepth(MAX_DEPTH));
    }

    #[test]
    fn a_length_of_a_gigabyte_is_refused_without_memory() {
        for kind in *b"SAFx" {
            let entry = [1, b'k', kind, 0x40, 0, 0, 0, 0];
            assert_eq!(TableView::parse(&entry).unwrap_err(), Error::TableTruncated);
        }
    }

    #[test]
    fn garbage_is_an_error_or_a_table_but_never_a_panic() {
        let mut random = Random::from_environment();
        for _ in 0..50_000 {
            let mut bytes = random.bytes(40);
            for octet in &mut bytes {
                // Types and small lengths, so that a part of the garbage gets further than the first octet.
                if random.below(2) == 0 {
                    *octet = b"tbBsuIilLfdDSATFVx\0\0\0\0\x01\x02"[random.below(24)];
                }
            }
            if let Ok(view) = TableView::parse(&bytes) {
                assert_eq!(view.to_table().len(), view.iter().count());
            }
        }
    }
}
