//! Random choices of which each has the same probability.

use rand::RngCore;

/// Probes of random buckets before a random pick counts instead. An eighth of the buckets is full, so 1000 misses
/// in a row happen in 10^-58 of the cases, or with a random source that repeats itself.
pub(super) const PROBES_MAX: usize = 1000;

/// A number below `limit`, which is not zero. The bias is below limit / 2^64.
#[inline]
pub(super) fn below(rng: &mut impl RngCore, limit: usize) -> usize {
    ((u128::from(rng.next_u64()) * limit as u128) >> 64) as usize
}
