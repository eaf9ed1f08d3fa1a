//! The reply gate: replies leave when the commit offset has reached what they depend on.
//!
//! The commit offset never falls within an epoch. When the mastership ends, everybody who still waits is told that the
//! fate of his write is unknown; his connection closes without an answer. What was committed until then stays so: whoever
//! looks late still gets his answer.
//!
//! While the disk of a node by itself refuses, replies that only show records do not wait (`show_uncommitted`).

use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};

use parking_lot::Mutex;
use smallvec::SmallVec;

use super::relay::Relay;
use crate::ids::Offset;
use crate::limits;

/// The mastership under which the write was made has ended before it was acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the mastership ended before the write was acknowledged")]
pub struct Deposed;

/// What a reply depends on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Due {
    /// The newest record that it shows or acknowledges.
    shown: Offset,
    /// The newest record that it acknowledges.
    made: Offset,
}

impl Due {
    pub const NOTHING: Self = Self { shown: Offset::ZERO, made: Offset::ZERO };

    /// The reply shows what this record made, and perhaps earlier ones.
    #[must_use]
    pub fn read(offset: Offset) -> Self {
        Self { shown: offset, made: Offset::ZERO }
    }

    /// The reply acknowledges this record.
    #[must_use]
    pub fn write(offset: Offset) -> Self {
        Self { shown: offset, made: offset }
    }

    /// What two replies depend on together.
    #[inline]
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self { shown: self.shown.max(other.shown), made: self.made.max(other.made) }
    }

    /// Once this is committed, the reply may leave, whatever it does.
    #[must_use]
    pub fn offset(self) -> Offset {
        self.shown
    }

    /// Whether whoever waits for `other` need not wait for this as well.
    #[must_use]
    pub fn is_within(self, other: Self) -> bool {
        self.shown <= other.shown && self.made <= other.made
    }
}

impl From<Offset> for Due {
    fn from(offset: Offset) -> Self {
        Self::write(offset)
    }
}

/// Who waits for which offset.
#[derive(Debug, Default)]
pub struct Gate {
    commit: AtomicU64,
    shows_uncommitted: AtomicBool,
    /// Counts masterships; a waiter of an earlier one fails.
    term: AtomicU64,
    waiters: Mutex<Waiters>,
}

#[derive(Debug, Default)]
struct Waiters {
    next_id: u64,
    by_offset: BTreeMap<(Offset, u64), Waiter>,
    /// How far the last terms came that have ended, the oldest first.
    ended: VecDeque<(u64, Offset)>,
}

/// Somebody who waits, and who wakes him: the relay of his thread, if that has one.
#[derive(Debug)]
struct Waiter {
    waker: Waker,
    relay: Option<Arc<Relay>>,
}

/// Wakes each, with one call a thread.
fn wake(waiters: BTreeMap<(Offset, u64), Waiter>) {
    let mut relays: SmallVec<[Arc<Relay>; 8]> = SmallVec::new();
    for Waiter { waker, relay } in waiters.into_values() {
        match relay {
            None => waker.wake(),
            Some(relay) => {
                if relay.hand(waker) {
                    relays.push(relay);
                }
            }
        }
    }
    relays.iter().for_each(|relay| relay.wake());
}

impl Gate {
    /// Everything up to here may be acknowledged.
    #[inline]
    #[must_use]
    pub fn commit(&self) -> Offset {
        Offset(self.commit.load(Ordering::Acquire))
    }

    /// Raises the commit offset and lets those through who waited for it.
    pub fn advance(&self, to: Offset) {
        if self.commit.fetch_max(to.0, Ordering::AcqRel) >= to.0 {
            return;
        }
        let ready = {
            let mut waiters = self.waiters.lock();
            let later = waiters.by_offset.split_off(&(to.next(), 0));
            std::mem::replace(&mut waiters.by_offset, later)
        };
        wake(ready);
    }

    /// The mastership ends: all who wait fail. `commit` is where the next one begins.
    pub fn depose(&self, commit: Offset) {
        let all = {
            let mut waiters = self.waiters.lock();
            waiters.ended.push_back((self.term(), self.commit()));
            if waiters.ended.len() > limits::ENDED_TERMS {
                waiters.ended.pop_front();
            }
            self.term.fetch_add(1, Ordering::AcqRel);
            self.commit.store(commit.0, Ordering::Release);
            std::mem::take(&mut waiters.by_offset)
        };
        wake(all);
    }

    /// How far a term came that has ended; `None` if it is the present one, or one that is forgotten.
    #[must_use]
    pub fn ended_at(&self, term: u64) -> Option<Offset> {
        let waiters = self.waiters.lock();
        waiters.ended.iter().find(|(ended, _)| *ended == term).map(|(_, commit)| *commit)
    }

    /// Which mastership is it? Taken before a batch is executed, and given to `wait`.
    #[inline]
    #[must_use]
    pub fn term(&self) -> u64 {
        self.term.load(Ordering::Acquire)
    }

    /// Whether replies that only show records wait for these to be committed. They do not while the disk of a node by itself
    /// refuses: what it holds in memory is written as soon as there is room, and nothing else can take its place.
    pub fn show_uncommitted(&self, is_shown: bool) {
        self.shows_uncommitted.store(is_shown, Ordering::SeqCst);
        // They look again, each for what is true of it now.
        let all = std::mem::take(&mut self.waiters.lock().by_offset);
        wake(all);
    }

    /// The record that has to be committed before a reply may leave.
    #[inline]
    #[must_use]
    pub fn required(&self, due: Due) -> Offset {
        if self.shows_uncommitted.load(Ordering::SeqCst) { due.made } else { due.shown }
    }

    /// Whether a reply may leave that was made under the mastership `term`: `None` while that is open.
    ///
    /// The commit offset is read before the term, so that one of the next mastership is never taken for this one's.
    #[inline]
    #[must_use]
    pub fn is_committed(&self, due: impl Into<Due>, term: u64) -> Option<Result<(), Deposed>> {
        let due = due.into();
        let commit = self.commit();
        if self.term() != term {
            return Some(if self.ended_at(term).is_some_and(|commit| commit >= due.shown) {
                Ok(())
            } else {
                Err(Deposed)
            });
        }
        (commit >= self.required(due)).then_some(Ok(()))
    }

    /// Resolves once a reply may leave that depends on `due`.
    ///
    /// # Errors
    /// The mastership `term` ended first.
    pub fn wait(&self, due: impl Into<Due>, term: u64) -> impl Future<Output = Result<(), Deposed>> + Send + '_ {
        Wait { gate: self, due: due.into(), term, registered: None }
    }
}

struct Wait<'a> {
    gate: &'a Gate,
    due: Due,
    term: u64,
    registered: Option<(Offset, u64)>,
}

impl Wait<'_> {
    fn outcome(&self) -> Option<Result<(), Deposed>> {
        self.gate.is_committed(self.due, self.term)
    }
}

impl Future for Wait<'_> {
    type Output = Result<(), Deposed>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if let Some(outcome) = self.outcome() {
            return Poll::Ready(outcome);
        }
        {
            let mut waiters = self.gate.waiters.lock();
            // Behind the lock: whoever changes what is required wakes all that have registered before.
            let required = self.gate.required(self.due);
            let id = match self.registered {
                Some((offset, id)) => {
                    if offset != required {
                        waiters.by_offset.remove(&(offset, id));
                    }
                    id
                }
                None => {
                    waiters.next_id += 1;
                    waiters.next_id
                }
            };
            let waiter = Waiter { waker: context.waker().clone(), relay: Relay::of_thread() };
            waiters.by_offset.insert((required, id), waiter);
            self.registered = Some((required, id));
        }
        // The offset may have been committed between the first look and the registration.
        self.outcome().map_or(Poll::Pending, Poll::Ready)
    }
}

impl Drop for Wait<'_> {
    fn drop(&mut self) {
        if let Some(place) = self.registered {
            self.gate.waiters.lock().by_offset.remove(&place);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[tokio::test]
    async fn a_reply_waits_for_its_own_offset_only() {
        let gate = Gate::default();
        gate.advance(Offset(3));
        assert_eq!(gate.wait(Offset(3), 0).now_or_never(), Some(Ok(())));
        let waiting = gate.wait(Offset(5), 0);
        tokio::pin!(waiting);
        assert_eq!(futures::poll!(waiting.as_mut()), Poll::Pending);
        gate.advance(Offset(4));
        assert_eq!(futures::poll!(waiting.as_mut()), Poll::Pending);
        gate.advance(Offset(9));
        assert_eq!(waiting.await, Ok(()));
    }

    #[tokio::test]
    async fn a_write_in_flight_when_the_mastership_ends_is_unknown() {
        let gate = Gate::default();
        let waiting = gate.wait(Offset(5), gate.term());
        tokio::pin!(waiting);
        assert_eq!(futures::poll!(waiting.as_mut()), Poll::Pending);
        gate.depose(Offset(9));
        assert_eq!(waiting.await, Err(Deposed));
    }

    #[test]
    fn what_was_committed_before_the_mastership_ended_is_answered_after_it() {
        let gate = Gate::default();
        let term = gate.term();
        gate.advance(Offset(5));
        gate.depose(Offset(5));
        gate.depose(Offset::ZERO);
        gate.advance(Offset(9));
        assert_eq!(gate.is_committed(Offset(5), term), Some(Ok(())));
        assert_eq!(gate.is_committed(Offset(6), term), Some(Err(Deposed)), "the next mastership's offset 6");
        for _ in 0..limits::ENDED_TERMS {
            gate.depose(Offset::ZERO);
        }
        assert_eq!(gate.is_committed(Offset(5), term), Some(Err(Deposed)), "too long ago");
    }

    #[tokio::test]
    async fn what_only_shows_does_not_wait_while_the_uncommitted_is_shown() {
        let gate = Gate::default();
        let (reads, writes) = (gate.wait(Due::read(Offset(5)), 0), gate.wait(Due::write(Offset(5)), 0));
        let both = gate.wait(Due::read(Offset(5)).and(Due::write(Offset(3))), 0);
        tokio::pin!(reads, writes, both);
        for waiting in [reads.as_mut() as Pin<&mut dyn Future<Output = _>>, writes.as_mut(), both.as_mut()] {
            assert_eq!(waiting.now_or_never(), None);
        }
        gate.show_uncommitted(true);
        assert_eq!(reads.await, Ok(()));
        assert_eq!((futures::poll!(writes.as_mut()), futures::poll!(both.as_mut())), (Poll::Pending, Poll::Pending));
        gate.advance(Offset(3));
        assert_eq!(both.await, Ok(()));
        gate.show_uncommitted(false);
        assert_eq!(gate.is_committed(Due::read(Offset(5)), 0), None);
        gate.advance(Offset(5));
        assert_eq!(writes.await, Ok(()));
        assert!(gate.waiters.lock().by_offset.is_empty());
    }

    #[tokio::test]
    async fn a_waiter_that_gives_up_leaves_nothing_behind() {
        let gate = Gate::default();
        {
            let waiting = gate.wait(Offset(5), 0);
            tokio::pin!(waiting);
            assert_eq!(futures::poll!(waiting.as_mut()), Poll::Pending);
        }
        assert!(gate.waiters.lock().by_offset.is_empty());
    }
}
