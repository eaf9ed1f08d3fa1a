//! The cluster as clients are shown it: a copy of everything that the Redis Sentinel protocol tells, taken at once.

use std::time::Duration;

use tercet_proto::grpc::peer::v1::Role;

use crate::{
    clock::{Moment, millis},
    nodes::Node,
    shared::Shared,
    simulated::Simulated,
    state::Address,
};

/// Whether this sentinel has a live connection to an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Link {
    Connected,
    Disconnected,
}

/// What all instances have. Ages are in milliseconds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instance {
    pub address: Address,
    pub run_id: String,
    pub link: Link,
    pub s_down_ms: Option<u64>,
    /// Since the instance last said something.
    pub last_reply_ms: u64,
}

/// The master that clients are told of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MasterPicture {
    pub instance: Instance,
    pub o_down_ms: Option<u64>,
    pub failover_state: Option<&'static str>,
    pub config_epoch: u64,
    pub name: String,
    /// End of its journal, in records.
    pub offset: u64,
    /// Names of the nodes in sync, itself included.
    pub in_sync: Vec<String>,
    pub min_isr: u32,
    pub reported_ms: u64,
}

/// Role as the node itself reports it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reported {
    Master,
    Slave,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplicaPicture {
    pub instance: Instance,
    pub reported: Reported,
    /// Zero while the stream to its master is up.
    pub master_link_down_ms: u64,
    pub master_link_up: Link,
    pub master: Address,
    pub priority: u32,
    pub offset: u64,
    pub name: String,
    pub replicated: Replicated,
    /// Records by which it is behind the master, as both last said.
    pub lag: u64,
}

/// Whether a replica holds everything that is acknowledged, by Raft's word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Replicated {
    InSync,
    Behind,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SentinelPicture {
    pub instance: Instance,
    pub name: String,
}

/// Everything that is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Picture {
    pub service: String,
    pub sentinel_id: String,
    pub address: Address,
    pub uptime: Duration,
    pub current_epoch: u64,
    pub quorum: usize,
    /// Sentinels of the cluster, this one included, whether they answer or not.
    pub sentinel_count: usize,
    pub down_after_ms: u64,
    /// For how long it may have missed something, because it was not running.
    pub tilt_ms: Option<u64>,
    /// What `SENTINEL SIMULATE-FAILURE` asked for.
    pub simulated: Option<Simulated>,
    pub master: Option<MasterPicture>,
    pub replicas: Vec<ReplicaPicture>,
    pub sentinels: Vec<SentinelPicture>,
}

impl Shared {
    /// The picture of this moment.
    pub(crate) fn picture(&self) -> Picture {
        let now = Moment::now();
        let status = self.status.lock().clone();
        let state = self.state();
        let nodes = self.nodes.all();
        let age = |at: Moment| millis(now.since(at));
        let heard = self.leases.lock().hearing.last_renew();
        let instance = |address: &Address, run_id: &str, node: Option<&Node>, s_down: Option<Moment>| Instance {
            address: address.clone(),
            run_id: run_id.to_owned(),
            link: link(node.is_some_and(Node::is_connected)),
            s_down_ms: s_down.map(age),
            last_reply_ms: node.map_or_else(|| age(self.started), |node| age(node.at)),
        };
        let master = status.announced.as_ref().map(|announced| {
            let node = nodes.get(&announced.member.name);
            let mut instance = instance(&announced.member.resp, &announced.incarnation, node, status.s_down);
            if let Some(heard) = heard.filter(|_| announced.epoch == state.epoch) {
                instance.last_reply_ms = instance.last_reply_ms.min(age(heard));
            }
            MasterPicture {
                instance,
                o_down_ms: status.o_down.map(age),
                failover_state: status.failover_state,
                config_epoch: announced.epoch,
                name: announced.member.name.clone(),
                offset: node.map_or(0, |node| node.status.end_offset),
                in_sync: state.isr.iter().map(|process| process.name.clone()).collect(),
                min_isr: state.min_isr,
                reported_ms: age(announced.since),
            }
        });
        let announced = status.announced.as_ref().map(|announced| announced.member.name.as_str());
        let end = announced.and_then(|name| nodes.get(name)).map_or(0, |node| node.status.end_offset);
        let others = state.members.iter().filter(|member| announced.is_some_and(|name| name != member.name));
        let replicas = others.map(|member| {
            let node = nodes.get(&member.name);
            let said = node.map(|node| &node.status);
            let followed = said.and_then(|said| state.member(&said.master)).map(|master| master.resp.clone());
            let up = said.is_some_and(|said| said.link_up) && node.is_some_and(Node::is_connected);
            let s_down = status.replicas_down.get(&member.name).copied();
            ReplicaPicture {
                instance: instance(&member.resp, said.map_or("", |said| said.incarnation.as_str()), node, s_down),
                reported: match said.map(tercet_proto::grpc::peer::v1::NodeStatus::role) {
                    Some(Role::Master) => Reported::Master,
                    Some(Role::Replica | Role::Waiting | Role::Deposed | Role::Unspecified) | None => Reported::Slave,
                },
                master_link_down_ms: if up { 0 } else { said.map_or(0, |said| said.link_down_ms) },
                master_link_up: link(up),
                master: followed.unwrap_or_default(),
                priority: said.map_or(100, |said| if said.priority == 0 { 100 } else { said.priority }),
                offset: said.map_or(0, |said| said.end_offset),
                name: member.name.clone(),
                replicated: match said.map(|said| state.isr.iter().any(|one| one.incarnation == said.incarnation)) {
                    Some(true) => Replicated::InSync,
                    Some(false) | None => Replicated::Behind,
                },
                lag: end.saturating_sub(said.map_or(0, |said| said.end_offset)),
            }
        });
        let is_member = |id: &str| state.sentinels.is_empty() || state.sentinel(id).is_some();
        let siblings = self.siblings.all().into_values().filter(|sibling| is_member(&sibling.sentinel_id));
        let siblings = siblings.map(|sibling| SentinelPicture {
            instance: Instance {
                address: sibling.resp,
                run_id: sibling.sentinel_id,
                link: link(!sibling.is_down),
                s_down_ms: sibling.is_down.then(|| age(sibling.answered)),
                last_reply_ms: age(sibling.answered),
            },
            name: sibling.name,
        });
        Picture {
            service: self.service.clone(),
            sentinel_id: self.identity.sentinel_id.clone(),
            address: self.identity.resp.clone(),
            uptime: now.since(self.started),
            current_epoch: state.epoch,
            quorum: self.quorum(),
            sentinel_count: self.sentinel_count(),
            down_after_ms: millis(self.tunable.lock().down_after),
            tilt_ms: status.tilt.map(age),
            simulated: *self.simulated.lock(),
            master,
            replicas: replicas.collect(),
            sentinels: siblings.collect(),
        }
    }
}

fn link(is_up: bool) -> Link {
    if is_up { Link::Connected } else { Link::Disconnected }
}
