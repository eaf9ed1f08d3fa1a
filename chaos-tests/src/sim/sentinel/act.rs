//! Carries a plan out, as `tercet_sentinel`'s `act`: fence, commit, promote, wait until the new master answers.

use std::rc::Rc;

use tercet_sentinel::clock::Moment;
use tercet_sentinel::limits;
use tercet_sentinel::plan::{self, Choice, Fenced, Plan, Rule};
use tercet_sentinel::state::{Answer, Command};

use super::super::context::{Context, trace};
use super::super::known::Known;
use super::super::message::{CallId, Host, Message};
use super::super::mutation::Mutation;
use super::super::raft::Applied;
use super::super::{LEASE, node_of};
use super::Process;
use tercet_sentinel::detect::Grounds;

#[derive(Debug, Default)]
pub(super) struct Acting(Option<Step>);

/// What is under way: one failover or hand-over at a time.
#[derive(Debug)]
enum Step {
    Fencing {
        epoch: u64,
        rule: Rule,
        known: Rc<Known>,
        calls: Vec<(CallId, String)>,
        fenced: Vec<Fenced>,
        sureness: Sureness,
        until: Moment,
    },
    /// The master is to step down for those that are fenced.
    Deposing {
        call: CallId,
        command: Command,
        incarnation: String,
        until: Moment,
    },
    Preparing {
        call: CallId,
        epoch: u64,
        target: String,
        known: Rc<Known>,
        until: Moment,
    },
    Proposing {
        index: u64,
        term: u64,
        master: String,
        epoch: u64,
        why: Why,
        until: Moment,
    },
    Activating {
        master: String,
        epoch: u64,
        began: Moment,
        call: CallId,
        ask_at: Moment,
        is_clear: bool,
    },
}

/// Why no lease of the master is left when its successor is agreed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sureness {
    LeasesOver,
    ByItsWord,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Why {
    By(Rule),
    HandOver,
    RaisedEpoch,
}

impl Acting {
    pub(super) fn is_idle(&self) -> bool {
        self.0.is_none()
    }
}

impl Process {
    /// Gives the cluster a master in place of the one that it has.
    pub(super) fn replace_master(&mut self, context: &mut Context, sureness: Sureness, now: Moment) {
        let known = Rc::clone(self.known());
        let mut state = known.state.clone();
        if context.is(Mutation::RecoveryWithoutAll) && state.epoch > 0 {
            // Whoever has not reported is not waited for.
            let missing = plan::unreported(&state, &self.seen);
            let is_nobody_left = missing.len() == state.isr.len();
            state.isr.retain(|member| is_nobody_left || !missing.contains(&member.name));
        }
        let Plan::Fence { epoch, mut targets, rule } = plan::plan(&state, &self.seen, now) else {
            return self.come_to_nothing(now);
        };
        if sureness == Sureness::ByItsWord && (rule != Rule::Failover || targets.contains(&state.master)) {
            // Nobody else could lead.
            return self.look_again(now);
        }
        if context.is(Mutation::OutsiderPromoted) {
            targets = state.members.iter().map(|member| member.name.clone()).collect();
            targets.retain(|name| rule != Rule::Failover || *name != state.master);
        }
        trace!(context, "s{} fences {targets:?} for epoch {epoch} by {rule:?}", self.index);
        let mut calls = Vec::new();
        for name in targets {
            let (call, node) = (context.new_call(), node_of(&name));
            context.call(self.host, node, Message::Fence { id: call, epoch });
            calls.push((call, name));
        }
        let known = if state == known.state { known } else { Known::new(state) };
        let until = now.after(limits::FENCE_TIMEOUT);
        self.acting.0 = Some(Step::Fencing { epoch, rule, known, calls, fenced: Vec::new(), sureness, until });
    }

    /// Nothing can be done yet, or nobody who may lead answered.
    fn come_to_nothing(&mut self, now: Moment) {
        self.acting.0 = None;
        if self.watch.episode.as_ref().is_some_and(|episode| episode.grounds == Grounds::Unfit) {
            self.fitness.put_off(now);
        }
        let pause = if self.known().state.epoch == 0 { limits::TICK } else { limits::FAILOVER_RETRY };
        self.watch.not_before = now.after(pause);
    }

    /// The master goes on under an epoch that every node can follow.
    pub(super) fn raise_epoch(&mut self, context: &mut Context, now: Moment) {
        let state = &self.raft.durable.known.state;
        let (epoch, master) = (plan::next_epoch(state.epoch, &self.seen), state.master.clone());
        let command = promotion(&self.raft.durable.known, epoch, Choice { master, isr: state.isr.clone() });
        self.propose(context, command, Why::RaisedEpoch, now);
    }

    /// A planned change of the master.
    pub(super) fn hand_over(&mut self, context: &mut Context, now: Moment) {
        let known = Rc::clone(self.known());
        if !self.acting.is_idle() || known.state.epoch == 0 || self.leases.suspects(known.state.epoch, now) {
            return;
        }
        let Some(target) = plan::handover_target(&known.state, &self.seen) else { return };
        let (call, epoch) = (context.new_call(), plan::next_epoch(known.state.epoch, &self.seen));
        trace!(context, "s{} hands over from {} to {target}", self.index, known.state.master);
        let message = Message::PrepareHandover { id: call, epoch: known.state.epoch, target: node_of(&target) };
        context.call(self.host, node_of(&known.state.master), message);
        let until = now.after(limits::HANDOVER_HOLD);
        self.acting.0 = Some(Step::Preparing { call, epoch, target, known, until });
    }

    /// A node answers.
    pub(super) fn act_on(&mut self, context: &mut Context, message: Message, from: Host, now: Moment) {
        match (&mut self.acting.0, message) {
            (
                Some(Step::Fencing { calls, fenced, .. }),
                Message::Fenced { id, accepted, loading, complete, incarnation, position: (last_epoch, end_offset) },
            ) => {
                let Some(at) = calls.iter().position(|(call, _)| *call == id) else { return };
                let (_, name) = calls.swap_remove(at);
                if accepted && !loading {
                    fenced.push(Fenced { name, incarnation, last_epoch, end_offset, complete });
                }
            }
            (
                Some(Step::Deposing { call, command, incarnation, .. }),
                Message::Fenced { id, accepted, loading, incarnation: process, .. },
            ) if *call == id => {
                let command = command.clone();
                if !accepted || loading || process != *incarnation {
                    return self.look_again(now);
                }
                trace!(context, "{process} has stepped down");
                context.coverage.deposed += 1;
                self.propose(context, command, Why::By(Rule::Failover), now);
            }
            (Some(Step::Preparing { call, epoch, target, known, .. }), Message::Prepared { id, accepted })
                if *call == id =>
            {
                let choice = Choice { master: target.clone(), isr: known.state.isr.clone() };
                let command = promotion(known, *epoch, choice);
                self.acting.0 = None;
                if accepted {
                    self.propose(context, command, Why::HandOver, now);
                }
            }
            (Some(Step::Activating { call, ask_at, .. }), Message::Promoted { id, accepted }) if *call == id => {
                trace!(context, "n{from} takes the promotion: {accepted}");
                *ask_at = now.after(if accepted { limits::SUSPEND_TIMEOUT } else { limits::SUSPEND_RETRY });
            }
            _ => {}
        }
        self.go_on_acting(context, now);
    }

    fn propose(&mut self, context: &mut Context, command: Command, why: Why, now: Moment) {
        let Command::Promote { epoch, master, .. } = &command else {
            unreachable!("only promotions are proposed here")
        };
        let (epoch, master) = (*epoch, master.clone());
        if context.is(Mutation::PromoteWithoutCommit) {
            let mut state = self.known().state.clone();
            if state.apply(&command, state.log_index + 1) == Answer::Done {
                let message = Message::Promote { id: context.new_call(), known: Known::new(state) };
                context.call(self.host, node_of(&master), message);
            }
        }
        let Some((index, term)) = self.raft.propose(command, context.boot(self.host).0) else {
            return self.look_again(now);
        };
        let until = now.after(limits::PROPOSE_TIMEOUT);
        self.acting.0 = Some(Step::Proposing { index, term, master, epoch, why, until });
    }

    fn look_again(&mut self, now: Moment) {
        self.acting.0 = None;
        self.watch.not_before = now.after(limits::TICK);
    }

    /// An entry is applied: it may be the one that is waited for.
    pub(super) fn proposal_applied(&mut self, context: &mut Context, applied: &Applied) {
        let now = context.moment(self.host);
        let Some(Step::Proposing { index, term, master, epoch, why, .. }) = &self.acting.0 else { return };
        if *index != applied.index {
            return;
        }
        if *term != applied.term || applied.answer != Answer::Done {
            return self.look_again(now);
        }
        match why {
            Why::HandOver => context.coverage.hand_overs += 1,
            Why::RaisedEpoch => context.coverage.raised_epochs += 1,
            Why::By(Rule::Failover) => context.coverage.failovers += 1,
            Why::By(Rule::Recovery) => context.coverage.recoveries += 1,
            Why::By(Rule::First | Rule::Forced) => {}
        }
        let (master, epoch) = (master.clone(), *epoch);
        self.acting.0 = Some(Step::Activating { master, epoch, began: now, call: 0, ask_at: now, is_clear: false });
    }

    pub(super) fn go_on_acting(&mut self, context: &mut Context, now: Moment) {
        match &mut self.acting.0 {
            Some(Step::Fencing { calls, until, .. }) if calls.is_empty() || now >= *until => self.choose(context, now),
            Some(Step::Preparing { until, .. }) if now >= *until => self.acting.0 = None,
            Some(Step::Proposing { until, .. } | Step::Deposing { until, .. }) if now >= *until => self.look_again(now),
            Some(Step::Activating { .. }) => self.activate(context, now),
            _ => {}
        }
    }

    fn choose(&mut self, context: &mut Context, now: Moment) {
        let Some(Step::Fencing { epoch, rule, known, mut fenced, sureness, .. }) = self.acting.0.take() else { return };
        let mut rule_of_choice = rule;
        if context.is(Mutation::OutsiderPromoted) && rule == Rule::Failover {
            rule_of_choice = Rule::Forced;
        }
        if context.is(Mutation::ShorterJournalChosen) {
            // Upside down: the least looks like the greatest.
            for node in &mut fenced {
                (node.last_epoch, node.end_offset) = (u64::MAX - node.last_epoch, u64::MAX - node.end_offset);
            }
        }
        let Some(choice) = plan::choose(&known.state, rule_of_choice, &fenced) else {
            return self.come_to_nothing(now);
        };
        // What was taken out of the state for a mutation is in it all the same.
        let command = promotion(&known, epoch, choice);
        if sureness == Sureness::LeasesOver || context.is(Mutation::StepDownNotAwaited) {
            return self.propose(context, command, Why::By(rule), now);
        }
        let Some(process) = known.state.master_process() else { return self.look_again(now) };
        let (call, until) = (context.new_call(), now.after(limits::FENCE_TIMEOUT));
        context.call(self.host, node_of(&process.name), Message::Fence { id: call, epoch });
        self.acting.0 = Some(Step::Deposing { call, command, incarnation: process.incarnation.clone(), until });
    }

    /// Tells the new master, again and again, until it answers as master.
    fn activate(&mut self, context: &mut Context, now: Moment) {
        let known = Rc::clone(self.known());
        let Some(Step::Activating { master, epoch, began, call, ask_at, is_clear }) = &mut self.acting.0 else {
            return;
        };
        // After a hand-over the old master gives its lease up within moments; should it die instead, its lease runs out.
        let is_waited_for = now.since(*began) >= limits::lease_bound(LEASE) || context.is(Mutation::StepDownNotAwaited);
        *is_clear |= is_waited_for || self.leases.ledger.is_clear_below(*epoch, now);
        let observer = &self.observers[node_of(master)];
        let is_up = observer.stream.is_some() && observer.is_master && observer.epoch == *epoch;
        let is_late = now.since(*began) > limits::ACTIVATION_TIMEOUT + limits::lease_bound(LEASE);
        if known.state.epoch > *epoch || is_up || self.leases.suspects(*epoch, now) || is_late {
            self.acting.0 = None;
            return;
        }
        if *is_clear && now >= *ask_at && known.state.epoch == *epoch {
            (*call, *ask_at) = (context.new_call(), now.after(limits::PROMOTE_TIMEOUT));
            context.call(self.host, node_of(master), Message::Promote { id: *call, known });
        }
    }
}

fn promotion(known: &Known, epoch: u64, choice: Choice) -> Command {
    Command::Promote {
        expect_epoch: known.state.epoch,
        expect_isr_version: known.state.isr_version,
        epoch,
        master: choice.master,
        isr: choice.isr,
    }
}
