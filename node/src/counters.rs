//! How often each command was called, how long it took, and how often it was refused or failed.
//!
//! Every thread counts for itself, so counting costs a few loads and stores in lines that no other core writes; whoever
//! wants to know sums up. Relaxed: the numbers are for people.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::ThreadId;

use parking_lot::Mutex;

use crate::limits;

/// Buckets of the times of a command: up to 1 microsecond, 2, 4, and so on.
pub const BUCKETS: usize = 32;

#[derive(Debug, Default)]
struct Cells {
    calls: AtomicU64,
    nanos: AtomicU64,
    rejected: AtomicU64,
    failed: AtomicU64,
    buckets: [AtomicU64; BUCKETS],
}

/// Adds to a number that no other thread changes, but for a reset.
fn add(cell: &AtomicU64, number: u64) {
    cell.store(cell.load(Ordering::Relaxed).wrapping_add(number), Ordering::Relaxed);
}

/// What one thread has counted.
#[derive(Debug)]
pub struct OfThread {
    rows: Box<[Cells]>,
    errors: Mutex<BTreeMap<Box<str>, u64>>,
}

impl OfThread {
    fn new(rows: usize) -> Self {
        Self { rows: (0..rows).map(|_| Cells::default()).collect(), errors: Mutex::default() }
    }

    /// So many calls have taken so long together.
    #[inline]
    pub fn called(&self, row: usize, calls: u32, nanos: u64) {
        let Some(cells) = self.rows.get(row) else { return };
        let calls = u64::from(calls);
        add(&cells.calls, calls);
        add(&cells.nanos, nanos);
        let micros = nanos / calls.max(1) / 1000;
        add(&cells.buckets[bucket(micros)], calls);
    }

    /// A command was refused before it was executed.
    pub fn rejected(&self, row: usize) {
        if let Some(cells) = self.rows.get(row) {
            add(&cells.rejected, 1);
        }
    }

    /// A command was executed and answered with an error.
    pub fn failed(&self, row: usize) {
        if let Some(cells) = self.rows.get(row) {
            add(&cells.failed, 1);
        }
    }

    /// An error was answered; its text begins with its code.
    pub fn error(&self, text: &[u8]) {
        let code = text.split(|byte| *byte == b' ').next().unwrap_or_default();
        let code = String::from_utf8_lossy(code);
        let mut errors = self.errors.lock();
        if let Some(count) = errors.get_mut(&*code) {
            *count += 1;
        } else if errors.len() < limits::ERROR_CODES {
            errors.insert((*code).into(), 1);
        }
    }
}

fn bucket(micros: u64) -> usize {
    // 0 and 1 in the first, up to 2 in the second, up to 4 in the third.
    let power = micros.max(1).next_power_of_two().trailing_zeros() as usize;
    power.min(BUCKETS - 1)
}

/// What was counted for one row, by all threads.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Count {
    pub calls: u64,
    pub nanos: u64,
    pub rejected: u64,
    pub failed: u64,
    /// Calls that took up to 1 microsecond, up to 2, up to 4, and so on.
    pub buckets: [u64; BUCKETS],
}

/// The counters of a node.
#[derive(Debug, Default)]
pub struct Counters {
    threads: Mutex<Vec<(ThreadId, Arc<OfThread>)>>,
}

impl Counters {
    /// The calling thread's counters of a table of so many rows.
    #[must_use]
    pub fn of_thread(&self, rows: usize) -> Arc<OfThread> {
        let id = std::thread::current().id();
        let mut threads = self.threads.lock();
        if let Some((_, counters)) = threads.iter().find(|(thread, _)| *thread == id) {
            return Arc::clone(counters);
        }
        let counters = Arc::new(OfThread::new(rows));
        threads.push((id, Arc::clone(&counters)));
        counters
    }

    /// The sums of a row.
    #[must_use]
    pub fn count(&self, row: usize) -> Count {
        let mut sum = Count::default();
        for (_, counters) in &*self.threads.lock() {
            let Some(cells) = counters.rows.get(row) else { continue };
            sum.calls += cells.calls.load(Ordering::Relaxed);
            sum.nanos += cells.nanos.load(Ordering::Relaxed);
            sum.rejected += cells.rejected.load(Ordering::Relaxed);
            sum.failed += cells.failed.load(Ordering::Relaxed);
            for (sum, bucket) in sum.buckets.iter_mut().zip(&cells.buckets) {
                *sum += bucket.load(Ordering::Relaxed);
            }
        }
        sum
    }

    /// The calls of a row.
    #[must_use]
    pub fn calls(&self, row: usize) -> u64 {
        let threads = self.threads.lock();
        threads.iter().filter_map(|(_, counters)| Some(counters.rows.get(row)?.calls.load(Ordering::Relaxed))).sum()
    }

    /// The calls of all rows, by their numbers.
    #[must_use]
    pub fn all_calls(&self) -> Vec<u64> {
        let mut sums = Vec::new();
        for (_, counters) in &*self.threads.lock() {
            sums.resize(sums.len().max(counters.rows.len()), 0);
            for (sum, cells) in sums.iter_mut().zip(&counters.rows) {
                *sum += cells.calls.load(Ordering::Relaxed);
            }
        }
        sums
    }

    /// How often each error code was answered, by code.
    #[must_use]
    pub fn errors(&self) -> BTreeMap<Box<str>, u64> {
        let mut sum = BTreeMap::new();
        for (_, counters) in &*self.threads.lock() {
            for (code, count) in &*counters.errors.lock() {
                *sum.entry(code.clone()).or_default() += count;
            }
        }
        sum
    }

    /// CONFIG RESETSTAT. What a thread counts at this moment may survive it.
    pub fn reset(&self) {
        for (_, counters) in &*self.threads.lock() {
            for cells in &counters.rows {
                for cell in
                    [&cells.calls, &cells.nanos, &cells.rejected, &cells.failed].into_iter().chain(&cells.buckets)
                {
                    cell.store(0, Ordering::Relaxed);
                }
            }
            counters.errors.lock().clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_are_summed_up() {
        let counters = Counters::default();
        counters.of_thread(2).called(1, 3, 9_000);
        std::thread::scope(|scope| {
            scope.spawn(|| counters.of_thread(2).called(1, 1, 1_000_000));
        });
        counters.of_thread(2).failed(1);
        let count = counters.count(1);
        assert_eq!((count.calls, count.nanos, count.failed), (4, 1_009_000, 1));
        assert_eq!((count.buckets[2], count.buckets[10]), (3, 1), "3 microseconds and 1000");
        counters.reset();
        assert_eq!(counters.count(1), Count::default());
    }

    #[test]
    fn errors_are_counted_by_code_and_their_codes_are_bounded() {
        let counters = Counters::default();
        let own = counters.of_thread(0);
        own.error(b"WRONGTYPE Operation");
        own.error(b"WRONGTYPE");
        assert_eq!(counters.errors().get("WRONGTYPE"), Some(&2));
        (0..1000).for_each(|number| own.error(format!("CODE{number} of a script").as_bytes()));
        assert_eq!(counters.errors().len(), limits::ERROR_CODES);
    }
}
