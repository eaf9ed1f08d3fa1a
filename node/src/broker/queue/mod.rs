//! A queue: a partition of its own, with its messages, its consumers and its lock.

mod messages;

use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};
use tercet_proto::amqp::{FieldTable, ShortString};

pub use messages::{Delivered, Taken};

use super::batch::Batch;
use super::effect::{BrokerEffect, ranges};
use super::link::{Acknowledge, ConnectionId, Consumer, Event};
use super::message::{Message, Persistence};
use crate::effect::Effect;
use crate::ids::{Offset, Partition};
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
    pub(super) had_consumers: bool,
    pub(super) is_deleted: bool,
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
        Self { number, vhost, name, declaration, state: Mutex::default() }
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
        state.is_stalled = false;
        state.dispatch(self, batch);
        if self.declaration.auto_delete && state.consumers.is_empty() && !state.is_deleted {
            AfterCancel::Delete
        } else {
            AfterCancel::Keep
        }
    }
}

/// What becomes of a queue when a consumer has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AfterCancel {
    Keep,
    Delete,
}

impl State {
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
        let at = self.consumers.partition_point(|other| other.priority >= consumer.priority);
        self.consumers.insert(at, consumer);
        self.had_consumers = true;
        self.is_stalled = false;
    }

    pub(super) fn changed_at(&mut self, offset: Offset) {
        self.last_offset = self.last_offset.max(offset);
    }

    /// Gives ready messages to consumers that can take them.
    pub(super) fn dispatch(&mut self, queue: &Queue, batch: &mut Batch<'_>) {
        if self.is_stalled || self.messages.ready() == 0 || self.consumers.is_empty() {
            return;
        }
        let mut removed = Vec::new();
        while self.messages.ready() > 0 {
            let Some(consumer) = self.next_consumer() else {
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
    fn next_consumer(&mut self) -> Option<Arc<Consumer>> {
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
