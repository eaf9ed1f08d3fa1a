//! What a node says of itself to sentinels.

use std::sync::Arc;

use futures::Stream;
use tercet_proto::grpc::peer::v1::{self as wire, NodeStatus, ReplicaLag};
use tonic::Status;

use super::Cluster;
use crate::clock;
use crate::limits;
use crate::replication::apply::Condition;
use crate::role::Role;

/// Priority for promotion, as `replica-priority` of Redis has it.
const PRIORITY: u32 = 100;

/// A status at once, then one every 100 ms and at every change of role.
pub(super) fn statuses(cluster: Arc<Cluster>) -> impl Stream<Item = Result<NodeStatus, Status>> + Send + 'static {
    let changes = cluster.node.authority.subscribe();
    let mut pace = tokio::time::interval(limits::OBSERVE_EVERY);
    pace.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    futures::stream::unfold((cluster, changes, pace), |(cluster, mut changes, mut pace)| async move {
        tokio::select! {
            _ = pace.tick() => {}
            changed = changes.changed() => changed.ok()?,
        }
        let status = status(&cluster);
        Some((Ok(status), (cluster, changes, pace)))
    })
}

fn status(cluster: &Cluster) -> NodeStatus {
    let node = &cluster.node;
    let now = clock::boot_now();
    let standing = node.authority.standing();
    let link = node.link.read().clone();
    let (last_epoch, end) = node.engine.journal.position();
    let role = match standing.role {
        Role::Waiting => wire::Role::Waiting,
        Role::Replica => wire::Role::Replica,
        Role::Master if now < node.authority.lease_until() => wire::Role::Master,
        // A new master says so once it may execute.
        Role::Master | Role::Deposed => wire::Role::Deposed,
    };
    let replicas = node.commit.copies().into_iter().filter(|(copy, _)| copy.is_connected());
    NodeStatus {
        member: Some(node.member()),
        incarnation: node.identity.incarnation.clone(),
        cluster_id: cluster.storage.cluster_id().unwrap_or_default(),
        role: role.into(),
        epoch: standing.epoch.0,
        promised_epoch: cluster.storage.promised_epoch().0,
        end_offset: end.0,
        commit_offset: node.gate.commit().0,
        last_epoch: last_epoch.0,
        master: link.master.as_ref().map(|master| master.name.clone()).unwrap_or_default(),
        link_up: link.is_up,
        link_down_ms: if link.is_up || link.master.is_none() { 0 } else { now.millis_since(link.down_since) },
        syncing: matches!(cluster.applier.condition(), Condition::Loading | Condition::Syncing | Condition::Lost),
        priority: PRIORITY,
        replicas: replicas
            .map(|(copy, in_sync)| ReplicaLag {
                name: copy.member.name,
                incarnation: copy.incarnation,
                acknowledged_offset: copy.held.received.0,
                durable_offset: copy.held.durable.0,
                applied_offset: copy.held.applied.0,
                silent_ms: now.millis_since(copy.heard),
                in_sync,
                syncing: copy.syncing,
                durability: copy.disk.to_wire().into(),
            })
            .collect(),
        uptime_ms: now.millis_since(node.started),
        clients: node.clients.len() as u64,
        loading: cluster.applier.condition() == Condition::Loading,
        disk_failed: node.engine.journal.durability().refusal().is_some(),
        link_silent_ms: if link.is_up { now.millis_since(link.last_heard) } else { 0 },
    }
}
