//! Which hashes of a shard have fields that expire, and when is the next of them due?
//!
//! **Invariant:** each hash with deadlines is here, with its earliest one. A shard without any pays one look at a flag for a
//! change.

use std::collections::{BTreeMap, BTreeSet};

use super::interest::Name;
use crate::ids::UnixMillis;

#[derive(Debug, Default)]
pub(super) struct TimedHashes {
    of: BTreeMap<Name, UnixMillis>,
    order: BTreeSet<(UnixMillis, Name)>,
}

impl TimedHashes {
    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.of.is_empty()
    }

    pub(super) fn set(&mut self, name: Name, at: Option<UnixMillis>) {
        let before = self.of.get(&name).copied();
        if before == at {
            return;
        }
        if let Some(before) = before {
            self.order.remove(&(before, name.clone()));
            self.of.remove(&name);
        }
        if let Some(at) = at {
            self.of.insert(name.clone(), at);
            self.order.insert((at, name));
        }
    }

    /// Whether any field may be due.
    #[inline]
    pub(super) fn has_due(&self, now: UnixMillis) -> bool {
        self.order.first().is_some_and(|(at, _)| *at <= now)
    }

    pub(super) fn of_database(&self, database: u8) -> usize {
        self.of.range((database, Vec::new())..).take_while(|((index, _), _)| *index == database).count()
    }

    /// Every name gets the database that `to` says, or goes.
    pub(super) fn move_to(&mut self, to: impl Fn(u8) -> Option<u8>) {
        for ((database, key), at) in std::mem::take(self).of {
            if let Some(database) = to(database) {
                self.set((database, key), Some(at));
            }
        }
    }

    /// Hashes with fields that are due, the earliest first.
    pub(super) fn due(&self, now: UnixMillis) -> impl Iterator<Item = &Name> {
        self.order.iter().take_while(move |(at, _)| *at <= now).map(|(_, name)| name)
    }
}
