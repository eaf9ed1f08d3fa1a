//! What the tasks of one sentinel share.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use tercet_edge::dial::Dialer;
use tokio::sync::{Notify, mpsc, watch};

use crate::{
    clock::Moment,
    detect::{Electorate, Fitness, Grounds, Hearing, Leases, Ledger, Refusal, Renewal, Resign},
    events::{Bus, MasterName},
    limits,
    nodes::Nodes,
    raft::{Consensus, Peer, Peers},
    siblings::{Sibling, Siblings},
    simulated::Simulated,
    state::{Address, ClusterState, Member, SentinelMember},
};

/// Who this sentinel is.
#[derive(Debug, Clone)]
pub(crate) struct Identity {
    pub(crate) name: String,
    pub(crate) sentinel_id: String,
    pub(crate) raft_id: u64,
    pub(crate) resp: Address,
    pub(crate) peer: Address,
    /// Sentinels in `--sentinels`: how many there are to be before the group is founded.
    pub(crate) listed: usize,
}

impl Identity {
    pub(crate) fn member(&self) -> SentinelMember {
        let Self { name, sentinel_id, raft_id, peer, .. } = self.clone();
        SentinelMember { raft_id, sentinel_id, name, peer }
    }
}

/// The master that clients are told of: it changes when the new one answers as master, not before.
#[derive(Debug, Clone)]
pub(crate) struct Announced {
    pub(crate) epoch: u64,
    pub(crate) member: Member,
    pub(crate) incarnation: String,
    pub(crate) since: Moment,
}

/// What the detector and the failover have come to; written by them, shown by the API.
#[derive(Debug, Clone, Default)]
pub(crate) struct Status {
    pub(crate) announced: Option<Announced>,
    pub(crate) s_down: Option<Moment>,
    pub(crate) o_down: Option<Moment>,
    /// Redis' `failover-state`, while one is under way here.
    pub(crate) failover_state: Option<&'static str>,
    /// Replicas that are subjectively down, since when.
    pub(crate) replicas_down: HashMap<String, Moment>,
    /// Since when this sentinel may have missed something: it was not running.
    pub(crate) tilt: Option<Moment>,
    /// A failover is due and comes to nothing: whom it waits for.
    pub(crate) stuck: Option<Vec<String>>,
}

/// Settings that `SENTINEL SET` may change.
#[derive(Debug, Clone)]
pub(crate) struct Tunable {
    pub(crate) down_after: Duration,
}

#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) identity: Identity,
    pub(crate) service: String,
    pub(crate) lease: Duration,
    pub(crate) started: Moment,
    pub(crate) consensus: Arc<dyn Consensus>,
    pub(crate) state: watch::Receiver<Arc<ClusterState>>,
    pub(crate) peers: Peers,
    pub(crate) siblings: Siblings,
    pub(crate) nodes: Nodes,
    pub(crate) leases: Mutex<Leases>,
    pub(crate) fitness: Mutex<Fitness>,
    pub(crate) status: Mutex<Status>,
    pub(crate) tunable: Mutex<Tunable>,
    /// We had a state when we started; it may be an old one.
    pub(crate) past: Past,
    pub(crate) events: Bus,
    /// The lease path has news for the watchdog.
    pub(crate) wake: Notify,
    /// A master has given up what it was granted.
    pub(crate) released: Notify,
    /// `SENTINEL SIMULATE-FAILURE`: where to crash.
    pub(crate) simulated: Mutex<Option<Simulated>>,
    /// Why this sentinel must not go on.
    pub(crate) fatal: mpsc::Sender<String>,
    /// This sentinel has, or has had, a vote.
    joined: AtomicBool,
    /// Held by whoever changes who the sentinels are.
    pub(crate) reconfiguring: tokio::sync::Mutex<()>,
    busy: AtomicBool,
}

/// Everything that `Shared` is made of and cannot make itself.
#[derive(Debug)]
pub(crate) struct Parts {
    pub(crate) identity: Identity,
    pub(crate) service: String,
    pub(crate) lease: Duration,
    pub(crate) down_after: Duration,
    pub(crate) past: Past,
    /// This sentinel has had a vote before.
    pub(crate) joined: bool,
    pub(crate) consensus: Arc<dyn Consensus>,
    pub(crate) peers: Peers,
    pub(crate) nodes: Vec<Address>,
    pub(crate) dialer: Dialer,
    pub(crate) fatal: mpsc::Sender<String>,
}

impl Shared {
    pub(crate) fn new(parts: Parts) -> Arc<Self> {
        let now = Moment::now();
        let quarantine = match parts.past {
            Past::None => Duration::ZERO,
            Past::Known => limits::quarantine(parts.lease),
        };
        let ledger = Ledger::new(parts.lease, quarantine, now);
        let hearing = Hearing::new(parts.down_after, now);
        Arc::new(Self {
            identity: parts.identity,
            service: parts.service,
            lease: parts.lease,
            started: now,
            state: parts.consensus.watch_applied(),
            consensus: parts.consensus,
            peers: parts.peers,
            siblings: Siblings::default(),
            nodes: Nodes::new(parts.nodes, parts.dialer),
            leases: Mutex::new(Leases::new(ledger, hearing)),
            fitness: Mutex::default(),
            status: Mutex::default(),
            tunable: Mutex::new(Tunable { down_after: parts.down_after }),
            past: parts.past,
            events: Bus::default(),
            wake: Notify::new(),
            released: Notify::new(),
            simulated: Mutex::default(),
            fatal: parts.fatal,
            joined: AtomicBool::new(parts.joined),
            reconfiguring: tokio::sync::Mutex::default(),
            busy: AtomicBool::new(false),
        })
    }

    pub(crate) fn state(&self) -> Arc<ClusterState> {
        Arc::clone(&self.state.borrow())
    }

    pub(crate) fn cluster_id(&self) -> String {
        self.state.borrow().cluster_id.clone()
    }

    /// The name under which events speak of the master: the announced one, or the one of the state before there is any.
    pub(crate) fn master_name(&self) -> MasterName {
        let announced = self.status.lock().announced.as_ref().map(|announced| announced.member.resp.clone());
        let address = announced.unwrap_or_else(|| {
            let state = self.state.borrow();
            state.member(&state.master).map(|member| member.resp.clone()).unwrap_or_default()
        });
        MasterName { service: self.service.clone(), address }
    }

    /// How many sentinels there are.
    pub(crate) fn sentinel_count(&self) -> usize {
        match self.state.borrow().sentinels.len() {
            0 => self.identity.listed,
            count => count,
        }
    }

    pub(crate) fn quorum(&self) -> usize {
        self.sentinel_count() / 2 + 1
    }

    /// This sentinel has a vote.
    pub(crate) fn is_member(&self, state: &ClusterState) -> bool {
        state.sentinel(&self.identity.sentinel_id).is_some()
    }

    pub(crate) fn has_joined(&self) -> bool {
        self.joined.load(Ordering::Acquire)
    }

    pub(crate) fn note_joined(&self) {
        self.joined.store(true, Ordering::Release);
    }

    /// The other sentinels that have a vote.
    pub(crate) fn others(&self, state: &ClusterState) -> Vec<(u64, Peer)> {
        let others = state.sentinels.iter().filter(|one| one.raft_id != self.identity.raft_id);
        others.map(|one| (one.raft_id, self.peers.member(one))).collect()
    }

    /// The way to another sentinel that has a vote.
    pub(crate) fn other(&self, raft_id: u64) -> Option<Peer> {
        let state = self.state();
        let member = state.sentinels.iter().find(|one| one.raft_id == raft_id && raft_id != self.identity.raft_id);
        member.map(|member| self.peers.member(member))
    }

    /// What another sentinel said of itself.
    pub(crate) fn sibling(&self, raft_id: u64) -> Option<Sibling> {
        let state = self.state();
        let member = state.sentinels.iter().find(|one| one.raft_id == raft_id)?;
        self.siblings.get(&member.sentinel_id)
    }

    /// Where a sentinel said last that it is.
    pub(crate) fn address_of(&self, sentinel: &SentinelMember) -> Address {
        if sentinel.raft_id == self.identity.raft_id {
            self.identity.peer.clone()
        } else {
            self.peers.member(sentinel).address
        }
    }

    /// Answers one Renew, made by that version of the set of sentinels: no disk, no Raft, one short lock.
    pub(crate) fn renew(
        &self,
        renewal: Renewal<'_>,
        resign: Resign,
        sentinels_version: u64,
        now: Moment,
    ) -> Result<(), Refusal> {
        let fence_epoch = self.consensus.fence_epoch();
        // In this order: a change is in the log until it is in the state.
        let pending = self.consensus.pending_sentinels_version();
        let state = self.state();
        if resign == Resign::No {
            let electorate =
                Electorate { is_member: self.is_member(&state), version: state.sentinels_version.max(pending) };
            if let Err(refusal) = electorate.check(sentinels_version) {
                self.leases.lock().hearing.renewed(
                    renewal.name,
                    renewal.incarnation,
                    renewal.epoch,
                    renewal.deaf_for,
                    now,
                );
                return Err(refusal);
            }
        }
        let answer = self.leases.lock().renew(renewal, resign, &state, fence_epoch, now);
        if matches!(answer, Err(Refusal::Resigned(_))) && resign == Resign::Yes {
            self.released.notify_waiters();
        }
        answer
    }

    /// A node says of itself that it follows another master: what we granted it before is void.
    pub(crate) fn stepped_down(&self, incarnation: &str, epoch: u64) {
        self.leases.lock().ledger.stepped_down(incarnation, epoch);
        self.released.notify_waiters();
    }

    /// Another sentinel asks us to grant nothing under `epoch`, because it does not hear the master or finds it unfit.
    pub(crate) fn suspend(
        &self,
        cluster_id: &str,
        epoch: u64,
        grounds: Grounds,
        now: Moment,
    ) -> Result<Duration, Refusal> {
        let state = self.state();
        let is_unfit = grounds == Grounds::Unfit && self.fitness.lock().agrees(epoch, now);
        let grounds = if is_unfit { Grounds::Unfit } else { Grounds::Unheard };
        self.leases.lock().suspend(cluster_id, epoch, grounds, &state, now)
    }

    /// This sentinel's own suspicion of the master of `epoch`.
    pub(crate) fn suspects(&self, epoch: u64, now: Moment) -> bool {
        self.leases.lock().suspects(epoch, now)
    }

    /// Takes the right to change the mastership; one holder at a time in this process.
    pub(crate) fn begin_failover(self: &Arc<Self>) -> Option<FailoverGuard> {
        let taken = self.busy.compare_exchange(false, true, Ordering::AcqRel, Ordering::Acquire);
        taken.ok().map(|_| FailoverGuard { shared: Arc::clone(self) })
    }

    /// Ends the process here if a drill asked for it: nothing of the failover goes on.
    pub(crate) async fn crash_if(&self, here: Simulated) {
        if *self.simulated.lock() == Some(here) {
            // Full: the process is ending already.
            drop(self.fatal.try_send(format!("crashing as asked by SENTINEL SIMULATE-FAILURE: {here:?}")));
            std::future::pending::<()>().await;
        }
    }

    pub(crate) fn is_failing_over(&self) -> bool {
        self.busy.load(Ordering::Acquire)
    }

    pub(crate) fn set_failover_state(&self, state: Option<&'static str>) {
        self.status.lock().failover_state = state;
    }
}

/// What the data directory held when we started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Past {
    None,
    Known,
}

/// Held while a failover or hand-over is under way here.
#[derive(Debug)]
pub(crate) struct FailoverGuard {
    shared: Arc<Shared>,
}

impl Drop for FailoverGuard {
    fn drop(&mut self) {
        self.shared.set_failover_state(None);
        self.shared.busy.store(false, Ordering::Release);
        self.shared.wake.notify_one();
    }
}
