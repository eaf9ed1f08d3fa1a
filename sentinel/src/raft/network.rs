//! The other sentinels: their addresses, one lasting channel each for Raft and one for everything else, and Raft's
//! requests over them.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, Instant},
};

use openraft::{
    error::{InstallSnapshotError, NetworkError, RPCError, RaftError, RemoteError, Unreachable},
    network::{Backoff, RPCOption, RaftNetwork, RaftNetworkFactory},
    raft::{
        AppendEntriesRequest, AppendEntriesResponse, InstallSnapshotRequest, InstallSnapshotResponse, VoteRequest,
        VoteResponse,
    },
};
use parking_lot::Mutex;
use serde::{Serialize, de::DeserializeOwned};
use tercet_edge::{dial::Dialer, guard::Trusted};
use tercet_proto::grpc::sentinel::v1::{RaftRequest, raft_request, sentinel_client::SentinelClient};
use tokio::sync::watch;
use tonic::transport::Endpoint;
use tracing::warn;

use super::types::{SentinelNode, TypeConfig};
use crate::{
    limits,
    state::{Address, ClusterState, SentinelMember},
};

/// How soon openraft tries an unreachable sentinel again.
const UNREACHABLE_BACKOFF: Duration = Duration::from_millis(200);

/// The way to one other sentinel.
#[derive(Debug, Clone)]
pub(crate) struct Peer {
    pub(crate) address: Address,
    raft: Trusted,
    control: Trusted,
}

impl Peer {
    fn new(address: &Address, dialer: &Dialer) -> Self {
        let endpoint = endpoint(address);
        let connect = || dialer.connect_lazy(&endpoint);
        Self { address: address.clone(), raft: connect(), control: connect() }
    }

    /// For leases, suspicion and forwarding: never behind a snapshot or a slow append.
    pub(crate) fn control(&self) -> SentinelClient<Trusted> {
        SentinelClient::new(self.control.clone())
    }
}

/// The ways to all other sentinels: those of `--sentinels` and those that the state names.
#[derive(Debug, Clone)]
pub(crate) struct Peers(Arc<Directory>);

#[derive(Debug)]
struct Directory {
    own: Address,
    listed: Vec<Address>,
    dialer: Dialer,
    channels: Mutex<BTreeMap<Address, Peer>>,
    /// Where the sentinel of an id said last that it is.
    heard: Mutex<BTreeMap<String, Address>>,
}

impl Peers {
    pub(crate) fn new(sentinels: &[Address], own_index: usize, dialer: Dialer) -> Self {
        let own = sentinels[own_index].clone();
        let listed = sentinels.iter().filter(|address| **address != own).cloned().collect();
        Self(Arc::new(Directory { own, listed, dialer, channels: Mutex::default(), heard: Mutex::default() }))
    }

    /// Those of `--sentinels`, without this one.
    pub(crate) fn listed(&self) -> &[Address] {
        &self.0.listed
    }

    /// Everybody to be greeted: those of `--sentinels` and `members`, without this one. Forgets the ways to others.
    pub(crate) fn keep(&self, members: &[SentinelMember]) -> BTreeSet<Address> {
        let known = members.iter().map(|member| self.address(&member.sentinel_id, &member.peer));
        let mut wanted: BTreeSet<Address> = self.0.listed.iter().cloned().chain(known).collect();
        wanted.remove(&self.0.own);
        self.0.channels.lock().retain(|address, _| wanted.contains(address));
        let is_member = |id: &String| members.is_empty() || members.iter().any(|member| member.sentinel_id == *id);
        self.0.heard.lock().retain(|id, _| is_member(id));
        wanted
    }

    pub(crate) fn at(&self, address: &Address) -> Peer {
        let mut channels = self.0.channels.lock();
        channels.entry(address.clone()).or_insert_with(|| Peer::new(address, &self.0.dialer)).clone()
    }

    pub(crate) fn member(&self, member: &SentinelMember) -> Peer {
        self.at(&self.address(&member.sentinel_id, &member.peer))
    }

    /// A sentinel says where it is: it may have moved since the log was told.
    pub(crate) fn heard(&self, sentinel_id: &str, address: Address) {
        let mut heard = self.0.heard.lock();
        if heard.len() < MOST_HEARD || heard.contains_key(sentinel_id) {
            heard.insert(sentinel_id.to_owned(), address);
        }
    }

    fn address(&self, sentinel_id: &str, known: &Address) -> Address {
        self.0.heard.lock().get(sentinel_id).unwrap_or(known).clone()
    }
}

/// Sentinels whose word is remembered between two changes of the members: each of them, and as many that try to join.
const MOST_HEARD: usize = 2 * limits::MOST_SENTINELS;

/// A channel's settings; it connects at the first use and again after every failure, resolving the name anew.
pub(crate) fn endpoint(address: &Address) -> Endpoint {
    // Addresses are checked where they come in; one that was kept from before may be none, and is nobody's.
    Endpoint::from_shared(format!("http://{address}"))
        .unwrap_or_else(|_| Endpoint::from_static("http://0.0.0.0:0"))
        .connect_timeout(limits::CONNECT_TIMEOUT)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(limits::KEEPALIVE_INTERVAL)
        .keep_alive_timeout(limits::KEEPALIVE_TIMEOUT)
        .keep_alive_while_idle(true)
}

/// Makes openraft's clients.
#[derive(Debug, Clone)]
pub(crate) struct Network {
    pub(crate) peers: Peers,
    pub(crate) sentinel_id: String,
    pub(crate) state: watch::Receiver<Arc<ClusterState>>,
}

impl RaftNetworkFactory<TypeConfig> for Network {
    type Network = Connection;

    async fn new_client(&mut self, target: u64, node: &SentinelNode) -> Connection {
        Connection {
            target,
            node: node.clone(),
            // What was written was an address.
            known: node.addr.parse().unwrap_or_default(),
            peers: self.peers.clone(),
            sentinel_id: self.sentinel_id.clone(),
            state: self.state.clone(),
        }
    }
}

/// Raft's way to one other sentinel.
#[derive(Debug)]
pub(crate) struct Connection {
    target: u64,
    node: SentinelNode,
    known: Address,
    peers: Peers,
    sentinel_id: String,
    state: watch::Receiver<Arc<ClusterState>>,
}

#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Failure(String);

type RpcResult<T, E> = Result<T, RPCError<u64, SentinelNode, RaftError<u64, E>>>;

impl Connection {
    async fn call<Q, R, E>(&mut self, kind: raft_request::Kind, request: &Q, ttl: Duration) -> RpcResult<R, E>
    where
        Q: Serialize,
        R: DeserializeOwned,
        E: std::error::Error + DeserializeOwned,
    {
        let address = self.peers.address(&self.node.sentinel_id, &self.known);
        let mut client = SentinelClient::new(self.peers.at(&address).raft);
        let payload = serde_json::to_vec(request).map_err(|error| NetworkError::new(&error))?;
        let message = RaftRequest {
            kind: kind.into(),
            cluster_id: self.state.borrow().cluster_id.clone(),
            target_id: self.node.sentinel_id.clone(),
            sender_id: self.sentinel_id.clone(),
            payload: payload.into(),
        };
        let reply = match tokio::time::timeout(ttl, client.raft(message)).await {
            Err(_) => {
                let failure = Failure(format!("no answer from {} within {} ms", self.node.addr, ttl.as_millis()));
                return Err(NetworkError::new(&failure).into());
            }
            Ok(Err(status)) => return Err(self.refused(&status)),
            Ok(Ok(reply)) => reply.into_inner(),
        };
        let result: Result<R, RaftError<u64, E>> =
            serde_json::from_slice(&reply.payload).map_err(|error| NetworkError::new(&error))?;
        result.map_err(|error| RemoteError::new_with_node(self.target, self.node.clone(), error).into())
    }

    fn refused<E: std::error::Error>(&self, status: &tonic::Status) -> RPCError<u64, SentinelNode, RaftError<u64, E>> {
        if status.code() == tonic::Code::FailedPrecondition {
            warn_seldom(&format!("sentinel {} refuses raft requests: {}", self.node.addr, status.message()));
        }
        Unreachable::new(&Failure(format!("{}: {}", self.node.addr, status.message()))).into()
    }
}

impl RaftNetwork<TypeConfig> for Connection {
    async fn append_entries(
        &mut self,
        request: AppendEntriesRequest<TypeConfig>,
        option: RPCOption,
    ) -> RpcResult<AppendEntriesResponse<u64>, openraft::error::Infallible> {
        self.call(raft_request::Kind::AppendEntries, &request, option.hard_ttl()).await
    }

    async fn install_snapshot(
        &mut self,
        request: InstallSnapshotRequest<TypeConfig>,
        option: RPCOption,
    ) -> RpcResult<InstallSnapshotResponse<u64>, InstallSnapshotError> {
        self.call(raft_request::Kind::InstallSnapshot, &request, option.hard_ttl()).await
    }

    async fn vote(
        &mut self,
        request: VoteRequest<u64>,
        option: RPCOption,
    ) -> RpcResult<VoteResponse<u64>, openraft::error::Infallible> {
        self.call(raft_request::Kind::Vote, &request, option.hard_ttl()).await
    }

    fn backoff(&self) -> Backoff {
        Backoff::new(std::iter::repeat(UNREACHABLE_BACKOFF))
    }
}

/// Raft repeats itself many times a second; the log need not.
fn warn_seldom(message: &str) {
    static LAST: Mutex<Option<(String, Instant)>> = Mutex::new(None);
    let mut last = LAST.lock();
    if last.as_ref().is_none_or(|(text, at)| text != message || at.elapsed() > limits::LOG_AGAIN) {
        *last = Some((message.to_owned(), Instant::now()));
        warn!("{message}");
    }
}
