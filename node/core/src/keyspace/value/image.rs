//! What does a value look like as bytes? In full syncs, checkpoints and effects that carry a whole value (RENAME, COPY).
//!
//! ```text
//! integer      0 | number, zigzag varint
//! string       1 | length | bytes
//! list         2 | items | (length | bytes)...
//! hash         3 | fields | (length | field | length | value)...
//! set          4 | members | (length | member)...
//! stream       6 | `stream/image.rs`
//! timed hash   7 | fields | (length | field | length | value | deadline in Unix milliseconds, 0: none)...
//! sorted set   5 | members | (score, f64 little endian | length | member)...      in their order
//! ```
//!
//! Lengths and numbers of elements are varints (LEB128). The kinds are on disk and on the wire: a new one takes the next
//! number, and none ever changes.

pub mod pieces;

use super::stream;
use super::{End, Hash, Inserted, List, Set, ShortBytes, SortedSet, Value, ValueRef};
use crate::ids::UnixMillis;
use crate::wire;

const INTEGER: u8 = 0;
const STRING: u8 = 1;
const LIST: u8 = 2;
const HASH: u8 = 3;
const SET: u8 = 4;
const SORTED_SET: u8 = 5;
const STREAM: u8 = 6;
/// A hash some of whose fields expire.
const TIMED_HASH: u8 = 7;

/// What is wrong with an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("the image of a value ends too early")]
    Truncated,
    #[error("{0} bytes follow the image of a value")]
    Trailing(usize),
    #[error("a value of the unknown kind {0}")]
    UnknownKind(u8),
    #[error("a number in the image of a value exceeds 64 bits")]
    Overflow,
    #[error("a collection without elements")]
    Empty,
    #[error("an element that is there twice")]
    Duplicate,
    #[error("a score that is not a number")]
    NotANumber,
    #[error(transparent)]
    Stream(#[from] stream::image::Error),
}

/// Appends the image of a value.
pub fn encode(value: ValueRef<'_>, out: &mut Vec<u8>) {
    match value {
        ValueRef::Integer(number) => {
            out.push(INTEGER);
            put_varint(out, ((number << 1) ^ (number >> 63)) as u64);
        }
        ValueRef::String(text) => {
            out.push(STRING);
            put_bytes(out, text);
        }
        ValueRef::List(list) => {
            put_head(out, LIST, list.len());
            list.iter().for_each(|item| put_bytes(out, &item));
        }
        ValueRef::Hash(hash) if hash.is_timed() => {
            put_head(out, TIMED_HASH, hash.len());
            for (field, value) in hash.iter() {
                put_timed(out, field, value, hash.deadline(field));
            }
        }
        ValueRef::Hash(hash) => {
            put_head(out, HASH, hash.len());
            for (field, value) in hash.iter() {
                put_bytes(out, field);
                put_bytes(out, value);
            }
        }
        ValueRef::Set(set) => {
            put_head(out, SET, set.len());
            set.iter().for_each(|member| put_bytes(out, &member));
        }
        ValueRef::SortedSet(set) => {
            put_head(out, SORTED_SET, set.len());
            for (member, score) in set.iter() {
                out.extend_from_slice(&score.to_le_bytes());
                put_bytes(out, member);
            }
        }
        ValueRef::Stream(content) => {
            out.push(STREAM);
            stream::image::encode(content, out);
        }
    }
}

/// Reads an image that takes all of `image`.
pub fn decode(image: &[u8]) -> Result<Value, Error> {
    let mut reader = Reader { rest: image };
    let value = match reader.byte()? {
        INTEGER => {
            let zigzag = reader.varint()?;
            Value::Integer((zigzag >> 1) as i64 ^ -((zigzag & 1) as i64))
        }
        STRING => Value::String(ShortBytes::from(reader.bytes()?)),
        LIST => Value::List(Box::new(list(&mut reader)?)),
        HASH => Value::Hash(Box::new(hash(&mut reader)?)),
        TIMED_HASH => Value::Hash(Box::new(timed_hash(&mut reader)?)),
        SET => Value::Set(Box::new(set(&mut reader)?)),
        SORTED_SET => Value::SortedSet(Box::new(sorted_set(&mut reader)?)),
        STREAM => {
            let mut content = wire::Reader::new(reader.rest);
            let value = Value::Stream(Box::new(stream::image::decode(&mut content)?));
            reader.rest = &reader.rest[reader.rest.len() - content.remaining()..];
            value
        }
        kind => return Err(Error::UnknownKind(kind)),
    };
    if reader.rest.is_empty() { Ok(value) } else { Err(Error::Trailing(reader.rest.len())) }
}

fn list(reader: &mut Reader<'_>) -> Result<List, Error> {
    let mut list = List::new();
    for _ in 0..reader.elements()? {
        list.push(End::Back, reader.bytes()?);
    }
    Ok(list)
}

fn hash(reader: &mut Reader<'_>) -> Result<Hash, Error> {
    let mut hash = Hash::new();
    for _ in 0..reader.elements()? {
        let field = reader.bytes()?;
        if !hash.set(field, reader.bytes()?) {
            return Err(Error::Duplicate);
        }
    }
    Ok(hash)
}

fn timed_hash(reader: &mut Reader<'_>) -> Result<Hash, Error> {
    let mut hash = Hash::new();
    for _ in 0..reader.elements()? {
        if !reader.timed_field(&mut hash)? {
            return Err(Error::Duplicate);
        }
    }
    Ok(hash)
}

fn set(reader: &mut Reader<'_>) -> Result<Set, Error> {
    let mut set = Set::new();
    for _ in 0..reader.elements()? {
        if !set.insert(reader.bytes()?) {
            return Err(Error::Duplicate);
        }
    }
    Ok(set)
}

fn sorted_set(reader: &mut Reader<'_>) -> Result<SortedSet, Error> {
    let mut set = SortedSet::new();
    for _ in 0..reader.elements()? {
        let score = reader.score()?;
        if set.insert(reader.bytes()?, score) != Inserted::Added {
            return Err(Error::Duplicate);
        }
    }
    Ok(set)
}

fn put_head(out: &mut Vec<u8>, kind: u8, elements: usize) {
    debug_assert!(elements > 0, "a key never holds an empty collection");
    out.push(kind);
    put_varint(out, elements as u64);
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

fn put_timed(out: &mut Vec<u8>, field: &[u8], value: &[u8], deadline: Option<UnixMillis>) {
    put_bytes(out, field);
    put_bytes(out, value);
    put_varint(out, deadline.map_or(0, |at| at.0.max(1)));
}

fn put_varint(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// What is left of an image.
pub(in crate::keyspace) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn byte(&mut self) -> Result<u8, Error> {
        let (first, rest) = self.rest.split_first().ok_or(Error::Truncated)?;
        self.rest = rest;
        Ok(*first)
    }

    fn varint(&mut self) -> Result<u64, Error> {
        let mut number = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            // The tenth byte has room for one bit.
            if shift == 63 && bits > 1 {
                return Err(Error::Overflow);
            }
            number |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(Error::Overflow)
    }

    fn bytes(&mut self) -> Result<&'a [u8], Error> {
        let len = usize::try_from(self.varint()?).map_err(|_| Error::Truncated)?;
        let (bytes, rest) = self.rest.split_at_checked(len).ok_or(Error::Truncated)?;
        self.rest = rest;
        Ok(bytes)
    }

    /// Adds a field with its deadline to a hash; says whether it is new.
    fn timed_field(&mut self, hash: &mut Hash) -> Result<bool, Error> {
        let (field, value, at) = (self.bytes()?, self.bytes()?, self.varint()?);
        let is_new = hash.set(field, value);
        hash.set_deadline(field, (at > 0).then_some(UnixMillis(at)));
        Ok(is_new)
    }

    fn score(&mut self) -> Result<f64, Error> {
        let (bytes, rest) = self.rest.split_first_chunk().ok_or(Error::Truncated)?;
        self.rest = rest;
        let score = f64::from_le_bytes(*bytes);
        if score.is_nan() { Err(Error::NotANumber) } else { Ok(score) }
    }

    /// The number of a collection's elements. Each takes at least a byte, so a greater number is false at once.
    fn elements(&mut self) -> Result<usize, Error> {
        match usize::try_from(self.varint()?) {
            Ok(0) => Err(Error::Empty),
            Ok(elements) if elements <= self.rest.len() => Ok(elements),
            Ok(_) | Err(_) => Err(Error::Truncated),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keyspace::value::testing::{Seeded, text};
    use rand::Rng;

    fn image(value: &Value) -> Vec<u8> {
        let mut out = Vec::new();
        encode(value.as_ref(), &mut out);
        out
    }

    fn random_value(rng: &mut impl Rng) -> Value {
        let size = [1, 5, 16, 17, 64, 65, 200, 2_000][rng.random_range(0..8)];
        match rng.random_range(0..6) {
            0 => Value::Integer(rng.random::<i64>() >> rng.random_range(0..64)),
            1 => Value::from_bytes(&vec![b'x'; size]),
            2 => Value::List(Box::new((0..size).map(|_| ShortBytes::from(text(rng, 100))).collect())),
            3 => {
                let mut hash = Hash::new();
                (0..size).for_each(|_| {
                    let field = text(rng, 5_000);
                    hash.set(&field, &text(rng, 100));
                    if size % 2 == 1 {
                        hash.set_deadline(
                            &field,
                            rng.random_ratio(1, 2).then_some(UnixMillis(rng.random_range(1..1 << 46))),
                        );
                    }
                });
                Value::Hash(Box::new(hash))
            }
            4 => Value::Set(Box::new((0..size).map(|_| text(rng, 5_000)).collect())),
            _ => {
                let mut set = SortedSet::new();
                (0..size).for_each(|_| {
                    set.insert(&text(rng, 5_000), f64::from(rng.random_range(-9..9)) / 2.0);
                });
                Value::SortedSet(Box::new(set))
            }
        }
    }

    #[test]
    fn values_survive_the_round_trip() {
        for seed in Seeded::seeds(200) {
            let value = random_value(&mut seed.rng());
            assert_eq!(decode(&image(&value)), Ok(value), "{seed:?}");
        }
        for number in [0, 1, -1, 63, 64, -64, -65, i64::MAX, i64::MIN] {
            assert_eq!(decode(&image(&Value::Integer(number))), Ok(Value::Integer(number)));
        }
        for score in [f64::INFINITY, f64::NEG_INFINITY, f64::MIN_POSITIVE, 5e-324, 0.1] {
            let mut set = SortedSet::new();
            set.insert(b"m", score);
            let value = Value::SortedSet(Box::new(set));
            assert_eq!(decode(&image(&value)), Ok(value));
        }
    }

    /// Images are on disk: these bytes must be read and written for ever.
    #[test]
    fn kinds_and_layouts_never_change() {
        let hash = |field: &[u8]| {
            let mut hash = Hash::new();
            hash.set(field, b"v");
            Value::Hash(Box::new(hash))
        };
        let mut sorted = SortedSet::new();
        sorted.insert(b"b", 1.5);
        sorted.insert(b"a", -0.0);
        let mut timed = Hash::new();
        timed.set(b"f", b"v");
        timed.set_deadline(b"f", Some(UnixMillis(300)));
        let table: [(Value, &[u8]); 8] = [
            (Value::Hash(Box::new(timed)), b"\x07\x01\x01f\x01v\xac\x02"),
            (Value::Integer(-3), &[0, 5]),
            (Value::Integer(64), &[0, 0x80, 1]),
            (Value::String(ShortBytes::from(b"abc")), b"\x01\x03abc"),
            (Value::List(Box::new([b"a", b"b"].map(ShortBytes::from).into_iter().collect())), b"\x02\x02\x01a\x01b"),
            (hash(b"f"), b"\x03\x01\x01f\x01v"),
            (Value::Set(Box::new([b"m"].into_iter().collect())), b"\x04\x01\x01m"),
            (Value::SortedSet(Box::new(sorted)), b"\x05\x02\0\0\0\0\0\0\0\x80\x01a\0\0\0\0\0\0\xf8\x3f\x01b"),
        ];
        for (value, expected) in table {
            assert_eq!(image(&value), expected, "{value:?}");
            assert_eq!(decode(expected), Ok(value));
        }
    }

    #[test]
    fn every_shortened_image_is_refused() {
        for seed in Seeded::seeds(30) {
            let full = image(&random_value(&mut seed.rng()));
            for len in 0..full.len().min(300) {
                assert!(decode(&full[..len]).is_err(), "{len} of {} bytes, {seed:?}", full.len());
            }
        }
    }

    #[test]
    fn false_images_say_what_is_wrong() {
        let table: [(&[u8], Error); 11] = [
            (b"", Error::Truncated),
            (b"\x63\x01\x01a", Error::UnknownKind(0x63)),
            (b"\x01\x01ab", Error::Trailing(1)),
            (b"\x01\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", Error::Truncated),
            (b"\x01\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02", Error::Overflow),
            (b"\x02\xff\xff\xff\xff\x0f", Error::Truncated),
            (b"\x02\x00", Error::Empty),
            (b"\x03\x02\x01f\x01a\x01f\x01b", Error::Duplicate),
            (b"\x04\x02\x01a\x01a", Error::Duplicate),
            (b"\x05\x02\0\0\0\0\0\0\0\0\x01a\0\0\0\0\0\0\0\x80\x01a", Error::Duplicate),
            (b"\x05\x01\0\0\0\0\0\0\xf8\x7f\x01a", Error::NotANumber),
        ];
        for (bytes, expected) in table {
            assert_eq!(decode(bytes), Err(expected), "{}", bytes.escape_ascii());
        }
    }

    #[test]
    fn garbage_never_panics_and_what_is_accepted_round_trips() {
        for seed in Seeded::seeds(300) {
            let mut rng = seed.rng();
            let mut bytes = if rng.random() { image(&random_value(&mut rng)) } else { vec![0; 64] };
            for _ in 0..50 {
                let changed = rng.random_range(0..bytes.len().min(80));
                bytes[changed] = if rng.random() { rng.random() } else { rng.random_range(0..8) };
                if let Ok(value) = decode(&bytes) {
                    assert_eq!(decode(&image(&value)), Ok(value), "{seed:?}");
                }
            }
        }
    }
}
