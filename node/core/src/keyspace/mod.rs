//! The key space: 2^k shards by a fixed hash of the key, each a partition with its own tables and expiry index.
//!
//! ```text
//! key -- xxh3, top bits --> shard (lock) -- database --> table -- seeded hash --> entry
//! ```
//!
//! The shard's hash is fixed for ever: it decides partitions in the journal, and the cursor of SCAN is a position in it.
//! The table's hash is seeded by the process, so that collisions cannot be prepared.

pub mod access;
mod apply;
mod arena;
mod bucket;
mod carry;
mod collection;
mod database;
mod entry;
pub mod entry_image;
pub mod eviction;
mod expiry;
mod fifo;
mod interest;
mod layout;
pub mod listpack;
mod load;
pub mod pages;
mod parts;
mod payload;
pub mod rdb;
mod scan;
mod shard;
mod snapshot;
mod table;
pub mod thresholds;
mod timed;
mod tracking;
pub mod value;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use access::Access;
pub use apply::Applied;
pub use carry::Carried;
pub use database::{Database, Place};
pub use entry::Entry;
pub use interest::{Name, Ticket, Wants, Watch};
pub use shard::Shard;
pub use snapshot::{SnapshotId, Step};

use crate::limits;
use crate::lock::{Mutex, MutexGuard, Rank};

/// The operation does not fit the type of the value that is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("WRONGTYPE Operation against a key holding the wrong kind of value")]
pub struct WrongType;

/// Shards that somebody holds.
pub trait Held {
    /// The shard of this number, if it is among them.
    fn held(&self, shard: usize) -> Option<&Shard>;
}

/// Position of a key in the fixed hash. The top bits are its shard.
#[inline]
#[must_use]
pub fn position(key: &[u8]) -> u64 {
    xxhash_rust::xxh3::xxh3_64(key)
}

/// All shards of a node.
#[derive(Debug)]
pub struct Keyspace {
    shards: Box<[Mutex<Shard>]>,
    bits: u32,
    access: Arc<Access>,
    thresholds: thresholds::Thresholds,
    /// By database, as last counted by `seen_keys`.
    seen: Box<[Seen]>,
}

/// Keys of a database, as last counted.
#[derive(Debug, Default)]
struct Seen {
    keys: AtomicUsize,
    expiring: AtomicUsize,
}

impl Default for Keyspace {
    fn default() -> Self {
        Self::new(limits::SHARD_BITS)
    }
}

impl Keyspace {
    #[must_use]
    pub fn new(bits: u32) -> Self {
        assert!((1..=16).contains(&bits), "a shard's number fits in 16 bits");
        let seed = foldhash::fast::RandomState::default();
        let access = Arc::<Access>::default();
        let new = |access: &Arc<Access>| Shard::new(bits, seed.clone(), Arc::clone(access));
        let shards = (0..1u32 << bits).map(|shard| Mutex::new(Rank::Shard(shard), new(&access))).collect();
        let seen = (0..=u8::MAX).map(|_| Seen::default()).collect();
        Self { shards, bits, access, thresholds: thresholds::Thresholds::default(), seen }
    }

    /// Changes what of the use of keys is noted, one shard after the other.
    pub fn set_rule(&self, rule: access::Rule) {
        self.access.set_rule(rule);
        self.shards.iter().for_each(|shard| shard.lock().set_queued(rule == access::Rule::Queue));
    }

    /// Bytes of the tables that are free within them. `None`: somebody holds a shard, which is not waited for.
    #[must_use]
    pub fn dead_bytes(&self) -> Option<usize> {
        self.shards
            .iter()
            .map(|shard| Some(shard.try_lock()?.databases().map(|(_, keys)| keys.bytes().1).sum::<usize>()))
            .sum()
    }

    /// How the use of keys is noted.
    #[inline]
    #[must_use]
    pub fn access(&self) -> &Access {
        &self.access
    }

    /// The sizes at which values change their form.
    #[inline]
    #[must_use]
    pub fn thresholds(&self) -> &thresholds::Thresholds {
        &self.thresholds
    }

    #[must_use]
    pub fn bits(&self) -> u32 {
        self.bits
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.shards.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.shards.iter().all(|shard| shard.lock().is_empty())
    }

    #[inline]
    #[must_use]
    pub fn shard_of(&self, key: &[u8]) -> usize {
        self.shard_at(position(key))
    }

    #[inline]
    #[must_use]
    pub fn shard_at(&self, position: u64) -> usize {
        (position >> (64 - self.bits)) as usize
    }

    #[inline]
    pub fn lock(&self, shard: usize) -> MutexGuard<'_, Shard> {
        self.shards[shard].lock()
    }

    /// Whether somebody holds a shard for longer than this.
    #[must_use]
    pub fn is_held_for(&self, shard: usize, most: Duration) -> bool {
        self.shards.get(shard).is_some_and(|shard| shard.is_held_for(most))
    }

    /// `None`: somebody else holds the shard. It waits for nobody.
    #[inline]
    pub fn try_lock(&self, shard: usize) -> Option<MutexGuard<'_, Shard>> {
        self.shards.get(shard)?.try_lock()
    }

    /// Keys of a database, the expired ones included that are still there.
    #[must_use]
    pub fn count(&self, database: u8) -> usize {
        self.shards.iter().map(|shard| shard.lock().database(database).len()).sum()
    }

    /// Keys of a database, and those of them with a time to live, for who only shows it: nobody is waited for. While a script
    /// holds a shard it is what was so before.
    #[must_use]
    pub fn seen_keys(&self, database: u8) -> (usize, usize) {
        let seen = &self.seen[usize::from(database)];
        let mut sum = (0, 0);
        for shard in &self.shards {
            let Some(shard) = shard.try_lock() else {
                return (seen.keys.load(Ordering::Relaxed), seen.expiring.load(Ordering::Relaxed));
            };
            let keys = shard.database(database);
            sum = (sum.0 + keys.len(), sum.1 + keys.expiring());
        }
        seen.keys.store(sum.0, Ordering::Relaxed);
        seen.expiring.store(sum.1, Ordering::Relaxed);
        sum
    }
}
