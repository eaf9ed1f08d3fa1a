//! Clients that wait for a key: who serves them, and when.
//!
//! A waiter is served within the transaction that made its key ready, before the transaction ends, in the order of
//! arrival. What it does then is in the same record. It may need more shards than the transaction does, so those are
//! locked before anything is executed (`Locked::widened`).
//!
//! **Invariant:** the work of one transaction for those who wait is bounded. Each waiter is served once; one that was not
//! served makes nothing ready, nor does one that has only read; and after `SERVED_A_TRANSACTION` attempts the rest is put
//! off.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::ready::After;
use super::{Engine, Locked, Transaction};
use crate::ids::{Offset, UnixMillis};
use crate::keyspace::{Name, Ticket};
use crate::limits;
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
    /// Keys whose waiters are to be served from here on, by another transaction.
    later: Mutex<BTreeMap<Name, After>>,
    has_later: AtomicBool,
}

impl Default for Waiting {
    fn default() -> Self {
        Self {
            last: AtomicU64::new(0),
            waiters: Mutex::new(Rank::Leaf, HashMap::new()),
            later: Mutex::new(Rank::Leaf, BTreeMap::new()),
            has_later: AtomicBool::new(false),
        }
    }
}

impl Waiting {
    /// A number for a new waiter.
    pub fn next_id(&self) -> u64 {
        self.last.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Waiters of keys that are served later, each from a place on.
    fn put_off(&self, ready: impl Iterator<Item = (Name, After)>) {
        let mut later = self.later.lock();
        for (name, after) in ready {
            let place = later.entry(name).or_insert_with(|| after.clone());
            // Those who came first are not left out.
            let is_earlier = match (&after, &*place) {
                (Some(after), Some(place)) => (after.wants, after.id) < (place.wants, place.id),
                (None, _) => true,
                (Some(_), None) => false,
            };
            if is_earlier {
                *place = after;
            }
        }
        self.has_later.store(true, Ordering::Release);
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

    /// A client does not wait any more. No shard is held by the caller. False: a shard is held by somebody who is not waited
    /// for here, so `leave` is to be called where waiting stops nobody.
    #[must_use]
    pub fn try_leave(&self, ticket: &Ticket) -> bool {
        self.waiting.waiters.lock().remove(&ticket.id);
        let leave = |key: &[u8]| match self.keyspace.try_lock(self.keyspace.shard_of(key)) {
            Some(mut shard) => {
                shard.leave(key, ticket);
                true
            }
            None => false,
        };
        // Each of them.
        ticket.keys.iter().filter(|key| !leave(key)).count() == 0
    }

    /// As `try_leave`, and waits for who holds a shard.
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

impl Transaction<'_> {
    /// Changes that give nothing to anybody who waits: what a consumer has read.
    pub fn quietly<T>(&mut self, change: impl FnOnce(&mut Self) -> T) -> T {
        let before = std::mem::replace(&mut self.ready.is_quiet, true);
        let result = change(self);
        self.ready.is_quiet = before;
        result
    }

    /// Serves who waits for the keys that have become ready. Each is served once, and what it does may make other keys ready:
    /// so it ends, and after some attempts the rest is for another transaction (`Engine::serve_later`).
    #[cold]
    pub(super) fn serve_waiters(&mut self) {
        let selected = self.database();
        let bytes = self.record_bytes();
        while let Some((index, name, mut after)) = self.ready.pop() {
            while let Some(shard) = self.locked.shard(index)
                && let Some(ticket) = shard.next_waiter(&name, after.as_deref()).cloned()
            {
                if self.ready.attempts >= limits::SERVED_A_TRANSACTION
                    || self.record_bytes() - bytes > limits::SERVED_BYTES_A_TRANSACTION
                {
                    self.ready.keys.push_front((index, name, after));
                    self.put_off();
                    return self.select(selected);
                }
                self.ready.attempts += 1;
                after = Some(Arc::clone(&ticket));
                if let Some(waiter) = self.engine.waiting.get(ticket.id) {
                    self.select(name.0);
                    self.serve(waiter, &ticket);
                }
            }
        }
        self.select(selected);
    }

    fn serve(&mut self, waiter: Arc<dyn Waiter>, ticket: &Arc<Ticket>) {
        let known = self.ready.keys.len();
        if waiter.serve(self) == Served::Waits {
            // What it noted on the way makes nothing ready.
            self.ready.truncate(known);
            return;
        }
        self.ready.served.push(ticket.id);
        for key in &ticket.keys {
            let shard = self.engine.keyspace.shard_of(key);
            if let Some(shard) = self.locked.shard_mut(shard) {
                shard.leave(key, ticket);
            }
        }
    }

    /// The waiters of the keys that are still ready are served later.
    fn put_off(&mut self) {
        self.engine.waiting.put_off(self.ready.keys.drain(..).map(|(_, name, after)| (name, after)));
    }

    /// Tells those who were served on which record their replies depend.
    #[cold]
    pub(super) fn tell_served(engine: &Engine, served: &[u64], offset: Offset) {
        served.iter().filter_map(|id| engine.waiting.get(*id)).for_each(|waiter| waiter.is_served(offset));
    }

    #[inline]
    pub(super) fn take_served(&mut self) -> Vec<u64> {
        std::mem::take(&mut self.ready.served)
    }

    /// Lets a client wait for keys in which this transaction has found nothing for it.
    pub fn wait(&mut self, ticket: &Arc<Ticket>, waiter: Arc<dyn Waiter>) {
        self.engine.wait(&mut self.locked, ticket, waiter);
    }
}

impl Engine {
    /// Serves some of those for whom a transaction had no time left. False: there are no more.
    pub fn serve_later(&self, now: UnixMillis, record: &mut Vec<u8>) -> bool {
        if !self.waiting.has_later.load(Ordering::Acquire) {
            return false;
        }
        let (name, after) = {
            let mut later = self.waiting.later.lock();
            let next = later.pop_first();
            self.waiting.has_later.store(!later.is_empty(), Ordering::Release);
            let Some(next) = next else { return false };
            next
        };
        let shard = self.keyspace.shard_of(&name.1);
        // What is held for long is for the next time.
        let Some(held) = self.keyspace.try_lock(shard) else {
            self.waiting.put_off(std::iter::once((name, after)));
            return false;
        };
        let locked = Locked::One(shard, held);
        let mut transaction = Transaction::new(self, locked, record, name.0, now);
        transaction.ready.keys.push_back((shard, name, after));
        transaction.finish();
        true
    }
}

#[cfg(test)]
mod tests;
