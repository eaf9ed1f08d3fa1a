//! A sentinel that does what a test says: it grants leases of one epoch, holds the state, commits changes of the ISR.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use futures::{Stream, StreamExt};
use tercet_edge::guard::Guard;
use tercet_proto::grpc::cluster::v1::{ClusterState, IsrMember, Member};
use tercet_proto::grpc::peer::v1::{FenceReply, FenceRequest, PromoteReply, PromoteRequest};
use tercet_proto::grpc::sentinel::v1::sentinel_server::{Sentinel, SentinelServer};
use tercet_proto::grpc::sentinel::v1::{
    ChangeIsrReply, ChangeIsrRequest, FailoverReply, FailoverRequest, Grant, HelloReply, HelloRequest, OrderReply,
    OrderRequest, RaftReply, RaftRequest, Renew, SuspendReply, SuspendRequest, WatchRequest,
};
use tokio::sync::watch;
use tonic::{Request, Response, Status, Streaming};

use super::TestNode;

pub const CLUSTER: &str = "00112233445566778899aabbccddeeff00112233";

#[derive(Clone)]
pub struct FakeSentinel {
    pub port: u16,
    shared: Arc<Shared>,
}

struct Shared {
    state: watch::Sender<ClusterState>,
    granted_epoch: AtomicU64,
    resigned_epoch: AtomicU64,
    commits_isr: AtomicBool,
    asked_isr: AtomicUsize,
    grants: AtomicUsize,
    watched: AtomicUsize,
}

impl FakeSentinel {
    pub async fn start(min_isr: u32) -> Self {
        Self::start_for(CLUSTER, min_isr).await
    }

    pub async fn start_for(cluster: &str, min_isr: u32) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = ClusterState { cluster_id: cluster.to_owned(), min_isr, log_index: 1, ..ClusterState::default() };
        let shared = Arc::new(Shared {
            state: watch::Sender::new(state),
            granted_epoch: AtomicU64::new(0),
            resigned_epoch: AtomicU64::new(0),
            commits_isr: AtomicBool::new(true),
            asked_isr: AtomicUsize::new(0),
            grants: AtomicUsize::new(0),
            watched: AtomicUsize::new(0),
        });
        let service = Guard::new(SentinelServer::new(Service(Arc::clone(&shared))), Some(super::token()));
        let incoming = tonic::transport::server::TcpIncoming::from(listener).with_nodelay(Some(true));
        tokio::spawn(tonic::transport::Server::builder().add_service(service).serve_with_incoming(incoming));
        Self { port, shared }
    }

    pub fn state(&self) -> ClusterState {
        self.shared.state.borrow().clone()
    }

    pub fn change(&self, change: impl FnOnce(&mut ClusterState)) {
        self.shared.state.send_modify(|state| {
            change(state);
            state.log_index += 1;
        });
    }

    /// Commits a new mastership, grants its lease and tells the master.
    pub async fn lead(&self, master: &TestNode, isr: &[&TestNode], members: Vec<Member>) {
        let state = self.decide(master, isr, members);
        let reply = promote(master, state).await;
        assert!(reply.accepted, "{}", reply.refusal);
    }

    /// Commits a new mastership and grants its lease. Nobody is told but through Watch.
    pub fn decide(&self, master: &TestNode, isr: &[&TestNode], members: Vec<Member>) -> ClusterState {
        self.change(|state| {
            state.epoch += 1;
            state.isr_version += 1;
            state.master = master.name().to_owned();
            state.isr = isr.iter().map(|node| node.isr_member()).collect();
            state.members = members;
        });
        let state = self.state();
        self.grant(state.epoch);
        state
    }

    /// Commits what `change` makes of the state, unless it has changed since `seen`.
    pub fn compare_and_change(&self, seen: &ClusterState, change: impl FnOnce(&mut ClusterState)) -> bool {
        self.shared.state.send_if_modified(|state| {
            let fits = (state.epoch, state.isr_version) == (seen.epoch, seen.isr_version);
            if fits {
                change(state);
                state.log_index += 1;
            }
            fits
        })
    }

    pub fn grant(&self, epoch: u64) {
        self.shared.granted_epoch.store(epoch, Ordering::SeqCst);
    }

    pub fn resigned_epoch(&self) -> u64 {
        self.shared.resigned_epoch.load(Ordering::SeqCst)
    }

    /// From now on changes of the ISR are refused.
    pub fn freeze_isr(&self) {
        self.shared.commits_isr.store(false, Ordering::SeqCst);
    }

    pub fn thaw_isr(&self) {
        self.shared.commits_isr.store(true, Ordering::SeqCst);
    }

    /// How often a change of the ISR was asked for.
    pub fn asked_isr(&self) -> usize {
        self.shared.asked_isr.load(Ordering::SeqCst)
    }

    /// Renewals that were granted.
    pub fn grants(&self) -> usize {
        self.shared.grants.load(Ordering::SeqCst)
    }

    /// States that nodes were sent.
    pub fn watched(&self) -> usize {
        self.shared.watched.load(Ordering::SeqCst)
    }

    pub fn isr_names(&self) -> Vec<String> {
        let mut names: Vec<_> = self.state().isr.into_iter().map(|member| member.name).collect();
        names.sort();
        names
    }
}

pub async fn fence(node: &TestNode, epoch: u64) -> FenceReply {
    let request = FenceRequest { cluster_id: CLUSTER.to_owned(), epoch };
    node.peer().await.fence(request).await.unwrap().into_inner()
}

pub async fn promote(node: &TestNode, state: ClusterState) -> PromoteReply {
    node.peer().await.promote(PromoteRequest { state: Some(state) }).await.unwrap().into_inner()
}

struct Service(Arc<Shared>);

type Messages<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl Sentinel for Service {
    type LeaseStream = Messages<Grant>;
    type WatchStream = Messages<ClusterState>;

    async fn lease(&self, request: Request<Streaming<Renew>>) -> Result<Response<Self::LeaseStream>, Status> {
        let shared = Arc::clone(&self.0);
        let grants = request.into_inner().filter_map(move |renew| {
            let answer = renew.map(|renew| {
                if renew.resign {
                    shared.resigned_epoch.store(renew.epoch, Ordering::SeqCst);
                }
                let granted = !renew.resign && renew.epoch == shared.granted_epoch.load(Ordering::SeqCst);
                shared.grants.fetch_add(usize::from(granted), Ordering::SeqCst);
                let refusal = if granted { String::new() } else { "suspended".to_owned() };
                Grant { epoch: renew.epoch, sequence: renew.sequence, granted, refusal }
            });
            std::future::ready(Some(answer))
        });
        Ok(Response::new(Box::pin(grants)))
    }

    async fn watch(&self, _: Request<WatchRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let states = tokio_stream::wrappers::WatchStream::new(self.0.state.subscribe());
        let shared = Arc::clone(&self.0);
        let states = states.inspect(move |_| _ = shared.watched.fetch_add(1, Ordering::SeqCst));
        Ok(Response::new(Box::pin(states.map(Ok))))
    }

    async fn change_isr(&self, request: Request<ChangeIsrRequest>) -> Result<Response<ChangeIsrReply>, Status> {
        let request = request.into_inner();
        self.0.asked_isr.fetch_add(1, Ordering::SeqCst);
        let is_frozen = !self.0.commits_isr.load(Ordering::SeqCst);
        let accepted = self.0.state.send_if_modified(|state| {
            let fits = !is_frozen && (state.epoch, state.isr_version) == (request.epoch, request.isr_version);
            if fits {
                state.isr = request.isr;
                state.isr_version += 1;
                state.log_index += 1;
            }
            fits
        });
        let state = Some(self.0.state.borrow().clone());
        Ok(Response::new(ChangeIsrReply { accepted, refusal: String::new(), state }))
    }

    async fn hello(&self, _: Request<HelloRequest>) -> Result<Response<HelloReply>, Status> {
        Err(Status::unimplemented("for sentinels"))
    }

    async fn suspend(&self, _: Request<SuspendRequest>) -> Result<Response<SuspendReply>, Status> {
        Err(Status::unimplemented("for sentinels"))
    }

    async fn failover(&self, _: Request<FailoverRequest>) -> Result<Response<FailoverReply>, Status> {
        Ok(Response::new(FailoverReply { accepted: false, error: "NOGOODSLAVE".to_owned() }))
    }

    async fn order(&self, _: Request<OrderRequest>) -> Result<Response<OrderReply>, Status> {
        Err(Status::unimplemented("for operators"))
    }

    async fn raft(&self, _: Request<RaftRequest>) -> Result<Response<RaftReply>, Status> {
        Err(Status::unimplemented("for sentinels"))
    }
}

/// For states that a test makes by hand.
pub fn former(name: &str) -> IsrMember {
    IsrMember { name: name.to_owned(), incarnation: "a process that has ended".to_owned() }
}
