//! Expiry takes place by an effect (`Delete`), never by itself, so that replicas agree; this only says which keys are due.

use super::entry::Entry;
use super::shard::Shard;
use super::value::{ShortBytes, ValueRef};
use crate::effect::KeyChange;
use crate::ids::UnixMillis;

impl Shard {
    /// Whether any key may be due at `now`: a look at the earliest deadline of each table.
    #[must_use]
    pub fn has_due(&self, now: UnixMillis) -> bool {
        self.databases().any(|(_, database)| database.table.may_be_due(now)) || self.has_due_fields(now)
    }

    /// Keys that are due at `now`, and hashes with fields that are, with their databases. They are to be deleted, and opened, at
    /// once, under the same lock: the tables forget that they are due.
    pub fn due(&mut self, now: UnixMillis, most: usize) -> Vec<(u8, ShortBytes)> {
        let used: Vec<u8> = self.databases().filter(|(_, d)| d.table.may_be_due(now)).map(|(index, _)| index).collect();
        let mut due = Vec::new();
        for index in used {
            let room = most - due.len();
            due.extend(self.database_mut(index).table.due(now, room).into_iter().map(|key| (index, key)));
        }
        due.extend(self.due_hashes(now, most - due.len()));
        due
    }

    /// Whether fields of hashes are due.
    #[inline]
    #[must_use]
    pub fn has_due_fields(&self, now: UnixMillis) -> bool {
        self.timed.has_due(now)
    }

    /// Hashes with fields that are due.
    pub(super) fn due_hashes(&self, now: UnixMillis, most: usize) -> Vec<(u8, ShortBytes)> {
        let due = self.timed.due(now).take(most);
        due.map(|(database, key)| (*database, ShortBytes::from(&key[..]))).collect()
    }

    /// Fields of a key that are due, `most` at the most; nothing if it holds no hash.
    #[must_use]
    pub fn due_fields(&self, database: u8, key: &[u8], now: UnixMillis, most: usize) -> Vec<ShortBytes> {
        match self.database(database).find(key).map(Entry::value) {
            Some(ValueRef::Hash(hash)) => hash.due(now, most),
            _ => Vec::new(),
        }
    }

    /// Hashes of a database with fields that expire.
    #[must_use]
    pub fn timed_hashes(&self, database: u8) -> usize {
        self.timed.of_database(database)
    }

    /// A key has changed, or was loaded: to be called after `change`.
    #[inline]
    pub(super) fn note_deadlines(&mut self, database: u8, key: &[u8], change: &KeyChange<'_>) {
        let begins = matches!(change, KeyChange::HashExpire { .. } | KeyChange::Restore { .. });
        if begins || !self.timed.is_empty() {
            self.look_at_deadlines(database, key);
        }
    }

    #[cold]
    pub(super) fn look_at_deadlines(&mut self, database: u8, key: &[u8]) {
        let at = match self.database(database).find(key).map(Entry::value) {
            Some(ValueRef::Hash(hash)) => hash.earliest(),
            _ => None,
        };
        if at.is_some() || !self.timed.is_empty() {
            self.timed.set((database, key.to_vec()), at);
        }
    }

    /// A database is emptied, or all are.
    pub(super) fn flush_deadlines(&mut self, emptied: Option<u8>) {
        if !self.timed.is_empty() {
            self.timed.move_to(|database| emptied.is_some_and(|emptied| emptied != database).then_some(database));
        }
    }

    pub(super) fn swap_deadlines(&mut self, first: u8, second: u8) {
        if !self.timed.is_empty() {
            self.timed.move_to(|database| {
                Some(match database {
                    one if one == first => second,
                    one if one == second => first,
                    other => other,
                })
            });
        }
    }
}
