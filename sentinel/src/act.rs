//! Carries a plan out: fence, commit, promote, wait until the new master answers. Runs at the Raft leader only.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tercet_proto::grpc::peer::v1::{FenceRequest, PrepareHandoverRequest, PromoteRequest};
use tracing::{info, warn};

use crate::{
    clock::{Moment, millis},
    events::Instance,
    limits,
    plan::{self, Fenced, Plan, Rule, Waiting},
    raft,
    shared::Shared,
    simulated::Simulated,
    state::{Address, Answer, ClusterState, Command, Failover},
    timeline::{Prelude, Timeline},
};

/// What became of one attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The new mastership is committed.
    Promoted,
    /// Nothing can be done yet.
    Waiting(Waiting),
    /// Nobody who may lead answered.
    NoCandidate,
    /// The state changed under the plan, or the outcome is unknown: look again.
    LookAgain,
}

/// Whether this attempt says what it does: the tenth one of the same failover does not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Voice {
    Loud,
    Quiet,
}

/// Why no lease of the master is left when its successor is agreed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sureness {
    /// They have all run out.
    LeasesOver,
    /// It is heard: it steps down when it is told to, and says so.
    ByItsWord,
}

/// Gives the cluster a master in place of the one of `state`.
pub(crate) async fn replace_master(
    shared: Arc<Shared>,
    state: Arc<ClusterState>,
    sureness: Sureness,
    voice: Voice,
    prelude: Option<Prelude>,
) -> Outcome {
    match plan::plan(&state, &shared.nodes.observations(), Moment::now()) {
        Plan::Wait(waiting) => {
            if matches!(waiting, Waiting::ForMembers(_)) && voice == Voice::Loud {
                announce_attempt(&shared, state.epoch + 1);
                shared.events.about("-failover-abort-no-good-slave", Instance::Master, &shared.master_name());
            }
            Outcome::Waiting(waiting)
        }
        Plan::Fence { targets, rule, .. }
            if sureness == Sureness::ByItsWord && (rule != Rule::Failover || targets.contains(&state.master)) =>
        {
            // Nobody else could lead.
            Outcome::LookAgain
        }
        Plan::Fence { epoch, targets, rule } => {
            fence_and_promote(&shared, &state, (epoch, targets, rule), sureness, voice, prelude.as_ref()).await
        }
    }
}

/// Rule 9 with an operator who goes on without the nodes that have not reported. Only at the Raft leader.
///
/// # Errors
/// The text of the RESP error.
pub(crate) async fn recover(shared: &Arc<Shared>, node: Option<&str>) -> Result<(), String> {
    let began = Instant::now();
    // The watchdog tries again and again; between two tries it is our turn.
    let _guard = loop {
        match shared.begin_failover() {
            Some(guard) => break guard,
            None if began.elapsed() > limits::ACTIVATION_TIMEOUT => {
                return Err("INPROG Failover already in progress".into());
            }
            None => tokio::time::sleep(limits::TICK).await,
        }
    };
    if shared.status.lock().stuck.is_none() {
        return Err("ERR there is a master, or one is found without losing anything".into());
    }
    let state = shared.state();
    let seen = shared.nodes.observations();
    let missing = plan::unreported(&state, &seen);
    match plan::forced(&state, &seen, node).map_err(|why| format!("ERR {why}"))? {
        Plan::Wait(_) => Err("ERR no node has reported".into()),
        Plan::Fence { epoch, targets, rule } => {
            warn!(epoch, missing = missing.join(", "), "as ordered: what only the missing nodes hold is given up");
            let plan = (epoch, targets, rule);
            match fence_and_promote(shared, &state, plan, Sureness::LeasesOver, Voice::Loud, None).await {
                Outcome::Promoted => Ok(()),
                Outcome::Waiting(_) | Outcome::NoCandidate => Err("NOGOODSLAVE No suitable replica to promote".into()),
                Outcome::LookAgain => Err("ERR the recovery was not agreed on; try again".into()),
            }
        }
    }
}

async fn fence_and_promote(
    shared: &Arc<Shared>,
    state: &Arc<ClusterState>,
    (epoch, targets, rule): (u64, Vec<String>, Rule),
    sureness: Sureness,
    voice: Voice,
    prelude: Option<&Prelude>,
) -> Outcome {
    let began = Instant::now();
    let mut timeline = Timeline::new(kind_of(rule), epoch, &state.master, prelude);
    if rule != Rule::First && voice == Voice::Loud {
        announce_attempt(shared, epoch);
    }
    shared.crash_if(Simulated::CrashAfterElection).await;
    shared.set_failover_state(Some("select_slave"));
    let fenced = fence_all(shared, state, epoch, targets, voice).await;
    timeline.ended("fenced");
    let Some(choice) = plan::choose(state, rule, &fenced) else {
        if voice == Voice::Loud && rule != Rule::First {
            shared.events.about("-failover-abort-no-good-slave", Instance::Master, &shared.master_name());
        }
        return Outcome::NoCandidate;
    };
    if sureness == Sureness::ByItsWord && depose(shared, state, epoch).await == Deposed::No {
        return Outcome::LookAgain;
    }
    let candidate = state.member(&choice.master).map(|member| member.resp.clone()).unwrap_or_default();
    if rule != Rule::First {
        announce_candidate(shared, &candidate);
    }
    let master = choice.master.clone();
    let command = Command::Promote {
        expect_epoch: state.epoch,
        expect_isr_version: state.isr_version,
        epoch,
        master: choice.master,
        isr: choice.isr,
    };
    if let Err(outcome) = propose(shared, command).await {
        if voice == Voice::Loud && rule != Rule::First {
            shared.events.about("-failover-abort-not-elected", Instance::Master, &shared.master_name());
        }
        return outcome;
    }
    shared.crash_if(Simulated::CrashAfterPromotion).await;
    timeline.ended("committed");
    let committed = began.elapsed();
    if activate(shared, &master, epoch).await {
        let (committed_ms, activated_ms) = (millis(committed), millis(began.elapsed()));
        info!(epoch, master, committed_ms, activated_ms, ?rule, "the new master answers");
        timeline.ended("activated");
        if rule != Rule::First {
            announce_end(shared, &candidate);
            record(shared, timeline.finish(&master));
        }
    }
    Outcome::Promoted
}

fn kind_of(rule: Rule) -> &'static str {
    match rule {
        Rule::First => "first master",
        Rule::Failover => "failover",
        Rule::Recovery => "recovery",
        Rule::Forced => "forced recovery",
    }
}

/// Has everybody know how it went; nothing waits for it, and nothing depends on it.
fn record(shared: &Arc<Shared>, failover: Failover) {
    let shared = Arc::clone(shared);
    tokio::spawn(async move {
        if let Err(error) = shared.consensus.propose(Command::RecordFailover { failover }).await {
            info!(%error, "how the failover went is not noted");
        }
    });
}

/// A planned change of the master, without an error to any client. Only at the Raft leader.
///
/// # Errors
/// The text of the RESP error.
pub(crate) async fn hand_over(shared: &Arc<Shared>) -> Result<(), String> {
    let Some(_guard) = shared.begin_failover() else { return Err("INPROG Failover already in progress".into()) };
    let state = shared.state();
    let seen = shared.nodes.observations();
    let no_good_slave = || "NOGOODSLAVE No suitable replica to promote".to_owned();
    if shared.suspects(state.epoch, Moment::now()) {
        return Err("INPROG Failover already in progress".into());
    }
    let target = plan::handover_target(&state, &seen).ok_or_else(no_good_slave)?;
    let mut master = shared.nodes.client(&state.master, &state).ok_or_else(no_good_slave)?;
    let candidate = state.member(&target).map(|member| member.resp.clone()).unwrap_or_default();
    let began = Instant::now();
    let epoch = plan::next_epoch(state.epoch, &seen);
    let mut timeline = Timeline::new("hand-over", epoch, &state.master, None);
    announce_attempt(shared, epoch);
    announce_candidate(shared, &candidate);
    let hold_ms = millis(limits::HANDOVER_HOLD);
    let request = PrepareHandoverRequest {
        cluster_id: state.cluster_id.clone(),
        epoch: state.epoch,
        target: target.clone(),
        hold_ms,
    };
    let reply = match tokio::time::timeout(limits::HANDOVER_HOLD, master.prepare_handover(request)).await {
        Err(_) => return Err(format!("ERR the master did not hold its writes within {hold_ms} ms")),
        Ok(Err(status)) => return Err(format!("ERR the master could not be asked: {}", status.message())),
        Ok(Ok(reply)) => reply.into_inner(),
    };
    if !reply.accepted {
        warn!(target, reason = reply.refusal, "the master refuses to hand over");
        return Err(format!("NOGOODSLAVE No suitable replica to promote: {}", reply.refusal));
    }
    timeline.ended("held");
    let command = Command::Promote {
        expect_epoch: state.epoch,
        expect_isr_version: state.isr_version,
        epoch,
        master: target.clone(),
        isr: state.isr.clone(),
    };
    if propose(shared, command).await.is_err() {
        shared.events.about("-failover-abort-not-elected", Instance::Master, &shared.master_name());
        return Err("ERR the hand-over was not agreed on; try again".into());
    }
    timeline.ended("committed");
    if activate(shared, &target, epoch).await {
        info!(epoch, master = target, took_ms = millis(began.elapsed()), "handed over");
        timeline.ended("activated");
        announce_end(shared, &candidate);
        record(shared, timeline.finish(&target));
        Ok(())
    } else {
        Err(format!("ERR {target} was promoted and does not answer as master yet"))
    }
}

/// The master goes on under an epoch that every node can follow.
pub(crate) async fn raise_epoch(shared: Arc<Shared>, state: Arc<ClusterState>) -> Outcome {
    let epoch = plan::next_epoch(state.epoch, &shared.nodes.observations());
    warn!(
        from = state.epoch,
        to = epoch,
        master = state.master,
        "a node promised a higher epoch, the master goes on under it"
    );
    let command = Command::Promote {
        expect_epoch: state.epoch,
        expect_isr_version: state.isr_version,
        epoch,
        master: state.master.clone(),
        isr: state.isr.clone(),
    };
    if let Err(outcome) = propose(&shared, command).await {
        return outcome;
    }
    activate(&shared, &state.master, epoch).await;
    Outcome::Promoted
}

/// Whether a master has stepped down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Deposed {
    Yes,
    No,
}

/// Has the master of `state` promise `epoch`: from its answer on it executes and acknowledges nothing more under its own,
/// and it gives its lease up. Its heirs are fenced already, so that it steps down for somebody. A change of the ISR that it
/// brought about before makes the promotion fail, as always.
async fn depose(shared: &Shared, state: &ClusterState, epoch: u64) -> Deposed {
    let Some(process) = state.master_process() else { return Deposed::No };
    match fence(shared, state, epoch, process.name.clone()).await {
        Ok(fenced) if fenced.incarnation == process.incarnation => {
            info!(epoch, master = process.name, "the master has stepped down");
            Deposed::Yes
        }
        Ok(_) => Deposed::No,
        Err(reason) => {
            warn!(epoch, master = process.name, reason, "the master does not step down: its lease has to run out");
            Deposed::No
        }
    }
}

/// Asks all at once to promise `epoch`; who does not answer in time, refuses, or is another process does not count.
async fn fence_all(
    shared: &Arc<Shared>,
    state: &Arc<ClusterState>,
    epoch: u64,
    targets: Vec<String>,
    voice: Voice,
) -> Vec<Fenced> {
    let fence = async |name: String| match fence(shared, state, epoch, name.clone()).await {
        Ok(fenced) => Some(fenced),
        Err(reason) => {
            if voice == Voice::Loud {
                warn!(node = name, epoch, reason, "the node is not fenced");
            }
            None
        }
    };
    futures::future::join_all(targets.into_iter().map(fence)).await.into_iter().flatten().collect()
}

async fn fence(shared: &Shared, state: &ClusterState, epoch: u64, name: String) -> Result<Fenced, String> {
    let mut client = shared.nodes.client(&name, state).ok_or("its address is not known")?;
    let request = FenceRequest { cluster_id: state.cluster_id.clone(), epoch };
    let reply = tokio::time::timeout(limits::FENCE_TIMEOUT, client.fence(request)).await;
    let reply = reply.map_err(|_| "no answer in time")?.map_err(|status| status.message().to_owned())?.into_inner();
    if !reply.accepted {
        return Err(format!("refused ({}), it has promised {}", reply.refusal, reply.promised_epoch));
    }
    if reply.loading {
        return Err("it reads its disk".into());
    }
    let (incarnation, complete) = (reply.incarnation, reply.complete);
    Ok(Fenced { name, incarnation, last_epoch: reply.last_epoch, end_offset: reply.end_offset, complete })
}

async fn propose(shared: &Shared, command: Command) -> Result<(), Outcome> {
    match shared.consensus.propose(command).await {
        Ok(Answer::Done) => Ok(()),
        Ok(Answer::Conflict(reason)) => {
            info!(reason, "the promotion was overtaken");
            Err(Outcome::LookAgain)
        }
        Err(
            error @ (raft::Error::NotLeader { .. }
            | raft::Error::Timeout(_)
            | raft::Error::Stopped(_)
            | raft::Error::Refused(_)),
        ) => {
            warn!(%error, "the promotion was not agreed on");
            Err(Outcome::LookAgain)
        }
    }
}

/// Tells the new master, again and again, until it answers as master; gives up when it is suspected itself, or another
/// epoch has begun.
async fn activate(shared: &Arc<Shared>, name: &str, epoch: u64) -> bool {
    let began = Instant::now();
    await_end_of_lower_leases(shared, epoch).await;
    loop {
        let changed = shared.nodes.changed.notified();
        let state = shared.state();
        if state.epoch != epoch && state.epoch > epoch {
            return false;
        }
        let incarnation = state.master_process().map(|process| process.incarnation.clone()).unwrap_or_default();
        if shared.nodes.get(name).is_some_and(|node| node.is_master_of(epoch, &incarnation)) {
            return true;
        }
        if shared.suspects(epoch, Moment::now()) || began.elapsed() > limits::ACTIVATION_TIMEOUT {
            warn!(epoch, master = name, "the new master does not take over");
            shared.events.about("-failover-abort-slave-timeout", Instance::Master, &shared.master_name());
            return false;
        }
        let accepted = promote(shared, &state, name).await;
        let pause = if accepted { limits::SUSPEND_TIMEOUT } else { limits::SUSPEND_RETRY };
        drop(tokio::time::timeout(pause, changed).await);
    }
}

async fn promote(shared: &Shared, state: &ClusterState, name: &str) -> bool {
    let Some(mut client) = shared.nodes.client(name, state) else { return false };
    let request = PromoteRequest { state: Some(state.into()) };
    match tokio::time::timeout(limits::PROMOTE_TIMEOUT, client.promote(request)).await {
        Ok(Ok(reply)) => {
            let reply = reply.into_inner();
            if !reply.accepted {
                warn!(node = name, epoch = state.epoch, reason = reply.refusal, "promotion refused");
            }
            reply.accepted
        }
        Ok(Err(status)) => {
            warn!(node = name, epoch = state.epoch, reason = status.message(), "the promotion did not arrive");
            false
        }
        Err(_) => {
            warn!(node = name, epoch = state.epoch, "no answer to the promotion in time");
            false
        }
    }
}

/// After a hand-over the old master gives its lease up within moments; should it die instead, its lease runs out.
async fn await_end_of_lower_leases(shared: &Shared, epoch: u64) {
    let began = Instant::now();
    while began.elapsed() < limits::lease_bound(shared.lease)
        && !shared.leases.lock().ledger.is_clear_below(epoch, Moment::now())
    {
        tokio::time::sleep(LEASE_POLL).await;
    }
}

const LEASE_POLL: Duration = Duration::from_millis(2);

fn announce_attempt(shared: &Shared, epoch: u64) {
    let master = shared.master_name();
    let events = &shared.events;
    events.publish("+new-epoch", epoch.to_string());
    events.about("+try-failover", Instance::Master, &master);
    events.publish("+vote-for-leader", format!("{} {epoch}", shared.identity.sentinel_id));
    events.about("+elected-leader", Instance::Master, &master);
    events.about("+failover-state-select-slave", Instance::Master, &master);
}

/// Nothing is said of a master that comes back in its own place.
fn announce_candidate(shared: &Shared, candidate: &Address) {
    let master = shared.master_name();
    if *candidate == master.address {
        return;
    }
    let slave = Instance::Slave(candidate);
    shared.events.about("+selected-slave", slave, &master);
    shared.events.about("+failover-state-send-slaveof-noone", slave, &master);
    shared.events.about("+failover-state-wait-promotion", slave, &master);
    shared.set_failover_state(Some("wait_promotion"));
}

fn announce_end(shared: &Shared, candidate: &Address) {
    let master = shared.master_name();
    if *candidate != master.address {
        shared.events.about("+promoted-slave", Instance::Slave(candidate), &master);
    }
    shared.events.about("+failover-state-reconf-slaves", Instance::Master, &master);
    // Lettuce looks for the event without a sign, Redis' documentation writes it with one.
    shared.events.about("failover-end", Instance::Master, &master);
    shared.events.about("+failover-end", Instance::Master, &master);
    shared.set_failover_state(Some("update_config"));
}
