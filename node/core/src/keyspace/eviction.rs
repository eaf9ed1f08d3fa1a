//! What goes when memory is short: the policies, and the best candidates of what was sampled.
//!
//! As Redis does it, a few keys are looked at for each one that goes. The best of them are remembered in a pool, and the best of
//! the pool goes if it is still there: nearly as good as an order of all keys, which would cost memory and time at every
//! use. `allkeys-s3fifo` is ours, see `fifo`.

use super::access::{Access, Rule};
use super::entry::Entry;
use super::shard::Shard;
use super::value::ShortBytes;
use crate::ids::UnixMillis;

/// Candidates that are remembered.
const POOL_MAX: usize = 16;

/// Which keys go when memory is short.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Policy {
    NoEviction,
    AllkeysLru,
    AllkeysLfu,
    AllkeysRandom,
    AllkeysS3Fifo,
    VolatileLru,
    VolatileLfu,
    VolatileRandom,
    VolatileTtl,
}

const POLICIES: [(Policy, &str); 9] = [
    (Policy::VolatileLru, "volatile-lru"),
    (Policy::VolatileLfu, "volatile-lfu"),
    (Policy::VolatileRandom, "volatile-random"),
    (Policy::VolatileTtl, "volatile-ttl"),
    (Policy::AllkeysLru, "allkeys-lru"),
    (Policy::AllkeysLfu, "allkeys-lfu"),
    (Policy::AllkeysRandom, "allkeys-random"),
    (Policy::AllkeysS3Fifo, "allkeys-s3fifo"),
    (Policy::NoEviction, "noeviction"),
];

impl Policy {
    /// The names that there are.
    pub fn names() -> impl Iterator<Item = &'static str> {
        POLICIES.iter().map(|(_, name)| *name)
    }

    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        POLICIES.iter().find(|(_, known)| known.eq_ignore_ascii_case(name)).map(|(policy, _)| *policy)
    }

    #[must_use]
    pub fn name(self) -> &'static str {
        POLICIES.iter().find(|(policy, _)| *policy == self).map_or("", |(_, name)| *name)
    }

    /// What of a key's use has to be noted for it.
    #[must_use]
    pub fn rule(self) -> Rule {
        match self {
            Self::AllkeysLfu | Self::VolatileLfu => Rule::Counter,
            Self::AllkeysS3Fifo => Rule::Queue,
            Self::NoEviction
            | Self::AllkeysLru
            | Self::AllkeysRandom
            | Self::VolatileLru
            | Self::VolatileRandom
            | Self::VolatileTtl => Rule::Clock,
        }
    }

    /// Whether only keys with a time to live go.
    #[must_use]
    pub fn is_volatile(self) -> bool {
        matches!(self, Self::VolatileLru | Self::VolatileLfu | Self::VolatileRandom | Self::VolatileTtl)
    }

    /// How good a candidate is: the greater, the sooner it goes.
    fn score(self, entry: Entry<'_>, access: &Access, now: UnixMillis) -> u64 {
        if entry.is_expired(now) {
            return u64::MAX;
        }
        match self {
            Self::AllkeysLru | Self::VolatileLru => access.idle_seconds(entry),
            Self::AllkeysLfu | Self::VolatileLfu => 255 - u64::from(access.frequency(entry)),
            Self::VolatileTtl => u64::MAX - entry.expire_at().map_or(u64::MAX, |at| at.0),
            Self::NoEviction | Self::AllkeysRandom | Self::VolatileRandom | Self::AllkeysS3Fifo => 0,
        }
    }
}

/// A key that may go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    score: u64,
    pub shard: usize,
    pub database: u8,
    pub key: ShortBytes,
}

/// The best candidates so far, the best one last.
#[derive(Debug, Default)]
pub struct Pool {
    candidates: Vec<Candidate>,
}

impl Pool {
    /// Takes samples of a shard: a number of each database, as Redis does. Says how many of one database at the most.
    pub fn sample(
        &mut self,
        (index, shard): (usize, &Shard),
        (policy, samples): (Policy, usize),
        now: UnixMillis,
        random: &mut impl FnMut() -> u64,
    ) -> usize {
        let mut most = 0;
        for (database, keys) in shard.databases() {
            let mut left = samples.max(1);
            let offer = |entry: Entry<'_>| {
                let score = policy.score(entry, &shard.access, now);
                self.offer(score, index, database, entry.key());
                left -= 1;
                left > 0
            };
            if policy.is_volatile() {
                keys.table.each_expiring_from(random(), offer);
            } else {
                keys.table.each_from(random(), offer);
            }
            most = most.max(samples.max(1) - left);
        }
        most
    }

    fn offer(&mut self, score: u64, shard: usize, database: u8, key: &[u8]) {
        let is_full = self.candidates.len() >= POOL_MAX;
        if is_full && self.candidates[0].score >= score {
            return;
        }
        let is_it = |known: &Candidate| known.shard == shard && known.database == database && known.key.matches(key);
        if self.candidates.iter().any(is_it) {
            return;
        }
        let mut at = self.candidates.partition_point(|known| known.score < score);
        if is_full {
            self.candidates.remove(0);
            at -= 1;
        }
        self.candidates.insert(at, Candidate { score, shard, database, key: key.into() });
    }

    /// The best candidate.
    pub fn pop(&mut self) -> Option<Candidate> {
        self.candidates.pop()
    }

    /// What was sampled under another policy means nothing any more.
    pub fn clear(&mut self) {
        self.candidates.clear();
    }
}

impl Shard {
    /// Whether there is a key that may go.
    #[must_use]
    pub fn has_candidates(&self, policy: Policy) -> bool {
        if policy.is_volatile() { self.databases().any(|(_, keys)| keys.expiring() > 0) } else { !self.is_empty() }
    }

    /// The key that the queues let go, with its database: `allkeys-s3fifo`.
    pub fn dequeue(&mut self, random: u64) -> Option<(u8, ShortBytes)> {
        // A database by the weight of its keys.
        let all = self.databases().map(|(_, keys)| keys.len()).sum::<usize>() as u64;
        let mut left = ((u128::from(random) * u128::from(all)) >> 64) as usize;
        let mut chosen = 0;
        for (index, keys) in self.databases() {
            chosen = index;
            match left.checked_sub(keys.len()) {
                Some(rest) => left = rest,
                None => break,
            }
        }
        self.database_mut(chosen).dequeue().map(|key| (chosen, key))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pool_keeps_the_best_and_gives_them_out_from_the_best_on() {
        let mut pool = Pool::default();
        for score in [7u64, 3, 99, 5, 12].into_iter().chain(20..60) {
            pool.offer(score, 1, 0, score.to_string().as_bytes());
            pool.offer(score, 1, 0, score.to_string().as_bytes());
        }
        let scores: Vec<u64> = std::iter::from_fn(|| pool.pop()).map(|candidate| candidate.score).collect();
        let expected: Vec<u64> = std::iter::once(99).chain((45..60).rev()).collect();
        assert_eq!(scores, expected);
    }

    #[test]
    fn policies_are_found_by_their_names() {
        for name in Policy::names() {
            assert_eq!(Policy::from_name(&name.to_uppercase()).map(Policy::name), Some(name));
        }
        assert_eq!(Policy::from_name("allkeys"), None);
    }
}
