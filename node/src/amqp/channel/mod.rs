//! A channel: its state, and which function answers which method.
//!
//! ```text
//! open --(channel error: close sent)--> closing --close-ok--> gone
//!   |--content: method, header, body ... --> publish
//! ```

mod basic;
mod confirm;
mod content;
mod exchange;
mod publish;
mod queue;
mod settle;
mod tx;
mod unfinished;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use tercet_proto::amqp::{Frame, FrameKind, Method, ShortString};

use super::context::Context;
use super::delivery::{Unsettled, Window};
use super::error::Error;
use crate::broker::{Acknowledge, Consumer, Credit, Event, Queue, Settled, Settlement, Then};
use crate::clients::ChannelGauges;
use crate::ids::Offset;
use confirm::Confirms;
use content::{Incoming, LastRoute};
use unfinished::Tx;

/// What the server remembers of one channel.
#[derive(Debug)]
pub(super) struct Channel {
    pub(super) number: u16,
    phase: Phase,
    incoming: Incoming,
    /// Name of the queue that was declared last: what an empty name stands for.
    last_queue: Option<ShortString>,
    confirms: Confirms,
    tx: Tx,
    /// For consumers that begin from now on.
    prefetch: u16,
    credit: Arc<Credit>,
    consumers: HashMap<ShortString, Arc<Consumer>>,
    window: Window,
    gauges: Arc<ChannelGauges>,
    /// Acknowledged, and not yet told to the queues.
    settling: Vec<Unsettled>,
    /// Where the last message went: publishers repeat themselves.
    last_route: Option<LastRoute>,
    /// Where replies to this channel's requests go.
    replies: Option<Arc<Queue>>,
    /// The record of the last message: close-ok waits for it.
    last_publish: Offset,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Open,
    /// We have sent close; whatever comes before close-ok is not looked at.
    Closing,
}

/// Whether the channel goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    Open,
    Gone,
}

impl Channel {
    pub(super) fn new(number: u16) -> Self {
        let gauges = Arc::new(ChannelGauges { number, ..ChannelGauges::default() });
        Self {
            number,
            phase: Phase::Open,
            incoming: Incoming::default(),
            last_queue: None,
            confirms: Confirms::default(),
            tx: Tx::default(),
            prefetch: 0,
            credit: Arc::default(),
            consumers: HashMap::new(),
            window: Window::shown_by(Arc::clone(&gauges)),
            gauges,
            settling: Vec::new(),
            last_route: None,
            replies: None,
            last_publish: Offset::ZERO,
        }
    }

    /// Its numbers, for management.
    pub(super) fn gauges(&self) -> &Arc<ChannelGauges> {
        &self.gauges
    }

    /// Brings the numbers up to date that methods change.
    fn tell(&self) {
        self.gauges.consumers.store(self.consumers.len() as u32, Relaxed);
        self.gauges.prefetch.store(self.prefetch, Relaxed);
        self.gauges.confirms.store(self.confirms.is_selected(), Relaxed);
        self.gauges.is_transactional.store(self.tx.is_selected(), Relaxed);
    }

    pub(super) fn is_closing(&self) -> bool {
        self.phase == Phase::Closing
    }

    /// Answers one frame of an open channel.
    #[inline]
    pub(super) fn frame(&mut self, context: &mut Context<'_>, frame: &Frame) -> Result<Next, Error> {
        match frame.kind {
            FrameKind::Method if self.incoming.is_idle() => {
                let method = Method::decode(&frame.payload)?;
                self.method(context, method)
            }
            FrameKind::Method => Err(self.incoming.expected()),
            FrameKind::Header => self.header(context, &frame.payload).map(|()| Next::Open),
            FrameKind::Body => self.body(context, &frame.payload).map(|()| Next::Open),
            FrameKind::Heartbeat => Ok(Next::Open),
        }
    }

    /// Every method of the table has its arm here: what is not there yet says so.
    #[inline]
    fn method(&mut self, context: &mut Context<'_>, method: Method) -> Result<Next, Error> {
        match method {
            Method::BasicPublish { exchange, routing_key, mandatory, immediate } => {
                return self.publish(context, exchange, routing_key, mandatory, immediate).map(|()| Next::Open);
            }
            Method::BasicAck { delivery_tag, multiple } => {
                return self.ack(context, delivery_tag, multiple).map(|()| Next::Open);
            }
            _ => self.settle_now(context),
        }
        match method {
            Method::BasicPublish { .. } | Method::BasicAck { .. } => {}

            Method::ExchangeDeclare { exchange, kind, passive, durable, auto_delete, internal, no_wait, arguments } => {
                let wish = exchange::Wish { exchange, kind, passive, durable, auto_delete, internal, arguments };
                exchange::declare(self, context, wish)?;
                self.unless(no_wait, context, Method::ExchangeDeclareOk {});
            }
            Method::ExchangeDelete { exchange, if_unused, no_wait } => {
                exchange::delete(context, &exchange, if_unused)?;
                self.unless(no_wait, context, Method::ExchangeDeleteOk {});
            }
            Method::ExchangeBind { destination, source, routing_key, no_wait, arguments } => {
                exchange::bind(context, &destination, &source, &routing_key, arguments)?;
                self.unless(no_wait, context, Method::ExchangeBindOk {});
            }
            Method::ExchangeUnbind { destination, source, routing_key, no_wait, arguments } => {
                exchange::unbind(context, &destination, &source, &routing_key, arguments)?;
                self.unless(no_wait, context, Method::ExchangeUnbindOk {});
            }

            Method::QueueDeclare { queue, passive, durable, exclusive, auto_delete, no_wait, arguments } => {
                let wish = queue::Wish { queue, passive, durable, exclusive, auto_delete, arguments };
                let reply = self.declare_queue(context, wish)?;
                self.unless(no_wait, context, reply);
            }
            Method::QueueBind { queue, exchange, routing_key, no_wait, arguments } => {
                self.bind_queue(context, queue, &exchange, routing_key, arguments)?;
                self.unless(no_wait, context, Method::QueueBindOk {});
            }
            Method::QueueUnbind { queue, exchange, routing_key, arguments } => {
                self.unbind_queue(context, queue, &exchange, routing_key, arguments)?;
                context.send(self.number, &Method::QueueUnbindOk {});
            }
            Method::QueuePurge { queue, no_wait } => {
                let reply = self.purge(context, queue)?;
                self.unless(no_wait, context, reply);
            }
            Method::QueueDelete { queue, if_unused, if_empty, no_wait } => {
                let reply = self.delete_queue(context, queue, if_unused, if_empty)?;
                self.unless(no_wait, context, reply);
            }

            Method::BasicQos { prefetch_size, prefetch_count, global } => {
                self.qos(context, prefetch_size, prefetch_count, global)?;
            }
            Method::BasicConsume { queue, consumer_tag, no_local: _, no_ack, exclusive, no_wait, arguments } => {
                let wish = basic::Wish { queue, tag: consumer_tag, no_ack, exclusive, arguments };
                self.consume(context, wish, no_wait)?;
            }
            Method::BasicCancel { consumer_tag, no_wait } => {
                self.cancel(context, &consumer_tag);
                self.unless(no_wait, context, Method::BasicCancelOk { consumer_tag });
            }
            // The answer to the cancel that we send when a queue goes.
            Method::BasicCancelOk { .. } => {}
            Method::BasicGet { queue, no_ack } => self.get(context, queue, no_ack)?,
            Method::BasicReject { delivery_tag, requeue } => self.nack(context, delivery_tag, false, requeue)?,
            Method::BasicNack { delivery_tag, multiple, requeue } => {
                self.nack(context, delivery_tag, multiple, requeue)?;
            }
            Method::BasicRecover { requeue } => {
                self.recover(context, requeue)?;
                context.send(self.number, &Method::BasicRecoverOk {});
            }
            Method::BasicRecoverAsync { requeue } => self.recover(context, requeue)?,

            Method::ConfirmSelect { no_wait } => {
                self.select_confirms()?;
                self.unless(no_wait, context, Method::ConfirmSelectOk {});
            }
            Method::TxSelect {} => {
                self.select_tx()?;
                context.send(self.number, &Method::TxSelectOk {});
            }
            Method::TxCommit {} => {
                self.commit(context)?;
                context.send(self.number, &Method::TxCommitOk {});
            }
            Method::TxRollback {} => {
                self.rollback(context)?;
                context.send(self.number, &Method::TxRollbackOk {});
            }

            Method::ChannelClose { .. } => {
                self.release(context);
                context.batch.depends_on(self.last_publish);
                context.send(self.number, &Method::ChannelCloseOk {});
                return Ok(Next::Gone);
            }
            Method::ChannelFlow { active: true } => {
                context.send(self.number, &Method::ChannelFlowOk { active: true });
            }
            Method::ChannelFlow { active: false } => return Err(Error::NotImplemented("active=false".to_owned())),
            // RabbitMQ gives everybody this ticket, and looks at none.
            Method::AccessRequest { .. } => context.send(self.number, &Method::AccessRequestOk { ticket: 1 }),
            Method::ChannelOpen {} => return Err(Error::ChannelOpenTwice),

            // For channel 0, or sent by servers only.
            Method::ChannelOpenOk {}
            | Method::ChannelFlowOk { .. }
            | Method::ChannelCloseOk {}
            | Method::AccessRequestOk { .. }
            | Method::ExchangeDeclareOk {}
            | Method::ExchangeDeleteOk {}
            | Method::ExchangeBindOk {}
            | Method::ExchangeUnbindOk {}
            | Method::QueueDeclareOk { .. }
            | Method::QueueBindOk {}
            | Method::QueuePurgeOk { .. }
            | Method::QueueDeleteOk { .. }
            | Method::QueueUnbindOk {}
            | Method::BasicQosOk {}
            | Method::BasicConsumeOk { .. }
            | Method::BasicReturn { .. }
            | Method::BasicDeliver { .. }
            | Method::BasicGetOk { .. }
            | Method::BasicGetEmpty {}
            | Method::BasicRecoverOk {}
            | Method::ConfirmSelectOk {}
            | Method::TxSelectOk {}
            | Method::TxCommitOk {}
            | Method::TxRollbackOk {}
            | Method::ConnectionStart { .. }
            | Method::ConnectionStartOk { .. }
            | Method::ConnectionSecure { .. }
            | Method::ConnectionSecureOk { .. }
            | Method::ConnectionTune { .. }
            | Method::ConnectionTuneOk { .. }
            | Method::ConnectionOpen { .. }
            | Method::ConnectionOpenOk {}
            | Method::ConnectionClose { .. }
            | Method::ConnectionCloseOk {}
            | Method::ConnectionBlocked { .. }
            | Method::ConnectionUnblocked {}
            | Method::ConnectionUpdateSecret { .. }
            | Method::ConnectionUpdateSecretOk {} => return Err(Error::NotForServers),
        }
        self.tell();
        Ok(Next::Open)
    }

    /// A batch ends: acknowledgements take effect, confirms are written.
    pub(super) fn end_batch(&mut self, context: &mut Context<'_>) {
        self.settle_now(context);
        self.confirms.write(self.number, context);
    }

    /// The channel ends with an error that we tell: everything is given back at once.
    pub(super) fn close(&mut self, context: &mut Context<'_>) {
        // Confirms of what was published before the error go first.
        self.end_batch(context);
        self.release(context);
        self.phase = Phase::Closing;
    }

    /// Ends the consumers and gives back what is unsettled. Everything is in its old place before a queue hands it on, so
    /// that the next consumer gets it in order.
    pub(super) fn release(&mut self, context: &mut Context<'_>) {
        self.end_batch(context);
        self.drop_incoming(context);
        _ = self.rollback(context);
        let mut queues: Vec<Arc<Queue>> = Vec::new();
        let mut note = |queue: &Arc<Queue>| {
            if !queues.iter().any(|other| Arc::ptr_eq(other, queue)) {
                queues.push(Arc::clone(queue));
            }
        };
        let mut events = std::mem::take(context.later);
        context.link.take(&mut events);
        for event in events {
            match event {
                Event::Deliver(consumer, taken) if consumer.channel == self.number => {
                    note(&consumer.queue);
                    if consumer.acknowledge == Acknowledge::Manually {
                        let queue = Arc::clone(&consumer.queue);
                        let settled = Settled { id: taken.id, consumer: Some(consumer) };
                        queue.settle(&mut context.batch, &[settled], Settlement::Untouched, Then::Wait);
                    }
                }
                other => context.later.push(other),
            }
        }
        let all = self.window.take_all();
        all.iter().for_each(|unsettled| note(unsettled.queue()));
        settle::settle_with(context, all, Settlement::Requeue, Then::Wait);
        for (_, consumer) in std::mem::take(&mut self.consumers) {
            note(&consumer.queue);
            context.broker.cancel(&mut context.batch, &consumer, Then::Wait);
        }
        for queue in queues {
            queue.serve_returned(&mut context.batch);
        }
    }

    pub(super) fn consumer(&self, tag: &ShortString) -> Option<&Arc<Consumer>> {
        self.consumers.get(tag)
    }

    pub(super) fn last_publish(&self) -> Offset {
        self.last_publish
    }

    /// What the client has not settled.
    pub(super) fn window(&self) -> &Window {
        &self.window
    }

    /// Queues that consumers of this channel wait for.
    pub(super) fn queues(&self) -> impl Iterator<Item = &Arc<Queue>> {
        self.consumers.values().map(|consumer| &consumer.queue)
    }

    fn unless(&self, no_wait: bool, context: &mut Context<'_>, reply: Method) {
        if !no_wait {
            context.send(self.number, &reply);
        }
    }
}
