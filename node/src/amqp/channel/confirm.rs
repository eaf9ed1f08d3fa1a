//! Class confirm: publishers are told when their messages are safe.
//!
//! Everything that was published in a batch is confirmed by one basic.ack at its end; like all that a batch writes, it
//! leaves when the commit offset has reached the batch's records.

use tercet_proto::amqp::Method;

use crate::amqp::context::Context;
use crate::ids::Offset;

#[derive(Debug, Default)]
pub(super) struct Confirms {
    is_selected: bool,
    /// Number of the last message; they count from 1.
    published: u64,
    confirmed: u64,
}

impl Confirms {
    pub(super) fn is_selected(&self) -> bool {
        self.is_selected
    }

    pub(super) fn select(&mut self) {
        self.is_selected = true;
    }

    /// One more message, made by the record at `offset`.
    #[inline]
    pub(super) fn published(&mut self, channel: u16, offset: Offset, context: &mut Context<'_>) {
        if self.is_selected {
            self.published += 1;
            context.batch.depends_on(offset);
            context.touch(channel);
        }
    }

    /// One more message, which a queue did not take.
    pub(super) fn refused(&mut self, channel: u16, context: &mut Context<'_>) {
        if self.is_selected {
            self.write(channel, context);
            self.published += 1;
            self.confirmed = self.published;
            let method = Method::BasicNack { delivery_tag: self.published, multiple: false, requeue: false };
            context.send(channel, &method);
        }
    }

    /// Confirms all that were published so far.
    pub(super) fn write(&mut self, channel: u16, context: &mut Context<'_>) {
        let waiting = self.published - self.confirmed;
        if waiting > 0 {
            context.batch.count().confirmed += waiting;
            context.send(channel, &Method::BasicAck { delivery_tag: self.published, multiple: waiting > 1 });
            self.confirmed = self.published;
        }
    }
}
