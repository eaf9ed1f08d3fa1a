//! How far the start is, as INFO says it while a node loads; and what the load comes to.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use tokio::sync::watch;

use crate::clock::{self, BootNanos};
use crate::ids::{Offset, UnixMillis};
use crate::journal::Block;

/// The load of this process. One a node; a node without a disk has nothing to load.
#[derive(Debug)]
pub struct Progress {
    began: BootNanos,
    began_unix: UnixMillis,
    total: AtomicU64,
    loaded: AtomicU64,
    is_loading: watch::Sender<bool>,
}

/// The fields of INFO persistence.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Report {
    pub start_time: u64,
    pub total_bytes: u64,
    pub loaded_bytes: u64,
    pub loaded_percent: f64,
    pub eta_seconds: u64,
}

/// What a member of a cluster goes on with.
#[derive(Debug)]
pub(crate) struct Recovered {
    /// Everything up to here is in the state.
    pub(crate) applied: Offset,
    /// So much is known to be committed.
    pub(crate) committed: Offset,
    /// What lies behind, in order.
    pub(crate) tail: Vec<Block>,
}

impl Default for Progress {
    fn default() -> Self {
        Self {
            began: clock::boot_now(),
            began_unix: clock::unix_now(),
            total: AtomicU64::new(0),
            loaded: AtomicU64::new(0),
            is_loading: watch::Sender::new(false),
        }
    }
}

impl Progress {
    pub(super) fn begin(&self, total: u64) {
        self.total.store(total, Relaxed);
        self.is_loading.send_replace(true);
    }

    /// So many bytes more of what lies on disk are loaded.
    pub fn add(&self, bytes: u64) {
        self.loaded.fetch_add(bytes, Relaxed);
    }

    pub(super) fn end(&self) {
        self.is_loading.send_replace(false);
    }

    #[must_use]
    pub fn is_loading(&self) -> bool {
        *self.is_loading.borrow()
    }

    /// Resolves once everything is loaded.
    pub async fn done(&self) {
        // The sender lives as long as this.
        _ = self.is_loading.subscribe().wait_for(|is_loading| !is_loading).await;
    }

    /// `None`: nothing is being loaded.
    #[must_use]
    pub fn report(&self) -> Option<Report> {
        if !self.is_loading() {
            return None;
        }
        let elapsed_ms = clock::boot_now().millis_since(self.began);
        Some(report(self.began_unix, self.total.load(Relaxed), self.loaded.load(Relaxed), elapsed_ms))
    }
}

/// What lies on disk is an estimate, so what is loaded may seem to be more.
fn report(began: UnixMillis, total: u64, loaded: u64, elapsed_ms: u64) -> Report {
    let loaded = loaded.min(total);
    let part = if total == 0 { 1.0 } else { loaded as f64 / total as f64 };
    let left_ms = if part > 0.0 { elapsed_ms as f64 * (1.0 - part) / part } else { 0.0 };
    Report {
        start_time: began.0 / 1000,
        total_bytes: total,
        loaded_bytes: loaded,
        loaded_percent: part * 100.0,
        // As Redis: 1 as long as nothing is known.
        eta_seconds: if part > 0.0 { (left_ms / 1000.0).ceil() as u64 } else { 1 },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_follows_from_the_pace_so_far() {
        let report = report(UnixMillis(5000), 400, 100, 10_000);
        assert_eq!((report.start_time, report.loaded_percent, report.eta_seconds), (5, 25.0, 30));
    }

    #[test]
    fn more_than_was_estimated_is_everything() {
        let report = report(UnixMillis(0), 400, 500, 10_000);
        assert_eq!((report.loaded_bytes, report.loaded_percent, report.eta_seconds), (400, 100.0, 0));
    }
}
