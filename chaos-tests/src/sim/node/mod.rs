//! A node: its disk, and its process if that runs. The rules are those of `tercet_node`; here is what `cluster::control`,
//! `cluster::lease`, `replication::master` and `replication::replica` do around them, without their tasks and sockets.

mod command;
mod control;
mod copy;
mod disk;
mod execute;
mod lease;
mod master;
mod replica;

use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::Duration;

use tercet_node::ids::{Epoch, Offset};
use tercet_node::journal::{Gate, Journal, Promise, Reached, Turn};
use tercet_node::limits;
use tercet_node::node::Identity;
use tercet_node::replication::commit::{Copy as Replica, Disk as Kept, Tracker};
use tercet_node::role::{Authority, Role, State, Verdict};
use tercet_proto::grpc::cluster::v1::IsrMember;
use tercet_sentinel::clock::{Moment, millis};
use tercet_sentinel::limits::LINK_SILENCE;
use tercet_sentinel::plan::Seen;

use super::clock::{MS, Nanos};
use super::context::{Context, Event, trace};
use super::fault::End;
use super::known::Known;
use super::message::{Host, Message, Record, Status, StreamKind, records_of};
use super::mutation::Mutation;
use super::network::{Envelope, StreamId};
use super::swarm::Keeping;
use command::{Command, Unanswered};
use copy::{Condition, Copy};
use disk::{Disk, Found};

const SYNC_EVERY: Nanos = 1000 * MS;

/// Between two looks at rows that are missing after a full sync.
const ROWS_AFTER: Nanos = 300 * MS;

#[derive(Debug)]
pub(super) struct Node {
    pub(super) host: Host,
    pub(super) name: String,
    disk: Disk,
    pub(super) process: Option<Process>,
    starts: u32,
}

/// A stream to one sentinel that follows the state.
#[derive(Debug, Default)]
struct Watch {
    stream: Option<StreamId>,
    retry_at: Nanos,
    pause: Nanos,
}

/// The thread `disk`.
#[derive(Debug, Default)]
struct Writer {
    turn: Option<(Turn, Nanos)>,
    unsynced: Option<Reached>,
    sync_at: Nanos,
    hint: u64,
    rows_at: Option<Nanos>,
}

#[derive(Debug)]
pub(super) struct Process {
    host: Host,
    pub(super) identity: Identity,
    authority: Authority,
    journal: Journal,
    gate: Gate,
    tracker: Tracker,
    copy: Copy,
    /// The journal once more, for the invariants: from the first record on.
    pub(super) log: Vec<Record>,
    known: Option<Rc<Known>>,
    control: control::Control,
    lease: lease::Lease,
    link: Option<replica::Link>,
    master: master::Master,
    watches: Vec<Watch>,
    observers: Vec<StreamId>,
    told: (Role, Epoch, bool),
    tell_at: Nanos,
    commands: Vec<Command>,
    unanswered: Vec<Unanswered>,
    writer: Writer,
    loading: Option<(Box<Found>, Nanos)>,
}

impl Node {
    pub(super) fn new(host: Host) -> Self {
        Self { host, name: format!("n{host}"), disk: Disk::default(), process: None, starts: 0 }
    }

    pub(super) fn start(&mut self, context: &mut Context) {
        self.starts += 1;
        let incarnation = if context.is(Mutation::IncarnationIgnored) {
            self.name.clone()
        } else {
            format!("{}.{}", self.name, self.starts)
        };
        let identity = Identity { name: self.name.clone(), node_id: self.name.clone(), incarnation };
        let journal = Journal::new();
        journal.retain();
        journal.promise(Epoch(self.disk.promised));
        let authority = Authority::clustered();
        let mut copy = Copy::default();
        let (mut log, mut loading) = (Vec::new(), None);
        let keeping = context.swarm.keeping[self.host];
        if keeping != Keeping::Nothing {
            if self.disk.is_not_whole {
                let promised = self.disk.promised;
                self.disk.wipe();
                self.disk.promise(promised);
            }
            let mut found = self.disk.read();
            let promise = if keeping == Keeping::Always { Promise::Durable } else { Promise::Appended };
            journal.start_disk(promise, found.start, found.end, found.history.clone());
            log = std::mem::take(&mut found.log);
            if found.end > Offset::ZERO {
                copy.condition = Condition::Loading;
                authority.change(|standing| standing.state = State::Loading);
                let until = context.boot(self.host).0 + context.random.between(1, 150) * MS;
                loading = Some((Box::new(found), until));
            }
        }
        trace!(context, "{} starts at {} records, promised {}", identity.incarnation, log.len(), self.disk.promised);
        let sentinels = context.swarm.sentinels;
        let process = Process {
            host: self.host,
            identity,
            authority,
            journal,
            gate: Gate::default(),
            tracker: Tracker::default(),
            copy,
            log,
            known: None,
            control: control::Control::default(),
            lease: lease::Lease::new(sentinels),
            link: None,
            master: master::Master::default(),
            watches: (0..sentinels).map(|_| Watch::default()).collect(),
            observers: Vec::new(),
            told: (Role::Waiting, Epoch(0), false),
            tell_at: 0,
            commands: Vec::new(),
            unanswered: Vec::new(),
            writer: Writer::default(),
            loading,
        };
        self.process = Some(process);
        let life = context.machines[self.host].life;
        context.after(context.swarm.tick / 4, Event::Tick { host: self.host, life });
    }

    /// The process is gone; what it leaves depends on how.
    pub(super) fn end(&mut self, context: &mut Context, end: End) {
        self.process = None;
        match end {
            End::Killed => {}
            End::PowerCut => {
                let before = self.disk.read().log.len();
                self.disk.cut_power(&mut context.random);
                let lost = before.saturating_sub(self.disk.read().log.len());
                context.coverage.records_lost_unsynced += lost as u64;
            }
            End::Wiped => self.disk.wipe(),
        }
    }

    /// What this node has of the journal for those who may need it: in memory, else on disk.
    pub(super) fn copy_that_counts(&self, keeping: Keeping) -> Vec<Record> {
        match &self.process {
            Some(process) => match process.copy.condition {
                Condition::Fresh | Condition::Whole | Condition::Loading => process.log.clone(),
                Condition::Syncing | Condition::Lost => Vec::new(),
            },
            None if keeping == Keeping::Nothing => Vec::new(),
            None => self.disk.read().log,
        }
    }

    pub(super) fn deliver(&mut self, context: &mut Context, envelope: Envelope) {
        let Self { disk, process: Some(process), .. } = self else { return };
        process.receive(disk, context, envelope);
        process.settle(disk, context);
    }

    pub(super) fn closed(&mut self, context: &mut Context, stream: StreamId) {
        let Self { disk, process: Some(process), .. } = self else { return };
        process.stream_closed(context, stream);
        process.settle(disk, context);
    }

    pub(super) fn tick(&mut self, context: &mut Context) {
        let Self { disk, process: Some(process), host, .. } = self else { return };
        process.tick(disk, context);
        process.settle(disk, context);
        let life = context.machines[*host].life;
        let jitter = context.random.below(2 * MS);
        context.after(context.swarm.tick - MS + jitter, Event::Tick { host: *host, life });
    }
}

impl Process {
    fn now(&self, context: &Context) -> Nanos {
        context.boot(self.host).0
    }

    pub(super) fn member(&self) -> IsrMember {
        IsrMember { name: self.identity.name.clone(), incarnation: self.identity.incarnation.clone() }
    }

    /// For whoever asks why nothing goes on.
    pub(super) fn describe(&self, context: &Context) -> String {
        let standing = self.authority.standing();
        let lease_ms = self.authority.lease_until().0.saturating_sub(self.now(context)) / MS;
        let copies: Vec<_> = self
            .tracker
            .copies()
            .iter()
            .map(|(copy, is_member)| format!("{} {:?} member {is_member}", copy.incarnation, copy.held))
            .collect();
        format!(
            "{}: {:?} of {:?} {:?} {:?}, lease {lease_ms} ms, journal {:?}, commit {}, copy {:?} {} of {}, disk {} {}, copies {copies:?}, {} commands, {:?}\n",
            self.identity.incarnation,
            standing.role,
            standing.epoch,
            standing.hold,
            standing.state,
            self.journal.position(),
            self.gate.commit(),
            self.copy.condition,
            self.copy.applied,
            self.copy.target,
            self.journal.durability().written(),
            self.journal.durability().durable(),
            self.commands.len(),
            self.link,
        )
    }

    /// Whether a command would be executed now, and under which epoch.
    pub(super) fn executes(&self, context: &Context) -> Option<u64> {
        let permit = self.authority.enter(context.lease_clock(self.host));
        let may = matches!(permit.verdict, Verdict::Master | Verdict::TooFewReplicas | Verdict::DiskFailed);
        may.then(|| permit.standing().epoch.0)
    }

    fn receive(&mut self, disk: &mut Disk, context: &mut Context, envelope: Envelope) {
        let Envelope { from, stream, message, .. } = envelope;
        let stream = stream.map(|(id, _)| id);
        match message {
            Message::Grant { epoch, sequence, granted } => self.granted(context, from, epoch, sequence, granted),
            Message::State(known) => self.adopt(disk, context, known),
            Message::Observe => {
                self.observers.extend(stream);
                self.tell_at = 0;
            }
            Message::Replication(message) => {
                if let Some(stream) = stream {
                    self.replication(disk, context, stream, from, message);
                }
            }
            Message::Fence { id, epoch } => self.fence(disk, context, from, id, epoch),
            Message::Promote { id, known } => self.promote(disk, context, from, id, known),
            Message::PrepareHandover { id, epoch, target } => self.prepare(context, from, id, epoch, target),
            Message::IsrChanged { id, known } => self.isr_changed(disk, context, id, known),
            Message::Write { id, key } => self.command(context, Command::write(from, id, key)),
            Message::Read { id, key, asked } => self.command(context, Command::read(from, id, key, asked)),
            _ => unreachable!("nobody says this to a node: {message:?}"),
        }
    }

    fn stream_closed(&mut self, context: &mut Context, stream: StreamId) {
        let now = self.now(context);
        match context.network.streams[stream].kind {
            StreamKind::Lease => self.lease.closed(stream, now),
            StreamKind::Observe => self.observers.retain(|open| *open != stream),
            StreamKind::Watch => {
                for watch in self.watches.iter_mut().filter(|watch| watch.stream == Some(stream)) {
                    (watch.stream, watch.retry_at) = (None, now + watch.pause);
                    watch.pause = (watch.pause * 2).min(limits::RECONNECT_PAUSE[1].as_nanos() as u64);
                }
            }
            StreamKind::Replicate => {
                self.link_closed(stream, now);
                self.sender_closed(stream, now);
            }
        }
    }

    fn tick(&mut self, disk: &mut Disk, context: &mut Context) {
        let now = self.now(context);
        self.load(context, now);
        self.follow_states(context, now);
        self.renew(context, now);
        self.lapse(disk, context, now);
        self.hold_on(context, now);
        self.maintain_isr(context, now);
        self.keep_link(disk, context, now);
        self.write_to_disk(disk, context, now);
    }

    /// What follows from whatever has just happened.
    fn settle(&mut self, disk: &mut Disk, context: &mut Context) {
        let now = self.now(context);
        self.take_in(context);
        self.try_commands(context, now);
        self.hear_replicas_out(context, now);
        self.send_to_replicas(disk, context, now);
        self.start_turn(context, now);
        self.look_for_drain(context, now);
        self.break_commit_rule(context);
        if let Some(epoch) = self.control.leading {
            context.invariants.committed(epoch, &self.log, self.gate.commit().0);
        }
        self.answer(context);
        self.acknowledge_to_master(context);
        self.tell_sentinels(disk, context, now);
    }

    fn load(&mut self, context: &mut Context, now: Nanos) {
        let Some((found, _)) = self.loading.take_if(|(_, until)| now >= *until) else { return };
        let known = found.commit.0.max(found.rows_at);
        (self.copy.values, self.copy.applied) = (found.values, found.rows_at);
        for (offset, record) in found.blocks.iter().flat_map(records_of) {
            if offset > found.rows_at && offset <= known {
                self.copy.apply(offset, record);
            }
            if offset <= found.commit.0 {
                context.invariants.applied(offset, record);
            }
        }
        self.copy.condition = if found.end == Offset::ZERO { Condition::Fresh } else { Condition::Whole };
        self.copy.target = found.commit.0;
        self.gate.advance(found.commit);
    }

    fn follow_states(&mut self, context: &mut Context, now: Nanos) {
        for index in 0..self.watches.len() {
            let watch = &mut self.watches[index];
            if watch.stream.is_none() && now >= watch.retry_at {
                watch.pause = watch.pause.max(limits::RECONNECT_PAUSE[0].as_nanos() as u64);
                let stream = context.open(StreamKind::Watch, self.host, context.sentinel(index));
                watch.stream = Some(stream);
                context.stream(stream, self.host, Message::Watch);
            }
        }
    }

    fn tell_sentinels(&mut self, disk: &Disk, context: &mut Context, now: Nanos) {
        let standing = self.authority.standing();
        let is_master = standing.role == Role::Master && now < self.authority.lease_until().0;
        let told = (standing.role, standing.epoch, is_master);
        if now < self.tell_at && told == self.told {
            return;
        }
        (self.told, self.tell_at) = (told, now + limits::OBSERVE_EVERY.as_nanos() as u64);
        let (last_epoch, end) = self.journal.position();
        let condition = self.copy.condition;
        let seen = Seen {
            incarnation: self.identity.incarnation.clone(),
            connected: true,
            promised_epoch: disk.promised,
            last_epoch: last_epoch.0,
            end_offset: end.0,
            syncing: matches!(condition, Condition::Loading | Condition::Syncing | Condition::Lost),
            loading: condition == Condition::Loading,
            disk_failed: false,
            link_up: self.link.as_ref().is_some_and(|link| link.is_up),
            link_silent: self.link.as_ref().map_or(Duration::ZERO, |link| link.silent(now)),
            hears: self.hears(context),
            // The sentinel says when it came.
            at: Moment::default(),
        };
        let status = Status { seen, is_master, is_replica: standing.role == Role::Replica, epoch: standing.epoch.0 };
        for &stream in &self.observers {
            context.stream(stream, self.host, Message::Status(Box::new(status.clone())));
        }
    }

    /// The replicas that a master has just heard.
    fn hears(&self, context: &Context) -> BTreeSet<String> {
        let now = context.boot(self.host);
        let is_heard = |copy: &Replica| copy.is_connected() && now.millis_since(copy.heard) < millis(LINK_SILENCE);
        let copies = self.tracker.copies().into_iter().map(|(copy, _)| copy).filter(is_heard);
        copies.map(|copy| copy.member.name).collect()
    }

    fn kept(&self) -> Kept {
        match self.journal.durability().promise() {
            None => Kept::Absent,
            Some(Promise::Appended | Promise::Written) => Kept::Buffered,
            Some(Promise::Durable) => Kept::Synced,
        }
    }

    /// The disk takes what there is, one batch at a time.
    fn start_turn(&mut self, context: &mut Context, now: Nanos) {
        let keeping = context.swarm.keeping[self.host];
        if keeping == Keeping::Nothing || self.writer.turn.is_some() || self.loading.is_some() {
            return;
        }
        if let Some(turn) = self.journal.take_turn() {
            let [least, most] = context.swarm.sync;
            let wait = if keeping == Keeping::Always { context.random.between(least, most) } else { MS };
            self.writer.turn = Some((turn, now + wait));
        }
    }

    fn write_to_disk(&mut self, disk: &mut Disk, context: &mut Context, now: Nanos) {
        let keeping = context.swarm.keeping[self.host];
        if keeping == Keeping::Nothing {
            return;
        }
        let is_always = keeping == Keeping::Always;
        if let Some((turn, _)) = self.writer.turn.take_if(|(_, until)| now >= *until) {
            let reached = turn.reached();
            self.journal.wrote(&turn);
            disk.write(turn, self.gate.commit().0);
            self.writer.hint = self.gate.commit().0;
            if is_always {
                disk.sync();
                self.synced(disk, reached);
            } else {
                self.writer.unsynced = Some(reached);
            }
            self.advance_own_commit();
            self.start_turn(context, now);
        } else if self.writer.turn.is_none() && self.gate.commit().0 > self.writer.hint {
            self.writer.hint = self.gate.commit().0;
            disk.write_commit(self.writer.hint);
        }
        if !is_always && now >= self.writer.sync_at {
            self.writer.sync_at = now + SYNC_EVERY;
            disk.sync();
            if let Some(reached) = self.writer.unsynced.take() {
                self.synced(disk, reached);
            }
        }
        self.write_rows(disk, now);
    }

    fn synced(&self, disk: &Disk, reached: Reached) {
        // A copy that is not whole does not survive anything.
        if !disk.is_not_whole {
            self.journal.synced(reached);
        }
    }

    /// After a full sync the state becomes rows, some time later, and the copy survives again.
    fn write_rows(&mut self, disk: &mut Disk, now: Nanos) {
        if !disk.is_not_whole {
            self.writer.rows_at = None;
            return;
        }
        let at = *self.writer.rows_at.get_or_insert(now + ROWS_AFTER);
        let is_leading = self.control.leading.is_some();
        let is_settled = is_leading || self.copy.is_of_one_moment();
        let end = if is_leading { self.journal.end().0 } else { self.copy.applied };
        // Rows are never ahead of the journal on disk.
        if now >= at && is_settled && self.journal.durability().written().0 >= end {
            let reached = self.journal.reached();
            disk.write_rows(self.copy.values, end, self.log[..end as usize].to_vec());
            self.synced(disk, reached);
            self.advance_own_commit();
        }
    }
}
