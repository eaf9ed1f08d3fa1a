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

use super::Broker;
use super::effect::BrokerEffect;
use super::image::{enqueue, put_effect};
use crate::ids::Offset;
use crate::wire;

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

    /// Appends the next messages, of about `bytes`; says whether there may be more.
    pub fn step_queue_image(&self, image: &mut QueueImage, bytes: usize, out: &mut Vec<u8>) -> bool {
        if image.is_over {
            return false;
        }
        image.is_over = true;
        let _door = self.door.read();
        let Some(queue) = self.topology.read().numbered.get(&image.number).cloned() else { return false };
        let mut messages = Vec::new();
        {
            let state = queue.lock();
            if state.is_deleted {
                return false;
            }
            image.taken_until = image.taken_until.max(state.last_offset());
            let mut found = 0;
            for (id, deadline, message) in state.messages.persistent_behind(image.after) {
                if id > image.last_id {
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
        }
        for (id, deadline, message, returns) in messages {
            put_effect(&enqueue(id, deadline, message.content()), out);
            if returns > 0 {
                put_effect(&BrokerEffect::Returned { id, returns }, out);
            }
        }
        !image.is_over
    }
}
