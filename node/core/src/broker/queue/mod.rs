//! A queue: a partition of its own, with its messages, its consumers and its lock.

mod lease;
mod messages;
pub(super) mod paging;
mod runs;
mod sequence;
mod state;
mod stream;
mod unique;
mod written;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tercet_proto::amqp::{FieldTable, FieldValue, ShortString};

pub use lease::Loan;
pub use messages::Taken;
pub(super) use state::State;

use super::batch::Batch;
use super::dead_letter::Reason;
use super::limits;
use super::link::{Acknowledge, ConnectionId, Consumer};
use super::message::{Delivered, Persistence};
use super::own_queue::{Owner, Purpose};
use super::policy::{Applied, Policies};
use super::settings::Settings;
use super::shelf::Shelf;
use super::statistics::Statistics;
use crate::budget::Budget;
use crate::ids::{Offset, Partition};
use crate::lock::{Mutex, MutexGuard, Rank};

/// What declare says of a queue.
#[derive(Debug, Clone, PartialEq)]
pub struct Declaration {
    pub durable: bool,
    pub auto_delete: bool,
    /// The connection that alone may use it, and with which it ends.
    pub owner: Option<ConnectionId>,
    pub arguments: FieldTable,
}

impl Declaration {
    /// Whether it is in the journal. An exclusive queue is not: its connection does not survive its node.
    #[must_use]
    pub fn is_replicated(&self) -> bool {
        self.durable && self.owner.is_none()
    }
}

/// A queue. The name and the declaration never change.
#[derive(Debug)]
pub struct Queue {
    pub number: u32,
    pub vhost: ShortString,
    pub name: ShortString,
    pub declaration: Declaration,
    /// The exchange whose own it is: no client uses it.
    pub(super) owner: Option<Owner>,
    is_stream: bool,
    state: Mutex<State>,
    /// More lies here than its consumers will soon take: publishers are slowed.
    is_long: AtomicBool,
    /// `x-queue-mode: lazy`: what does not come next leaves the memory.
    is_lazy: bool,
}

/// Numbers of a queue, at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    pub ready: usize,
    pub unacknowledged: usize,
    pub consumers: usize,
    pub bytes: usize,
    /// Messages that are not in memory, and their bytes.
    pub paged: usize,
    pub paged_bytes: usize,
    /// The record that these numbers depend on.
    pub last_offset: Offset,
}

/// What a consumer or a client that took a message says of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settlement {
    /// Done with it.
    Remove,
    /// Nobody wants it: to the dead letter exchange, if there is one.
    Reject,
    /// To its old place; it may have been seen.
    Requeue,
    /// To its old place; it never left this node.
    Untouched,
}

/// A delivery that is settled.
#[derive(Debug, Clone)]
pub struct Settled {
    pub id: u64,
    /// Who had it; nobody for one that was fetched with get.
    pub consumer: Option<Arc<Consumer>>,
}

impl Queue {
    pub(super) fn new(number: u32, vhost: ShortString, name: ShortString, declaration: Declaration) -> Self {
        let owner = Owner::of(&name, &declaration.arguments);
        let settings = match &owner {
            Some(owner) => owner.settings(&declaration.arguments),
            None => Settings::of(&declaration.arguments),
        };
        let is_stream = settings.stream.is_some();
        let is_lazy = declaration.arguments.get("x-queue-mode").and_then(FieldValue::as_str) == Some("lazy");
        let state = Mutex::new(Rank::Queue(number), State::of(settings));
        Self { number, vhost, name, declaration, owner, is_stream, state, is_long: AtomicBool::new(false), is_lazy }
    }

    #[cfg(test)]
    pub(super) fn for_tests(name: &str) -> Self {
        let declaration = Declaration { durable: false, auto_delete: false, owner: None, arguments: FieldTable::new() };
        let name = ShortString::try_from(name).unwrap();
        Self::new(1, ShortString::from_static("/"), name, declaration)
    }

    #[must_use]
    pub fn partition(&self) -> Partition {
        Partition::queue(self.number)
    }

    /// What has come and gone here, on this node.
    #[must_use]
    pub fn statistics(&self) -> Statistics {
        self.lock().statistics
    }

    #[must_use]
    pub fn counts(&self) -> Counts {
        self.lock().counts()
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    /// The policies that it follows.
    #[must_use]
    pub fn policies(&self) -> Applied {
        self.lock().applied.clone()
    }

    /// Milliseconds for which a client may keep a delivery of it, if it has a rule of its own; 0 is for ever.
    #[must_use]
    pub fn consumer_timeout(&self) -> Option<u64> {
        self.lock().settings.consumer_timeout
    }

    /// Whether it belongs to an exchange, and no client uses it.
    #[must_use]
    pub fn is_internal(&self) -> bool {
        self.owner.is_some()
    }

    /// Whether it only remembers what went to its exchange.
    pub(super) fn is_history(&self) -> bool {
        self.owner.as_ref().is_some_and(|owner| owner.purpose == Purpose::History)
    }

    /// Whether every message in it is in the journal, if the queue is, whatever its publisher asked for.
    pub(super) fn keeps_all(&self) -> bool {
        self.is_stream() || self.is_delayed()
    }

    /// Whether it holds what its exchange delays.
    pub(super) fn is_delayed(&self) -> bool {
        self.owner.as_ref().is_some_and(|owner| owner.purpose == Purpose::Delay)
    }

    /// Whether it is a stream: what is read stays there.
    #[must_use]
    pub fn is_stream(&self) -> bool {
        self.is_stream
    }

    /// From now on these policies hold.
    pub(super) fn take_policies(&self, policies: &Policies) {
        if self.is_internal() {
            return;
        }
        let (settings, applied) = policies.settings(self);
        let mut state = self.lock();
        if state.is_deleted {
            return;
        }
        state.applied = applied;
        if *state.settings != settings {
            state.prepare(Arc::new(settings));
        }
    }

    /// Takes over what was loaded.
    pub(super) fn load(&self, mut loaded: State, budget: &Arc<Budget>, shelf: &Arc<Shelf>) {
        let mut state = self.lock();
        loaded.prepare(Arc::clone(&state.settings));
        loaded.join(budget, shelf, self.number);
        loaded.applied = std::mem::take(&mut state.applied);
        *state = loaded;
    }

    /// Whether a message is in the journal as well.
    #[inline]
    pub(super) fn keeps(&self, persistence: Persistence) -> bool {
        self.declaration.is_replicated() && persistence == Persistence::Persistent
    }

    /// Bytes of its messages that stay in memory, where queues may have so many.
    pub(super) fn memory_bound(&self, bound: usize) -> usize {
        if self.is_lazy { bound.min(limits::LAZY_BYTES) } else { bound }
    }

    /// Bytes in memory of a queue of which some may leave.
    pub(super) fn held_to_leave(&self) -> usize {
        let state = self.lock();
        if state.messages.pick(0, if self.is_stream { 0 } else { limits::AHEAD_BYTES }, 1).is_some() {
            state.messages.held()
        } else {
            0
        }
    }

    /// Whether its messages may leave the memory: those of others are in no journal, or go in an order of their own.
    pub(super) fn may_leave(&self) -> bool {
        self.declaration.is_replicated() && !self.is_internal()
    }

    /// Whether publishers are to go at the pace of its consumers.
    #[inline]
    #[must_use]
    pub fn is_long(&self) -> bool {
        self.is_long.load(Ordering::Relaxed)
    }

    /// Whether it would not take a message of this size, when so many messages and bytes more have been put there.
    #[must_use]
    pub fn refuses_after(&self, messages: usize, bytes: usize, body_len: usize) -> bool {
        self.lock().refuses_after(messages, bytes, body_len)
    }

    /// Whether a connection consumes from it.
    #[must_use]
    pub fn serves(&self, connection: ConnectionId) -> bool {
        self.lock().consumers().iter().any(|consumer| consumer.link.connection == connection)
    }

    fn set_long(&self, is_long: bool) {
        if self.is_long() != is_long {
            self.is_long.store(is_long, Ordering::Relaxed);
        }
    }

    /// Settles deliveries, and serves who can take more then, unless the caller does that later with `serve`.
    pub fn settle(self: &Arc<Self>, batch: &mut Batch<'_>, settled: &[Settled], settlement: Settlement, then: Then) {
        let mut state = self.lock();
        let mut removed: Vec<u64> = Vec::new();
        batch.worked(settled.len());
        if state.settings.stream.is_some() {
            state.settle_stream(self, batch, settled);
            return;
        }
        for Settled { id, consumer } in settled {
            if let Some(consumer) = consumer {
                consumer.release();
            }
            match settlement {
                Settlement::Remove => removed.push(*id),
                Settlement::Reject => state.drop_message(self, batch, *id, Reason::Rejected, &mut removed),
                Settlement::Requeue => state.requeue(self, batch, *id, &mut removed),
                Settlement::Untouched => _ = state.messages.give_back(*id, Delivered::Never),
            }
        }
        if settlement == Settlement::Remove {
            state.statistics.acknowledged += settled.len() as u64;
            batch.count().acknowledged += settled.len() as u64;
        }
        state.remove(self, batch, removed);
        state.is_stalled = false;
        if then == Then::Serve {
            state.settle_down(self, batch);
        }
    }

    /// Takes the next message for a client that asks for one. With it: how many are left.
    pub fn get(self: &Arc<Self>, batch: &mut Batch<'_>, acknowledge: Acknowledge) -> Option<(Taken, usize)> {
        if self.is_stream() {
            // Its messages are read by consumers, and stay. Frontends say so.
            return None;
        }
        let mut state = self.lock();
        state.last_used = batch.now().0;
        state.expire(self, batch, Margin::Passed);
        batch.worked(1);
        let Some(taken) = state.messages.take() else {
            if state.messages.ready() == 0 {
                state.statistics.got_empty += 1;
                batch.count().got_empty += 1;
            }
            state.look_ahead();
            return None;
        };
        for statistics in [&mut state.statistics, batch.count()] {
            statistics.redelivered += u64::from(taken.delivered == Delivered::Maybe);
            statistics.got += u64::from(acknowledge == Acknowledge::Manually);
            statistics.got_no_ack += u64::from(acknowledge == Acknowledge::Automatically);
        }
        if acknowledge == Acknowledge::Automatically {
            state.remove(self, batch, vec![taken.id]);
        }
        batch.depends_on(taken.message.offset());
        state.look_ahead();
        Some((taken, state.messages.ready()))
    }

    /// Whether `get` has found nothing only because the next message is still to come into memory.
    #[must_use]
    pub fn awaits_run(&self) -> bool {
        self.lock().messages.awaits_run()
    }

    /// Removes what is ready, and says how many that were.
    pub fn purge(self: &Arc<Self>, batch: &mut Batch<'_>) -> usize {
        if self.is_stream() {
            return 0;
        }
        let mut state = self.lock();
        let count = state.purge(self, batch);
        batch.depends_on(state.last_offset());
        count
    }

    /// Drops the messages whose time has come. Says whether the queue's own time has come: nobody has used it.
    pub(super) fn expire(self: &Arc<Self>, batch: &mut Batch<'_>) -> AfterExpiry {
        let now = batch.now().0;
        let mut state = self.lock();
        state.expire(self, batch, Margin::Reached);
        state.call_in(self, batch);
        state.go_on(self, batch);
        // A policy may have set a limit.
        state.hold_length(self, batch);
        let Some(expires) = state.settings.expires else { return AfterExpiry::Keep };
        if state.last_used == 0 || !state.consumers().is_empty() {
            state.last_used = now;
        }
        if now >= state.last_used.saturating_add(expires) { AfterExpiry::Delete } else { AfterExpiry::Keep }
    }

    /// Serves consumers: their connection has room again, or their limits have changed.
    pub fn serve(self: &Arc<Self>, batch: &mut Batch<'_>) {
        let mut state = self.lock();
        state.is_stalled = false;
        state.dispatch(self, batch);
    }

    /// Messages have come back, with `Then::Wait`, or a record of several operations has brought some: consumers are
    /// served, and limits hold.
    pub fn serve_returned(self: &Arc<Self>, batch: &mut Batch<'_>) {
        let mut state = self.lock();
        state.is_stalled = false;
        state.settle_down(self, batch);
    }

    /// Ends a consumer. Says whether its queue goes with it: it deletes itself, and this was the last one.
    pub fn cancel(self: &Arc<Self>, batch: &mut Batch<'_>, consumer: &Arc<Consumer>, then: Then) -> AfterCancel {
        let mut state = self.lock();
        if state.leave(consumer, batch.now().0) {
            batch.broker().expect_time();
        }
        state.last_used = batch.now().0;
        state.is_stalled = false;
        if then == Then::Serve {
            state.dispatch(self, batch);
        }
        if self.declaration.auto_delete && state.consumers().is_empty() && !state.is_deleted {
            AfterCancel::Delete
        } else {
            AfterCancel::Keep
        }
    }
}

/// Whether an operation that frees messages or consumers hands on at once. If several come together, the messages are back
/// in their places before the first goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Then {
    Serve,
    Wait,
}

/// What becomes of a queue when time has passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AfterExpiry {
    Keep,
    Delete,
}

/// A message whose time is now may still go to a consumer that waits for it: `expiration: 0` asks for that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Margin {
    Reached,
    Passed,
}

/// What becomes of a queue when a consumer has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AfterCancel {
    Keep,
    Delete,
}
