//! Changes to the topology as values: what clients ask for, and what records and images hold, goes through one of them.

use std::sync::Arc;

use tercet_proto::amqp::ShortString;

use super::batch::Batch;
use super::effect::BrokerEffect;
use super::exchange::{self, Bound};
use super::queue::Queue;
use super::topology::{self, Topology};
use crate::effect::Effect;
use crate::ids::Partition;

/// One change. Its preconditions have been checked.
#[derive(Debug)]
pub(super) enum Change {
    DeclareExchange {
        vhost: ShortString,
        name: ShortString,
        declaration: exchange::Declaration,
    },
    /// With its bindings on both sides.
    DeleteExchange {
        vhost: ShortString,
        name: ShortString,
    },
    DeclareQueue {
        queue: Arc<Queue>,
    },
    /// With its bindings, messages and consumers.
    DeleteQueue {
        queue: Arc<Queue>,
    },
    Bind {
        vhost: ShortString,
        source: ShortString,
        bound: Bound,
    },
    Unbind {
        vhost: ShortString,
        source: ShortString,
        bound: Bound,
    },
}

impl Change {
    pub(super) fn vhost(&self) -> &ShortString {
        match self {
            Self::DeclareExchange { vhost, .. }
            | Self::DeleteExchange { vhost, .. }
            | Self::Bind { vhost, .. }
            | Self::Unbind { vhost, .. } => vhost,
            Self::DeclareQueue { queue } | Self::DeleteQueue { queue } => &queue.vhost,
        }
    }

    /// Lends the effect that stands for it in the journal.
    fn with_effect(&self, visit: &mut dyn FnMut(&BrokerEffect<'_>)) {
        match self {
            Self::DeclareExchange { vhost, name, declaration } => {
                topology::with_exchange_effect(vhost, name, declaration, visit);
            }
            Self::DeleteExchange { vhost, name } => visit(&BrokerEffect::DeleteExchange { vhost, name }),
            Self::DeclareQueue { queue } => topology::with_queue_effect(queue, visit),
            Self::DeleteQueue { queue } => visit(&BrokerEffect::DeleteQueue { number: queue.number }),
            Self::Bind { vhost, source, bound } => {
                topology::with_binding(vhost, source, bound, |binding| visit(&BrokerEffect::Bind(binding)));
            }
            Self::Unbind { vhost, source, bound } => {
                topology::with_binding(vhost, source, bound, |binding| visit(&BrokerEffect::Unbind(binding)));
            }
        }
    }
}

/// Changes that a client brings about: applied at once, and noted together in one record.
#[derive(Debug, Default)]
pub(super) struct Changes {
    effects: Vec<u8>,
}

impl Changes {
    /// Applies a change. With it: the exchanges that have lost a binding.
    pub(super) fn make(&mut self, topology: &mut Topology, change: Change) -> Vec<ShortString> {
        if topology.is_noted(&change) {
            let record = &mut self.effects;
            change.with_effect(&mut |effect| Effect::Broker(effect.clone()).encode(Partition::TOPOLOGY, record));
        }
        topology.change(change)
    }

    /// Notes the changes. The topology is still held.
    pub(super) fn note(self, batch: &mut Batch<'_>, topology: &mut Topology) {
        batch.worked(1);
        if self.effects.is_empty() {
            return;
        }
        let offset = batch.append(|record| record.extend_from_slice(&self.effects));
        topology.changed_at(offset);
        batch.changed_topology();
        batch.depends_on(offset);
    }
}
