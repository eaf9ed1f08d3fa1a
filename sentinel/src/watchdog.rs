//! The one task that watches the master: suspicion, the question to the others, failover.
//!
//! ```text
//!   heard --suspicion--> asking --majority--> agreed --leases over, we lead--> replace_master
//!     ^                    |                     |                                  |
//!     +----- heard again --+---------------------+         a newer epoch <----------+
//! ```
//! A master that is heard and of no use is told to step down, once: then its leases need not run out.

use std::{sync::Arc, time::Instant};

use tercet_proto::grpc::sentinel::v1::SuspendRequest;
use tokio::{
    sync::mpsc,
    task::{JoinHandle, JoinSet},
    time::MissedTickBehavior,
};
use tracing::{info, warn};

use crate::{
    act::{self, Outcome, Sureness, Voice},
    clock::{Moment, millis},
    detect::{Grounds, Poll, Probe, Reason, Report, Subject, Verdict},
    herald::{Doubt, Herald},
    limits,
    plan::{self, Waiting},
    raft::Leadership,
    shared::Shared,
    state::{ClusterState, Command, Member},
    timeline::Prelude,
};

/// A suspicion, from the first doubt until the master is heard again or replaced.
#[derive(Debug)]
struct Episode {
    subject: Subject,
    grounds: Grounds,
    prelude: Prelude,
    poll: Poll,
    asking: JoinSet<()>,
    /// Sentinels with a question under way.
    asked: Vec<u64>,
    /// A master that is of no use has been told once to step down.
    is_told: bool,
}

#[derive(Debug)]
struct Watchdog {
    shared: Arc<Shared>,
    episode: Option<Episode>,
    acting: Option<JoinHandle<Outcome>>,
    registering: Option<JoinHandle<()>>,
    probing: Option<JoinHandle<()>>,
    answers: mpsc::Receiver<(u64, u64, Option<Report>)>,
    answer_sender: mpsc::Sender<(u64, u64, Option<Report>)>,
    not_before: Moment,
    last_loud: Option<(u64, Instant)>,
    last_warning: Option<Instant>,
    seen_epoch: Option<u64>,
    /// The version of their set.
    sentinels: Option<u64>,
    herald: Herald,
    /// When a master with a failed disk was asked last to hand over.
    asked_to_hand_over: Option<Instant>,
    /// Since when somebody has promised more than the current epoch.
    stale_since: Option<Moment>,
    leadership: Leadership,
}

/// Runs until the sentinel stops.
pub(crate) async fn run(shared: Arc<Shared>) {
    let mut state = shared.consensus.watch_applied();
    let mut leadership = shared.consensus.leadership();
    let mut ticker = tokio::time::interval(limits::TICK);
    ticker.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (answer_sender, answers) = mpsc::channel(limits::MOST_SENTINELS * 4);
    let mut watchdog = Watchdog {
        shared: Arc::clone(&shared),
        episode: None,
        acting: None,
        registering: None,
        probing: None,
        answers,
        answer_sender,
        not_before: Moment::default(),
        last_loud: None,
        last_warning: None,
        seen_epoch: None,
        sentinels: None,
        herald: Herald::new(Arc::clone(&shared)),
        asked_to_hand_over: None,
        stale_since: None,
        leadership: Leadership::default(),
    };
    loop {
        let node_news = shared.nodes.changed.notified();
        watchdog.leadership = *leadership.borrow_and_update();
        let current = Arc::clone(&state.borrow_and_update());
        watchdog.look(&current, Moment::now());
        tokio::select! {
            _ = ticker.tick() => {}
            () = shared.wake.notified() => {}
            () = node_news => {}
            Some((sentinel, epoch, report)) = watchdog.answers.recv() => watchdog.answered(sentinel, epoch, report),
            outcome = finished(&mut watchdog.acting) => watchdog.acted(&current, outcome),
            changed = state.changed() => if changed.is_err() { return },
            changed = leadership.changed() => if changed.is_err() { return },
        }
    }
}

/// The end of the failover under way; never, if there is none.
async fn finished(acting: &mut Option<JoinHandle<Outcome>>) -> Outcome {
    match acting {
        Some(task) => {
            let outcome = task.await;
            *acting = None;
            outcome.unwrap_or(Outcome::LookAgain)
        }
        None => std::future::pending().await,
    }
}

impl Watchdog {
    fn look(&mut self, state: &Arc<ClusterState>, now: Moment) {
        self.follow(state, now);
        let verdict = self.listen(state, now);
        let tilt = self.shared.leases.lock().hearing.tilt(now);
        self.herald.tilt(tilt);
        self.suspect(state, verdict, now);
        self.ask(state, now);
        if self.leadership.is_us && !state.cluster_id.is_empty() {
            self.register_members(state);
            self.fail_over(state, now);
        }
        if self.acting.is_none() && !self.shared.is_failing_over() {
            let doubt = if self.episode.is_some() { Doubt::Suspected } else { Doubt::None };
            self.herald.announce(state, self.leadership, doubt, now);
        }
        self.herald.tell_of_replicas(state);
        self.herald.watch_replicas(state, now);
    }

    /// Listens for the master of the newest state.
    fn follow(&mut self, state: &ClusterState, now: Moment) {
        self.shared.leases.lock().follow(state, now);
        if self.sentinels.replace(state.sentinels_version) != Some(state.sentinels_version) {
            // Who is asked, and how many make a majority, has changed.
            if let Some(episode) = &mut self.episode {
                episode.poll = Poll::new(self.shared.sentinel_count(), self.shared.lease);
                episode.asked.clear();
            }
        }
        if !self.shared.is_member(state) {
            // No master renews its lease here.
            self.episode = None;
            self.shared.leases.lock().hearing.begin_anew(now);
        }
        let before = self.seen_epoch.replace(state.epoch);
        if before == Some(state.epoch) {
            return;
        }
        self.episode = None;
        self.shared.status.lock().stuck = None;
        self.probing = None;
        self.not_before = now;
        if before.is_some() && state.epoch > 1 {
            info!(epoch = state.epoch, master = state.master, "a new mastership begins");
            self.herald.mourn(now);
            if !self.shared.is_failing_over() {
                self.shared.events.publish("+new-epoch", state.epoch.to_string());
            }
        }
    }

    /// The detector's look, and a probe if the master's stream is gone. One that is heard may be of no use.
    fn listen(&mut self, state: &ClusterState, now: Moment) -> Verdict {
        let unfit = self.shared.fitness.lock().look(state, &self.shared.nodes.observations(), now);
        let nodes = self.shared.nodes.all();
        let mut leases = self.shared.leases.lock();
        if let Some(subject) = leases.hearing.subject().cloned() {
            if let Some(node) = nodes.get(&subject.name).filter(|node| node.is_connected()) {
                leases.hearing.seen_incarnation(&subject.name, &node.status.incarnation);
            }
            let is_idle = self.probing.as_ref().is_none_or(JoinHandle::is_finished);
            if leases.hearing.wants_probe() && is_idle {
                self.probing = Some(tokio::spawn(probe(Arc::clone(&self.shared), subject)));
            }
        }
        match (leases.hearing.tick(now), unfit) {
            (Verdict::Heard, Some(unfit)) => Verdict::Suspected(Reason::Unfit(unfit)),
            (verdict, _) => verdict,
        }
    }

    fn suspect(&mut self, state: &ClusterState, verdict: Verdict, now: Moment) {
        match verdict {
            Verdict::Suspected(reason) if self.episode.is_none() => {
                let Some(subject) = self.shared.leases.lock().hearing.subject().cloned() else { return };
                warn!(epoch = subject.epoch, master = subject.name, ?reason, "the master is suspected");
                let poll = Poll::new(self.shared.sentinel_count(), self.shared.lease);
                let grounds = grounds(reason);
                let prelude = Prelude { suspected: now, agreed: None, reason: format!("{reason:?}") };
                let (asking, asked) = (JoinSet::new(), Vec::new());
                self.episode = Some(Episode { subject, grounds, prelude, poll, asking, asked, is_told: false });
                self.herald.suspected(state, reason, now);
            }
            Verdict::Heard if self.episode.is_some() && self.acting.is_none() => {
                self.episode = None;
                self.shared.status.lock().stuck = None;
                info!(epoch = state.epoch, master = state.master, "the master is heard again");
                self.herald.well_again(state);
            }
            Verdict::Suspected(reason) => {
                if let Some(episode) = &mut self.episode {
                    episode.grounds = grounds(reason);
                }
            }
            Verdict::Heard => {}
        }
    }

    /// Asks every sentinel, ourselves included, to suspend the epoch, until a majority has.
    fn ask(&mut self, state: &ClusterState, now: Moment) {
        let Some(episode) = &mut self.episode else { return };
        let epoch = episode.subject.epoch;
        let own = self.shared.identity.raft_id;
        // A master that is heard keeps our grants until the others agree that it is of no use.
        let is_our_turn = episode.grounds == Grounds::Unheard || episode.poll.lacks_one(now);
        if episode.poll.should_ask(own, now) && is_our_turn {
            let grant_age = self.shared.leases.lock().ledger.suspend(epoch, now);
            episode.poll.record(own, Report { asked: now, answered: now, grant_age });
        }
        for (raft_id, peer) in self.shared.others(state) {
            if episode.poll.should_ask(raft_id, now) && !episode.asked.contains(&raft_id) {
                episode.asked.push(raft_id);
                let request = SuspendRequest {
                    cluster_id: state.cluster_id.clone(),
                    epoch,
                    sentinel: self.shared.identity.name.clone(),
                    unfit: episode.grounds == Grounds::Unfit,
                };
                let (mut client, answers) = (peer.control(), self.answer_sender.clone());
                episode.asking.spawn(async move {
                    let asked = Moment::now();
                    let reply = tokio::time::timeout(limits::SUSPEND_TIMEOUT, client.suspend(request)).await;
                    let answered = Moment::now();
                    let report = match reply {
                        Ok(Ok(reply)) if reply.get_ref().suspended => {
                            let grant_age = std::time::Duration::from_millis(reply.get_ref().last_grant_age_ms);
                            Some(Report { asked, answered, grant_age })
                        }
                        Ok(_) | Err(_) => None,
                    };
                    if report.is_none() {
                        tokio::time::sleep(limits::SUSPEND_RETRY).await;
                    }
                    // Nobody listens any more when the sentinel stops.
                    let _ = answers.send((raft_id, epoch, report)).await;
                });
            }
        }
        while episode.asking.try_join_next().is_some() {}
        if episode.poll.reaches_majority(now) {
            episode.prelude.agreed.get_or_insert(now);
            let agreed = episode.poll.agreed(now);
            self.herald.agreed(agreed, now);
        }
    }

    fn answered(&mut self, sentinel: u64, epoch: u64, report: Option<Report>) {
        let Some(episode) = self.episode.as_mut().filter(|episode| episode.subject.epoch == epoch) else { return };
        episode.asked.retain(|&asked| asked != sentinel);
        let has_vote = self.shared.state().sentinels.iter().any(|one| one.raft_id == sentinel);
        if let Some(report) = report.filter(|_| has_vote) {
            episode.poll.record(sentinel, report);
        }
    }

    /// Starts a failover as soon as no lease can be valid, or none will be once the master has stepped down; or the choice
    /// of the first master.
    fn fail_over(&mut self, state: &Arc<ClusterState>, now: Moment) {
        if self.acting.is_some() || now < self.not_before {
            return;
        }
        let Some(sureness) = self.sureness(state, now) else {
            self.relieve_failed_disk(now);
            return self.mend_promises(state, now);
        };
        self.stale_since = None;
        let Some(guard) = self.shared.begin_failover() else { return };
        if let Some(episode) = &mut self.episode {
            episode.is_told |= sureness == Sureness::ByItsWord;
        }
        let is_loud = self.last_loud.is_none_or(|(epoch, at)| epoch != state.epoch || at.elapsed() > limits::LOG_AGAIN);
        let voice = if is_loud { Voice::Loud } else { Voice::Quiet };
        if is_loud {
            self.last_loud = Some((state.epoch, Instant::now()));
        }
        let (shared, state) = (Arc::clone(&self.shared), Arc::clone(state));
        let prelude = self.episode.as_ref().map(|episode| episode.prelude.clone());
        self.acting = Some(tokio::spawn(async move {
            let outcome = act::replace_master(shared, state, sureness, voice, prelude).await;
            drop(guard);
            outcome
        }));
    }

    /// A failover is due, and this is why no lease will be left.
    fn sureness(&self, state: &ClusterState, now: Moment) -> Option<Sureness> {
        let Some(episode) = &self.episode else { return (state.epoch == 0).then_some(Sureness::LeasesOver) };
        let end = episode.poll.lease_ends(now)?;
        if now >= end {
            return Some(Sureness::LeasesOver);
        }
        (episode.grounds == Grounds::Unfit && !episode.is_told).then_some(Sureness::ByItsWord)
    }

    /// A master whose disk has failed hands over while it still can; a failover comes if that does not help.
    fn relieve_failed_disk(&mut self, now: Moment) {
        let since = self.shared.fitness.lock().disk_failed_since();
        let is_lasting = since.is_some_and(|since| now.since(since) >= limits::FAILED_DISK_PATIENCE);
        let is_asked = self.asked_to_hand_over.is_some_and(|at| at.elapsed() < limits::FAILED_DISK_RETRY);
        if !is_lasting || is_asked || self.episode.is_some() || self.shared.is_failing_over() {
            return;
        }
        self.asked_to_hand_over = Some(Instant::now());
        warn!("the disk of the master has failed: it is asked to hand over");
        let shared = Arc::clone(&self.shared);
        self.acting = Some(tokio::spawn(async move {
            match act::hand_over(&shared).await {
                Ok(()) => Outcome::Promoted,
                Err(error) => {
                    warn!(error, "the master with the failed disk does not hand over");
                    Outcome::LookAgain
                }
            }
        }));
    }

    /// The master is well and somebody cannot follow it, for longer than a promotion takes to be known.
    fn mend_promises(&mut self, state: &Arc<ClusterState>, now: Moment) {
        let is_stale =
            self.episode.is_none() && plan::stale_promise(state, &self.shared.nodes.observations()).is_some();
        if !is_stale {
            self.stale_since = None;
            return;
        }
        let since = *self.stale_since.get_or_insert(now);
        if now.since(since) < limits::STALE_PROMISE {
            return;
        }
        self.stale_since = None;
        let Some(guard) = self.shared.begin_failover() else { return };
        let (shared, state) = (Arc::clone(&self.shared), Arc::clone(state));
        self.acting = Some(tokio::spawn(async move {
            let outcome = act::raise_epoch(shared, state).await;
            drop(guard);
            outcome
        }));
    }

    fn acted(&mut self, state: &ClusterState, outcome: Outcome) {
        self.shared.status.lock().stuck = match &outcome {
            Outcome::Waiting(Waiting::ForMembers(missing)) => Some(missing.clone()),
            Outcome::NoCandidate if state.epoch > 0 => Some(plan::unreported(state, &self.shared.nodes.observations())),
            Outcome::NoCandidate | Outcome::Promoted | Outcome::LookAgain | Outcome::Waiting(Waiting::ForNodes) => None,
        };
        let is_unfit = self.episode.as_ref().is_some_and(|episode| episode.grounds == Grounds::Unfit);
        if is_unfit && matches!(outcome, Outcome::NoCandidate | Outcome::Waiting(_)) {
            self.shared.fitness.lock().put_off(Moment::now());
        }
        match outcome {
            Outcome::Promoted => {}
            Outcome::LookAgain => self.not_before = Moment::now().after(limits::TICK),
            Outcome::NoCandidate | Outcome::Waiting(_) => {
                self.not_before =
                    Moment::now().after(if state.epoch == 0 { limits::TICK } else { limits::FAILOVER_RETRY });
                if self.last_warning.is_none_or(|at| at.elapsed() > limits::LOG_AGAIN) {
                    self.last_warning = Some(Instant::now());
                    match outcome {
                        Outcome::Waiting(Waiting::ForMembers(missing)) => warn!(
                            epoch = state.epoch,
                            missing = missing.join(", "),
                            "no process of the ISR lives; waiting until every one of its nodes has reported"
                        ),
                        Outcome::Waiting(Waiting::ForNodes) => info!("waiting for nodes to choose the first master"),
                        Outcome::NoCandidate | Outcome::Promoted | Outcome::LookAgain => {
                            warn!(epoch = state.epoch, "no in-sync replica can be reached; there is no master");
                        }
                    }
                }
            }
        }
    }

    /// Brings members that answered into the state.
    fn register_members(&mut self, state: &ClusterState) {
        if self.registering.as_ref().is_some_and(|task| !task.is_finished()) {
            return;
        }
        let nodes = self.shared.nodes.all();
        let observed = nodes.values().filter(|node| node.is_connected()).filter_map(|node| node.status.member.clone());
        let new = observed.map(Member::from).find(|member| state.member(&member.name) != Some(member));
        let Some(member) = new else { return };
        if let Some(known) = state.member(&member.name).filter(|known| known.node_id != member.node_id) {
            warn!(node = member.name, was = known.node_id, is = member.node_id, "the node has another data directory");
        }
        let shared = Arc::clone(&self.shared);
        self.registering = Some(tokio::spawn(async move {
            let name = member.name.clone();
            if let Err(error) = shared.consensus.propose(Command::RegisterMember { member }).await {
                warn!(node = name, %error, "the node could not be registered yet");
                tokio::time::sleep(limits::FAILOVER_RETRY).await;
            }
        }));
    }
}

fn grounds(reason: Reason) -> Grounds {
    match reason {
        Reason::Unfit(_) => Grounds::Unfit,
        Reason::Silent | Reason::Refused | Reason::Unreachable | Reason::Restarted | Reason::Resigned => {
            Grounds::Unheard
        }
    }
}

/// One TCP connect to the master's peer port; its answer goes to the detector.
async fn probe(shared: Arc<Shared>, subject: Subject) {
    let Some(address) = shared.nodes.address(&subject.name, &shared.state()) else {
        tokio::time::sleep(limits::PROBE_TIMEOUT).await;
        return;
    };
    let began = Moment::now();
    let connect = tokio::net::TcpStream::connect((address.host.as_str(), address.port));
    let met = match tokio::time::timeout(limits::PROBE_TIMEOUT, connect).await {
        Ok(Ok(_)) => Probe::Accepted,
        Ok(Err(error)) if error.kind() == std::io::ErrorKind::ConnectionRefused => Probe::Refused,
        Ok(Err(_)) => {
            // No route, no such name: unreachable if that lasts as long as a probe may.
            tokio::time::sleep(limits::PROBE_TIMEOUT.saturating_sub(Moment::now().since(began))).await;
            Probe::Unreachable
        }
        Err(_) => Probe::Unreachable,
    };
    shared.leases.lock().hearing.probed(&subject, met);
    shared.wake.notify_one();
    tracing::debug!(master = subject.name, ?met, took_ms = millis(Moment::now().since(began)), "probed");
    tokio::time::sleep(limits::PROBE_PAUSE).await;
}
