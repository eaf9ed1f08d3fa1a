//! Is a master that is heard of any use? It may have its lease and no replicas within reach, or a disk that fails.
//!
//! ```text
//!   fit <--------------- unfit (since) --patience--> to be replaced: suspend, as if it were silent
//! ```
//! A mastership that never had enough replicas is given longer: where all links are broken, one master after the other
//! would be replaced for nothing.

use crate::{
    clock::Moment,
    limits,
    plan::{Observations, Seen},
    state::ClusterState,
};

/// What a master that is heard lacks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unfit {
    /// It cannot acknowledge a write for want of replicas, and enough of them answer us.
    CutOff,
    DiskFailed,
}

/// What is to be said of the master, now. Of nodes that have said nothing for a moment nothing is known.
#[must_use]
pub fn unfit(state: &ClusterState, seen: &Observations, now: Moment) -> Option<Unfit> {
    let process = state.master_process()?;
    let is_recent = |node: &Seen| node.connected && now.since(node.at) < limits::STATUS_LIFE;
    let master = seen.nodes.get(&process.name).filter(|node| is_recent(node))?;
    if master.incarnation != process.incarnation {
        return None;
    }
    let is_well = |node: &Seen| is_recent(node) && !node.loading && !node.syncing && !node.disk_failed;
    let others: Vec<(&String, &Seen)> = state
        .members
        .iter()
        .filter(|member| member.name != state.master)
        .filter_map(|member| seen.nodes.get_key_value(&member.name))
        .filter(|(_, node)| is_well(node))
        .collect();
    // Whoever replaces it has to hold everything.
    let has_heir = state.eligible().filter(|member| member.name != state.master).any(|member| {
        seen.nodes.get(&member.name).is_some_and(|node| is_well(node) && node.incarnation == member.incarnation)
    });
    if !has_heir {
        return None;
    }
    if master.disk_failed {
        return Some(Unfit::DiskFailed);
    }
    let min_isr = state.min_isr as usize;
    // Either way may be cut: it has to be heard, and to hear.
    let is_reached = |name: &String, node: &Seen| {
        node.link_up && node.link_silent < limits::LINK_SILENCE && master.hears.contains(name)
    };
    let reached = 1 + others.iter().filter(|(name, node)| is_reached(name, node)).count();
    let is_cut_off = state.isr.len() < min_isr && reached < min_isr && others.len() >= min_isr;
    is_cut_off.then_some(Unfit::CutOff)
}

/// Observation of the master of one epoch.
#[derive(Debug, Clone, Default)]
pub struct Fitness {
    epoch: u64,
    /// It once had enough replicas under this epoch.
    was_fit: bool,
    since: Option<(Unfit, Moment)>,
    quiet_until: Moment,
    last_look: Moment,
}

impl Fitness {
    /// The regular look. Says what the master lacks, once that has lasted long enough to replace it.
    pub fn look(&mut self, state: &ClusterState, seen: &Observations, now: Moment) -> Option<Unfit> {
        if self.epoch != state.epoch {
            *self = Self { epoch: state.epoch, ..Self::default() };
        } else if now.since(self.last_look) > limits::TICK + limits::TICK_SLIP {
            // We were not running: what we know is old.
            self.since = None;
        }
        self.last_look = now;
        self.was_fit |= state.isr.len() >= state.min_isr as usize;
        self.since = match (unfit(state, seen, now), self.since) {
            (Some(found), Some((known, since))) if found == known => Some((known, since)),
            (Some(found), _) => Some((found, now)),
            (None, _) => None,
        };
        self.lasting(now, 1)
    }

    /// Another sentinel wants to replace the master for this: is it so for us too, nearly as long?
    #[must_use]
    pub fn agrees(&self, epoch: u64, now: Moment) -> bool {
        self.epoch == epoch && self.lasting(now, 2).is_some()
    }

    /// Since when the master has said that its disk has failed.
    #[must_use]
    pub fn disk_failed_since(&self) -> Option<Moment> {
        self.since.filter(|(found, _)| *found == Unfit::DiskFailed).map(|(_, since)| since)
    }

    /// Nobody could take its place: a master of little use is better than none.
    pub fn put_off(&mut self, now: Moment) {
        self.quiet_until = now.after(limits::UNFIT_AGAIN);
    }

    /// What has lasted for its patience, or that part of it.
    fn lasting(&self, now: Moment, part: u32) -> Option<Unfit> {
        let (found, since) = self.since?;
        let patience = match found {
            _ if !self.was_fit => limits::UNFIT_AGAIN,
            Unfit::CutOff => limits::CUT_OFF_AFTER,
            Unfit::DiskFailed => limits::DISK_FAILED_AFTER,
        };
        (now >= self.quiet_until && now.since(since) >= patience / part).then_some(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::{IsrMember, Member};

    const NOW: Moment = Moment::from_millis(100);

    /// n1 leads and hears nobody; n2 and n3 bear witness.
    fn cut_off() -> (ClusterState, Observations) {
        let process = |name: &str| IsrMember { name: name.into(), incarnation: name.into() };
        let state = ClusterState {
            epoch: 3,
            master: "n1".into(),
            isr: vec![process("n1")],
            witnesses: vec![process("n2"), process("n3")],
            min_isr: 2,
            members: ["n1", "n2", "n3"].map(|name| Member { name: name.into(), ..Member::default() }).into(),
            ..ClusterState::default()
        };
        let mut seen = Observations::default();
        for name in ["n1", "n2", "n3"] {
            let node = Seen { incarnation: name.into(), connected: true, at: NOW, ..Seen::default() };
            seen.nodes.insert(name.into(), node);
        }
        (state, seen)
    }

    fn change(seen: &mut Observations, name: &str, change: impl FnOnce(&mut Seen)) {
        change(seen.nodes.get_mut(name).expect("a node of the fixture"));
    }

    #[test]
    fn a_master_without_replicas_is_unfit_if_enough_of_them_answer() {
        let (state, mut seen) = cut_off();
        assert_eq!(unfit(&state, &seen, NOW), Some(Unfit::CutOff));
        change(&mut seen, "n3", |node| node.connected = false);
        assert_eq!(unfit(&state, &seen, NOW), None, "n2 could not acknowledge anything either");
    }

    #[test]
    fn a_replica_that_catches_up_keeps_its_master() {
        let (state, mut seen) = cut_off();
        change(&mut seen, "n2", |node| node.link_up = true);
        change(&mut seen, "n1", |node| node.hears = ["n2".into()].into());
        assert_eq!(unfit(&state, &seen, NOW), None);
    }

    #[test]
    fn a_link_that_is_silent_either_way_reaches_nobody() {
        let (state, mut seen) = cut_off();
        change(&mut seen, "n2", |node| node.link_up = true);
        assert_eq!(unfit(&state, &seen, NOW), Some(Unfit::CutOff), "the master does not hear n2");
        change(&mut seen, "n1", |node| node.hears = ["n2".into()].into());
        change(&mut seen, "n2", |node| node.link_silent = limits::LINK_SILENCE);
        assert_eq!(unfit(&state, &seen, NOW), Some(Unfit::CutOff), "n2 does not hear the master");
    }

    #[test]
    fn what_was_said_a_while_ago_is_no_ground() {
        let (state, seen) = cut_off();
        let later = NOW.after(limits::STATUS_LIFE);
        assert_eq!(unfit(&state, &seen, later), None);
        for silent in ["n1", "n2"] {
            let mut fresh = seen.clone();
            fresh.nodes.values_mut().for_each(|node| node.at = later);
            assert_eq!(unfit(&state, &fresh, later), Some(Unfit::CutOff));
            change(&mut fresh, silent, |node| node.at = NOW);
            assert_eq!(unfit(&state, &fresh, later), None, "{silent} has said nothing");
        }
    }

    #[test]
    fn without_an_heir_that_holds_everything_a_master_stays() {
        let (mut state, mut seen) = cut_off();
        state.witnesses.clear();
        assert_eq!(unfit(&state, &seen, NOW), None);
        state.isr.push(IsrMember { name: "n2".into(), incarnation: "n2".into() });
        change(&mut seen, "n1", |node| node.disk_failed = true);
        assert_eq!(unfit(&state, &seen, NOW), Some(Unfit::DiskFailed));
        change(&mut seen, "n2", |node| node.incarnation = "restarted".into());
        assert_eq!(unfit(&state, &seen, NOW), None);
    }

    #[test]
    fn a_master_that_does_not_answer_us_is_not_judged_by_what_it_said() {
        let (state, mut seen) = cut_off();
        change(&mut seen, "n1", |node| node.connected = false);
        assert_eq!(unfit(&state, &seen, NOW), None);
    }

    fn look_until(fitness: &mut Fitness, state: &ClusterState, seen: &Observations, from: u64, to: u64) -> Option<u64> {
        (from..=to).step_by(10).find(|&ms| {
            let (now, mut seen) = (Moment::from_millis(ms), seen.clone());
            seen.nodes.values_mut().for_each(|node| node.at = now);
            fitness.look(state, &seen, now).is_some()
        })
    }

    #[test]
    fn a_master_that_was_fit_is_replaced_soon() {
        let (mut state, seen) = cut_off();
        let mut fitness = Fitness::default();
        state.min_isr = 1;
        assert_eq!(look_until(&mut fitness, &state, &seen, 0, 1000), None);
        state.min_isr = 2;
        assert_eq!(look_until(&mut fitness, &state, &seen, 1010, 9000), Some(1160));
        assert!(fitness.agrees(3, Moment::from_millis(1085)) && !fitness.agrees(3, Moment::from_millis(1080)));
        assert!(!fitness.agrees(2, Moment::from_millis(1160)));
    }

    #[test]
    fn a_master_that_never_was_fit_is_given_longer() {
        let (state, seen) = cut_off();
        assert_eq!(look_until(&mut Fitness::default(), &state, &seen, 0, 20_000), Some(10_000));
    }

    #[test]
    fn where_nobody_could_take_over_it_is_put_off() {
        let (state, seen) = cut_off();
        let mut fitness = Fitness { was_fit: true, epoch: 3, ..Fitness::default() };
        assert_eq!(look_until(&mut fitness, &state, &seen, 10, 5000), Some(160));
        fitness.put_off(Moment::from_millis(160));
        assert_eq!(look_until(&mut fitness, &state, &seen, 170, 20_000), Some(10_160));
    }

    #[test]
    fn a_sentinel_that_stood_still_begins_its_observation_anew() {
        let (state, seen) = cut_off();
        let mut fitness = Fitness { was_fit: true, epoch: 3, ..Fitness::default() };
        assert_eq!(look_until(&mut fitness, &state, &seen, 10, 150), None);
        assert_eq!(look_until(&mut fitness, &state, &seen, 5000, 9000), Some(5150));
    }
}
