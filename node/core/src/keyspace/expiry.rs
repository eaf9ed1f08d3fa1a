//! The expiry index of a table: a heap of deadlines. Expiry takes place by an effect (`Delete`), never by itself, so
//! that replicas agree; this only says which keys are due.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::shard::{Database, Shard};
use super::value::ShortBytes;
use crate::ids::UnixMillis;

/// (time, table hash of the key). An item whose key has another time by now is stale and is dropped when it comes up.
#[derive(Debug, Default)]
pub(super) struct Deadlines {
    heap: BinaryHeap<Reverse<(u64, u64)>>,
}

/// Stale items allowed for each key that really has a time to live, before the heap is cleaned.
const STALE_FACTOR: usize = 4;

impl Deadlines {
    pub(super) fn push(&mut self, at: u64, hash: u64, live: usize) {
        self.heap.push(Reverse((at, hash)));
        if self.heap.len() > 64 + live * STALE_FACTOR {
            let mut items: Vec<_> = std::mem::take(&mut self.heap).into_vec();
            items.sort_unstable();
            items.dedup();
            self.heap = items.into();
        }
    }
}

impl Database {
    /// Keys that are due at `now`, `most` at the most.
    pub(super) fn due(&mut self, now: UnixMillis, most: usize) -> Vec<ShortBytes> {
        let mut due = Vec::new();
        while due.len() < most {
            match self.deadlines.heap.peek() {
                Some(Reverse((at, hash))) if *at <= now.0 => {
                    let found = self.table.find(*hash, |entry| entry.expire_at().is_some_and(|t| t.0 == *at));
                    due.extend(found.map(|entry| entry.key.clone()));
                    self.deadlines.heap.pop();
                }
                _ => break,
            }
        }
        due
    }
}

impl Shard {
    /// Whether any key is due at `now`: a look at the top of the heaps.
    #[must_use]
    pub fn has_due(&self, now: UnixMillis) -> bool {
        self.databases().any(|(_, table)| table.deadlines.heap.peek().is_some_and(|Reverse((at, _))| *at <= now.0))
    }

    /// Keys that are due at `now`, with their databases. They are to be deleted at once, under the same lock: the index
    /// forgets them.
    pub fn due(&mut self, now: UnixMillis, most: usize) -> Vec<(u8, ShortBytes)> {
        let used: Vec<u8> = self.databases().filter(|(_, d)| d.expiring() > 0).map(|(index, _)| index).collect();
        let mut due = Vec::new();
        for index in used {
            let room = most - due.len();
            due.extend(self.database_mut(index).due(now, room).into_iter().map(|key| (index, key)));
        }
        due
    }
}
