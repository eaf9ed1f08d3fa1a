//! A connection's end in the core: the inbox that queues put deliveries into, and who is to be woken for it.
//!
//! The inbox is bounded. A queue that finds it full remembers nothing: the connection, once it has emptied its inbox, asks
//! the queues of its consumers again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};

use parking_lot::Mutex;
use tercet_proto::amqp::ShortString;

use super::limits;
use super::queue::{Queue, Taken};

/// Number of a connection; exclusive queues belong to one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnectionId(pub u64);

/// What comes to a connection without having been asked for.
#[derive(Debug)]
pub enum Event {
    Deliver(Arc<Consumer>, Taken),
    /// The consumer's queue is gone.
    Cancelled(Arc<Consumer>),
}

/// A connection's end. One a connection.
#[derive(Debug)]
pub struct Link {
    pub connection: ConnectionId,
    inbox: Mutex<Inbox>,
    count: AtomicUsize,
    bytes: AtomicUsize,
    /// A queue had something for this connection and found the inbox full.
    starved: AtomicBool,
}

#[derive(Debug, Default)]
struct Inbox {
    events: Vec<Event>,
    waker: Option<Waker>,
}

impl Link {
    #[must_use]
    pub fn new(connection: ConnectionId) -> Self {
        Self {
            connection,
            inbox: Mutex::default(),
            count: AtomicUsize::new(0),
            bytes: AtomicUsize::new(0),
            starved: AtomicBool::new(false),
        }
    }

    /// Takes all events. Pending: there are none, and the task is woken for the next.
    pub fn poll(&self, context: &mut Context<'_>) -> Poll<()> {
        let mut inbox = self.inbox.lock();
        if inbox.events.is_empty() {
            match &mut inbox.waker {
                Some(waker) => waker.clone_from(context.waker()),
                none => *none = Some(context.waker().clone()),
            }
            return Poll::Pending;
        }
        Poll::Ready(())
    }

    /// Moves all events behind what `into` holds.
    pub fn take(&self, into: &mut Vec<Event>) {
        if self.count.load(Ordering::Acquire) == 0 {
            return;
        }
        let mut inbox = self.inbox.lock();
        into.append(&mut inbox.events);
        self.count.store(0, Ordering::SeqCst);
        self.bytes.store(0, Ordering::SeqCst);
    }

    /// Whether a queue found the inbox full since this was asked last.
    pub fn take_starved(&self) -> bool {
        self.starved.load(Ordering::SeqCst) && self.starved.swap(false, Ordering::SeqCst)
    }

    /// Whether there is room for one more delivery. If not, the connection will ask again.
    #[inline]
    pub(super) fn has_room(&self) -> bool {
        if !self.is_full() {
            return true;
        }
        self.starved.store(true, Ordering::SeqCst);
        // It may have been emptied before it could see the mark.
        !self.is_full()
    }

    fn is_full(&self) -> bool {
        self.bytes.load(Ordering::SeqCst) >= limits::INBOX_BYTES
            || self.count.load(Ordering::SeqCst) >= limits::INBOX_DELIVERIES
    }

    /// True: the inbox was empty, so the connection is to be woken.
    #[inline]
    pub(super) fn push(&self, event: Event) -> bool {
        let bytes = match &event {
            Event::Deliver(_, taken) => taken.message.len() + limits::DELIVERY_OVERHEAD,
            Event::Cancelled(_) => 0,
        };
        let mut inbox = self.inbox.lock();
        inbox.events.push(event);
        self.bytes.fetch_add(bytes, Ordering::SeqCst);
        self.count.fetch_add(1, Ordering::SeqCst) == 0
    }

    pub(super) fn wake(&self) {
        let waker = self.inbox.lock().waker.take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// Deliveries that may be unacknowledged at the same time on a channel, over all of its consumers; 0 is no limit.
#[derive(Debug, Default)]
pub struct Credit {
    limit: AtomicU32,
    used: AtomicU32,
}

impl Credit {
    pub fn set_limit(&self, limit: u16) {
        self.limit.store(u32::from(limit), Ordering::SeqCst);
    }

    /// Whether consumers of several queues share a limit, so that an acknowledgement in one frees another.
    #[must_use]
    pub fn is_limited(&self) -> bool {
        self.limit.load(Ordering::Relaxed) > 0
    }

    fn take(&self) -> bool {
        let limit = self.limit.load(Ordering::Relaxed);
        let used = self.used.fetch_add(1, Ordering::SeqCst);
        if limit == 0 || used < limit {
            return true;
        }
        self.used.fetch_sub(1, Ordering::SeqCst);
        false
    }

    pub(super) fn give_back(&self) {
        self.used.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Whether deliveries are acknowledged by the client, or count as acknowledged when they leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Acknowledge {
    Manually,
    Automatically,
}

/// Whether a consumer shares its queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Share {
    Shared,
    Exclusive,
}

/// Where the consumer of a stream begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Start {
    First,
    /// The last message that is there.
    Last,
    /// What comes from now on.
    #[default]
    Next,
    Offset(u64),
    /// What came at this time or later, in milliseconds since the Unix epoch.
    At(u64),
    /// What came within so many milliseconds.
    Within(u64),
}

/// A consumer of a queue.
#[derive(Debug)]
pub struct Consumer {
    pub tag: ShortString,
    pub channel: u16,
    pub acknowledge: Acknowledge,
    pub share: Share,
    /// Higher ones are served first.
    pub priority: i64,
    /// Deliveries that may be unacknowledged at the same time; 0 is no limit.
    pub prefetch: u16,
    /// `x-consumer-timeout`: milliseconds for which its client may keep a delivery; 0 is for ever.
    pub timeout: Option<u64>,
    pub credit: Arc<Credit>,
    pub link: Arc<Link>,
    pub queue: Arc<Queue>,
    /// Of a stream: the id of the message that comes next. Changed under the queue's lock only, as is what follows.
    next: AtomicU64,
    in_flight: AtomicU32,
}

/// What consume says of a consumer.
#[derive(Debug)]
pub struct Consume {
    pub tag: ShortString,
    pub channel: u16,
    pub acknowledge: Acknowledge,
    pub share: Share,
    pub priority: i64,
    pub prefetch: u16,
    pub timeout: Option<u64>,
    /// Of a stream.
    pub start: Start,
    pub credit: Arc<Credit>,
    pub link: Arc<Link>,
}

impl Consumer {
    pub(super) fn new(consume: Consume, queue: Arc<Queue>) -> Self {
        let Consume { tag, channel, acknowledge, share, priority, prefetch, timeout, start: _, credit, link } = consume;
        let (next, in_flight) = (AtomicU64::new(0), AtomicU32::new(0));
        Self { tag, channel, acknowledge, share, priority, prefetch, timeout, credit, link, queue, next, in_flight }
    }

    /// Of a stream: the id of the message that comes next.
    pub(super) fn next(&self) -> u64 {
        self.next.load(Ordering::Relaxed)
    }

    pub(super) fn go_on_at(&self, id: u64) {
        self.next.store(id, Ordering::Relaxed);
    }

    #[must_use]
    pub fn is_exclusive(&self) -> bool {
        self.share == Share::Exclusive
    }

    /// Takes the right to one more delivery, if there is one.
    #[inline]
    pub(super) fn reserve(&self) -> bool {
        if !self.link.has_room() {
            return false;
        }
        if self.acknowledge == Acknowledge::Automatically {
            return true;
        }
        let in_flight = self.in_flight.load(Ordering::Relaxed);
        if self.prefetch > 0 && in_flight >= u32::from(self.prefetch) || !self.credit.take() {
            return false;
        }
        self.in_flight.store(in_flight + 1, Ordering::Relaxed);
        true
    }

    /// Deliveries that are not settled.
    pub(super) fn in_flight(&self) -> u32 {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// A delivery is settled.
    #[inline]
    pub(super) fn release(&self) {
        let in_flight = self.in_flight.load(Ordering::Relaxed);
        self.in_flight.store(in_flight.saturating_sub(1), Ordering::Relaxed);
        self.credit.give_back();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credit_is_shared_and_comes_back() {
        let credit = Credit::default();
        assert!((0..100).all(|_| credit.take()), "no limit");
        let credit = Credit::default();
        credit.set_limit(2);
        assert_eq!([credit.take(), credit.take(), credit.take()], [true, true, false]);
        credit.give_back();
        assert_eq!([credit.take(), credit.take()], [true, false]);
    }

    #[test]
    fn the_first_event_wakes_and_the_next_does_not() {
        let link = Arc::new(Link::new(ConnectionId(1)));
        let queue = Arc::new(Queue::for_tests("q"));
        let consume = Consume {
            tag: ShortString::from_static("t"),
            channel: 1,
            acknowledge: Acknowledge::Manually,
            share: Share::Shared,
            priority: 0,
            prefetch: 0,
            timeout: None,
            start: Start::default(),
            credit: Arc::default(),
            link: Arc::clone(&link),
        };
        let consumer = Arc::new(Consumer::new(consume, queue));
        assert!(link.push(Event::Cancelled(Arc::clone(&consumer))));
        assert!(!link.push(Event::Cancelled(Arc::clone(&consumer))));
        let mut events = Vec::new();
        link.take(&mut events);
        assert_eq!(events.len(), 2);
        assert!(link.push(Event::Cancelled(consumer)));
    }
}
