//! Clients that wait for a key: who serves them, and when.
//!
//! A waiter is served within the transaction that made its key ready, before the transaction ends, in the order of
//! arrival. What it does then is in the same record. It may need more shards than the transaction does, so those are
//! locked before anything is executed (`widen`).

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use smallvec::SmallVec;

use super::{Engine, Locked, Transaction};
use crate::ids::Offset;
use crate::keyspace::{Keyspace, Ticket};
use crate::lock::{Mutex, Rank};

/// What came of an attempt to serve a waiter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Served {
    /// It has its answer.
    Done,
    /// There was nothing for it.
    Waits,
}

/// A client that waits for a key.
pub trait Waiter: Send + Sync + std::fmt::Debug {
    /// Tries to do what the client waits for. Its keys' shards are held.
    fn serve(&self, transaction: &mut Transaction<'_>) -> Served;

    /// What it was served depends on this record.
    fn is_served(&self, offset: Offset);

    /// On a replica, where nothing is executed within a record: look again.
    fn wake(&self);
}

/// All clients that wait.
#[derive(Debug)]
pub struct Waiting {
    last: AtomicU64,
    waiters: Mutex<HashMap<u64, Arc<dyn Waiter>>>,
}

impl Default for Waiting {
    fn default() -> Self {
        Self { last: AtomicU64::new(0), waiters: Mutex::new(Rank::Leaf, HashMap::new()) }
    }
}

impl Waiting {
    /// A number for a new waiter.
    pub fn next_id(&self) -> u64 {
        self.last.fetch_add(1, Ordering::Relaxed) + 1
    }

    #[must_use]
    pub fn count(&self) -> usize {
        self.waiters.lock().len()
    }

    pub(super) fn get(&self, id: u64) -> Option<Arc<dyn Waiter>> {
        self.waiters.lock().get(&id).cloned()
    }
}

impl Engine {
    /// Lets a client wait. The shards of its keys are held, and have been since it found nothing in them.
    pub fn wait(&self, locked: &mut Locked<'_>, ticket: &Arc<Ticket>, waiter: Arc<dyn Waiter>) {
        self.waiting.waiters.lock().insert(ticket.id, waiter);
        for key in &ticket.keys {
            if let Some(shard) = locked.shard_mut(self.keyspace.shard_of(key)) {
                shard.wait(key, ticket);
            }
        }
    }

    /// A client does not wait any more. No shard is held by the caller.
    pub fn leave(&self, ticket: &Ticket) {
        self.waiting.waiters.lock().remove(&ticket.id);
        for key in &ticket.keys {
            self.keyspace.lock(self.keyspace.shard_of(key)).leave(key, ticket);
        }
    }

    /// Wakes who waits for a key that a record has changed.
    pub(super) fn wake(&self, tickets: &[Arc<Ticket>]) {
        for ticket in tickets {
            if let Some(waiter) = self.waiting.get(ticket.id) {
                waiter.wake();
            }
        }
    }
}

/// Attempts to lock the shards of all who wait, as their number grows meanwhile, before the whole key space is locked.
const WIDENINGS: usize = 4;

/// Adds the shards that serving the waiters of the shards that are held may need.
#[cold]
pub(super) fn widen<'e>(keyspace: &'e Keyspace, mut locked: Locked<'e>) -> Locked<'e> {
    for _ in 0..WIDENINGS {
        let mut shards: SmallVec<[usize; 16]> = SmallVec::new();
        locked.each(|index, shard| {
            shards.push(index);
            let keys = shard.all_waiters().flat_map(|ticket| ticket.keys.iter().chain(&ticket.needs));
            shards.extend(keys.map(|key| keyspace.shard_of(key)));
        });
        shards.sort_unstable();
        shards.dedup();
        if shards.iter().all(|shard| locked.shard(*shard).is_some()) {
            return locked;
        }
        drop(locked);
        locked = Locked::Some(shards.into_iter().map(|shard| (shard, keyspace.lock(shard))).collect());
    }
    drop(locked);
    Locked::all(keyspace)
}

/// Keys of a transaction that somebody waits for.
#[derive(Debug, Default)]
pub(super) struct ReadyKeys {
    keys: VecDeque<(usize, u8, Vec<u8>)>,
    served: Vec<Arc<dyn Waiter>>,
}

impl ReadyKeys {
    pub(super) fn push(&mut self, shard: usize, database: u8, key: &[u8]) {
        let is_known = self.keys.iter().any(|(_, other, name)| *other == database && name == key);
        if !is_known {
            self.keys.push_back((shard, database, key.to_vec()));
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }
}

impl Transaction<'_> {
    /// Serves who waits for the keys that have become ready.
    #[cold]
    pub(super) fn serve_waiters(&mut self) {
        let selected = self.database();
        while let Some((index, database, key)) = self.ready.keys.pop_front() {
            let Some(shard) = self.locked.shard(index) else { continue };
            for ticket in shard.waiters(database, &key) {
                let value = self.locked.shard(index).and_then(|shard| shard.database(database).find(&key));
                if !ticket.wants.fits(value.map(|entry| entry.value())) {
                    continue;
                }
                let Some(waiter) = self.engine.waiting.get(ticket.id) else { continue };
                self.select(database);
                let known = self.ready.keys.len();
                if waiter.serve(self) == Served::Waits {
                    // What it noted on the way (XREADGROUP: that the consumer has asked) makes nothing ready.
                    self.ready.keys.truncate(known);
                } else {
                    self.ready.served.push(waiter);
                    for key in &ticket.keys {
                        let shard = self.engine.keyspace.shard_of(key);
                        if let Some(shard) = self.locked.shard_mut(shard) {
                            shard.leave(key, &ticket);
                        }
                    }
                }
            }
        }
        self.select(selected);
    }

    /// Tells those who were served on which record their replies depend.
    #[cold]
    pub(super) fn tell_served(served: Vec<Arc<dyn Waiter>>, offset: Offset) {
        served.iter().for_each(|waiter| waiter.is_served(offset));
    }

    #[inline]
    pub(super) fn take_served(&mut self) -> Vec<Arc<dyn Waiter>> {
        std::mem::take(&mut self.ready.served)
    }
}
