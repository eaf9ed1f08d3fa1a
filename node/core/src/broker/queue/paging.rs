//! Messages leave the memory in runs, and come back.
//!
//! ```text
//! leaves:  pick (a run's messages are noted) --encode, put, settle--> leave (who is still untouched goes out of its slot)
//! returns: wants --read, decode--> bring (a slot for each that is still there)
//! ```
//!
//! Only what was never taken leaves: its place in the order is given by its id. What comes next stays in memory, so that a
//! client finds it there; more is brought before consumers come to it.

use std::collections::VecDeque;
use std::sync::Arc;

use super::messages::{Gone, Messages, Slot, State};
use super::runs::{About, Run};
use crate::broker::Error;
use crate::broker::effect::BrokerEffect;
use crate::broker::image::{enqueue, put_effect, take_effect};
use crate::broker::limits;
use crate::broker::message::{Delivered, Draft, Message, Persistence};
use crate::broker::shelf::{Shelf, Ticket};
use crate::ids::Offset;
use crate::wire::Reader;

/// Messages that may leave together.
#[derive(Debug)]
pub(crate) struct Pick {
    messages: Vec<(u64, u64, Arc<Message>)>,
    about: About,
}

impl Pick {
    /// Bytes of the messages.
    pub(crate) fn bytes(&self) -> usize {
        self.messages.iter().map(|(_, _, message)| message.len()).sum()
    }

    /// The last id in it.
    pub(crate) fn last(&self) -> u64 {
        self.messages.last().map_or(0, |(id, _, _)| *id)
    }

    /// The run as it is kept: effects, one a message.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.bytes() + self.messages.len() * 16);
        for (id, deadline, message) in &self.messages {
            put_effect(&enqueue(*id, *deadline, message.content()), &mut out);
        }
        out
    }
}

/// A message out of a run.
#[derive(Debug)]
pub(crate) struct Brought {
    id: u64,
    deadline: u64,
    message: Arc<Message>,
}

/// Reads a run.
///
/// # Errors
/// It is no run.
pub(crate) fn decode(bytes: &[u8], offset: Offset) -> Result<Vec<Brought>, Error> {
    let mut reader = Reader::new(bytes);
    let mut brought = Vec::new();
    while !reader.is_empty() {
        let (id, deadline, content) = match take_effect(&mut reader)? {
            BrokerEffect::Enqueue { id, content } => (id, 0, content),
            BrokerEffect::EnqueueUntil { id, deadline, content }
            | BrokerEffect::EnqueueNoted { id, deadline, content } => (id, deadline, content),
            _ => return Err(Error::Misplaced),
        };
        brought.push(Brought { id, deadline, message: Arc::new(Draft::stored(&content).finish(offset, 1)) });
    }
    Ok(brought)
}

impl Messages {
    /// Whether there are or were runs.
    pub(crate) fn had_runs(&self) -> bool {
        self.runs.were_any
    }

    /// Whether a run stands for the row of a message that is in memory.
    pub(crate) fn is_inside(&self, id: u64) -> bool {
        self.runs.has_inside(id)
    }

    /// Runs, as a checkpoint keeps them.
    pub(crate) fn runs_of_rows(&self, visit: &mut dyn FnMut(&BrokerEffect<'_>)) {
        self.runs.effects(visit);
    }

    pub(crate) fn run_numbers(&self) -> Vec<u64> {
        self.runs.out().chain(self.runs.inside()).map(Run::number).collect()
    }

    /// The next run behind an id that is not in memory: its number, and the ids that are there.
    pub(crate) fn out_behind(&self, id: u64) -> Option<(u64, Vec<u64>)> {
        let run = self.runs.out_at_or_behind(id.saturating_add(1))?;
        Some((run.number(), run.ids_from(id.saturating_add(1)).collect()))
    }

    /// Messages that are not in memory, and their bytes.
    pub(crate) fn out(&self) -> (usize, usize) {
        (self.runs.count(), self.runs.bytes())
    }

    /// Whether a message is not in memory.
    pub(crate) fn is_out(&self, id: u64) -> bool {
        self.runs.has_out(id)
    }

    /// The next messages behind `after` that may leave, for one run. Those that come next stay.
    pub(crate) fn pick(&self, after: u64, keep_bytes: usize, most: usize) -> Option<Pick> {
        if self.order.is_some() {
            return None;
        }
        let start = self.index_at_or_behind(after.saturating_add(1)).max(self.behind_next(keep_bytes));
        let mut messages: Vec<(u64, u64, Arc<Message>)> = Vec::new();
        let mut about: Option<About> = None;
        let mut bytes = 0;
        for slot in self.slots.range(start.min(self.slots.len())..) {
            let Some(message) = slot.message.as_ref().filter(|_| self.may_leave(slot)) else { continue };
            if let (Some(about), Some((before, _, _))) = (&mut about, messages.last()) {
                let (first, _, _) = &messages[0];
                if bytes >= limits::RUN_BYTES
                    || messages.len() >= most
                    || slot.id - first >= limits::RUN_IDS
                    || slot.delivered != about.delivered
                    || self.runs.lie_between(*before, slot.id)
                {
                    break;
                }
                about.offset = about.offset.max(message.offset());
                about.deadlines.1 = slot.deadline;
                let both_end = about.over_at > 0 && slot.deadline > 0;
                about.over_at = if both_end { about.over_at.max(slot.deadline) } else { 0 };
            } else {
                about = Some(About {
                    offset: message.offset(),
                    delivered: slot.delivered,
                    deadlines: (slot.deadline, slot.deadline),
                    over_at: slot.deadline,
                });
            }
            bytes += message.len();
            messages.push((slot.id, slot.deadline, Arc::clone(message)));
        }
        about.map(|about| Pick { messages, about })
    }

    /// The index behind the messages that come next, which stay in memory.
    fn behind_next(&self, keep_bytes: usize) -> usize {
        let barrier = self.runs.barrier();
        let (mut bytes, mut at) = (0, self.fresh);
        while let Some(slot) = self.slots.get(at) {
            if bytes >= keep_bytes || at - self.fresh >= limits::AHEAD_MESSAGES || slot.id >= barrier {
                break;
            }
            bytes += slot.message.as_ref().map_or(0, |message| message.len());
            at += 1;
        }
        at
    }

    fn may_leave(&self, slot: &Slot) -> bool {
        let is_persistent = slot.message.as_ref().is_some_and(|m| m.persistence() == Persistence::Persistent);
        is_persistent
            && slot.state == State::Ready
            && slot.returns == 0
            && self.runs.taking.is_none_or(|(after, last)| slot.id <= after || slot.id > last)
            && !self.runs.has_inside(slot.id)
    }

    /// What was picked is kept elsewhere: it leaves its slots, as far as nobody has touched it meanwhile. With it: what is to be
    /// freed, without any lock.
    pub(crate) fn leave(&mut self, pick: &Pick, ticket: Ticket) -> Vec<Arc<Message>> {
        let (Some((first, _, _)), last) = (pick.messages.first(), pick.last()) else { return Vec::new() };
        if self.order.is_some() {
            return Vec::new();
        }
        let start = self.index_at_or_behind(*first).max(self.fresh);
        let end = self.index_at_or_behind(last.saturating_add(1)).max(start);
        let (mut stays, mut leaves, mut ids) = (Vec::new(), Vec::new(), Vec::with_capacity(pick.messages.len()));
        let mut picked = pick.messages.iter().map(|(id, _, _)| *id).peekable();
        let slots: Vec<Slot> = self.slots.drain(start..end).collect();
        for slot in slots {
            while picked.next_if(|id| *id < slot.id).is_some() {}
            if slot.message.is_none() {
                self.dead -= 1;
            } else if picked.peek() == Some(&slot.id) && self.may_leave(&slot) {
                ids.push(slot.id);
                leaves.push(slot);
            } else {
                stays.push(slot);
            }
        }
        if !stays.is_empty() {
            self.insert_slots(start, stays);
        }
        let leaves: Vec<Arc<Message>> = leaves.into_iter().filter_map(|slot: Slot| slot.message).collect();
        if ids.is_empty() {
            return leaves;
        }
        let mut run = Run::new(ticket, &ids, pick.about);
        if let Some(share) = &mut self.share {
            share.add(run.overhead());
        }
        self.count_out(&mut run, &leaves);
        // The run stands for their rows.
        self.written.removed_all(&ids);
        self.runs.put_out(run);
        leaves
    }

    /// A run holds these messages, which do not count as memory any more.
    fn count_out(&mut self, run: &mut Run, leaves: &[Arc<Message>]) {
        run.bytes = leaves.iter().map(|message| message.len()).sum();
        run.body_bytes = leaves.iter().map(|message| message.body_len()).sum();
        let counted = leaves.iter().map(|message| self.counted_bytes(message)).sum();
        if let Some(share) = &mut self.share {
            share.remove(counted);
        }
    }

    /// Runs that were brought and are not read leave again: those that `is_read` does not name by first and last id.
    pub(crate) fn leave_again(&mut self, is_read: &dyn Fn(u64, u64) -> bool) -> Vec<Arc<Message>> {
        let mut left = Vec::new();
        let idle = self.runs.inside().filter(|run| !is_read(run.lowest(), run.last())).map(Run::first);
        let idle: Vec<u64> = idle.collect();
        for first in idle {
            let Some(mut run) = self.runs.take_inside(first) else { continue };
            let (start, end) =
                (self.index_at_or_behind(run.lowest()), self.index_at_or_behind(run.last().saturating_add(1)));
            let of_run = |slot: &Slot| slot.message.is_some() && run.has(slot.id);
            let is_untouched =
                |slot: &Slot| slot.state == State::Ready && slot.returns == 0 && slot.delivered == run.about.delivered;
            let found = self.slots.range(start..end).filter(|slot| of_run(slot));
            let is_whole =
                start >= self.fresh && found.clone().count() == run.count() && found.clone().all(is_untouched);
            if !is_whole {
                self.runs.put_inside(run);
                continue;
            }
            let (stays, leaves): (Vec<Slot>, Vec<Slot>) = self.slots.drain(start..end).partition(|slot| !of_run(slot));
            self.insert_slots(start, stays);
            let leaves: Vec<Arc<Message>> = leaves.into_iter().filter_map(|slot| slot.message).collect();
            self.count_out(&mut run, &leaves);
            self.runs.put_out(run);
            left.extend(leaves);
        }
        left
    }

    /// A run that is needed: its first id, its number, and the record that its messages depend on.
    pub(crate) fn wanted(&self) -> Option<(u64, u64, Offset)> {
        let named = self.runs.needed.iter().find_map(|first| self.runs.get_out(*first));
        let run = named.or_else(|| self.runs.out().next().filter(|run| self.is_short_of(run)))?;
        Some((run.first(), run.number(), run.about.offset))
    }

    /// Whether a run is to be brought before consumers come to it.
    fn is_short_of(&self, run: &Run) -> bool {
        let ahead = self.index_at_or_behind(run.lowest()).saturating_sub(self.fresh);
        let bytes = run.bytes / run.count().max(1);
        ahead < limits::AHEAD_MESSAGES && ahead.saturating_mul(bytes) < limits::AHEAD_BYTES
    }

    /// Whether runs are needed and nobody has been told.
    #[inline]
    pub(crate) fn must_ask(&mut self) -> bool {
        if self.runs.count() == 0 || self.runs.is_wanted || self.wanted().is_none() {
            return false;
        }
        self.runs.is_wanted = true;
        true
    }

    /// A run is in memory: its messages have slots again, as far as they are still there.
    pub(crate) fn bring(&mut self, first: u64, number: u64, brought: Vec<Brought>) {
        self.runs.is_wanted = false;
        if self.runs.get_out(first).is_none_or(|run| run.number() != number) {
            return;
        }
        let Some(mut run) = self.runs.take_out(first) else { return };
        let (bytes, body_bytes) = (run.bytes, run.body_bytes);
        let (delivered, mut counted) = (run.about.delivered, 0);
        (run.bytes, run.body_bytes) = (0, 0);
        let mut slots = Vec::with_capacity(run.count());
        for Brought { id, deadline, message } in brought {
            if !run.has(id) {
                continue;
            }
            run.bytes += message.len();
            run.body_bytes += message.body_len();
            counted += self.counted_bytes(&message);
            let message = Some(message);
            let returns = self.runs.returns.remove(&id).unwrap_or(0);
            if returns > 0 {
                self.counted.insert(id);
            }
            slots.push(Slot { id, deadline, state: State::Ready, delivered, returns, message });
        }
        // What has gone meanwhile had counted as the average.
        self.bytes = (self.bytes + run.bytes).saturating_sub(bytes);
        self.ready_body_bytes = (self.ready_body_bytes + run.body_bytes).saturating_sub(body_bytes);
        if let Some(share) = &mut self.share {
            share.add(counted);
        }
        let (lowest, last) = (run.lowest(), run.last());
        self.runs.put_inside(run);
        let (start, end) = (self.index_at_or_behind(lowest), self.index_at_or_behind(last.saturating_add(1)));
        // Others of the same range have stayed.
        let stayed: Vec<Slot> = self.slots.drain(start..end).collect();
        if !stayed.is_empty() {
            slots.extend(stayed);
            slots.sort_unstable_by_key(|slot| slot.id);
        }
        if start < self.fresh {
            // Somebody took what is behind them.
            self.fresh = start;
            _ = self.returned.split_off(&lowest);
        }
        self.insert_slots(start, slots);
    }

    /// Puts slots between others, at the smaller cost.
    fn insert_slots(&mut self, at: usize, new: Vec<Slot>) {
        if at <= self.slots.len() / 2 {
            let before: Vec<Slot> = self.slots.drain(..at).collect();
            self.slots.reserve(before.len() + new.len());
            new.into_iter().rev().for_each(|slot| self.slots.push_front(slot));
            before.into_iter().rev().for_each(|slot| self.slots.push_front(slot));
        } else {
            let behind: VecDeque<Slot> = self.slots.split_off(at);
            self.slots.extend(new);
            self.slots.extend(behind);
        }
    }

    /// As `remove`, of one that is not in memory.
    pub(super) fn remove_out(&mut self, id: u64) -> Option<Gone> {
        if self.runs.count() == 0 {
            return None;
        }
        let cleared = self.runs.clear_out(id)?;
        self.bytes = self.bytes.saturating_sub(cleared.bytes);
        self.ready_body_bytes = self.ready_body_bytes.saturating_sub(cleared.body_bytes);
        self.ready -= 1;
        if let Some(share) = &mut self.share {
            share.remove(cleared.overhead);
        }
        Some(Gone { message: None, persistence: Persistence::Persistent })
    }

    /// The ids that come next, if they are not in memory: so many at the most, of one run.
    pub(crate) fn next_out(&self, most: usize) -> Vec<u64> {
        self.runs.out().next().map_or_else(Vec::new, |run| run.ids().take(most).collect())
    }

    /// When all messages of the run that comes next are over, and when its last one came, in a stream; 0 is never.
    pub(crate) fn next_out_over_at(&self) -> (u64, u64) {
        self.runs.out().next().map_or((0, 0), |run| (run.about.over_at, run.about.deadlines.1))
    }

    /// All messages that are not in memory go: first ids, and how many. With it: how many messages that were.
    pub(crate) fn drop_out(&mut self) -> (Vec<(u64, u64)>, usize) {
        let firsts: Vec<u64> = self.runs.out().map(Run::first).collect();
        let (mut ranges, mut count) = (Vec::new(), 0);
        for first in firsts {
            let Some(run) = self.runs.take_out(first) else { continue };
            ranges.extend(crate::broker::effect::ranges(run.ids()));
            count += run.count();
            self.ready -= run.count();
            run.ids().for_each(|id| _ = self.runs.returns.remove(&id));
            self.bytes = self.bytes.saturating_sub(run.bytes);
            self.ready_body_bytes = self.ready_body_bytes.saturating_sub(run.body_bytes);
            if let Some(share) = &mut self.share {
                share.remove(run.overhead());
            }
        }
        (ranges, count)
    }

    /// A run that a checkpoint has kept.
    pub(crate) fn load_run(&mut self, shelf: &Arc<Shelf>, run: &BrokerEffect<'_>) -> Result<(), Error> {
        let BrokerEffect::Run { number, bytes, body_bytes, deadlines, over_at, ranges } = run else {
            return Err(Error::Misplaced);
        };
        let (Some((first, _)), Some((last, count))) = (ranges.first(), ranges.last()) else {
            return Err(Error::Misplaced);
        };
        let span = last.checked_add(*count).and_then(|end| end.checked_sub(*first));
        if span.is_none_or(|span| span > limits::RUN_IDS + 1) {
            return Err(crate::wire::Error::Overflow.into());
        }
        let ids: Vec<u64> = ranges.iter().flat_map(|(first, count)| *first..first.saturating_add(*count)).collect();
        // Whoever reads it has waited until the whole state is committed.
        let (offset, delivered) = (Offset::ZERO, Delivered::Maybe);
        let about = About { offset, delivered, deadlines: *deadlines, over_at: *over_at };
        let mut run = Run::new(shelf.ticket_of(*number), &ids, about);
        (run.bytes, run.body_bytes) = (*bytes as usize, *body_bytes as usize);
        self.ready += run.count();
        self.bytes += run.bytes;
        self.ready_body_bytes += run.body_bytes;
        self.has_deadlines |= deadlines.0 > 0 || deadlines.1 > 0;
        if run.last() >= self.next_id() {
            self.skip_to(run.last());
            self.last_deadline = deadlines.1;
        }
        self.runs.put_out(run);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
