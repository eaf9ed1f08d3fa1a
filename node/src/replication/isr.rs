//! Who belongs into the ISR? The master's rules, pure over its mastership and the time.
//!
//! | a copy | |
//! |---|---|
//! | outside, connected, at most a tick behind | becomes a candidate: it counts from now on |
//! | a candidate that holds everything committed | is proposed |
//! | inside, its stream closed | leaves at once, or after `SILENCE` if the ISR would become too small to write |
//! | inside, silent or without progress for `SILENCE` | leaves |
//! | inside, to be loaded anew | leaves at once |
//!
//! A copy that leaves counts until the sentinels have committed the ISR without it.

use tercet_proto::grpc::cluster::v1::IsrMember;

use super::commit::{Copy, Term};
use crate::clock::BootNanos;
use crate::ids::{Epoch, Offset};
use crate::limits;

/// An ISR to be committed on top of `version`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proposal {
    pub epoch: Epoch,
    pub version: u64,
    pub isr: Vec<IsrMember>,
    /// Of those that leave: who holds everything that this master has acknowledged or shown.
    pub witnesses: Vec<IsrMember>,
    /// For the log: what is to change, and why.
    pub changes: Vec<(String, &'static str)>,
}

impl Term {
    /// Begins the times of observation anew: this process itself was not running.
    pub fn forgive(&mut self, now: BootNanos) {
        self.began = self.began.max(now);
        for copy in &mut self.copies {
            copy.heard = now;
            copy.stuck_since = None;
        }
    }

    /// Looks at all copies. To be called every `limits::ISR_TICK`, and when something has happened.
    pub fn propose(&mut self, now: BootNanos, end: Offset) -> Option<Proposal> {
        self.note_progress(now, end);
        self.choose_candidates(now);
        let mut changes = Vec::new();
        let mut isr: Vec<IsrMember> = vec![self.me.clone()];
        for member in self.isr.iter().filter(|member| **member != self.me) {
            match self.why_leave(member, now) {
                Some(why) => changes.push((member.name.clone(), why)),
                None => isr.push(member.clone()),
            }
        }
        // Candidates count by now, so the commit offset waits for them.
        let holds = self.floor.max(self.committed);
        for copy in self.copies.iter().filter(|copy| copy.candidate && copy.counts_to(self.counted) >= holds) {
            if !self.is_member(copy) {
                changes.push((copy.member.name.clone(), "has caught up"));
                isr.push(copy.as_member());
            }
        }
        if now.millis_since(self.ticked) >= limits::ISR_TICK.as_millis() as u64 {
            (self.end_at_tick, self.ticked) = (end, now);
        }
        if changes.is_empty() && self.proposed.is_empty() {
            return None;
        }
        for member in &isr {
            if !self.proposed.contains(member) {
                self.proposed.push(member.clone());
            }
        }
        let leaves = |member: &&IsrMember| !isr.contains(member) && self.bears_witness(member);
        let witnesses = self.isr.iter().filter(leaves).cloned().collect();
        Some(Proposal { epoch: self.epoch, version: self.version, isr, witnesses, changes })
    }

    /// A member of the ISR holds everything that was acknowledged, and with the floor everything that may be shown while
    /// the ISR is too small to commit more. So it may lead if this master cannot.
    fn bears_witness(&self, member: &IsrMember) -> bool {
        let is_witness = |copy: &Copy| copy.is(member) && !copy.leaving && copy.counts_to(self.counted) >= self.floor;
        self.copies.iter().any(is_witness)
    }

    fn note_progress(&mut self, now: BootNanos, end: Offset) {
        for copy in &mut self.copies {
            let counts_to = copy.counts_to(self.counted);
            if counts_to >= end {
                copy.stuck_since = None;
            } else if counts_to > copy.counted_at_tick {
                copy.stuck_since = Some(now);
            } else {
                copy.stuck_since.get_or_insert(now);
            }
            copy.counted_at_tick = counts_to;
        }
    }

    fn choose_candidates(&mut self, now: BootNanos) {
        for index in 0..self.copies.len() {
            let copy = &self.copies[index];
            let is_lively = copy.is_connected()
                && !copy.syncing
                && !copy.leaving
                && now.millis_since(copy.heard) < limits::ISR_SILENCE_MS
                && copy.stuck_since.is_none_or(|since| now.millis_since(since) < limits::ISR_SILENCE_MS);
            let is_near = copy.candidate || copy.counts_to(self.counted) >= self.floor.max(self.end_at_tick);
            let candidate = is_lively && is_near && !self.is_member(copy);
            self.copies[index].candidate = candidate;
        }
    }

    fn why_leave(&self, member: &IsrMember, now: BootNanos) -> Option<&'static str> {
        let is_long_ago = |since: BootNanos| now.millis_since(since) >= limits::ISR_SILENCE_MS;
        let Some(copy) = self.copies.iter().find(|copy| copy.is(member)) else {
            return is_long_ago(self.began).then_some("never came");
        };
        if copy.leaving {
            return Some("has to be loaded anew");
        }
        if !copy.is_connected() {
            let can_do_without = self.isr.len() > self.min_isr;
            return (can_do_without || is_long_ago(copy.heard)).then_some("its stream closed");
        }
        if is_long_ago(copy.heard) {
            return Some("is silent");
        }
        copy.stuck_since.is_some_and(is_long_ago).then_some("makes no progress")
    }
}

#[cfg(test)]
mod tests {
    use super::super::commit::StreamId;
    use super::super::commit::tests::{Fixture, member, state};
    use super::*;

    const fn at(millis: u64) -> BootNanos {
        BootNanos(millis * 1_000_000)
    }

    impl Fixture {
        fn propose(&self, millis: u64) -> Option<Vec<String>> {
            let end = self.journal.end();
            let proposal = self.tracker.with_term(&self.journal, &self.gate, |term| term.propose(at(millis), end));
            proposal.flatten().map(|proposal| proposal.isr.into_iter().map(|member| member.name).collect())
        }

        fn hear(&self, stream: StreamId, offset: u64, millis: u64) -> u64 {
            self.acknowledge_at(stream, offset, at(millis))
        }
    }

    fn names(names: &[&str]) -> Option<Vec<String>> {
        Some(names.iter().map(|name| (*name).to_owned()).collect())
    }

    #[test]
    fn a_copy_that_caught_up_counts_before_it_is_proposed() {
        let fixture = Fixture::new(&["m"], 1);
        fixture.append(3);
        let a = fixture.join("a");
        assert_eq!(fixture.propose(0), None, "it holds nothing yet");
        fixture.hear(a, 3, 10);
        assert_eq!(fixture.propose(10), names(&["m", "a"]));
        fixture.append(1);
        assert_eq!(fixture.gate.commit(), Offset(3), "the proposal may be committed at any moment");
        assert_eq!(fixture.hear(a, 4, 20), 4);
    }

    #[test]
    fn a_copy_just_behind_is_waited_for_and_not_proposed_before() {
        let fixture = Fixture::new(&["m"], 1);
        fixture.append(3);
        fixture.propose(0);
        fixture.propose(50);
        let a = fixture.join("a");
        fixture.append(2);
        fixture.hear(a, 3, 60);
        assert_eq!(fixture.propose(60), None, "5 records are committed, it holds 3");
        fixture.append(1);
        assert_eq!(fixture.gate.commit(), Offset(5), "but it counts by now");
        fixture.hear(a, 5, 70);
        assert_eq!(fixture.propose(70), names(&["m", "a"]));
    }

    #[test]
    fn a_copy_below_the_floor_does_not_come_in() {
        let fixture = Fixture::new(&["m"], 2);
        fixture.tracker.with_term(&fixture.journal, &fixture.gate, |term| term.floor = Offset(7));
        let a = fixture.join("a");
        fixture.hear(a, 6, 10);
        assert_eq!(fixture.propose(10), None, "record 7 may have been acknowledged by the last master");
        fixture.hear(a, 7, 20);
        assert_eq!(fixture.propose(20), names(&["m", "a"]));
    }

    #[test]
    fn a_proposal_of_unknown_fate_counts_until_the_version_moves() {
        let fixture = Fixture::new(&["m"], 1);
        let a = fixture.join("a");
        fixture.hear(a, 0, 10);
        assert_eq!(fixture.propose(10), names(&["m", "a"]));
        fixture.tracker.leave(a, at(20));
        fixture.append(1);
        assert_eq!(fixture.gate.commit(), Offset(0));
        assert_eq!(fixture.propose(20), names(&["m"]), "proposed again, to settle it");
        assert_eq!(fixture.update(&state(2, &["m"], 1)), 1);
        assert_eq!(fixture.propose(30), None);
    }

    #[test]
    fn a_closed_stream_leaves_at_once_where_the_isr_stays_large_enough() {
        let fixture = Fixture::new(&["m", "a", "b"], 2);
        let (a, b) = (fixture.join("a"), fixture.join("b"));
        fixture.hear(a, 0, 10);
        fixture.hear(b, 0, 10);
        fixture.tracker.leave(a, at(20));
        assert_eq!(fixture.propose(20), names(&["m", "b"]));
        fixture.append(1);
        assert_eq!(fixture.hear(b, 1, 30), 0, "it counts until the ISR without it is committed");
        assert_eq!(fixture.update(&state(2, &["m", "b"], 2)), 1);
    }

    #[test]
    fn a_closed_stream_gets_time_to_come_back_where_nothing_could_be_written_without_it() {
        let fixture = Fixture::new(&["m", "a"], 2);
        let a = fixture.join("a");
        fixture.hear(a, 0, 10);
        fixture.tracker.leave(a, at(20));
        assert_eq!(fixture.propose(100), None);
        assert_eq!(fixture.propose(220), names(&["m"]));
    }

    #[test]
    fn a_stalled_member_leaves_and_one_that_moves_stays() {
        let fixture = Fixture::new(&["m", "a", "b"], 2);
        let (a, b) = (fixture.join("a"), fixture.join("b"));
        fixture.append(10);
        for step in 1..=8u64 {
            fixture.hear(a, step, step * 50);
            fixture.hear(b, 0, step * 50);
            let proposal = fixture.propose(step * 50);
            let expected = if step < 5 { None } else { names(&["m", "a"]) };
            assert_eq!(proposal, expected, "at {} ms", step * 50);
        }
    }

    #[test]
    fn a_silent_member_leaves_though_there_is_nothing_to_acknowledge() {
        let fixture = Fixture::new(&["m", "a"], 1);
        let a = fixture.join("a");
        fixture.hear(a, 0, 100);
        assert_eq!(fixture.propose(299), None);
        assert_eq!(fixture.propose(300), names(&["m"]));
    }

    #[test]
    fn a_member_that_never_came_leaves_after_a_while() {
        let fixture = Fixture::new(&["m", "a"], 1);
        assert_eq!(fixture.propose(199), None);
        assert_eq!(fixture.propose(200), names(&["m"]));
    }

    #[test]
    fn a_master_that_slept_does_not_blame_others() {
        let fixture = Fixture::new(&["m", "a"], 1);
        let a = fixture.join("a");
        fixture.hear(a, 0, 100);
        fixture.tracker.with_term(&fixture.journal, &fixture.gate, |term| term.forgive(at(5000)));
        assert_eq!(fixture.propose(5010), None);
    }

    #[test]
    fn who_leaves_with_everything_that_was_shown_bears_witness() {
        let fixture = Fixture::new(&["m", "a", "b"], 2);
        fixture.tracker.with_term(&fixture.journal, &fixture.gate, |term| term.floor = Offset(7));
        let (a, b) = (fixture.join("a"), fixture.join("b"));
        fixture.hear(a, 7, 10);
        fixture.hear(b, 6, 10);
        let proposal =
            fixture.tracker.with_term(&fixture.journal, &fixture.gate, |term| term.propose(at(400), Offset(7)));
        let proposal = proposal.flatten().unwrap();
        assert_eq!(proposal.isr, [member("m")]);
        assert_eq!(proposal.witnesses, [member("a")], "b lacks record 7, which m may show alone");
    }

    #[test]
    fn a_member_to_be_loaded_anew_leaves_first() {
        let fixture = Fixture::new(&["m", "a", "b"], 2);
        let a = fixture.join("a");
        let b = fixture.join("b");
        fixture.hear(a, 0, 10);
        fixture.hear(b, 0, 10);
        fixture.tracker.leave_isr(a);
        assert_eq!(fixture.propose(10), names(&["m", "b"]));
        assert!(fixture.tracker.copies().iter().any(|(copy, is_member)| copy.is(&member("a")) && *is_member));
    }
}
