//! The streams of a master to its replicas (`replication::master`), and its ISR (`cluster::isr`).

use std::rc::Rc;

use tercet_node::clock::BootNanos;
use tercet_node::ids::{Epoch, Offset};
use tercet_node::journal::Next;
use tercet_node::limits;
use tercet_node::replication::commit::{Held, Leaving, StreamId as TrackerStream};
use tercet_node::replication::isr::Proposal;
use tercet_node::replication::resume::{self, Log, Resume, Why};
use tercet_node::role::{Hold, Role};
use tercet_proto::grpc::cluster::v1::Member;

use super::super::clock::{MS, Nanos};
use super::super::context::{Context, trace};
use super::super::known::Known;
use super::super::message::{CallId, Hello, Host, Message, PARTITIONS, Replication};
use super::super::mutation::Mutation;
use super::super::network::StreamId;
use super::Process;
use super::disk::Disk;

/// See `replication::master`.
const PROMOTION_WAIT: Nanos = 500 * MS;

/// Between two images.
const IMAGE_REST: Nanos = 4 * MS;

#[derive(Debug, Default)]
pub(super) struct Master {
    /// Replicas that came before this node was told that it leads.
    waiting: Vec<(StreamId, Host, Hello, Nanos)>,
    senders: Vec<Sender>,
    isr: IsrTask,
}

#[derive(Debug)]
struct Sender {
    stream: StreamId,
    counted: TrackerStream,
    term: u64,
    /// Where the replica goes on, as soon as that may be said.
    beginning: Option<(Resume, Box<Hello>)>,
    after: Offset,
    sent_commit: Offset,
    commit_due: Option<Nanos>,
    heartbeat_due: Nanos,
    /// Whose images have been made; and the youngest cut.
    images: Option<([bool; PARTITIONS], u64, Nanos)>,
}

#[derive(Debug, Default)]
struct IsrTask {
    last: Nanos,
    due: Nanos,
    change: Option<Change>,
}

/// A change that the sentinels are asked for, one after the other.
#[derive(Debug)]
struct Change {
    call: CallId,
    proposal: Rc<Proposal>,
    sentinel: usize,
    tried: usize,
    until: Nanos,
}

impl Process {
    /// A replica says hello, or what it holds.
    pub(super) fn replica_says(&mut self, context: &Context, stream: StreamId, from: Host, message: Replication) {
        let now = self.now(context);
        match message {
            Replication::Hello(hello) => self.master.waiting.push((stream, from, *hello, now + PROMOTION_WAIT)),
            Replication::Ack(held) => {
                if let Some(sender) = self.master.senders.iter().find(|sender| sender.stream == stream) {
                    self.tracker.acknowledge(sender.counted, held, BootNanos(now), &self.journal, &self.gate);
                    self.master.isr.due = self.master.isr.due.min(now);
                }
            }
            _ => unreachable!("no replica says this: {message:?}"),
        }
    }

    pub(super) fn sender_closed(&mut self, stream: StreamId, now: Nanos) {
        self.master.waiting.retain(|(waiting, ..)| *waiting != stream);
        let tracker = &self.tracker;
        self.master.senders.retain(|sender| {
            if sender.stream == stream {
                tracker.leave(sender.counted, BootNanos(now));
            }
            sender.stream != stream
        });
        self.master.isr.due = 0;
    }

    pub(super) fn close_senders(&mut self, context: &mut Context) {
        for sender in std::mem::take(&mut self.master.senders) {
            context.close(sender.stream, self.host);
        }
        self.master.isr.change = None;
    }

    pub(super) fn hear_replicas_out(&mut self, context: &mut Context, now: Nanos) {
        let standing = self.authority.standing();
        for (stream, from, hello, until) in std::mem::take(&mut self.master.waiting) {
            let is_ours = standing.role == Role::Master && standing.epoch.0 == hello.epoch;
            if !is_ours && now < until {
                self.master.waiting.push((stream, from, hello, until));
                continue;
            }
            let member = Member { name: format!("n{from}"), ..Member::default() };
            let joined = is_ours.then(|| {
                let (epoch, incarnation) = (Epoch(hello.epoch), hello.incarnation.clone());
                self.tracker.join(epoch, member, incarnation, hello.disk, BootNanos(now))
            });
            let Some(counted) = joined.flatten() else {
                context.close(stream, self.host);
                continue;
            };
            self.master.isr.due = 0;
            let decision = self.decide(&hello);
            trace!(context, "{} lets {} go on: {decision:?}", self.identity.incarnation, hello.incarnation);
            self.master.senders.push(Sender {
                stream,
                counted,
                term: self.gate.term(),
                beginning: Some((decision, Box::new(hello))),
                after: Offset::ZERO,
                sent_commit: Offset::ZERO,
                commit_due: None,
                heartbeat_due: now,
                images: None,
            });
        }
    }

    fn decide(&self, hello: &Hello) -> Resume {
        let history = self.journal.history();
        let (ours, theirs) =
            (Log { history: &history, end: self.journal.end() }, Log { history: &hello.history, end: hello.end });
        match resume::decide(Epoch(hello.epoch), ours, theirs, hello.standing, self.journal.first_kept()) {
            // Images are shorter than what lies on disk.
            Resume::Continue(Offset::ZERO) if matches!(self.journal.read(Offset::ZERO), Next::OnDisk { .. }) => {
                Resume::Full(Why::Shorter)
            }
            other => other,
        }
    }

    pub(super) fn send_to_replicas(&mut self, disk: &Disk, context: &mut Context, now: Nanos) {
        let mut senders = std::mem::take(&mut self.master.senders);
        senders.retain_mut(|sender| {
            let goes_on = self.gate.term() == sender.term && self.send(disk, context, sender, now);
            if !goes_on {
                context.close(sender.stream, self.host);
                self.tracker.leave(sender.counted, BootNanos(now));
            }
            goes_on
        });
        self.master.senders = senders;
    }

    fn say(&self, context: &mut Context, sender: &mut Sender, message: Replication, now: Nanos) {
        sender.heartbeat_due = now + limits::REPLICATION_HEARTBEAT.as_nanos() as u64;
        context.stream(sender.stream, self.host, Message::Replication(message));
    }

    /// Sends what there is. False: the stream ends.
    fn send(&self, disk: &Disk, context: &mut Context, sender: &mut Sender, now: Nanos) -> bool {
        if let Some((decision, hello)) = sender.beginning.take() {
            match self.begin(context, sender, decision, &hello, now) {
                Some(true) => {}
                Some(false) => {
                    sender.beginning = Some((decision, hello));
                    return true;
                }
                None => return false,
            }
        }
        loop {
            let blocks = match self.journal.read(sender.after) {
                Next::AtEnd => break,
                Next::Gone => return false,
                Next::Block(block) => vec![block],
                Next::OnDisk { up_to } => disk.blocks_behind(sender.after, up_to),
            };
            if blocks.is_empty() {
                return false;
            }
            for block in blocks {
                (sender.after, sender.sent_commit, sender.commit_due) = (block.last, self.gate.commit(), None);
                let message = Replication::Block { block, commit: sender.sent_commit };
                self.say(context, sender, message, now);
            }
        }
        self.send_images(context, sender, now);
        let commit = self.gate.commit();
        if commit > sender.sent_commit {
            sender.commit_due.get_or_insert(now + limits::COMMIT_LINGER.as_nanos() as u64);
        }
        if now >= sender.heartbeat_due || sender.commit_due.is_some_and(|due| now >= due) {
            (sender.sent_commit, sender.commit_due) = (commit, None);
            self.say(context, sender, Replication::Commit(commit), now);
        }
        true
    }

    /// Says where the replica goes on. `Some(false)`: not yet; `None`: the mastership is over.
    fn begin(
        &self,
        context: &mut Context,
        sender: &mut Sender,
        decision: Resume,
        hello: &Hello,
        now: Nanos,
    ) -> Option<bool> {
        // It must not lose what it holds as long as somebody may count on it.
        let has_to_leave = match decision {
            Resume::Continue(offset) => self.tracker.has_gone_back(sender.counted, offset),
            Resume::GoOn | Resume::Full(_) => true,
        };
        if has_to_leave {
            match self.tracker.leave_isr(sender.counted) {
                Leaving::Left => {}
                Leaving::StillCounted => return Some(false),
                Leaving::TermOver => return None,
            }
        }
        let history = self.journal.history();
        let message = match decision {
            Resume::Continue(offset) => {
                context.coverage.partial_syncs += 1;
                sender.after = offset;
                Replication::Continue { offset, history }
            }
            Resume::GoOn => {
                context.coverage.resumed_syncs += 1;
                let (made, youngest) = hello.partial.unwrap_or_default();
                sender.after = hello.end;
                sender.images = Some((made, youngest, now));
                Replication::GoOn { history }
            }
            Resume::Full(_) => {
                context.coverage.full_syncs += 1;
                let offset = self.journal.end();
                sender.after = offset;
                sender.images = Some(([false; PARTITIONS], 0, now));
                Replication::Full { offset, history, log: Rc::new(self.log.clone()) }
            }
        };
        self.say(context, sender, message, now);
        Some(true)
    }

    fn send_images(&self, context: &mut Context, sender: &mut Sender, now: Nanos) {
        let Some((mut made, youngest, due)) = sender.images else { return };
        if now < due {
            return;
        }
        let cut = self.journal.end().0;
        let Some(partition) = made.iter().position(|made| !made) else {
            // Whatever was made later lies behind this end.
            sender.images = None;
            return self.say(context, sender, Replication::SyncEnd(Offset(youngest.max(cut))), now);
        };
        made[partition] = true;
        sender.images = Some((made, youngest.max(cut), now + IMAGE_REST));
        let image = Replication::Image { partition, cut, values: self.copy.values };
        self.say(context, sender, image, now);
    }

    /// As `cluster::isr`: `replication::isr` proposes, the sentinels commit.
    pub(super) fn maintain_isr(&mut self, context: &mut Context, now: Nanos) {
        if let Some(change) = &self.master.isr.change {
            if now < change.until {
                return;
            }
            self.ask_next_sentinel(context, now);
            return;
        }
        if now < self.master.isr.due {
            return;
        }
        if now.saturating_sub(self.master.isr.last) >= limits::ISR_TICK_LATE_MS * MS {
            self.tracker.with_term(&self.journal, &self.gate, |term| term.forgive(BootNanos(now)));
        }
        (self.master.isr.last, self.master.isr.due) = (now, now + limits::ISR_TICK.as_nanos() as u64);
        let standing = self.authority.standing();
        let has_lease = context.lease_clock(self.host) < self.authority.lease_until();
        if standing.role != Role::Master || standing.hold != Hold::Released || !has_lease {
            return;
        }
        let end = self.journal.end();
        let proposed = self.tracker.with_term(&self.journal, &self.gate, |term| term.propose(BootNanos(now), end));
        let Some(proposal) = proposed.flatten() else { return };
        trace!(context, "{} proposes {:?}", self.identity.incarnation, proposal.changes);
        let sentinel = context.random.index(context.swarm.sentinels);
        self.master.isr.change = Some(Change { call: 0, proposal: Rc::new(proposal), sentinel, tried: 0, until: 0 });
        self.ask_next_sentinel(context, now);
    }

    fn ask_next_sentinel(&mut self, context: &mut Context, now: Nanos) {
        let Some(change) = &mut self.master.isr.change else { return };
        if change.tried == context.swarm.sentinels {
            (self.master.isr.change, self.master.isr.last) = (None, now);
            return;
        }
        let to = context.sentinel((change.sentinel + change.tried) % context.swarm.sentinels);
        (change.call, change.until) = (context.new_call(), now + limits::ISR_CHANGE_TIMEOUT.as_nanos() as u64);
        change.tried += 1;
        let message = Message::ChangeIsr {
            id: change.call,
            node: self.host,
            proposal: Rc::clone(&change.proposal),
            forwarded: false,
        };
        context.call(self.host, to, message);
    }

    pub(super) fn isr_changed(&mut self, disk: &mut Disk, context: &mut Context, id: CallId, known: Rc<Known>) {
        let now = self.now(context);
        let Some(change) = self.master.isr.change.take_if(|change| change.call == id) else { return };
        self.master.isr.last = now;
        if known.state.isr_version > change.proposal.version {
            self.adopt(disk, context, known);
            self.master.isr.due = now;
        } else {
            self.master.isr.due = now + limits::ISR_TICK.as_nanos() as u64;
        }
    }

    /// A mutation counts otherwise than the tracker does.
    pub(super) fn break_commit_rule(&self, context: &Context) {
        let (Some(_), Some(mutation), Some(known)) = (self.control.leading, context.mutation, &self.known) else {
            return;
        };
        let own = self.journal.acknowledgeable().0;
        let copies = self.tracker.copies();
        let holds = |name: &str, incarnation: &str| -> u64 {
            let is = |copy: &&(tercet_node::replication::commit::Copy, bool)| {
                copy.0.member.name == name && copy.0.incarnation == incarnation
            };
            copies.iter().find(is).map_or(0, |(copy, _)| copy.held.received.0)
        };
        let isr = match (mutation, &self.master.isr.change) {
            (Mutation::ShrinkBeforeCommit, Some(change)) => &change.proposal.isr,
            _ => &known.wire.isr,
        };
        let others = isr.iter().filter(|member| member.name != self.identity.name);
        let mut held: Vec<u64> = others.map(|member| holds(&member.name, &member.incarnation)).chain([own]).collect();
        held.sort_unstable_by(|a, b| b.cmp(a));
        let is_large = isr.len() >= known.wire.min_isr as usize;
        let commit = match mutation {
            Mutation::AcknowledgeByMajority if is_large => held[held.len() / 2],
            Mutation::PendingAdditionsIgnored | Mutation::ShrinkBeforeCommit if is_large => held[held.len() - 1],
            Mutation::MinIsrIgnored => held[held.len() - 1],
            _ => return,
        };
        self.gate.advance(Offset(commit));
    }

    pub(super) fn advance_own_commit(&self) {
        self.tracker.with_term(&self.journal, &self.gate, |_| ());
    }

    pub(super) fn held(&self) -> Held {
        Held {
            received: self.journal.durability().held_by_replica(self.journal.end()),
            durable: self.journal.durability().durable(),
            applied: Offset(self.copy.held()),
        }
    }
}
