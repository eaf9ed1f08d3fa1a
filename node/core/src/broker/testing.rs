//! Short ways to a broker with content, for tests.

use std::sync::Arc;

use tercet_proto::amqp::{BasicProperties, FieldTable, FieldValue, Properties, ShortString};

use super::{
    Acknowledge, Batch, BindTo, Broker, ConnectionId, Consume, Consumer, Credit, DEFAULT_VHOST, Delivered, Draft,
    Event, ExchangeDeclaration, ExchangeKind, Link, Name, Queue, QueueDeclaration, Refusal, Settled, Settlement, Share,
    Start, Then,
};
use crate::engine::Engine;
use crate::ids::{Offset, UnixMillis};
use crate::journal::Next;

pub(super) fn transient() -> QueueDeclaration {
    QueueDeclaration { durable: false, auto_delete: false, owner: None, arguments: FieldTable::new() }
}

pub(super) fn durable() -> QueueDeclaration {
    QueueDeclaration { durable: true, ..transient() }
}

pub(super) fn short(text: &str) -> ShortString {
    ShortString::try_from(text).unwrap()
}

pub(super) fn named(name: &ShortString) -> Name<'_> {
    Name { vhost: &DEFAULT_VHOST, name }
}

/// A delivery as a test sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Got {
    pub(super) tag: String,
    pub(super) body: String,
    pub(super) delivered: Delivered,
}

/// A master's engine, whose journal keeps everything.
#[derive(Debug)]
pub(super) struct Master {
    pub(super) engine: Engine,
    pub(super) record: Vec<u8>,
    pub(super) now: u64,
}

impl Default for Master {
    fn default() -> Self {
        let engine = Engine::default();
        engine.journal.retain();
        Self { engine, record: Vec::new(), now: 1 }
    }
}

impl Master {
    /// Executes one batch; says what its replies depend on.
    pub(super) fn run<T>(&mut self, work: impl FnOnce(&Broker, &mut Batch<'_>) -> T) -> (T, Offset) {
        let mut batch = self.engine.broker.begin(&self.engine.journal, &mut self.record, UnixMillis(self.now));
        let result = work(&self.engine.broker, &mut batch);
        (result, batch.finish())
    }

    pub(super) fn declare(&mut self, name: &str, declaration: QueueDeclaration) -> Result<Arc<Queue>, Refusal> {
        let name = short(name);
        self.run(|broker, batch| broker.declare_queue(batch, ConnectionId(1), named(&name), declaration)).0
    }

    /// A durable queue with arguments.
    pub(super) fn declare_with<const N: usize>(
        &mut self,
        name: &str,
        arguments: [(&'static str, FieldValue); N],
    ) -> Arc<Queue> {
        let arguments = arguments.into_iter().map(|(key, value)| (key.try_into().unwrap(), value)).collect();
        self.declare(name, QueueDeclaration { arguments, ..durable() }).unwrap()
    }

    /// Takes what is ready, for good.
    pub(super) fn drain(&mut self, queue: &Arc<Queue>) -> Vec<String> {
        let mut bodies = Vec::new();
        while let Some((taken, _)) = self.run(|_, batch| queue.get(batch, Acknowledge::Automatically)).0 {
            bodies.push(String::from_utf8_lossy(taken.message.content().body).into_owned());
        }
        bodies
    }

    pub(super) fn exchange(&mut self, name: &str, kind: ExchangeKind, durable: bool) -> Result<(), Refusal> {
        let declaration =
            ExchangeDeclaration { kind, durable, auto_delete: false, internal: false, arguments: FieldTable::new() };
        let name = short(name);
        self.run(|broker, batch| broker.declare_exchange(batch, named(&name), declaration)).0
    }

    pub(super) fn bind(&mut self, source: &str, queue: &str, key: &str) -> Result<(), Refusal> {
        let (source, queue, key) = (short(source), short(queue), short(key));
        let to = BindTo::Queue(&queue);
        self.run(|broker, batch| broker.bind(batch, ConnectionId(1), named(&source), to, &key, FieldTable::new())).0
    }

    pub(super) fn unbind(&mut self, source: &str, queue: &str, key: &str) -> Result<(), Refusal> {
        let (source, queue, key) = (short(source), short(queue), short(key));
        let to = BindTo::Queue(&queue);
        self.run(|broker, batch| broker.unbind(batch, ConnectionId(1), named(&source), to, &key, FieldTable::new())).0
    }

    /// Says which record made it, or that no queue wanted it.
    pub(super) fn publish(&mut self, exchange: &str, key: &str, body: &str, properties: &Properties) -> Option<Offset> {
        let (exchange, key) = (short(exchange), short(key));
        self.run(|broker, batch| {
            let route = broker.route(&DEFAULT_VHOST, &exchange, &key, properties).unwrap();
            let mut draft = Draft::new(exchange.as_bytes(), key.as_bytes(), properties, body.len());
            draft.push(body.as_bytes());
            broker.enqueue(batch, &route, draft).ok().map(|placed| placed.offset)
        })
        .0
    }

    pub(super) fn consume(&mut self, queue: &Arc<Queue>, link: &Arc<Link>, tag: &str, prefetch: u16) -> Arc<Consumer> {
        let consume = Consume {
            tag: short(tag),
            channel: 1,
            acknowledge: Acknowledge::Manually,
            share: Share::Shared,
            priority: 0,
            prefetch,
            timeout: None,
            start: Start::default(),
            credit: Arc::new(Credit::default()),
            link: Arc::clone(link),
        };
        self.run(|broker, batch| broker.consume(batch, queue, consume)).0.unwrap()
    }

    pub(super) fn settle(&mut self, consumer: &Arc<Consumer>, id: u64, settlement: Settlement) {
        let settled = Settled { id, consumer: Some(Arc::clone(consumer)) };
        self.run(|_, batch| consumer.queue.settle(batch, &[settled], settlement, Then::Serve));
    }

    /// Another engine with all records of this one.
    pub(super) fn replica(&self) -> Engine {
        let replica = Engine::default();
        self.replay(&replica, Offset::ZERO);
        replica
    }

    pub(super) fn replay(&self, replica: &Engine, mut after: Offset) {
        while let Next::Block(block) = self.engine.journal.read(after) {
            for (offset, record) in block.iter() {
                replica.apply_record(offset, record, |_| true).unwrap();
            }
            after = block.last;
        }
    }
}

pub(super) fn persistent() -> Properties {
    BasicProperties { delivery_mode: Some(2), ..BasicProperties::default() }.encode()
}

/// Empties an inbox.
pub(super) fn deliveries(link: &Link) -> Vec<(u64, Got)> {
    let mut events = Vec::new();
    link.take(&mut events);
    let delivery = |event| match event {
        Event::Deliver(consumer, taken) => {
            let body = String::from_utf8_lossy(taken.message.content().body).into_owned();
            Some((taken.id, Got { tag: consumer.tag.to_string(), body, delivered: taken.delivered }))
        }
        Event::Cancelled(_) => None,
    };
    events.into_iter().filter_map(delivery).collect()
}
