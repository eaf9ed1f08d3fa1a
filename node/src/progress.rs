//! Whether the threads that serve clients make progress. A master whose threads do not is one that nobody is served by, so
//! it stops renewing its lease: a hang that nobody foresaw costs a failover and not the service.
//!
//! ```text
//! io-0 --beat, through the door and a shard--> Beat{at, computed} <--look, before each Renew-- lease
//! ```
//!
//! A thread that hangs uses no processor time, one with a long command does. So the first is given up after
//! `limits::HUNG_AFTER`, the other after `limits::COMPUTES_FOR`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::RwLock;

use crate::clock::{self, BootNanos, ThreadClock};
use crate::engine::Engine;
use crate::limits;
use crate::role::Authority;
use crate::scripts::Scripts;

/// The threads of a node that serve clients.
#[derive(Debug, Default)]
pub struct Progress {
    beats: RwLock<Vec<Arc<Beat>>>,
}

/// When a thread was last seen at work.
#[derive(Debug)]
pub struct Beat {
    thread: String,
    clock: ThreadClock,
    at: AtomicU64,
    /// The thread's processor time at that moment, in nanoseconds.
    computed: AtomicU64,
}

/// A thread that makes no progress.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stuck {
    pub thread: String,
    pub since_ms: u64,
    pub kind: Kind,
}

/// What such a thread does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// It waits for something that does not come.
    Hangs,
    /// It has been computing for one client all the time.
    Computes,
}

impl Progress {
    /// The thread that calls this serves clients from now on, until the process ends.
    #[must_use]
    pub fn join(&self, thread: &str) -> Arc<Beat> {
        let clock = ThreadClock::of_this_thread();
        let beat = Beat { thread: thread.to_owned(), clock, at: AtomicU64::new(0), computed: AtomicU64::new(0) };
        let beat = Arc::new(beat);
        beat.strike(clock::boot_now());
        self.beats.write().push(Arc::clone(&beat));
        beat
    }

    /// The thread that has made no progress for the longest time, if it is to be given up.
    #[must_use]
    pub fn stuck(&self, now: BootNanos) -> Option<Stuck> {
        self.beats.read().iter().filter_map(|beat| beat.stuck(now)).max_by_key(|stuck| stuck.since_ms)
    }
}

impl Beat {
    fn strike(&self, now: BootNanos) {
        self.computed.store(self.clock.nanos(), Ordering::Relaxed);
        self.at.store(now.0, Ordering::Release);
    }

    fn stuck(&self, now: BootNanos) -> Option<Stuck> {
        let since_ms = now.millis_since(BootNanos(self.at.load(Ordering::Acquire)));
        if u128::from(since_ms) < limits::HUNG_AFTER.as_millis() {
            return None;
        }
        let computed_ms = self.clock.nanos().saturating_sub(self.computed.load(Ordering::Relaxed)) / 1_000_000;
        let kind = judge(since_ms, computed_ms)?;
        Some(Stuck { thread: self.thread.clone(), since_ms, kind })
    }
}

/// What to think of a thread that was last seen `since_ms` ago and has computed for `computed_ms` since then.
fn judge(since_ms: u64, computed_ms: u64) -> Option<Kind> {
    let since = u128::from(since_ms);
    // On a machine with too much to do a thread that computes gets its share only.
    if computed_ms * limits::COMPUTING_SHARE >= since_ms {
        (since >= limits::COMPUTES_FOR.as_millis()).then_some(Kind::Computes)
    } else {
        (since >= limits::HUNG_AFTER.as_millis()).then_some(Kind::Hangs)
    }
}

/// What every serving thread does beside its clients: it takes the road of a batch, through the door and to a shard, and
/// says that it came through.
pub async fn beat(authority: &Authority, engine: &Engine, scripts: &Scripts, beat: &Beat) {
    let mut shard = 0;
    loop {
        let now = clock::boot_now();
        drop(authority.enter(now));
        // Who holds a shard for long is known: a script, on a thread of its own.
        let is_through =
            || scripts.may_hold_shards() || engine.keyspace.try_lock(shard % engine.keyspace.len()).is_some();
        while !is_through() {
            tokio::time::sleep(limits::PASSING_HOLD).await;
        }
        shard += 1;
        beat.strike(now);
        tokio::time::sleep(limits::BEAT_EVERY).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_that_hangs_is_given_up_sooner_than_one_that_computes() {
        assert_eq!(judge(999, 0), None);
        assert_eq!(judge(1000, 0), Some(Kind::Hangs));
        assert_eq!(judge(1000, 900), None, "a long command");
        assert_eq!(judge(9_999, 2_600), None, "it gets a part of a core");
        assert_eq!(judge(10_000, 9_900), Some(Kind::Computes));
        assert_eq!(judge(3_000, 10), Some(Kind::Hangs));
    }

    #[test]
    fn a_thread_that_waits_for_a_lock_is_found() {
        let progress = Arc::new(Progress::default());
        let (held, joined) = (Arc::new(parking_lot::Mutex::new(())), std::sync::mpsc::channel());
        let guard = held.lock();
        let waits = {
            let (progress, held) = (Arc::clone(&progress), Arc::clone(&held));
            std::thread::spawn(move || {
                let beat = progress.join("io-7");
                joined.0.send(()).unwrap();
                drop(held.lock());
                beat
            })
        };
        joined.1.recv().unwrap();
        let now = clock::boot_now();
        assert_eq!(progress.stuck(now), None);
        let stuck = progress.stuck(now.plus_millis(1500)).expect("it has not moved since");
        assert_eq!((stuck.thread.as_str(), stuck.kind), ("io-7", Kind::Hangs));
        drop(guard);
        waits.join().unwrap();
    }
}
