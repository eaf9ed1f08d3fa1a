//! What a client listens to.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tercet_proto::resp::{Encoder, Version};

use super::Session;
use crate::clients::{Client, state};
use crate::node::Shared;
use crate::pubsub::Topic;

/// A client's subscriptions; they end with this.
#[derive(Debug)]
pub(super) struct Subscriptions {
    node: Shared,
    client: Arc<Client>,
    channels: BTreeSet<Box<[u8]>>,
    patterns: BTreeSet<Box<[u8]>>,
    shard_channels: BTreeSet<Box<[u8]>>,
}

/// All kinds, in the order in which a session is packed.
pub(super) const TOPICS: [Topic; 3] = [Topic::Channel, Topic::Pattern, Topic::Shard];

impl Subscriptions {
    fn listed(&self, topic: Topic) -> &BTreeSet<Box<[u8]>> {
        match topic {
            Topic::Channel => &self.channels,
            Topic::Pattern => &self.patterns,
            Topic::Shard => &self.shard_channels,
        }
    }

    fn names(&mut self, topic: Topic) -> &mut BTreeSet<Box<[u8]>> {
        match topic {
            Topic::Channel => &mut self.channels,
            Topic::Pattern => &mut self.patterns,
            Topic::Shard => &mut self.shard_channels,
        }
    }

    /// As Redis counts them in its replies: those of channels and patterns together.
    fn count(&self, topic: Topic) -> usize {
        match topic {
            Topic::Channel | Topic::Pattern => self.channels.len() + self.patterns.len(),
            Topic::Shard => self.shard_channels.len(),
        }
    }

    fn has_any(&self) -> bool {
        self.count(Topic::Channel) + self.count(Topic::Shard) > 0
    }

    /// Tells CLIENT LIST.
    fn note(&self) {
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

impl Session {
    /// Listens to something, and says how many subscriptions there are now.
    pub(crate) fn subscribe(&mut self, topic: Topic, name: &[u8]) -> usize {
        let subscriptions = self.subscriptions.get_or_insert_with(|| {
            Box::new(Subscriptions {
                node: Arc::clone(&self.node),
                client: Arc::clone(&self.client),
                channels: BTreeSet::new(),
                patterns: BTreeSet::new(),
                shard_channels: BTreeSet::new(),
            })
        });
        if subscriptions.names(topic).insert(name.into()) {
            self.node.pubsub.subscribe(topic, name, &self.client);
            subscriptions.note();
        }
        subscriptions.count(topic)
    }

    /// Listens to something no more, and says how many subscriptions are left.
    pub(crate) fn unsubscribe(&mut self, topic: Topic, name: &[u8]) -> usize {
        let Some(subscriptions) = &mut self.subscriptions else { return 0 };
        if subscriptions.names(topic).remove(name) {
            self.node.pubsub.unsubscribe(topic, name, &self.client);
            subscriptions.note();
        }
        let count = subscriptions.count(topic);
        if !subscriptions.has_any() {
            self.subscriptions = None;
        }
        count
    }

    /// What it listens to.
    pub(crate) fn subscribed(&self, topic: Topic) -> Vec<Box<[u8]>> {
        self.subscriptions.as_ref().map_or_else(Vec::new, |all| all.listed(topic).iter().cloned().collect())
    }

    /// Listens to nothing any more: another node takes the session up with its subscriptions.
    pub(crate) fn end_subscriptions(&mut self) {
        self.subscriptions = None;
    }

    pub(crate) fn count_subscriptions(&self, topic: Topic) -> usize {
        self.subscriptions.as_ref().map_or(0, |all| all.count(topic))
    }

    /// Whether it may only subscribe and unsubscribe, as a client of the old protocol could not tell replies from messages.
    #[inline]
    pub(crate) fn is_subscriber(&self) -> bool {
        self.subscriptions.is_some() && self.version == Version::Resp2
    }

    /// Appends what has come for the client.
    pub(crate) fn read_mail(&self, out: &mut Encoder<'_>) {
        self.client.take_mail(usize::MAX, |letter| open(letter, out));
    }
}

/// Appends a letter: a push is an array to a client that speaks RESP2.
pub(crate) fn open(letter: &[u8], out: &mut Encoder<'_>) {
    match (letter, out.version()) {
        ([b'>', rest @ ..], Version::Resp2) => {
            out.raw(b"*");
            out.raw(rest);
        }
        _ => out.raw(letter),
    }
}
