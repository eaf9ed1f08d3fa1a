//! A large value as several images: each is that of a value with some of the elements, or some of the text.
//!
//! Put together with `extend`, in their order, they make the value. No element is divided.

use super::*;

/// Elements from which on a collection goes in pieces. Below, its image takes some microseconds.
const LARGE_ELEMENTS: usize = 1024;
/// Bytes from which on a value goes in pieces.
const LARGE_BYTES: usize = 256 << 10;
/// Elements that are looked at to judge a collection's size.
const SAMPLES: usize = 8;

/// Whether the image of a value is worth more than one piece.
#[must_use]
pub fn is_large(value: ValueRef<'_>) -> bool {
    let by_size = |elements: usize| elements > LARGE_ELEMENTS || value.heap_bytes(SAMPLES) > LARGE_BYTES;
    match value {
        // A stream's nodes are packed already, and their image is copied.
        ValueRef::Integer(_) | ValueRef::Stream(_) => false,
        ValueRef::String(text) => text.len() > LARGE_BYTES,
        ValueRef::List(list) => by_size(list.len()),
        ValueRef::Hash(hash) => by_size(hash.len()),
        ValueRef::Set(set) => by_size(set.len()),
        ValueRef::SortedSet(set) => by_size(set.len()),
    }
}

/// What a collection consists of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    List,
    Hash,
    /// A hash some of whose fields expire.
    TimedHash,
    Set,
    SortedSet,
}

impl Kind {
    /// Nothing for what has no elements.
    #[must_use]
    pub fn of(value: ValueRef<'_>) -> Option<Kind> {
        match value {
            ValueRef::List(_) => Some(Kind::List),
            ValueRef::Hash(hash) if hash.is_timed() => Some(Kind::TimedHash),
            ValueRef::Hash(_) => Some(Kind::Hash),
            ValueRef::Set(_) => Some(Kind::Set),
            ValueRef::SortedSet(_) => Some(Kind::SortedSet),
            ValueRef::Integer(_) | ValueRef::String(_) | ValueRef::Stream(_) => None,
        }
    }
}

/// One element, as it is or was.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Element<'a> {
    Item(&'a [u8]),
    Field(&'a [u8], &'a [u8]),
    Timed(&'a [u8], &'a [u8], Option<UnixMillis>),
    Member(&'a [u8]),
    Scored(&'a [u8], f64),
}

/// A piece of a collection in the making.
#[derive(Debug)]
pub struct Piece {
    kind: Kind,
    count: usize,
    elements: Vec<u8>,
}

impl Piece {
    #[must_use]
    pub fn new(kind: Kind) -> Piece {
        Piece { kind, count: 0, elements: Vec::new() }
    }

    pub fn push(&mut self, element: Element<'_>) {
        self.count += 1;
        let out = &mut self.elements;
        match element {
            Element::Item(bytes) | Element::Member(bytes) => put_bytes(out, bytes),
            Element::Field(field, value) => {
                put_bytes(out, field);
                put_bytes(out, value);
            }
            Element::Timed(field, value, deadline) => put_timed(out, field, value, deadline),
            Element::Scored(member, score) => {
                out.extend_from_slice(&score.to_le_bytes());
                put_bytes(out, member);
            }
        }
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    #[must_use]
    pub fn bytes(&self) -> usize {
        self.elements.len()
    }

    /// Appends the image.
    pub fn finish(self, out: &mut Vec<u8>) {
        let kind = match self.kind {
            Kind::List => LIST,
            Kind::Hash => HASH,
            Kind::TimedHash => TIMED_HASH,
            Kind::Set => SET,
            Kind::SortedSet => SORTED_SET,
        };
        put_head(out, kind, self.count);
        out.extend_from_slice(&self.elements);
    }
}

/// Appends the image of some text.
pub fn put_text(text: &[u8], out: &mut Vec<u8>) {
    out.push(STRING);
    put_bytes(out, text);
}

/// Reads the image of some text.
pub(in crate::keyspace) fn take_text(image: &[u8]) -> Result<&[u8], Error> {
    let mut reader = Reader { rest: image };
    match reader.byte()? {
        STRING => {}
        kind => return Err(Error::UnknownKind(kind)),
    }
    let text = reader.bytes()?;
    if reader.rest.is_empty() { Ok(text) } else { Err(Error::Trailing(reader.rest.len())) }
}

/// What the image of a piece is a piece of.
pub(in crate::keyspace) fn kind(image: &[u8]) -> Result<Kind, Error> {
    match *image.first().ok_or(Error::Truncated)? {
        LIST => Ok(Kind::List),
        HASH => Ok(Kind::Hash),
        TIMED_HASH => Ok(Kind::TimedHash),
        SET => Ok(Kind::Set),
        SORTED_SET => Ok(Kind::SortedSet),
        kind => Err(Error::UnknownKind(kind)),
    }
}

/// A collection that can be made of pieces.
pub(in crate::keyspace) trait Pieced {
    /// Reads one element of an image of this kind and adds it; says whether it is new.
    fn read(&mut self, kind: u8, reader: &mut Reader<'_>) -> Result<bool, Error>;
}

impl Pieced for List {
    fn read(&mut self, _: u8, reader: &mut Reader<'_>) -> Result<bool, Error> {
        self.push(End::Back, reader.bytes()?);
        Ok(true)
    }
}

impl Pieced for Hash {
    fn read(&mut self, kind: u8, reader: &mut Reader<'_>) -> Result<bool, Error> {
        if kind == TIMED_HASH {
            return reader.timed_field(self);
        }
        let field = reader.bytes()?;
        Ok(self.set(field, reader.bytes()?))
    }
}

impl Pieced for Set {
    fn read(&mut self, _: u8, reader: &mut Reader<'_>) -> Result<bool, Error> {
        Ok(self.insert(reader.bytes()?))
    }
}

impl Pieced for SortedSet {
    fn read(&mut self, _: u8, reader: &mut Reader<'_>) -> Result<bool, Error> {
        let score = reader.score()?;
        Ok(self.insert(reader.bytes()?, score) == Inserted::Added)
    }
}

/// Adds the elements of a piece to a collection of its kind that holds those before.
///
/// # Errors
/// The piece cannot be read, or holds an element that is there already. The value is then of no use.
pub(in crate::keyspace) fn extend(collection: &mut impl Pieced, image: &[u8]) -> Result<(), Error> {
    let mut reader = Reader { rest: image.get(1..).ok_or(Error::Truncated)? };
    for _ in 0..reader.elements()? {
        if !collection.read(image[0], &mut reader)? {
            return Err(Error::Duplicate);
        }
    }
    if reader.rest.is_empty() { Ok(()) } else { Err(Error::Trailing(reader.rest.len())) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_read_and_nothing_else() {
        let mut image = Vec::new();
        put_text(b"1234", &mut image);
        assert_eq!(take_text(&image), Ok(&b"1234"[..]));
        assert!(take_text(&image[..3]).is_err());
        image[0] = LIST;
        assert_eq!(take_text(&image), Err(Error::UnknownKind(LIST)));
    }

    #[test]
    fn large_is_what_has_many_elements_or_bytes() {
        let list = |count: usize, bytes: usize| {
            let list: List = (0..count).map(|_| ShortBytes::from(vec![1; bytes])).collect();
            is_large(ValueRef::List(list.view()))
        };
        assert!(!is_large(ValueRef::Integer(1)) && !is_large(ValueRef::String(&[1; 1000])));
        assert!(is_large(ValueRef::String(&vec![1; LARGE_BYTES + 1])));
        assert!(list(LARGE_ELEMENTS + 1, 1) && !list(100, 100));
        assert!(list(3, LARGE_BYTES), "few large ones");
    }
}
