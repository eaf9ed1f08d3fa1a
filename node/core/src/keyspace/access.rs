//! How the use of a key is noted: in 24 bits of its entry, for eviction and for OBJECT IDLETIME and FREQ.
//!
//! ```text
//! clock    seconds (24)                                   when it was used last; as Redis's LRU clock
//! counter  minutes (16) | logarithm of the uses (8)       as Redis's LFU counter
//! queue    in the main queue (1) | uses, up to 7 (3)      see `fifo`
//! ```
//!
//! The bits are no part of the replicated state: each node notes what it serves. There is no clock here; whoever runs the
//! node tells the time (`tick`).

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use super::entry::Entry;
use crate::ids::UnixMillis;
use crate::sampling;

/// Which of the three is noted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    Clock,
    Counter,
    Queue,
}

const CLOCK_MASK: u32 = 0xff_ffff;
/// Not a clock: the stamp of the other rules.
const NO_CLOCK: u32 = u32::MAX;
/// What the counter of a new key says, so that it is not evicted before anybody could use it.
const COUNTER_FIRST: u32 = 5;
/// Uses that the rule of queues counts.
const USES_MAX: u32 = 7;
/// An entry lies in the main queue.
pub(super) const IN_MAIN: u32 = 8;
pub(super) const USES_MASK: u32 = 7;

/// The rule, and what it needs.
#[derive(Debug)]
pub struct Access {
    /// The clock in seconds where that is what is noted.
    stamp: AtomicU32,
    rule: AtomicU32,
    seconds: AtomicU32,
    /// `lfu-log-factor` and `lfu-decay-time`.
    log_factor: AtomicU32,
    decay_minutes: AtomicU32,
}

impl Default for Access {
    fn default() -> Self {
        Self {
            stamp: AtomicU32::new(0),
            rule: AtomicU32::new(Rule::Clock as u32),
            seconds: AtomicU32::new(0),
            log_factor: AtomicU32::new(10),
            decay_minutes: AtomicU32::new(1),
        }
    }
}

impl Access {
    /// Tells the time. To be called several times a second.
    pub fn tick(&self, now: UnixMillis) {
        let seconds = (now.0 / 1000) as u32;
        self.seconds.store(seconds, Relaxed);
        self.stamp.store(if self.rule() == Rule::Clock { seconds & CLOCK_MASK } else { NO_CLOCK }, Relaxed);
    }

    #[must_use]
    pub fn rule(&self) -> Rule {
        match self.rule.load(Relaxed) {
            0 => Rule::Clock,
            1 => Rule::Counter,
            _ => Rule::Queue,
        }
    }

    /// Changes the rule. What entries have noted under another one means something else from now on, and mends with use.
    pub fn set_rule(&self, rule: Rule) {
        self.rule.store(rule as u32, Relaxed);
        let seconds = self.seconds.load(Relaxed);
        self.stamp.store(if rule == Rule::Clock { seconds & CLOCK_MASK } else { NO_CLOCK }, Relaxed);
    }

    pub fn set_log_factor(&self, factor: u32) {
        self.log_factor.store(factor, Relaxed);
    }

    pub fn set_decay_minutes(&self, minutes: u32) {
        self.decay_minutes.store(minutes, Relaxed);
    }

    /// The bits of a new key.
    #[inline]
    #[must_use]
    pub fn fresh(&self) -> u32 {
        match self.stamp.load(Relaxed) {
            NO_CLOCK => self.fresh_otherwise(),
            clock => clock,
        }
    }

    #[cold]
    fn fresh_otherwise(&self) -> u32 {
        match self.rule() {
            Rule::Queue => 0,
            Rule::Clock | Rule::Counter => self.minutes() << 8 | COUNTER_FIRST,
        }
    }

    /// Notes that a key is used.
    #[inline]
    pub fn note(&self, entry: Entry<'_>) {
        match self.stamp.load(Relaxed) {
            NO_CLOCK => self.count(entry),
            clock => entry.set_access(clock),
        }
    }

    #[inline(never)]
    fn count(&self, entry: Entry<'_>) {
        let bits = entry.access();
        if self.rule() == Rule::Queue {
            if bits & USES_MASK < USES_MAX {
                entry.set_access(bits + 1);
            }
            return;
        }
        let mut counter = self.decayed(bits);
        let above = counter.saturating_sub(COUNTER_FIRST);
        let odds = 1.0 / (f64::from(above) * f64::from(self.log_factor.load(Relaxed)) + 1.0);
        if counter < 255 && sampling::fraction() < odds {
            counter += 1;
        }
        entry.set_access(self.minutes() << 8 | counter);
    }

    /// The counter of an entry, after what it lost with time.
    #[must_use]
    pub fn frequency(&self, entry: Entry<'_>) -> u32 {
        self.decayed(entry.access())
    }

    fn decayed(&self, bits: u32) -> u32 {
        let decay = self.decay_minutes.load(Relaxed);
        let passed = self.minutes().wrapping_sub(bits >> 8) & 0xffff;
        (bits & 0xff).saturating_sub(passed.checked_div(decay).unwrap_or(0))
    }

    /// How long an entry was not used.
    #[must_use]
    pub fn idle_seconds(&self, entry: Entry<'_>) -> u64 {
        u64::from((self.seconds.load(Relaxed).wrapping_sub(entry.access())) & CLOCK_MASK)
    }

    fn minutes(&self) -> u32 {
        (self.seconds.load(Relaxed) / 60) & 0xffff
    }

    /// The bits that RESTORE's IDLETIME asks for.
    #[must_use]
    pub fn bits_idle_for(&self, seconds: u64) -> u32 {
        self.seconds.load(Relaxed).wrapping_sub(seconds as u32) & CLOCK_MASK
    }

    /// The bits that RESTORE's FREQ asks for.
    #[must_use]
    pub fn bits_with_frequency(&self, frequency: u8) -> u32 {
        self.minutes() << 8 | u32::from(frequency)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::effect::{Expiry, KeyChange};
    use crate::keyspace::Keyspace;

    /// Does something with a key that was just set.
    fn with_key(rule: Rule, act: impl FnOnce(&Access, Entry<'_>)) {
        let keyspace = Keyspace::new(1);
        keyspace.access().set_rule(rule);
        keyspace.access().tick(UnixMillis(1_700_000_000_000));
        let mut shard = keyspace.lock(keyspace.shard_of(b"key"));
        shard.apply_key(0, b"key", &KeyChange::SetString { value: b"v", expiry: Expiry::Never }).unwrap();
        act(keyspace.access(), shard.database(0).find(b"key").unwrap());
    }

    #[test]
    fn a_key_is_idle_from_its_last_use_on() {
        with_key(Rule::Clock, |access, entry| {
            assert_eq!(access.idle_seconds(entry), 0);
            access.tick(UnixMillis(1_700_000_060_000));
            assert_eq!(access.idle_seconds(entry), 60);
            access.note(entry);
            assert_eq!(access.idle_seconds(entry), 0);
            assert_eq!(entry.value(), crate::keyspace::value::ValueRef::String(b"v"));
        });
    }

    #[test]
    fn the_counter_grows_with_the_logarithm_of_uses_and_falls_with_time() {
        with_key(Rule::Counter, |access, entry| {
            assert_eq!(access.frequency(entry), 5);
            (0..10_000).for_each(|_| access.note(entry));
            let counter = access.frequency(entry);
            // Redis documents 142 at a million uses and about 18 at a thousand for this factor.
            assert!((25..80).contains(&counter), "{counter} after ten thousand uses");
            access.tick(UnixMillis(1_700_000_000_000 + 10 * 60_000));
            assert_eq!(access.frequency(entry), counter - 10);
            access.set_decay_minutes(0);
            assert_eq!(access.frequency(entry), counter, "0 = it never falls");
        });
    }

    #[test]
    fn the_rule_of_queues_counts_up_to_seven() {
        with_key(Rule::Queue, |access, entry| {
            entry.set_access(IN_MAIN);
            (0..20).for_each(|_| access.note(entry));
            assert_eq!(entry.access(), IN_MAIN | USES_MAX);
        });
    }
}
