//! Which messages leave the memory and which come back, for whoever carries them (`shelf.rs`).

use std::sync::Arc;

use super::queue::Queue;
use super::queue::paging::{Pick, decode};
use super::shelf::Ticket;
use super::{Broker, Error};
use crate::budget::Class;
use crate::ids::Offset;
use crate::limits;

/// Messages on their way out of the memory: written, they may leave.
#[derive(Debug)]
pub struct Leaving {
    queue: Arc<Queue>,
    pick: Pick,
    ticket: Ticket,
}

impl Leaving {
    /// The number of the run, and its bytes.
    #[must_use]
    pub fn run(&self) -> (u64, Vec<u8>) {
        (self.ticket.number(), self.pick.encode())
    }

    /// Bytes of the messages.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.pick.bytes()
    }
}

/// A run that a queue needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WantedRun {
    pub queue: u32,
    pub number: u64,
    first: u64,
    offset: Offset,
}

impl Broker {
    /// Whether queues together hold so much that some of it has to leave, and how many bytes that is.
    #[must_use]
    pub fn to_leave(&self) -> usize {
        let (held, limit) = (self.budget.of(Class::Queues), self.budget.limit());
        if held <= limit / limits::PAGING_BEGINS {
            0
        } else {
            held - limit / limits::PAGING_ENDS * limits::PAGING_ENDS_OF
        }
    }

    /// The queue that holds most of what could leave, if any does.
    #[must_use]
    pub fn largest_queue(&self) -> Option<u32> {
        let queues: Vec<Arc<Queue>> = self.topology.read().numbered.values().cloned().collect();
        let held = queues.iter().filter(|queue| queue.may_leave()).map(|queue| (queue.held_to_leave(), queue.number));
        held.filter(|(held, _)| *held > 0).max().map(|(_, number)| number)
    }

    /// How many bytes more a queue holds than it should; more leaves than has to, so that this is not asked all the time.
    #[must_use]
    pub fn beyond_memory_bound(&self, number: u32) -> usize {
        let Some(queue) = self.numbered(number).filter(|queue| queue.may_leave()) else { return 0 };
        let bound = queue.memory_bound(self.shelf.bound());
        let held = queue.lock().messages.held();
        if held <= bound { 0 } else { held - bound / limits::PAGING_ENDS * limits::PAGING_ENDS_OF }
    }

    /// The next messages of a queue that may leave, behind the ones before. Nothing: the rest stays.
    #[must_use]
    pub fn pick(&self, number: u32, before: Option<&Leaving>) -> Option<Leaving> {
        self.pick_some(number, before, super::limits::AHEAD_BYTES, super::limits::RUN_MESSAGES)
    }

    /// As `pick`: all but the first bytes of a queue, so many messages.
    #[must_use]
    pub fn pick_some(&self, number: u32, before: Option<&Leaving>, keep_bytes: usize, most: usize) -> Option<Leaving> {
        let queue = self.numbered(number).filter(|queue| queue.may_leave())?;
        // A transaction is not seen in part.
        let _door = self.door.read();
        let state = queue.lock();
        if state.is_deleted {
            return None;
        }
        let keep_bytes = if queue.is_stream() { 0 } else { keep_bytes };
        let pick = state.messages.pick(before.map_or(0, |leaving| leaving.pick.last()), keep_bytes, most)?;
        drop(state);
        Some(Leaving { queue, pick, ticket: self.shelf.ticket() })
    }

    /// What was picked lies on the shelf: it leaves the memory.
    pub fn leave(&self, leaving: Leaving) {
        let Leaving { queue, pick, ticket } = leaving;
        let mut state = queue.lock();
        if state.is_deleted {
            return;
        }
        let left = state.messages.leave(&pick, ticket);
        state.look_ahead();
        drop(state);
        drop(left);
    }

    /// Runs of a stream leave again whose readers have gone on.
    pub fn leave_again(&self, number: u32) {
        let Some(queue) = self.numbered(number).filter(|queue| queue.is_stream()) else { return };
        let mut state = queue.lock();
        let readers: Vec<u64> = state.consumers().iter().map(|consumer| consumer.next()).collect();
        let is_read =
            |first: u64, last: u64| readers.iter().any(|next| (first..=last.saturating_add(1)).contains(next));
        let left = state.messages.leave_again(&is_read);
        drop(state);
        drop(left);
    }

    /// A run that a queue needs now.
    #[must_use]
    pub fn wanted_run(&self, number: u32) -> Option<WantedRun> {
        let queue = self.numbered(number)?;
        let mut state = queue.lock();
        let messages = &mut state.messages;
        // What its consumers have and do not acknowledge is in memory as well, and has a bound.
        let is_held_up = self.budget.alarm().is_some() && messages.is_beyond_share();
        let wanted = if is_held_up { None } else { messages.wanted() };
        if wanted.is_none() {
            messages.runs.is_wanted = false;
        }
        let (first, number, offset) = wanted?;
        Some(WantedRun { queue: queue.number, number, first, offset })
    }

    /// A run was read: its messages are in memory again. With it: the queue, whose consumers may be served.
    ///
    /// # Errors
    /// These are not the bytes of a run.
    pub fn bring(&self, wanted: WantedRun, bytes: &[u8]) -> Result<Option<Arc<Queue>>, Error> {
        let brought = decode(bytes, wanted.offset)?;
        let Some(queue) = self.numbered(wanted.queue) else { return Ok(None) };
        queue.lock().messages.bring(wanted.first, wanted.number, brought);
        Ok(Some(queue))
    }

    /// Queues of which messages are not in memory.
    #[must_use]
    pub fn queues_with_runs(&self) -> Vec<u32> {
        let queues: Vec<Arc<Queue>> = self.topology.read().numbered.values().cloned().collect();
        queues.iter().filter(|queue| queue.lock().messages.out().0 > 0).map(|queue| queue.number).collect()
    }

    fn numbered(&self, number: u32) -> Option<Arc<Queue>> {
        self.topology.read().numbered.get(&number).cloned()
    }
}
