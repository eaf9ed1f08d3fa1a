//! What a master knows of its replicas that decides nothing: which version of the program they run, and how far a full sync
//! is. For people.

use std::collections::BTreeMap;

use parking_lot::Mutex;

use crate::clock::{self, BootNanos};

/// Names that are kept: more nodes than a cluster may have.
const MOST: usize = 64;

/// How far something is that has a known end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Portion {
    pub done: u64,
    pub all: u64,
    pub began: BootNanos,
}

impl Portion {
    #[must_use]
    pub fn begin(done: u64, all: u64) -> Self {
        Self { done, all, began: clock::boot_now() }
    }

    #[must_use]
    pub fn percent(&self) -> f64 {
        if self.all == 0 { 0.0 } else { 100.0 * self.done.min(self.all) as f64 / self.all as f64 }
    }

    /// At the pace so far. `None`: nothing is done yet.
    #[must_use]
    pub fn seconds_left(&self, now: BootNanos) -> Option<u64> {
        let part = self.percent() / 100.0;
        let took_ms = now.millis_since(self.began) as f64;
        (part > 0.0).then(|| (took_ms * (1.0 - part) / part / 1000.0).ceil() as u64)
    }
}

#[derive(Debug, Clone, Default)]
pub struct About {
    pub version: String,
    /// Version of the wire formats.
    pub spoken: u32,
    /// While one is under way.
    pub full_sync: Option<Portion>,
}

/// By the name of the replica.
#[derive(Debug, Default)]
pub struct Peers(Mutex<BTreeMap<String, About>>);

impl Peers {
    /// A replica has come.
    pub fn met(&self, name: &str, version: &str, spoken: u32) {
        self.change(name, |about| {
            // What other processes say is cut to what a version is.
            about.version = version.chars().filter(char::is_ascii_graphic).take(32).collect();
            about.spoken = spoken;
            about.full_sync = None;
        });
    }

    /// Whether every replica that has come to this process understands a version of the wire formats.
    #[must_use]
    pub fn all_speak(&self, version: u32) -> bool {
        self.0.lock().values().all(|about| about.spoken >= version)
    }

    pub fn synced(&self, name: &str, full_sync: Option<Portion>) {
        self.change(name, |about| about.full_sync = full_sync);
    }

    #[must_use]
    pub fn about(&self, name: &str) -> Option<About> {
        self.0.lock().get(name).cloned()
    }

    fn change(&self, name: &str, change: impl FnOnce(&mut About)) {
        let mut all = self.0.lock();
        if all.len() < MOST || all.contains_key(name) {
            change(all.entry(name.to_owned()).or_default());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_follows_from_the_pace_so_far() {
        let portion = Portion { done: 256, all: 1024, began: BootNanos(0) };
        assert_eq!(portion.percent(), 25.0);
        assert_eq!(portion.seconds_left(BootNanos(10_000_000_000)), Some(30));
        assert_eq!(Portion { done: 0, ..portion }.seconds_left(BootNanos(1)), None);
        assert_eq!(Portion { done: 9, all: 0, ..portion }.percent(), 0.0);
    }

    #[test]
    fn names_are_bounded_and_versions_are_cut() {
        let peers = Peers::default();
        (0..100).for_each(|number| peers.met(&format!("n{number}"), &"1\n".repeat(100), 1));
        assert!(peers.about("n63").is_some_and(|about| about.version == "1".repeat(32)));
        assert!(peers.about("n99").is_none());
    }

    #[test]
    fn what_is_new_waits_for_the_last_replica() {
        let peers = Peers::default();
        assert!(peers.all_speak(2), "a node of its own waits for nobody");
        peers.met("n2", "", 2);
        peers.met("n3", "", 0);
        assert!(!peers.all_speak(2));
        peers.met("n3", "", 3);
        assert!(peers.all_speak(2));
    }
}
