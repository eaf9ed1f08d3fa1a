//! A value that goes from one key to another: it is handed over, and not made anew out of its image.
//!
//! What is said of it in the record is the same as always, a deletion and a whole value: an effect changes one partition and
//! reads no other. Whoever applies the record makes the value out of that.

use bytes::Bytes;

use super::apply::Applied;
use super::collection::Boxed;
use super::database::Place;
use super::payload::New;
use super::shard::Shard;
use super::value::{Value, ValueRef};
use crate::effect::{Expiry, KeyChange};
use crate::lent;

/// A value on its way.
#[derive(Debug)]
pub struct Carried(Carry);

#[derive(Debug)]
enum Carry {
    Integer(i64),
    Text(Vec<u8>),
    Shared(Bytes),
    Collection(Value),
}

impl From<Bytes> for Carried {
    fn from(text: Bytes) -> Self {
        Self(Carry::Shared(text))
    }
}

impl From<Value> for Carried {
    fn from(value: Value) -> Self {
        Self(match value {
            Value::Integer(number) => Carry::Integer(number),
            Value::String(text) => Carry::Text(text.to_vec()),
            collection => Carry::Collection(collection),
        })
    }
}

/// A text that is longer is not copied.
const COPIED_BYTES: usize = 1 << 10;

impl Shard {
    /// The large text of a key, so that others may keep it too. Nothing for what is no such text.
    pub fn share_text(&mut self, database: u8, place: Place, key: &[u8]) -> Option<Bytes> {
        let slot = place.slot?;
        let table = &mut self.database_mut(database).table;
        match table.at(slot).value() {
            ValueRef::String(text) if text.len() >= lent::SHARED_BYTES => {}
            _ => return None,
        }
        if table.at(slot).shared_text().is_none() {
            table.make_shared(slot, key);
        }
        table.at(slot).shared_text()
    }

    /// Takes the value of a key out. What is left there is to be deleted next. Nothing, and nothing is changed: there is no
    /// such key, or somebody reads the value in steps.
    pub fn carry_off(&mut self, database: u8, key: &[u8], place: Place) -> Option<Carried> {
        let slot = place.slot?;
        if self.is_in_snapshot(database, key) {
            return None;
        }
        let table = &mut self.database_mut(database).table;
        let long = match table.at(slot).value() {
            ValueRef::Integer(number) => return Some(Carried(Carry::Integer(number))),
            ValueRef::String(text) if text.len() <= COPIED_BYTES => return Some(Carried(Carry::Text(text.to_vec()))),
            ValueRef::String(_) => true,
            ValueRef::List(_) | ValueRef::Hash(_) | ValueRef::Set(_) | ValueRef::SortedSet(_) | ValueRef::Stream(_) => {
                false
            }
        };
        if long {
            let mut taken = Vec::new();
            let version = table.at(slot).version();
            table.change_text(slot, key, version, |text| taken = std::mem::take(text))?;
            return Some(Carried(Carry::Text(taken)));
        }
        // A packed one is small: what is left there is a copy.
        let taken = table.collection(slot).map(Boxed::take);
        Some(Carried(Carry::Collection(taken.unwrap_or_else(|| table.at(slot).value().to_owned()))))
    }

    /// Puts a value in the place of whatever a key holds.
    pub fn put_carried(&mut self, database: u8, key: &[u8], place: Place, carried: Carried, expiry: Expiry) -> Applied {
        let change = KeyChange::Restore { image: &[], expiry };
        self.with_change(database, key, place, &change, |keys, stamp| {
            place.slot.into_iter().for_each(|slot| keys.free_later(slot));
            let short;
            let new = match carried.0 {
                Carry::Integer(number) => New::Integer(number),
                Carry::Text(text) if text.len() <= COPIED_BYTES => {
                    short = text;
                    New::Text(&short)
                }
                Carry::Text(text) => New::Changed(text),
                Carry::Shared(text) => New::Shared(text),
                Carry::Collection(value) => New::Value(value),
            };
            keys.replace(key, place, expiry, stamp, new)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::effect::End;
    use crate::ids::UnixMillis;

    fn shard() -> Shard {
        Shard::new(4, foldhash::fast::RandomState::default(), std::sync::Arc::default())
    }

    fn carry(shard: &mut Shard, from: &[u8], to: &[u8], expiry: Expiry) {
        let place = shard.locate(0, from);
        let carried = shard.carry_off(0, from, place).unwrap();
        shard.apply_key(0, from, &KeyChange::Delete).unwrap();
        let place = shard.locate(3, to);
        assert!(shard.put_carried(3, to, place, carried, expiry).changed);
    }

    #[test]
    fn a_value_of_any_kind_and_its_deadline_come_to_another_key() {
        let long = vec![b'x'; 5000];
        for value in [&b"12"[..], b"short", &long] {
            let mut shard = shard();
            shard.apply_key(0, b"from", &KeyChange::SetString { value, expiry: Expiry::Never }).unwrap();
            carry(&mut shard, b"from", b"to", Expiry::At(UnixMillis(7)));
            assert!(shard.database(0).find(b"from").is_none() && shard.database(0).is_empty());
            let entry = shard.database(3).find(b"to").unwrap();
            let found = match entry.value() {
                ValueRef::Integer(number) => number.to_string().into_bytes(),
                ValueRef::String(text) => text.to_vec(),
                other => panic!("{other:?}"),
            };
            assert_eq!((&found[..], entry.expire_at()), (value, Some(UnixMillis(7))));
        }
        let mut shard = shard();
        let items: [&[u8]; 3] = [b"a", b"b", b"c"];
        let push = KeyChange::ListPush { end: End::Back, values: (&items[..]).into() };
        shard.apply_key(0, b"from", &push).unwrap();
        shard.apply_key(3, b"to", &KeyChange::SetString { value: b"before", expiry: Expiry::Never }).unwrap();
        carry(&mut shard, b"from", b"to", Expiry::Never);
        let entry = shard.database(3).find(b"to").unwrap();
        assert!(matches!(entry.value(), ValueRef::List(list) if list.len() == 3));
    }

    #[test]
    fn what_is_read_in_steps_stays() {
        let mut shard = shard();
        let text = vec![b'x'; 1 << 20];
        shard.apply_key(0, b"from", &KeyChange::SetString { value: &text, expiry: Expiry::Never }).unwrap();
        let snapshot = shard.open_snapshot(0, b"from").unwrap();
        let place = shard.locate(0, b"from");
        assert!(shard.carry_off(0, b"from", place).is_none());
        drop(shard.close_snapshot(snapshot));
        assert!(shard.carry_off(0, b"from", place).is_some());
    }
}
