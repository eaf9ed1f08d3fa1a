//! Keyspace notifications: what happened to which key, published to the clients of this node that asked for it.
//!
//! ```text
//! change of a key --event--> __keyspace@<db>__:<key>  <name>
//!                       '--> __keyevent@<db>__:<name>  <key>
//! ```
//!
//! They are published by the node that makes the change, which is the master, and as in Redis to its own subscribers only.
//! Of a transaction, they leave when its record has been appended, in the order of the changes.

use std::io::Write as _;
use std::sync::Arc;

use crate::config::live::Live;
use crate::effect::class;
use crate::engine::signals::{Event, Listener, Signals};
use crate::pubsub::{Channel, PubSub};

/// Publishes events.
#[derive(Debug)]
pub struct Notifier {
    pubsub: Arc<PubSub>,
    live: Arc<Live>,
}

impl Notifier {
    #[must_use]
    pub fn new(pubsub: Arc<PubSub>, live: Arc<Live>) -> Self {
        Self { pubsub, live }
    }
}

/// Takes over what `notify-keyspace-events` says now.
pub fn follow(live: &Live, signals: &Signals) {
    let classes = live.notify_keyspace_events.bits();
    let is_published = classes & (class::KEYSPACE | class::KEYEVENT) != 0;
    signals.want(if is_published { classes } else { 0 });
}

impl Listener for Notifier {
    fn happened(&self, events: &[Event]) {
        let wanted = self.live.notify_keyspace_events.bits();
        let mut channel = Vec::new();
        for event in events.iter().filter(|event| event.class & wanted != 0) {
            let mut publish = |kind: &str, about: &[u8], message: &[u8]| {
                channel.clear();
                // Writing to a Vec cannot fail.
                _ = write!(channel, "__{kind}@{}__:", event.database);
                channel.extend_from_slice(about);
                self.pubsub.publish_here(Channel::Plain, &channel, message);
            };
            if wanted & class::KEYSPACE != 0 {
                publish("keyspace", &event.key, event.name.as_bytes());
            }
            if wanted & class::KEYEVENT != 0 {
                publish("keyevent", event.name.as_bytes(), &event.key);
            }
        }
    }
}
