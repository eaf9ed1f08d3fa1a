//! The transitions of a node's role, as `cluster::control` makes them.

use std::rc::Rc;

use tercet_node::clock::BootNanos;
use tercet_node::cluster::state::{self, Part};
use tercet_node::ids::{Epoch, Offset};
use tercet_node::limits;
use tercet_node::replication::commit::{Counted, Term};
use tercet_node::role::{Hold, Role, State};
use tercet_sentinel::limits::HANDOVER_HOLD;

use super::super::LEASE_MS;
use super::super::clock::{MS, Nanos};
use super::super::context::{Context, trace};
use super::super::known::Known;
use super::super::message::{CallId, Host, Message, Record};
use super::super::mutation::Mutation;
use super::super::swarm::Keeping;
use super::Process;
use super::copy::Condition;
use super::disk::Disk;
use super::replica::Link;

const LAPSE_LOOK: Nanos = 50 * MS;

#[derive(Debug, Default)]
pub(super) struct Control {
    /// The epoch of the mastership that has not ended.
    pub(super) leading: Option<u64>,
    hold: Option<Held>,
    /// Since when the master has had no lease, and the next look.
    without: Option<Nanos>,
    look_at: Nanos,
}

/// A hand-over under way.
#[derive(Debug)]
struct Held {
    asked_by: Host,
    call: CallId,
    epoch: u64,
    target: String,
    end: Offset,
    drained: bool,
    half: Nanos,
    until: Nanos,
}

impl Process {
    pub(super) fn adopt(&mut self, disk: &mut Disk, context: &mut Context, known: Rc<Known>) {
        if !self.is_newer(&known) {
            return;
        }
        self.known = Some(Rc::clone(&known));
        let standing = self.authority.standing();
        let epoch = known.state.epoch;
        if standing.role == Role::Master && standing.epoch.0 < epoch {
            self.give_up(context, epoch, standing.epoch.0);
        }
        match state::part(&known.wire, &self.identity) {
            Part::Nobody => {}
            Part::Master => {
                // A new mastership begins with the order of a sentinel: it knows when no earlier lease is left.
                if standing.epoch.0 == epoch {
                    self.update_isr(&known);
                }
            }
            Part::Follower(master) => {
                let master = super::super::node_of(&master.name);
                self.follow(disk, context, epoch, master);
            }
        }
    }

    fn is_newer(&self, known: &Known) -> bool {
        self.known.as_ref().is_none_or(|present| state::is_newer(&known.wire, &present.wire))
    }

    fn update_isr(&mut self, known: &Known) {
        if self.tracker.update(&known.wire, &self.journal, &self.gate) {
            self.authority.change(|standing| {
                (standing.isr, standing.min_isr) = (known.wire.isr.len(), known.wire.min_isr as usize);
            });
        }
    }

    fn promise(&mut self, disk: &mut Disk, epoch: u64) {
        if epoch > disk.promised {
            disk.promise(epoch);
        }
        self.journal.promise(Epoch(epoch));
    }

    fn follow(&mut self, disk: &mut Disk, context: &mut Context, epoch: u64, master: Host) {
        if epoch < disk.promised || self.link.as_ref().is_some_and(|link| (link.epoch, link.master) == (epoch, master))
        {
            return;
        }
        trace!(context, "{} follows n{master} under epoch {epoch}", self.identity.incarnation);
        self.promise(disk, epoch);
        self.stop_link(context);
        let had_led = matches!(self.authority.standing().role, Role::Master | Role::Deposed);
        if had_led {
            self.end_mastership(context, epoch);
            self.close_clients(context);
        }
        self.link = Some(Link::new(epoch, master));
        let is_copy_readable = self.copy.is_readable();
        self.authority.change(|standing| {
            let is_readable = !had_led && is_copy_readable && standing.state == State::Whole;
            standing.role = Role::Replica;
            standing.epoch = Epoch(epoch);
            standing.hold = Hold::Released;
            standing.state = if is_readable { State::Whole } else { State::Loading };
        });
    }

    fn lead(&mut self, disk: &mut Disk, context: &mut Context, known: &Known) -> bool {
        let epoch = known.state.epoch;
        let standing = self.authority.standing();
        if epoch < disk.promised || standing.role != Role::Waiting && standing.epoch.0 >= epoch {
            return false;
        }
        self.promise(disk, epoch);
        self.stop_link(context);
        match self.copy.condition {
            Condition::Fresh | Condition::Whole => {}
            Condition::Syncing if context.is(Mutation::AcknowledgedInFullSync) => {}
            Condition::Loading | Condition::Syncing | Condition::Lost => return false,
        }
        if matches!(standing.role, Role::Master | Role::Deposed) {
            self.end_mastership(context, epoch);
        } else {
            self.drain();
        }
        trace!(context, "{} leads epoch {epoch} at {}", self.identity.incarnation, self.log.len());
        context.coverage.masterships += 1;
        context.invariants.began(epoch, &self.identity.incarnation, &self.log);
        self.journal.begin_epoch(Epoch(epoch));
        if self.journal.end().0 > self.log.len() as u64 {
            let (offset, record) = (self.journal.end().0, Record::void(epoch));
            self.log.push(record);
            context.invariants.appended(offset, record);
            self.copy.apply(offset, record);
        }
        let floor = self.journal.end();
        let is_durable = context.swarm.keeping[self.host] == Keeping::Always && !context.is(Mutation::SyncNotAwaited);
        let counted = if is_durable { Counted::Durable } else { Counted::Received };
        let term = Term::new(self.member(), &known.wire, counted, floor, context.boot(self.host));
        self.control.leading = Some(epoch);
        self.begin_lease(context, epoch);
        self.tracker.begin(term, &self.journal, &self.gate);
        self.authority.change(|standing| {
            standing.role = Role::Master;
            standing.epoch = Epoch(epoch);
            standing.hold = Hold::Released;
            standing.state = State::Whole;
            (standing.isr, standing.min_isr) = (known.wire.isr.len(), known.wire.min_isr as usize);
        });
        true
    }

    fn give_up(&mut self, context: &mut Context, promised: u64, epoch: u64) {
        self.end_mastership(context, promised);
        self.resign(context, epoch);
    }

    fn end_mastership(&mut self, context: &mut Context, promised: u64) {
        trace!(context, "{} leads no more, {promised} was promised", self.identity.incarnation);
        self.authority.change(|standing| standing.role = Role::Deposed);
        self.end_lease(context);
        if let Some(epoch) = self.control.leading.take() {
            context.invariants.committed(epoch, &self.log, self.gate.commit().0);
        }
        self.tracker.end();
        self.journal.promise(Epoch(promised));
        self.gate.depose(self.gate.commit());
        self.copy.restart(self.journal.end().0, Condition::Whole);
        self.copy.target = self.gate.commit().0;
        self.close_senders(context);
    }

    fn stop_link(&mut self, context: &mut Context) {
        if let Some(stream) = self.link.take().and_then(|link| link.stream) {
            context.close(stream, self.host);
        }
    }

    pub(super) fn fence(&mut self, disk: &mut Disk, context: &mut Context, from: Host, id: CallId, epoch: u64) {
        let standing = self.authority.standing();
        let accepted = epoch >= disk.promised && (standing.role == Role::Waiting || epoch > standing.epoch.0);
        if accepted {
            self.promise(disk, epoch);
            if standing.role == Role::Master {
                self.give_up(context, epoch, standing.epoch.0);
            }
            self.stop_link(context);
        }
        let (last_epoch, end) = self.journal.position();
        let condition = self.copy.condition;
        let complete = matches!(condition, Condition::Fresh | Condition::Whole)
            || context.is(Mutation::AcknowledgedInFullSync) && condition == Condition::Syncing;
        let reply = Message::Fenced {
            id,
            accepted,
            loading: condition == Condition::Loading,
            complete,
            incarnation: self.identity.incarnation.clone(),
            position: (last_epoch.0, end.0),
        };
        context.call(self.host, from, reply);
    }

    pub(super) fn promote(&mut self, disk: &mut Disk, context: &mut Context, from: Host, id: CallId, known: Rc<Known>) {
        let accepted =
            state::part(&known.wire, &self.identity) == Part::Master && self.be_promoted(disk, context, &known);
        context.call(self.host, from, Message::Promoted { id, accepted });
    }

    fn be_promoted(&mut self, disk: &mut Disk, context: &mut Context, known: &Rc<Known>) -> bool {
        let is_newer = self.is_newer(known);
        if is_newer {
            self.known = Some(Rc::clone(known));
        }
        let standing = self.authority.standing();
        if standing.role == Role::Master && standing.epoch.0 == known.state.epoch {
            if is_newer {
                self.update_isr(known);
            }
            return true;
        }
        self.lead(disk, context, known)
    }

    pub(super) fn prepare(&mut self, context: &mut Context, from: Host, id: CallId, epoch: u64, target: Host) {
        let is_held = self.authority.change(|standing| {
            let is_master = standing.role == Role::Master && standing.epoch.0 == epoch;
            if is_master {
                standing.hold = Hold::Held;
            }
            is_master
        });
        if !is_held {
            return context.call(self.host, from, Message::Prepared { id, accepted: false });
        }
        let now = self.now(context);
        let hold = HANDOVER_HOLD.as_nanos() as u64;
        self.control.hold = Some(Held {
            asked_by: from,
            call: id,
            epoch,
            target: format!("n{target}"),
            end: self.journal.end(),
            drained: false,
            half: now + hold / 2,
            until: now + hold,
        });
    }

    /// The hold ends once everything is committed and the target has it, or goes on until it is over.
    pub(super) fn look_for_drain(&mut self, context: &mut Context, now: Nanos) {
        let Some(hold) = self.control.hold.as_mut().filter(|hold| !hold.drained && now < hold.half) else { return };
        if self.gate.commit() >= hold.end && self.tracker.holds(&hold.target, hold.end) {
            hold.drained = true;
            let (to, id) = (hold.asked_by, hold.call);
            context.call(self.host, to, Message::Prepared { id, accepted: true });
        }
    }

    pub(super) fn hold_on(&mut self, context: &mut Context, now: Nanos) {
        let is_over = |hold: &mut Held| now >= hold.until || !hold.drained && now >= hold.half;
        let Some(hold) = self.control.hold.take_if(is_over) else { return };
        if !hold.drained {
            context.call(self.host, hold.asked_by, Message::Prepared { id: hold.call, accepted: false });
        }
        self.authority.change(|standing| standing.release(Epoch(hold.epoch)));
    }

    /// As `cluster::lapse`: a master whose lease has been out for long says so.
    pub(super) fn lapse(&mut self, disk: &Disk, context: &mut Context, now: Nanos) {
        if now < self.control.look_at {
            return;
        }
        self.control.look_at = now + LAPSE_LOOK;
        let standing = self.authority.standing();
        let has_lease = BootNanos(now) < self.authority.lease_until();
        match standing.role {
            Role::Master if !has_lease => {
                let since = *self.control.without.get_or_insert(now);
                if now - since >= LEASE_MS * limits::DEPOSED_AFTER_LEASES * MS {
                    self.authority.change(|standing| standing.role = Role::Deposed);
                    self.close_clients(context);
                }
            }
            Role::Deposed if has_lease && disk.promised <= standing.epoch.0 => {
                self.authority.change(|standing| standing.role = Role::Master);
                self.control.without = None;
            }
            _ => self.control.without = None,
        }
    }
}
