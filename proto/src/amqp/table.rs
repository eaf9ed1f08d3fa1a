//! Field tables and values that are owned: arguments, client and server properties, headers that are edited.

use bytes::Bytes;

use super::ShortBytes;
use super::wire::{put_counted, put_long, put_short};

/// Keys and values in the order in which they were sent. A key that a client sent twice is kept twice; the first counts.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct FieldTable(Vec<(ShortBytes, FieldValue)>);

/// A value with its type on the wire.
#[derive(Debug, Clone, PartialEq)]
pub enum FieldValue {
    /// `t`
    Bool(bool),
    /// `b`
    I8(i8),
    /// `B`
    U8(u8),
    /// `s`
    I16(i16),
    /// `u`
    U16(u16),
    /// `I`
    I32(i32),
    /// `i`
    U32(u32),
    /// `l`, and `L` when it is read
    I64(i64),
    /// `f`
    F32(f32),
    /// `d`
    F64(f64),
    /// `D`: `value` divided by ten to the power of `scale`
    Decimal { scale: u8, value: u32 },
    /// `S`
    LongString(Bytes),
    /// `A`
    Array(Vec<FieldValue>),
    /// `T`: seconds since 1970
    Timestamp(u64),
    /// `F`
    Table(FieldTable),
    /// `V`
    Void,
    /// `x`
    Bytes(Bytes),
}

impl FieldTable {
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends the table with its length.
    pub fn encode(&self, out: &mut Vec<u8>) {
        put_counted(out, |out| {
            for (key, value) in &self.0 {
                put_short(out, key.as_bytes());
                value.encode(out);
            }
        });
    }

    #[must_use]
    pub fn get(&self, key: &str) -> Option<&FieldValue> {
        self.0.iter().find(|(name, _)| name == key).map(|(_, value)| value)
    }

    pub fn get_mut(&mut self, key: &str) -> Option<&mut FieldValue> {
        self.0.iter_mut().find(|(name, _)| name == key).map(|(_, value)| value)
    }

    /// Replaces the value of the key where it stands, or appends it.
    pub fn insert(&mut self, key: ShortBytes, value: impl Into<FieldValue>) {
        let value = value.into();
        match self.0.iter_mut().find(|(name, _)| *name == key) {
            Some((_, old)) => *old = value,
            None => self.0.push((key, value)),
        }
    }

    /// Removes every field of this key and returns the first.
    pub fn remove(&mut self, key: &str) -> Option<FieldValue> {
        let at = self.0.iter().position(|(name, _)| name == key)?;
        let (_, value) = self.0.remove(at);
        self.0.retain(|(name, _)| name != key);
        Some(value)
    }

    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&ShortBytes, &FieldValue)> {
        self.0.iter().map(|(key, value)| (key, value))
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromIterator<(ShortBytes, FieldValue)> for FieldTable {
    fn from_iter<I: IntoIterator<Item = (ShortBytes, FieldValue)>>(fields: I) -> Self {
        Self(fields.into_iter().collect())
    }
}

impl IntoIterator for FieldTable {
    type Item = (ShortBytes, FieldValue);
    type IntoIter = std::vec::IntoIter<Self::Item>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl FieldValue {
    /// Integers of every width by value, as RabbitMQ compares arguments. Not timestamps, decimals and floats.
    #[must_use]
    pub fn as_i64(&self) -> Option<i64> {
        match *self {
            Self::I8(value) => Some(value.into()),
            Self::U8(value) => Some(value.into()),
            Self::I16(value) => Some(value.into()),
            Self::U16(value) => Some(value.into()),
            Self::I32(value) => Some(value.into()),
            Self::U32(value) => Some(value.into()),
            Self::I64(value) => Some(value),
            _ => None,
        }
    }

    #[must_use]
    pub fn as_bool(&self) -> Option<bool> {
        if let Self::Bool(value) = self { Some(*value) } else { None }
    }

    /// A long string that is UTF-8.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        if let Self::LongString(bytes) = self { std::str::from_utf8(bytes).ok() } else { None }
    }

    /// A long string or a byte array.
    #[must_use]
    pub fn as_bytes(&self) -> Option<&Bytes> {
        if let Self::LongString(bytes) | Self::Bytes(bytes) = self { Some(bytes) } else { None }
    }

    #[must_use]
    pub fn as_table(&self) -> Option<&FieldTable> {
        if let Self::Table(table) = self { Some(table) } else { None }
    }

    #[must_use]
    pub fn as_array(&self) -> Option<&[Self]> {
        if let Self::Array(values) = self { Some(values) } else { None }
    }

    /// Appends the type and the value.
    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Bool(value) => out.extend_from_slice(&[b't', u8::from(*value)]),
            Self::I8(value) => put(out, b'b', &value.to_be_bytes()),
            Self::U8(value) => put(out, b'B', &value.to_be_bytes()),
            Self::I16(value) => put(out, b's', &value.to_be_bytes()),
            Self::U16(value) => put(out, b'u', &value.to_be_bytes()),
            Self::I32(value) => put(out, b'I', &value.to_be_bytes()),
            Self::U32(value) => put(out, b'i', &value.to_be_bytes()),
            Self::I64(value) => put(out, b'l', &value.to_be_bytes()),
            Self::F32(value) => put(out, b'f', &value.to_be_bytes()),
            Self::F64(value) => put(out, b'd', &value.to_be_bytes()),
            Self::Decimal { scale, value } => {
                put(out, b'D', &[*scale]);
                out.extend_from_slice(&value.to_be_bytes());
            }
            Self::LongString(bytes) => {
                out.push(b'S');
                put_long(out, bytes);
            }
            Self::Array(values) => {
                out.push(b'A');
                put_counted(out, |out| values.iter().for_each(|value| value.encode(out)));
            }
            Self::Timestamp(seconds) => put(out, b'T', &seconds.to_be_bytes()),
            Self::Table(table) => {
                out.push(b'F');
                table.encode(out);
            }
            Self::Void => out.push(b'V'),
            Self::Bytes(bytes) => {
                out.push(b'x');
                put_long(out, bytes);
            }
        }
    }
}

fn put(out: &mut Vec<u8>, kind: u8, octets: &[u8]) {
    out.push(kind);
    out.extend_from_slice(octets);
}

impl From<&str> for FieldValue {
    fn from(text: &str) -> Self {
        Self::LongString(Bytes::copy_from_slice(text.as_bytes()))
    }
}

impl From<String> for FieldValue {
    fn from(text: String) -> Self {
        Self::LongString(text.into())
    }
}

macro_rules! from_values {
    ($($source:ty => $variant:ident;)*) => { $(
        impl From<$source> for FieldValue {
            fn from(value: $source) -> Self {
                Self::$variant(value)
            }
        }
    )* };
}

from_values! {
    bool => Bool;
    i32 => I32;
    u32 => U32;
    i64 => I64;
    f64 => F64;
    FieldTable => Table;
    Vec<FieldValue> => Array;
}

#[cfg(test)]
mod tests {
    use super::super::Error;
    use super::*;
    use crate::amqp::testing::Random;

    fn key(text: &str) -> ShortBytes {
        ShortBytes::try_from(text).unwrap()
    }

    #[test]
    fn every_type_round_trips_in_order() {
        let inside: FieldTable =
            [(key("b"), FieldValue::Void), (key("a"), FieldValue::Bool(false))].into_iter().collect();
        let values = [
            FieldValue::Bool(true),
            FieldValue::I8(i8::MIN),
            FieldValue::U8(u8::MAX),
            FieldValue::I16(i16::MIN),
            FieldValue::U16(u16::MAX),
            FieldValue::I32(i32::MIN),
            FieldValue::U32(u32::MAX),
            FieldValue::I64(i64::MIN),
            FieldValue::F32(f32::MIN_POSITIVE),
            FieldValue::F64(f64::NEG_INFINITY),
            FieldValue::Decimal { scale: 255, value: u32::MAX },
            FieldValue::LongString(Bytes::from(vec![0xff; 70_000])),
            FieldValue::Array(vec![FieldValue::Array(Vec::new()), FieldValue::Table(inside.clone())]),
            FieldValue::Timestamp(u64::MAX),
            FieldValue::Table(inside),
            FieldValue::Void,
            FieldValue::Bytes(Bytes::new()),
        ];
        let table: FieldTable =
            values.into_iter().enumerate().map(|(n, value)| (key(&format!("{}", 99 - n)), value)).collect();
        let mut out = Vec::new();
        table.encode(&mut out);
        assert_eq!(FieldTable::decode(&out), Ok(table));
        for end in 0..out.len().min(200) {
            assert_eq!(FieldTable::decode(&out[..end]), Err(Error::TableTruncated));
        }
    }

    #[test]
    fn random_tables_round_trip() {
        let mut random = Random::from_environment();
        for _ in 0..2_000 {
            let table = random.table(0);
            let mut out = Vec::new();
            table.encode(&mut out);
            assert_eq!(FieldTable::decode(&out), Ok(table));
        }
    }

    #[test]
    fn insert_replaces_in_place_and_remove_takes_all() {
        let mut table: FieldTable =
            [(key("a"), 1.into()), (key("b"), 2.into()), (key("a"), 3.into())].into_iter().collect();
        table.insert(key("b"), true);
        table.insert(key("c"), "x");
        assert_eq!(table.get("a").and_then(FieldValue::as_i64), Some(1));
        assert_eq!(table.remove("a").and_then(|value| value.as_i64()), Some(1));
        let names: Vec<_> = table.iter().map(|(key, _)| key.to_text().into_owned()).collect();
        assert_eq!(names, ["b", "c"]);
        assert_eq!(table.get("c").and_then(FieldValue::as_str), Some("x"));
    }

    #[test]
    fn integers_of_every_width_are_equal_by_value() {
        let values = [FieldValue::I8(7), FieldValue::U8(7), FieldValue::I16(7), FieldValue::U16(7)];
        let wide = [FieldValue::I32(7), FieldValue::U32(7), FieldValue::I64(7)];
        assert!(values.iter().chain(&wide).all(|value| value.as_i64() == Some(7)));
        assert_eq!(FieldValue::Timestamp(7).as_i64(), None);
    }
}
