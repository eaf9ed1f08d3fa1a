//! Queues of keys in the order in which they came: S3-FIFO, the policy `allkeys-s3fifo`.
//!
//! ```text
//! new key ---> small (3 %) -- used --> main -- used --> back to its end, one use less
//!    |            '-- not used --> goes, remembered   '-- not used --> goes
//!    '-- remembered: it went a short while ago ---> main
//! ```
//!
//! A key that comes once, by a scan say, passes the small queue and is gone, whatever the main queue holds. Which keys are
//! worth keeping shows in how often they are used, not in when they were used last. (Yang et al., SOSP '23; sizes and counts
//! as they were best at a tenth of a Zipf distribution with scans in between.)
//!
//! A queue holds half of the seeded hash of each key: 4 bytes. Keys that were deleted are skipped when their turn comes; an entry
//! says itself in which queue it lies (`access`).

use std::collections::VecDeque;

use super::access::{IN_MAIN, USES_MASK};
use super::parts::Parts;
use super::value::ShortBytes;

/// Keys of a hundred in the small queue.
const SMALL_PERCENT: usize = 3;
/// Turns until a key goes whatever its use: all keys were used lately.
const TURNS_MAX: usize = 256;
/// Items that may be stale, before all of them are looked at.
const STALE_KEPT: usize = 64;
/// Fewest places for what went.
const GHOSTS_MIN: usize = 16;

type Table = Parts<foldhash::fast::RandomState>;

#[derive(Debug, Default)]
pub(super) struct Queues {
    small: VecDeque<u32>,
    main: VecDeque<u32>,
    /// What went a short while ago, each at a place that its hash decides.
    ghosts: Vec<u32>,
}

#[inline]
fn half(hash: u64) -> u32 {
    (hash >> 32) as u32
}

impl Queues {
    /// Queues of the keys that are there, in the order of the memory, as if they had been used.
    pub(super) fn of(table: &Table) -> Self {
        let mut queues = Self::default();
        for entry in table.iter() {
            entry.set_access(IN_MAIN);
            queues.main.push_back(half(table.hash(entry.key())));
        }
        queues
    }

    /// Queues a new key, which is not in the table yet: says what its entry notes.
    #[inline]
    pub(super) fn enqueue(&mut self, hash: u64, table: &Table) -> u32 {
        let access = self.enter(hash);
        if self.len() > 2 * table.len() + STALE_KEPT {
            self.drop_stale(table);
        }
        access
    }

    #[cold]
    fn drop_stale(&mut self, table: &Table) {
        // The last one is not in the table yet.
        let mut newest = [self.small.pop_back(), self.main.pop_back()];
        let is_in = |half: u32, queue: u32| {
            table.slot_of_half(half).is_some_and(|slot| table.at(slot).access() & IN_MAIN == queue)
        };
        self.small.retain(|half| is_in(*half, 0));
        self.main.retain(|half| is_in(*half, IN_MAIN));
        self.small.extend(newest[0].take());
        self.main.extend(newest[1].take());
    }

    /// Takes the key that has to go out of its queue.
    pub(super) fn dequeue(&mut self, table: &Table) -> Option<ShortBytes> {
        let mut turns = 0;
        loop {
            let small_max = (table.len() * SMALL_PERCENT / 100).max(1);
            let is_small = self.small.len() > small_max || self.main.is_empty();
            let half = if is_small { self.small.pop_front() } else { self.main.pop_front() }?;
            let Some(slot) = table.slot_of_half(half) else { continue };
            let entry = table.at(slot);
            let (in_main, uses) = (entry.access() & IN_MAIN != 0, entry.access() & USES_MASK);
            if in_main == is_small {
                // It was deleted and came again: it lies in the other queue, too.
                continue;
            }
            turns += 1;
            let goes = turns > TURNS_MAX || uses == 0;
            if goes {
                if is_small {
                    self.remember(half, table.len());
                }
                return Some(entry.key().into());
            }
            entry.set_access(IN_MAIN | if is_small { 0 } else { uses - 1 });
            self.main.push_back(half);
        }
    }
    /// A new key: says what its entry notes.
    fn enter(&mut self, hash: u64) -> u32 {
        let half = half(hash);
        let at = self.ghost_of(half);
        if let Some(ghost) = at.and_then(|at| self.ghosts.get_mut(at)).filter(|ghost| **ghost == half) {
            *ghost = 0;
            self.main.push_back(half);
            return IN_MAIN;
        }
        self.small.push_back(half);
        0
    }

    fn ghost_of(&self, half: u32) -> Option<usize> {
        (half as usize).checked_rem(self.ghosts.len())
    }

    fn remember(&mut self, half: u32, keys: usize) {
        if self.ghosts.len() < keys {
            let before = std::mem::take(&mut self.ghosts);
            self.ghosts = vec![0; keys.next_power_of_two().max(GHOSTS_MIN)];
            before.into_iter().filter(|ghost| *ghost != 0).for_each(|ghost| {
                if let Some(at) = self.ghost_of(ghost) {
                    self.ghosts[at] = ghost;
                }
            });
        }
        if let Some(at) = self.ghost_of(half) {
            self.ghosts[at] = half;
        }
    }

    fn len(&self) -> usize {
        self.small.len() + self.main.len()
    }

    pub(super) fn bytes(&self) -> usize {
        (self.small.capacity() + self.main.capacity() + self.ghosts.capacity()) * size_of::<u32>()
    }
}

#[cfg(test)]
mod tests {
    use crate::effect::{Expiry, KeyChange};
    use crate::keyspace::Keyspace;
    use crate::keyspace::access::Rule;

    fn set(keyspace: &Keyspace, key: &str) {
        let change = KeyChange::SetString { value: b"v", expiry: Expiry::Never };
        keyspace.lock(keyspace.shard_of(key.as_bytes())).apply_key(0, key.as_bytes(), &change).unwrap();
    }

    fn get(keyspace: &Keyspace, key: &str) -> bool {
        let shard = keyspace.lock(keyspace.shard_of(key.as_bytes()));
        let entry = shard.database(0).find(key.as_bytes());
        entry.inspect(|entry| keyspace.access().note(*entry)).is_some()
    }

    /// Lets one key of each shard go, in turn.
    fn evict(keyspace: &Keyspace, keys: usize) {
        for number in 0..keys {
            let mut shard = keyspace.lock(number % keyspace.len());
            let (database, key) = shard.dequeue(rand::random()).expect("a shard of many keys");
            shard.apply_key(database, &key, &KeyChange::Delete).unwrap();
        }
    }

    #[test]
    fn keys_that_are_used_outlive_a_scan_of_others() {
        let keyspace = Keyspace::new(1);
        keyspace.set_rule(Rule::Queue);
        (0..500).for_each(|number| set(&keyspace, &format!("kept:{number}")));
        (0..3).for_each(|_| (0..500).for_each(|number| assert!(get(&keyspace, &format!("kept:{number}")))));
        for number in 0..5_000 {
            let key = format!("scanned:{number}");
            set(&keyspace, &key);
            let mut shard = keyspace.lock(keyspace.shard_of(key.as_bytes()));
            let (database, key) = shard.dequeue(0).expect("a shard of many keys");
            shard.apply_key(database, &key, &KeyChange::Delete).unwrap();
        }
        let kept = (0..500).filter(|number| get(&keyspace, &format!("kept:{number}"))).count();
        assert!(kept > 470, "{kept} of 500");
        assert_eq!(keyspace.count(0), 500);
    }

    #[test]
    fn a_key_that_comes_again_soon_is_kept() {
        let keyspace = Keyspace::new(1);
        keyspace.set_rule(Rule::Queue);
        (0..200).for_each(|number| set(&keyspace, &format!("first:{number}")));
        evict(&keyspace, 100);
        let gone: Vec<_> = (0..200).map(|n| format!("first:{n}")).filter(|key| !get(&keyspace, key)).collect();
        assert_eq!(gone.len(), 100);
        gone.iter().for_each(|key| set(&keyspace, key));
        let noted = |key: &String| {
            let shard = keyspace.lock(keyspace.shard_of(key.as_bytes()));
            shard.database(0).find(key.as_bytes()).unwrap().access()
        };
        let remembered = gone.iter().filter(|key| noted(key) == super::IN_MAIN).count();
        assert!(remembered > 60, "{remembered} of 100");
    }

    #[test]
    fn queues_do_not_grow_with_keys_that_come_and_go() {
        let keyspace = Keyspace::new(1);
        keyspace.set_rule(Rule::Queue);
        for number in 0..10_000 {
            let key = format!("key:{}", number % 50);
            set(&keyspace, &key);
            keyspace.lock(keyspace.shard_of(key.as_bytes())).apply_key(0, key.as_bytes(), &KeyChange::Delete).unwrap();
        }
        let bytes: usize = (0..2).map(|shard| keyspace.lock(shard).database(0).queues.as_ref().unwrap().bytes()).sum();
        assert!(bytes < 4_000, "{bytes} bytes");
    }

    #[test]
    fn the_rule_may_change_while_keys_are_there() {
        let keyspace = Keyspace::new(1);
        (0..100).for_each(|number| set(&keyspace, &number.to_string()));
        keyspace.set_rule(Rule::Queue);
        evict(&keyspace, 60);
        keyspace.set_rule(Rule::Clock);
        keyspace.set_rule(Rule::Queue);
        evict(&keyspace, 30);
        assert_eq!(keyspace.count(0), 10);
    }
}
