//! How long commands take, without asking the clock for each of them.
//!
//! ```text
//! GET GET GET  SET SET  LRANGE  LRANGE
//! |            |       |       |      |     the clock is read here
//! ```
//!
//! Commands on one key that take constant time share a look at the clock with their neighbours of the same kind. What may
//! take long is measured by itself, and so is everything if little counts as slow.

use std::sync::Arc;

use crate::clock::{self, BootNanos};
use crate::counters::OfThread;
use crate::limits;
use crate::resp::row::Row;

#[derive(Debug)]
pub(super) struct Meter {
    counters: Arc<OfThread>,
    /// Calls that are not accounted for yet, all of one row.
    row: Option<&'static Row>,
    calls: u32,
    since: BootNanos,
    /// Every call is measured by itself.
    is_exact: bool,
    last: &'static str,
    slow_after_us: i64,
    /// What the last call took, if that is slow.
    slow: Option<u64>,
}

impl Meter {
    pub(super) fn new(counters: Arc<OfThread>) -> Self {
        Self {
            counters,
            row: None,
            calls: 0,
            since: BootNanos(0),
            is_exact: false,
            last: "",
            slow_after_us: -1,
            slow: None,
        }
    }

    #[inline]
    pub(super) fn begin(&mut self, now: BootNanos, slow_after_us: i64) {
        self.since = now;
        self.slow_after_us = slow_after_us;
        self.is_exact = (0..limits::EXACT_BELOW_US).contains(&slow_after_us);
    }

    /// When the clock was read last.
    pub(super) fn since(&self) -> BootNanos {
        self.since
    }

    /// A command has come, whatever becomes of it.
    #[inline]
    pub(super) fn saw(&mut self, row: &'static Row) {
        self.last = row.name;
    }

    /// A command is about to be executed.
    #[inline]
    pub(super) fn before(&mut self, row: &'static Row) {
        if self.calls > 0 && self.row.is_some_and(|before| before.id != row.id) {
            self.flush();
        }
        self.row = Some(row);
    }

    /// It was executed.
    #[inline]
    pub(super) fn after(&mut self, row: &'static Row) {
        self.calls += 1;
        if self.is_exact || !row.is_brief() {
            self.flush();
        }
    }

    /// Commands within another one are measured; when that began.
    pub(super) fn enter(&mut self) -> BootNanos {
        self.flush();
        self.since
    }

    /// The other one has ended.
    pub(super) fn leave(&mut self, row: &'static Row, began: BootNanos) {
        self.flush();
        (self.row, self.calls, self.since) = (Some(row), 0, began);
    }

    /// Accounts for what was executed.
    #[inline]
    pub(super) fn flush(&mut self) {
        if let Some(row) = self.row
            && self.calls > 0
        {
            let now = clock::boot_now();
            self.counters.called(row.id, self.calls, now.0.saturating_sub(self.since.0));
            let nanos = now.0.saturating_sub(self.since.0);
            // Calls that are measured together are short.
            if self.calls == 1 && nanos / 1000 >= limits::SLOW_LOOK_US.min(self.slow_after_us.max(0).unsigned_abs()) {
                self.slow = Some(nanos);
            }
            self.since = now;
            self.calls = 0;
        }
    }

    /// How long the last call took, if that may be slow; asked once.
    #[inline]
    pub(super) fn slow(&mut self) -> Option<u64> {
        self.slow.take()
    }

    pub(super) fn last_command(&self) -> &'static str {
        self.last
    }

    pub(super) fn counters(&self) -> &OfThread {
        &self.counters
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::counters::Counters;
    use crate::resp::table;

    #[test]
    fn calls_are_counted_for_their_own_rows() {
        let counters = Counters::default();
        let mut meter = Meter::new(counters.of_thread(table::rows().len()));
        let row = |name: &str| table::find(name.as_bytes()).unwrap();
        let (get, set, multi) = (row("get"), row("set"), row("exec"));
        meter.begin(clock::boot_now(), limits::SLOW_AFTER_US);
        for called in [get, get, set, get] {
            meter.saw(called);
            meter.before(called);
            meter.after(called);
        }
        meter.before(multi);
        let began = meter.enter();
        meter.before(set);
        meter.after(set);
        meter.leave(multi, began);
        meter.after(multi);
        meter.flush();
        let calls = [get, set, multi].map(|row| counters.count(row.id).calls);
        assert_eq!(calls, [3, 2, 1]);
        assert!(counters.count(multi.id).nanos >= 1, "its own commands are within its time");
        assert_eq!(meter.last_command(), "get");
    }
}
