//! The gateway's streams that are open, and how many came and asked how much: for management.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use parking_lot::Mutex;

use crate::clock::{self, BootNanos};

/// Those of a node.
#[derive(Debug, Default)]
pub struct Streams {
    open: Mutex<BTreeMap<u64, Arc<Gauges>>>,
    opened: AtomicU64,
    /// Of the streams that have ended.
    requests: AtomicU64,
}

/// One stream. Relaxed: the numbers are for people.
#[derive(Debug)]
pub struct Gauges {
    pub id: u64,
    pub peer: Option<SocketAddr>,
    pub since: BootNanos,
    pub requests: AtomicU64,
    pub answers: AtomicU64,
}

/// A stream is listed for as long as this lives.
#[derive(Debug)]
pub struct Listed {
    streams: Arc<Streams>,
    pub gauges: Arc<Gauges>,
}

impl Streams {
    #[must_use]
    pub fn list(self: &Arc<Self>, peer: Option<SocketAddr>) -> Listed {
        let id = self.opened.fetch_add(1, Relaxed) + 1;
        let (requests, answers) = (AtomicU64::new(0), AtomicU64::new(0));
        let gauges = Arc::new(Gauges { id, peer, since: clock::boot_now(), requests, answers });
        self.open.lock().insert(id, Arc::clone(&gauges));
        Listed { streams: Arc::clone(self), gauges }
    }

    /// The first of those that are open.
    #[must_use]
    pub fn oldest(&self, most: usize) -> Vec<Arc<Gauges>> {
        self.open.lock().values().take(most).cloned().collect()
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.open.lock().len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many there were so far.
    #[must_use]
    pub fn opened(&self) -> u64 {
        self.opened.load(Relaxed)
    }

    /// Requests of all streams, also of those that have ended.
    #[must_use]
    pub fn requests(&self) -> u64 {
        let open = self.open.lock();
        self.requests.load(Relaxed) + open.values().map(|gauges| gauges.requests.load(Relaxed)).sum::<u64>()
    }
}

impl Drop for Listed {
    fn drop(&mut self) {
        let mut open = self.streams.open.lock();
        open.remove(&self.gauges.id);
        self.streams.requests.fetch_add(self.gauges.requests.load(Relaxed), Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_of_streams_that_ended_count_on() {
        let streams = Arc::new(Streams::default());
        let (one, other) = (streams.list(None), streams.list(None));
        one.gauges.requests.store(3, Relaxed);
        other.gauges.requests.store(4, Relaxed);
        assert_eq!((streams.len(), streams.opened(), streams.requests()), (2, 2, 7));
        drop(one);
        assert_eq!((streams.len(), streams.opened(), streams.requests()), (1, 2, 7));
        assert_eq!(streams.oldest(10)[0].id, other.gauges.id);
    }
}
