//! When do the fields of a hash expire?

use std::collections::{BTreeMap, BTreeSet};

use super::short_bytes::ShortBytes;
use crate::ids::UnixMillis;

/// Bytes that a place in one of the two trees takes, about.
const PLACE_BYTES: usize = 48;

/// Fields with their deadlines, by name and in the order of time.
#[derive(Clone, Debug, Default)]
pub(super) struct Deadlines {
    of: BTreeMap<ShortBytes, UnixMillis>,
    order: BTreeSet<(UnixMillis, ShortBytes)>,
}

impl Deadlines {
    pub(super) fn is_empty(&self) -> bool {
        self.of.is_empty()
    }

    #[inline]
    pub(super) fn get(&self, field: &[u8]) -> Option<UnixMillis> {
        self.of.get(field).copied()
    }

    pub(super) fn earliest(&self) -> Option<UnixMillis> {
        self.order.first().map(|(at, _)| *at)
    }

    /// Sets a deadline, or takes it away. Says whether that changed anything.
    pub(super) fn set(&mut self, field: &[u8], at: Option<UnixMillis>) -> bool {
        let before = match at {
            Some(at) => self.of.insert(field.into(), at),
            None => self.of.remove(field),
        };
        if before == at {
            return false;
        }
        if let Some(before) = before {
            self.order.remove(&(before, field.into()));
        }
        if let Some(at) = at {
            self.order.insert((at, field.into()));
        }
        true
    }

    #[inline]
    pub(super) fn is_due(&self, field: &[u8], now: UnixMillis) -> bool {
        self.get(field).is_some_and(|at| at <= now)
    }

    /// Fields that are due, the earliest first.
    pub(super) fn due(&self, now: UnixMillis) -> impl Iterator<Item = &ShortBytes> {
        self.order.iter().take_while(move |(at, _)| *at <= now).map(|(_, field)| field)
    }

    pub(super) fn heap_bytes(&self) -> usize {
        self.of.keys().map(|field| 2 * (field.memory_usage() + PLACE_BYTES)).sum()
    }
}
