//! What clients are told: which master is announced, its flags, and the events of Redis Sentinel, each sentinel by its
//! own observation. The announced master changes when the new one answers as master, not before.

use std::{collections::BTreeMap, sync::Arc};

use tercet_proto::grpc::peer::v1::{NodeStatus, Role};

use crate::{
    clock::Moment,
    detect::Reason,
    events::{Instance, MasterName},
    limits,
    nodes::Node,
    raft::Leadership,
    shared::{Announced, Past, Shared},
    state::{Address, ClusterState, Member},
};

/// Whether the master of the newest state is suspected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Doubt {
    None,
    Suspected,
}

/// What subscribers were told of a replica under the announced master.
#[derive(Debug, Default)]
struct Told {
    incarnation: String,
    /// How far it was seen to come to the announced master, under which epoch.
    reached: (u64, Step),
    /// It was seen to take itself for a master.
    claims: bool,
}

/// What a replica does on the way to a new master, in the order of the events that tell of it.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    #[default]
    Elsewhere,
    /// It knows the epoch.
    Sent,
    /// It connects.
    InProgress,
    Done,
}

/// Under Redis' names, and the one that go-redis listens for.
const STEPS: [(Step, &[&str]); 3] = [
    (Step::Sent, &["+slave-reconf-sent"]),
    (Step::InProgress, &["+slave-reconf-inprog"]),
    (Step::Done, &["+slave-reconf-done", "+replica-reconf-done"]),
];

/// How far a node has come to the master of `epoch`.
fn step(status: &NodeStatus, epoch: u64) -> Step {
    match status.role() {
        Role::Replica if status.epoch == epoch && status.link_up => Step::Done,
        Role::Replica if status.epoch == epoch => Step::InProgress,
        Role::Replica | Role::Waiting | Role::Deposed if status.epoch == epoch => Step::Sent,
        Role::Replica | Role::Waiting | Role::Deposed | Role::Master | Role::Unspecified => Step::Elsewhere,
    }
}

/// Called by the watchdog at each of its looks.
#[derive(Debug)]
pub(crate) struct Herald {
    shared: Arc<Shared>,
    told: BTreeMap<String, Told>,
}

impl Herald {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, told: BTreeMap::new() }
    }

    /// This sentinel suspects the master of `state`.
    pub(crate) fn suspected(&self, state: &ClusterState, reason: Reason, now: Moment) {
        let is_new = {
            let mut status = self.shared.status.lock();
            let is_announced = status.announced.as_ref().is_some_and(|known| known.member.name == state.master);
            is_announced && status.s_down.replace(now).is_none()
        };
        if is_new {
            let master = self.shared.master_name();
            if reason == Reason::Restarted {
                self.shared.events.about("+reboot", Instance::Master, &master);
            }
            self.shared.events.about("+sdown", Instance::Master, &master);
        }
    }

    /// A majority of sentinels suspended the epoch of the master that is suspected.
    pub(crate) fn agreed(&self, agreed: usize, now: Moment) {
        let is_new = {
            let mut status = self.shared.status.lock();
            status.s_down.is_some() && status.o_down.replace(now).is_none()
        };
        if is_new {
            let more = format!(" #quorum {agreed}/{}", self.shared.quorum());
            self.shared.events.about_with("+odown", Instance::Master, &self.shared.master_name(), &more);
        }
    }

    /// The announced master is well: its flags go.
    pub(crate) fn well_again(&self, state: &ClusterState) {
        let (was_s_down, was_o_down) = {
            let mut status = self.shared.status.lock();
            if status.announced.as_ref().is_none_or(|known| known.member.name != state.master) {
                return;
            }
            (status.s_down.take().is_some(), status.o_down.take().is_some())
        };
        let master = self.shared.master_name();
        if was_s_down {
            self.shared.events.about("-sdown", Instance::Master, &master);
        }
        if was_o_down {
            self.shared.events.about("-odown", Instance::Master, &master);
        }
    }

    /// The others replaced the master before we had a doubt of our own: if it does not answer us either, say so.
    pub(crate) fn mourn(&self, now: Moment) {
        let is_down = {
            let mut status = self.shared.status.lock();
            let name = status.announced.as_ref().map(|known| known.member.name.clone());
            let is_gone = name.is_some_and(|name| self.shared.nodes.get(&name).is_none_or(|node| !node.is_connected()));
            is_gone && status.s_down.is_none() && status.s_down.replace(now).is_none()
        };
        if is_down {
            self.shared.events.about("+sdown", Instance::Master, &self.shared.master_name());
        }
    }

    /// Tells the clients of the master, once it answers as one.
    pub(crate) fn announce(&mut self, state: &ClusterState, leadership: Leadership, doubt: Doubt, now: Moment) {
        if state.epoch == 0 {
            return;
        }
        let (Some(member), Some(process)) = (state.member(&state.master), state.master_process()) else { return };
        let announced = self.shared.status.lock().announced.clone();
        let is_current =
            announced.as_ref().is_some_and(|known| known.epoch == state.epoch && known.member.resp == member.resp);
        if is_current {
            return;
        }
        let answers = self
            .shared
            .nodes
            .get(&state.master)
            .is_some_and(|node| node.is_master_of(state.epoch, &process.incarnation));
        // After a restart there may be nothing better to tell than what the state says.
        let is_restart = announced.is_none()
            && self.shared.past == Past::Known
            && leadership.leader.is_some()
            && now.since(self.shared.started) > limits::RESTART_PATIENCE;
        if !answers && !is_restart {
            return;
        }
        let news = Announced {
            epoch: state.epoch,
            member: member.clone(),
            incarnation: process.incarnation.clone(),
            since: now,
        };
        let is_same = announced.as_ref().is_some_and(|known| known.member.resp == member.resp);
        if is_same && doubt == Doubt::None {
            self.well_again(state);
        }
        {
            let mut status = self.shared.status.lock();
            status.announced = Some(news);
            if doubt == Doubt::None {
                status.s_down = None;
                status.o_down = None;
            }
            status.replicas_down.remove(&member.name);
        }
        self.tell_of_switch(announced.as_ref(), member, leadership);
    }

    fn tell_of_switch(&mut self, before: Option<&Announced>, member: &Member, leadership: Leadership) {
        let events = &self.shared.events;
        let master = self.shared.master_name();
        match before {
            None => {
                let more = format!(" quorum {}", self.shared.quorum());
                events.about_with("+monitor", Instance::Master, &master, &more);
                for sibling in self.shared.siblings.all().into_values() {
                    events.about("+sentinel", Instance::Sentinel(&sibling.sentinel_id, &sibling.resp), &master);
                }
            }
            Some(before) if before.member.resp == member.resp => {
                events.about_with("+role-change", Instance::Master, &master, " new reported role is master");
            }
            Some(before) => {
                let Address { host, port } = &before.member.resp;
                let (service, new) = (&self.shared.service, &member.resp);
                if let Some(leader) = leadership.leader.and_then(|leader| self.shared.sibling(leader)) {
                    let old = MasterName { service: service.clone(), address: before.member.resp.clone() };
                    events.about("+config-update-from", Instance::Sentinel(&leader.sentinel_id, &leader.resp), &old);
                }
                events.publish("+switch-master", format!("{service} {host} {port} {} {}", new.host, new.port));
                // The replicas of the new master are told of anew.
                self.told.clear();
            }
        }
    }

    /// Tells of replicas: new ones, restarted ones, those that follow the new master.
    pub(crate) fn tell_of_replicas(&mut self, state: &ClusterState) {
        let announced =
            self.shared.status.lock().announced.as_ref().map(|known| (known.member.name.clone(), known.epoch));
        let Some((master_name, epoch)) = announced else { return };
        let mut events = Vec::new();
        for member in state.members.iter().filter(|member| member.name != master_name) {
            let node = self.shared.nodes.get(&member.name).filter(Node::is_connected);
            let told = self.told.entry(member.name.clone()).or_insert_with(|| {
                events.push(("+slave", member, ""));
                Told::default()
            });
            let Some(node) = node else { continue };
            let incarnation = &node.status.incarnation;
            if told.incarnation != *incarnation {
                if !told.incarnation.is_empty() {
                    events.push(("+reboot", member, ""));
                }
                told.incarnation.clone_from(incarnation);
            }
            let claims = node.status.role() == Role::Master;
            if std::mem::replace(&mut told.claims, claims) != claims {
                events.push(if claims {
                    ("-role-change", member, " new reported role is master")
                } else {
                    ("+role-change", member, " new reported role is slave")
                });
            }
            let step = step(&node.status, epoch);
            let before = if told.reached.0 == epoch { told.reached.1 } else { Step::Elsewhere };
            if step > before {
                told.reached = (epoch, step);
                let passed = STEPS.iter().filter(|(passed, _)| (before..=step).contains(passed) && *passed != before);
                events.extend(passed.flat_map(|(_, names)| names.iter().map(|name| (*name, member, ""))));
            }
        }
        if !events.is_empty() {
            let master = self.shared.master_name();
            for (channel, member, more) in events {
                self.shared.events.about_with(channel, Instance::Slave(&member.resp), &master, more);
            }
        }
    }

    /// This sentinel was not running, and counts silence anew; or it has seen a whole window since.
    pub(crate) fn tilt(&self, since: Option<Moment>) {
        let was = std::mem::replace(&mut self.shared.status.lock().tilt, since);
        match (was, since) {
            (None, Some(_)) => self.shared.events.publish("+tilt", "#tilt mode entered".into()),
            (Some(_), None) => self.shared.events.publish("-tilt", "#tilt mode exited".into()),
            (None, None) | (Some(_), Some(_)) => {}
        }
    }

    /// s_down of the nodes that are not the announced master.
    pub(crate) fn watch_replicas(&self, state: &ClusterState, now: Moment) {
        let nodes = self.shared.nodes.all();
        let down_after = self.shared.tunable.lock().down_after;
        let is_down = |node: Option<&Node>| match node {
            Some(node) => now.since(node.at) > down_after,
            None => now.since(self.shared.started) > limits::OBSERVE_SILENCE,
        };
        let mut events = Vec::new();
        {
            let mut status = self.shared.status.lock();
            let Some(announced) = status.announced.as_ref().map(|known| known.member.name.clone()) else { return };
            for member in state.members.iter().filter(|member| member.name != announced) {
                let was_down = status.replicas_down.contains_key(&member.name);
                match (was_down, is_down(nodes.get(&member.name))) {
                    (false, true) => {
                        status.replicas_down.insert(member.name.clone(), now);
                        events.push(("+sdown", member));
                    }
                    (true, false) => {
                        status.replicas_down.remove(&member.name);
                        events.push(("-sdown", member));
                        let is_replica =
                            nodes.get(&member.name).is_some_and(|node| node.status.role() == Role::Replica);
                        if is_replica {
                            events.push(("+convert-to-slave", member));
                        }
                    }
                    (true, true) | (false, false) => {}
                }
            }
        }
        if !events.is_empty() {
            let master = self.shared.master_name();
            for (channel, member) in events {
                self.shared.events.about(channel, Instance::Slave(&member.resp), &master);
            }
        }
    }
}
