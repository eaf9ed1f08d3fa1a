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

use std::hash::BuildHasher;

use super::collection::Collection;
use super::entry::About;
use super::parts::Parts;
use super::payload::New;
use super::shard::{Entry, Place, Shard};
use super::table::Slot;
use super::value::image::pieces::{Kind, Pieced};
use super::value::{self, Hash, List, Set, SortedSet, ValueRef};
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

impl Shard {
    /// Makes room for keys that are to be loaded, a number for each database.
    pub fn reserve(&mut self, keys: &[usize]) {
        for (database, keys) in (0..limits::DATABASES).zip(keys).filter(|(_, keys)| **keys > 0) {
            self.database_mut(database).table.reserve((*keys).min(limits::RESERVED_KEYS));
        }
    }

    /// Puts an entry in its place, without the trouble of a change: nobody watches, and nothing was there.
    ///
    /// # Errors
    /// The value cannot be read, or the key is there already.
    #[inline]
    pub fn load(&mut self, entry: &EntryImage<'_>) -> Result<(), Error> {
        let place = self.locate(entry.database, entry.key);
        if entry.elsewhere.is_some() {
            return Err(Error::Elsewhere);
        }
        if entry.continues {
            return self.load_more(entry, place);
        }
        if place.slot.is_some() {
            return Err(Error::Duplicate);
        }
        let value = value::image::decode(entry.value)?;
        let about =
            About { version: 0, access: self.access.fresh(), expire_at: entry.expire_at.map_or(0, |at| at.0.max(1)) };
        let is_timed = matches!(value.as_ref(), ValueRef::Hash(hash) if hash.is_timed());
        self.database_mut(entry.database).insert(place.hash, entry.key, about, New::Value(value));
        if is_timed {
            self.look_at_deadlines(entry.database, entry.key);
        }
        Ok(())
    }

    #[cold]
    fn load_more(&mut self, entry: &EntryImage<'_>, place: Place) -> Result<(), Error> {
        let slot = place.slot.ok_or(Error::NotBegun)?;
        self.load_piece(entry, slot)?;
        self.look_at_deadlines(entry.database, entry.key);
        Ok(())
    }

    fn load_piece(&mut self, entry: &EntryImage<'_>, slot: Slot) -> Result<(), Error> {
        let table = &mut self.database_mut(entry.database).table;
        if let ValueRef::Integer(_) | ValueRef::String(_) = table.at(slot).value() {
            let text = value::image::pieces::take_text(entry.value)?;
            let changed = table.change_text(slot, entry.key, 0, |loaded| loaded.extend_from_slice(text));
            return changed.map(|_| ()).ok_or(Error::NotBegun);
        }
        match value::image::pieces::kind(entry.value)? {
            Kind::List => extend::<List>(table, slot, entry),
            Kind::Hash | Kind::TimedHash => extend::<Hash>(table, slot, entry),
            Kind::Set => extend::<Set>(table, slot, entry),
            Kind::SortedSet => extend::<SortedSet>(table, slot, entry),
        }
    }
}

/// Adds the elements of an entry that goes on with a collection.
fn extend<C: Collection + Pieced>(
    table: &mut Parts<impl BuildHasher + Clone>,
    slot: Slot,
    entry: &EntryImage<'_>,
) -> Result<(), Error> {
    let add = |collection: &mut C| (value::image::pieces::extend(collection, entry.value), false);
    Ok(table.change(slot, entry.key, 0, |_, _| None, add).ok_or(Error::NotBegun)??)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::effect::KeyChange;

    fn shard() -> Shard {
        Shard::new(4, foldhash::fast::RandomState::default(), Arc::default())
    }

    #[test]
    fn a_hash_with_fields_that_expire_is_loaded_with_them() {
        let mut from = shard();
        let pairs: [&[u8]; 4] = [b"f", b"v", b"g", b"w"];
        from.apply_key(3, b"key", &KeyChange::HashSet { pairs: (&pairs[..]).into() }).unwrap();
        let fields: [&[u8]; 1] = [b"g"];
        let expire = KeyChange::HashExpire { at: Some(UnixMillis(700)), fields: (&fields[..]).into() };
        from.apply_key(3, b"key", &expire).unwrap();
        let (mut scratch, mut image) = (Vec::new(), Vec::new());
        put_entry(3, from.database(3).find(b"key").unwrap(), &mut scratch, &mut image);
        let mut to = shard();
        to.load(&take_entry(&mut Reader::new(&image)).unwrap()).unwrap();
        assert_eq!(to.database(3).find(b"key").unwrap().value(), from.database(3).find(b"key").unwrap().value());
        assert!(to.has_due_fields(UnixMillis(700)) && !to.has_due_fields(UnixMillis(699)));
        assert_eq!((to.timed_hashes(3), to.timed_hashes(0)), (1, 0));
        // They go with their database, and with an exchange.
        to.apply_swap(3, 5);
        assert_eq!((to.timed_hashes(3), to.timed_hashes(5)), (0, 1));
        to.apply_flush(Some(3));
        assert!(to.has_due_fields(UnixMillis(700)));
        to.apply_flush(Some(5));
        assert!(!to.has_due_fields(UnixMillis(u64::MAX)));
    }
}
