//! SUBSCRIBE and its like, and what comes for a client.

use std::collections::BTreeSet;
use std::sync::Arc;

use tercet_proto::resp::{Encoder, Version};

use super::Session;
use super::listens::Subscriptions;
use crate::pubsub::Topic;

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
