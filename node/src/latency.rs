//! Events that took longer than `latency-monitor-threshold`: LATENCY LATEST and HISTORY.

use std::collections::{BTreeMap, VecDeque};

use parking_lot::Mutex;

/// Samples of an event, as in Redis.
const MOST_SAMPLES: usize = 160;

/// Kinds of events.
const MOST_EVENTS: usize = 64;

/// What is known of one kind of event.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Event {
    /// Unix seconds and milliseconds; one a second, the longest.
    pub samples: VecDeque<(u64, u64)>,
    pub longest_ms: u64,
}

#[derive(Debug, Default)]
pub struct Latency(Mutex<BTreeMap<String, Event>>);

impl Latency {
    pub fn note(&self, event: &str, unix_seconds: u64, ms: u64) {
        let mut events = self.0.lock();
        if events.len() >= MOST_EVENTS && !events.contains_key(event) {
            return;
        }
        let event = events.entry(event.to_owned()).or_default();
        event.longest_ms = event.longest_ms.max(ms);
        match event.samples.back_mut() {
            Some((second, longest)) if *second == unix_seconds => *longest = ms.max(*longest),
            _ => event.samples.push_back((unix_seconds, ms)),
        }
        if event.samples.len() > MOST_SAMPLES {
            event.samples.pop_front();
        }
    }

    #[must_use]
    pub fn all(&self) -> BTreeMap<String, Event> {
        self.0.lock().clone()
    }

    /// Forgets events; all, if none is named. Says how many.
    pub fn reset(&self, names: &[String]) -> usize {
        let mut events = self.0.lock();
        if names.is_empty() {
            let count = events.len();
            events.clear();
            return count;
        }
        names.iter().filter(|name| events.remove(*name).is_some()).count()
    }
}
