//! A stream: messages stay where they are when they were read, and each consumer has a place of its own.
//!
//! ```text
//! ids:  gone | 4  5  6  7  8  9
//!                 ^ a     ^ b      next message of each consumer; its offset is the id less one
//! ```
//!
//! The deadline of a message is the time at which it came: it goes when that is too long ago.

use std::sync::Arc;

use super::messages::{Messages, Taken};
use super::{Queue, Settled, State};
use crate::broker::batch::Batch;
use crate::broker::dead_letter::Reason;
use crate::broker::limits;
use crate::broker::link::{Event, Start};
use crate::broker::message::{Delivered, Message};

impl Messages {
    /// The id at which a consumer begins.
    pub(crate) fn id_of(&self, start: Start, now: u64) -> u64 {
        match start {
            Start::First => 0,
            Start::Last => self.next_id() - 1,
            Start::Next => self.next_id(),
            Start::Offset(offset) => offset.saturating_add(1),
            Start::At(time) => self.id_since(time),
            Start::Within(milliseconds) => self.id_since(now.saturating_sub(milliseconds)),
        }
    }

    /// What a consumer reads next. Nothing: it is at the end, or waits for a run.
    fn read_next(&mut self, next: u64) -> Option<(u64, Arc<Message>)> {
        let in_memory = self.at_or_behind(next).map(|(id, message)| (id, Arc::clone(message)));
        let run = self.runs.out_at_or_behind(next);
        let before = run.and_then(|run| Some((run.first(), run.ids_from(next).next()?)));
        match before.filter(|(_, id)| in_memory.as_ref().is_none_or(|(other, _)| id < other)) {
            Some((first, _)) => {
                if self.runs.needed.insert(first) {
                    self.runs.is_wanted = false;
                }
                None
            }
            None => in_memory,
        }
    }
}

impl State {
    /// Gives each consumer what comes next for it, as far as it can take that.
    pub(super) fn read_stream(&mut self, batch: &mut Batch<'_>) {
        let mut delivered = 0;
        for consumer in &self.consumers {
            while let Some((id, message)) = self.messages.read_next(consumer.next()) {
                if !consumer.reserve() {
                    break;
                }
                consumer.go_on_at(id + 1);
                batch.worked(1);
                delivered += 1;
                let taken = Taken { id, message, delivered: Delivered::Never, returns: 0 };
                let link = Arc::clone(&consumer.link);
                if link.push(Event::Deliver(Arc::clone(consumer), taken)) {
                    batch.wakes(link);
                }
            }
        }
        self.statistics.delivered += delivered;
        batch.count().delivered += delivered;
    }

    /// Drops what came too long ago: a bounded number, the rest at the next look.
    pub(super) fn drop_old(&mut self, queue: &Arc<Queue>, batch: &mut Batch<'_>, max_age: u64) {
        let now = batch.now().0;
        let mut removed = Vec::new();
        let is_old = |came: u64| came.saturating_add(max_age) <= now;
        for _ in 0..limits::EXPIRED_A_TURN {
            let Some(head) = self.messages.head().filter(|head| is_old(head.deadline)) else { break };
            self.drop_head(queue, batch, head.id, Reason::Expired, &mut removed);
        }
        self.remove(queue, batch, removed);
        if self.messages.awaits_run() && is_old(self.messages.next_out_over_at().1) {
            self.drop_out_head(queue, batch, limits::EXPIRED_A_TURN);
        }
    }

    /// Deliveries of a stream are settled: their consumers may have more. Nothing comes back, and nothing goes.
    pub(super) fn settle_stream(&mut self, queue: &Arc<Queue>, batch: &mut Batch<'_>, settled: &[Settled]) {
        for consumer in settled.iter().filter_map(|settled| settled.consumer.as_ref()) {
            consumer.release();
        }
        self.statistics.acknowledged += settled.len() as u64;
        batch.count().acknowledged += settled.len() as u64;
        self.dispatch(queue, batch);
    }
}
