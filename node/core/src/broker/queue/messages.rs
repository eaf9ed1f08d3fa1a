//! The messages of a queue, ordered by id: which are ready, which are with a consumer, and what comes next.
//!
//! ```text
//! slots (ids ascend):  taken  gone  ready  taken | ready  ready  ready
//!                                    ^ returned  ^ fresh: never taken so far
//! ```
//!
//! A message keeps its slot until it is removed, so one that comes back is in its old place. Removed slots at the front
//! go at once, others when they are too many.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use super::runs::Runs;
use super::written::Written;
use crate::broker::limits;
use crate::broker::message::{Delivered, Message, Persistence};
use crate::budget::{Budget, Class, Share};
use crate::{freeing, limits as core_limits};

/// A message on its way to a consumer.
#[derive(Debug, Clone)]
pub struct Taken {
    pub id: u64,
    pub message: Arc<Message>,
    pub delivered: Delivered,
    /// How often it came back from a consumer before.
    pub returns: u32,
}

#[derive(Debug)]
pub(super) struct Slot {
    pub(super) id: u64,
    /// Milliseconds since the Unix epoch; 0 is never.
    pub(super) deadline: u64,
    pub(super) state: State,
    pub(super) delivered: Delivered,
    /// How often it came back from a consumer.
    pub(super) returns: u32,
    /// `None` when it is gone.
    pub(super) message: Option<Arc<Message>>,
}

/// A message that is gone for good.
#[derive(Debug)]
pub(crate) struct Gone {
    /// `None`: it was not in memory.
    pub(crate) message: Option<Arc<Message>>,
    pub(crate) persistence: Persistence,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Ready,
    Taken,
    /// On its way to a dead letter exchange: neither is it ready, nor has anybody got it.
    Dying,
}

#[derive(Debug, Default)]
pub(crate) struct Messages {
    pub(super) slots: VecDeque<Slot>,
    /// Messages that are not in memory, or could leave it without being written.
    pub(crate) runs: Runs,
    /// Index of the first slot that was never taken.
    pub(super) fresh: usize,
    /// Ids before `fresh` that are ready again.
    pub(super) returned: BTreeSet<u64>,
    /// Ids of those that have come back from a consumer, as far as that is counted.
    pub(super) counted: BTreeSet<u64>,
    last_id: u64,
    pub(super) ready: usize,
    taken: usize,
    pub(super) bytes: usize,
    pub(super) ready_body_bytes: usize,
    pub(super) dead: usize,
    /// Of the newest message.
    pub(super) last_deadline: u64,
    /// Some deadline was given, so the head may have passed it.
    pub(super) has_deadlines: bool,
    /// Of a queue whose messages do not go in the order of their ids: what is ready, in the order in which it goes. `fresh`
    /// and `returned` mean nothing then.
    pub(super) order: Option<Order>,
    /// What the last checkpoint has taken.
    pub written: Written,
    /// This queue's part of the node's budget.
    pub(super) share: Option<Share>,
}

/// What decides which message goes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum By {
    /// The greater priority, up to this one.
    Priority(u8),
    /// The earlier deadline.
    Deadline,
}

#[derive(Debug)]
pub(super) struct Order {
    by: By,
    /// Least first; equals by id.
    ready: BTreeSet<(u64, u64)>,
}

impl Order {
    fn place(&self, id: u64, deadline: u64, message: &Message) -> (u64, u64) {
        match self.by {
            By::Priority(max) => (u64::from(u8::MAX - message.priority().min(max)), id),
            By::Deadline => (deadline, id),
        }
    }
}

/// A message that is ready and comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Head {
    pub id: u64,
    /// 0 is never.
    pub deadline: u64,
}

impl Messages {
    /// From now on its bytes count in the node's budget.
    pub(crate) fn join(&mut self, budget: &Arc<Budget>) {
        self.share = Some(Share::new(Arc::clone(budget), Class::Queues));
        self.count_anew();
    }

    /// Counts everything that is there.
    fn count_anew(&mut self) {
        let all = self.live().map(|(_, message)| self.counted_bytes(message)).sum::<usize>() + self.runs.overhead();
        if let Some(share) = &mut self.share {
            share.set(all);
        }
    }

    /// What a message of this queue counts.
    #[inline]
    pub(super) fn counted_bytes(&self, message: &Message) -> usize {
        message.share() + if self.order.is_some() { limits::ORDER_BYTES } else { 0 }
    }

    /// Bytes that count in the node's budget.
    #[inline]
    pub(crate) fn held(&self) -> usize {
        self.share.as_ref().map_or(0, Share::held)
    }

    /// Whether it holds more than one queue with consumers should.
    pub(crate) fn is_beyond_bound(&self) -> bool {
        let held = |share: &Share| share.held() + self.runs.bytes() > share.budget().queue_bound();
        self.share.as_ref().is_some_and(held)
    }

    /// Whether it has its part of the memory.
    pub(crate) fn is_beyond_share(&self) -> bool {
        self.share.as_ref().is_some_and(|share| share.held() > share.budget().queue_bound())
    }

    pub(crate) fn ready(&self) -> usize {
        self.ready
    }

    pub(crate) fn taken(&self) -> usize {
        self.taken
    }

    /// Bytes of all messages.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The id that the next message gets.
    pub(crate) fn next_id(&self) -> u64 {
        self.last_id + 1
    }

    /// Ids up to here have been given away elsewhere.
    pub(crate) fn skip_to(&mut self, last_id: u64) {
        self.last_id = self.last_id.max(last_id);
    }

    /// Bytes of the bodies that are ready.
    pub(crate) fn ready_body_bytes(&self) -> usize {
        self.ready_body_bytes
    }

    pub(crate) fn has_deadlines(&self) -> bool {
        self.has_deadlines
    }

    /// From now on this decides which message goes first.
    pub(crate) fn order_by(&mut self, by: By) {
        let mut order = Order { by, ready: BTreeSet::new() };
        for (slot, message) in self.live().filter(|(slot, _)| slot.state == State::Ready) {
            order.ready.insert(order.place(slot.id, slot.deadline, message));
        }
        self.order = Some(order);
        self.count_anew();
    }

    /// Appends a message under the next id.
    #[inline]
    pub(crate) fn push(&mut self, message: Arc<Message>, deadline: u64) -> u64 {
        self.last_id += 1;
        let id = self.last_id;
        self.came(id, deadline, &message);
        let delivered = Delivered::Never;
        self.slots.push_back(Slot { id, deadline, state: State::Ready, delivered, returns: 0, message: Some(message) });
        id
    }

    /// Puts a message where its id belongs: out of a record or an image. A master may have delivered it before.
    pub(crate) fn insert(&mut self, id: u64, message: Arc<Message>, deadline: u64) {
        if self.runs.has_out(id) {
            // A record comes again whose message was there when it was taken.
            return;
        }
        if self.slots.back().is_some_and(|slot| slot.id >= id) {
            self.remove(id);
            self.sweep();
        }
        self.skip_to(id);
        self.written.came(id);
        self.came(id, deadline, &message);
        let slot =
            Slot { id, deadline, state: State::Ready, delivered: Delivered::Maybe, returns: 0, message: Some(message) };
        // Nearly always at the end.
        if self.slots.back().is_none_or(|slot| slot.id < id) {
            self.slots.push_back(slot);
            return;
        }
        let at = self.slots.partition_point(|slot| slot.id < id);
        if at < self.fresh {
            self.fresh += 1;
            self.returned.insert(id);
        }
        self.slots.insert(at, slot);
    }

    #[inline]
    fn came(&mut self, id: u64, deadline: u64, message: &Message) {
        let counted = self.counted_bytes(message);
        if let Some(share) = &mut self.share {
            share.add(counted);
        }
        self.ready += 1;
        self.bytes += message.len();
        self.ready_body_bytes += message.body_len();
        self.has_deadlines |= deadline > 0;
        if id == self.last_id {
            self.last_deadline = deadline;
        }
        if let Some(order) = &mut self.order {
            order.ready.insert(order.place(id, deadline, message));
        }
    }

    /// What `take` would give.
    pub(crate) fn head(&mut self) -> Option<Head> {
        let index = self.next()?;
        let slot = &self.slots[index];
        Some(Head { id: slot.id, deadline: slot.deadline })
    }

    /// The next message, for a consumer.
    #[inline]
    pub(crate) fn take(&mut self) -> Option<Taken> {
        let index = self.next()?;
        let slot = &mut self.slots[index];
        slot.state = State::Taken;
        let message = slot.message.clone()?;
        let (id, delivered, returns) = (slot.id, slot.delivered, slot.returns);
        self.left(id, index, &message);
        self.taken += 1;
        Some(Taken { id, message, delivered, returns })
    }

    /// The slot of the next message.
    #[inline]
    fn next(&mut self) -> Option<usize> {
        if self.ready == 0 {
            return None;
        }
        if let Some(order) = &self.order {
            return order.ready.first().and_then(|(_, id)| self.find(*id));
        }
        if let Some(id) = self.returned.first() {
            return self.find(*id);
        }
        // What is behind it comes later, and what is not in memory goes into its place first.
        let barrier = self.runs.barrier();
        let is_over = |slot: &Slot| slot.id < barrier && (slot.message.is_none() || slot.state != State::Ready);
        while self.slots.get(self.fresh).is_some_and(is_over) {
            self.fresh += 1;
        }
        self.slots.get(self.fresh).filter(|slot| slot.id < barrier)?;
        Some(self.fresh)
    }

    /// Whether there is a next message, and it is in memory.
    #[inline]
    pub(crate) fn has_next(&mut self) -> bool {
        self.next().is_some()
    }

    /// Whether the next message is not in memory.
    pub(crate) fn awaits_run(&mut self) -> bool {
        self.ready > 0 && self.next().is_none()
    }

    /// A message is no longer ready. Its slot is still there.
    #[inline]
    fn left(&mut self, id: u64, index: usize, message: &Message) {
        self.ready -= 1;
        self.ready_body_bytes -= message.body_len();
        if let Some(order) = &mut self.order {
            order.ready.remove(&order.place(id, self.slots[index].deadline, message));
        } else if index < self.fresh {
            self.returned.remove(&id);
        } else if index == self.fresh {
            self.fresh += 1;
        }
    }

    /// A message that was taken is ready again, in its old place. False: it is gone, or was not taken.
    pub(crate) fn give_back(&mut self, id: u64, delivered: Delivered) -> bool {
        let Some(index) = self.find(id) else { return false };
        if self.slots[index].state != State::Taken {
            return false;
        }
        self.taken -= 1;
        self.revive(index, delivered);
        true
    }

    /// A message that was taken or dying is ready again.
    fn revive(&mut self, index: usize, delivered: Delivered) {
        let slot = &mut self.slots[index];
        let id = slot.id;
        slot.state = State::Ready;
        if delivered == Delivered::Maybe {
            slot.delivered = Delivered::Maybe;
        }
        self.ready += 1;
        if let Some(message) = &slot.message {
            self.ready_body_bytes += message.body_len();
            match &mut self.order {
                Some(order) => _ = order.ready.insert(order.place(id, slot.deadline, message)),
                // A dying one may never have been taken.
                None if index < self.fresh => _ = self.returned.insert(id),
                None => {}
            }
        }
    }

    /// A message is on its way to a dead letter exchange, and stays until it is there. `None`: it is gone, or on its way.
    pub(crate) fn bury(&mut self, id: u64) -> Option<Arc<Message>> {
        let index = self.find(id)?;
        let slot = &mut self.slots[index];
        let before = std::mem::replace(&mut slot.state, State::Dying);
        let message = slot.message.clone()?;
        match before {
            State::Taken => self.taken -= 1,
            State::Ready => self.left(id, index, &message),
            State::Dying => return None,
        }
        Some(message)
    }

    /// Whether a message is there and nobody has it.
    pub(crate) fn is_ready(&self, id: u64) -> bool {
        self.find(id).is_some_and(|index| self.slots[index].state == State::Ready) || self.runs.has_out(id)
    }

    /// A message comes back from a consumer once more: how often that was, and whether it is persistent. Nothing if it was
    /// not taken.
    pub(crate) fn count_return(&mut self, id: u64) -> Option<(u32, Persistence)> {
        let index = self.find(id)?;
        let slot = &mut self.slots[index];
        if slot.state != State::Taken {
            return None;
        }
        slot.returns = slot.returns.saturating_add(1);
        self.counted.insert(id);
        Some((slot.returns, slot.message.as_ref()?.persistence()))
    }

    /// As a record says, or an image.
    pub(crate) fn set_returns(&mut self, id: u64, returns: u32) {
        if let Some(index) = self.find(id) {
            self.slots[index].returns = returns;
            if returns > 0 {
                self.counted.insert(id);
            }
        } else if self.runs.has_out(id) {
            self.runs.returns.insert(id, returns);
        }
    }

    /// How often a message came back.
    pub(crate) fn returns(&self, id: u64) -> u32 {
        let elsewhere = || self.runs.returns.get(&id).copied().unwrap_or(0);
        self.find(id).map_or_else(elsewhere, |index| self.slots[index].returns)
    }

    /// Those that came back, with how often.
    pub(crate) fn returned(&self) -> impl Iterator<Item = (u64, u32)> {
        let live = self.counted.iter().filter_map(|id| self.find(*id)).map(|index| &self.slots[index]);
        live.filter(|slot| slot.message.as_ref().is_some_and(|m| m.persistence() == Persistence::Persistent))
            .map(|slot| (slot.id, slot.returns))
            .chain(self.runs.returns.iter().map(|(id, returns)| (*id, *returns)))
    }

    /// Whether a message is on its way to a dead letter exchange.
    pub(crate) fn is_dying(&self, id: u64) -> bool {
        self.find(id).is_some_and(|index| self.slots[index].state == State::Dying)
    }

    /// Removes a message for good. `None`: it is gone already.
    #[inline]
    pub(crate) fn remove(&mut self, id: u64) -> Option<Gone> {
        let Some(index) = self.find(id) else { return self.remove_out(id) };
        let slot = &mut self.slots[index];
        let state = slot.state;
        let message = slot.message.take()?;
        if slot.returns > 0 {
            self.counted.remove(&id);
        }
        match state {
            State::Taken => self.taken -= 1,
            State::Ready => self.left(id, index, &message),
            State::Dying => {}
        }
        let counted = self.counted_bytes(&message);
        if let Some(share) = &mut self.share {
            share.remove(counted);
        }
        self.bytes -= message.len();
        let persistence = message.persistence();
        match self.runs.clear_inside(id) {
            // It has no row.
            Some(overhead) => self.share.iter_mut().for_each(|share| share.remove(overhead)),
            None if persistence == Persistence::Persistent => self.written.removed(id),
            None => {}
        }
        self.dead += 1;
        while self.slots.front().is_some_and(|slot| slot.message.is_none()) {
            self.slots.pop_front();
            self.fresh = self.fresh.saturating_sub(1);
            self.dead -= 1;
        }
        if self.dead > limits::DEAD_SLOTS && self.dead > self.slots.len() / 2 {
            self.sweep();
        }
        Some(Gone { message: Some(message), persistence })
    }

    /// All of it goes: to be freed elsewhere, if that is much.
    pub(crate) fn free(&mut self) {
        if self.slots.len() > core_limits::FREED_AT_ONCE {
            let gone = std::mem::take(self);
            let bytes = gone.bytes;
            freeing::later(gone, bytes);
        }
    }

    /// All that are with a consumer or on their way elsewhere come back.
    pub(crate) fn give_all_back(&mut self) {
        for index in 0..self.slots.len() {
            let slot = &self.slots[index];
            if slot.message.is_none() || slot.state == State::Ready {
                continue;
            }
            if slot.state == State::Taken {
                self.taken -= 1;
            }
            self.revive(index, Delivered::Maybe);
        }
    }

    /// Ids of the ready ones, ascending.
    pub(crate) fn ready_ids(&self) -> Vec<u64> {
        self.live().filter(|(slot, _)| slot.state == State::Ready).map(|(slot, _)| slot.id).collect()
    }

    /// The index of the first slot with this id or a greater one.
    #[inline]
    pub(super) fn index_at_or_behind(&self, id: u64) -> usize {
        // Ids follow on each other unless some were swept, or are not in memory.
        let (Some(first), Some(last)) = (self.slots.front(), self.slots.back()) else { return 0 };
        let from_front = usize::try_from(id.saturating_sub(first.id)).unwrap_or(usize::MAX);
        if self.slots.get(from_front).is_some_and(|slot| slot.id == id) {
            return from_front;
        }
        let from_back = last.id.checked_sub(id).and_then(|behind| (self.slots.len() - 1).checked_sub(behind as usize));
        match from_back {
            Some(at) if self.slots[at].id == id => at,
            _ => self.slots.partition_point(|slot| slot.id < id),
        }
    }

    /// The first one in memory with this id or a greater one.
    #[inline]
    pub(crate) fn at_or_behind(&self, id: u64) -> Option<(u64, &Arc<Message>)> {
        let at = self.index_at_or_behind(id);
        self.slots.range(at..).find_map(|slot| Some((slot.id, slot.message.as_ref()?)))
    }

    /// The first id whose deadline is this one or later, where deadlines ascend. Within a run that is not in memory it may be
    /// an earlier one.
    pub(crate) fn id_since(&self, deadline: u64) -> u64 {
        let at = self.slots.partition_point(|slot| slot.deadline < deadline);
        let in_memory = self.slots.get(at).map_or(self.last_id + 1, |slot| slot.id);
        let run = self.runs.out().find(|run| run.about.deadlines.1 >= deadline);
        run.map_or(in_memory, |run| in_memory.min(run.lowest()))
    }

    /// The deadline of the newest message.
    pub(crate) fn last_deadline(&self) -> u64 {
        self.last_deadline
    }

    /// The ready ones, by id.
    pub(crate) fn ready_messages(&self) -> impl Iterator<Item = Arc<Message>> {
        let ready = self.slots.iter().filter(|slot| slot.state == State::Ready);
        ready.filter_map(|slot| slot.message.clone())
    }

    /// Ids of those that only this node knows, ascending.
    pub(crate) fn transient_ids(&self) -> Vec<u64> {
        self.live().filter(|(_, m)| m.persistence() == Persistence::Transient).map(|(slot, _)| slot.id).collect()
    }

    /// The persistent ones with a greater id than this, whoever has them: id, deadline, message.
    pub(crate) fn persistent_behind(&self, id: u64) -> impl Iterator<Item = (u64, u64, &Arc<Message>)> {
        let start = self.index_at_or_behind(id.saturating_add(1));
        let behind = self.slots.range(start..).filter_map(|slot| Some((slot, slot.message.as_ref()?)));
        let persistent = behind.filter(|(_, message)| message.persistence() == Persistence::Persistent);
        persistent.map(|(slot, message)| (slot.id, slot.deadline, message))
    }

    pub(super) fn live(&self) -> impl Iterator<Item = (&Slot, &Message)> {
        self.slots.iter().filter_map(|slot| slot.message.as_deref().map(|message| (slot, message)))
    }

    #[inline]
    pub(super) fn find(&self, id: u64) -> Option<usize> {
        let index = self.index_at_or_behind(id);
        self.slots.get(index).filter(|slot| slot.id == id && slot.message.is_some())?;
        Some(index)
    }

    fn sweep(&mut self) {
        if self.dead > 0 {
            let before_fresh = self.slots.iter().take(self.fresh).filter(|slot| slot.message.is_some()).count();
            self.slots.retain(|slot| slot.message.is_some());
            self.fresh = before_fresh;
            self.dead = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use rand::{Rng as _, SeedableRng as _};
    use tercet_proto::amqp::Properties;

    use super::*;
    use crate::broker::message::Draft;
    use crate::ids::Offset;

    fn message() -> Arc<Message> {
        Arc::new(Draft::new(b"", b"q", &Properties::default(), 0).finish(Offset::ZERO, 1))
    }

    #[test]
    fn a_message_that_comes_back_is_in_its_old_place_and_marked() {
        let mut messages = Messages::default();
        for _ in 0..3 {
            messages.push(message(), 0);
        }
        let ids: Vec<u64> = (0..2).map(|_| messages.take().unwrap().id).collect();
        assert_eq!(ids, [1, 2]);
        assert!(messages.give_back(2, Delivered::Maybe));
        assert!(messages.give_back(1, Delivered::Never));
        let next: Vec<_> = std::iter::from_fn(|| messages.take()).map(|t| (t.id, t.delivered)).collect();
        assert_eq!(next, [(1, Delivered::Never), (2, Delivered::Maybe), (3, Delivered::Never)]);
        assert!(!messages.give_back(9, Delivered::Never));
    }

    #[test]
    fn the_greater_priority_goes_first_and_equals_in_order() {
        let with = |priority: u8| {
            let properties = tercet_proto::amqp::BasicProperties { priority: Some(priority), ..Default::default() };
            Arc::new(Draft::new(b"", b"q", &properties.encode(), 0).finish(Offset::ZERO, 1))
        };
        let mut messages = Messages::default();
        messages.push(with(3), 0);
        messages.order_by(By::Priority(5));
        for priority in [1, 5, 0, 9, 3] {
            messages.push(with(priority), 0);
        }
        let first = messages.take().unwrap();
        assert_eq!(first.id, 3);
        assert!(messages.give_back(3, Delivered::Maybe));
        assert_eq!(messages.remove(5).and_then(|gone| gone.message).map(|message| message.priority()), Some(9));
        let order: Vec<u64> = std::iter::from_fn(|| messages.take()).map(|taken| taken.id).collect();
        assert_eq!(order, [3, 1, 6, 2, 4], "9 counts as 5, which is the greatest of this queue");
        assert_eq!((messages.ready(), messages.taken(), messages.ready_body_bytes()), (0, 5, 0));
    }

    #[test]
    fn what_a_queue_counts_is_gone_with_its_messages_in_whatever_order_they_go() {
        let budget = Arc::new(Budget::default());
        let mut messages = Messages::default();
        messages.join(&budget);
        let in_line = |messages: &mut Messages| {
            (0..10).for_each(|deadline| _ = messages.push(message(), deadline));
            messages.held()
        };
        let before = in_line(&mut messages);
        messages.order_by(By::Deadline);
        assert_eq!(messages.held(), before + 10 * limits::ORDER_BYTES, "also of what was there");
        assert_eq!(in_line(&mut messages), 2 * (before + 10 * limits::ORDER_BYTES));
        (1..=20).for_each(|id| _ = messages.remove(id));
        assert_eq!(messages.held(), 0);
    }

    /// The definition: a map by id.
    #[test]
    fn messages_agree_with_a_map() {
        let seed = std::env::var("SEED").ok().and_then(|text| text.parse().ok()).unwrap_or_else(rand::random::<u64>);
        println!("SEED={seed}");
        let mut random = rand::rngs::StdRng::seed_from_u64(seed);
        let mut messages = Messages::default();
        let mut model: BTreeMap<u64, bool> = BTreeMap::new();
        let mut next = 1;
        for round in 0..100_000 {
            match random.random_range(0..10) {
                0..4 => {
                    assert_eq!(messages.push(message(), 0), next);
                    model.insert(next, false);
                    next += 1;
                }
                4..7 => {
                    let expected = model.iter().find(|(_, taken)| !**taken).map(|(id, _)| *id);
                    assert_eq!(messages.take().map(|taken| taken.id), expected);
                    expected.into_iter().for_each(|id| _ = model.insert(id, true));
                }
                7 => {
                    let id = random.random_range(0..next + 2);
                    let expected = model.get(&id) == Some(&true);
                    assert_eq!(messages.give_back(id, Delivered::Maybe), expected);
                    if expected {
                        model.insert(id, false);
                    }
                }
                8 => {
                    let id = random.random_range(next.saturating_sub(3000)..next + 2);
                    assert_eq!(messages.remove(id).is_some(), model.remove(&id).is_some());
                }
                _ => {
                    let id = random.random_range(next.saturating_sub(50)..next + 3);
                    if !model.contains_key(&id) && id > 0 {
                        messages.insert(id, message(), 0);
                        model.insert(id, false);
                        next = next.max(id + 1);
                    }
                }
            }
            if round % 100 == 0 {
                let taken = model.values().filter(|taken| **taken).count();
                assert_eq!((messages.ready(), messages.taken()), (model.len() - taken, taken));
            }
            if model.len() > 3_000 {
                let oldest: Vec<u64> = model.keys().take(2_000).copied().collect();
                for id in oldest {
                    model.remove(&id);
                    messages.remove(id).unwrap();
                }
            }
        }
    }
}
