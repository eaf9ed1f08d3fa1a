//! The Redis Sentinel protocol on its own port: a listener, and what it needs to know of the rest of the sentinel.

mod client;
mod commands;
mod connection;
mod fields;
mod info;
mod introspect;
mod pubsub;
mod row;
mod sentinel;
mod session;

pub(crate) use fields::{FAILOVER_TIMEOUT_MS, PARALLEL_SYNCS};

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use futures::future::BoxFuture;
use parking_lot::Mutex;
use tercet_edge::{accept::Door, logins::Logins};
use tokio::{
    sync::{Notify, broadcast, watch},
    task::JoinSet,
};

use crate::{events::Event, orders::Order, picture::Picture, simulated::Simulated};

/// The version that clients are told: that of the protocol we speak.
pub(crate) const REDIS_VERSION: &str = "7.4.0";

/// What the RESP side asks of the sentinel behind it. The tests put a fixed cluster in its place.
pub trait Backend: Send + Sync + std::fmt::Debug {
    fn picture(&self) -> Picture;
    fn events(&self) -> broadcast::Receiver<Event>;
    /// `SENTINEL FAILOVER`; the error is the text of the reply.
    fn fail_over(&self, service: String) -> BoxFuture<'_, Result<(), String>>;
    /// An operator's order to the cluster; the error is the text of the reply.
    fn order(&self, order: Order) -> BoxFuture<'_, Result<(), String>>;
    /// `SENTINEL SET <name> down-after-milliseconds`: kept over a restart; the error says why it is refused.
    fn set_down_after(&self, millis: u64) -> BoxFuture<'_, Result<(), String>>;
    /// `SENTINEL RESET`: forget what was observed and look again.
    fn reset(&self);
    /// `SENTINEL SIMULATE-FAILURE`.
    fn simulate(&self, failure: Option<Simulated>);
    fn shut_down(&self);
}

/// What all connections share.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) backend: Arc<dyn Backend>,
    pub(crate) password: Option<String>,
    pub(crate) port: u16,
    pub(crate) clients: Mutex<BTreeMap<u64, Arc<Client>>>,
    pub(crate) logins: Logins,
    pub(crate) commands_processed: AtomicU64,
    pub(crate) connections_received: AtomicU64,
    next_id: AtomicU64,
}

/// A connection as the others see it: CLIENT LIST and KILL.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) id: u64,
    pub(crate) address: String,
    pub(crate) ip: IpAddr,
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
            logins: Logins::default(),
            commands_processed: AtomicU64::new(0),
            connections_received: AtomicU64::new(0),
            next_id: AtomicU64::new(1),
        })
    }

    fn admit(&self, address: SocketAddr, local: String) -> Arc<Client> {
        let client = Arc::new(Client {
            id: self.next_id.fetch_add(1, Ordering::Relaxed),
            address: address.to_string(),
            ip: address.ip(),
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

/// Serves the ports until the task is dropped; `stop` closes them to newcomers. `port` is what clients are told.
pub async fn serve(
    doors: Vec<Door>,
    port: u16,
    backend: Arc<dyn Backend>,
    password: Option<String>,
    stop: watch::Receiver<bool>,
) {
    let server = Server::new(backend, password, port);
    let ports = doors.into_iter().map(|door| take_in(Arc::clone(&server), door, stop.clone()));
    futures::future::join_all(ports).await;
}

async fn take_in(server: Arc<Server>, door: Door, mut stop: watch::Receiver<bool>) {
    let mut connections = JoinSet::new();
    loop {
        let guest = tokio::select! {
            guest = door.next() => guest,
            Some(_) = connections.join_next() => continue,
            changed = stop.changed() => {
                if changed.is_err() || *stop.borrow() { return }
                continue;
            }
        };
        if guest.is_welcome().is_err() {
            guest.turn_away(b"-ERR max number of clients reached\r\n");
            continue;
        }
        let local = guest.local().map(|local| local.to_string()).unwrap_or_default();
        let client = server.admit(guest.address, local);
        let server = Arc::clone(&server);
        connections.spawn(async move {
            let entered = guest.enter().await;
            if let Ok(mut socket) = entered {
                connection::run(&mut socket, Arc::clone(&server), Arc::clone(&client)).await;
                // Off the list before it is closed: who sees it closed sees it gone.
                server.clients.lock().remove(&client.id);
                drop(socket);
            } else {
                server.clients.lock().remove(&client.id);
            }
        });
    }
}
