//! Keys that a transaction has made ready for those who wait for them.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

use crate::keyspace::{Name, Shard, Ticket};

/// Where serving the waiters of a key begins: behind this one, or with the first.
pub(super) type After = Option<Arc<Ticket>>;

/// Keys of a transaction that somebody waits for.
#[derive(Debug, Default)]
pub(super) struct ReadyKeys {
    pub(super) keys: VecDeque<(usize, Name, After)>,
    /// Those of them whose waiters are served from the first.
    known: HashSet<Name>,
    /// Numbers of those who were served.
    pub(super) served: Vec<u64>,
    /// What is changed makes nothing ready.
    pub(super) is_quiet: bool,
    /// Attempts to serve somebody.
    pub(super) attempts: usize,
}

impl ReadyKeys {
    /// A key has changed.
    #[cold]
    pub(super) fn push(&mut self, index: usize, shard: &Shard, name: Name) {
        if !self.is_quiet && shard.is_awaited(&name) && self.known.insert(name.clone()) {
            self.keys.push_back((index, name, None));
        }
    }

    #[inline]
    pub(super) fn is_any(&self) -> bool {
        !self.keys.is_empty()
    }

    pub(super) fn pop(&mut self) -> Option<(usize, Name, After)> {
        let next = self.keys.pop_front()?;
        if next.2.is_none() {
            self.known.remove(&next.1);
        }
        Some(next)
    }

    /// Forgets the keys that were pushed since there were so many.
    pub(super) fn truncate(&mut self, count: usize) {
        for (_, name, _) in self.keys.drain(count..) {
            self.known.remove(&name);
        }
    }
}
