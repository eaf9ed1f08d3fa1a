//! A whole sentinel: opens its data, starts its tasks, and says when it must not go on.

use std::{net::SocketAddr, sync::Arc};

use tercet_proto::grpc::sentinel::v1::sentinel_server::SentinelServer;
use tokio::{
    net::TcpListener,
    sync::{mpsc, watch},
    task::JoinSet,
};
use tokio_stream::wrappers::TcpListenerStream;
use tracing::info;

use crate::{
    api,
    config::Config,
    limits, membership, nodes,
    raft::{self, Consensus, Founding, Peers, Replica},
    shared::{Identity, Parts, Past, Shared},
    siblings,
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
        let peer_listener = listen(SocketAddr::new(config.bind, config.peer_port)).await?;
        let resp_listener = listen(SocketAddr::new(config.bind, config.resp_port)).await?;
        let metrics_listener = listen(SocketAddr::new(config.bind, config.metrics_port)).await?;
        let address_of = |listener: &TcpListener| listener.local_addr().expect("a bound listener has an address");
        let (peer_address, resp_address) = (address_of(&peer_listener), address_of(&resp_listener));
        let peers = Peers::new(&config.sentinels, config.own_index);
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
            down_after: config.down_after,
            past,
            joined: replica.had_joined(),
            consensus: Arc::clone(&replica) as Arc<dyn Consensus>,
            peers: peers.clone(),
            nodes: config.nodes.clone(),
            fatal,
        });
        let (stop, _) = watch::channel(false);
        let mut tasks = JoinSet::new();
        let service = api::grpc::Service { shared: Arc::clone(&shared), replica: Arc::clone(&replica) };
        tasks.spawn(serve_peers(peer_listener, service));
        tasks.spawn(watchdog::run(Arc::clone(&shared)));
        tasks.spawn(nodes::observe_all(Arc::clone(&shared)));
        tasks.spawn(siblings::greet_all(Arc::clone(&shared)));
        tasks.spawn(membership::keep(Arc::clone(&shared)));
        let founding =
            Founding { own: shared.identity.member(), is_founder: config.own_index == 0, min_isr: config.min_isr };
        let founder = Arc::clone(&replica);
        tasks.spawn(async move { raft::bootstrap(&founder, &peers, &founding).await });
        let backend = Arc::new(api::backend::Live { shared: Arc::clone(&shared), stop: stop.clone() });
        tasks.spawn(api::resp::serve(resp_listener, backend, config.password.clone(), stop.subscribe()));
        tasks.spawn(api::metrics::serve(metrics_listener, Arc::clone(&shared)));
        info!(sentinel = shared.identity.name, id = replica.sentinel_id(), resp = %resp_address, peers = %peer_address, "ready");
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

async fn listen(address: SocketAddr) -> Result<TcpListener, Error> {
    TcpListener::bind(address).await.map_err(|source| Error::Listen { address, source })
}

async fn serve_peers(listener: TcpListener, service: api::grpc::Service) {
    let incoming = futures::StreamExt::inspect(TcpListenerStream::new(listener), |connection| {
        if let Ok(connection) = connection {
            // Without it a Renew waits for the acknowledgement of the one before.
            drop(connection.set_nodelay(true));
        }
    });
    let server = tonic::transport::Server::builder()
        .http2_keepalive_interval(Some(limits::SERVER_KEEPALIVE))
        .http2_keepalive_timeout(Some(limits::SERVER_KEEPALIVE))
        .add_service(SentinelServer::new(service));
    if let Err(error) = server.serve_with_incoming(incoming).await {
        tracing::error!(%error, "the peer port is closed");
    }
}
