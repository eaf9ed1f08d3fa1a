//! A sentinel: what its disk keeps of Raft, and its process if that runs. The rules are those of `tercet_sentinel`; here is
//! what `watchdog`, `act` and the services do around them, without their tasks and sockets.

mod act;
mod watch;

use std::rc::Rc;
use std::time::Duration;

use tercet_sentinel::clock::{Moment, millis};
use tercet_sentinel::detect::{Fitness, Grounds, Hearing, Leases, Ledger, Probe, Refusal, Renewal, Report, Resign};
use tercet_sentinel::limits;
use tercet_sentinel::plan::{Observations, Seen};
use tercet_sentinel::state::{Answer, Command};

use super::clock::{MS, Nanos};
use super::context::{Context, Event, trace};
use super::known::Known;
use super::message::{CallId, Host, Message, Status, StreamKind};
use super::mutation::Mutation;
use super::network::{Envelope, StreamId};
use super::raft::{Durable, Raft};
use super::{CLUSTER, LEASE};

/// As `--down-after-ms` has it.
const SILENCE: Duration = Duration::from_millis(450);

#[derive(Debug)]
pub(super) struct Sentinel {
    pub(super) host: Host,
    index: usize,
    disk: Durable,
    pub(super) process: Option<Process>,
    starts: u32,
}

/// A master's stream of Renews.
#[derive(Debug)]
struct LeaseStream {
    stream: StreamId,
    name: String,
    incarnation: String,
}

/// A Renew whose answer waits a moment for the lease before it to be given up.
#[derive(Debug)]
struct Patient {
    stream: StreamId,
    renew: Renew,
    until: Moment,
}

#[derive(Debug, Clone)]
struct Renew {
    name: String,
    incarnation: String,
    epoch: u64,
    sequence: u64,
    deaf_for: Duration,
    resign: Resign,
}

/// An Observe stream to one node.
#[derive(Debug, Default)]
struct Observer {
    stream: Option<StreamId>,
    retry_at: Moment,
    silent_since: Moment,
    /// What it said last of its role.
    is_master: bool,
    epoch: u64,
}

/// A change of the ISR that somebody waits for.
#[derive(Debug)]
struct PendingIsr {
    index: u64,
    term: u64,
    node: Host,
    call: CallId,
}

#[derive(Debug)]
pub(super) struct Process {
    host: Host,
    index: usize,
    pub(super) raft: Raft,
    leases: Leases,
    fitness: Fitness,
    seen: Observations,
    observers: Vec<Observer>,
    lease_streams: Vec<LeaseStream>,
    patient: Vec<Patient>,
    watchers: Vec<(StreamId, u64)>,
    pending: Vec<PendingIsr>,
    watch: watch::Watch,
    acting: act::Acting,
    was_leader: bool,
}

impl Sentinel {
    pub(super) fn new(host: Host, index: usize, known: Rc<Known>) -> Self {
        Self { host, index, disk: Durable::founded(known), process: None, starts: 0 }
    }

    pub(super) fn disk(&self) -> &Durable {
        self.process.as_ref().map_or(&self.disk, |process| &process.raft.durable)
    }

    pub(super) fn start(&mut self, context: &mut Context) {
        self.starts += 1;
        let now = context.moment(self.host);
        let boot = context.boot(self.host).0;
        let raft = Raft::new(self.index, context.swarm.sentinels, self.disk.clone(), boot, &mut context.random);
        let is_first = self.starts == 1;
        let ledger = if is_first || context.is(Mutation::RestartedSentinelGrants) {
            // For one that never granted anything it is long ago.
            Ledger::new(LEASE, Duration::ZERO, if is_first { now } else { now.before(Duration::from_secs(60)) })
        } else {
            Ledger::new(LEASE, limits::quarantine(LEASE), now)
        };
        let nodes = context.swarm.nodes;
        let seen = Observations { listed: vec![None; nodes], ..Observations::default() };
        self.process = Some(Process {
            host: self.host,
            index: self.index,
            raft,
            leases: Leases::new(ledger, Hearing::new(SILENCE, now)),
            fitness: Fitness::default(),
            seen,
            observers: (0..nodes).map(|_| Observer::default()).collect(),
            lease_streams: Vec::new(),
            patient: Vec::new(),
            watchers: Vec::new(),
            pending: Vec::new(),
            watch: watch::Watch::default(),
            acting: act::Acting::default(),
            was_leader: false,
        });
        trace!(context, "s{} starts", self.index);
        let life = context.machines[self.host].life;
        context.after(context.swarm.tick / 3, Event::Tick { host: self.host, life });
    }

    /// Its process is gone; everything that it answered for was synced.
    pub(super) fn end(&mut self) {
        if let Some(process) = self.process.take() {
            self.disk = process.raft.durable;
        }
    }

    pub(super) fn deliver(&mut self, context: &mut Context, envelope: Envelope) {
        if let Some(process) = &mut self.process {
            process.receive(context, envelope);
            process.settle(context);
        }
    }

    pub(super) fn closed(&mut self, context: &mut Context, stream: StreamId) {
        if let Some(process) = &mut self.process {
            process.stream_closed(context, stream);
            process.settle(context);
        }
    }

    pub(super) fn tick(&mut self, context: &mut Context) {
        let Some(process) = &mut self.process else { return };
        process.tick(context);
        process.settle(context);
        let life = context.machines[self.host].life;
        let jitter = context.random.below(2 * MS);
        context.after(context.swarm.tick - MS + jitter, Event::Tick { host: self.host, life });
    }

    pub(super) fn step_down(&mut self, context: &Context) {
        if let Some(process) = &mut self.process {
            process.raft.step_down(context.boot(self.host).0);
        }
    }
}

impl Process {
    fn known(&self) -> &Rc<Known> {
        &self.raft.durable.known
    }

    fn receive(&mut self, context: &mut Context, envelope: Envelope) {
        let Envelope { from, stream, message, .. } = envelope;
        let (now, boot) = (context.moment(self.host), context.boot(self.host).0);
        let stream = stream.map(|(id, _)| id);
        match message {
            Message::Renew { epoch, sequence, deaf_ns, resign, incarnation } => {
                let resign = if resign { Resign::Yes } else { Resign::No };
                let deaf_for = Duration::from_nanos(deaf_ns);
                let renew = Renew { name: format!("n{from}"), incarnation, epoch, sequence, deaf_for, resign };
                self.renewed(context, stream.unwrap_or_default(), renew, now);
            }
            Message::Watch => self.watchers.extend(stream.map(|stream| (stream, 0))),
            Message::Status(status) => self.status(from, stream, *status, now),
            Message::ChangeIsr { id, node, proposal, forwarded } => {
                if let (false, Some(leader), false) = (self.raft.is_leader(), self.raft.leader(), forwarded) {
                    let (to, forwarded) = (context.sentinel(leader), true);
                    return context.call(self.host, to, Message::ChangeIsr { id, node, proposal, forwarded });
                }
                let is_suspended = self.leases.ledger.is_suspended(proposal.epoch.0, now);
                let command = Command::ChangeIsr {
                    expect_epoch: proposal.epoch.0,
                    expect_isr_version: proposal.version,
                    isr: proposal.isr.iter().cloned().map(Into::into).collect(),
                    witnesses: proposal.witnesses.iter().cloned().map(Into::into).collect(),
                };
                match if is_suspended { None } else { self.raft.propose(command, boot) } {
                    Some((index, term)) => self.pending.push(PendingIsr { index, term, node, call: id }),
                    None => self.answer_isr(context, node, id),
                }
            }
            Message::Suspend { id, epoch, unfit } => {
                let age = self.suspend(context, epoch, unfit, now);
                let age_ms = age.ok().map(millis);
                context.call(self.host, from, Message::Suspended { id, age_ms });
            }
            Message::Suspended { id, age_ms } => {
                let sentinel = (from - context.swarm.nodes) as u64;
                self.watch.suspended(sentinel, id, age_ms, now);
            }
            Message::Probed { id, accepted } => {
                let met = if accepted { Probe::Accepted } else { Probe::Refused };
                self.probed(id, met, now);
            }
            Message::OrderHandOver { forwarded } => match self.raft.leader() {
                Some(leader) if !self.raft.is_leader() && !forwarded => {
                    context.call(self.host, context.sentinel(leader), Message::OrderHandOver { forwarded: true });
                }
                _ if self.raft.is_leader() => self.hand_over(context, now),
                _ => {}
            },
            Message::Raft(message) => self.raft.receive(&message, boot, &mut context.random),
            Message::Fenced { .. } | Message::Promoted { .. } | Message::Prepared { .. } => {
                self.act_on(context, message, from, now);
            }
            _ => unreachable!("nobody says this to a sentinel: {message:?}"),
        }
    }

    fn answer_isr(&self, context: &mut Context, node: Host, id: CallId) {
        context.call(self.host, node, Message::IsrChanged { id, known: Rc::clone(self.known()) });
    }

    /// The first Renew of a stream says whose it is.
    fn renewed(&mut self, context: &mut Context, stream: StreamId, renew: Renew, now: Moment) {
        let is_known = |open: &LeaseStream| open.stream == stream && open.incarnation == renew.incarnation;
        if !self.lease_streams.iter().any(is_known) {
            self.leases.opened(&renew.name, &renew.incarnation);
            let (name, incarnation) = (renew.name.clone(), renew.incarnation.clone());
            self.lease_streams.push(LeaseStream { stream, name, incarnation });
        }
        self.patient.retain(|patient| patient.stream != stream);
        let until = now.after(limits::RELEASE_PATIENCE);
        self.patient.push(Patient { stream, renew, until });
        self.answer_renews(context, now);
    }

    fn answer_renews(&mut self, context: &mut Context, now: Moment) {
        for patient in std::mem::take(&mut self.patient) {
            let Patient { stream, renew, until } = &patient;
            let answer = self.try_renew(context, renew, now);
            if matches!(answer, Err(Refusal::PreviousLease(..))) && now < *until {
                self.patient.push(patient);
                continue;
            }
            let (epoch, sequence, granted) = (renew.epoch, renew.sequence, answer.is_ok());
            context.stream(*stream, self.host, Message::Grant { epoch, sequence, granted });
        }
    }

    fn try_renew(&mut self, context: &Context, renew: &Renew, now: Moment) -> Result<(), Refusal> {
        let guarded = [Mutation::SuspensionIgnored, Mutation::YoungestGrantNotAwaited, Mutation::StepDownNotAwaited];
        if context.is(Mutation::LowerLeasesForgotten) || guarded.iter().any(|mutation| context.is(*mutation)) {
            // A process that goes on under a higher epoch does not compete with itself, whoever it was.
            for node in &self.lease_streams {
                self.leases.ledger.stepped_down(&node.incarnation, renew.epoch);
            }
        }
        let renewal = Renewal {
            cluster_id: CLUSTER,
            name: &renew.name,
            incarnation: &renew.incarnation,
            epoch: renew.epoch,
            deaf_for: renew.deaf_for,
        };
        let fence_epoch = self.raft.fence.get();
        let state = &self.raft.durable.known.state;
        self.leases.renew(renewal, renew.resign, state, fence_epoch, now)
    }

    fn suspend(&mut self, context: &Context, epoch: u64, unfit: bool, now: Moment) -> Result<Duration, Refusal> {
        let is_unfit = unfit && self.fitness.agrees(epoch, now);
        let grounds = if is_unfit { Grounds::Unfit } else { Grounds::Unheard };
        let state = &self.raft.durable.known.state;
        let before = context.is(Mutation::SuspensionIgnored).then(|| self.leases.ledger.clone());
        let age = self.leases.suspend(CLUSTER, epoch, grounds, state, now);
        if let Some(ledger) = before {
            self.leases.ledger = ledger;
        }
        age
    }

    fn status(&mut self, from: Host, stream: Option<StreamId>, status: Status, now: Moment) {
        let observer = &mut self.observers[from];
        if observer.stream != stream {
            return;
        }
        observer.silent_since = now;
        (observer.is_master, observer.epoch) = (status.is_master, status.epoch);
        if status.is_replica {
            self.leases.ledger.stepped_down(&status.seen.incarnation, status.epoch);
        }
        let name = format!("n{from}");
        self.seen.first_answer.get_or_insert(now);
        self.seen.listed[from].get_or_insert_with(|| name.clone());
        if let Some(before) = self.seen.nodes.get(&name) {
            self.seen.replaced.note(&before.incarnation, &status.seen.incarnation);
        }
        self.seen.nodes.insert(name, Seen { at: now, ..status.seen });
    }

    fn stream_closed(&mut self, context: &mut Context, stream: StreamId) {
        let now = context.moment(self.host);
        match context.network.streams[stream].kind {
            StreamKind::Lease => {
                self.patient.retain(|patient| patient.stream != stream);
                for at in (0..self.lease_streams.len()).rev().filter(|at| *at < usize::MAX) {
                    if self.lease_streams[at].stream == stream {
                        let open = self.lease_streams.swap_remove(at);
                        self.leases.closed(&open.name, &open.incarnation);
                    }
                }
            }
            StreamKind::Watch => self.watchers.retain(|(open, _)| *open != stream),
            StreamKind::Observe => self.unobserved(stream, now),
            StreamKind::Replicate => {}
        }
    }

    fn unobserved(&mut self, stream: StreamId, now: Moment) {
        for (node, observer) in self.observers.iter_mut().enumerate() {
            if observer.stream == Some(stream) {
                (observer.stream, observer.retry_at) = (None, now.after(limits::OBSERVE_RETRY));
                if let Some(seen) = self.seen.nodes.get_mut(&format!("n{node}")) {
                    seen.connected = false;
                }
            }
        }
    }

    fn observe(&mut self, context: &mut Context, now: Moment) {
        for node in 0..self.observers.len() {
            let observer = &mut self.observers[node];
            let is_silent = now.since(observer.silent_since) > limits::OBSERVE_SILENCE;
            if let Some(stream) = observer.stream.filter(|_| is_silent) {
                context.close(stream, self.host);
                self.unobserved(stream, now);
            }
            let observer = &mut self.observers[node];
            if observer.stream.is_none() && now >= observer.retry_at {
                let stream = context.open(StreamKind::Observe, self.host, node);
                (observer.stream, observer.silent_since) = (Some(stream), now);
                context.stream(stream, self.host, Message::Observe);
            }
        }
    }

    fn tick(&mut self, context: &mut Context) {
        let (now, boot) = (context.moment(self.host), context.boot(self.host).0);
        self.raft.tick(boot, &mut context.random);
        self.observe(context, now);
        self.apply(context, boot);
        self.look(context, now);
    }

    fn settle(&mut self, context: &mut Context) {
        let (now, boot) = (context.moment(self.host), context.boot(self.host).0);
        self.apply(context, boot);
        for (to, message) in std::mem::take(&mut self.raft.out) {
            context.call(self.host, context.sentinel(to), Message::Raft(message));
        }
        let is_leader = self.raft.is_leader();
        if is_leader && !self.was_leader {
            context.coverage.elections += 1;
            trace!(context, "s{} leads the sentinels", self.index);
        }
        self.was_leader = is_leader;
        if !self.patient.is_empty() {
            self.answer_renews(context, now);
        }
    }

    fn apply(&mut self, context: &mut Context, boot: Nanos) {
        let is_checked = !context.is(Mutation::CompareAndSetIgnored);
        let before = self.known().state.log_index;
        for applied in self.raft.apply(boot, &mut context.random, is_checked) {
            trace!(context, "s{} applies {:?}: {:?}", self.index, applied.command, applied.answer);
            for at in (0..self.pending.len()).rev() {
                if self.pending[at].index == applied.index {
                    let PendingIsr { term, node, call, .. } = self.pending.swap_remove(at);
                    if term == applied.term {
                        context.coverage.isr_changes += 1;
                        self.answer_isr(context, node, call);
                    }
                }
            }
            context.invariants.entry_applied((applied.index, applied.term));
            // A sentinel that lags may apply what has been superseded.
            if applied.answer == Answer::Done && applied.index > context.newest_agreed {
                let agreed = match &applied.command {
                    Some(Command::Promote { isr, .. }) => Some(isr.clone()),
                    Some(Command::ChangeIsr { .. }) => Some(self.known().state.eligible().cloned().collect()),
                    _ => None,
                };
                if let Some(agreed) = agreed {
                    context.newest_agreed = applied.index;
                    context.agreed.push(agreed);
                }
            }
            self.proposal_applied(context, &applied);
        }
        if self.known().state.log_index != before {
            let now = context.moment(self.host);
            self.follow(now);
        }
        self.tell_watchers(context);
    }

    fn tell_watchers(&mut self, context: &mut Context) {
        let known = Rc::clone(self.known());
        for (stream, sent) in &mut self.watchers {
            if known.state.log_index > *sent {
                *sent = known.state.log_index;
                context.stream(*stream, self.host, Message::State(Rc::clone(&known)));
            }
        }
    }

    fn probed(&mut self, id: CallId, met: Probe, now: Moment) {
        if let Some(subject) = self.watch.probed(id, now) {
            self.leases.hearing.probed(&subject, met);
        }
    }
}

/// One sentinel agreed to suspend, as it was asked then.
fn report(asked: Moment, answered: Moment, age_ms: u64) -> Report {
    Report { asked, answered, grant_age: Duration::from_millis(age_ms) }
}
