//! The image of a queue, made in steps between which the queue is free.
//!
//! ```text
//! begin: cut, last id ---- step: messages behind the last one, up to last id ---- step ---- ...
//! ```
//!
//! What comes meanwhile has a greater id and is not in the image. What goes meanwhile may be missing from it, though it was
//! there at the cut: the record that took it lies behind the cut, and taking a message that is not there changes nothing.
//!
//! **Invariant:** whoever loads the image applies every record behind its cut before anybody reads the queue, also one that
//! is not committed when the image is made.

use std::sync::Arc;

use super::effect::BrokerEffect;
use super::image::{enqueue, put_effect, take_effect};
use super::{Broker, Error};
use crate::ids::Offset;
use crate::wire::{self, Reader};

/// Messages of one step.
const STEP_MESSAGES: usize = 1024;

/// The image of a queue under way.
#[derive(Debug, Clone, Copy)]
pub struct QueueImage {
    number: u32,
    /// Every record up to here is in it.
    pub cut: Offset,
    /// The newest record that may have taken something from it.
    pub taken_until: Offset,
    pub last_id: u64,
    /// Messages up to here were looked at.
    after: u64,
    is_over: bool,
}

impl Broker {
    /// Begins the image of a queue at `end()`, asked for under the queue's lock, and appends its head. Nothing for a queue
    /// that is gone: its image is empty.
    pub fn begin_queue_image(&self, number: u32, end: impl Fn() -> Offset, out: &mut Vec<u8>) -> Option<QueueImage> {
        // A transaction is not seen in part.
        let _door = self.door.read();
        let queue = self.topology.read().numbered.get(&number).cloned()?;
        let state = queue.lock();
        if state.is_deleted {
            return None;
        }
        let (cut, last_id) = (end(), state.messages.next_id() - 1);
        wire::put_varint(out, last_id);
        state.seen(&mut |effect| put_effect(effect, out));
        Some(QueueImage { number, cut, taken_until: cut, last_id, after: 0, is_over: false })
    }

    /// Appends the next messages, of about `bytes` or of one run; says whether there may be more. Called without any lock, on a
    /// thread that may wait for the disk.
    ///
    /// # Errors
    /// Messages that are not in memory cannot be read.
    pub fn step_queue_image(&self, image: &mut QueueImage, bytes: usize, out: &mut Vec<u8>) -> Result<bool, Error> {
        if std::mem::replace(&mut image.is_over, true) {
            return Ok(false);
        }
        let (mut messages, mut run) = (Vec::new(), None);
        {
            let _door = self.door.read();
            let Some(queue) = self.topology.read().numbered.get(&image.number).cloned() else { return Ok(false) };
            let state = queue.lock();
            if state.is_deleted {
                return Ok(false);
            }
            image.taken_until = image.taken_until.max(state.last_offset());
            let out_next = state.messages.out_behind(image.after);
            let barrier = out_next.as_ref().and_then(|(_, ids)| ids.first().copied()).unwrap_or(u64::MAX);
            let mut found = 0;
            for (id, deadline, message) in state.messages.persistent_behind(image.after) {
                if id > image.last_id || id > barrier {
                    break;
                }
                if found >= bytes || messages.len() >= STEP_MESSAGES {
                    image.is_over = false;
                    break;
                }
                found += message.content().body.len();
                image.after = id;
                messages.push((id, deadline, Arc::clone(message), state.messages.returns(id)));
            }
            if image.is_over && barrier <= image.last_id {
                image.is_over = false;
                if messages.is_empty() {
                    run = out_next.map(|(number, ids)| {
                        let returns: Vec<_> = ids.iter().map(|id| state.messages.returns(*id)).collect();
                        (number, ids, returns)
                    });
                }
            }
        }
        for (id, deadline, message, returns) in messages {
            put_effect(&enqueue(id, deadline, message.content()), out);
            if returns > 0 {
                put_effect(&BrokerEffect::Returned { id, returns }, out);
            }
        }
        if let Some((number, ids, returns)) = run {
            self.put_run(image, number, &ids, &returns, out)?;
        }
        Ok(!image.is_over)
    }

    /// Appends the messages of a run that were there a moment ago.
    fn put_run(
        &self,
        image: &mut QueueImage,
        number: u64,
        ids: &[u64],
        returns: &[u32],
        out: &mut Vec<u8>,
    ) -> Result<(), Error> {
        let bodies = self.shelf.bodies().ok_or_else(|| Error::Shelf("nobody keeps them".to_owned()))?;
        let Some(bytes) = bodies.read(number).map_err(Error::Shelf)? else {
            // All of it has gone meanwhile, or the disk has lost it: the next look tells.
            return match self.queue_has_run(image, number) {
                true => Err(Error::Shelf(format!("run {number} is not there"))),
                false => Ok(()),
            };
        };
        let mut wanted = ids.iter().copied().zip(returns.iter().copied()).peekable();
        let mut reader = Reader::new(&bytes);
        while !reader.is_empty() {
            let before = reader.remaining();
            let from = bytes.len() - before;
            let id = match take_effect(&mut reader)? {
                BrokerEffect::Enqueue { id, .. }
                | BrokerEffect::EnqueueUntil { id, .. }
                | BrokerEffect::EnqueueNoted { id, .. } => id,
                _ => return Err(Error::Misplaced),
            };
            while wanted.next_if(|(other, _)| *other < id).is_some() {}
            if id > image.last_id {
                break;
            }
            if let Some((_, returns)) = wanted.next_if(|(other, _)| *other == id) {
                out.extend_from_slice(&bytes[from..bytes.len() - reader.remaining()]);
                if returns > 0 {
                    put_effect(&BrokerEffect::Returned { id, returns }, out);
                }
            }
        }
        image.after = ids.last().copied().unwrap_or(image.after);
        Ok(())
    }

    fn queue_has_run(&self, image: &QueueImage, number: u64) -> bool {
        let queue = self.topology.read().numbered.get(&image.number).cloned();
        queue.is_some_and(|queue| queue.lock().messages.run_numbers().contains(&number))
    }
}
