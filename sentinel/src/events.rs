//! What happened, in the words of Redis Sentinel: for subscribers and for the log.

use tokio::sync::broadcast;
use tracing::info;

use crate::{limits, state::Address};

/// One event: the channel that it is published on, and the message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    pub channel: &'static str,
    pub message: String,
}

/// Whom an event is about.
#[derive(Debug, Clone, Copy)]
pub enum Instance<'a> {
    Master,
    Slave(&'a Address),
    Sentinel(&'a str, &'a Address),
}

/// The master as the clients know it, which every message names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MasterName {
    pub service: String,
    pub address: Address,
}

/// Publishes events. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Bus {
    sender: broadcast::Sender<Event>,
}

impl Default for Bus {
    fn default() -> Self {
        Self { sender: broadcast::Sender::new(limits::EVENT_BACKLOG) }
    }
}

impl Bus {
    #[must_use]
    pub fn subscribe(&self) -> broadcast::Receiver<Event> {
        self.sender.subscribe()
    }

    pub fn publish(&self, channel: &'static str, message: String) {
        info!(event = channel, "{message}");
        // No subscriber is no error.
        drop(self.sender.send(Event { channel, message }));
    }

    /// `<type> <name> <ip> <port>`, and for others than masters ` @ <master> <ip> <port>`.
    pub fn about(&self, channel: &'static str, instance: Instance<'_>, master: &MasterName) {
        self.about_with(channel, instance, master, "");
    }

    /// The same with `more` behind it.
    pub fn about_with(&self, channel: &'static str, instance: Instance<'_>, master: &MasterName, more: &str) {
        let MasterName { service, address: Address { host, port } } = master;
        let message = match instance {
            Instance::Master => format!("master {service} {host} {port}{more}"),
            Instance::Slave(slave) => {
                let (ip, own) = (&slave.host, slave.port);
                format!("slave {slave} {ip} {own} @ {service} {host} {port}{more}")
            }
            Instance::Sentinel(id, at) => {
                format!("sentinel {id} {} {} @ {service} {host} {port}{more}", at.host, at.port)
            }
        };
        self.publish(channel, message);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_in_the_form_that_clients_parse() {
        let bus = Bus::default();
        let mut events = bus.subscribe();
        let at = |port| Address { host: "10.0.0.1".into(), port };
        let master = MasterName { service: "mymaster".into(), address: at(6379) };
        bus.about_with("+odown", Instance::Master, &master, " #quorum 2/2");
        bus.about("+slave", Instance::Slave(&at(6380)), &master);
        bus.about("+sentinel", Instance::Sentinel("abc", &at(26379)), &master);
        let messages: Vec<String> = std::iter::from_fn(|| events.try_recv().ok()).map(|event| event.message).collect();
        let expected = [
            "master mymaster 10.0.0.1 6379 #quorum 2/2",
            "slave 10.0.0.1:6380 10.0.0.1 6380 @ mymaster 10.0.0.1 6379",
            "sentinel abc 10.0.0.1 26379 @ mymaster 10.0.0.1 6379",
        ];
        assert_eq!(messages, expected);
    }
}
