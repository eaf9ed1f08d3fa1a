//! The watchdog, as `tercet_sentinel`'s has it: suspicion, the question to the others, and when a failover is due.

use std::rc::Rc;

use tercet_sentinel::clock::Moment;
use tercet_sentinel::detect::{Grounds, Poll, Probe, Reason, Report, Subject, Verdict};
use tercet_sentinel::{limits, plan};

use super::super::LEASE;
use super::super::context::{Context, trace};
use super::super::message::{CallId, Message};
use super::super::mutation::Mutation;
use super::act::Sureness;
use super::{Process, report};

#[derive(Debug, Default)]
pub(super) struct Watch {
    pub(super) episode: Option<Episode>,
    pub(super) not_before: Moment,
    pub(super) stale_since: Option<Moment>,
    seen_epoch: Option<u64>,
    probe: Option<Probing>,
}

/// A suspicion, from the first doubt until the master is heard again or replaced.
#[derive(Debug)]
pub(super) struct Episode {
    subject: Subject,
    pub(super) grounds: Grounds,
    pub(super) poll: Poll,
    asked: Vec<Question>,
    /// A master that is of no use has been told once to step down.
    is_told: bool,
}

#[derive(Debug)]
struct Question {
    sentinel: u64,
    call: CallId,
    asked: Moment,
    /// When it is asked again.
    until: Moment,
}

/// One connection to the master's port.
#[derive(Debug)]
struct Probing {
    call: CallId,
    subject: Subject,
    until: Moment,
    is_answered: bool,
}

impl Watch {
    pub(super) fn suspended(&mut self, sentinel: u64, id: CallId, age_ms: Option<u64>, now: Moment) {
        let Some(episode) = &mut self.episode else { return };
        let Some(question) = episode.asked.iter_mut().find(|question| question.call == id) else { return };
        match age_ms {
            Some(age_ms) => {
                let asked = question.asked;
                episode.asked.retain(|question| question.call != id);
                episode.poll.record(sentinel, report(asked, now, age_ms));
            }
            None => (question.call, question.until) = (0, now.after(limits::SUSPEND_RETRY)),
        }
    }

    /// Whom the probe was for.
    pub(super) fn probed(&mut self, id: CallId, now: Moment) -> Option<Subject> {
        let probe = self.probe.as_mut().filter(|probe| probe.call == id && !probe.is_answered)?;
        (probe.is_answered, probe.until) = (true, now.after(limits::PROBE_PAUSE));
        Some(probe.subject.clone())
    }
}

impl Process {
    pub(super) fn look(&mut self, context: &mut Context, now: Moment) {
        self.follow(now);
        let verdict = self.listen(context, now);
        self.suspect(context, verdict, now);
        self.ask(context, now);
        self.go_on_acting(context, now);
        if self.raft.is_leader() {
            self.fail_over(context, now);
        }
    }

    /// Listens for the master of the newest state.
    pub(super) fn follow(&mut self, now: Moment) {
        let known = Rc::clone(self.known());
        self.leases.follow(&known.state, now);
        if self.watch.seen_epoch.replace(known.state.epoch) != Some(known.state.epoch) {
            (self.watch.episode, self.watch.probe, self.watch.not_before) = (None, None, now);
        }
    }

    fn listen(&mut self, context: &mut Context, now: Moment) -> Verdict {
        let unfit = self.fitness.look(&self.raft.durable.known.state, &self.seen, now);
        let hearing = &mut self.leases.hearing;
        if let Some(subject) = hearing.subject().cloned() {
            if let Some(node) = self.seen.nodes.get(&subject.name).filter(|node| node.connected) {
                hearing.seen_incarnation(&subject.name, &node.incarnation);
            }
            if let Some(probe) = self.watch.probe.as_mut().filter(|probe| now >= probe.until) {
                if probe.is_answered {
                    self.watch.probe = None;
                } else {
                    (probe.is_answered, probe.until) = (true, now.after(limits::PROBE_PAUSE));
                    hearing.probed(&probe.subject, Probe::Unreachable);
                }
            }
            if hearing.wants_probe() && self.watch.probe.is_none() {
                let (call, node) = (context.new_call(), super::super::node_of(&subject.name));
                let until = now.after(limits::PROBE_TIMEOUT);
                self.watch.probe = Some(Probing { call, subject, until, is_answered: false });
                context.call(self.host, node, Message::Probe { id: call });
            }
        }
        match (self.leases.hearing.tick(now), unfit) {
            (Verdict::Heard, Some(unfit)) => Verdict::Suspected(Reason::Unfit(unfit)),
            (verdict, _) => verdict,
        }
    }

    fn suspect(&mut self, context: &Context, verdict: Verdict, now: Moment) {
        match verdict {
            Verdict::Suspected(reason) if self.watch.episode.is_none() => {
                let Some(subject) = self.leases.hearing.subject().cloned() else { return };
                trace!(context, "s{} suspects {}: {reason:?}", self.index, subject.incarnation);
                let poll = Poll::new(context.swarm.sentinels, LEASE);
                let (grounds, asked) = (grounds(reason), Vec::new());
                self.watch.episode = Some(Episode { subject, grounds, poll, asked, is_told: false });
            }
            Verdict::Heard if self.watch.episode.is_some() && self.acting.is_idle() => {
                trace!(context, "s{} hears the master again at {now:?}", self.index);
                self.watch.episode = None;
            }
            Verdict::Suspected(reason) => {
                if let Some(episode) = &mut self.watch.episode {
                    episode.grounds = grounds(reason);
                }
            }
            Verdict::Heard => {}
        }
    }

    /// Asks every sentinel, ourselves included, to suspend the epoch, until a majority has.
    fn ask(&mut self, context: &mut Context, now: Moment) {
        let Some(mut episode) = self.watch.episode.take() else { return };
        let epoch = episode.subject.epoch;
        let own = self.index as u64;
        // A master that is heard keeps our grants until the others agree that it is of no use.
        let is_our_turn = episode.grounds == Grounds::Unheard || episode.poll.lacks_one(now);
        if episode.poll.should_ask(own, now) && is_our_turn {
            let grant_age = if context.is(Mutation::SuspensionIgnored) {
                self.leases.ledger.grant_age(epoch, now)
            } else {
                self.leases.ledger.suspend(epoch, now)
            };
            episode.poll.record(own, Report { asked: now, answered: now, grant_age });
        }
        episode.asked.retain(|question| now < question.until);
        for sentinel in (0..context.swarm.sentinels as u64).filter(|sentinel| *sentinel != own) {
            let is_asked = episode.asked.iter().any(|question| question.sentinel == sentinel);
            if episode.poll.should_ask(sentinel, now) && !is_asked {
                let (call, unfit) = (context.new_call(), episode.grounds == Grounds::Unfit);
                let until = now.after(limits::SUSPEND_TIMEOUT + limits::SUSPEND_RETRY);
                episode.asked.push(Question { sentinel, call, asked: now, until });
                let to = context.sentinel(sentinel as usize);
                context.call(self.host, to, Message::Suspend { id: call, epoch, unfit });
            }
        }
        self.watch.episode = Some(episode);
    }

    /// Starts a failover as soon as no lease can be valid, or none will be once the master has stepped down; or the choice
    /// of the first master.
    fn fail_over(&mut self, context: &mut Context, now: Moment) {
        if !self.acting.is_idle() || now < self.watch.not_before {
            return;
        }
        let epoch = self.known().state.epoch;
        let is_hasty = context.is(Mutation::YoungestGrantNotAwaited);
        let is_due = match &self.watch.episode {
            Some(episode) => episode.poll.lease_ends(now).is_some_and(|end| is_hasty || now >= end),
            None => epoch == 0,
        };
        if is_due || self.is_to_be_told(now) {
            self.watch.stale_since = None;
            let by = if is_due { Sureness::LeasesOver } else { Sureness::ByItsWord };
            self.replace_master(context, by, now);
        } else {
            self.mend_promises(context, now);
        }
    }

    /// It is heard, most agree that it is of no use, and it has not been told yet.
    fn is_to_be_told(&mut self, now: Moment) -> bool {
        let Some(episode) = &mut self.watch.episode else { return false };
        let is_agreed = episode.grounds == Grounds::Unfit && episode.poll.lease_ends(now).is_some();
        is_agreed && !std::mem::replace(&mut episode.is_told, true)
    }

    /// The master is well and somebody cannot follow it, for longer than a promotion takes to be known.
    fn mend_promises(&mut self, context: &mut Context, now: Moment) {
        let known = Rc::clone(self.known());
        if self.watch.episode.is_some() || plan::stale_promise(&known.state, &self.seen).is_none() {
            self.watch.stale_since = None;
            return;
        }
        let since = *self.watch.stale_since.get_or_insert(now);
        if now.since(since) >= limits::STALE_PROMISE {
            self.watch.stale_since = None;
            self.raise_epoch(context, now);
        }
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
