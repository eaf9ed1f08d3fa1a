//! Images of partitions: what a replica loads before it goes on with the journal.
//!
//! ```text
//! topology: greatest number of a queue (varint) | effects that make it out of nothing
//! a queue:  last id (varint)                    | an Enqueue for each persistent message
//! effect = tag | body
//! ```

use std::sync::Arc;

use super::effect::BrokerEffect;
use super::message::Draft;
use super::queue::{Queue, State};
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

    /// Appends the image of a partition, taken under its lock together with `cut` (the journal's end, so that the image is
    /// exact up to there), and gives the cut. `None`: the queue has been deleted.
    pub fn image(&self, partition: Partition, out: &mut Vec<u8>, cut: impl FnOnce() -> Offset) -> Option<Offset> {
        match partition.kind() {
            PartitionKind::Shard(_) => None,
            PartitionKind::Topology => {
                let topology = self.topology.read();
                wire::put_varint(out, u64::from(topology.last_number()));
                topology.each_effect(&mut |effect| put_effect(effect, out));
                Some(cut())
            }
            PartitionKind::Queue(number) => {
                let queue = Arc::clone(self.topology.read().numbered.get(&number)?);
                let state = queue.lock();
                if state.is_deleted {
                    return None;
                }
                wire::put_varint(out, state.messages.next_id() - 1);
                for (id, message) in state.messages.persistent() {
                    put_effect(&BrokerEffect::Enqueue { id, content: message.content() }, out);
                }
                Some(cut())
            }
        }
    }

    /// Loads an image in place of what the partition holds. The topology comes before the queues.
    ///
    /// # Errors
    /// The image is broken, or there is no such queue.
    pub fn load_image(&self, partition: Partition, image: &[u8]) -> Result<(), Error> {
        let mut reader = Reader::new(image);
        let last = reader.varint()?;
        match partition.kind() {
            PartitionKind::Shard(_) => Err(Error::Misplaced),
            PartitionKind::Topology => {
                self.reset();
                let mut topology = self.topology.write();
                topology.skip_numbers_to(u32::try_from(last).map_err(|_| wire::Error::Overflow)?);
                while !reader.is_empty() {
                    topology.apply(&take_effect(&mut reader)?)?;
                }
                Ok(())
            }
            PartitionKind::Queue(number) => {
                let queue: Arc<Queue> = {
                    let topology = self.topology.read();
                    Arc::clone(topology.numbered.get(&number).ok_or(Error::NoQueue(number))?)
                };
                let mut state = queue.lock();
                *state = State::default();
                state.messages.skip_to(last);
                while !reader.is_empty() {
                    state.apply(Offset::ZERO, &take_effect(&mut reader)?)?;
                }
                Ok(())
            }
        }
    }
}

impl State {
    /// Applies a change out of a record or an image.
    pub(super) fn apply(&mut self, offset: Offset, effect: &BrokerEffect<'_>) -> Result<(), Error> {
        match effect {
            BrokerEffect::Enqueue { id, content } => {
                self.messages.insert(*id, Arc::new(Draft::stored(content).finish(offset)));
            }
            BrokerEffect::Remove { ranges } => {
                let end = self.messages.next_id();
                for (first, count) in ranges.iter() {
                    // What an image's cut covers is gone already.
                    for id in *first..first.saturating_add(*count).min(end) {
                        self.messages.remove(id);
                    }
                }
            }
            BrokerEffect::DeclareExchange { .. }
            | BrokerEffect::DeleteExchange { .. }
            | BrokerEffect::DeclareQueue { .. }
            | BrokerEffect::DeleteQueue { .. }
            | BrokerEffect::Bind(_)
            | BrokerEffect::Unbind(_) => return Err(Error::Misplaced),
        }
        Ok(())
    }

    /// The queue is gone. Its consumers go with it; who still has messages of it finds nothing.
    pub(super) fn end(&mut self) {
        *self = Self::default();
        self.is_deleted = true;
    }

    /// Keeps what the journal knows, and nobody has it.
    pub(super) fn forget_transient(&mut self) {
        self.take_consumers();
        for id in self.messages.transient_ids() {
            self.messages.remove(id);
        }
        self.messages.give_all_back();
    }
}

fn put_effect(effect: &BrokerEffect<'_>, out: &mut Vec<u8>) {
    out.push(effect.tag());
    effect.encode_body(out);
}

fn take_effect<'a>(reader: &mut Reader<'a>) -> Result<BrokerEffect<'a>, wire::Error> {
    let tag = reader.byte()?;
    BrokerEffect::decode_body(tag, reader)
}
