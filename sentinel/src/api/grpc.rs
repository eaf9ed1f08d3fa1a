//! The Sentinel service: leases and state for nodes, Raft and suspicion for other sentinels.

use std::{pin::Pin, sync::Arc, time::Duration};

use futures::{Stream, stream};
use tercet_proto::grpc::{
    cluster::v1::ClusterState as ClusterStateMessage,
    sentinel::v1::{
        ChangeIsrReply, ChangeIsrRequest, FailoverReply, FailoverRequest, Grant, HelloReply, HelloRequest, OrderReply,
        OrderRequest, RaftReply, RaftRequest, Renew, SuspendReply, SuspendRequest, WatchRequest, sentinel_server,
    },
};
use tokio::sync::watch;
use tonic::{Request, Response, Status, Streaming};
use tracing::{debug, info, warn};

use crate::{
    act,
    clock::{Moment, millis},
    detect::{Grounds, Refusal, Renewal, Resign},
    limits, observe,
    orders::{self, Forward},
    raft::{self, FORMING, Replica},
    shared::Shared,
    state::{Answer, ClusterState, Command, IsrMember},
};

/// The service of one sentinel.
#[derive(Debug, Clone)]
pub(crate) struct Service {
    pub(crate) shared: Arc<Shared>,
    pub(crate) replica: Arc<Replica>,
}

type BoxStream<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl sentinel_server::Sentinel for Service {
    type LeaseStream = BoxStream<Grant>;
    type WatchStream = BoxStream<ClusterStateMessage>;

    async fn lease(&self, request: Request<Streaming<Renew>>) -> Result<Response<Self::LeaseStream>, Status> {
        let master = LeaseStream {
            shared: Arc::clone(&self.shared),
            renews: request.into_inner(),
            process: None,
            refused: None,
        };
        let grants = stream::unfold(master, async |mut master| master.next().await.map(|grant| (Ok(grant), master)));
        Ok(Response::new(Box::pin(grants)))
    }

    async fn watch(&self, request: Request<WatchRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let WatchRequest { cluster_id, name, peer } = request.into_inner();
        let state = self.shared.consensus.watch_applied();
        check_watcher(&cluster_id, &name, &state.borrow())?;
        let introduced = peer.map(|peer| observe::Introduction::new(&self.shared, peer.into()));
        let watcher = Watcher { state, cluster_id, name, sent: None, _introduced: introduced };
        let states = stream::unfold(Some(watcher), async |watcher| {
            let mut watcher = watcher?;
            match watcher.next().await {
                Some(Ok(state)) => Some((Ok(state), Some(watcher))),
                Some(Err(status)) => Some((Err(status), None)),
                None => None,
            }
        });
        Ok(Response::new(Box::pin(states)))
    }

    async fn change_isr(&self, request: Request<ChangeIsrRequest>) -> Result<Response<ChangeIsrReply>, Status> {
        let request = request.into_inner();
        let refuse = |refusal: String| {
            let state = Some(ClusterStateMessage::from(&*self.shared.state()));
            Ok(Response::new(ChangeIsrReply { accepted: false, refusal, state }))
        };
        let leadership = *self.shared.consensus.leadership().borrow();
        if !leadership.is_us {
            let leader = leadership.leader.and_then(|leader| self.shared.other(leader));
            return match leader {
                Some(leader) if !request.forwarded => {
                    let request = ChangeIsrRequest { forwarded: true, ..request };
                    match tokio::time::timeout(limits::FORWARD_TIMEOUT, leader.control().change_isr(request)).await {
                        Ok(reply) => reply,
                        Err(_) => refuse("the leader of the sentinels did not answer".into()),
                    }
                }
                Some(_) | None => refuse("the sentinels have no leader at the moment".into()),
            };
        }
        let state = self.shared.state();
        if let Err(refusal) = crate::detect::check_cluster(&request.cluster_id, &state.cluster_id) {
            return refuse(refusal.to_string());
        }
        if self.shared.leases.lock().ledger.is_suspended(request.epoch, Moment::now()) {
            return refuse(format!("epoch {} is suspended", request.epoch));
        }
        let isr: Vec<IsrMember> = request.isr.into_iter().map(Into::into).collect();
        let names: Vec<String> = isr.iter().map(|member| member.name.clone()).collect();
        let command = Command::ChangeIsr {
            expect_epoch: request.epoch,
            expect_isr_version: request.isr_version,
            isr,
            witnesses: request.witnesses.into_iter().map(Into::into).collect(),
        };
        match self.shared.consensus.propose(command).await {
            Ok(Answer::Done) => {
                let state = self.shared.state();
                info!(epoch = state.epoch, version = state.isr_version, isr = names.join(","), "the ISR changed");
                let state = Some(ClusterStateMessage::from(&*state));
                Ok(Response::new(ChangeIsrReply { accepted: true, refusal: String::new(), state }))
            }
            Ok(Answer::Conflict(reason)) => refuse(reason),
            Err(
                error @ (raft::Error::NotLeader { .. }
                | raft::Error::Timeout(_)
                | raft::Error::Stopped(_)
                | raft::Error::Refused(_)),
            ) => refuse(error.to_string()),
        }
    }

    async fn hello(&self, request: Request<HelloRequest>) -> Result<Response<HelloReply>, Status> {
        let HelloRequest { sentinel_id, peer, .. } = request.into_inner();
        let identity = &self.shared.identity;
        // The state first: who is a stranger to the members of a later moment is one to that state or was removed since.
        let known = self.shared.state().log_index;
        let is_stranger = self.shared.consensus.is_stranger(&sentinel_id);
        if let Some(peer) = peer.filter(|_| !is_stranger) {
            self.shared.peers.heard(&sentinel_id, peer.into());
        }
        let mut cluster_id = self.shared.cluster_id();
        if cluster_id.is_empty() && self.replica.is_initialized().await {
            cluster_id = FORMING.into();
        }
        Ok(Response::new(HelloReply {
            name: identity.name.clone(),
            sentinel_id: identity.sentinel_id.clone(),
            cluster_id,
            resp: Some((&identity.resp).into()),
            peer: Some((&identity.peer).into()),
            raft_id: identity.raft_id,
            stranger_at: if is_stranger { known } else { 0 },
        }))
    }

    async fn suspend(&self, request: Request<SuspendRequest>) -> Result<Response<SuspendReply>, Status> {
        let SuspendRequest { cluster_id, epoch, sentinel, unfit } = request.into_inner();
        let grounds = if unfit { Grounds::Unfit } else { Grounds::Unheard };
        Ok(Response::new(match self.shared.suspend(&cluster_id, epoch, grounds, Moment::now()) {
            Ok(age) => {
                info!(epoch, asked_by = sentinel, ?grounds, grant_age_ms = millis(age), "suspended the epoch");
                SuspendReply { suspended: true, refusal: String::new(), last_grant_age_ms: millis(age) }
            }
            Err(refusal) => SuspendReply { suspended: false, refusal: refusal.to_string(), last_grant_age_ms: 0 },
        }))
    }

    async fn failover(&self, request: Request<FailoverRequest>) -> Result<Response<FailoverReply>, Status> {
        let request = request.into_inner();
        let forward = if request.forwarded { Forward::No } else { Forward::Yes };
        // A node that stops means its own cluster and does not know what clients call it.
        let service = if request.service.is_empty() { &self.shared.service } else { &request.service };
        let result = match crate::detect::check_cluster(&request.cluster_id, &self.shared.cluster_id()) {
            Ok(()) => fail_over(&self.shared, service, forward).await,
            Err(refusal) => Err(format!("ERR {refusal}")),
        };
        let reply = match result {
            Ok(()) => FailoverReply { accepted: true, error: String::new() },
            Err(error) => FailoverReply { accepted: false, error },
        };
        Ok(Response::new(reply))
    }

    async fn order(&self, request: Request<OrderRequest>) -> Result<Response<OrderReply>, Status> {
        let request = request.into_inner();
        let forward = if request.forwarded { Forward::No } else { Forward::Yes };
        let result = match crate::detect::check_cluster(&request.cluster_id, &self.shared.cluster_id()) {
            Ok(()) => match request.order {
                Some(order) => orders::obey(&self.shared, order.into(), forward).await,
                None => Err("ERR an order that this sentinel does not know".into()),
            },
            Err(refusal) => Err(format!("ERR {refusal}")),
        };
        Ok(Response::new(OrderReply { error: result.err().unwrap_or_default() }))
    }

    async fn raft(&self, request: Request<RaftRequest>) -> Result<Response<RaftReply>, Status> {
        let request = request.into_inner();
        self.check_identity(&request)?;
        match self.replica.answer(request.kind(), &request.payload).await {
            Some(payload) => Ok(Response::new(RaftReply { payload })),
            None => Err(Status::invalid_argument("this is no raft request")),
        }
    }
}

impl Service {
    /// A request for another sentinel, of another cluster or from a stranger must not touch the log.
    fn check_identity(&self, request: &RaftRequest) -> Result<(), Status> {
        let own = self.replica.sentinel_id();
        if request.target_id != own {
            let text = format!("this is sentinel {own}, not {}", request.target_id);
            debug!(sender = request.sender_id, target = request.target_id, "a raft request for another sentinel");
            return Err(Status::failed_precondition(text));
        }
        let cluster_id = self.shared.cluster_id();
        if !request.cluster_id.is_empty() && !cluster_id.is_empty() && request.cluster_id != cluster_id {
            let text = format!("cluster id {} does not match this cluster's {cluster_id}", request.cluster_id);
            warn!(sender = request.sender_id, "{text}");
            return Err(Status::failed_precondition(text));
        }
        if self.shared.consensus.is_stranger(&request.sender_id) {
            warn!(sender = request.sender_id, "a raft request from a sentinel that is not of this cluster");
            return Err(Status::failed_precondition(format!(
                "sentinel {} is not of this cluster; its data directory is not the one that joined",
                request.sender_id
            )));
        }
        Ok(())
    }
}

/// `SENTINEL FAILOVER`, from whichever side it comes.
///
/// # Errors
/// The text of the RESP error.
pub(crate) async fn fail_over(shared: &Arc<Shared>, service: &str, forward: Forward) -> Result<(), String> {
    if service != shared.service || shared.state().epoch == 0 {
        return Err("ERR No such master with that name".into());
    }
    let leadership = *shared.consensus.leadership().borrow();
    if leadership.is_us {
        return act::hand_over(shared).await;
    }
    let leader = leadership.leader.and_then(|leader| shared.other(leader));
    let (Some(leader), Forward::Yes) = (leader, forward) else {
        return Err("ERR the sentinels have no leader at the moment; try again".into());
    };
    let request = FailoverRequest { cluster_id: shared.cluster_id(), service: service.to_owned(), forwarded: true };
    match tokio::time::timeout(limits::FORWARD_TIMEOUT, leader.control().failover(request)).await {
        Ok(Ok(reply)) if reply.get_ref().accepted => Ok(()),
        Ok(Ok(reply)) => Err(reply.into_inner().error),
        Ok(Err(status)) => Err(format!("ERR the leader of the sentinels could not be asked: {}", status.message())),
        Err(_) => Err("ERR the leader of the sentinels did not answer".into()),
    }
}

fn check_watcher(cluster_id: &str, name: &str, state: &ClusterState) -> Result<(), Status> {
    if !cluster_id.is_empty() && !state.cluster_id.is_empty() && cluster_id != state.cluster_id {
        let text = format!("cluster id {cluster_id} does not match this cluster's {}", state.cluster_id);
        warn!(node = name, "{text}");
        return Err(Status::failed_precondition(text));
    }
    Ok(())
}

/// A node that follows the state.
struct Watcher {
    state: watch::Receiver<Arc<ClusterState>>,
    cluster_id: String,
    name: String,
    sent: Option<u64>,
    /// For as long as it watches, it is observed.
    _introduced: Option<observe::Introduction>,
}

impl Watcher {
    /// The next state that is newer than the last one; none before the cluster has a name.
    async fn next(&mut self) -> Option<Result<ClusterStateMessage, Status>> {
        loop {
            {
                let state = self.state.borrow_and_update();
                if let Err(status) = check_watcher(&self.cluster_id, &self.name, &state) {
                    return Some(Err(status));
                }
                if !state.cluster_id.is_empty() && self.sent.is_none_or(|sent| state.log_index > sent) {
                    self.sent = Some(state.log_index);
                    return Some(Ok((&**state).into()));
                }
            }
            self.state.changed().await.ok()?;
        }
    }
}

/// A master's Renews, answered one by one. Its end is a reason to look after the master.
struct LeaseStream {
    shared: Arc<Shared>,
    renews: Streaming<Renew>,
    process: Option<(String, String)>,
    refused: Option<std::mem::Discriminant<Refusal>>,
}

impl LeaseStream {
    async fn next(&mut self) -> Option<Grant> {
        let renew = self.renews.message().await.ok()??;
        let now = Moment::now();
        self.opened(&renew);
        let renewal = Renewal {
            cluster_id: &renew.cluster_id,
            name: &renew.name,
            incarnation: &renew.incarnation,
            epoch: renew.epoch,
            deaf_for: deaf_for(&renew),
        };
        let resign = if renew.resign { Resign::Yes } else { Resign::No };
        let result = self.answer(renewal, resign, renew.sentinels_version, now).await;
        if renew.resign {
            info!(epoch = renew.epoch, master = renew.name, "the master gave its lease up");
            self.shared.wake.notify_one();
        }
        let (granted, refusal) = match result {
            Ok(()) => (true, String::new()),
            Err(refusal) => {
                self.note(&renew, &refusal);
                (false, refusal.to_string())
            }
        };
        Some(Grant { epoch: renew.epoch, sequence: renew.sequence, granted, refusal })
    }

    /// In a hand-over the new master's first Renew overtakes the news that the old one has stepped down. The answer waits
    /// for it a moment: a lease counts from when its Renew was sent, so waiting lengthens nothing.
    async fn answer(
        &self,
        renewal: Renewal<'_>,
        resign: Resign,
        sentinels_version: u64,
        now: Moment,
    ) -> Result<(), Refusal> {
        let deadline = tokio::time::Instant::now() + limits::RELEASE_PATIENCE;
        let mut now = now;
        loop {
            let released = self.shared.released.notified();
            let result = self.shared.renew(renewal, resign, sentinels_version, now);
            if !matches!(result, Err(Refusal::PreviousLease(..))) || tokio::time::Instant::now() >= deadline {
                return result;
            }
            // Released or not, the next look decides.
            let _ = tokio::time::timeout_at(deadline, released).await;
            now = Moment::now();
        }
    }

    /// The first refusal of its kind goes to our log too; the master logs each.
    fn note(&mut self, renew: &Renew, refusal: &Refusal) {
        let kind = std::mem::discriminant(refusal);
        if self.refused.replace(kind) != Some(kind) && !renew.resign {
            info!(master = renew.name, epoch = renew.epoch, %refusal, "a lease was refused");
        }
    }

    /// The first Renew says whose stream this is.
    fn opened(&mut self, renew: &Renew) {
        let is_known = self
            .process
            .as_ref()
            .is_some_and(|(name, incarnation)| *name == renew.name && *incarnation == renew.incarnation);
        if !is_known {
            self.closed();
            self.shared.leases.lock().opened(&renew.name, &renew.incarnation);
            self.process = Some((renew.name.clone(), renew.incarnation.clone()));
        }
    }

    fn closed(&mut self) {
        if let Some((name, incarnation)) = self.process.take() {
            self.shared.leases.lock().closed(&name, &incarnation);
            self.shared.wake.notify_one();
        }
    }
}

/// Both moments are the master's: its clock is compared with itself.
fn deaf_for(renew: &Renew) -> Duration {
    if renew.heard == 0 { Duration::ZERO } else { Duration::from_nanos(renew.sequence.saturating_sub(renew.heard)) }
}

impl Drop for LeaseStream {
    fn drop(&mut self) {
        self.closed();
    }
}
