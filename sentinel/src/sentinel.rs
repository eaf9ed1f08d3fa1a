//! A whole sentinel: opens its data, starts its tasks, and says when it must not go on.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use tercet_edge::{
    accept::{self, Door, Sockets},
    dial::Dialer,
    files,
    guard::Guard,
    limits as edge,
    place::Places,
    service,
    tls::{self, Alpn, Tls},
};
use tercet_proto::grpc::sentinel::v1::sentinel_server::SentinelServer;
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
};
use tracing::info;

use crate::{
    api::{self, backend::DOWN_AFTER},
    config::Config,
    greet, limits, membership, observe,
    raft::{self, Consensus, Founding, Peers, Replica},
    shared::{Identity, Parts, Past, Shared},
    state::Address,
    watchdog,
};

/// Why a sentinel could not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot listen on {address}: {source}; choose another port or stop what uses it")]
    Listen { address: SocketAddr, source: std::io::Error },
    #[error(transparent)]
    Raft(#[from] raft::StartError),
    #[error(transparent)]
    Tls(#[from] tls::Error),
    #[error(
        "this data directory belongs to the sentinel {name} at {theirs}, and {ours} is the address of {other}; \
         give each sentinel its own --data"
    )]
    OtherSentinel { name: String, theirs: Address, ours: Address, other: String },
}

/// A running sentinel. Dropping it stops it without ceremony, as a crash would.
#[derive(Debug)]
pub struct Sentinel {
    tasks: JoinSet<()>,
    replica: Arc<Replica>,
    expelled: mpsc::Receiver<String>,
    stop: watch::Sender<bool>,
    resp_address: SocketAddr,
    peer_address: SocketAddr,
}

impl Sentinel {
    /// Starts everything; returns when all ports are open.
    ///
    /// # Errors
    /// A port is taken, or the data directory cannot be used.
    pub async fn start(config: Config) -> Result<Self, Error> {
        let descriptors = files::raise_descriptors();
        let clients = files::places_for_clients(descriptors, limits::MOST_CLIENTS);
        let (clients, peers) =
            (Places::new(clients, clients), Places::new(edge::PEER_CONNECTIONS, edge::PEER_CONNECTIONS));
        let (peer_door, peer_address) = open(&config, config.peer_port, "peers", &peers)?;
        let tls = config.tls.clone().map(Tls::load).transpose()?;
        let (peer_door, peer_tls) = match tls.clone().filter(|_| config.tls_peers) {
            Some(tls) => (peer_door.secured(Arc::clone(&tls), Alpn::Peer), Some(tls)),
            None => (peer_door, None),
        };
        let (resp_doors, resp_address) = open_resp(&config, tls.as_ref(), &clients)?;
        let (metrics_door, _) = open(&config, config.metrics_port, "metrics", &clients)?;
        let dialer = Dialer { token: config.cluster_token.clone(), tls: peer_tls };
        let peers = Peers::new(&config.sentinels, config.own_index, dialer.clone());
        let replica = Arc::new(Replica::start(&config.data, config.own_index, peers.clone()).await?);
        let own_peer = config.sentinels[config.own_index].clone();
        check_place(&replica, &own_peer)?;
        let identity = Identity {
            name: config.name.clone(),
            sentinel_id: replica.sentinel_id().to_owned(),
            raft_id: replica.raft_id,
            resp: Address { host: config.announce_host.clone(), port: resp_address.port() },
            peer: own_peer.clone(),
            listed: config.sentinels.len(),
        };
        let (fatal, expelled) = mpsc::channel(1);
        let past = if replica.was_pristine() { Past::None } else { Past::Known };
        let shared = Shared::new(Parts {
            identity,
            service: config.service.clone(),
            lease: config.lease,
            down_after: replica.remembered(DOWN_AFTER).map_or(config.down_after, |kept| {
                // Set at run time; a longer lease may have come with the restart.
                Duration::from_millis(kept).max(limits::lease_bound(config.lease) + Duration::from_millis(1))
            }),
            past,
            joined: replica.had_joined(),
            consensus: Arc::clone(&replica) as Arc<dyn Consensus>,
            peers: peers.clone(),
            nodes: config.nodes.clone(),
            dialer,
            fatal,
        });
        let (stop, _) = watch::channel(false);
        let mut tasks = JoinSet::new();
        let service = api::grpc::Service { shared: Arc::clone(&shared), replica: Arc::clone(&replica) };
        let peer_sockets = sockets(peer_door, peer_address)?;
        tasks.spawn(serve_peers(peer_sockets, Guard::new(SentinelServer::new(service), config.cluster_token.clone())));
        tasks.spawn(watchdog::run(Arc::clone(&shared)));
        tasks.spawn(observe::observe_all(Arc::clone(&shared)));
        tasks.spawn(greet::greet_all(Arc::clone(&shared)));
        tasks.spawn(membership::keep(Arc::clone(&shared)));
        let founding =
            Founding { own: shared.identity.member(), is_founder: config.own_index == 0, min_isr: config.min_isr };
        let founder = Arc::clone(&replica);
        tasks.spawn(async move { raft::bootstrap(&founder, &peers, &founding).await });
        let backend = Arc::new(api::backend::Live {
            shared: Arc::clone(&shared),
            replica: Arc::clone(&replica),
            stop: stop.clone(),
        });
        let port = resp_address.port();
        tasks.spawn(api::resp::serve(resp_doors, port, backend, config.password.clone(), stop.subscribe()));
        tasks.spawn(reload(tls));
        let metrics_sockets = sockets(metrics_door, resp_address)?;
        tasks.spawn(api::metrics::serve(metrics_sockets, Arc::clone(&shared)));
        info!(sentinel = shared.identity.name, id = replica.sentinel_id(), resp = %resp_address, peers = %peer_address, "ready");
        service::ready();
        Ok(Self { tasks, replica, expelled, stop, resp_address, peer_address })
    }

    #[must_use]
    pub fn resp_address(&self) -> SocketAddr {
        self.resp_address
    }

    #[must_use]
    pub fn peer_address(&self) -> SocketAddr {
        self.peer_address
    }

    /// Waits until this sentinel must not go on, and says why.
    pub async fn failed(&mut self) -> String {
        tokio::select! {
            reason = self.replica.died() => format!("the consensus of this sentinel has ended: {reason}"),
            Some(reason) = self.expelled.recv() => reason,
        }
    }

    /// Ends when a client has sent SHUTDOWN.
    pub fn stop_requests(&self) -> impl Future<Output = ()> + use<> {
        let mut stop = self.stop.subscribe();
        async move {
            if stop.wait_for(|stop| *stop).await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// Stops in order: no more requests, then Raft.
    pub async fn stop(mut self) {
        self.tasks.shutdown().await;
        self.replica.shutdown().await;
    }
}

/// A sentinel may move, but not to where another one is.
fn check_place(replica: &Replica, ours: &Address) -> Result<(), Error> {
    let state = Arc::clone(&replica.watch_applied().borrow());
    let Some(own) = state.sentinel(replica.sentinel_id()) else { return Ok(()) };
    match state.sentinels.iter().find(|one| one.peer == *ours && *one != own) {
        None => Ok(()),
        Some(other) => Err(Error::OtherSentinel {
            name: own.name.clone(),
            theirs: own.peer.clone(),
            ours: ours.clone(),
            other: other.name.clone(),
        }),
    }
}

/// The ports of the Redis Sentinel protocol, and where clients are sent: the plain one, unless it is closed.
fn open_resp(config: &Config, tls: Option<&Arc<Tls>>, places: &Arc<Places>) -> Result<(Vec<Door>, SocketAddr), Error> {
    let mut doors = Vec::new();
    if config.resp_port != 0 || config.resp_tls_port == 0 {
        doors.push(open(config, config.resp_port, "RESP", places)?);
    }
    if let Some(tls) = tls.filter(|_| config.resp_tls_port != 0) {
        let (door, address) = open(config, config.resp_tls_port, "RESP", places)?;
        doors.push((door.secured(Arc::clone(tls), Alpn::Unnamed), address));
    }
    let address = doors.first().map_or(SocketAddr::new(config.bind, 0), |(_, address)| *address);
    Ok((doors.into_iter().map(|(door, _)| door).collect(), address))
}

/// SIGHUP: certificates are read again.
async fn reload(tls: Option<Arc<Tls>>) {
    use tokio::signal::unix::{SignalKind, signal};
    let Ok(mut hangup) = signal(SignalKind::hangup()) else { return };
    while hangup.recv().await.is_some() {
        service::reloading();
        match tls.as_ref().map(|tls| tls.reload()) {
            None => {}
            Some(Ok(())) => info!("certificates were read again"),
            Some(Err(error)) => tracing::error!(%error, "certificates could not be read again, the old ones stay"),
        }
        service::ready();
    }
}

/// Opens a port; says where it is.
fn open(config: &Config, port: u16, what: &'static str, places: &Arc<Places>) -> Result<(Door, SocketAddr), Error> {
    let address = SocketAddr::new(config.bind, port);
    let to_error = |source| Error::Listen { address, source };
    let door = Door::new(what, accept::listen(address).map_err(to_error)?, Arc::clone(places));
    let address = door.address().map_err(to_error)?;
    Ok((door, address))
}

fn sockets(door: Door, address: SocketAddr) -> Result<Sockets, Error> {
    door.sockets().map_err(|source| Error::Listen { address, source })
}

async fn serve_peers(sockets: Sockets, service: Guard<SentinelServer<api::grpc::Service>>) {
    let server = tonic::transport::Server::builder()
        .http2_keepalive_interval(Some(limits::SERVER_KEEPALIVE))
        .http2_keepalive_timeout(Some(limits::SERVER_KEEPALIVE))
        .add_service(service);
    if let Err(error) = server.serve_with_incoming(sockets).await {
        tracing::error!(%error, "the peer port is closed");
    }
}
