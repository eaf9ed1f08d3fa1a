//! A value that goes from one key to another without being copied, where that is possible: RENAME, MOVE, COPY.

use bytes::Bytes;

use super::{Refused, Transaction};
use crate::effect::{Expiry, KeyChange};
use crate::engine::signals::class;
use crate::keyspace::Carried;
use crate::keyspace::value::image;
use crate::lent;

/// A key that a value is carried from or to, and what its keyspace event is called.
#[derive(Debug, Clone, Copy)]
pub struct Name<'k> {
    pub database: u8,
    pub key: &'k [u8],
    pub event: &'static str,
}

impl Transaction<'_> {
    /// The large text of a key, with its deadline, for another key to hold too.
    pub fn share_text(&mut self, key: &[u8]) -> Option<(Bytes, Expiry)> {
        let expiry = self.get(key)?.expire_at().map_or(Expiry::Never, Expiry::At);
        let shard = self.locked.shard_mut(self.engine.keyspace.shard_of(key))?;
        let place = shard.locate(self.database, key);
        Some((shard.share_text(self.database, place, key)?, expiry))
    }

    /// Puts a text that others hold too in the place of whatever is there. Its event has the name that was said.
    ///
    /// # Errors
    /// The record would be too large; nothing has changed.
    pub fn put_shared(
        &mut self,
        key: &[u8],
        text: &Bytes,
        expiry: Expiry,
        class: u32,
        name: &'static str,
    ) -> Result<(), Refused> {
        let change = KeyChange::SetString { value: text, expiry };
        self.check_room(key.len() + change.record_bytes())?;
        let index = self.engine.keyspace.shard_of(key);
        let Some(shard) = self.locked.shard_mut(index) else { return Ok(()) };
        let place = shard.locate(self.database, key);
        let applied = shard.put_carried(self.database, key, place, Carried::from(text.clone()), expiry);
        let _lending = lent::lend(text.clone(), text.len());
        self.name_next(class, name);
        self.applied(index, key, place, &change, applied);
        Ok(())
    }

    /// Carries what `from` holds, with its deadline, to `to`, in place of whatever is there. False: there is nothing. The two
    /// are not the same.
    ///
    /// # Errors
    /// The record would be too large; nothing has changed.
    pub fn carry(&mut self, from: Name<'_>, to: Name<'_>) -> Result<bool, Refused> {
        let selected = self.database;
        self.select(from.database);
        let carried = self.carry_selected(from, to);
        self.select(selected);
        carried
    }

    fn carry_selected(&mut self, from: Name<'_>, to: Name<'_>) -> Result<bool, Refused> {
        if let Some((text, expiry)) = self.share_text(from.key) {
            return self.carry_text(from, to, &text, expiry);
        }
        let is_retaining = self.retaining;
        let Some(entry) = self.get(from.key) else { return Ok(false) };
        let expiry = entry.expire_at().map_or(Expiry::Never, Expiry::At);
        let mut image = Vec::new();
        let value = entry.value();
        if is_retaining {
            image.reserve(value.image_capacity());
            image::encode(value, &mut image);
        }
        let restore = KeyChange::Restore { image: &image, expiry };
        let delete = KeyChange::Delete.record_bytes();
        self.check_room(from.key.len() + delete + to.key.len() + restore.record_bytes())?;
        let keyspace = &self.engine.keyspace;
        let (source, target) = (keyspace.shard_of(from.key), keyspace.shard_of(to.key));
        let carried = self.locked.shard_mut(source).and_then(|shard| {
            let place = shard.locate(from.database, from.key);
            shard.carry_off(from.database, from.key, place)
        });
        let carried = match carried {
            Some(carried) => carried,
            // Somebody reads it in steps: it stays where it is, and this is another one.
            None => match image::decode(&image) {
                Ok(value) => value.into(),
                Err(_) => return Ok(false),
            },
        };
        self.name_next(0, "");
        self.apply(from.key, &KeyChange::Delete)?;
        self.replaced = None;
        self.select(to.database);
        let Some(shard) = self.locked.shard_mut(target) else { return Ok(false) };
        let place = shard.locate(to.database, to.key);
        let applied = shard.put_carried(to.database, to.key, place, carried, expiry);
        // The events stand in Redis's order; it deletes what is there, and adds a key.
        if !place.is_vacant() {
            self.raise(class::NEW, "new", to.key);
        }
        self.name_next(0, "");
        self.applied(target, to.key, place, &restore, applied);
        self.select(from.database);
        self.raise(class::GENERIC, from.event, from.key);
        self.select(to.database);
        self.raise(class::GENERIC, to.event, to.key);
        Ok(true)
    }

    /// As `carry`, of a large text, which is not copied.
    fn carry_text(&mut self, from: Name<'_>, to: Name<'_>, text: &Bytes, expiry: Expiry) -> Result<bool, Refused> {
        let change = KeyChange::SetString { value: text, expiry };
        let delete = KeyChange::Delete.record_bytes();
        self.check_room(from.key.len() + delete + to.key.len() + change.record_bytes())?;
        self.name_next(0, "");
        self.apply(from.key, &KeyChange::Delete)?;
        self.replaced = None;
        self.select(to.database);
        // The events stand in Redis's order; it deletes what is there, and adds a key.
        if self.get(to.key).is_some() {
            self.raise(class::NEW, "new", to.key);
        }
        self.put_shared(to.key, text, expiry, 0, "")?;
        self.select(from.database);
        self.raise(class::GENERIC, from.event, from.key);
        self.select(to.database);
        self.raise(class::GENERIC, to.event, to.key);
        Ok(true)
    }
}
