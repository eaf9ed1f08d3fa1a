//! Who listens to which channel on this node, and what is published.
//!
//! ```text
//! PUBLISH --> publish --> mail of the subscribers here
//!                   '--> outboxes --gRPC--> the other nodes --> publish_here
//! ```
//!
//! A publication reaches whoever listens at that moment and is kept nowhere: a subscriber that reads too slowly is
//! closed, and a node that cannot be reached misses it.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use bytes::Bytes;
use parking_lot::{Mutex, RwLock};
use tokio::sync::Notify;

use crate::clients::Client;
use crate::config::live::Live;
use crate::config::special::OutputLimits;
use crate::glob;
use crate::limits;

/// What a client listens to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Topic {
    Channel,
    /// All channels whose names match.
    Pattern,
    /// A channel of SPUBLISH.
    Shard,
}

/// Which channel something is published in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Channel {
    Plain,
    Shard,
}

type Listeners = Vec<Arc<Client>>;

/// Subscriptions and publications of a node.
#[derive(Debug)]
pub struct PubSub {
    channels: RwLock<HashMap<Box<[u8]>, Listeners>>,
    shard_channels: RwLock<HashMap<Box<[u8]>, Listeners>>,
    patterns: RwLock<BTreeMap<Box<[u8]>, Listeners>>,
    /// Clients with a pattern: a publication need not look for them if there are none.
    pattern_listeners: AtomicUsize,
    outboxes: Mutex<Vec<Arc<Outbox>>>,
    settings: Arc<Live>,
}

/// A push of so many elements, as RESP3 has it.
fn letter(parts: &[&[u8]]) -> Bytes {
    let mut bytes = Vec::with_capacity(parts.iter().map(|part| part.len() + 16).sum::<usize>() + 8);
    let mut digits = itoa::Buffer::new();
    let mut number = |out: &mut Vec<u8>, kind: u8, number: usize| {
        out.push(kind);
        out.extend_from_slice(digits.format(number).as_bytes());
        out.extend_from_slice(b"\r\n");
    };
    number(&mut bytes, b'>', parts.len());
    for part in parts {
        number(&mut bytes, b'$', part.len());
        bytes.extend_from_slice(part);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes.into()
}

impl PubSub {
    #[must_use]
    pub fn new(settings: Arc<Live>) -> Self {
        Self {
            channels: RwLock::default(),
            shard_channels: RwLock::default(),
            patterns: RwLock::default(),
            pattern_listeners: AtomicUsize::new(0),
            outboxes: Mutex::default(),
            settings,
        }
    }

    /// The limits on what clients have not read.
    #[must_use]
    pub fn limits(&self) -> &OutputLimits {
        &self.settings.client_output_buffer_limit
    }

    pub(crate) fn subscribe(&self, topic: Topic, name: &[u8], client: &Arc<Client>) {
        match topic {
            Topic::Channel => self.channels.write().entry(name.into()).or_default().push(Arc::clone(client)),
            Topic::Shard => self.shard_channels.write().entry(name.into()).or_default().push(Arc::clone(client)),
            Topic::Pattern => {
                self.patterns.write().entry(name.into()).or_default().push(Arc::clone(client));
                self.pattern_listeners.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    pub(crate) fn unsubscribe(&self, topic: Topic, name: &[u8], client: &Client) {
        let leave = |listeners: &mut Listeners| {
            if let Some(at) = listeners.iter().position(|other| other.id == client.id) {
                listeners.swap_remove(at);
            }
            listeners.is_empty()
        };
        match topic {
            Topic::Channel | Topic::Shard => {
                let channels = if topic == Topic::Channel { &self.channels } else { &self.shard_channels };
                let mut channels = channels.write();
                if channels.get_mut(name).is_some_and(leave) {
                    channels.remove(name);
                }
            }
            Topic::Pattern => {
                let mut patterns = self.patterns.write();
                if patterns.get_mut(name).is_some_and(leave) {
                    patterns.remove(name);
                }
                self.pattern_listeners.fetch_sub(1, Ordering::Relaxed);
            }
        }
    }

    /// Publishes on all nodes. Says how many clients of this node it has reached, as Redis does in a cluster.
    pub fn publish(&self, channel: Channel, name: &[u8], message: &[u8]) -> usize {
        for outbox in &*self.outboxes.lock() {
            outbox.put(channel, name, message);
        }
        self.publish_here(channel, name, message)
    }

    /// Publishes to the clients of this node, and says how many it has reached. It locks nothing that is held while shards
    /// are locked, so it may be called under their locks.
    pub fn publish_here(&self, channel: Channel, name: &[u8], message: &[u8]) -> usize {
        let (channels, kind): (_, &[u8]) = match channel {
            Channel::Plain => (&self.channels, b"message"),
            Channel::Shard => (&self.shard_channels, b"smessage"),
        };
        let mut reached = 0;
        if let Some(listeners) = channels.read().get(name) {
            let letter = letter(&[kind, name, message]);
            listeners.iter().for_each(|client| client.post(letter.clone(), self.limits()));
            reached += listeners.len();
        }
        if channel == Channel::Plain && self.pattern_listeners.load(Ordering::Relaxed) > 0 {
            for (pattern, listeners) in &*self.patterns.read() {
                if glob::matches(pattern, name) {
                    let letter = letter(&[b"pmessage", pattern, name, message]);
                    listeners.iter().for_each(|client| client.post(letter.clone(), self.limits()));
                    reached += listeners.len();
                }
            }
        }
        reached
    }

    /// Channels with at least one subscriber, of which the names match.
    #[must_use]
    pub fn channels(&self, channel: Channel, pattern: Option<&[u8]>) -> Vec<Box<[u8]>> {
        let channels = match channel {
            Channel::Plain => &self.channels,
            Channel::Shard => &self.shard_channels,
        };
        let channels = channels.read();
        let is_wanted = |name: &[u8]| pattern.is_none_or(|pattern| glob::matches(pattern, name));
        channels.keys().filter(|name| is_wanted(name)).cloned().collect()
    }

    /// Subscribers of a channel.
    #[must_use]
    pub fn subscribers(&self, channel: Channel, name: &[u8]) -> usize {
        let channels = match channel {
            Channel::Plain => &self.channels,
            Channel::Shard => &self.shard_channels,
        };
        channels.read().get(name).map_or(0, Vec::len)
    }

    /// Patterns that anybody listens to.
    #[must_use]
    pub fn patterns(&self) -> usize {
        self.patterns.read().len()
    }

    /// Whether other nodes are sent what is published here.
    #[must_use]
    pub fn is_heard_elsewhere(&self) -> bool {
        !self.outboxes.lock().is_empty()
    }

    /// What is published from now on, for another node.
    #[must_use]
    pub fn outbox(self: &Arc<Self>) -> Subscription {
        let outbox = Arc::new(Outbox::default());
        self.outboxes.lock().push(Arc::clone(&outbox));
        Subscription { hub: Arc::clone(self), outbox }
    }
}

/// Something that was published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Publication {
    pub channel: Channel,
    pub name: Bytes,
    pub message: Bytes,
}

/// What waits to be sent to another node.
#[derive(Debug, Default)]
struct Outbox {
    queue: Mutex<(VecDeque<Publication>, usize)>,
    ready: Notify,
    /// Publications that found no room.
    lost: AtomicU64,
}

impl Outbox {
    fn put(&self, channel: Channel, name: &[u8], message: &[u8]) {
        let bytes = name.len() + message.len() + size_of::<Publication>();
        let (queue, held) = &mut *self.queue.lock();
        if *held + bytes > limits::PUBLICATIONS_BYTES && !queue.is_empty() {
            self.lost.fetch_add(1, Ordering::Relaxed);
            return;
        }
        *held += bytes;
        let (name, message) = (Bytes::copy_from_slice(name), Bytes::copy_from_slice(message));
        queue.push_back(Publication { channel, name, message });
        self.ready.notify_one();
    }
}

/// What one other node is sent.
#[derive(Debug)]
pub struct Subscription {
    hub: Arc<PubSub>,
    outbox: Arc<Outbox>,
}

impl Subscription {
    /// The next publication, and how many were lost before it because the other node takes them too slowly.
    pub async fn next(&self) -> (Publication, u64) {
        loop {
            {
                let (queue, held) = &mut *self.outbox.queue.lock();
                if let Some(publication) = queue.pop_front() {
                    *held -= publication.name.len() + publication.message.len() + size_of::<Publication>();
                    return (publication, self.outbox.lost.swap(0, Ordering::Relaxed));
                }
            }
            self.outbox.ready.notified().await;
        }
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.hub.outboxes.lock().retain(|other| !Arc::ptr_eq(other, &self.outbox));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn published(name: &str) -> Publication {
        Publication { channel: Channel::Plain, name: Bytes::copy_from_slice(name.as_bytes()), message: Bytes::new() }
    }

    #[test]
    fn a_letter_is_a_push() {
        let bytes = letter(&[b"message", b"ch", b"hello"]);
        assert_eq!(&*bytes, b">3\r\n$7\r\nmessage\r\n$2\r\nch\r\n$5\r\nhello\r\n");
    }

    #[tokio::test]
    async fn another_node_is_sent_what_is_published_while_it_listens() {
        let hub = Arc::new(PubSub::new(Arc::default()));
        hub.publish(Channel::Plain, b"before", b"");
        let subscription = hub.outbox();
        hub.publish(Channel::Plain, b"first", b"");
        hub.publish(Channel::Plain, b"second", b"");
        assert_eq!(subscription.next().await, (published("first"), 0));
        assert_eq!(subscription.next().await, (published("second"), 0));
        drop(subscription);
        assert!(hub.outboxes.lock().is_empty());
    }

    #[tokio::test]
    async fn a_node_that_takes_nothing_loses_publications_and_no_memory() {
        let hub = Arc::new(PubSub::new(Arc::default()));
        let subscription = hub.outbox();
        let message = vec![0; limits::PUBLICATIONS_BYTES / 4];
        (0..10).for_each(|_| _ = hub.publish(Channel::Plain, b"large", &message));
        assert!(subscription.outbox.queue.lock().1 <= limits::PUBLICATIONS_BYTES);
        let (_, lost) = subscription.next().await;
        assert!(lost >= 6, "{lost}");
        assert_eq!(subscription.next().await.1, 0, "they are told once");
    }
}
