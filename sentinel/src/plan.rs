//! Who becomes master: a pure function of (state, observations, now), and the choice among those that were fenced.
//!
//! ```text
//!   epoch 0                      first master: the listed node with the most data
//!   an ISR process may live      failover: fence them, the furthest one leads
//!   only the master itself does  failover to itself
//!   no ISR process lives         recovery: every node of the ISR must have reported; the furthest of all members leads
//!   an operator insists          forced: the named, or the furthest node that has reported leads
//! ```
//! A witness (see `state`) counts as a process of the ISR here.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use crate::{
    clock::Moment,
    limits,
    state::{ClusterState, IsrMember},
};

/// A node as it last said itself.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Seen {
    pub incarnation: String,
    /// An Observe stream is open.
    pub connected: bool,
    pub promised_epoch: u64,
    pub last_epoch: u64,
    pub end_offset: u64,
    pub syncing: bool,
    /// It still reads its disk: what it says of its journal is not final.
    pub loading: bool,
    pub disk_failed: bool,
    /// A replica's stream to its master is up.
    pub link_up: bool,
    /// For how long nothing had come on that stream.
    pub link_silent: Duration,
    /// The replicas that a master had just heard.
    pub hears: BTreeSet<String>,
    /// When it said this.
    pub at: Moment,
}

impl Seen {
    /// It has reported what it holds, and that is whole.
    fn is_whole(&self) -> bool {
        self.connected && !self.loading && !self.syncing
    }
}

/// Everything that was observed, by name; and, for the first master, who answered of those in `--nodes`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Observations {
    pub nodes: BTreeMap<String, Seen>,
    /// In the order of `--nodes`: the name behind the address, once it answered.
    pub listed: Vec<Option<String>>,
    pub first_answer: Option<Moment>,
    pub replaced: Replaced,
}

/// Incarnations that were seen, and later another one of their node.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Replaced(BTreeSet<String>);

impl Replaced {
    /// A node that was `before` says that it is `now`.
    pub fn note(&mut self, before: &str, now: &str) {
        if before != now {
            self.0.insert(before.to_owned());
            while self.0.len() > limits::REMEMBERED_PROCESSES {
                self.0.pop_first();
            }
        }
    }
}

impl Observations {
    /// Another process has taken the place of this one: it is gone for good. What was seen of a node that is not there now
    /// may be older than the one that is asked for.
    fn is_gone(&self, member: &IsrMember) -> bool {
        let is_another = |node: &Seen| node.connected && node.incarnation != member.incarnation;
        self.replaced.0.contains(&member.incarnation) || self.nodes.get(&member.name).is_some_and(is_another)
    }
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Plan {
    Wait(Waiting),
    /// Fence `targets` to `epoch`, then choose by `rule`.
    Fence {
        epoch: u64,
        targets: Vec<String>,
        rule: Rule,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    First,
    Failover,
    Recovery,
    /// As an operator says: what only the missing hold is lost.
    Forced,
}

/// Nothing can be done yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Waiting {
    /// No node has answered, or not long enough ago.
    ForNodes,
    /// No process of the ISR lives, and these nodes have not reported what their disks hold.
    ForMembers(Vec<String>),
}

/// What a node answered to Fence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fenced {
    pub name: String,
    pub incarnation: String,
    pub last_epoch: u64,
    pub end_offset: u64,
    pub complete: bool,
}

/// The new mastership.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    pub master: String,
    pub isr: Vec<IsrMember>,
}

/// Plans the way out of a state whose master is gone (or never was). To be called only when no lease can be valid.
#[must_use]
pub fn plan(state: &ClusterState, seen: &Observations, now: Moment) -> Plan {
    if state.epoch == 0 { first_master(seen, now) } else { next_master(state, seen) }
}

fn first_master(seen: &Observations, now: Moment) -> Plan {
    let answered: Vec<&String> = seen.listed.iter().flatten().collect();
    let patient = seen.first_answer.is_none_or(|at| now.since(at) < limits::FIRST_MASTER_PATIENCE);
    // One that reads its disk may turn out to be the furthest.
    let is_loading =
        answered.iter().filter_map(|name| seen.nodes.get(*name)).any(|node| node.connected && node.loading);
    if answered.is_empty() || is_loading || (answered.len() < seen.listed.len() && patient) {
        return Plan::Wait(Waiting::ForNodes);
    }
    let mut best: Option<(&String, &Seen)> = None;
    for name in answered {
        let Some(node) = seen.nodes.get(name).filter(|node| node.is_whole()) else { continue };
        let further =
            best.is_none_or(|(_, other)| (node.last_epoch, node.end_offset) > (other.last_epoch, other.end_offset));
        if further {
            best = Some((name, node));
        }
    }
    match best {
        None => Plan::Wait(Waiting::ForNodes),
        Some((name, _)) => Plan::Fence { epoch: next_epoch(0, seen), targets: vec![name.clone()], rule: Rule::First },
    }
}

fn next_master(state: &ClusterState, seen: &Observations) -> Plan {
    let epoch = next_epoch(state.epoch, seen);
    let alive = names(state.eligible().filter(|member| member.name != state.master && !seen.is_gone(member)));
    if !alive.is_empty() {
        return Plan::Fence { epoch, targets: alive, rule: Rule::Failover };
    }
    // Nobody else could lead, and none of its leases is left: it goes on itself. Perhaps it was never told that it leads,
    // because the sentinel that had it promoted is gone.
    let is_there = |node: &Seen, master: &IsrMember| node.connected && node.incarnation == master.incarnation;
    if let Some(master) = state.master_process()
        && seen.nodes.get(&master.name).is_some_and(|node| is_there(node, master))
    {
        return Plan::Fence { epoch, targets: vec![master.name.clone()], rule: Rule::Failover };
    }
    let missing = unreported(state, seen);
    if !missing.is_empty() {
        return Plan::Wait(Waiting::ForMembers(missing));
    }
    // Witnesses too: one that was taken for gone may live after all. And whoever else is there: of the journals of two
    // copies the one with the greater (epoch, offset) holds every acknowledged write that the other holds. So a copy outside
    // of the ISR is as good, and it may have kept what those in it have lost.
    let mut targets = names(state.eligible());
    let others = state.members.iter().map(|member| &member.name);
    let is_there = |name: &&String| seen.nodes.get(*name).is_some_and(Seen::is_whole);
    targets.extend(others.filter(is_there).filter(|name| !targets.contains(name)).cloned().collect::<Vec<_>>());
    Plan::Fence { epoch, targets, rule: Rule::Recovery }
}

/// Each once.
fn names<'a>(members: impl Iterator<Item = &'a IsrMember>) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for member in members {
        if !names.contains(&member.name) {
            names.push(member.name.clone());
        }
    }
    names
}

/// Nodes of the ISR that have not come back as another process and said what their disk holds.
#[must_use]
pub fn unreported(state: &ClusterState, seen: &Observations) -> Vec<String> {
    let has_reported = |member: &IsrMember| {
        let node = seen.nodes.get(&member.name);
        node.is_some_and(|node| node.incarnation != member.incarnation && node.connected && !node.loading)
    };
    state.isr.iter().filter(|member| !has_reported(member)).map(|member| member.name.clone()).collect()
}

/// The plan of an operator who goes on without the missing: `node` leads, or the furthest that has reported.
///
/// # Errors
/// Nobody who could lead has reported, or `node` has not.
pub fn forced(state: &ClusterState, seen: &Observations, node: Option<&str>) -> Result<Plan, String> {
    let epoch = next_epoch(state.epoch, seen);
    let has_reported = |name: &str| seen.nodes.get(name).is_some_and(Seen::is_whole);
    let targets: Vec<String> = match node {
        Some(name) if state.member(name).is_none() => return Err(format!("{name} is no member of the cluster")),
        Some(name) if !has_reported(name) => return Err(format!("{name} has not reported whole data")),
        Some(name) => vec![name.to_owned()],
        None => state.members.iter().map(|member| member.name.clone()).filter(|name| has_reported(name)).collect(),
    };
    if targets.is_empty() {
        return Err("no node has reported whole data".into());
    }
    Ok(Plan::Fence { epoch, targets, rule: Rule::Forced })
}

/// Above the current epoch, above every epoch that a journal holds, and not below what somebody promised already (a
/// failover that did not end, or a life before this cluster).
#[must_use]
pub fn next_epoch(epoch: u64, seen: &Observations) -> u64 {
    let nodes = seen.nodes.values().filter(|node| node.connected);
    let most = nodes.map(|node| node.promised_epoch.max(node.last_epoch.saturating_add(1))).max().unwrap_or(0);
    most.max(epoch + 1)
}

/// A node has promised an epoch above the current one and so follows nobody: what a failover that came to nothing left
/// behind, or a life before this cluster. While the master is well it has to go on under an epoch that suits all.
#[must_use]
pub fn stale_promise(state: &ClusterState, seen: &Observations) -> Option<u64> {
    let promises = seen.nodes.values().filter(|node| node.connected).map(|node| node.promised_epoch);
    promises.filter(|&promised| state.epoch > 0 && promised > state.epoch).max()
}

/// The mastership that follows from the answers of the fenced; `None` if nobody is fit.
#[must_use]
pub fn choose(state: &ClusterState, rule: Rule, fenced: &[Fenced]) -> Option<Choice> {
    let lives = |node: &Fenced| node.complete && state.is_eligible(&node.name, &node.incarnation);
    let rule = if rule == Rule::Recovery && fenced.iter().any(lives) { Rule::Failover } else { rule };
    let is_fit =
        |node: &&Fenced| node.complete && (rule != Rule::Failover || state.is_eligible(&node.name, &node.incarnation));
    let fit: Vec<&Fenced> = fenced.iter().filter(is_fit).collect();
    if rule == Rule::Recovery && !state.isr.iter().all(|member| fenced.iter().any(|node| node.name == member.name)) {
        return None;
    }
    let order = |name: &str| state.members.iter().position(|member| member.name == name).unwrap_or(usize::MAX);
    let best = fit
        .iter()
        .max_by(|a, b| {
            let position = (a.last_epoch, a.end_offset).cmp(&(b.last_epoch, b.end_offset));
            // Of two with the same data the earlier member leads.
            position.then_with(|| order(&b.name).cmp(&order(&a.name)))
        })
        .copied()?;
    let process = |node: &Fenced| IsrMember { name: node.name.clone(), incarnation: node.incarnation.clone() };
    let isr = match rule {
        Rule::Failover => fit.into_iter().map(process).collect(),
        // The others' journals have not been compared with the chosen one's: they come in by catching up.
        Rule::First | Rule::Recovery | Rule::Forced => vec![process(best)],
    };
    Some(Choice { master: best.name.clone(), isr })
}

/// The target of a planned hand-over: the in-sync replica that is furthest.
#[must_use]
pub fn handover_target(state: &ClusterState, seen: &Observations) -> Option<String> {
    let order = |name: &str| state.members.iter().position(|member| member.name == name).unwrap_or(usize::MAX);
    state
        .isr
        .iter()
        .filter(|member| member.name != state.master)
        .filter_map(|member| Some((member, seen.nodes.get(&member.name)?)))
        .filter(|(member, node)| node.is_whole() && !node.disk_failed && node.incarnation == member.incarnation)
        .max_by(|(a, a_node), (b, b_node)| {
            a_node.end_offset.cmp(&b_node.end_offset).then_with(|| order(&b.name).cmp(&order(&a.name)))
        })
        .map(|(member, _)| member.name.clone())
}

#[cfg(test)]
mod tests;
