//! What a checkpoint takes of the broker, and how it comes back: the topology as one image, each message a row. A queue is
//! taken in steps between which it is free.
//!
//! ```text
//! row of a message = an effect Enqueue, EnqueueUntil or EnqueueNoted, with the id that is also in its key
//! row 0            = Seen: ids that are not taken again; Returned: messages that came back from consumers
//! ```

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::effect::BrokerEffect;
use super::image::{enqueue, put_effect, take_effect};
use super::message::{Draft, Message};
use super::queue::State;
use super::shelf::Shelf;
use super::{Broker, Error, limits};
use crate::ids::Offset;
use crate::wire::{self, Reader};

/// What has changed in a queue since it was taken last, at one moment. Its messages are taken in steps: `step_queue_rows`.
#[derive(Debug)]
pub struct QueueRows {
    number: u32,
    /// The newest record that is in them.
    pub cut: Offset,
    /// The newest record that may have taken something from them.
    pub taken_until: Offset,
    /// The greatest id that was given so far.
    pub last_id: u64,
    /// All rows are written anew.
    pub is_whole: bool,
    /// First and last id of messages whose rows are to go.
    pub gone: Vec<(u64, u64)>,
    /// What the queue remembers beside its messages.
    memory: Option<Came>,
    /// Messages up to here were looked at.
    after: u64,
    is_over: bool,
}

/// Messages of one step.
const STEP_MESSAGES: usize = 1024;

/// A message without a row; or, under id 0, what the queue remembers beside its messages.
#[derive(Debug)]
pub struct Came {
    pub id: u64,
    row: Row,
}

#[derive(Debug)]
enum Row {
    Message { deadline: u64, message: Arc<Message> },
    Memory(Vec<u8>),
}

impl Came {
    /// Appends the row.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match &self.row {
            Row::Message { deadline, message } => {
                put_effect(&enqueue(self.id, *deadline, message.content()), out);
            }
            Row::Memory(effects) => out.extend_from_slice(effects),
        }
    }
}

impl Broker {
    /// Numbers of the queues that are in the journal.
    #[must_use]
    pub fn numbers(&self) -> Vec<u32> {
        self.topology.read().numbered.keys().copied().collect()
    }

    /// The newest record of the topology.
    #[must_use]
    pub fn topology_offset(&self) -> Offset {
        self.topology.read().last_offset
    }

    /// Appends the image of the topology, and says the newest record that is in it.
    pub fn take_topology(&self, out: &mut Vec<u8>) -> Offset {
        // A transaction is not seen in part.
        let _door = self.door.read();
        let topology = self.topology.read();
        topology.put_image(out);
        topology.last_offset
    }

    /// Begins to take what has changed in a queue since the last time. It counts as written from now on, unless
    /// `give_back_queue` says otherwise. Nothing if nothing has changed, or the queue is gone.
    #[must_use]
    pub fn begin_queue_rows(&self, number: u32) -> Option<QueueRows> {
        let queue = self.topology.read().numbered.get(&number).cloned()?;
        let _door = self.door.read();
        let mut state = queue.lock();
        let cut = state.last_offset();
        if state.is_deleted || cut <= state.messages.written.cut() {
            return None;
        }
        let last_id = state.messages.next_id() - 1;
        let written = &state.messages.written;
        let (is_whole, gone, after) = (written.is_whole(), written.gone(), written.through());
        let mut memory = Vec::new();
        state.memory(&mut |effect| put_effect(effect, &mut memory));
        // Also if there are none any more.
        let has_row = !memory.is_empty() || state.messages.had_runs();
        let memory = has_row.then_some(Came { id: 0, row: Row::Memory(memory) });
        state.messages.written.set(last_id, cut);
        state.messages.runs.taking = Some((after, last_id));
        Some(QueueRows { number, cut, taken_until: cut, last_id, is_whole, gone, memory, after, is_over: false })
    }

    /// The next messages that have no row yet, ids ascending; nothing when these were all. A message that has gone meanwhile
    /// may be missing: the record that took it lies behind the cut, at `taken_until` or before.
    ///
    /// **Invariant:** whoever loads the rows applies every record up to `taken_until`.
    pub fn step_queue_rows(&self, rows: &mut QueueRows) -> Option<Vec<Came>> {
        if std::mem::replace(&mut rows.is_over, true) {
            return None;
        }
        let mut came: Vec<Came> = rows.memory.take().into_iter().collect();
        let Some(queue) = self.topology.read().numbered.get(&rows.number).cloned() else {
            rows.taken_until = rows.taken_until.max(self.topology_offset());
            return Some(came);
        };
        let _door = self.door.read();
        let mut state = queue.lock();
        if state.is_deleted {
            drop(state);
            rows.taken_until = rows.taken_until.max(self.topology_offset());
            return Some(came);
        }
        rows.taken_until = rows.taken_until.max(state.last_offset());
        for (looked_at, (id, deadline, message)) in state.messages.persistent_behind(rows.after).enumerate() {
            if id > rows.last_id {
                break;
            }
            if looked_at == STEP_MESSAGES {
                rows.is_over = false;
                break;
            }
            rows.after = id;
            // A run stands for its row.
            if state.messages.is_inside(id) {
                continue;
            }
            came.push(Came { id, row: Row::Message { deadline, message: Arc::clone(message) } });
        }
        state.messages.runs.taking = (!rows.is_over).then_some((rows.after, rows.last_id));
        Some(came)
    }

    /// What was taken has not been written.
    pub fn give_back_queue(&self, number: u32) {
        let queue = self.topology.read().numbered.get(&number).cloned();
        if let Some(queue) = queue {
            let mut state = queue.lock();
            state.messages.written.forget();
            state.messages.runs.taking = None;
        }
    }
}

/// A queue that is being loaded from its rows, or from an image.
#[derive(Debug)]
pub struct QueueLoader {
    shelf: Arc<Shelf>,
    state: State,
    /// Bytes of messages that have come since some of them left the memory.
    came_bytes: usize,
    has_left: bool,
    /// Messages that came back from consumers, with how often: known before the messages are.
    returns: Vec<(u64, u32)>,
}

/// Whether the rows are exactly what the disk holds up to the cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exact {
    Yes,
    /// A checkpoint was broken off: they are written anew with the next one.
    No,
}

impl QueueLoader {
    #[must_use]
    pub fn new(broker: &Broker) -> Self {
        let (shelf, state) = (Arc::clone(&broker.shelf), State::default());
        Self { shelf, state, came_bytes: 0, has_left: false, returns: Vec::new() }
    }

    /// Numbers of the runs in which messages lie.
    #[must_use]
    pub fn runs(&self) -> Vec<u64> {
        self.state.messages.run_numbers()
    }

    /// Adds the row of a message. Ids ascend.
    ///
    /// # Errors
    /// It is not the row of this message.
    pub fn push(&mut self, id: u64, row: &[u8]) -> Result<(), Error> {
        let mut reader = Reader::new(row);
        if id == 0 {
            while !reader.is_empty() {
                match take_effect(&mut reader)? {
                    BrokerEffect::Returned { id, returns } => self.returns.push((id, returns)),
                    seen @ BrokerEffect::Seen { .. } => self.state.apply(Offset::ZERO, &seen)?,
                    run @ BrokerEffect::Run { .. } => self.state.messages.load_run(&self.shelf, &run)?,
                    _ => return Err(Error::Misplaced),
                }
            }
            return Ok(());
        }
        let effect = take_effect(&mut reader)?;
        if !reader.is_empty() {
            return Err(wire::Error::Overflow.into());
        }
        let (found, deadline, content) = match &effect {
            BrokerEffect::Enqueue { id, content } => (*id, 0, content),
            BrokerEffect::EnqueueUntil { id, deadline, content }
            | BrokerEffect::EnqueueNoted { id, deadline, content } => (*id, *deadline, content),
            _ => return Err(Error::Misplaced),
        };
        if found != id {
            return Err(Error::OtherMessage { expected: id, found });
        }
        // Whoever reads it has waited until the whole state is committed.
        self.state.enqueue(id, Arc::new(Draft::stored(content).finish(Offset::ZERO, 1)), deadline);
        Ok(())
    }

    /// Adds the next message of an image, of which all bytes may not have come: then nothing is read.
    ///
    /// # Errors
    /// It is no message.
    pub fn push_next(&mut self, reader: &mut Reader<'_>) -> Result<(), Error> {
        let mut ahead = *reader;
        let before = reader.remaining();
        let effect = take_effect(&mut ahead)?;
        let row = reader.take(before - ahead.remaining())?;
        match &effect {
            BrokerEffect::Enqueue { id, .. }
            | BrokerEffect::EnqueueUntil { id, .. }
            | BrokerEffect::EnqueueNoted { id, .. } => self.push(*id, row),
            // What stands beside the messages.
            _ => self.push(0, row),
        }?;
        self.came_bytes += row.len();
        if self.came_bytes >= limits::LOADING_BYTES {
            self.came_bytes = 0;
            self.leave()?;
        }
        Ok(())
    }

    /// An image that is larger than the memory: what has come leaves it, but for the beginning.
    fn leave(&mut self) -> Result<(), Error> {
        let Some(bodies) = self.shelf.bodies().cloned() else { return Ok(()) };
        while let Some(pick) = self.state.messages.pick(0, limits::AHEAD_BYTES, limits::RUN_MESSAGES) {
            let ticket = self.shelf.ticket();
            bodies.put(ticket.number(), &pick.encode()).map_err(Error::Shelf)?;
            self.state.messages.leave(&pick, ticket);
            self.has_left = true;
        }
        Ok(())
    }

    /// Puts the queue into its place, with the records up to `cut`. The topology was loaded before. A queue that it does
    /// not know any more has been deleted; one that it does not know yet waits for its declaration.
    ///
    /// # Errors
    /// The disk refuses what has left the memory.
    pub fn finish(
        mut self,
        broker: &Broker,
        number: u32,
        cut: Offset,
        last_id: u64,
        exact: Exact,
    ) -> Result<(), Error> {
        if let Some(bodies) = self.shelf.bodies().filter(|_| self.has_left) {
            bodies.settle().map_err(Error::Shelf)?;
        }
        for (id, returns) in std::mem::take(&mut self.returns) {
            self.state.messages.set_returns(id, returns);
        }
        self.state.messages.skip_to(last_id);
        self.state.changed_at(cut);
        if exact == Exact::Yes {
            self.state.messages.written.set(self.state.messages.next_id() - 1, cut);
        }
        if self.state.messages.has_deadlines() {
            broker.is_timed.store(true, Ordering::Relaxed);
        }
        let mut topology = broker.topology.write();
        match topology.numbered.get(&number) {
            Some(queue) => {
                queue.load(self.state, &broker.budget, &broker.shelf);
            }
            None if number <= topology.last_number() => {}
            None => _ = topology.orphans.insert(number, self.state),
        }
        Ok(())
    }
}
