//! The state as it travels: to and from the messages of `cluster.proto`.

use tercet_edge::name::is_host;
use tercet_proto::grpc::cluster::v1 as proto;

use super::{Address, ClusterState, Failover, IsrMember, Member, SentinelMember};

impl From<&Address> for proto::Address {
    fn from(address: &Address) -> Self {
        Self { host: address.host.clone(), port: u32::from(address.port) }
    }
}

impl From<proto::Address> for Address {
    /// What is no host becomes none, and a port that is none becomes 0: nobody connects there.
    fn from(address: proto::Address) -> Self {
        let host = if is_host(&address.host) { address.host } else { String::new() };
        Self { host, port: u16::try_from(address.port).unwrap_or(0) }
    }
}

impl From<&Member> for proto::Member {
    fn from(member: &Member) -> Self {
        Self {
            name: member.name.clone(),
            node_id: member.node_id.clone(),
            peer: Some((&member.peer).into()),
            resp: Some((&member.resp).into()),
            amqp: Some((&member.amqp).into()),
            gateway: Some((&member.gateway).into()),
            http: Some((&member.http).into()),
        }
    }
}

impl From<proto::Member> for Member {
    fn from(member: proto::Member) -> Self {
        let address = |address: Option<proto::Address>| address.unwrap_or_default().into();
        Self {
            name: member.name,
            node_id: member.node_id,
            peer: address(member.peer),
            resp: address(member.resp),
            amqp: address(member.amqp),
            gateway: address(member.gateway),
            http: address(member.http),
        }
    }
}

impl From<&IsrMember> for proto::IsrMember {
    fn from(member: &IsrMember) -> Self {
        Self { name: member.name.clone(), incarnation: member.incarnation.clone() }
    }
}

impl From<proto::IsrMember> for IsrMember {
    fn from(member: proto::IsrMember) -> Self {
        Self { name: member.name, incarnation: member.incarnation }
    }
}

impl From<&SentinelMember> for proto::SentinelMember {
    fn from(sentinel: &SentinelMember) -> Self {
        Self {
            raft_id: sentinel.raft_id,
            sentinel_id: sentinel.sentinel_id.clone(),
            name: sentinel.name.clone(),
            peer: Some((&sentinel.peer).into()),
        }
    }
}

impl From<proto::SentinelMember> for SentinelMember {
    fn from(sentinel: proto::SentinelMember) -> Self {
        Self {
            raft_id: sentinel.raft_id,
            sentinel_id: sentinel.sentinel_id,
            name: sentinel.name,
            peer: sentinel.peer.unwrap_or_default().into(),
        }
    }
}

impl From<&Failover> for proto::Failover {
    fn from(failover: &Failover) -> Self {
        let phase =
            |phase: &super::FailoverPhase| proto::FailoverPhase { name: phase.name.clone(), at_ms: phase.at_ms };
        Self {
            epoch: failover.epoch,
            kind: failover.kind.clone(),
            reason: failover.reason.clone(),
            from: failover.from.clone(),
            to: failover.to.clone(),
            began_unix_ms: failover.began_unix_ms,
            phases: failover.phases.iter().map(phase).collect(),
        }
    }
}

impl From<&ClusterState> for proto::ClusterState {
    fn from(state: &ClusterState) -> Self {
        Self {
            cluster_id: state.cluster_id.clone(),
            epoch: state.epoch,
            isr_version: state.isr_version,
            master: state.master.clone(),
            isr: state.isr.iter().map(Into::into).collect(),
            members: state.members.iter().map(Into::into).collect(),
            min_isr: state.min_isr,
            log_index: state.log_index,
            witnesses: state.witnesses.iter().map(Into::into).collect(),
            sentinels: state.sentinels.iter().map(Into::into).collect(),
            sentinels_version: state.sentinels_version,
            failovers: state.failovers.iter().map(Into::into).collect(),
        }
    }
}
