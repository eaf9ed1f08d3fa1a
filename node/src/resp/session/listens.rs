//! What a client listens to.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::clients::{Client, state};
use crate::node::Shared;
use crate::pubsub::Topic;

/// A client's subscriptions; they end with this.
#[derive(Debug)]
pub(super) struct Subscriptions {
    pub(super) node: Shared,
    pub(super) client: Arc<Client>,
    pub(super) channels: BTreeSet<Box<[u8]>>,
    pub(super) patterns: BTreeSet<Box<[u8]>>,
    pub(super) shard_channels: BTreeSet<Box<[u8]>>,
}

/// All kinds, in the order in which a session is packed.
pub(super) const TOPICS: [Topic; 3] = [Topic::Channel, Topic::Pattern, Topic::Shard];

impl Subscriptions {
    pub(super) fn listed(&self, topic: Topic) -> &BTreeSet<Box<[u8]>> {
        match topic {
            Topic::Channel => &self.channels,
            Topic::Pattern => &self.patterns,
            Topic::Shard => &self.shard_channels,
        }
    }

    pub(super) fn names(&mut self, topic: Topic) -> &mut BTreeSet<Box<[u8]>> {
        match topic {
            Topic::Channel => &mut self.channels,
            Topic::Pattern => &mut self.patterns,
            Topic::Shard => &mut self.shard_channels,
        }
    }

    /// As Redis counts them in its replies: those of channels and patterns together.
    pub(super) fn count(&self, topic: Topic) -> usize {
        match topic {
            Topic::Channel | Topic::Pattern => self.channels.len() + self.patterns.len(),
            Topic::Shard => self.shard_channels.len(),
        }
    }

    pub(super) fn has_any(&self) -> bool {
        self.count(Topic::Channel) + self.count(Topic::Shard) > 0
    }

    /// Tells CLIENT LIST.
    pub(super) fn note(&self) {
        let sizes = &self.client.sizes;
        sizes.channels.store(self.channels.len(), Ordering::Relaxed);
        sizes.patterns.store(self.patterns.len(), Ordering::Relaxed);
        sizes.shard_channels.store(self.shard_channels.len(), Ordering::Relaxed);
        self.client.set(state::PUBSUB, self.has_any());
    }
}

impl Drop for Subscriptions {
    fn drop(&mut self) {
        for topic in TOPICS {
            for name in std::mem::take(self.names(topic)) {
                self.node.pubsub.unsubscribe(topic, &name, &self.client);
            }
        }
        self.note();
    }
}
