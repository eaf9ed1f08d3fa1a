//! Fields of hashes whose time is over: a transaction removes them, by effect, before it does anything with their hash.

use super::Transaction;
use crate::effect::KeyChange;
use crate::engine::signals::class;
use crate::keyspace::value::ValueRef;
use crate::keyspace::{Entry, Place};
use crate::limits;

impl Transaction<'_> {
    #[inline]
    pub(super) fn has_due_fields(&self, index: usize) -> bool {
        self.locked.shard(index).is_some_and(|shard| shard.has_due_fields(self.now))
    }

    /// Removes fields of a hash that are due, by effect. Says where the key lies afterwards.
    #[cold]
    pub(super) fn expire_fields(&mut self, index: usize, key: &[u8], place: Place) -> Place {
        let Some(shard) = self.locked.shard(index) else { return place };
        let due = shard.due_fields(self.database, key, self.now, limits::FIELDS_EXPIRED_AT_ONCE);
        self.remove_expired(index, key, place, due.iter().map(|field| &**field).collect())
    }

    /// Removes those of some fields that are due and still there: a change that names them must not meet them.
    #[cold]
    pub(super) fn expire_named(&mut self, index: usize, key: &[u8], place: Place, change: &KeyChange<'_>) -> Place {
        let (fields, width) = match change {
            KeyChange::HashSet { pairs } => (pairs, 2),
            KeyChange::HashRemove { fields } | KeyChange::HashExpire { fields, .. } => (fields, 1),
            _ => return place,
        };
        let now = self.now;
        let entry = self.locked.shard(index).and_then(|shard| shard.database(self.database).at(place));
        let Some(ValueRef::Hash(hash)) = entry.map(Entry::value) else { return place };
        let is_due = |field: &&[u8]| hash.deadline(field).is_some_and(|at| at <= now);
        let mut due: Vec<&[u8]> = fields.iter().step_by(width).copied().filter(is_due).collect();
        due.sort_unstable();
        due.dedup();
        self.remove_expired(index, key, place, due)
    }

    fn remove_expired(&mut self, index: usize, key: &[u8], place: Place, fields: Vec<&[u8]>) -> Place {
        if fields.is_empty() {
            return place;
        }
        // The change for which this happens keeps its name.
        let called = self.called.take();
        self.expired_fields += fields.len();
        self.name_next(class::HASH, "hexpired");
        // Removing cannot meet another type.
        _ = self.change_at(index, key, place, &KeyChange::HashRemove { fields: fields.into() });
        self.called = called;
        self.locked.shard(index).map_or(place, |shard| shard.locate(self.database, key))
    }
}
