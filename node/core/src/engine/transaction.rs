//! A transaction: effects on partitions that are held, and one journal record of them.

mod carry;
mod due;
mod whole;

pub use carry::Name;

use std::cell::Cell;

use bytes::Bytes;

use super::ready::ReadyKeys;
use super::signals::{Event, class};
use super::{Engine, Locked, View};
use crate::broker::Batch;
use crate::effect::{self, Expiry, KeyChange};
use crate::ids::{Offset, Partition, UnixMillis};
use crate::keyspace::value::ValueRef;
use crate::keyspace::{Applied, Entry, Keyspace, Place, WrongType};
use crate::{lent, limits};

/// Why a change is not made. Nothing has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error("the key holds a value of another type")]
    WrongType,
    #[error("the record would be larger than any legal one")]
    TooLarge,
}

impl From<WrongType> for Refused {
    fn from(_: WrongType) -> Self {
        Self::WrongType
    }
}

/// What a writing command (or EXEC, with several) does its work with.
#[derive(Debug)]
pub struct Transaction<'e> {
    pub(super) engine: &'e Engine,
    pub(super) locked: Locked<'e>,
    record: &'e mut Vec<u8>,
    /// Large texts of the record, which stand at these places of it and are not copied into it.
    texts: Vec<(usize, Bytes)>,
    /// Whether anybody may ever read the record.
    retaining: bool,
    effects: usize,
    database: u8,
    /// A script asks for what is executed now.
    is_script: bool,
    now: UnixMillis,
    expired: usize,
    expired_fields: usize,
    /// Begun by the first operation on the broker.
    broker: Option<Box<Batch<'e>>>,
    /// Keys that somebody waits for.
    pub(super) ready: ReadyKeys,
    /// Classes of events that anybody wants.
    wanted: u32,
    events: Vec<Event>,
    /// What the next change is called, where its kind does not say it.
    called: Option<(u32, &'static str)>,
    /// A key that was deleted without an event: what follows replaces it.
    replaced: Option<Vec<u8>>,
}

impl<'e> Transaction<'e> {
    /// `record` is scratch space; its content is overwritten.
    #[inline]
    pub fn new(engine: &'e Engine, locked: Locked<'e>, record: &'e mut Vec<u8>, database: u8, now: UnixMillis) -> Self {
        record.clear();
        let locked = if locked.has_waiters() { locked.widened(&engine.keyspace) } else { locked };
        // Read with the partitions held: see `Journal::retain`.
        let retaining = engine.journal.is_retaining();
        Self {
            engine,
            locked,
            record,
            texts: Vec::new(),
            retaining,
            effects: 0,
            database,
            is_script: false,
            now,
            expired: 0,
            expired_fields: 0,
            ready: ReadyKeys::default(),
            wanted: engine.signals.wanted(),
            events: Vec::new(),
            called: None,
            replaced: None,
            broker: None,
        }
    }

    #[must_use]
    pub fn now(&self) -> UnixMillis {
        self.now
    }

    #[must_use]
    pub fn database(&self) -> u8 {
        self.database
    }

    /// Says whether what follows is asked for by a script.
    pub fn set_script(&mut self, is_script: bool) {
        self.is_script = is_script;
    }

    /// Changes the database for what follows.
    pub fn select(&mut self, database: u8) {
        self.database = database;
    }

    #[must_use]
    pub fn keyspace(&self) -> &Keyspace {
        &self.engine.keyspace
    }

    /// The entry of `key`. One that has expired is deleted, by effect, and not there.
    #[inline]
    pub fn get(&mut self, key: &[u8]) -> Option<Entry<'_>> {
        let (index, place) = {
            let slot = self.open(key);
            (slot.index, slot.place?)
        };
        let entry = self.locked.shard(index)?.database(self.database).at(place)?;
        Some(entry.at(self.now))
    }

    /// As `get`, for who only reads: a key that is not there is missed.
    pub fn read(&mut self, key: &[u8]) -> Option<Entry<'_>> {
        if self.wanted & class::MISS != 0 && self.get(key).is_none() {
            self.miss(key);
        }
        self.get(key)
    }

    /// A key was looked for by who only reads, and is not there.
    #[inline]
    pub fn miss(&mut self, key: &[u8]) {
        if self.wanted & class::MISS != 0 {
            self.raise(class::MISS, "keymiss", key);
        }
    }

    /// Holds the shards of more keys than were declared. It waits only where that keeps the order of the locks; false: one
    /// of them is not held now.
    pub fn hold<'k>(&mut self, keys: impl Iterator<Item = &'k [u8]>) -> bool {
        let keyspace = &self.engine.keyspace;
        keys.into_iter().all(|key| self.locked.hold(keyspace, keyspace.shard_of(key)))
    }

    /// Holds the whole key space. False: that is too late, for something has changed and what is held cannot be given up.
    pub fn hold_all(&mut self) -> bool {
        if matches!(self.locked, Locked::All(_)) {
            return true;
        }
        if self.effects > 0 {
            let keyspace = &self.engine.keyspace;
            return (0..keyspace.len()).all(|shard| self.locked.hold(keyspace, shard)) && self.holds_all();
        }
        self.locked = Locked::Nothing;
        self.locked = Locked::all(&self.engine.keyspace);
        true
    }

    fn holds_all(&mut self) -> bool {
        let Locked::Some(guards) = &mut self.locked else { return false };
        if guards.len() != self.engine.keyspace.len() {
            return false;
        }
        self.locked = Locked::All(std::mem::take(guards).into_iter().map(|(_, guard)| guard).collect());
        true
    }

    /// What a reading command sees within this transaction.
    pub fn view<'v>(&'v self, hits: &'v Cell<u32>, misses: &'v Cell<u32>) -> View<'v> {
        let mut view = View::new(self.engine, &self.locked, self.database, self.now, hits, misses);
        view.is_script = self.is_script;
        view
    }

    /// Looks a key up once, to read it and then to change it. One that has expired is deleted, by effect, and not there.
    #[inline]
    pub fn open<'t, 'k>(&'t mut self, key: &'k [u8]) -> Slot<'t, 'e, 'k> {
        let index = self.locked.index_of(&self.engine.keyspace, key);
        debug_assert!(self.locked.shard(index).is_some(), "a command may only use keys that its row declares");
        let place = self.locked.shard(index).map(|shard| {
            let place = shard.locate(self.database, key);
            let entry = shard.database(self.database).at(place);
            if let Some(entry) = entry {
                self.engine.keyspace.access().note(entry);
            }
            (place, entry.is_some_and(|entry| entry.is_expired(self.now)))
        });
        let place = match place {
            None => None,
            Some((place, false)) => Some(place),
            Some((place, true)) => {
                self.expired += 1;
                self.name_next(class::EXPIRED, "expired");
                // Deleting cannot meet a wrong type.
                _ = self.apply_at(index, key, place, &KeyChange::Delete);
                Some(place.vacated())
            }
        };
        let place = match place {
            Some(place) if self.has_due_fields(index) => Some(self.expire_fields(index, key, place)),
            place => place,
        };
        Slot { transaction: self, key, index, place }
    }

    /// Changes a key and notes the change in the record.
    ///
    /// # Errors
    /// The key holds another type, or the record would be too large; nothing has changed.
    #[inline]
    pub fn apply(&mut self, key: &[u8], change: &KeyChange<'_>) -> Result<Applied, Refused> {
        let replaces = matches!(
            change,
            KeyChange::SetString { expiry: Expiry::Never | Expiry::At(_), .. }
                | KeyChange::Restore { expiry: Expiry::Never | Expiry::At(_), .. }
        );
        if !replaces {
            return self.open(key).apply(change);
        }
        // Whatever was there, expired or not, is gone afterwards.
        let index = self.locked.index_of(&self.engine.keyspace, key);
        let Some(shard) = self.locked.shard(index) else {
            debug_assert!(false, "a command may only write keys that its row declares");
            return Ok(Applied::NOTHING);
        };
        let place = shard.locate(self.database, key);
        if let Some(entry) = shard.database(self.database).at(place) {
            self.engine.keyspace.access().note(entry);
        }
        self.change_at(index, key, place, change)
    }

    /// Puts what `change` makes in the place of whatever `key` holds; nothing, if there is none. One event tells of it.
    ///
    /// # Errors
    /// The record would be too large; nothing has changed.
    pub fn replace(
        &mut self,
        key: &[u8],
        (class, name): (u32, &'static str),
        change: Option<&KeyChange<'_>>,
    ) -> Result<(), Refused> {
        let delete = KeyChange::Delete.record_bytes();
        self.check_room(2 * key.len() + delete + change.map_or(0, KeyChange::record_bytes))?;
        match change {
            None => _ = self.apply(key, &KeyChange::Delete)?,
            Some(change) => {
                self.apply_as(key, 0, "", &KeyChange::Delete)?;
                self.apply_as(key, class, name, change)?;
            }
        }
        Ok(())
    }

    /// As `apply`, for a change whose keyspace event has another name than its kind says.
    ///
    /// # Errors
    /// As `apply`.
    #[inline]
    pub fn apply_as(
        &mut self,
        key: &[u8],
        class: u32,
        name: &'static str,
        change: &KeyChange<'_>,
    ) -> Result<Applied, Refused> {
        self.open(key).apply_as(class, name, change)
    }

    #[inline]
    fn apply_at(&mut self, index: usize, key: &[u8], place: Place, change: &KeyChange<'_>) -> Result<Applied, Refused> {
        let place = if self.has_due_fields(index) { self.expire_named(index, key, place, change) } else { place };
        self.change_at(index, key, place, change)
    }

    #[inline]
    fn change_at(
        &mut self,
        index: usize,
        key: &[u8],
        place: Place,
        change: &KeyChange<'_>,
    ) -> Result<Applied, Refused> {
        if self.retaining {
            self.check_room(key.len() + change.record_bytes())?;
        }
        let Some(shard) = self.locked.shard_mut(index) else { return Ok(Applied::NOTHING) };
        let applied = shard.apply_at(self.database, key, place, change)?;
        self.applied(index, key, place, change, applied);
        Ok(applied)
    }

    /// Notes a change that was made.
    #[inline]
    fn applied(&mut self, index: usize, key: &[u8], place: Place, change: &KeyChange<'_>, applied: Applied) {
        let Some(shard) = self.locked.shard(index) else { return };
        if applied.changed {
            self.effects += 1;
            if shard.has_waiters() {
                self.ready.push(index, shard, (self.database, key.to_vec()));
            }
            if self.retaining {
                match change {
                    KeyChange::SetString { value, expiry } if let Some(text) = lent::shared(value) => {
                        self.note_text(index, key, *expiry, text);
                    }
                    _ => effect::encode_key_change(Partition::shard(index), self.database, key, change, self.record),
                }
            }
            if self.wanted != 0 {
                self.note(index, key, place, change);
            }
        }
    }

    #[cold]
    fn note_text(&mut self, index: usize, key: &[u8], expiry: Expiry, text: Bytes) {
        let partition = Partition::shard(index);
        effect::encode_set_string_head(partition, self.database, key, expiry, text.len(), self.record);
        self.texts.push((self.record.len(), text));
    }

    /// Whether so many bytes more fit into the record: for a command of several changes, before the first of them.
    ///
    /// # Errors
    /// They do not.
    #[inline]
    pub fn check_room(&self, bytes: usize) -> Result<(), Refused> {
        let used = self.record_bytes() + self.broker.as_ref().map_or(0, |batch| batch.record_bytes());
        if self.retaining && used.saturating_add(bytes) > limits::TRANSACTION_BYTES {
            return Err(Refused::TooLarge);
        }
        Ok(())
    }

    /// What the next change is called, where its kind does not say it: class and name of a keyspace event.
    #[inline]
    pub(super) fn name_next(&mut self, class: u32, name: &'static str) {
        if self.wanted != 0 {
            self.called = Some((class, name));
        }
    }

    /// Adds an event that is no change, or one beside a change.
    pub fn raise(&mut self, class: u32, name: &'static str, key: &[u8]) {
        if self.wanted & (class | class::TRACKED) != 0 {
            self.events.push(Event { database: self.database, class, name, key: key.to_vec() });
        }
    }

    #[cold]
    fn note(&mut self, index: usize, key: &[u8], place: Place, change: &KeyChange<'_>) {
        let (class, name) = self.called.take().unwrap_or_else(|| change.event());
        let is_there = self.locked.shard(index).is_some_and(|shard| shard.database(self.database).find(key).is_some());
        if place.is_vacant() && is_there && self.replaced.take().is_none_or(|replaced| replaced != key) {
            self.raise(class::NEW, "new", key);
        }
        if class == 0 && matches!(change, KeyChange::Delete) {
            self.replaced = Some(key.to_vec());
        }
        self.raise(class, name, key);
        if !is_there && !matches!(change, KeyChange::Delete) {
            self.raise(class::GENERIC, "del", key);
        }
    }

    /// Topology and queues: what is done there becomes a part of this transaction's record. The transaction has the broker
    /// to itself from the first call on.
    pub fn broker(&mut self) -> &mut Batch<'e> {
        let Self { broker, engine, now, record, texts, .. } = self;
        let batch = broker.get_or_insert_with(|| Box::new(engine.broker.begin_together(&engine.journal, *now)));
        batch.shares_record_with(record.len() + texts.iter().map(|(_, text)| text.len()).sum::<usize>());
        batch
    }

    #[inline]
    pub(super) fn record_bytes(&self) -> usize {
        self.record.len() + self.texts.iter().map(|(_, text)| text.len()).sum::<usize>()
    }

    /// Keys that were found expired and deleted on the way.
    #[must_use]
    pub fn expired(&self) -> usize {
        self.expired
    }

    /// Fields of hashes that were found expired and removed on the way.
    #[must_use]
    pub fn expired_fields(&self) -> usize {
        self.expired_fields
    }

    /// Whether anything has changed so far.
    #[must_use]
    pub fn has_effects(&self) -> bool {
        self.effects > 0
    }

    /// Whether its record, or that of another one which it serves, says anything.
    #[must_use]
    pub fn has_changes(&self) -> bool {
        self.effects > 0 || self.broker.is_some()
    }

    /// Ends the transaction: one record, if anything changed. Says which record the reply depends on: its own, or the
    /// newest one of the partitions that it looked at.
    #[inline]
    pub fn finish(mut self) -> Offset {
        if self.ready.is_any() {
            self.serve_waiters();
        }
        let served = self.take_served();
        if let Some(batch) = self.broker.take() {
            return self.finish_with(*batch, served);
        }
        if self.effects == 0 {
            if !self.events.is_empty() {
                self.engine.signals.tell(&self.events);
            }
            let offset = self.locked.last_offset();
            Self::tell_served(self.engine, &served, offset);
            return offset;
        }
        let offset = self.append();
        self.locked.each_mut(|_, shard| shard.changed_at(offset));
        if !self.events.is_empty() {
            self.engine.signals.tell(&self.events);
        }
        if !served.is_empty() {
            Self::tell_served(self.engine, &served, offset);
        }
        offset
    }

    #[inline]
    fn append(&mut self) -> Offset {
        if self.texts.is_empty() {
            return self.engine.journal.append_vec(self.record);
        }
        self.engine.journal.append_shared(self.record, std::mem::take(&mut self.texts))
    }

    /// As `finish`: keys and messages are one record. Deliveries leave after it.
    #[cold]
    fn finish_with(mut self, mut batch: Batch<'_>, served: Vec<u64>) -> Offset {
        let of_keys = self.effects > 0;
        let mut offset = Offset::ZERO;
        batch.bury_some();
        let of_broker = batch.take_record();
        if of_keys || of_broker.is_some() {
            self.record.extend_from_slice(&of_broker.unwrap_or_default());
            offset = self.append();
        }
        if !self.events.is_empty() {
            self.engine.signals.tell(&self.events);
        }
        if of_keys {
            self.locked.each_mut(|_, shard| shard.changed_at(offset));
        }
        let depends_on = self.locked.last_offset().max(offset);
        drop(self.locked);
        Self::tell_served(self.engine, &served, depends_on);
        batch.appended(offset);
        depends_on.max(batch.finish())
    }
}

/// A key that has been looked up: what a command reads before it decides on its change.
#[derive(Debug)]
pub struct Slot<'t, 'e, 'k> {
    transaction: &'t mut Transaction<'e>,
    key: &'k [u8],
    index: usize,
    /// None: the shard is not held, which a row's keys rule out.
    place: Option<Place>,
}

impl Slot<'_, '_, '_> {
    #[inline]
    #[must_use]
    pub fn entry(&self) -> Option<Entry<'_>> {
        let shard = self.transaction.locked.shard(self.index)?;
        let entry = shard.database(self.transaction.database).at(self.place?)?;
        Some(entry.at(self.transaction.now))
    }

    #[inline]
    #[must_use]
    pub fn value(&self) -> Option<ValueRef<'_>> {
        self.entry().map(Entry::value)
    }

    /// As `Transaction::apply`, without another lookup. The slot ends with it, for the table may have moved.
    ///
    /// # Errors
    /// As `Transaction::apply`.
    #[inline]
    pub fn apply(self, change: &KeyChange<'_>) -> Result<Applied, Refused> {
        match self.place {
            Some(place) => self.transaction.apply_at(self.index, self.key, place, change),
            None => Ok(Applied::NOTHING),
        }
    }

    /// As `apply`, for a change whose keyspace event has another name than its kind says.
    ///
    /// # Errors
    /// As `apply`.
    #[inline]
    pub fn apply_as(self, class: u32, name: &'static str, change: &KeyChange<'_>) -> Result<Applied, Refused> {
        let Some(place) = self.place else { return Ok(Applied::NOTHING) };
        self.transaction.name_next(class, name);
        let applied = self.transaction.apply_at(self.index, self.key, place, change);
        // A change that came to nothing has no name to leave behind.
        self.transaction.called = None;
        applied
    }
}

#[cfg(test)]
mod tests;
