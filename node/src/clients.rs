//! The connected clients: for CLIENT LIST and KILL, and to close them when the mastership ends.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

use futures::task::AtomicWaker;
use parking_lot::Mutex;
use tercet_proto::amqp::FieldTable;
use tokio::task::AbortHandle;

use crate::accounts::Origin;
use crate::clock::BootNanos;

/// Which frontend a client came through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    Resp,
    Amqp,
    /// Carried to the master, byte by byte.
    Carried,
}

/// What is known of one client.
#[derive(Debug)]
pub struct Client {
    pub id: u64,
    pub protocol: Protocol,
    pub address: SocketAddr,
    pub local: SocketAddr,
    pub since: BootNanos,
    /// What CLIENT SETNAME, SETINFO and SELECT said, and the last command.
    pub about: Mutex<About>,
    /// What an AMQP client agreed on, once its connection is open.
    pub amqp: Mutex<Option<AmqpAbout>>,
    task: Mutex<Option<AbortHandle>>,
    /// Its connection waits for input.
    pub(crate) reader: AtomicWaker,
}

#[derive(Debug, Default, Clone)]
pub struct About {
    pub name: String,
    pub library: String,
    pub library_version: String,
    pub database: u8,
    pub resp: u8,
    pub user: String,
    pub last_command: &'static str,
    pub last_active: BootNanos,
}

/// What an AMQP connection agreed on, and its channels: for management.
#[derive(Debug, Default, Clone)]
pub struct AmqpAbout {
    pub user: String,
    pub vhost: String,
    pub mechanism: String,
    pub properties: FieldTable,
    pub channel_max: u16,
    pub frame_max: u32,
    pub heartbeat: u16,
    pub(crate) channels: Vec<Weak<ChannelGauges>>,
}

impl AmqpAbout {
    /// A channel is open for as long as its gauges live.
    pub fn opened(&mut self, channel: &Arc<ChannelGauges>) {
        self.channels.retain(|known| known.strong_count() > 0);
        self.channels.push(Arc::downgrade(channel));
    }

    #[must_use]
    pub fn channels(&self) -> Vec<Arc<ChannelGauges>> {
        self.channels.iter().filter_map(Weak::upgrade).collect()
    }
}

/// Numbers of one channel. Relaxed: they are for people.
#[derive(Debug, Default)]
pub struct ChannelGauges {
    pub number: u16,
    pub unacknowledged: AtomicU32,
    pub consumers: AtomicU32,
    pub prefetch: AtomicU16,
    pub confirms: AtomicBool,
    pub is_transactional: AtomicBool,
}

impl Client {
    /// The task that serves it: aborting it closes the connection.
    pub fn served_by(&self, task: AbortHandle) {
        *self.task.lock() = Some(task);
    }

    /// Lets its connection look at what clients are asked for, if it waits for input.
    pub fn wake(&self) {
        self.reader.wake();
    }

    /// Closes the connection without a word.
    pub fn close(&self) {
        if let Some(task) = &*self.task.lock() {
            task.abort();
        }
    }
}

/// Where somebody logs in from.
#[must_use]
pub fn origin(address: std::net::IpAddr) -> Origin {
    if address.to_canonical().is_loopback() { Origin::Loopback } else { Origin::Elsewhere }
}

/// All clients of a node.
#[derive(Debug, Default)]
pub struct Clients {
    next_id: AtomicU64,
    count: AtomicUsize,
    all: Mutex<HashMap<u64, Arc<Client>>>,
}

/// A client's entry in the table, for as long as this lives.
#[derive(Debug)]
pub struct Registration {
    clients: Arc<crate::node::Node>,
    pub client: Arc<Client>,
}

impl Registration {
    #[must_use]
    pub fn new(node: Arc<crate::node::Node>, protocol: Protocol, address: SocketAddr, local: SocketAddr) -> Self {
        let clients = &node.clients;
        let id = clients.next_id.fetch_add(1, Ordering::Relaxed) + 1;
        let since = crate::clock::boot_now();
        let about = About { resp: 2, user: "default".into(), last_active: since, ..About::default() };
        let (about, task, reader) = (Mutex::new(about), Mutex::new(None), AtomicWaker::new());
        let amqp = Mutex::new(None);
        let client = Arc::new(Client { id, protocol, address, local, since, about, amqp, task, reader });
        clients.all.lock().insert(id, Arc::clone(&client));
        clients.count.fetch_add(1, Ordering::Relaxed);
        Self { clients: node, client }
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        let clients = &self.clients.clients;
        clients.all.lock().remove(&self.client.id);
        clients.count.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Clients {
    #[must_use]
    pub fn len(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The client with this id.
    #[must_use]
    pub fn get(&self, id: u64) -> Option<Arc<Client>> {
        self.all.lock().get(&id).cloned()
    }

    /// All of them, by id.
    #[must_use]
    pub fn list(&self) -> Vec<Arc<Client>> {
        let mut all: Vec<_> = self.all.lock().values().cloned().collect();
        all.sort_by_key(|client| client.id);
        all
    }

    /// Closes the clients of one protocol.
    pub fn close_all(&self, protocol: Protocol) {
        for client in self.list() {
            if client.protocol == protocol {
                client.close();
            }
        }
    }
}
