//! What is large is freed where nobody waits for it: the elements of a collection lie all over the memory, and to free
//! millions of them takes seconds.
//!
//! ```text
//! under a lock: the value leaves its place --later--> queue --run--> dropped, on a thread of its own
//! ```
//!
//! Where nobody runs it (tests, tools), everything is freed in its place.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use parking_lot::{Condvar, Mutex};

/// Something that is only to be dropped.
trait Remains: Send {}

impl<T: Send> Remains for T {}

/// Of the process: memory belongs to no node.
static FREEING: Freeing = Freeing {
    is_running: AtomicBool::new(false),
    bytes: AtomicUsize::new(0),
    pending: AtomicUsize::new(0),
    freed: AtomicU64::new(0),
    queue: Mutex::new(VecDeque::new()),
    work: Condvar::new(),
};

struct Freeing {
    is_running: AtomicBool,
    bytes: AtomicUsize,
    pending: AtomicUsize,
    freed: AtomicU64,
    queue: Mutex<VecDeque<(Box<dyn Remains>, usize)>>,
    work: Condvar,
}

/// Drops `remains`, of about so many bytes, later and elsewhere.
pub fn later(remains: impl Send + 'static, bytes: usize) {
    if FREEING.is_running.load(Ordering::Acquire) {
        FREEING.bytes.fetch_add(bytes, Ordering::Relaxed);
        FREEING.pending.fetch_add(1, Ordering::Relaxed);
        FREEING.queue.lock().push_back((Box::new(remains), bytes));
        FREEING.work.notify_one();
    }
}

/// Bytes that wait to be freed, about: they count for nobody any more.
#[must_use]
pub fn pending_bytes() -> usize {
    FREEING.bytes.load(Ordering::Relaxed)
}

/// Frees what comes, for ever. For a thread of its own; a second one has nothing to do.
pub fn run() {
    if FREEING.is_running.swap(true, Ordering::AcqRel) {
        return;
    }
    loop {
        let (remains, bytes) = {
            let mut queue = FREEING.queue.lock();
            loop {
                match queue.pop_front() {
                    Some(next) => break next,
                    None => FREEING.work.wait(&mut queue),
                }
            }
        };
        drop(remains);
        FREEING.bytes.fetch_sub(bytes, Ordering::Relaxed);
        FREEING.freed.fetch_add(1, Ordering::Relaxed);
        FREEING.pending.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Values that wait to be freed.
#[must_use]
pub fn pending() -> usize {
    FREEING.pending.load(Ordering::Relaxed)
}

/// Values that were freed here since the start, or since `reset_freed`.
#[must_use]
pub fn freed() -> u64 {
    FREEING.freed.load(Ordering::Relaxed)
}

/// For CONFIG RESETSTAT.
pub fn reset_freed() {
    FREEING.freed.store(0, Ordering::Relaxed);
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    struct Tells(mpsc::Sender<std::thread::ThreadId>);

    impl Drop for Tells {
        fn drop(&mut self) {
            _ = self.0.send(std::thread::current().id());
        }
    }

    #[test]
    fn remains_are_dropped_here_until_a_thread_does_it() {
        let (sender, receiver) = mpsc::channel();
        if !FREEING.is_running.load(Ordering::Acquire) {
            later(Tells(sender.clone()), 10);
            assert_eq!(receiver.recv(), Ok(std::thread::current().id()));
        }
        let thread = std::thread::spawn(run);
        while !FREEING.is_running.load(Ordering::Acquire) {
            std::thread::yield_now();
        }
        let freed = freed();
        later(Tells(sender), 10);
        assert_eq!(receiver.recv(), Ok(thread.thread().id()));
        while pending_bytes() > 0 || pending() > 0 {
            std::thread::yield_now();
        }
        assert!(super::freed() > freed);
    }
}
