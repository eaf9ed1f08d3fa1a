//! The Redis Sentinel protocol on its own port: a listener, and what it needs to know of the rest of the sentinel.

mod client;
mod commands;
mod connection;
mod fields;
mod info;
mod introspect;
mod pubsub;
mod sentinel;
mod session;

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use futures::future::BoxFuture;
use parking_lot::Mutex;
use tokio::{
    io::AsyncWriteExt,
    net::TcpListener,
    sync::{Notify, broadcast, watch},
    task::JoinSet,
};
use tracing::warn;

use crate::{events::Event, limits, orders::Order, picture::Picture};

/// The version that clients are told: that of the protocol we speak.
pub(crate) const REDIS_VERSION: &str = "7.2.6";

/// What the RESP side asks of the sentinel behind it. The tests put a fixed cluster in its place.
pub trait Backend: Send + Sync + std::fmt::Debug {
    fn picture(&self) -> Picture;
    fn events(&self) -> broadcast::Receiver<Event>;
    /// `SENTINEL FAILOVER`; the error is the text of the reply.
    fn fail_over(&self, service: String) -> BoxFuture<'_, Result<(), String>>;
    /// An operator's order to the cluster; the error is the text of the reply.
    fn order(&self, order: Order) -> BoxFuture<'_, Result<(), String>>;
    /// `SENTINEL SET <name> down-after-milliseconds`.
    ///
    /// # Errors
    /// Why the value is refused.
    fn set_down_after(&self, millis: u64) -> Result<(), String>;
    /// `SENTINEL RESET`: forget what was observed and look again.
    fn reset(&self);
    /// `SENTINEL SIMULATE-FAILURE`.
    fn simulate(&self, failure: Option<Simulated>);
    fn shut_down(&self);
}

/// Where a sentinel is to crash, for drills.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Simulated {
    CrashAfterElection,
    CrashAfterPromotion,
}

impl Simulated {
    /// Its bit in `sentinel_simulate_failure_flags`.
    fn flag(self) -> u8 {
        match self {
            Self::CrashAfterElection => 1,
            Self::CrashAfterPromotion => 2,
        }
    }
}

/// What all connections share.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) backend: Arc<dyn Backend>,
    pub(crate) password: Option<String>,
    pub(crate) port: u16,
    pub(crate) clients: Mutex<BTreeMap<u64, Arc<Client>>>,
    pub(crate) commands_processed: AtomicU64,
    pub(crate) connections_received: AtomicU64,
    next_id: AtomicU64,
}

/// A connection as the others see it: CLIENT LIST and KILL.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) id: u64,
    pub(crate) address: String,
    pub(crate) local: String,
    pub(crate) since: std::time::Instant,
    pub(crate) facts: Mutex<Facts>,
    pub(crate) kill: Notify,
}

/// What a client said of itself, and what it does.
#[derive(Debug, Clone, Default)]
pub(crate) struct Facts {
    pub(crate) name: String,
    pub(crate) lib_name: String,
    pub(crate) lib_version: String,
    pub(crate) last_command: String,
    pub(crate) subscriptions: usize,
    pub(crate) patterns: usize,
    pub(crate) version: u8,
}

impl Server {
    fn new(backend: Arc<dyn Backend>, password: Option<String>, port: u16) -> Arc<Self> {
        Arc::new(Self {
            backend,
            password,
            port,
            clients: Mutex::default(),
            commands_processed: AtomicU64::new(0),
            connections_received: AtomicU64::new(0),
            next_id: AtomicU64::new(1),
        })
    }

    fn admit(&self, address: String, local: String) -> Arc<Client> {
        let client = Arc::new(Client {
            id: self.next_id.fetch_add(1, Ordering::Relaxed),
            address,
            local,
            since: std::time::Instant::now(),
            facts: Mutex::new(Facts { version: 2, ..Facts::default() }),
            kill: Notify::new(),
        });
        self.connections_received.fetch_add(1, Ordering::Relaxed);
        self.clients.lock().insert(client.id, Arc::clone(&client));
        client
    }
}

/// Serves the port until the task is dropped; `stop` closes it to newcomers.
pub async fn serve(
    listener: TcpListener,
    backend: Arc<dyn Backend>,
    password: Option<String>,
    mut stop: watch::Receiver<bool>,
) {
    let port = listener.local_addr().map_or(0, |address| address.port());
    let server = Server::new(backend, password, port);
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = connections.join_next() => continue,
            changed = stop.changed() => {
                if changed.is_err() || *stop.borrow() { return }
                continue;
            }
        };
        match accepted {
            Ok((mut stream, address)) => {
                if server.clients.lock().len() >= limits::MOST_CLIENTS {
                    // One packet into an empty send buffer: it does not wait.
                    drop(stream.write_all(b"-ERR max number of clients reached\r\n").await);
                    continue;
                }
                drop(stream.set_nodelay(true));
                let local = stream.local_addr().map(|local| local.to_string()).unwrap_or_default();
                let client = server.admit(address.to_string(), local);
                let server = Arc::clone(&server);
                connections.spawn(async move {
                    connection::run(&mut stream, Arc::clone(&server), Arc::clone(&client)).await;
                    // Off the list before it is closed: who sees it closed sees it gone.
                    server.clients.lock().remove(&client.id);
                    drop(stream);
                });
            }
            Err(error) => {
                // Out of file descriptors: the next accept would fail at once.
                warn!(%error, "a client could not be accepted");
                tokio::time::sleep(limits::FAILOVER_RETRY).await;
            }
        }
    }
}
