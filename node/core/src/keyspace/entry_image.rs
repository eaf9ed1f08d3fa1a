//! A key and what it holds as bytes: in full syncs and in the pages of a checkpoint.
//!
//! ```text
//! entry = database (1 byte) | key (length | bytes) | expiry in ms, 0 = never (varint) | value (length | image)
//! ```
//!
//! A large value is several entries in a row. All but the first have the highest bit of `database` set: the image holds
//! more elements, or more text, of the value of the same key.
//!
//! In the page of a checkpoint a large value may lie elsewhere: the second highest bit of `database` is set then, and in place
//! of its image stand the number under which it lies in rows of its own, and how many these are (varints).

use super::entry::Entry;
use super::value::{self, ValueRef};
use crate::ids::UnixMillis;
use crate::limits;
use crate::wire::{self, Reader};

/// An entry that cannot be loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("{0}")]
    Wire(#[from] wire::Error),
    #[error("{0}")]
    Value(#[from] value::image::Error),
    #[error("a key of database {0}, which there is not")]
    Database(u8),
    #[error("a key that is there twice")]
    Duplicate,
    #[error("a value that goes on and has not begun")]
    NotBegun,
    #[error("a value that lies elsewhere")]
    Elsewhere,
}

/// Set in the database of an entry that goes on with a value.
const CONTINUES: u8 = 0x80;

/// Set in the database of an entry whose value lies elsewhere.
const ELSEWHERE: u8 = 0x40;

/// Appends an entry whose value lies in `rows` rows of its own, under a number.
pub fn put_reference(database: u8, key: &[u8], place: Elsewhere, out: &mut Vec<u8>) {
    let mut value = Vec::new();
    wire::put_varint(&mut value, u64::from(place.number));
    wire::put_varint(&mut value, u64::from(place.rows));
    out.push(database | ELSEWHERE);
    wire::put_bytes(out, key);
    wire::put_varint(out, 0);
    wire::put_bytes(out, &value);
}

/// Where a value lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Elsewhere {
    /// Of the shard, given once.
    pub number: u32,
    pub rows: u32,
}

/// Appends a piece of a large value, the image of which is given.
pub fn put_piece(
    database: u8,
    key: &[u8],
    expire_at: Option<UnixMillis>,
    continues: bool,
    image: &[u8],
    out: &mut Vec<u8>,
) {
    out.push(if continues { database | CONTINUES } else { database });
    wire::put_bytes(out, key);
    wire::put_varint(out, expire_at.map_or(0, |at| at.0));
    wire::put_bytes(out, image);
}

/// Appends the image of an entry. `scratch` is overwritten.
pub fn put_entry(database: u8, entry: Entry<'_>, scratch: &mut Vec<u8>, out: &mut Vec<u8>) {
    out.push(database);
    wire::put_bytes(out, entry.key());
    wire::put_varint(out, entry.expire_at().map_or(0, |at| at.0));
    let value = entry.value();
    if let ValueRef::String(text) = value {
        // The most common kind, without a detour: its kind and its own length come before it.
        let length = text.len() as u64;
        wire::put_varint(out, 1 + wire::varint_len(length) as u64 + length);
        value::image::encode(value, out);
    } else {
        scratch.clear();
        value::image::encode(value, scratch);
        wire::put_bytes(out, scratch);
    }
}

/// An entry out of its image; the value is still to be decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EntryImage<'a> {
    pub database: u8,
    /// The value goes on with what the entries before have made of this key.
    pub continues: bool,
    /// There is no value here.
    pub elsewhere: Option<Elsewhere>,
    pub key: &'a [u8],
    pub expire_at: Option<UnixMillis>,
    pub value: &'a [u8],
}

/// Reads the next entry.
///
/// # Errors
/// The bytes are not what `put_entry` writes.
#[inline]
pub fn take_entry<'a>(reader: &mut Reader<'a>) -> Result<EntryImage<'a>, Error> {
    let byte = reader.byte()?;
    let (database, continues) = (byte & !(CONTINUES | ELSEWHERE), byte & CONTINUES != 0);
    if database >= limits::DATABASES {
        return Err(Error::Database(database));
    }
    let key = reader.bytes()?;
    let expire_at = match reader.varint()? {
        0 => None,
        at => Some(UnixMillis(at)),
    };
    let value = reader.bytes()?;
    let elsewhere = if byte & ELSEWHERE == 0 { None } else { Some(take_place(value)?) };
    Ok(EntryImage { database, continues, elsewhere, key, expire_at, value })
}

#[cold]
fn take_place(value: &[u8]) -> Result<Elsewhere, wire::Error> {
    let mut reader = Reader::new(value);
    let mut number = || u32::try_from(reader.varint()?).map_err(|_| wire::Error::Overflow);
    Ok(Elsewhere { number: number()?, rows: number()? })
}
