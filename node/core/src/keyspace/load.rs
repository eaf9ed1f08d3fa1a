//! Entries out of their images, into a shard: at a start, and in a full sync.

use std::hash::BuildHasher;

use super::collection::Collection;
use super::database::Place;
use super::entry::About;
use super::entry_image::{EntryImage, Error};
use super::parts::Parts;
use super::payload::New;
use super::shard::Shard;
use super::table::Slot;
use super::value::image::pieces::{Kind, Pieced};
use super::value::{self, Hash, List, Set, SortedSet, ValueRef};
use crate::limits;

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
    use crate::ids::UnixMillis;
    use crate::keyspace::entry_image::{put_entry, take_entry};
    use crate::wire::Reader;

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
