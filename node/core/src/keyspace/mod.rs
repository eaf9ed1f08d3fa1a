//! The key space: 2^k shards by a fixed hash of the key, each a partition with its own tables and expiry index.
//!
//! ```text
//! key -- xxh3, top bits --> shard (lock) -- database --> table -- seeded hash --> entry
//! ```
//!
//! The shard's hash is fixed for ever: it decides partitions in the journal, and the cursor of SCAN is a position in it.
//! The table's hash is seeded by the process, so that collisions cannot be prepared.

mod apply;
pub mod entry_image;
mod expiry;
pub mod pages;
mod scan;
mod shard;
mod table;
pub mod value;

pub use apply::Applied;
pub use shard::{Database, Entry, Place, Shard};

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
        let shards =
            (0..1u32 << bits).map(|shard| Mutex::new(Rank::Shard(shard), Shard::new(bits, seed.clone()))).collect();
        Self { shards, bits }
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

    /// Keys of a database, the expired ones included that are still there.
    #[must_use]
    pub fn count(&self, database: u8) -> usize {
        self.shards.iter().map(|shard| shard.lock().database(database).len()).sum()
    }

    /// Keys with a time to live.
    #[must_use]
    pub fn count_expiring(&self, database: u8) -> usize {
        self.shards.iter().map(|shard| shard.lock().database(database).expiring()).sum()
    }
}
