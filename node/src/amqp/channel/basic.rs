//! Class basic, the consumer's side: qos, consume, cancel, get, recover.

use std::sync::Arc;

use rand::Rng as _;
use tercet_proto::amqp::{FieldTable, FieldValue, Method, ShortString};

use super::Channel;
use super::queue::count;
use crate::amqp::context::Context;
use crate::amqp::delivery::Holder;
use crate::amqp::error::Error;
use crate::amqp::limits;
use crate::broker::{
    Acknowledge, Consume, Delivered, Queue, REPLY_QUEUE, Resource, ResourceKind, Share, Start, Then, interval,
    type_name,
};
use crate::permission::Right;

/// basic.consume
pub(super) struct Wish {
    pub(super) queue: ShortString,
    pub(super) tag: ShortString,
    pub(super) no_ack: bool,
    pub(super) exclusive: bool,
    pub(super) arguments: FieldTable,
}

struct Wished {
    tag: ShortString,
    no_ack: bool,
    exclusive: bool,
}

impl Channel {
    /// As RabbitMQ has it: global=false is for each consumer that begins from now on, global=true for all of the channel.
    pub(super) fn qos(
        &mut self,
        context: &mut Context<'_>,
        prefetch_size: u32,
        prefetch_count: u16,
        global: bool,
    ) -> Result<(), Error> {
        if prefetch_size != 0 {
            return Err(Error::NotImplemented(format!("prefetch_size!=0 ({prefetch_size})")));
        }
        if global {
            self.credit.set_limit(prefetch_count);
            self.serve(context);
        } else {
            self.prefetch = prefetch_count;
        }
        context.send(self.number, &Method::BasicQosOk {});
        Ok(())
    }

    /// consume-ok goes before the first delivery: those wait in the inbox until the batch is over.
    pub(super) fn consume(&mut self, context: &mut Context<'_>, wish: Wish, no_wait: bool) -> Result<(), Error> {
        if wish.queue.as_str() == REPLY_QUEUE {
            return self.consume_replies(context, wish, no_wait);
        }
        let queue = self.find_queue(context, wish.queue)?;
        context.check_access(Right::Read, ResourceKind::Queue, &queue.name)?;
        self.consume_from(context, &queue, wish.tag, wish.no_ack, wish.exclusive, &wish.arguments, no_wait)
    }

    /// The queue of this channel's replies: nobody knows its name but those who get it with a request.
    fn consume_replies(&mut self, context: &mut Context<'_>, wish: Wish, no_wait: bool) -> Result<(), Error> {
        if !wish.no_ack {
            return Err(Error::ReplyAcknowledge);
        }
        if self.replies.as_ref().is_some_and(|queue| queue.counts().consumers > 0) {
            return Err(Error::ReplyConsumerTwice);
        }
        let queue =
            context.broker.declare_reply_queue(&mut context.batch, context.link.connection, &context.about.vhost);
        context.about.exclusive.push(Arc::clone(&queue));
        self.replies = Some(Arc::clone(&queue));
        self.consume_from(context, &queue, wish.tag, true, false, &wish.arguments, no_wait)
    }

    #[expect(clippy::too_many_arguments, reason = "the fields of one method")]
    fn consume_from(
        &mut self,
        context: &mut Context<'_>,
        queue: &Arc<Queue>,
        wanted: ShortString,
        no_ack: bool,
        exclusive: bool,
        arguments: &FieldTable,
        no_wait: bool,
    ) -> Result<(), Error> {
        let wish = Wished { tag: wanted, no_ack, exclusive };
        let priority = match arguments.get("x-priority") {
            None => 0,
            Some(value) => value.as_i64().ok_or_else(|| {
                let queue = Box::new(Resource::queue(&queue.vhost, &queue.name));
                Error::ConsumerArgument { queue, argument: "x-priority", given: type_name(value) }
            })?,
        };
        let start = if queue.is_stream() { self.start(queue, no_ack, arguments)? } else { Start::default() };
        let timeout = match arguments.get("x-consumer-timeout") {
            None => None,
            Some(value) => Some(value.as_i64().and_then(|number| u64::try_from(number).ok()).ok_or_else(|| {
                let queue = Box::new(Resource::queue(&queue.vhost, &queue.name));
                Error::ConsumerArgument { queue, argument: "x-consumer-timeout", given: type_name(value) }
            })?),
        };
        if self.consumers.contains_key(&wish.tag) {
            return Err(Error::ConsumerTag(wish.tag));
        }
        if self.consumers.len() >= limits::CONSUMERS_A_CHANNEL {
            return Err(Error::TooManyConsumers(limits::CONSUMERS_A_CHANNEL));
        }
        if let Some(own) = timeout.or_else(|| queue.consumer_timeout()).filter(|own| *own > 0) {
            let about = &mut *context.about;
            about.own_timeout = if about.own_timeout == 0 { own } else { own.min(about.own_timeout) };
        }
        let tag = if wish.tag.is_empty() { generated_tag() } else { wish.tag.detached() };
        let consume = Consume {
            tag: tag.clone(),
            channel: self.number,
            acknowledge: if wish.no_ack { Acknowledge::Automatically } else { Acknowledge::Manually },
            share: if wish.exclusive { Share::Exclusive } else { Share::Shared },
            priority,
            prefetch: self.prefetch,
            timeout,
            start,
            credit: Arc::clone(&self.credit),
            link: Arc::clone(context.link),
        };
        let consumer = context.broker.consume(&mut context.batch, queue, consume)?;
        self.consumers.insert(tag.clone(), consumer);
        self.unless(no_wait, context, Method::BasicConsumeOk { consumer_tag: tag });
        Ok(())
    }

    /// Where the consumer of a stream begins.
    fn start(&self, queue: &Queue, no_ack: bool, arguments: &FieldTable) -> Result<Start, Error> {
        let resource = || Box::new(Resource::queue(&queue.vhost, &queue.name));
        if self.prefetch == 0 {
            return Err(Error::NoPrefetch(resource()));
        }
        if no_ack {
            return Err(Error::Stream { what: "automatic acknowledgement", queue: resource() });
        }
        stream_start(arguments).map_err(|given| Error::StreamOffset { queue: resource(), given })
    }

    /// What is in the inbox for the consumer leaves before cancel-ok; what it has stays with the client.
    pub(super) fn cancel(&mut self, context: &mut Context<'_>, tag: &ShortString) {
        let Some(consumer) = self.consumers.remove(tag) else { return };
        context.broker.cancel(&mut context.batch, &consumer, Then::Serve);
        let mut events = Vec::new();
        context.link.take(&mut events);
        for event in events {
            match event {
                crate::broker::Event::Deliver(other, taken) if Arc::ptr_eq(&other, &consumer) => {
                    self.deliver(context, other, &taken);
                }
                other => context.later.push(other),
            }
        }
    }

    pub(super) fn get(&mut self, context: &mut Context<'_>, queue: ShortString, no_ack: bool) -> Result<(), Error> {
        let queue = self.find_queue(context, queue)?;
        context.check_access(Right::Read, ResourceKind::Queue, &queue.name)?;
        if queue.is_stream() {
            let queue = Box::new(Resource::queue(&queue.vhost, &queue.name));
            return Err(Error::Stream { what: "basic.get", queue });
        }
        let acknowledge = if no_ack { Acknowledge::Automatically } else { Acknowledge::Manually };
        let Some((taken, left)) = queue.get(&mut context.batch, acknowledge) else {
            if queue.awaits_run() {
                context.about.is_put_off = true;
                return Ok(());
            }
            context.batch.shows(queue.counts().last_offset);
            context.send(self.number, &Method::BasicGetEmpty {});
            return Ok(());
        };
        let delivery_tag = match acknowledge {
            Acknowledge::Automatically => self.window.next_tag(),
            Acknowledge::Manually => {
                context.about.deliveries_are_kept = true;
                self.window.add(Holder::Client(queue), taken.id, context.about.now)
            }
        };
        let content = taken.message.content();
        let method = Method::BasicGetOk {
            delivery_tag,
            redelivered: taken.delivered == Delivered::Maybe,
            exchange: short(content.exchange),
            routing_key: short(content.routing_key),
            message_count: count(left),
        };
        let number = self.number;
        if taken.returns > 0 {
            let properties = super::settle::counted(content.properties, taken.returns);
            context.encoder().content(number, &method, &properties, content.body);
        } else {
            context.encoder().content(number, &method, content.properties, content.body);
        }
        Ok(())
    }

    /// Gives everything that is unsettled back to its queues.
    pub(super) fn recover(&mut self, context: &mut Context<'_>, requeue: bool) -> Result<(), Error> {
        if !requeue {
            return Err(Error::NotImplemented("requeue=false".to_owned()));
        }
        self.requeue_all(context);
        Ok(())
    }

    /// A consumer of this channel was ended by the server: its queue is gone.
    pub(in crate::amqp) fn cancelled(&mut self, context: &mut Context<'_>, tag: &ShortString) {
        let was_there = self.consumers.remove(tag).is_some();
        self.tell();
        if was_there && context.about.capabilities.consumer_cancel_notify {
            let method = Method::BasicCancel { consumer_tag: tag.clone(), no_wait: true };
            context.send(self.number, &method);
        }
    }
}

/// `x-stream-offset`: a word, an offset, a time, or how long ago as in `1h`. Or what it is instead, as RabbitMQ writes it.
fn stream_start(arguments: &FieldTable) -> Result<Start, String> {
    let Some(value) = arguments.get("x-stream-offset") else { return Ok(Start::Next) };
    let start = match (value, value.as_str()) {
        (FieldValue::Timestamp(seconds), _) => Some(Start::At(seconds.saturating_mul(1000))),
        (_, Some("first")) => Some(Start::First),
        (_, Some("last")) => Some(Start::Last),
        (_, Some("next")) => Some(Start::Next),
        (_, Some(text)) => interval(text).map(Start::Within),
        // One before the beginning is the beginning.
        (other, None) => other.as_i64().map(|offset| Start::Offset(u64::try_from(offset).unwrap_or(0))),
    };
    start.ok_or_else(|| match value.as_str() {
        Some(text) => format!("{{longstr,<<\"{text}\">>}}"),
        None => match value.as_bool() {
            Some(value) => format!("{{bool,{value}}}"),
            None => format!("{{{},{value:?}}}", type_name(value)),
        },
    })
}

/// A name that was a short string when it came in.
pub(super) fn short(bytes: &[u8]) -> ShortString {
    ShortString::from_utf8(bytes.to_vec().into()).unwrap_or_default()
}

/// `amq.ctag-` and 22 characters, as RabbitMQ makes them.
fn generated_tag() -> ShortString {
    let suffix: String = rand::rng().sample_iter(rand::distr::Alphanumeric).take(22).map(char::from).collect();
    ShortString::truncated(&format!("amq.ctag-{suffix}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_read_from_a_word_an_offset_or_a_time() {
        let start = |value: FieldValue| {
            stream_start(&[("x-stream-offset".try_into().unwrap(), value)].into_iter().collect::<FieldTable>())
        };
        let table: [(FieldValue, Result<Start, &str>); 9] = [
            ("first".into(), Ok(Start::First)),
            ("last".into(), Ok(Start::Last)),
            ("next".into(), Ok(Start::Next)),
            (7.into(), Ok(Start::Offset(7))),
            ((-7).into(), Ok(Start::Offset(0))),
            ("1h".into(), Ok(Start::Within(3_600_000))),
            (FieldValue::Timestamp(9), Ok(Start::At(9000))),
            ("1x".into(), Err("{longstr,<<\"1x\">>}")),
            (true.into(), Err("{bool,true}")),
        ];
        for (value, expected) in table {
            assert_eq!(start(value.clone()), expected.map_err(str::to_owned), "{value:?}");
        }
        assert_eq!(stream_start(&FieldTable::new()), Ok(Start::Next));
    }
}
