//! What an I/O thread does once for all of its clients, instead of each of them for itself.
//!
//! ```text
//! client's batch --append--.                          .--wake, in the thread--> clients whose replies may leave
//! client's batch --append--+--> relay --publish       |
//! client's batch --append--'    (behind all that      '-- relay <--one wake-- gate
//!                                were ready)
//! ```
//!
//! To wake somebody on another thread is a system call. With fifty clients that send a command each, that was a hundred
//! for one turn of the thread.

use std::cell::RefCell;
use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Poll, Waker};

use futures::task::AtomicWaker;
use parking_lot::Mutex;

use super::Journal;

/// A task of a thread's runtime. Other threads hand it those whom it is to wake.
#[derive(Debug, Default)]
pub(super) struct Relay {
    ready: Mutex<Vec<Waker>>,
    is_publication_due: AtomicBool,
    task: AtomicWaker,
}

thread_local! {
    static RELAY: RefCell<Option<Arc<Relay>>> = const { RefCell::new(None) };
}

impl Relay {
    /// That of this thread, if it has one.
    pub(super) fn of_thread() -> Option<Arc<Self>> {
        RELAY.with_borrow(Option::clone)
    }

    /// Hands over somebody to be woken. Says whether the relay itself has to be, by `wake`.
    pub(super) fn hand(&self, waker: Waker) -> bool {
        let mut ready = self.ready.lock();
        ready.push(waker);
        ready.len() == 1
    }

    pub(super) fn wake(&self) {
        self.task.wake();
    }
}

/// Publishes once all clients of this thread that are ready have had their turn. False: this thread has no relay.
pub fn publish_later() -> bool {
    RELAY.with_borrow(|relay| {
        let Some(relay) = relay else { return false };
        if !relay.is_publication_due.swap(true, Ordering::Relaxed) {
            relay.wake();
        }
        true
    })
}

/// The relay of the thread that polls this: a task of a single-threaded runtime, for as long as that runs.
pub async fn serve(journal: &Journal) {
    let relay = Arc::new(Relay::default());
    RELAY.set(Some(Arc::clone(&relay)));
    poll_fn(|context| {
        relay.task.register(context.waker());
        if relay.is_publication_due.swap(false, Ordering::Relaxed) {
            journal.publish();
        }
        let ready = std::mem::take(&mut *relay.ready.lock());
        ready.into_iter().for_each(Waker::wake);
        Poll::<()>::Pending
    })
    .await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::Offset;
    use crate::journal::Gate;

    async fn start() -> Arc<Journal> {
        let journal = Arc::new(Journal::new());
        let relayed = Arc::clone(&journal);
        tokio::spawn(async move { serve(&relayed).await });
        while Relay::of_thread().is_none() {
            tokio::task::yield_now().await;
        }
        journal
    }

    #[tokio::test]
    async fn those_who_wait_are_woken_from_another_thread() {
        let _journal = start().await;
        let gate = Arc::new(Gate::default());
        let waiting: Vec<_> = (1..=50)
            .map(|offset| {
                let gate = Arc::clone(&gate);
                tokio::spawn(async move { gate.wait(Offset(offset), 0).await })
            })
            .collect();
        tokio::task::yield_now().await;
        let other = Arc::clone(&gate);
        std::thread::spawn(move || [20, 50].map(Offset).into_iter().for_each(|to| other.advance(to))).join().unwrap();
        for task in waiting {
            assert_eq!(task.await.unwrap(), Ok(()));
        }
    }

    #[tokio::test]
    async fn what_a_client_appended_is_published_behind_it() {
        let journal = start().await;
        journal.retain();
        let reader = journal.readable(Offset::ZERO);
        tokio::pin!(reader);
        assert!(futures::poll!(reader.as_mut()).is_pending());
        journal.append(b"record");
        assert!(publish_later());
        reader.await;
    }

    #[test]
    fn a_thread_without_a_relay_publishes_for_itself() {
        assert!(!publish_later());
    }
}
