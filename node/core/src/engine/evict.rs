//! Eviction: one key goes, by effect, so that replicas let the same one go.

use super::{Engine, Locked, Transaction};
use crate::effect::{KeyChange, class};
use crate::ids::{Offset, UnixMillis};
use crate::keyspace::Shard;
use crate::keyspace::eviction::{Policy, Pool};
use crate::lock::MutexGuard;

/// Shards that are sampled for one key: a candidate of the pool is gone only if somebody else was faster.
const ROUNDS_MAX: usize = 8;

/// Shards of which the one with the most keys lets a key go, where each has queues of its own: so that all keep as many.
const FULLEST_OF: usize = 3;

/// A key has gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Evicted {
    /// The record of it.
    pub offset: Offset,
    /// Bytes of its table that are free now.
    pub bytes: usize,
}

impl Engine {
    /// Deletes the key that the policy chooses, and says which, when its shard is free again. Nothing: there is none that may
    /// go. No shard may be held.
    pub fn evict(
        &self,
        pool: &mut Pool,
        (policy, samples): (Policy, usize),
        now: UnixMillis,
        record: &mut Vec<u8>,
        mut random: impl FnMut() -> u64,
        gone: &mut dyn FnMut(&[u8]),
    ) -> Option<Evicted> {
        match policy {
            Policy::NoEviction => return None,
            Policy::AllkeysS3Fifo => {
                let (index, mut shard) = self.fullest_of(FULLEST_OF, &mut random)?;
                let (database, key) = shard.dequeue(random())?;
                return Some(self.let_go((index, shard), (database, &key), now, record, gone));
            }
            Policy::AllkeysRandom | Policy::VolatileRandom => pool.clear(),
            _ => {}
        }
        let samples = if matches!(policy, Policy::AllkeysRandom | Policy::VolatileRandom) { 1 } else { samples };
        for _ in 0..ROUNDS_MAX {
            // Where shards have few keys, several of them are asked.
            let mut left = samples;
            while left > 0 {
                let (index, shard) = self.shard_with(random(), |shard| shard.has_candidates(policy))?;
                let seen = pool.sample((index, &shard), (policy, left), now, &mut random);
                left = left.saturating_sub(seen.max(1));
            }
            while let Some(candidate) = pool.pop() {
                // Whoever holds a shard is not waited for, here and below: this is done before a client's command.
                let Some(shard) = self.keyspace.try_lock(candidate.shard) else { continue };
                let entry = shard.database(candidate.database).find(&candidate.key);
                if entry.is_some_and(|entry| !policy.is_volatile() || entry.expire_at().is_some()) {
                    let what = (candidate.database, &candidate.key[..]);
                    return Some(self.let_go((candidate.shard, shard), what, now, record, gone));
                }
            }
        }
        None
    }

    /// The shard with the most keys of some random ones, held. Shards that differ in size would keep keys that are worth less than
    /// those which others let go.
    fn fullest_of(&self, count: usize, random: &mut impl FnMut() -> u64) -> Option<(usize, MutexGuard<'_, Shard>)> {
        let draws = (0..count).map(|_| random());
        let keys = |draw: u64| {
            let shard = self.keyspace.try_lock(draw as usize % self.keyspace.len());
            shard.map_or(0, |shard| shard.databases().map(|(_, keys)| keys.len()).sum::<usize>())
        };
        let fullest = draws.max_by_key(|draw| keys(*draw))?;
        self.shard_with(fullest, |shard| !shard.is_empty())
    }

    /// The first shard from a random one on that is wanted, held.
    fn shard_with(&self, random: u64, wanted: impl Fn(&Shard) -> bool) -> Option<(usize, MutexGuard<'_, Shard>)> {
        let count = self.keyspace.len();
        let first = random as usize % count;
        (first..count).chain(0..first).find_map(|index| {
            let shard = self.keyspace.try_lock(index)?;
            wanted(&shard).then_some((index, shard))
        })
    }

    fn let_go(
        &self,
        (index, shard): (usize, MutexGuard<'_, Shard>),
        (database, key): (u8, &[u8]),
        now: UnixMillis,
        record: &mut Vec<u8>,
        gone: &mut dyn FnMut(&[u8]),
    ) -> Evicted {
        let bytes = shard.database(database).find(key).map_or(0, |entry| entry.bytes());
        let mut transaction = Transaction::new(self, Locked::One(index, shard), record, database, now);
        // Deleting cannot meet a wrong type.
        _ = transaction.apply_as(key, class::EVICTED, "evicted", &KeyChange::Delete);
        let offset = transaction.finish();
        gone(key);
        Evicted { offset, bytes }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::effect::Expiry;

    const NOW: UnixMillis = UnixMillis(1_700_000_000_000);

    fn engine(policy: Policy) -> Engine {
        let engine = Engine::default();
        engine.keyspace.access().tick(NOW);
        engine.keyspace.set_rule(policy.rule());
        engine
    }

    fn set(engine: &Engine, key: &str, expiry: Expiry) {
        let change = KeyChange::SetString { value: b"v", expiry };
        let mut record = Vec::new();
        let locked = Locked::keys(&engine.keyspace, std::iter::once(key.as_bytes()));
        let mut transaction = Transaction::new(engine, locked, &mut record, 0, NOW);
        transaction.apply(key.as_bytes(), &change).unwrap();
        transaction.finish();
    }

    fn has(engine: &Engine, key: &str) -> bool {
        engine.keyspace.lock(engine.keyspace.shard_of(key.as_bytes())).database(0).find(key.as_bytes()).is_some()
    }

    fn use_key(engine: &Engine, key: &str) {
        let shard = engine.keyspace.lock(engine.keyspace.shard_of(key.as_bytes()));
        engine.keyspace.access().note(shard.database(0).find(key.as_bytes()).unwrap());
    }

    fn evict(engine: &Engine, policy: Policy, keys: usize) -> usize {
        let (mut pool, mut record) = (Pool::default(), Vec::new());
        let mut told = 0;
        let mut gone = |key: &[u8]| {
            assert!(engine.keyspace.try_lock(engine.keyspace.shard_of(key)).is_some(), "its shard is free again");
            told += 1;
        };
        let evicted =
            (0..keys).map_while(|_| engine.evict(&mut pool, (policy, 10), NOW, &mut record, rand::random, &mut gone));
        let evicted = evicted.count();
        assert_eq!(told, evicted);
        evicted
    }

    #[test]
    fn lru_keeps_what_was_used_last() {
        let engine = engine(Policy::AllkeysLru);
        (0..4_000).for_each(|number| set(&engine, &number.to_string(), Expiry::Never));
        engine.keyspace.access().tick(UnixMillis(NOW.0 + 60_000));
        (0..1_000).for_each(|number| use_key(&engine, &number.to_string()));
        assert_eq!(evict(&engine, Policy::AllkeysLru, 2_000), 2_000);
        let kept = (0..1_000).filter(|number| has(&engine, &number.to_string())).count();
        assert!(kept > 960, "{kept} of 1000");
        assert_eq!(engine.keyspace.count(0), 2_000);
    }

    #[test]
    fn lfu_keeps_what_was_used_often() {
        let engine = engine(Policy::AllkeysLfu);
        (0..4_000).for_each(|number| set(&engine, &number.to_string(), Expiry::Never));
        (0..1_000).for_each(|number| (0..30).for_each(|_| use_key(&engine, &number.to_string())));
        assert_eq!(evict(&engine, Policy::AllkeysLfu, 2_000), 2_000);
        let kept = (0..1_000).filter(|number| has(&engine, &number.to_string())).count();
        assert!(kept > 960, "{kept} of 1000");
    }

    #[test]
    fn ttl_takes_what_would_go_first_and_nothing_that_stays() {
        let engine = engine(Policy::VolatileTtl);
        (0..500).for_each(|number| set(&engine, &format!("stays:{number}"), Expiry::Never));
        for number in 0..1_000u64 {
            set(&engine, &number.to_string(), Expiry::At(UnixMillis(NOW.0 + 10_000 + number * 1_000)));
        }
        assert_eq!(evict(&engine, Policy::VolatileTtl, 500), 500);
        let late = (700..1_000).filter(|number| has(&engine, &number.to_string())).count();
        assert!(late > 250, "{late} of 300");
        assert_eq!(evict(&engine, Policy::VolatileTtl, 1_000), 500, "then there is none any more");
        assert!((0..500).all(|number| has(&engine, &format!("stays:{number}"))));
    }

    #[test]
    fn every_policy_takes_all_that_it_may_and_then_says_so() {
        for policy in Policy::names().filter_map(Policy::from_name) {
            let engine = engine(policy);
            (0..50).for_each(|number| set(&engine, &format!("stays:{number}"), Expiry::Never));
            (0..50).for_each(|number| set(&engine, &number.to_string(), Expiry::At(UnixMillis(NOW.0 + 10_000))));
            let expected = match policy {
                Policy::NoEviction => 0,
                policy if policy.is_volatile() => 50,
                _ => 100,
            };
            assert_eq!(evict(&engine, policy, 200), expected, "{}", policy.name());
            assert_eq!(engine.keyspace.count(0), 100 - expected);
        }
    }

    #[test]
    fn what_was_evicted_is_gone_on_a_replica_too() {
        let (master, replica) = (engine(Policy::AllkeysRandom), engine(Policy::NoEviction));
        master.journal.retain();
        (0..300).for_each(|number| set(&master, &number.to_string(), Expiry::Never));
        evict(&master, Policy::AllkeysRandom, 100);
        let mut applied = Offset::ZERO;
        while let crate::journal::Next::Block(block) = master.journal.read(applied) {
            for (offset, record) in block.iter() {
                replica.apply_record(offset, record, |_| true).unwrap();
                applied = offset;
            }
        }
        assert_eq!(applied, master.journal.end());
        for number in 0..300 {
            assert_eq!(has(&master, &number.to_string()), has(&replica, &number.to_string()), "key {number}");
        }
    }
}
