//! A replica's stream from its master, as `replication::replica` has it.

use std::time::Duration;

use tercet_node::ids::{Epoch, Offset};
use tercet_node::journal::{Block, Promise, Span};
use tercet_node::limits;
use tercet_node::replication::commit::{Disk as Kept, Held};
use tercet_node::replication::resume::Standing;
use tercet_node::role::{Role, State};

use super::super::clock::Nanos;
use super::super::context::{Context, trace};
use super::super::message::{Hello, Host, Message, Record, Replication, StreamKind, records_of};
use super::super::mutation::Mutation;
use super::super::network::StreamId;
use super::Process;
use super::copy::Condition;
use super::disk::Disk;

const SILENCE: Nanos = limits::REPLICATION_SILENCE.as_nanos() as u64;

/// A full sync, as far as the stream knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sync {
    No,
    Images,
    Ending(Offset),
}

#[derive(Debug)]
pub(super) struct Link {
    pub(super) epoch: u64,
    pub(super) master: Host,
    pub(super) stream: Option<StreamId>,
    pub(super) is_up: bool,
    retry_at: Nanos,
    pause: Nanos,
    heard: Nanos,
    has_begun: bool,
    sync: Sync,
    /// What was committed when the stream began.
    level: Option<u64>,
    told: Option<Held>,
}

/// The master said something out of place: the stream ends.
#[derive(Debug)]
struct OutOfPlace;

impl Link {
    pub(super) fn new(epoch: u64, master: Host) -> Self {
        Self {
            epoch,
            master,
            stream: None,
            is_up: false,
            retry_at: 0,
            pause: limits::RECONNECT_PAUSE[0].as_nanos() as u64,
            heard: 0,
            has_begun: false,
            sync: Sync::No,
            level: None,
            told: None,
        }
    }

    /// For how long nothing has come, if it is up.
    pub(super) fn silent(&self, now: Nanos) -> Duration {
        if self.is_up { Duration::from_nanos(now.saturating_sub(self.heard)) } else { Duration::ZERO }
    }

    fn is_down(&mut self, now: Nanos) {
        (self.stream, self.is_up, self.has_begun, self.sync) = (None, false, false, Sync::No);
        (self.level, self.told, self.retry_at) = (None, None, now + self.pause);
        self.pause = (self.pause * 2).min(limits::RECONNECT_PAUSE[1].as_nanos() as u64);
    }
}

impl Process {
    pub(super) fn link_closed(&mut self, stream: StreamId, now: Nanos) {
        if let Some(link) = self.link.as_mut().filter(|link| link.stream == Some(stream)) {
            link.is_down(now);
        }
    }

    pub(super) fn keep_link(&mut self, disk: &Disk, context: &mut Context, now: Nanos) {
        let Some(link) = &mut self.link else { return };
        let patience = if link.has_begun { SILENCE } else { 2 * SILENCE };
        if let Some(stream) = link.stream.filter(|_| now > link.heard + patience) {
            link.is_down(now);
            context.close(stream, self.host);
        }
        if link.stream.is_some() || now < link.retry_at || self.copy.condition == Condition::Loading {
            return;
        }
        let (epoch, master) = (link.epoch, link.master);
        if self.copy.condition == Condition::Lost {
            if self.journal.restart_from(Epoch(epoch), Offset::ZERO, Vec::new()).is_err() {
                return;
            }
            self.log.clear();
            self.copy.restart(0, Condition::Lost);
            self.gate.depose(Offset::ZERO);
        }
        let hello = self.hello(disk, context, epoch);
        let stream = context.open(StreamKind::Replicate, self.host, master);
        if let Some(link) = &mut self.link {
            (link.stream, link.heard) = (Some(stream), now);
        }
        context.stream(stream, self.host, Message::Replication(Replication::Hello(Box::new(hello))));
    }

    fn hello(&self, _disk: &Disk, context: &Context, epoch: u64) -> Hello {
        let applied = if context.is(Mutation::AppliedTailKept) { 0 } else { self.copy.held() };
        let is_syncing = self.copy.condition == Condition::Syncing;
        let partial = self.copy.sync.filter(|_| is_syncing);
        Hello {
            epoch,
            incarnation: self.identity.incarnation.clone(),
            history: self.journal.history(),
            end: self.journal.end(),
            standing: match partial {
                Some(epoch) => Standing::Partial { epoch: Epoch(epoch) },
                None => Standing::Applied(Offset(applied)),
            },
            partial: partial.map(|_| (self.copy.cuts.map(|cut| cut.is_some()), self.copy.youngest_cut)),
            disk: match self.kept() {
                Kept::Synced if context.is(Mutation::SyncNotAwaited) => Kept::Buffered,
                kept => kept,
            },
        }
    }

    pub(super) fn replication(
        &mut self,
        _disk: &mut Disk,
        context: &mut Context,
        stream: StreamId,
        from: Host,
        message: Replication,
    ) {
        if matches!(message, Replication::Hello(_) | Replication::Ack(_)) {
            return self.replica_says(context, stream, from, message);
        }
        let now = self.now(context);
        let Some(link) = self.link.as_mut().filter(|link| link.stream == Some(stream)) else { return };
        // Whatever comes is acknowledged, so that the master hears this node.
        (link.heard, link.is_up, link.told) = (now, true, None);
        let result =
            if link.has_begun { self.receive_more(context, message) } else { self.begin_with(context, message) };
        if let (Err(OutOfPlace), Some(link)) = (result, &mut self.link) {
            trace!(context, "{} ends the stream of its master", self.identity.incarnation);
            link.is_down(now);
            context.close(stream, self.host);
        }
    }

    fn begin_with(&mut self, context: &mut Context, message: Replication) -> Result<(), OutOfPlace> {
        let Some(epoch) = self.link.as_ref().map(|link| link.epoch) else { return Err(OutOfPlace) };
        let sync = match message {
            Replication::Continue { offset, history } => {
                self.go_on(context, epoch, offset, history)?;
                Sync::No
            }
            Replication::Full { offset, history, log } => {
                self.authority.change(|standing| standing.state = State::Loading);
                self.journal.restart_from(Epoch(epoch), offset, history).map_err(|_| OutOfPlace)?;
                self.log.clone_from(&log);
                self.copy.begin_sync(epoch, offset.0);
                self.gate.depose(Offset::ZERO);
                Sync::Images
            }
            Replication::GoOn { history } => {
                if self.copy.condition != Condition::Syncing || self.copy.sync != Some(epoch) {
                    self.copy.condition = Condition::Lost;
                    return Err(OutOfPlace);
                }
                self.journal.continue_from(Epoch(epoch), self.journal.end(), history).map_err(|_| OutOfPlace)?;
                Sync::Images
            }
            _ => return Err(OutOfPlace),
        };
        if let Some(link) = &mut self.link {
            (link.has_begun, link.sync) = (true, sync);
            link.pause = limits::RECONNECT_PAUSE[0].as_nanos() as u64;
        }
        Ok(())
    }

    fn go_on(
        &mut self,
        context: &mut Context,
        epoch: u64,
        offset: Offset,
        history: Vec<Span>,
    ) -> Result<(), OutOfPlace> {
        if self.copy.condition == Condition::Syncing {
            self.copy.condition = Condition::Lost;
            return Err(OutOfPlace);
        }
        if offset.0 < self.copy.held() {
            if !context.is(Mutation::AppliedTailKept) {
                return Err(OutOfPlace);
            }
            self.copy.applied = offset.0;
        }
        let is_tail = offset < self.journal.end();
        context.coverage.truncations += u64::from(is_tail);
        let keeps_tail = is_tail && context.is(Mutation::TruncationSkipped);
        let offset = if keeps_tail { self.journal.end() } else { offset };
        self.journal.continue_from(Epoch(epoch), offset, history).map_err(|_| OutOfPlace)?;
        self.log.truncate(offset.0 as usize);
        // Who continues from nothing has forgotten what was lost.
        self.copy.condition = Condition::Whole;
        if self.gate.commit() > offset {
            self.gate.depose(offset);
        }
        self.copy.target = self.copy.target.max(self.gate.commit().0);
        context.invariants.kept(epoch, &self.log);
        Ok(())
    }

    fn receive_more(&mut self, context: &mut Context, message: Replication) -> Result<(), OutOfPlace> {
        let Some(link) = &mut self.link else { return Err(OutOfPlace) };
        match message {
            Replication::Block { block, commit } => {
                let epoch = Epoch(link.epoch);
                self.journal.append_block(epoch, block.clone()).map_err(|_| OutOfPlace)?;
                self.append_to_log(context, &block);
                self.commit(commit);
            }
            Replication::Commit(commit) => self.commit(commit),
            Replication::Image { partition, cut, values } if link.sync == Sync::Images => {
                self.copy.load(partition, cut, &values);
            }
            Replication::SyncEnd(offset) if link.sync == Sync::Images => {
                self.copy.youngest_cut = self.copy.youngest_cut.max(offset.0);
                link.sync = Sync::Ending(offset);
            }
            _ => return Err(OutOfPlace),
        }
        if let Some(link) =
            self.link.as_mut().filter(|link| matches!(link.sync, Sync::Ending(at) if self.journal.end() >= at))
        {
            link.sync = Sync::No;
            self.copy.complete();
        }
        Ok(())
    }

    fn append_to_log(&mut self, context: &mut Context, block: &Block) {
        for (offset, record) in records_of(block) {
            self.log.push(record);
            context.invariants.appended(offset, record);
        }
    }

    fn commit(&mut self, offset: Offset) {
        if let Some(link) = &mut self.link {
            link.level.get_or_insert(offset.0);
        }
        let offset = offset.min(self.journal.end());
        self.gate.advance(offset);
        self.copy.target = self.copy.target.max(offset.0);
    }

    /// Applies what may be applied, and opens the node for reads once its state is one that was acknowledged.
    pub(super) fn take_in(&mut self, context: &mut Context) {
        if self.control.leading.is_some() {
            return;
        }
        let end = self.log.len() as u64;
        let limit = if context.is(Mutation::AppliedBeyondCommit) { end } else { self.copy.limit(end) };
        while self.copy.applied < limit {
            let offset = self.copy.applied + 1;
            let record = self.log[offset as usize - 1];
            if !self.copy.is_loading {
                context.invariants.applied(offset, record);
            }
            self.copy.apply(offset, record);
        }
        self.show_state(context);
    }

    /// Everything that was appended: this node becomes master.
    pub(super) fn drain(&mut self) {
        let behind: Vec<(u64, Record)> =
            (self.copy.applied + 1..).zip(self.log[self.copy.applied as usize..].to_vec()).collect();
        behind.into_iter().for_each(|(offset, record)| self.copy.apply(offset, record));
        self.copy.condition = Condition::Whole;
    }

    fn show_state(&self, context: &mut Context) {
        let Some(link) = &self.link else { return };
        let standing = self.authority.standing();
        let is_level = link.level.is_some_and(|level| self.copy.held() >= level);
        let is_ours = standing.role == Role::Replica && standing.epoch.0 == link.epoch;
        if is_level && is_ours && self.copy.is_readable() && standing.state == State::Loading {
            let newest = (self.copy.applied as usize).checked_sub(1).map(|at| self.log[at]);
            context.invariants.readable(self.copy.applied, newest, &self.copy.values);
            self.authority.change(|standing| standing.state = State::Whole);
        }
    }

    /// What this node holds by now. In the middle of a full sync that is nothing yet.
    pub(super) fn acknowledge_to_master(&mut self, context: &mut Context) {
        let mut held = self.held();
        if self.journal.durability().promise() == Some(Promise::Durable) {
            // The master counts what is durable.
            held.received = self.journal.end();
        }
        let Some(link) = self.link.as_mut().filter(|link| link.has_begun) else { return };
        let may = link.sync == Sync::No || context.is(Mutation::AcknowledgedInFullSync);
        let Some(stream) = link.stream.filter(|_| may && link.told != Some(held)) else { return };
        link.told = Some(held);
        context.stream(stream, self.host, Message::Replication(Replication::Ack(held)));
    }
}
