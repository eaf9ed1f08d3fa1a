//! maxmemory: which memory counts, and what is done when there is too much of it.
//!
//! What the allocator has given out counts, without the journal and without what is free within the tables. It is measured
//! several times a second; in between each thread adds what it has taken itself, which the allocator counts a thread at
//! no cost. So the bound holds within a batch of commands.
//!
//! A master makes room before it executes a command, some keys at a time; what is left to do then is done by a task. Replicas
//! follow, and evict nothing themselves. A command that may need memory is refused where no key may go.

pub(crate) mod task;

mod clients;

use std::cell::Cell;
use std::sync::atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering::Relaxed};

use parking_lot::{Mutex, RwLock};

use crate::clock;
use crate::config::live::Live;
use crate::engine::Engine;
use crate::freeing;
use crate::keyspace::eviction::{Policy, Pool};
use crate::memory;
use crate::sampling;

pub use self::clients::evict_clients;

/// The bound, and what it is compared with.
#[derive(Debug)]
pub struct Eviction {
    /// Bytes; the greatest number where there is no bound.
    limit: AtomicI64,
    policy: RwLock<Policy>,
    samples: AtomicUsize,
    /// Bytes that count.
    used: AtomicI64,
    /// Bytes of the key space that are free within it, as last counted.
    dead: AtomicUsize,
    /// Grows with each look at everything.
    measured: AtomicU64,
    pool: Mutex<Pool>,
    following: Mutex<()>,
    /// Keys that have gone.
    pub evicted: AtomicU64,
}

/// What came of an attempt to make room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Room {
    /// There is room, or there will be: keys are going.
    Made,
    /// No key may go.
    None,
}

impl Default for Eviction {
    fn default() -> Self {
        Self {
            limit: AtomicI64::new(i64::MAX),
            policy: RwLock::new(Policy::NoEviction),
            samples: AtomicUsize::new(5),
            used: AtomicI64::new(0),
            dead: AtomicUsize::new(0),
            measured: AtomicU64::new(0),
            pool: Mutex::default(),
            following: Mutex::default(),
            evicted: AtomicU64::new(0),
        }
    }
}

impl Eviction {
    /// Takes over what the settings say now.
    pub fn follow(&self, live: &Live, engine: &Engine) {
        // One at a time: who has read a setting before it changed would undo what another one has done since.
        let _alone = self.following.lock();
        let access = engine.keyspace.access();
        let limit = live.maxmemory.load().try_into().unwrap_or(0);
        if limit != self.limit() {
            // In this order: who finds the limit set knows that it has been measured since.
            self.measure(engine);
            self.set_limit(limit);
        }
        self.samples.store(live.maxmemory_samples.size().max(1), Relaxed);
        access.set_log_factor(live.lfu_log_factor.load().try_into().unwrap_or(u32::MAX));
        access.set_decay_minutes(live.lfu_decay_time.load().try_into().unwrap_or(u32::MAX));
        if let Some(policy) = Policy::from_name(live.policy())
            && policy != self.policy()
        {
            self.set_policy(engine, policy);
        }
    }

    /// Sets the bound in bytes; 0 = none.
    pub(crate) fn set_limit(&self, bytes: u64) {
        let limit = if bytes == 0 { i64::MAX } else { i64::try_from(bytes).unwrap_or(i64::MAX) };
        self.limit.store(limit, Relaxed);
    }

    /// The bound in bytes; 0 = none.
    #[must_use]
    pub fn limit(&self) -> u64 {
        match self.limit.load(Relaxed) {
            i64::MAX => 0,
            limit => limit as u64,
        }
    }

    #[must_use]
    pub fn policy(&self) -> Policy {
        *self.policy.read()
    }

    /// Changes the policy, and with it what is noted of the use of keys.
    pub(crate) fn set_policy(&self, engine: &Engine, policy: Policy) {
        *self.policy.write() = policy;
        self.pool.lock().clear();
        if engine.keyspace.access().rule() != policy.rule() {
            engine.keyspace.set_rule(policy.rule());
        }
    }

    /// Whether more counts than may be.
    #[inline]
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.used.load(Relaxed) > self.limit.load(Relaxed)
    }

    /// Bytes that count, as of the last look.
    #[must_use]
    pub fn used(&self) -> u64 {
        self.used.load(Relaxed).max(0) as u64
    }

    /// As if so much counted.
    #[cfg(test)]
    pub(crate) fn pretend(&self, used: i64) {
        self.used.store(used, Relaxed);
    }

    /// Adds what this thread has taken since it did so last. To be called after a batch.
    #[inline]
    pub fn note_thread(&self) {
        if self.limit.load(Relaxed) != i64::MAX {
            self.used.fetch_add(taken_by_thread(self.measured.load(Relaxed)), Relaxed);
        }
    }

    /// Looks at everything anew.
    pub fn measure(&self, engine: &Engine) {
        // A script that holds a shard is not waited for: what was dead before counts.
        let dead = engine.keyspace.dead_bytes().unwrap_or_else(|| self.dead.load(Relaxed));
        self.dead.store(dead, Relaxed);
        let not_counted = engine.journal.retained_bytes() + dead + freeing::pending_bytes();
        self.used.store(memory::allocated() as i64 - not_counted as i64, Relaxed);
        self.measured.fetch_add(1, Relaxed);
    }

    /// Lets keys go until there is room, `most` at the most, and says which. No partition may be held, and the node has to be
    /// master.
    pub fn make_room(&self, engine: &Engine, most: usize, tell: &mut dyn FnMut(&[u8])) -> Room {
        let policy = self.policy();
        if policy == Policy::NoEviction {
            return Room::None;
        }
        let (now, mut record) = (clock::unix_now(), Vec::new());
        let mut pool = std::mem::take(&mut *self.pool.lock());
        let (mut gone, mut room) = (0, Room::Made);
        while gone < most && self.is_over() {
            let what = (policy, self.samples.load(Relaxed));
            let Some(evicted) = engine.evict(&mut pool, what, now, &mut record, sampling::random, tell) else {
                room = Room::None;
                break;
            };
            gone += 1;
            let taken = taken_by_thread(self.measured.load(Relaxed));
            self.used.fetch_add(taken - evicted.bytes as i64, Relaxed);
            if freeing::pending_bytes() > 0 {
                // What this thread did not free itself.
                self.measure(engine);
            }
        }
        *self.pool.lock() = pool;
        self.evicted.fetch_add(gone as u64, Relaxed);
        // As long as keys go, commands are served. Where none is left and it is still too much, they are not, as in Redis.
        if room == Room::None && self.is_over() { Room::None } else { Room::Made }
    }
}

/// Bytes that this thread has allocated and not freed since the last call, or none if everything was measured since: that has
/// them. What it frees for others counts, too.
fn taken_by_thread(measured: u64) -> i64 {
    use tikv_jemalloc_ctl::thread::{ThreadLocal, allocatedp, deallocatedp};
    thread_local! {
        static COUNTERS: Option<(ThreadLocal<u64>, ThreadLocal<u64>)> =
            allocatedp::read().ok().zip(deallocatedp::read().ok());
        static SEEN: Cell<(u64, i64)> = const { Cell::new((0, 0)) };
    }
    COUNTERS.with(|counters| {
        let Some((allocated, freed)) = counters else { return 0 };
        let net = allocated.get().wrapping_sub(freed.get()) as i64;
        let (before, seen) = SEEN.replace((measured, net));
        if before == measured { net - seen } else { 0 }
    })
}
