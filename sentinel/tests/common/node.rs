//! A data node that holds no data: it observes the contract between nodes and sentinels, and writes down when it had a
//! lease, so that a test can see whether two ever had one at once.

use std::{collections::BTreeMap, pin::Pin, sync::Arc, time::Duration};

use futures::{Stream, StreamExt as _, stream};
use parking_lot::Mutex;
use tercet_proto::grpc::{
    cluster::v1::{Address, ClusterState, IsrMember, Member},
    peer::v1::{
        FenceReply, FenceRequest, FromMaster, FromReplica, NodeStatus, ObserveRequest, PrepareHandoverReply,
        PrepareHandoverRequest, PromoteReply, PromoteRequest, Publication, PublicationsRequest, ReplicaLag, Role,
        peer_server::{Peer, PeerServer},
    },
    sentinel::v1::{ChangeIsrRequest, Renew, WatchRequest, sentinel_client::SentinelClient},
};
use tercet_sentinel::clock::Moment;
use tokio::{
    runtime::Runtime,
    sync::{mpsc, watch},
};
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::{Request, Response, Status, Streaming, transport::Endpoint};

const LEASE: Duration = Duration::from_millis(400);
const RENEW: Duration = Duration::from_millis(50);

/// What all nodes of a test know of each other, in place of replication.
#[derive(Clone, Default)]
pub(crate) struct World(Arc<Mutex<Facts>>);

#[derive(Default)]
struct Facts {
    sentinels: Vec<u16>,
    /// Living nodes and their incarnations.
    alive: BTreeMap<String, String>,
    newest: Option<ClusterState>,
    /// Who held a lease under which epoch, from when to when.
    leases: Vec<(String, u64, Moment, Moment)>,
    lapses: usize,
    drawn: u64,
    /// A node that reaches the sentinels and no other node.
    cut_off: Option<String>,
}

impl World {
    pub(crate) fn new(sentinels: Vec<u16>) -> Self {
        Self(Arc::new(Mutex::new(Facts { sentinels, ..Facts::default() })))
    }

    /// Ports and version of the sentinels that make a majority.
    pub(crate) fn electorate(&self) -> (Vec<u16>, u64) {
        let facts = self.0.lock();
        let state = facts.newest.clone().unwrap_or_default();
        let ports: Vec<u16> =
            state.sentinels.iter().filter_map(|one| one.peer.as_ref()).map(|peer| peer.port as u16).collect();
        if ports.is_empty() { (facts.sentinels.clone(), 0) } else { (ports, state.sentinels_version) }
    }

    pub(crate) fn sentinels(&self) -> Vec<String> {
        let facts = self.0.lock();
        facts.newest.iter().flat_map(|state| &state.sentinels).map(|one| one.name.clone()).collect()
    }

    /// How often a master was without a valid lease for a moment.
    pub(crate) fn lapses(&self) -> usize {
        self.0.lock().lapses
    }

    pub(crate) fn isr(&self) -> Vec<String> {
        let facts = self.0.lock();
        facts
            .newest
            .as_ref()
            .map(|state| state.isr.iter().map(|member| member.name.clone()).collect())
            .unwrap_or_default()
    }

    pub(crate) fn epoch(&self) -> u64 {
        self.0.lock().newest.as_ref().map_or(0, |state| state.epoch)
    }

    pub(crate) fn cluster_id(&self) -> String {
        self.0.lock().newest.as_ref().map(|state| state.cluster_id.clone()).unwrap_or_default()
    }

    pub(crate) fn min_isr(&self) -> u32 {
        self.0.lock().newest.as_ref().map_or(0, |state| state.min_isr)
    }

    pub(crate) fn members(&self) -> Vec<String> {
        let facts = self.0.lock();
        facts.newest.iter().flat_map(|state| &state.members).map(|member| member.name.clone()).collect()
    }

    /// From now on this node reaches the sentinels and no other node.
    pub(crate) fn cut_off(&self, name: &str) {
        self.0.lock().cut_off = Some(name.to_owned());
    }

    fn is_cut_off(&self, name: &str) -> bool {
        self.0.lock().cut_off.as_deref() == Some(name)
    }

    fn draw(&self) -> String {
        let mut facts = self.0.lock();
        facts.drawn += 1;
        format!("{:040x}", facts.drawn)
    }

    /// No two processes may have had a valid lease at the same moment.
    pub(crate) fn assert_no_two_masters(&self) {
        let facts = self.0.lock();
        for (at, (name, epoch, from, to)) in facts.leases.iter().enumerate() {
            for (other, other_epoch, other_from, other_to) in &facts.leases[..at] {
                let apart = to <= other_from || other_to <= from || (name, epoch) == (other, other_epoch);
                assert!(apart, "{name} (epoch {epoch}) and {other} (epoch {other_epoch}) had a lease at once");
            }
        }
    }
}

#[derive(Clone)]
struct State {
    role: Role,
    epoch: u64,
    promised: u64,
    last_epoch: u64,
    end_offset: u64,
    cluster_id: String,
    master: String,
    following: u64,
}

/// A running fake node.
pub(crate) struct FakeNode {
    pub(crate) name: String,
    pub(crate) port: u16,
    pub(crate) incarnation: String,
    world: World,
    inner: Arc<Inner>,
    runtime: Option<Runtime>,
}

struct Inner {
    name: String,
    incarnation: String,
    port: u16,
    world: World,
    state: watch::Sender<State>,
    /// Sentinels (by port) whose lease streams are cut.
    cut: watch::Sender<Vec<u16>>,
    /// Takes part in nothing: a process that hangs.
    frozen: watch::Sender<bool>,
    loading: watch::Sender<bool>,
    disk_failed: watch::Sender<bool>,
}

impl FakeNode {
    pub(crate) fn start(world: &World, name: &str) -> Self {
        let mut node = Self::prepare(world, name, super::free_port(), 0, 0);
        node.run();
        node
    }

    fn prepare(world: &World, name: &str, port: u16, last_epoch: u64, end_offset: u64) -> Self {
        let incarnation = world.draw();
        let state = State {
            role: Role::Waiting,
            epoch: 0,
            promised: last_epoch,
            last_epoch,
            end_offset,
            cluster_id: String::new(),
            master: String::new(),
            following: 0,
        };
        let inner = Arc::new(Inner {
            name: name.to_owned(),
            incarnation: incarnation.clone(),
            port,
            world: world.clone(),
            state: watch::Sender::new(state),
            cut: watch::Sender::new(Vec::new()),
            frozen: watch::Sender::new(false),
            loading: watch::Sender::new(false),
            disk_failed: watch::Sender::new(false),
        });
        Self { name: name.to_owned(), port, incarnation, world: world.clone(), inner, runtime: None }
    }

    fn run(&mut self) {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime starts");
        let inner = Arc::clone(&self.inner);
        let listener = super::eventually("the node's port is free", || {
            runtime.block_on(tokio::net::TcpListener::bind(("127.0.0.1", inner.port))).ok()
        });
        self.world.0.lock().alive.insert(self.name.clone(), self.incarnation.clone());
        let server = PeerServer::from_arc(Arc::clone(&inner));
        runtime.spawn(
            tonic::transport::Server::builder()
                .add_service(server)
                .serve_with_incoming(TcpListenerStream::new(listener)),
        );
        runtime.spawn(follow_all(Arc::clone(&inner)));
        runtime.spawn(lead(Arc::clone(&inner)));
        self.runtime = Some(runtime);
    }

    /// As kill -9.
    pub(crate) fn kill(&mut self) {
        self.world.0.lock().alive.remove(&self.name);
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_timeout(Duration::from_secs(5));
        }
    }

    /// The same directory as another process.
    pub(crate) fn restart(&mut self) {
        self.kill();
        let state = self.inner.state.borrow().clone();
        *self = Self::prepare(&self.world, &self.name, self.port, state.last_epoch, state.end_offset);
        self.run();
    }

    /// Says nothing more under its leases and answers nothing, while its sockets stay open.
    pub(crate) fn freeze(&self) {
        self.inner.frozen.send_replace(true);
    }

    /// Breaks the lease stream to one sentinel, for as long as it is cut.
    pub(crate) fn cut(&self, sentinel_port: u16) {
        self.inner.cut.send_modify(|cut| cut.push(sentinel_port));
    }

    pub(crate) fn mend(&self) {
        self.inner.cut.send_modify(Vec::clear);
    }

    /// Still reads its disk, or has done so.
    pub(crate) fn set_loading(&self, loading: bool) {
        self.inner.loading.send_replace(loading);
    }

    pub(crate) fn fail_disk(&self) {
        self.inner.disk_failed.send_replace(true);
    }

    pub(crate) fn write(&self, offset: u64) {
        self.inner.state.send_modify(|state| {
            state.end_offset = offset;
            state.last_epoch = state.epoch.max(state.last_epoch);
        });
    }

    pub(crate) fn is_master(&self) -> bool {
        self.inner.state.borrow().role == Role::Master
    }

    pub(crate) fn resp(&self) -> String {
        format!("127.0.0.1:{}", self.port + 1)
    }
}

impl Drop for FakeNode {
    fn drop(&mut self) {
        self.kill();
    }
}

fn address(port: u16) -> Option<Address> {
    Some(Address { host: "127.0.0.1".into(), port: u32::from(port) })
}

impl Inner {
    fn status(&self) -> NodeStatus {
        let state = self.state.borrow().clone();
        NodeStatus {
            member: Some(Member {
                name: self.name.clone(),
                node_id: format!("disk-{}", self.name),
                peer: address(self.port),
                resp: address(self.port + 1),
                amqp: address(self.port + 2),
                gateway: address(self.port + 3),
                http: address(self.port + 4),
            }),
            incarnation: self.incarnation.clone(),
            cluster_id: state.cluster_id,
            role: state.role.into(),
            epoch: state.epoch,
            promised_epoch: state.promised,
            end_offset: state.end_offset,
            commit_offset: state.end_offset,
            last_epoch: state.last_epoch,
            link_up: state.role == Role::Replica && !self.world.is_cut_off(&state.master),
            master: state.master,
            priority: 100,
            loading: *self.loading.borrow(),
            disk_failed: *self.disk_failed.borrow(),
            replicas: self.replicas(),
            ..NodeStatus::default()
        }
    }

    /// Whom a master hears.
    fn replicas(&self) -> Vec<ReplicaLag> {
        if self.state.borrow().role != Role::Master || self.world.is_cut_off(&self.name) {
            return Vec::new();
        }
        let alive = self.world.0.lock().alive.clone();
        let others = alive.into_iter().filter(|(name, _)| *name != self.name);
        others.map(|(name, incarnation)| ReplicaLag { name, incarnation, ..ReplicaLag::default() }).collect()
    }

    fn is_frozen(&self) -> bool {
        *self.frozen.borrow()
    }

    /// What the Watch stream or Promote says.
    fn learn(&self, new: &ClusterState) {
        {
            let mut facts = self.world.0.lock();
            if facts.newest.as_ref().is_none_or(|known| new.log_index > known.log_index) {
                facts.newest = Some(new.clone());
            }
        }
        self.state.send_if_modified(|state| {
            if new.log_index <= state.following {
                return false;
            }
            state.following = new.log_index;
            state.cluster_id.clone_from(&new.cluster_id);
            state.master.clone_from(&new.master);
            if new.epoch > 0 && new.master != self.name && new.epoch >= state.epoch {
                state.role = Role::Replica;
                state.epoch = new.epoch;
                state.promised = state.promised.max(new.epoch);
            }
            true
        });
    }
}

#[tonic::async_trait]
impl Peer for Inner {
    type ObserveStream = Pin<Box<dyn Stream<Item = Result<NodeStatus, Status>> + Send>>;
    type ReplicateStream = Pin<Box<dyn Stream<Item = Result<FromMaster, Status>> + Send>>;
    type PublicationsStream = Pin<Box<dyn Stream<Item = Result<Publication, Status>> + Send>>;

    async fn publications(
        &self,
        _: Request<PublicationsRequest>,
    ) -> Result<Response<Self::PublicationsStream>, Status> {
        Err(Status::unimplemented("only nodes listen to each other"))
    }

    async fn observe(&self, _: Request<ObserveRequest>) -> Result<Response<Self::ObserveStream>, Status> {
        let inner = Self {
            name: self.name.clone(),
            incarnation: self.incarnation.clone(),
            port: self.port,
            world: self.world.clone(),
            state: self.state.clone(),
            cut: self.cut.clone(),
            frozen: self.frozen.clone(),
            loading: self.loading.clone(),
            disk_failed: self.disk_failed.clone(),
        };
        let changes = inner.state.subscribe();
        let statuses = stream::unfold((inner, changes, true), async |(inner, mut changes, first)| {
            if !first {
                // At a change, and every 100 ms.
                let _ = tokio::time::timeout(Duration::from_millis(100), changes.changed()).await;
            }
            let mut frozen = inner.frozen.subscribe();
            until(&mut frozen, |frozen| !frozen).await;
            Some((Ok(inner.status()), (inner, changes, false)))
        });
        Ok(Response::new(Box::pin(statuses)))
    }

    async fn fence(&self, request: Request<FenceRequest>) -> Result<Response<FenceReply>, Status> {
        if self.is_frozen() {
            std::future::pending::<()>().await;
        }
        let epoch = request.into_inner().epoch;
        let accepted = self.state.borrow().promised <= epoch;
        if accepted {
            self.state.send_modify(|state| {
                state.promised = epoch;
                if state.role == Role::Master && state.epoch < epoch {
                    state.role = Role::Deposed;
                }
            });
        }
        let state = self.state.borrow().clone();
        Ok(Response::new(FenceReply {
            accepted,
            refusal: if accepted { String::new() } else { "promised more".into() },
            promised_epoch: state.promised,
            incarnation: self.incarnation.clone(),
            last_epoch: state.last_epoch,
            end_offset: state.end_offset,
            complete: true,
            loading: *self.loading.borrow(),
        }))
    }

    async fn promote(&self, request: Request<PromoteRequest>) -> Result<Response<PromoteReply>, Status> {
        let state = request.into_inner().state.unwrap_or_default();
        self.learn(&state);
        Ok(Response::new(PromoteReply { accepted: true, refusal: String::new() }))
    }

    async fn prepare_handover(
        &self,
        request: Request<PrepareHandoverRequest>,
    ) -> Result<Response<PrepareHandoverReply>, Status> {
        let accepted = self.state.borrow().role == Role::Master && request.into_inner().target != self.name;
        let refusal = if accepted { String::new() } else { "not the master".into() };
        let end_offset = self.state.borrow().end_offset;
        Ok(Response::new(PrepareHandoverReply { accepted, refusal, end_offset }))
    }

    async fn replicate(&self, _: Request<Streaming<FromReplica>>) -> Result<Response<Self::ReplicateStream>, Status> {
        Err(Status::unimplemented("a fake node holds no data"))
    }
}

fn sentinel(port: u16) -> SentinelClient<tonic::transport::Channel> {
    let endpoint = Endpoint::from_shared(format!("http://127.0.0.1:{port}")).expect("a loopback address is a URI");
    SentinelClient::new(endpoint.connect_timeout(Duration::from_millis(100)).tcp_nodelay(true).connect_lazy())
}

/// Follows the state through every sentinel that was listed or has joined since.
async fn follow_all(inner: Arc<Inner>) {
    let mut followed = BTreeMap::new();
    let mut tasks = tokio::task::JoinSet::new();
    loop {
        let listed = inner.world.0.lock().sentinels.clone();
        for port in listed.into_iter().chain(inner.world.electorate().0) {
            followed.entry(port).or_insert_with(|| tasks.spawn(follow(Arc::clone(&inner), port)));
        }
        tokio::time::sleep(RENEW).await;
    }
}

/// Follows the state through one sentinel.
async fn follow(inner: Arc<Inner>, port: u16) {
    let mut client = sentinel(port);
    loop {
        let cluster_id = inner.state.borrow().cluster_id.clone();
        if let Ok(states) =
            client.watch(WatchRequest { cluster_id, name: inner.name.clone(), peer: address(inner.port) }).await
        {
            let mut states = states.into_inner();
            while let Some(Ok(state)) = states.next().await {
                if !inner.is_frozen() {
                    inner.learn(&state);
                }
            }
        }
        tokio::time::sleep(RENEW).await;
    }
}

/// For each epoch whose master this node is: renews at all sentinels, serves while a majority grants.
async fn lead(inner: Arc<Inner>) {
    let mut changes = inner.state.subscribe();
    loop {
        let newest = inner.world.0.lock().newest.clone().unwrap_or_default();
        let mine = newest.isr.iter().any(|member| member.name == inner.name && member.incarnation == inner.incarnation);
        if newest.master == inner.name && mine && inner.state.borrow().following >= newest.log_index {
            reign(&inner, newest.epoch).await;
        }
        let _ = tokio::time::timeout(Duration::from_millis(20), changes.changed()).await;
    }
}

async fn reign(inner: &Arc<Inner>, epoch: u64) {
    let (mut sentinels, mut version) = inner.world.electorate();
    let (granted, mut grants) = mpsc::channel(64);
    let over = watch::Sender::new(false);
    let mut renewing = tokio::task::JoinSet::new();
    let renew_at =
        |port: u16, version: u64| renew(Arc::clone(inner), port, version, epoch, granted.clone(), over.subscribe());
    let mut streams: BTreeMap<u16, tokio::task::AbortHandle> =
        sentinels.iter().map(|&port| (port, renewing.spawn(renew_at(port, version)))).collect();
    // Granted by the present set; and until when a lease lasts, which a change of the set does not shorten.
    let mut sent: BTreeMap<u16, Moment> = BTreeMap::new();
    let mut until: Option<(Moment, Moment)> = None;
    let mut changes = inner.state.subscribe();
    let mut ticker = tokio::time::interval(Duration::from_millis(10));
    let mut adjusted = Moment::now();
    loop {
        tokio::select! {
            Some((port, by, moment)) = grants.recv() => { if by == version { sent.insert(port, moment); } }
            _ = ticker.tick() => {}
            _ = changes.changed() => {}
        }
        let now = Moment::now();
        let electorate = inner.world.electorate();
        if electorate.1 > version {
            (sentinels, version) = electorate;
            sent.clear();
            for (_, stream) in std::mem::take(&mut streams) {
                stream.abort();
            }
            streams = sentinels.iter().map(|&port| (port, renewing.spawn(renew_at(port, version)))).collect();
        }
        let mut newest: Vec<Moment> = sent.values().copied().collect();
        newest.sort_unstable_by(|a, b| b.cmp(a));
        if let Some(&from) = newest.get(sentinels.len() / 2) {
            until = until.max(Some((from.after(LEASE), from)));
        }
        let is_valid = until.is_some_and(|(until, _)| now < until) && !inner.is_frozen();
        let is_replaced = inner.state.borrow().role == Role::Replica
            && inner.state.borrow().epoch >= epoch
            && inner.state.borrow().master != inner.name;
        let is_deposed = is_replaced || inner.state.borrow().promised > epoch;
        let is_raised =
            inner.world.0.lock().newest.as_ref().is_some_and(|state| state.epoch > epoch && state.master == inner.name);
        if is_raised {
            return;
        }
        if is_deposed {
            over.send_replace(true);
            // The streams say that the lease is given up, then end.
            let _ = tokio::time::timeout(RENEW, async { while renewing.join_next().await.is_some() {} }).await;
            return;
        }
        if let Some((_, from)) = until.filter(|_| is_valid) {
            note_lease(inner, epoch, from, now);
        } else if inner.state.borrow().role == Role::Master {
            inner.world.0.lock().lapses += 1;
        }
        let role = if is_valid { Role::Master } else { Role::Deposed };
        inner.state.send_if_modified(|state| {
            let change = state.role != role && (is_valid || state.role == Role::Master);
            if change {
                state.role = role;
                state.epoch = epoch;
                state.promised = state.promised.max(epoch);
            }
            change
        });
        if is_valid && now.since(adjusted) > Duration::from_millis(50) {
            adjusted = now;
            adjust_isr(inner, epoch, sentinels[0]).await;
        }
    }
}

/// Serving now, under a lease that counts from `from`.
fn note_lease(inner: &Inner, epoch: u64, from: Moment, now: Moment) {
    let mut facts = inner.world.0.lock();
    match facts.leases.iter_mut().find(|(name, known, ..)| *name == inner.name && *known == epoch) {
        Some((.., to)) => *to = now,
        None => facts.leases.push((inner.name.clone(), epoch, from.max(now), now)),
    }
}

/// The ISR is to hold whoever lives; asked through any sentinel.
async fn adjust_isr(inner: &Arc<Inner>, epoch: u64, first: u16) {
    let (state, alive, sentinels) = {
        let facts = inner.world.0.lock();
        (facts.newest.clone().unwrap_or_default(), facts.alive.clone(), facts.sentinels.clone())
    };
    let wanted: Vec<IsrMember> = alive
        .into_iter()
        .filter(|(name, _)| state.members.iter().any(|member| member.name == *name))
        .map(|(name, incarnation)| IsrMember { name, incarnation })
        .collect();
    let is_reached = |member: &IsrMember| member.name == inner.name || !inner.world.is_cut_off(&inner.name);
    let (wanted, unreached): (Vec<_>, Vec<_>) = wanted.into_iter().partition(is_reached);
    if state.epoch != epoch || state.isr == wanted {
        return;
    }
    for port in std::iter::once(first).chain(sentinels) {
        let request = ChangeIsrRequest {
            cluster_id: state.cluster_id.clone(),
            epoch,
            isr_version: state.isr_version,
            isr: wanted.clone(),
            witnesses: unreached.clone(),
            ..ChangeIsrRequest::default()
        };
        let reply = tokio::time::timeout(Duration::from_millis(200), sentinel(port).change_isr(request)).await;
        if let Ok(Ok(reply)) = reply
            && let Some(state) = reply.into_inner().state
        {
            inner.learn(&state);
            return;
        }
    }
}

async fn renew(
    inner: Arc<Inner>,
    port: u16,
    sentinels_version: u64,
    epoch: u64,
    granted: mpsc::Sender<(u16, u64, Moment)>,
    mut over: watch::Receiver<bool>,
) {
    let mut client = sentinel(port);
    let mut cut = inner.cut.subscribe();
    loop {
        until(&mut cut, |cut| !cut.contains(&port)).await;
        let (renews, outgoing) = mpsc::channel(16);
        let sent = Arc::new(Mutex::new(BTreeMap::new()));
        let mut sequence = 0;
        let make = |sequence: u64, resign: bool| Renew {
            cluster_id: inner.state.borrow().cluster_id.clone(),
            name: inner.name.clone(),
            incarnation: inner.incarnation.clone(),
            epoch,
            sequence,
            commit_offset: 0,
            resign,
            sentinels_version,
            heard: 0,
        };
        if let Ok(Ok(grants)) =
            tokio::time::timeout(Duration::from_millis(200), client.lease(ReceiverStream::new(outgoing))).await
        {
            let mut grants = grants.into_inner();
            let mut ticker = tokio::time::interval(RENEW);
            loop {
                tokio::select! {
                    _ = ticker.tick() => {
                        if inner.is_frozen() { continue }
                        sequence += 1;
                        sent.lock().insert(sequence, Moment::now());
                        if renews.send(make(sequence, false)).await.is_err() { break }
                    }
                    grant = grants.next() => match grant {
                        Some(Ok(grant)) => {
                            let moment = sent.lock().remove(&grant.sequence);
                            if let (true, Some(moment)) = (grant.granted, moment) {
                                let _ = granted.try_send((port, sentinels_version, moment));
                            }
                        }
                        Some(Err(_)) | None => break,
                    },
                    () = until(&mut cut, |cut| cut.contains(&port)) => break,
                    () = until(&mut over, |over| *over) => {
                        let _ = renews.send(make(sequence + 1, true)).await;
                        let _ = tokio::time::timeout(RENEW, grants.next()).await;
                        return;
                    }
                }
            }
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Waits for a value; the guard of the channel is not kept across an await.
async fn until<T>(channel: &mut watch::Receiver<T>, wanted: impl FnMut(&T) -> bool) {
    // The sender lives as long as the node.
    drop(channel.wait_for(wanted).await);
}
