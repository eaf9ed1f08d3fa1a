//! Images of partitions: what a replica loads before it goes on with the journal.
//!
//! ```text
//! topology: greatest number of a queue (varint) | effects that make it out of nothing
//! a queue:  last id (varint)                    | an Enqueue for each persistent message
//! effect = tag | body
//! ```

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::effect::BrokerEffect;
use super::message::{Content, Draft};
use super::queue::State;
use super::topology::Topology;
use super::{Broker, Error};
use crate::ids::{Offset, Partition, PartitionKind};
use crate::wire::{self, Reader};

impl Broker {
    /// The partitions of now, the topology first.
    #[must_use]
    pub fn partitions(&self) -> Vec<Partition> {
        let topology = self.topology.read();
        std::iter::once(Partition::TOPOLOGY).chain(topology.numbered.values().map(|queue| queue.partition())).collect()
    }

    /// Appends the image of a partition and says its cut: `end()`, asked for under the partition's lock. A queue that is
    /// gone has an empty image.
    pub fn image(&self, partition: Partition, end: impl Fn() -> Offset, out: &mut Vec<u8>) -> Offset {
        match partition.kind() {
            PartitionKind::Shard(_) | PartitionKind::Accounts => {}
            PartitionKind::Topology => {
                // A transaction is not seen in part.
                let _door = self.door.read();
                let topology = self.topology.read();
                topology.put_image(out);
                return end();
            }
            PartitionKind::Queue(number) => {
                if let Some(mut image) = self.begin_queue_image(number, &end, out) {
                    // What cannot be read is missing: whoever sends images makes the steps by himself.
                    while self.step_queue_image(&mut image, usize::MAX, out).unwrap_or(false) {}
                    return image.cut;
                }
            }
        }
        end()
    }

    /// Loads an image in place of what the partition holds. The topology comes before the queues; a queue may come before
    /// the record that declares it.
    ///
    /// # Errors
    /// The image is broken.
    pub fn load_image(&self, partition: Partition, cut: Offset, image: &[u8]) -> Result<(), Error> {
        match partition.kind() {
            PartitionKind::Shard(_) | PartitionKind::Accounts => Err(Error::Misplaced),
            PartitionKind::Topology => {
                let mut reader = Reader::new(image);
                let last_number = u32::try_from(reader.varint()?).map_err(|_| wire::Error::Overflow)?;
                self.reset();
                let mut topology = self.topology.write();
                while !reader.is_empty() {
                    topology.apply(&take_effect(&mut reader)?)?;
                }
                topology.skip_numbers_to(last_number);
                topology.last_offset = cut;
                Ok(())
            }
            // It has been deleted; the record that says so is on its way.
            PartitionKind::Queue(_) if image.is_empty() => Ok(()),
            PartitionKind::Queue(number) => {
                let mut loaded = State::read(image)?;
                loaded.changed_at(cut);
                if loaded.messages.has_deadlines() {
                    self.is_timed.store(true, Ordering::Relaxed);
                }
                let mut topology = self.topology.write();
                match topology.numbered.get(&number) {
                    Some(queue) => {
                        queue.load(loaded, &self.budget, &self.shelf);
                    }
                    None => _ = topology.orphans.insert(number, loaded),
                }
                Ok(())
            }
        }
    }
}

impl Topology {
    pub(super) fn put_image(&self, out: &mut Vec<u8>) {
        wire::put_varint(out, u64::from(self.last_number()));
        self.each_effect(&mut |effect| put_effect(effect, out));
    }
}

impl State {
    /// What the queue remembers beside its messages.
    pub(super) fn memory(&self, visit: &mut dyn FnMut(&BrokerEffect<'_>)) {
        self.seen(visit);
        for (id, returns) in self.messages.returned() {
            visit(&BrokerEffect::Returned { id, returns });
        }
        self.messages.runs_of_rows(visit);
    }

    /// Ids of messages that it has had.
    pub(super) fn seen(&self, visit: &mut dyn FnMut(&BrokerEffect<'_>)) {
        if !self.unique.is_empty() {
            visit(&BrokerEffect::Seen { ids: self.unique.all().into() });
        }
    }

    fn read(image: &[u8]) -> Result<Self, Error> {
        let mut reader = Reader::new(image);
        let mut state = Self::default();
        state.messages.skip_to(reader.varint()?);
        while !reader.is_empty() {
            state.apply(Offset::ZERO, &take_effect(&mut reader)?)?;
        }
        Ok(state)
    }

    /// Applies a change out of a record or an image.
    pub(super) fn apply(&mut self, offset: Offset, effect: &BrokerEffect<'_>) -> Result<(), Error> {
        let message = |content: &Content<'_>| Arc::new(Draft::stored(content).finish(offset, 1));
        match effect {
            BrokerEffect::Enqueue { id, content } => self.enqueue(*id, message(content), 0),
            BrokerEffect::EnqueueUntil { id, deadline, content }
            | BrokerEffect::EnqueueNoted { id, deadline, content } => self.enqueue(*id, message(content), *deadline),
            BrokerEffect::Remove { ranges } => {
                let end = self.messages.next_id();
                for (first, count) in ranges.iter() {
                    // What an image's cut covers is gone already.
                    for id in *first..first.saturating_add(*count).min(end) {
                        self.messages.remove(id);
                    }
                }
            }
            BrokerEffect::Returned { id, returns } => self.messages.set_returns(*id, *returns),
            BrokerEffect::Seen { ids } => ids.iter().for_each(|(id, at)| self.note_seen(*id, *at)),
            BrokerEffect::Run { .. }
            | BrokerEffect::DeclareExchange { .. }
            | BrokerEffect::DeleteExchange { .. }
            | BrokerEffect::DeclareQueue { .. }
            | BrokerEffect::DeleteQueue { .. }
            | BrokerEffect::Bind(_)
            | BrokerEffect::Unbind(_) => return Err(Error::Misplaced),
        }
        Ok(())
    }

    /// Applies a change out of the record at `offset`.
    pub(super) fn apply_at(&mut self, offset: Offset, effect: &BrokerEffect<'_>) -> Result<(), Error> {
        self.apply(offset, effect)?;
        self.changed_at(offset);
        Ok(())
    }
}

/// The effect that puts a message into a queue.
pub(super) fn enqueue(id: u64, deadline: u64, content: Content<'_>) -> BrokerEffect<'_> {
    match deadline {
        _ if !content.extras.is_empty() => BrokerEffect::EnqueueNoted { id, deadline, content },
        0 => BrokerEffect::Enqueue { id, content },
        deadline => BrokerEffect::EnqueueUntil { id, deadline, content },
    }
}

pub(super) fn put_effect(effect: &BrokerEffect<'_>, out: &mut Vec<u8>) {
    out.push(effect.tag());
    effect.encode_body(out);
}

pub(super) fn take_effect<'a>(reader: &mut Reader<'a>) -> Result<BrokerEffect<'a>, wire::Error> {
    let tag = reader.byte()?;
    BrokerEffect::decode_body(tag, reader)
}
