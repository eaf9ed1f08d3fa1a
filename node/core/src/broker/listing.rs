//! What the broker holds, at one moment: for management. Nothing here is on the road of a message.

use std::sync::Arc;

use tercet_proto::amqp::{FieldTable, ShortString};

use super::Broker;
use super::exchange::{Declaration, Destination};
use super::link::Consumer;
use super::queue::Queue;

/// An exchange. The default exchange has an empty name.
#[derive(Debug, Clone, PartialEq)]
pub struct ListedExchange {
    pub vhost: ShortString,
    pub name: ShortString,
    pub declaration: Declaration,
    /// Messages of an x-delayed-message exchange that are not due yet.
    pub delayed: Option<usize>,
}

/// A binding. Every queue is bound to the default exchange by its name.
#[derive(Debug, Clone, PartialEq)]
pub struct ListedBinding {
    pub vhost: ShortString,
    pub source: ShortString,
    pub destination: ShortString,
    pub to: BoundKind,
    pub key: ShortString,
    pub arguments: FieldTable,
}

/// What a binding leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BoundKind {
    Queue,
    Exchange,
}

impl Broker {
    /// All exchanges, by virtual host and name.
    #[must_use]
    pub fn exchanges(&self) -> Vec<ListedExchange> {
        let topology = self.topology.read();
        let of = topology.vhosts.iter().flat_map(|(vhost, content)| {
            content.exchanges.iter().map(|(name, exchange)| ListedExchange {
                vhost: vhost.clone(),
                name: name.clone(),
                declaration: exchange.declaration.clone(),
                delayed: exchange.queue.as_ref().filter(|queue| queue.is_delayed()).map(|q| q.counts().ready),
            })
        });
        let mut all: Vec<_> = of.collect();
        all.sort_by(|one, other| (&*one.vhost, &*one.name).cmp(&(&*other.vhost, &*other.name)));
        all
    }

    /// All bindings, by virtual host and source.
    #[must_use]
    pub fn bindings(&self) -> Vec<ListedBinding> {
        let topology = self.topology.read();
        let mut all = Vec::new();
        for (vhost, content) in &topology.vhosts {
            let queues = content.queues.iter().filter(|(_, queue)| !queue.is_internal());
            all.extend(queues.map(|(queue, _)| ListedBinding {
                vhost: vhost.clone(),
                source: ShortString::default(),
                destination: queue.clone(),
                to: BoundKind::Queue,
                key: queue.clone(),
                arguments: FieldTable::new(),
            }));
            for (source, exchange) in &content.exchanges {
                all.extend(exchange.bindings.iter().map(|bound| {
                    let (to, destination) = match &bound.to {
                        Destination::Queue(queue) => (BoundKind::Queue, queue.name.clone()),
                        Destination::Exchange(name) => (BoundKind::Exchange, name.clone()),
                    };
                    let (key, arguments) = (bound.key.clone(), bound.arguments.clone());
                    ListedBinding { vhost: vhost.clone(), source: source.clone(), destination, to, key, arguments }
                }));
            }
        }
        let place = |binding: &ListedBinding| {
            (binding.vhost.clone(), binding.source.clone(), binding.destination.clone(), binding.key.clone())
        };
        all.sort_by(|one, other| {
            let (one, other) = (place(one), place(other));
            (&*one.0, &*one.1, &*one.2, &*one.3).cmp(&(&*other.0, &*other.1, &*other.2, &*other.3))
        });
        all
    }

    /// The queue of this name, whoever may use it.
    #[must_use]
    pub fn find_queue(&self, vhost: &ShortString, name: &ShortString) -> Option<Arc<Queue>> {
        self.topology.read().queue(vhost, name.as_bytes()).cloned()
    }
}

impl Queue {
    /// Who consumes from it, in the order in which they are served.
    #[must_use]
    pub fn consumers(&self) -> Vec<Arc<Consumer>> {
        self.lock().consumers().to_vec()
    }
}
