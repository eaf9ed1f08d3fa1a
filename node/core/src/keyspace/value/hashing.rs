//! Which hash goes where? A seeded one inside tables, so that nobody can prepare collisions, and a fixed one for the
//! order of a scan, so that a cursor means the same on every node and in every release.

use foldhash::SharedSeed;
use foldhash::fast::FoldHasher;
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::sync::LazyLock;

struct Seed {
    first: u64,
    shared: SharedSeed,
}

/// Drawn once a process from the keys of the standard library's hasher, which come from the operating system.
static SEED: LazyLock<Seed> = LazyLock::new(|| {
    let random = RandomState::new();
    Seed { first: random.hash_one(1u8), shared: SharedSeed::from_u64(random.hash_one(2u8)) }
});

/// The hash of a table's key. It differs from one process to the next and must not leave this one.
#[inline]
pub fn table_hash(key: &[u8]) -> u64 {
    let seed = &*SEED;
    let mut hasher = FoldHasher::with_seed(seed.first, &seed.shared);
    hasher.write(key);
    hasher.finish()
}

/// Where an element stands in the order of a scan. Clients hold cursors made of it: the function never changes.
#[inline]
pub fn scan_position(element: &[u8]) -> u64 {
    xxhash_rust::xxh3::xxh3_64(element)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scan_positions_never_change() {
        assert_eq!(scan_position(b""), 0x2d06_8005_38d3_94c2);
        assert_eq!(scan_position(b"foobar"), xxhash_rust::xxh3::xxh3_64_with_seed(b"foobar", 0));
    }

    #[test]
    fn table_hashes_tell_neighbours_apart() {
        let mut seen: Vec<u64> = (0..10_000).map(|i| table_hash(format!("key:{i}").as_bytes())).collect();
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), 10_000);
    }
}
