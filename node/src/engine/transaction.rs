//! A transaction: effects on partitions that are held, and one journal record of them.

use std::cell::Cell;

use super::{Engine, Locked, View};
use crate::effect::{self, Effect, Expiry, KeyChange};
use crate::ids::{Offset, Partition, UnixMillis};
use crate::keyspace::{Applied, Entry, Keyspace, WrongType};

/// What a writing command (or EXEC, with several) does its work with.
#[derive(Debug)]
pub struct Transaction<'e> {
    engine: &'e Engine,
    locked: Locked<'e>,
    record: &'e mut Vec<u8>,
    /// Whether anybody may ever read the record.
    retaining: bool,
    effects: usize,
    database: u8,
    now: UnixMillis,
    expired: usize,
}

impl<'e> Transaction<'e> {
    /// `record` is scratch space; its content is overwritten.
    #[inline]
    pub fn new(engine: &'e Engine, locked: Locked<'e>, record: &'e mut Vec<u8>, database: u8, now: UnixMillis) -> Self {
        record.clear();
        // Read with the partitions held: see `Journal::retain`.
        let retaining = engine.journal.is_retaining();
        Self { engine, locked, record, retaining, effects: 0, database, now, expired: 0 }
    }

    #[must_use]
    pub fn now(&self) -> UnixMillis {
        self.now
    }

    #[must_use]
    pub fn database(&self) -> u8 {
        self.database
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
    pub fn get(&mut self, key: &[u8]) -> Option<&Entry> {
        self.expire_if_due(key);
        let index = self.locked.index_of(&self.engine.keyspace, key);
        self.locked.shard(index)?.database(self.database).find(key)
    }

    /// What a reading command sees within this transaction.
    pub fn view<'v>(&'v self, hits: &'v Cell<u32>, misses: &'v Cell<u32>) -> View<'v> {
        View::new(self.engine, &self.locked, self.database, self.now, hits, misses)
    }

    /// Changes a key and notes the change in the record.
    ///
    /// # Errors
    /// The key holds another type; nothing has changed.
    #[inline]
    pub fn apply(&mut self, key: &[u8], change: &KeyChange<'_>) -> Result<Applied, WrongType> {
        let replaces = matches!(
            change,
            KeyChange::SetString { expiry: Expiry::Never | Expiry::At(_), .. }
                | KeyChange::Restore { expiry: Expiry::Never | Expiry::At(_), .. }
                | KeyChange::Delete
        );
        if !replaces {
            self.expire_if_due(key);
        }
        self.apply_now(key, change)
    }

    #[inline]
    fn apply_now(&mut self, key: &[u8], change: &KeyChange<'_>) -> Result<Applied, WrongType> {
        let index = self.locked.index_of(&self.engine.keyspace, key);
        let Some(shard) = self.locked.shard_mut(index) else {
            debug_assert!(false, "a command may only write keys that its row declares");
            return Ok(Applied { changed: false, count: 0 });
        };
        let applied = shard.apply_key(self.database, key, change)?;
        if applied.changed {
            self.effects += 1;
            if self.retaining {
                effect::encode_key_change(Partition::shard(index), self.database, key, change, self.record);
            }
        }
        Ok(applied)
    }

    /// Empties one database or all, in every shard that is held.
    pub fn flush(&mut self, database: Option<u8>) {
        let Self { locked, record, retaining, effects, .. } = self;
        locked.each_mut(|index, shard| {
            if shard.apply_flush(database) > 0 {
                *effects += 1;
                if *retaining {
                    Effect::Flush { database }.encode(Partition::shard(index), record);
                }
            }
        });
    }

    pub fn swap(&mut self, first: u8, second: u8) {
        let Self { locked, record, retaining, effects, .. } = self;
        locked.each_mut(|index, shard| {
            if !shard.is_empty() {
                shard.apply_swap(first, second);
                *effects += 1;
                if *retaining {
                    Effect::Swap { first, second }.encode(Partition::shard(index), record);
                }
            }
        });
    }

    /// Keys that were found expired and deleted on the way.
    #[must_use]
    pub fn expired(&self) -> usize {
        self.expired
    }

    /// Whether anything has changed so far.
    #[must_use]
    pub fn has_effects(&self) -> bool {
        self.effects > 0
    }

    /// Ends the transaction: one record, if anything changed. Says which record the reply depends on: its own, or the
    /// newest one of the partitions that it looked at.
    #[inline]
    pub fn finish(mut self) -> Offset {
        if self.effects == 0 {
            return self.locked.last_offset();
        }
        let offset = self.engine.journal.append(self.record);
        self.locked.each_mut(|_, shard| shard.changed_at(offset));
        offset
    }

    #[inline]
    fn expire_if_due(&mut self, key: &[u8]) {
        let index = self.locked.index_of(&self.engine.keyspace, key);
        let Some(shard) = self.locked.shard(index) else { return };
        let table = shard.database(self.database);
        if table.expiring() > 0 && table.find(key).is_some_and(|entry| entry.is_expired(self.now)) {
            self.expired += 1;
            // Deleting cannot meet a wrong type.
            _ = self.apply_now(key, &KeyChange::Delete);
        }
    }
}
