//! The transitions of a node's role, one at a time.
//!
//! ```text
//! Waiting ----- follow ----> Replica <---- follow ---- Deposed
//!    '---- promote ----> Master <-- promote --'  <-- recover --'
//!                          '---- fence, step down, lapse ----> Deposed
//! ```
//!
//! **Invariant:** whatever is executed, appended or acknowledged under an epoch happened before this node promised a
//! higher one: the promise is on disk first, then the door and the journal are closed to lower epochs, then it is told.

use std::sync::Arc;
use std::time::Duration;

use tercet_edge::seldom::Seldom;
use tercet_proto::grpc::cluster::v1::ClusterState;
use tercet_proto::grpc::peer::v1::{FenceReply, FenceRequest, PrepareHandoverReply, PrepareHandoverRequest};
use tracing::{error, info, warn};

use super::Cluster;
use super::state::{self, Part};
use crate::clients::Protocol;
use crate::clock;
use crate::ids::{Epoch, Offset};
use crate::limits;
use crate::node::Link;
use crate::replication::apply::Condition;
use crate::replication::commit::Term;
use crate::replication::replica::{self, Target};
use crate::role::{Hold, Role, State};
use crate::storage;
use crate::task::{self, Task};

/// What a transition needs besides the shared state.
#[derive(Debug, Default)]
pub(super) struct Transitions {
    link: Option<(Target, Task)>,
    /// Counts hand-overs, so that a late release does not end another one.
    holds: u64,
    /// This process was master once: it may have executed what nobody else has.
    has_led: bool,
    /// The hand-over under way has drained: the journal ends here, and all of it is committed.
    drained: Option<Offset>,
    /// How the last mastership of this node ended.
    end: End,
    /// The node stops: it follows and leads no more.
    is_over: bool,
    /// When the last complaint about a foreign cluster was logged.
    complained: Option<tokio::time::Instant>,
}

/// How a mastership ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum End {
    /// There is none, or it has not ended.
    #[default]
    No,
    /// Commands may be under way whose fate is unknown: clients are closed.
    Abrupt,
    /// Whatever was executed is committed, and what came later waits, unexecuted: clients are carried to the next master.
    HandedOver,
}

/// Why an order of a sentinel is refused.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refusal {
    #[error(transparent)]
    Storage(#[from] storage::Error),
    #[error("epoch {asked} is too old: {promised} was promised")]
    Promised { asked: Epoch, promised: Epoch },
    #[error("epoch {asked} is out of reach: {known} is the newest that is known here")]
    OutOfReach { asked: Epoch, known: Epoch },
    #[error("a state that nobody can have agreed on: {0}")]
    Absurd(&'static str),
    #[error("this node stops")]
    Over,
    #[error("epoch {0} has begun")]
    Begun(Epoch),
    #[error("this process ({incarnation}) is not the master that the state names")]
    NotNamed { incarnation: String },
    #[error("this node loads what lies on its disk")]
    Loading,
    #[error("a full sync is under way or has broken off: this node's data is not whole")]
    NotWhole,
    #[error("a record does not fit: this node's data is not whole")]
    DoesNotFit,
    #[error("this node stops")]
    Stopping,
    #[error("this node is not master of epoch {0}")]
    NotMaster(Epoch),
    #[error("{target} did not catch up within {hold_ms} ms")]
    TargetBehind { target: String, hold_ms: u64 },
}

impl Cluster {
    /// Takes over a state, if it is newer than what is known.
    pub(super) async fn adopt(&self, state: ClusterState) {
        if state.cluster_id.is_empty() || !self.is_newer(&state) {
            return;
        }
        if let Err(refusal) = self.check(&state) {
            static ABSURD: Seldom = Seldom::new();
            if let Some(left_out) = ABSURD.due() {
                error!(%refusal, left_out, "a state was not heeded");
            }
            return;
        }
        let mut control = self.control.lock().await;
        if !self.is_newer(&state) {
            return;
        }
        if let Err(error) = self.storage.join_cluster(&state.cluster_id) {
            if control.complained.is_none_or(|at| at.elapsed() > limits::LOG_AGAIN) {
                control.complained = Some(tokio::time::Instant::now());
                error!(%error, "a sentinel of another cluster was not heeded");
            }
            return;
        }
        self.know(&state);
        if let Err(refusal) = self.act(&mut control, &state).await {
            warn!(epoch = state.epoch, %refusal, "the state of the cluster cannot be followed");
        }
    }

    /// Whether a state can be what sentinels have agreed on.
    fn check(&self, state: &ClusterState) -> Result<(), Refusal> {
        state::check(state).map_err(Refusal::Absurd)?;
        self.check_epoch(Epoch(state.epoch))
    }

    /// An epoch far ahead of everything known comes from nobody who counts them, and would bar all that follow.
    fn check_epoch(&self, asked: Epoch) -> Result<(), Refusal> {
        let adopted = self.node.cluster.read().as_ref().map_or(0, |state| state.epoch);
        let known = Epoch(self.storage.promised_epoch().0.max(self.node.authority.standing().epoch.0).max(adopted));
        if state::is_within_reach(asked, known) { Ok(()) } else { Err(Refusal::OutOfReach { asked, known }) }
    }

    fn know(&self, state: &ClusterState) {
        self.lease.adopt_sentinels(state);
        self.sentinels.adopt(state);
        *self.node.cluster.write() = Some(state.clone());
    }

    fn is_newer(&self, state: &ClusterState) -> bool {
        self.node.cluster.read().as_ref().is_none_or(|known| state::is_newer(state, known))
    }

    async fn act(&self, control: &mut Transitions, state: &ClusterState) -> Result<(), Refusal> {
        let standing = self.node.authority.standing();
        let epoch = Epoch(state.epoch);
        if standing.role == Role::Master && standing.epoch < epoch {
            self.give_up(control, epoch, &state.cluster_id, standing.epoch);
        }
        match state::part(state, &self.node.identity) {
            Part::Nobody => Ok(()),
            Part::Master => {
                // A new mastership begins with the order of a sentinel: it knows when no earlier lease is left.
                if standing.epoch == epoch {
                    self.update_isr(state);
                }
                Ok(())
            }
            Part::Follower(master) => {
                let target = Target { epoch, cluster_id: state.cluster_id.clone(), master: *master };
                self.follow(control, target).await
            }
        }
    }

    /// The ISR of this node's mastership has changed.
    fn update_isr(&self, state: &ClusterState) {
        let node = &self.node;
        if !node.commit.update(state, &node.engine.journal, &node.gate) {
            return;
        }
        node.authority.change(|standing| {
            standing.isr = state.isr.len();
            standing.min_isr = state.min_isr as usize;
        });
        let members = state.isr.iter().map(|member| member.name.as_str()).collect::<Vec<_>>().join(" ");
        let (epoch, version, min_isr) = (state.epoch, state.isr_version, state.min_isr);
        info!(epoch, version, members, min_isr, "the ISR has changed");
    }

    /// Follows and leads no more: what the journal holds now is all that it will hold. A node that stops does so before
    /// its disk is closed.
    pub(super) async fn follow_no_more(&self) {
        let mut control = self.control.lock().await;
        control.is_over = true;
        self.stop_link(&mut control).await;
    }

    async fn follow(&self, control: &mut Transitions, target: Target) -> Result<(), Refusal> {
        if control.is_over {
            return Err(Refusal::Over);
        }
        let promised = self.storage.promised_epoch();
        if target.epoch < promised {
            return Err(Refusal::Promised { asked: target.epoch, promised });
        }
        if control.link.as_ref().is_some_and(|(present, _)| *present == target) {
            return Ok(());
        }
        self.promise(target.epoch).await?;
        self.stop_link(control).await;
        let before = self.node.authority.standing();
        let had_led = matches!(before.role, Role::Master | Role::Deposed);
        if had_led {
            self.end_mastership(control, target.epoch);
            if control.end != End::HandedOver {
                // Before the role changes: who waits for an answer under the old mastership gets none.
                self.node.clients.close_all(Protocol::Resp);
            }
        }
        *self.node.link.write() =
            Link { master: Some(target.master.clone()), down_since: clock::boot_now(), ..Link::default() };
        self.node.authority.change(|standing| {
            // What a former master has executed may be more than the new one has: it reads again once that is known.
            let is_readable = !had_led && self.applier.is_readable() && standing.state == State::Whole;
            standing.role = Role::Replica;
            standing.epoch = target.epoch;
            standing.hold = Hold::Released;
            standing.state = if is_readable { State::Whole } else { State::Loading };
        });
        self.node.clients.close_all(Protocol::Carried);
        info!(epoch = target.epoch.0, master = target.master.name, "following");
        let following = replica::follow(self.node.clone(), Arc::clone(&self.applier), target.clone());
        control.link = Some((target, task::spawn("link", following)));
        Ok(())
    }

    /// Becomes master: everything that was appended is applied, then the door opens.
    async fn lead(&self, control: &mut Transitions, state: &ClusterState) -> Result<(), Refusal> {
        if control.is_over {
            return Err(Refusal::Over);
        }
        let epoch = Epoch(state.epoch);
        let standing = self.node.authority.standing();
        let promised = self.storage.promised_epoch();
        if epoch < promised {
            return Err(Refusal::Promised { asked: epoch, promised });
        }
        if standing.role != Role::Waiting && standing.epoch >= epoch {
            return Err(Refusal::Begun(standing.epoch));
        }
        let began = clock::boot_now();
        self.promise(epoch).await?;
        self.stop_link(control).await;
        control.has_led = true;
        match self.applier.condition() {
            Condition::Fresh | Condition::Whole => {}
            Condition::Loading => return Err(Refusal::Loading),
            Condition::Syncing | Condition::Lost => return Err(Refusal::NotWhole),
        }
        if matches!(standing.role, Role::Master | Role::Deposed) {
            self.end_mastership(control, epoch);
        } else if !self.applier.drain().await {
            return Err(Refusal::DoesNotFit);
        }
        control.end = End::No;
        let node = &self.node;
        node.engine.journal.begin_epoch(epoch);
        let floor = node.engine.journal.end();
        let me = tercet_proto::grpc::cluster::v1::IsrMember {
            name: node.identity.name.clone(),
            incarnation: node.identity.incarnation.clone(),
        };
        self.lease.begin(&state.cluster_id, epoch);
        let term = Term::new(me, state, node.counted(), floor, clock::boot_now());
        node.commit.begin(term, &node.engine.journal, &node.gate);
        if !node.is_ack_replicated() {
            node.gate.advance(floor);
        }
        *node.link.write() = Link::default();
        node.authority.change(|standing| {
            standing.role = Role::Master;
            standing.epoch = epoch;
            standing.hold = Hold::Released;
            standing.state = State::Whole;
            standing.isr = state.isr.len();
            standing.min_isr = state.min_isr as usize;
        });
        node.clients.close_all(Protocol::Carried);
        let took_ms = clock::boot_now().millis_since(began);
        info!(epoch = epoch.0, offset = floor.0, isr = state.isr.len(), took_ms, "this node is master");
        Ok(())
    }

    /// This node is master no more, and the sentinels need not wait for its lease to run out.
    fn give_up(&self, control: &mut Transitions, promised: Epoch, cluster_id: &str, epoch: Epoch) {
        self.end_mastership(control, promised);
        self.lease.resign(cluster_id, epoch);
    }

    /// Nothing more is executed or acknowledged under the present epoch. Who waits for an acknowledgement learns that
    /// its fate is unknown.
    fn end_mastership(&self, control: &mut Transitions, promised: Epoch) {
        let node = &self.node;
        let hold = node.authority.change(|standing| {
            standing.role = Role::Deposed;
            standing.hold
        });
        if control.end == End::No {
            // Nothing was executed since the hold, and the commit offset does not fall.
            let is_handed_over = hold == Hold::Held && control.drained == Some(node.engine.journal.end());
            control.end = if is_handed_over { End::HandedOver } else { End::Abrupt };
        }
        self.lease.end();
        node.commit.end();
        node.engine.journal.promise(promised);
        node.gate.depose(node.gate.commit());
        // All that was executed is applied.
        self.applier.was_master(node.engine.journal.end(), node.gate.commit());
        node.replicas.write().clear();
    }

    async fn stop_link(&self, control: &mut Transitions) {
        if let Some((_, link)) = control.link.take() {
            link.stop().await;
            replica::link_is_down(&self.node);
        }
    }

    /// Promises, durably, to follow nobody below `epoch`; not on this thread, which serves everybody's acknowledgements.
    async fn promise(&self, epoch: Epoch) -> Result<(), Refusal> {
        if epoch > self.storage.promised_epoch() {
            let storage = Arc::clone(&self.storage);
            let stored = tokio::task::spawn_blocking(move || storage.promise(epoch)).await;
            stored.map_err(|_| Refusal::Stopping)??;
        }
        self.node.engine.journal.promise(epoch);
        Ok(())
    }

    /// A sentinel asks for a promise and for what this node holds.
    pub(super) async fn fence(&self, request: &FenceRequest) -> FenceReply {
        let mut control = self.control.lock().await;
        let refused = self.try_fence(&mut control, request).await.err();
        if let Some(refusal) = &refused {
            info!(epoch = request.epoch, %refusal, "fence refused");
        }
        let (last_epoch, end) = self.node.engine.journal.position();
        FenceReply {
            accepted: refused.is_none(),
            refusal: refused.map(|refusal| refusal.to_string()).unwrap_or_default(),
            promised_epoch: self.storage.promised_epoch().0,
            incarnation: self.node.identity.incarnation.clone(),
            last_epoch: last_epoch.0,
            end_offset: end.0,
            complete: matches!(self.applier.condition(), Condition::Fresh | Condition::Whole),
            loading: self.applier.condition() == Condition::Loading,
        }
    }

    async fn try_fence(&self, control: &mut Transitions, request: &FenceRequest) -> Result<(), Refusal> {
        let epoch = Epoch(request.epoch);
        self.check_epoch(epoch)?;
        let (standing, promised) = (self.node.authority.standing(), self.storage.promised_epoch());
        if epoch < promised {
            return Err(Refusal::Promised { asked: epoch, promised });
        }
        if standing.role != Role::Waiting && epoch <= standing.epoch {
            return Err(Refusal::Begun(standing.epoch));
        }
        self.promise(epoch).await?;
        if standing.role == Role::Master {
            self.give_up(control, epoch, &request.cluster_id, standing.epoch);
        }
        self.stop_link(control).await;
        info!(epoch = epoch.0, offset = self.node.engine.journal.end().0, "fenced");
        Ok(())
    }

    /// A sentinel says that this node is the master of a state.
    pub(super) async fn promote(&self, state: ClusterState) -> Result<(), Refusal> {
        let epoch = Epoch(state.epoch);
        let named = state::part(&state, &self.node.identity) == Part::Master;
        if !named {
            return Err(Refusal::NotNamed { incarnation: self.node.identity.incarnation.clone() });
        }
        self.check(&state)?;
        self.storage.join_cluster(&state.cluster_id)?;
        let mut control = self.control.lock().await;
        let is_newer = self.is_newer(&state);
        if is_newer {
            self.know(&state);
        }
        let standing = self.node.authority.standing();
        if standing.role == Role::Master && standing.epoch == epoch {
            if is_newer {
                self.update_isr(&state);
            }
            return Ok(());
        }
        let led = self.lead(&mut control, &state).await;
        if let Err(refusal) = &led {
            warn!(epoch = epoch.0, %refusal, "promotion refused");
        }
        led
    }

    /// Holds new commands until `target` has everything; released after `hold_ms` unless a newer epoch comes.
    pub(super) async fn prepare_handover(self: &Arc<Self>, request: &PrepareHandoverRequest) -> PrepareHandoverReply {
        match self.hold(request).await {
            Ok(end) => PrepareHandoverReply { accepted: true, refusal: String::new(), end_offset: end.0 },
            Err(refusal) => {
                info!(target = request.target, %refusal, "hand-over refused");
                PrepareHandoverReply { accepted: false, refusal: refusal.to_string(), end_offset: 0 }
            }
        }
    }

    async fn hold(self: &Arc<Self>, request: &PrepareHandoverRequest) -> Result<Offset, Refusal> {
        let epoch = Epoch(request.epoch);
        let hold = Duration::from_millis(request.hold_ms).min(limits::HOLD);
        let deadline = tokio::time::Instant::now() + hold;
        let id = {
            let mut control = self.control.lock().await;
            let held = self.node.authority.change(|standing| {
                let is_master = standing.role == Role::Master && standing.epoch == epoch;
                if is_master {
                    standing.hold = Hold::Held;
                }
                is_master
            });
            if !held {
                return Err(Refusal::NotMaster(epoch));
            }
            control.holds += 1;
            control.drained = None;
            control.holds
        };
        // Nothing is appended any more.
        let end = self.node.engine.journal.end();
        self.node.engine.journal.publish();
        info!(epoch = epoch.0, target = request.target, offset = end.0, "hand-over: commands are held");
        // The other half is for the sentinels to agree.
        let caught_up = tokio::time::timeout(hold / 2, self.drained_to(&request.target, end)).await.is_ok();
        if caught_up {
            let mut control = self.control.lock().await;
            if control.holds == id {
                control.drained = Some(end);
            }
        }
        let cluster = Arc::clone(self);
        let release = async move {
            if caught_up {
                tokio::time::sleep_until(deadline).await;
            }
            cluster.release(epoch, id).await;
        };
        if caught_up {
            task::spawn("release", release).detach();
            Ok(end)
        } else {
            release.await;
            Err(Refusal::TargetBehind { target: request.target.clone(), hold_ms: request.hold_ms })
        }
    }

    /// Until everything is committed, so that whoever waits has his answer, and `target` holds it.
    async fn drained_to(&self, target: &str, end: Offset) {
        while self.node.gate.commit() < end || !self.node.commit.holds(target, end) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    async fn release(&self, epoch: Epoch, id: u64) {
        let mut control = self.control.lock().await;
        if control.holds == id {
            control.drained = None;
            self.node.authority.change(|standing| {
                if standing.release(epoch) {
                    warn!(epoch = epoch.0, "hand-over: nobody took over, commands go on");
                }
            });
        }
    }

    /// There has been no master for long, and this node holds a whole copy: it answers reads with what is committed.
    pub(super) async fn read_without_master(&self) {
        let control = self.control.lock().await;
        if control.has_led || !self.applier.is_readable() {
            return;
        }
        self.node.authority.change(|standing| {
            if matches!(standing.role, Role::Waiting | Role::Replica) && standing.state == State::Loading {
                standing.state = State::Whole;
                info!("there is no master: this node answers reads from its own copy");
            }
        });
    }

    /// The lease has been out for long.
    pub(super) async fn lapse(&self, epoch: Epoch) {
        let _control = self.control.lock().await;
        self.node.authority.change(|standing| {
            if standing.role == Role::Master && standing.epoch == epoch {
                standing.role = Role::Deposed;
            }
        });
    }

    /// The lease came back, and nobody else became master meanwhile.
    pub(super) async fn recover(&self, epoch: Epoch) {
        let _control = self.control.lock().await;
        if self.storage.promised_epoch() > epoch {
            return;
        }
        self.node.authority.change(|standing| {
            if standing.role == Role::Deposed && standing.epoch == epoch {
                standing.role = Role::Master;
                info!(epoch = epoch.0, "the lease came back, this node goes on as master");
            }
        });
    }

    /// This node stops: it executes nothing more, and says so.
    pub(super) async fn step_down(&self) {
        let mut control = self.control.lock().await;
        let standing = self.node.authority.standing();
        if matches!(standing.role, Role::Master | Role::Deposed) {
            self.give_up(&mut control, standing.epoch, &self.storage.cluster_id().unwrap_or_default(), standing.epoch);
        }
    }
}
