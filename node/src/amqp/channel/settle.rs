//! Deliveries and their settlement: deliver, ack, nack, reject. Acknowledgements of a batch take effect together.

use std::sync::Arc;

use bytes::Bytes;
use smallvec::SmallVec;
use tercet_proto::amqp::{Delivery, Properties, ShortBytes};

use super::Channel;
use crate::amqp::context::Context;
use crate::amqp::delivery::{Holder, Unsettled};
use crate::amqp::error::Error;
use crate::broker::{Acknowledge, Consumer, Delivered, Queue, Settled, Settlement, Taken, Then};

impl Channel {
    /// Writes a delivery.
    #[inline]
    pub(in crate::amqp) fn deliver(&mut self, context: &mut Context<'_>, consumer: Arc<Consumer>, taken: &Taken) {
        context.batch.depends_on(taken.message.offset());
        let content = taken.message.content();
        let is_of_stream = consumer.queue.is_stream();
        let tag = consumer.tag.clone();
        let delivery_tag = match consumer.acknowledge {
            Acknowledge::Automatically => self.window.next_tag(),
            Acknowledge::Manually => {
                context.about.deliveries_are_kept = true;
                self.window.add(Holder::Consumer(consumer), taken.id, context.about.now)
            }
        };
        let delivery = Delivery {
            consumer_tag: tag.as_bytes(),
            delivery_tag,
            redelivered: taken.delivered == Delivered::Maybe,
            exchange: content.exchange,
            routing_key: content.routing_key,
        };
        let number = self.number;
        if taken.returns > 0 || is_of_stream {
            let properties = if is_of_stream {
                with_header(content.properties, "x-stream-offset", taken.id as i64 - 1)
            } else {
                counted(content.properties, taken.returns)
            };
            context.encoder().deliver(number, &delivery, &properties, content.body);
            return;
        }
        context.encoder().deliver(number, &delivery, content.properties, content.body);
    }

    #[inline]
    pub(super) fn ack(&mut self, context: &mut Context<'_>, tag: u64, multiple: bool) -> Result<(), Error> {
        if self.tx.is_selected() {
            return self.ack_in_tx(tag, multiple, Settlement::Remove);
        }
        context.touch(self.number);
        self.take(tag, multiple)
    }

    pub(super) fn nack(
        &mut self,
        context: &mut Context<'_>,
        tag: u64,
        multiple: bool,
        requeue: bool,
    ) -> Result<(), Error> {
        let settlement = if requeue { Settlement::Requeue } else { Settlement::Reject };
        if self.tx.is_selected() {
            return self.ack_in_tx(tag, multiple, settlement);
        }
        self.take(tag, multiple)?;
        let settling = std::mem::take(&mut self.settling);
        self.settle(context, settling, settlement);
        Ok(())
    }

    pub(super) fn take(&mut self, tag: u64, multiple: bool) -> Result<(), Error> {
        let Self { window, settling, .. } = self;
        if multiple {
            window.take_up_to(tag, |unsettled| settling.push(unsettled))
        } else {
            window.take(tag).map(|unsettled| settling.push(unsettled))
        }
    }

    /// Acknowledgements take effect.
    #[inline]
    pub(super) fn settle_now(&mut self, context: &mut Context<'_>) {
        if !self.settling.is_empty() {
            let settling = std::mem::take(&mut self.settling);
            self.settle(context, settling, Settlement::Remove);
        }
    }

    pub(super) fn requeue_all(&mut self, context: &mut Context<'_>) {
        let all = self.window.take_all();
        self.settle(context, all, Settlement::Requeue);
    }

    pub(super) fn settle(&mut self, context: &mut Context<'_>, all: Vec<Unsettled>, settlement: Settlement) {
        settle_with(context, all, settlement, Then::Serve);
        if self.credit.is_limited() {
            self.serve(context);
        }
    }

    /// The channel's own limit has room again: its consumers may get more, whatever their queue.
    pub(super) fn serve(&self, context: &mut Context<'_>) {
        for queue in self.queues() {
            queue.serve(&mut context.batch);
        }
    }
}

/// Settles deliveries, those of one queue together. Says nothing to consumers if the caller does that later.
pub(super) fn settle_with(context: &mut Context<'_>, all: Vec<Unsettled>, settlement: Settlement, then: Then) {
    let mut rest = all.into_iter().peekable();
    while let Some(first) = rest.next() {
        let queue: Arc<Queue> = Arc::clone(first.queue());
        let mut run: SmallVec<[Settled; 32]> = SmallVec::new();
        run.push(first.settled());
        while let Some(next) = rest.next_if(|next| Arc::ptr_eq(next.queue(), &queue)) {
            run.push(next.settled());
        }
        queue.settle(&mut context.batch, &run, settlement, then);
    }
    context.batch.bury_some();
}

/// The properties with x-delivery-count: how often the message came back, of queues that count it.
pub(super) fn counted(properties: &[u8], returns: u32) -> Bytes {
    with_header(properties, "x-delivery-count", i64::from(returns))
}

fn with_header(properties: &[u8], name: &'static str, number: i64) -> Bytes {
    let properties = Properties::from_raw(Bytes::copy_from_slice(properties)).unwrap_or_default();
    let mut headers = properties.headers().map(|headers| headers.to_table()).unwrap_or_default();
    if let Ok(name) = ShortBytes::try_from(name) {
        headers.insert(name, number);
    }
    properties.with_headers(&headers).raw().clone()
}
