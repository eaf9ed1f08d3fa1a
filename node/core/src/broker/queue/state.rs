//! What the lock of a queue guards: its messages and consumers, and how one comes to the other.
//!
//! **Invariant:** `place`, `enqueue` and `remove` are the only ways in which messages come and go: for clients, for records of
//! another master, and for what is loaded.

use std::sync::Arc;

use super::lease::Leases;
use super::messages::{By, Messages};
use super::sequence::{Sequences, Step};
use super::unique::{Unique, digest};
use super::{Counts, Margin, Queue};
use crate::broker::batch::Batch;
use crate::broker::dead_letter::Reason;
use crate::broker::effect::{BrokerEffect, ranges};
use crate::broker::limits;
use crate::broker::link::{Acknowledge, Consumer, Event};
use crate::broker::message::{Delivered, Extra, Lifetime, Message, Persistence};
use crate::broker::policy::Applied;
use crate::broker::settings::{Active, Overflow, Settings};
use crate::broker::shelf::Shelf;
use crate::broker::statistics::Statistics;
use crate::budget::Budget;
use crate::effect::Effect;
use crate::freeing;
use crate::ids::Offset;
use crate::limits as core_limits;

/// Messages and consumers of a queue.
#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) messages: Messages,
    /// What the arguments and the policies ask for.
    pub(crate) settings: Arc<Settings>,
    pub(crate) applied: Applied,
    /// Highest priority first; within one, who is served next comes first.
    pub(super) consumers: Vec<Arc<Consumer>>,
    /// A single active consumer that has gone with messages in hand, and until when its successor waits for them.
    predecessor: Option<(Arc<Consumer>, u64)>,
    /// No consumer could take the last message; nothing has changed since.
    pub(crate) is_stalled: bool,
    pub(crate) is_deleted: bool,
    /// When it was declared, fetched from or consumed last: for `x-expires`. 0: this node has not looked yet.
    pub(crate) last_used: u64,
    pub(crate) leases: Leases,
    /// Ids that came within the window, if the queue takes messages once; and until it is known whether it does.
    pub(crate) unique: Unique,
    is_known: bool,
    /// The numbers of producers that count their messages.
    sequences: Sequences,
    last_offset: Offset,
    pub(crate) statistics: Statistics,
    /// Who carries messages out of the memory and back, and the number under which it knows the queue.
    place: Option<(Arc<Shelf>, u32)>,
}

/// What the extras of a message say to a queue.
#[derive(Default)]
struct Noted {
    /// The id under which the queue takes it once, and when it was published.
    id: Option<u128>,
    at: u64,
    /// Producer and number.
    sequence: Option<(u128, u64)>,
}

impl Noted {
    fn of(extras: &[u8]) -> Self {
        let mut noted = Self::default();
        for extra in Extra::all(extras) {
            match extra {
                Extra::Unique(text) => noted.id = Some(digest(text)),
                Extra::PublishedAt(time) => noted.at = time,
                Extra::Sequence { producer, number } => noted.sequence = Some((producer, number)),
                Extra::HiddenKey(_) => {}
            }
        }
        noted
    }
}

impl State {
    /// Empty, for a queue with these settings.
    pub(crate) fn of(settings: Settings) -> Self {
        let mut state = Self::default();
        state.prepare(Arc::new(settings));
        state
    }

    /// From now on these settings hold.
    pub(crate) fn prepare(&mut self, settings: Arc<Settings>) {
        if settings.delays {
            self.messages.order_by(By::Deadline);
        } else if settings.max_priority > 0 && settings.max_priority != self.settings.max_priority {
            self.messages.order_by(By::Priority(settings.max_priority));
        }
        self.settings = settings;
        self.is_known = true;
        if self.settings.once.is_none() {
            self.unique = Unique::default();
        }
    }

    /// Whether the queue has taken a message of this id.
    #[inline]
    pub(crate) fn has_taken(&self, extras: &[u8], now: u64) -> bool {
        if extras.is_empty() {
            return false;
        }
        let Some(once) = &self.settings.once else { return false };
        Noted::of(extras).id.is_some_and(|id| self.unique.has(id, once, now))
    }

    /// A message has come, in whatever way.
    #[inline]
    fn note_extras(&mut self, message: &Message) {
        let extras = message.content().extras;
        if extras.is_empty() {
            return;
        }
        let noted = Noted::of(extras);
        if let Some(id) = noted.id.filter(|_| self.remembers()) {
            self.unique.note(id, noted.at, &self.settings.once.unwrap_or_default());
        }
        if let Some((producer, number)) = noted.sequence {
            match self.sequences.note(producer, number) {
                Step::Next => {}
                Step::Gap(left_out) => self.statistics.sequence_gaps += left_out,
                Step::Again => self.statistics.sequence_repeats += 1,
            }
        }
    }

    /// Whether ids are remembered: the queue takes each once, or it is not known yet whether it does.
    fn remembers(&self) -> bool {
        !self.is_known || self.settings.once.is_some()
    }

    /// As an image says.
    pub(crate) fn note_seen(&mut self, id: u128, at: u64) {
        if self.remembers() {
            self.unique.note(id, at, &self.settings.once.unwrap_or_default());
        }
    }

    /// A message that was taken comes back to its place; or goes, if it has come back too often.
    pub(crate) fn requeue(&mut self, queue: &Arc<Queue>, batch: &mut Batch<'_>, id: u64, removed: &mut Vec<u64>) {
        let Some(limit) = self.settings.delivery_limit else {
            self.messages.give_back(id, Delivered::Maybe);
            return;
        };
        let Some((returns, persistence)) = self.messages.count_return(id) else { return };
        if returns > limit {
            self.drop_message(queue, batch, id, Reason::DeliveryLimit, removed);
            return;
        }
        self.messages.give_back(id, Delivered::Maybe);
        if persistence == Persistence::Persistent && queue.declaration.is_replicated() {
            batch.touch(queue);
            let offset = batch.append(|record| {
                let effect = BrokerEffect::Returned { id, returns };
                Effect::Broker(effect).encode(queue.partition(), record);
            });
            self.changed_at(offset);
        }
    }

    /// From now on its bytes count in the node's budget.
    pub(crate) fn join(&mut self, budget: &Arc<Budget>, shelf: &Arc<Shelf>, number: u32) {
        self.messages.join(budget);
        self.place = Some((Arc::clone(shelf), number));
        self.look_ahead();
    }

    /// Has messages brought into memory that will be needed soon.
    #[inline]
    pub(crate) fn look_ahead(&mut self) {
        if self.messages.must_ask()
            && let Some((shelf, number)) = &self.place
        {
            shelf.want(*number);
        }
    }

    /// Notes if more is in memory than should be.
    #[inline]
    pub(crate) fn note_memory(&self, queue: &Queue) {
        let held = self.messages.held();
        if held >= limits::LOOK_AT_LENGTH_BYTES
            && let Some((shelf, number)) = &self.place
            && held > queue.memory_bound(shelf.bound())
        {
            shelf.is_long(*number);
        }
    }

    pub(crate) fn counts(&self) -> Counts {
        Counts {
            ready: self.messages.ready(),
            unacknowledged: self.messages.taken(),
            consumers: self.consumers.len(),
            bytes: self.messages.bytes(),
            paged: self.messages.out().0,
            paged_bytes: self.messages.out().1,
            last_offset: self.last_offset,
        }
    }

    pub(crate) fn consumers(&self) -> &[Arc<Consumer>] {
        &self.consumers
    }

    pub(crate) fn take_consumers(&mut self) -> Vec<Arc<Consumer>> {
        std::mem::take(&mut self.consumers)
    }

    pub(crate) fn add(&mut self, consumer: Arc<Consumer>) {
        let at = match self.settings.active {
            // Who is active stays so.
            Active::Single => self.consumers.len(),
            Active::All => self.consumers.partition_point(|other| other.priority >= consumer.priority),
        };
        self.consumers.insert(at, consumer);
        self.is_stalled = false;
    }

    /// Says whether somebody waits for what it still has.
    pub(crate) fn leave(&mut self, consumer: &Arc<Consumer>, now: u64) -> bool {
        let is_active = self.consumers.first().is_some_and(|first| Arc::ptr_eq(first, consumer));
        let is_waited_for = self.settings.active == Active::Single && is_active && consumer.in_flight() > 0;
        if is_waited_for {
            self.predecessor = Some((Arc::clone(consumer), now.saturating_add(limits::HAND_OVER_MS)));
        }
        self.consumers.retain(|other| !Arc::ptr_eq(other, consumer));
        is_waited_for
    }

    /// Whether a successor still waits for what its predecessor has.
    fn waits(&mut self, now: u64) -> bool {
        let waits = self.predecessor.as_ref().is_some_and(|(consumer, until)| consumer.in_flight() > 0 && now < *until);
        if !waits {
            self.predecessor = None;
        }
        waits
    }

    /// Time has passed: a successor may have waited long enough.
    pub(crate) fn go_on(&mut self, queue: &Arc<Queue>, batch: &mut Batch<'_>) {
        if self.predecessor.is_some() && !self.waits(batch.now().0) {
            self.is_stalled = false;
            self.dispatch(queue, batch);
        }
    }

    /// Puts a message at the end, for a client; what has no room then goes.
    #[inline]
    pub(crate) fn place(&mut self, queue: &Arc<Queue>, batch: &mut Batch<'_>, message: Arc<Message>, deadline: u64) {
        batch.worked(1);
        self.note_extras(&message);
        self.statistics.published += 1;
        self.messages.push(message, deadline);
        if batch.is_together() {
            batch.touch(queue);
            return;
        }
        self.dispatch(queue, batch);
        if deadline > 0 {
            self.expire(queue, batch, Margin::Reached);
        }
        self.hold_length(queue, batch);
        self.measure(queue);
    }

    /// After messages have come back or a record was made: consumers are served, and limits hold.
    pub(crate) fn settle_down(&mut self, queue: &Arc<Queue>, batch: &mut Batch<'_>) {
        if batch.is_together() {
            batch.touch(queue);
            return;
        }
        self.dispatch(queue, batch);
        self.hold_length(queue, batch);
        self.measure(queue);
    }

    /// Notes whether its publishers are to be slowed.
    #[inline]
    fn measure(&self, queue: &Queue) {
        let held = self.messages.held();
        if held < limits::LOOK_AT_LENGTH_BYTES {
            if queue.is_long() {
                queue.set_long(false);
            }
        } else {
            self.note_memory(queue);
            // Consumers take nothing out of a stream, so their pace is nobody's.
            queue.set_long(!queue.is_stream() && !self.consumers.is_empty() && self.messages.is_beyond_bound());
        }
    }

    /// Drops from the head what is beyond the limits of length.
    #[inline]
    pub(super) fn hold_length(&mut self, queue: &Arc<Queue>, batch: &mut Batch<'_>) {
        if !self.is_over() {
            return;
        }
        let mut removed = Vec::new();
        let end = batch.work() + limits::EXPIRED_A_TURN;
        while self.is_over() && batch.work() < end {
            if let Some(head) = self.messages.head() {
                self.drop_head(queue, batch, head.id, Reason::MaxLength, &mut removed);
                continue;
            }
            self.remove(queue, batch, std::mem::take(&mut removed));
            let beyond = self.settings.max_length.map_or(1, |max| self.messages.ready().saturating_sub(max)).max(1);
            let beyond = beyond.min(limits::EXPIRED_A_TURN);
            if !self.drop_out_head(queue, batch, beyond) {
                break;
            }
        }
        self.remove(queue, batch, removed);
    }

    /// Drops messages that come next and are not in memory: nobody is to see them. False: there are none, or they have to be
    /// read first, for they go elsewhere.
    pub(super) fn drop_out_head(&mut self, queue: &Arc<Queue>, batch: &mut Batch<'_>, most: usize) -> bool {
        let ids = if self.buries() || !self.messages.awaits_run() { Vec::new() } else { self.messages.next_out(most) };
        self.look_ahead();
        batch.worked(ids.len());
        let drops = !ids.is_empty();
        self.remove(queue, batch, ids);
        drops
    }

    /// Removes what is ready, and says how many that were: one record.
    pub(crate) fn purge(&mut self, queue: &Arc<Queue>, batch: &mut Batch<'_>) -> usize {
        let ids = self.messages.ready_ids();
        let (ranges, out) = self.messages.drop_out();
        let count = ids.len() + out;
        self.remove_with(queue, batch, ids, ranges);
        count
    }

    pub(super) fn drop_head(
        &mut self,
        queue: &Arc<Queue>,
        batch: &mut Batch<'_>,
        id: u64,
        reason: Reason,
        removed: &mut Vec<u64>,
    ) {
        batch.worked(1);
        self.drop_message(queue, batch, id, reason, removed);
        if removed.last() == Some(&id) {
            // It is no longer ready, so another one is the head.
            self.messages.take();
        }
    }

    /// Whether the queue takes no message of this size: `x-overflow` says that publishers are to be told.
    #[inline]
    pub(crate) fn refuses(&self, body_len: usize) -> bool {
        self.refuses_after(0, 0, body_len)
    }

    /// As `refuses`, when so many messages and bytes more have been put there.
    #[inline]
    pub(crate) fn refuses_after(&self, messages: usize, bytes: usize, body_len: usize) -> bool {
        let settings = &self.settings;
        settings.overflow != Overflow::DropHead
            && (settings.max_length.is_some_and(|max| self.messages.ready() + messages >= max)
                || settings.max_bytes.is_some_and(|max| self.messages.ready_body_bytes() + bytes + body_len > max))
    }

    #[inline]
    fn is_over(&self) -> bool {
        self.settings.max_length.is_some_and(|max| self.messages.ready() > max)
            || self.settings.max_bytes.is_some_and(|max| self.messages.ready_body_bytes() > max)
    }

    /// Whether a message that nobody took goes elsewhere.
    pub(crate) fn buries(&self) -> bool {
        self.settings.dead_letter.is_some() || self.settings.delays
    }

    /// When a message that comes now is to go; 0 is never.
    #[inline]
    pub(crate) fn deadline(&self, lifetime: Lifetime, now: u64) -> u64 {
        if self.settings.stream.is_some() {
            // When it came: ascending, also if the clock is set back.
            return now.max(self.messages.last_deadline()).max(1);
        }
        if self.settings.delays {
            return now.saturating_add(lifetime.delay.unwrap_or(0)).max(1);
        }
        let least = [lifetime.time_to_live, self.settings.time_to_live].into_iter().flatten().min();
        least.map_or(0, |milliseconds| now.saturating_add(milliseconds).max(1))
    }

    /// A message leaves the queue without having been consumed: to the dead letter exchange, or into nothing.
    pub(crate) fn drop_message(
        &mut self,
        queue: &Arc<Queue>,
        batch: &mut Batch<'_>,
        id: u64,
        reason: Reason,
        removed: &mut Vec<u64>,
    ) {
        if !self.buries() {
            removed.push(id);
        } else if let Some(message) = self.messages.bury(id) {
            // It is removed by the record that puts it elsewhere.
            if !self.settings.delays {
                self.statistics.dead_lettered += 1;
                batch.count().dead_lettered += 1;
            }
            batch.bury(queue, id, message, reason);
        }
    }

    /// Drops the messages at the head whose time has come: a bounded number, the rest at the next look.
    #[inline]
    pub(crate) fn expire(&mut self, queue: &Arc<Queue>, batch: &mut Batch<'_>, margin: Margin) {
        if !self.messages.has_deadlines() {
            return;
        }
        if let Some(stream) = self.settings.stream {
            if let Some(max_age) = stream.max_age {
                self.drop_old(queue, batch, max_age);
            }
            return;
        }
        let now = batch.now().0;
        let is_due = |deadline: u64| match margin {
            Margin::Reached => deadline > 0 && deadline <= now,
            Margin::Passed => deadline > 0 && deadline < now,
        };
        let mut removed = Vec::new();
        for _ in 0..limits::EXPIRED_A_TURN {
            let Some(head) = self.messages.head().filter(|head| is_due(head.deadline)) else { break };
            self.drop_head(queue, batch, head.id, Reason::Expired, &mut removed);
        }
        self.remove(queue, batch, removed);
        if self.messages.awaits_run() && is_due(self.messages.next_out_over_at().0) {
            self.drop_out_head(queue, batch, limits::EXPIRED_A_TURN);
        }
    }

    pub(crate) fn last_offset(&self) -> Offset {
        self.last_offset
    }

    pub(crate) fn changed_at(&mut self, offset: Offset) {
        self.last_offset = self.last_offset.max(offset);
    }

    /// Gives ready messages to consumers that can take them.
    pub(crate) fn dispatch(&mut self, queue: &Arc<Queue>, batch: &mut Batch<'_>) {
        if batch.is_together() {
            batch.touch(queue);
            return;
        }
        self.expire(queue, batch, Margin::Passed);
        if self.settings.stream.is_some() {
            self.read_stream(batch);
            self.look_ahead();
            return;
        }
        self.look_ahead();
        if self.is_stalled || self.messages.ready() == 0 || self.consumers.is_empty() || self.waits(batch.now().0) {
            return;
        }
        let mut removed = Vec::new();
        while self.messages.has_next() {
            let Some(consumer) = self.next_consumer() else {
                self.is_stalled = true;
                break;
            };
            let Some(taken) = self.messages.take() else { break };
            batch.worked(1);
            let is_again = u64::from(taken.delivered == Delivered::Maybe);
            let is_automatic = consumer.acknowledge == Acknowledge::Automatically;
            for statistics in [&mut self.statistics, batch.count()] {
                statistics.redelivered += is_again;
                statistics.delivered += u64::from(!is_automatic);
                statistics.delivered_no_ack += u64::from(is_automatic);
            }
            if is_automatic {
                removed.push(taken.id);
            }
            let link = Arc::clone(&consumer.link);
            if link.push(Event::Deliver(consumer, taken)) {
                batch.wakes(link);
            }
        }
        self.remove(queue, batch, removed);
        self.look_ahead();
        self.measure(queue);
    }

    /// The next one that can take a message; it goes behind its equals.
    #[inline]
    fn next_consumer(&mut self) -> Option<Arc<Consumer>> {
        if self.settings.active == Active::Single {
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

    /// Removes messages for good, and notes it in the record. What is gone already is passed over.
    pub(crate) fn remove(&mut self, queue: &Arc<Queue>, batch: &mut Batch<'_>, removed: Vec<u64>) {
        self.remove_with(queue, batch, removed, Vec::new());
    }

    /// As `remove`; in the same record what has gone already, first ids and how many.
    fn remove_with(
        &mut self,
        queue: &Arc<Queue>,
        batch: &mut Batch<'_>,
        mut removed: Vec<u64>,
        others: Vec<(u64, u64)>,
    ) {
        if removed.is_empty() && others.is_empty() {
            return;
        }
        batch.touch(queue);
        let is_many = removed.len() > core_limits::FREED_AT_ONCE;
        let mut gone = Vec::new();
        removed.retain(|id| {
            let Some(message) = self.messages.remove(*id) else { return false };
            let is_kept = queue.keeps(message.persistence);
            if is_many {
                gone.extend(message.message);
            }
            is_kept
        });
        if is_many {
            let bytes = gone.iter().map(|message| message.len()).sum();
            freeing::later(gone, bytes);
        }
        if removed.is_empty() && others.is_empty() {
            return;
        }
        removed.sort_unstable();
        let offset = batch.append(|record| {
            let mut ranges = ranges(removed.iter().copied());
            if !others.is_empty() {
                ranges.extend(others);
                ranges.sort_unstable();
            }
            let effect = BrokerEffect::Remove { ranges: ranges.into() };
            Effect::Broker(effect).encode(queue.partition(), record);
        });
        self.changed_at(offset);
    }

    /// A message out of a record or an image: a master may have delivered it before.
    pub(crate) fn enqueue(&mut self, id: u64, message: Arc<Message>, deadline: u64) {
        self.note_extras(&message);
        self.messages.insert(id, message, deadline);
    }

    /// Keeps what the journal knows, and nobody has it.
    pub(crate) fn forget_transient(&mut self) {
        self.take_consumers();
        self.predecessor = None;
        for id in self.messages.transient_ids() {
            self.messages.remove(id);
        }
        self.messages.give_all_back();
        self.leases.clear();
    }

    /// The queue is gone. Its consumers go with it; who still has messages of it finds nothing.
    pub(crate) fn end(&mut self) {
        self.messages.free();
        *self = Self::default();
        self.is_deleted = true;
    }
}
