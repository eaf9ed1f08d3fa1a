//! A queue: a partition of its own, with its messages, its consumers and its lock.

mod messages;
mod written;

use std::sync::Arc;

use tercet_proto::amqp::{FieldTable, ShortString};

pub use messages::{Delivered, Taken};

use super::batch::Batch;
use super::dead_letter::Reason;
use super::effect::{BrokerEffect, ranges};
use super::link::{Acknowledge, ConnectionId, Consumer, Event};
use super::message::{Message, Persistence};
use super::settings::{Active, Overflow, Settings};
use crate::effect::Effect;
use crate::ids::{Offset, Partition};
use crate::lock::{Mutex, MutexGuard, Rank};
use messages::Messages;

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
    pub(super) settings: Settings,
    state: Mutex<State>,
}

/// What the lock of a queue guards.
#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) messages: Messages,
    /// Highest priority first; within one, who is served next comes first.
    consumers: Vec<Arc<Consumer>>,
    /// No consumer could take the last message; nothing has changed since.
    is_stalled: bool,
    pub(super) is_deleted: bool,
    /// When it was declared, fetched from or consumed last: for `x-expires`. 0: this node has not looked yet.
    pub(super) last_used: u64,
    last_offset: Offset,
}

/// Numbers of a queue, at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    pub ready: usize,
    pub unacknowledged: usize,
    pub consumers: usize,
    pub bytes: usize,
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
        let settings = Settings::of(&declaration.arguments);
        let state = Mutex::new(Rank::Queue(number), State::of(&settings));
        Self { number, vhost, name, declaration, settings, state }
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

    #[must_use]
    pub fn counts(&self) -> Counts {
        self.lock().counts()
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    /// Whether a message is in the journal as well.
    #[inline]
    pub(super) fn keeps(&self, message: &Message) -> bool {
        self.declaration.is_replicated() && message.persistence() == Persistence::Persistent
    }

    /// Whether a message that nobody took goes elsewhere.
    pub(super) fn buries(&self) -> bool {
        self.settings.dead_letter.is_some()
    }

    /// When a message that comes now is to go; 0 is never.
    pub(super) fn deadline(&self, time_to_live: Option<u64>, now: u64) -> u64 {
        let least = [time_to_live, self.settings.time_to_live].into_iter().flatten().min();
        least.map_or(0, |milliseconds| now.saturating_add(milliseconds).max(1))
    }

    /// Settles deliveries, and serves who can take more then.
    pub fn settle(self: &Arc<Self>, batch: &mut Batch<'_>, settled: &[Settled], settlement: Settlement) {
        let mut state = self.lock();
        let mut removed: Vec<u64> = Vec::new();
        for Settled { id, consumer } in settled {
            if let Some(consumer) = consumer {
                consumer.release();
            }
            match settlement {
                Settlement::Remove => {
                    if state.messages.remove(*id).is_some_and(|message| self.keeps(&message)) {
                        removed.push(*id);
                    }
                }
                Settlement::Reject => {
                    if let Some(message) = state.messages.remove(*id) {
                        self.drop_message(batch, *id, message, Reason::Rejected, &mut removed);
                    }
                }
                Settlement::Requeue => _ = state.messages.give_back(*id, Delivered::Maybe),
                Settlement::Untouched => _ = state.messages.give_back(*id, Delivered::Never),
            }
        }
        state.journal_removed(self, batch, removed);
        state.is_stalled = false;
        state.dispatch(self, batch);
    }

    /// Takes the next message for a client that asks for one. With it: how many are left.
    pub fn get(self: &Arc<Self>, batch: &mut Batch<'_>, acknowledge: Acknowledge) -> Option<(Taken, usize)> {
        let mut state = self.lock();
        state.last_used = batch.now().0;
        state.expire(self, batch, Margin::Passed);
        let taken = state.messages.take()?;
        if acknowledge == Acknowledge::Automatically {
            state.messages.remove(taken.id);
            if self.keeps(&taken.message) {
                state.journal_removed(self, batch, vec![taken.id]);
            }
        }
        batch.depends_on(taken.message.offset());
        Some((taken, state.messages.ready()))
    }

    /// Removes what is ready, and says how many that were.
    pub fn purge(self: &Arc<Self>, batch: &mut Batch<'_>) -> usize {
        let mut state = self.lock();
        let ids = state.messages.ready_ids();
        let mut removed = Vec::new();
        for id in &ids {
            if state.messages.remove(*id).is_some_and(|message| self.keeps(&message)) {
                removed.push(*id);
            }
        }
        state.journal_removed(self, batch, removed);
        batch.depends_on(state.last_offset);
        ids.len()
    }

    /// Drops the messages whose time has come. Says whether the queue's own time has come: nobody has used it.
    pub(super) fn expire(self: &Arc<Self>, batch: &mut Batch<'_>) -> AfterExpiry {
        let now = batch.now().0;
        let mut state = self.lock();
        state.expire(self, batch, Margin::Reached);
        let Some(expires) = self.settings.expires else { return AfterExpiry::Keep };
        if state.last_used == 0 || !state.consumers.is_empty() {
            state.last_used = now;
        }
        if now >= state.last_used.saturating_add(expires) { AfterExpiry::Delete } else { AfterExpiry::Keep }
    }

    /// A message leaves the queue without having been consumed: to the dead letter exchange, or into nothing.
    fn drop_message(
        self: &Arc<Self>,
        batch: &mut Batch<'_>,
        id: u64,
        message: Arc<Message>,
        reason: Reason,
        removed: &mut Vec<u64>,
    ) {
        if self.buries() {
            // Its removal is written once it is elsewhere.
            batch.bury(self, id, message, reason);
        } else if self.keeps(&message) {
            removed.push(id);
        }
    }

    /// Serves consumers: their connection has room again, or their limits have changed.
    pub fn serve(self: &Arc<Self>, batch: &mut Batch<'_>) {
        let mut state = self.lock();
        state.is_stalled = false;
        state.dispatch(self, batch);
    }

    /// Ends a consumer. Says whether its queue goes with it: it deletes itself, and this was the last one.
    pub fn cancel(self: &Arc<Self>, batch: &mut Batch<'_>, consumer: &Arc<Consumer>) -> AfterCancel {
        let mut state = self.lock();
        state.consumers.retain(|other| !Arc::ptr_eq(other, consumer));
        state.last_used = batch.now().0;
        state.is_stalled = false;
        state.dispatch(self, batch);
        if self.declaration.auto_delete && state.consumers.is_empty() && !state.is_deleted {
            AfterCancel::Delete
        } else {
            AfterCancel::Keep
        }
    }
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

impl State {
    /// Empty, for a queue with these settings.
    pub(super) fn of(settings: &Settings) -> Self {
        let mut state = Self::default();
        state.prepare(settings);
        state
    }

    pub(super) fn prepare(&mut self, settings: &Settings) {
        if settings.max_priority > 0 {
            self.messages.order_by_priority(settings.max_priority);
        }
    }

    pub(super) fn counts(&self) -> Counts {
        Counts {
            ready: self.messages.ready(),
            unacknowledged: self.messages.taken(),
            consumers: self.consumers.len(),
            bytes: self.messages.bytes(),
            last_offset: self.last_offset,
        }
    }

    pub(super) fn consumers(&self) -> &[Arc<Consumer>] {
        &self.consumers
    }

    pub(super) fn take_consumers(&mut self) -> Vec<Arc<Consumer>> {
        std::mem::take(&mut self.consumers)
    }

    pub(super) fn add(&mut self, consumer: Arc<Consumer>) {
        let at = match consumer.queue.settings.active {
            // Who is active stays so.
            Active::Single => self.consumers.len(),
            Active::All => self.consumers.partition_point(|other| other.priority >= consumer.priority),
        };
        self.consumers.insert(at, consumer);
        self.is_stalled = false;
    }

    /// Puts a message that comes now at the end, and hands it on; what has no room then goes.
    #[inline]
    pub(super) fn place(&mut self, queue: &Arc<Queue>, batch: &mut Batch<'_>, message: Arc<Message>, deadline: u64) {
        self.messages.push(message, deadline);
        self.dispatch(queue, batch);
        if deadline > 0 {
            self.expire(queue, batch, Margin::Reached);
        }
        if self.is_over(&queue.settings, 0) {
            let mut removed = Vec::new();
            while self.is_over(&queue.settings, 0) {
                let Some(head) = self.messages.head() else { break };
                if let Some(message) = self.messages.remove(head.id) {
                    queue.drop_message(batch, head.id, message, Reason::MaxLength, &mut removed);
                }
            }
            self.journal_removed(queue, batch, removed);
        }
    }

    /// Whether the queue takes no message of this size: `x-overflow` says that publishers are to be told.
    #[inline]
    pub(super) fn refuses(&self, settings: &Settings, body_len: usize) -> bool {
        settings.overflow != Overflow::DropHead
            && (settings.max_length.is_some_and(|max| self.messages.ready() >= max) || self.is_over(settings, body_len))
    }

    #[inline]
    fn is_over(&self, settings: &Settings, more: usize) -> bool {
        settings.max_length.is_some_and(|max| self.messages.ready() > max)
            || settings.max_bytes.is_some_and(|max| self.messages.ready_body_bytes() + more > max)
    }

    /// Drops the messages at the head whose time has come.
    #[inline]
    pub(super) fn expire(&mut self, queue: &Arc<Queue>, batch: &mut Batch<'_>, margin: Margin) {
        if !self.messages.has_deadlines() {
            return;
        }
        let now = batch.now().0;
        let is_due = |deadline: u64| match margin {
            Margin::Reached => deadline > 0 && deadline <= now,
            Margin::Passed => deadline > 0 && deadline < now,
        };
        let mut removed = Vec::new();
        while let Some(head) = self.messages.head().filter(|head| is_due(head.deadline)) {
            if let Some(message) = self.messages.remove(head.id) {
                queue.drop_message(batch, head.id, message, Reason::Expired, &mut removed);
            }
        }
        self.journal_removed(queue, batch, removed);
    }

    pub(super) fn last_offset(&self) -> Offset {
        self.last_offset
    }

    pub(super) fn changed_at(&mut self, offset: Offset) {
        self.last_offset = self.last_offset.max(offset);
    }

    /// Gives ready messages to consumers that can take them.
    pub(super) fn dispatch(&mut self, queue: &Arc<Queue>, batch: &mut Batch<'_>) {
        self.expire(queue, batch, Margin::Passed);
        if self.is_stalled || self.messages.ready() == 0 || self.consumers.is_empty() {
            return;
        }
        let mut removed = Vec::new();
        while self.messages.ready() > 0 {
            let Some(consumer) = self.next_consumer(queue.settings.active) else {
                self.is_stalled = true;
                break;
            };
            let Some(taken) = self.messages.take() else { break };
            if consumer.acknowledge == Acknowledge::Automatically {
                self.messages.remove(taken.id);
                if queue.keeps(&taken.message) {
                    removed.push(taken.id);
                }
            }
            let link = Arc::clone(&consumer.link);
            if link.push(Event::Deliver(consumer, taken)) {
                batch.wakes(link);
            }
        }
        self.journal_removed(queue, batch, removed);
    }

    /// The next one that can take a message; it goes behind its equals.
    #[inline]
    fn next_consumer(&mut self, active: Active) -> Option<Arc<Consumer>> {
        if active == Active::Single {
            return self.consumers.first().filter(|consumer| consumer.reserve()).cloned();
        }
        let at = self.consumers.iter().position(|consumer| consumer.reserve())?;
        let chosen = &self.consumers[at];
        let priority = chosen.priority;
        let chosen = Arc::clone(chosen);
        if self.consumers.len() > 1 {
            let end = self.consumers.partition_point(|other| other.priority >= priority);
            let start = self.consumers.partition_point(|other| other.priority > priority);
            // Who was passed over because he is busy keeps his turn.
            self.consumers[at.max(start)..end].rotate_left(1);
        }
        Some(chosen)
    }

    pub(super) fn journal_removed(&mut self, queue: &Queue, batch: &mut Batch<'_>, mut removed: Vec<u64>) {
        if removed.is_empty() {
            return;
        }
        removed.sort_unstable();
        let offset = batch.append(|record| {
            let effect = BrokerEffect::Remove { ranges: ranges(removed.iter().copied()).into() };
            Effect::Broker(effect).encode(queue.partition(), record);
        });
        self.changed_at(offset);
    }
}
