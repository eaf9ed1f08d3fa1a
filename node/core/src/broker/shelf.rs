//! The shelf: where messages of long queues lie while they are not in memory. The core decides what goes there and what is
//! needed again; a thread with a disk carries it.
//!
//! ```text
//! queue --pick--> run of messages --Bodies::put--> disk        the queue keeps a bit for each message (`queue/runs.rs`)
//! queue <--bring-- run of messages <--Bodies::read-- disk
//! ```
//!
//! A run is written once and never changed. Its number is free again for nobody: it is deleted when no checkpoint refers to it.
//!
//! **Invariant:** `Bodies` is never called with a lock held, nor on a thread that serves clients.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

/// What keeps runs of messages outside of the memory.
pub trait Bodies: std::fmt::Debug + Send + Sync {
    /// The bytes of a run. `None`: there is no such run.
    ///
    /// # Errors
    /// They cannot be read: why.
    fn read(&self, run: u64) -> Result<Option<Vec<u8>>, String>;

    /// Keeps a run. It may be lost until `settle` has returned.
    ///
    /// # Errors
    /// It cannot be written: why.
    fn put(&self, run: u64, bytes: &[u8]) -> Result<(), String>;

    /// Every run that was put before the call outlives the process when it returns.
    ///
    /// # Errors
    /// The disk refuses, or has lost some of them: why.
    fn settle(&self) -> Result<(), String>;
}

/// The shelf of a node. Without `Bodies` nothing leaves the memory.
#[derive(Debug)]
pub struct Shelf {
    bodies: OnceLock<Arc<dyn Bodies>>,
    /// Bytes of the messages of one queue that stay in memory.
    bound: AtomicUsize,
    last_number: AtomicU64,
    orders: Mutex<Orders>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Orders {
    /// Queues that need messages which are not in memory.
    wanted: BTreeSet<u32>,
    /// Queues with more bytes in memory than they should have.
    long: BTreeSet<u32>,
    /// Runs that no queue has any more.
    released: Vec<u64>,
    is_closed: bool,
}

impl Default for Shelf {
    fn default() -> Self {
        Self {
            bodies: OnceLock::new(),
            bound: AtomicUsize::new(usize::MAX),
            last_number: AtomicU64::new(0),
            orders: Mutex::default(),
            changed: Condvar::new(),
        }
    }
}

impl Shelf {
    /// From now on messages may leave the memory. `last_number`: the greatest number of a run that was ever given.
    pub fn open(&self, bodies: Arc<dyn Bodies>, last_number: u64) {
        self.last_number.fetch_max(last_number, Ordering::SeqCst);
        // The first one stays.
        _ = self.bodies.set(bodies);
    }

    #[must_use]
    pub fn bodies(&self) -> Option<&Arc<dyn Bodies>> {
        self.bodies.get()
    }

    /// Bytes of the messages of one queue that stay in memory.
    pub fn set_bound(&self, bytes: usize) {
        self.bound.store(bytes, Ordering::Relaxed);
    }

    #[must_use]
    pub fn bound(&self) -> usize {
        self.bound.load(Ordering::Relaxed)
    }

    /// A number for a run that is to be written, for as long as the ticket lives.
    #[must_use]
    pub fn ticket(self: &Arc<Self>) -> Ticket {
        let number = self.last_number.fetch_add(1, Ordering::SeqCst) + 1;
        Ticket { number, shelf: Arc::clone(self) }
    }

    /// As `ticket`, for a run that is there.
    pub(super) fn ticket_of(self: &Arc<Self>, number: u64) -> Ticket {
        self.last_number.fetch_max(number, Ordering::SeqCst);
        Ticket { number, shelf: Arc::clone(self) }
    }

    /// A queue needs messages that are not in memory.
    pub(super) fn want(&self, queue: u32) {
        if self.bodies.get().is_some() && self.orders.lock().wanted.insert(queue) {
            self.changed.notify_one();
        }
    }

    /// A queue has more in memory than it should.
    pub(super) fn is_long(&self, queue: u32) {
        if self.bodies.get().is_some() && self.orders.lock().long.insert(queue) {
            self.changed.notify_one();
        }
    }

    /// Waits until a queue needs something, for so long at the most. False: the shelf is closed.
    pub fn wait(&self, most: Duration) -> bool {
        let mut orders = self.orders.lock();
        if orders.wanted.is_empty() && !orders.is_closed {
            self.changed.wait_for(&mut orders, most);
        }
        !orders.is_closed
    }

    /// Queues that need messages which are not in memory. They are not told again.
    pub fn take_wanted(&self) -> BTreeSet<u32> {
        std::mem::take(&mut self.orders.lock().wanted)
    }

    /// Queues with more in memory than they should have. They are not told again.
    pub fn take_long(&self) -> BTreeSet<u32> {
        std::mem::take(&mut self.orders.lock().long)
    }

    /// Runs that no queue has any more. They are not told again: `release` gives them back.
    ///
    /// **Invariant:** they are deleted only after a checkpoint that began behind this call.
    pub fn take_released(&self) -> Vec<u64> {
        std::mem::take(&mut self.orders.lock().released)
    }

    /// Runs that no queue has.
    pub fn release(&self, runs: impl IntoIterator<Item = u64>) {
        self.orders.lock().released.extend(runs);
    }

    /// Whoever waits is told that it is over.
    pub fn close(&self) {
        self.orders.lock().is_closed = true;
        self.changed.notify_all();
    }
}

/// The number of a run that a queue has, or that is being made. Dropped, the run is nobody's.
#[derive(Debug)]
pub struct Ticket {
    number: u64,
    shelf: Arc<Shelf>,
}

impl Ticket {
    #[must_use]
    pub fn number(&self) -> u64 {
        self.number
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.shelf.release([self.number]);
    }
}

#[cfg(test)]
pub mod testing {
    use std::collections::HashMap;

    use super::*;

    /// Runs in a map.
    #[derive(Debug, Default)]
    pub struct InMemory(pub Mutex<HashMap<u64, Vec<u8>>>);

    impl Bodies for InMemory {
        fn read(&self, run: u64) -> Result<Option<Vec<u8>>, String> {
            Ok(self.0.lock().get(&run).cloned())
        }

        fn put(&self, run: u64, bytes: &[u8]) -> Result<(), String> {
            self.0.lock().insert(run, bytes.to_vec());
            Ok(())
        }

        fn settle(&self) -> Result<(), String> {
            Ok(())
        }
    }
}
