//! Keeps the ISR as it should be: `replication::isr` decides, the sentinels commit.

use std::sync::Arc;

use tercet_proto::grpc::cluster::v1::Member;
use tracing::{info, warn};

use super::{Cluster, sentinels};
use crate::clock;
use crate::limits;
use crate::node::ReplicaState;
use crate::role::{Hold, Role};

/// Runs for as long as the node lives; on a node that is not master it does nothing.
pub(super) async fn maintain(cluster: Arc<Cluster>) {
    let mut last = clock::boot_now();
    loop {
        _ = tokio::time::timeout(limits::ISR_TICK, cluster.node.commit.news()).await;
        let now = clock::boot_now();
        let (node, journal, gate) = (&cluster.node, &cluster.node.engine.journal, &cluster.node.gate);
        if now.millis_since(last) >= limits::ISR_TICK_LATE_MS {
            node.commit.with_term(journal, gate, |term| term.forgive(now));
        }
        last = now;
        // Without a valid lease a failover may be under way: its plan is not to be disturbed. The same goes for a
        // hand-over.
        let standing = node.authority.standing();
        let is_leading =
            standing.role == Role::Master && standing.hold == Hold::Released && now < node.authority.lease_until();
        if is_leading {
            let proposal = node.commit.with_term(journal, gate, |term| term.propose(now, journal.end())).flatten();
            if let Some(proposal) = proposal {
                for (name, why) in &proposal.changes {
                    info!(
                        replica = name,
                        why,
                        epoch = proposal.epoch.0,
                        version = proposal.version,
                        "changing the ISR"
                    );
                }
                match sentinels::change_isr(&cluster, &proposal).await {
                    Some(state) if state.isr_version > proposal.version => cluster.adopt(state).await,
                    Some(_) => tokio::time::sleep(limits::ISR_TICK).await,
                    None => warn!(epoch = proposal.epoch.0, "no sentinel has committed a change of the ISR"),
                }
                // The time that this took says nothing about the replicas.
                last = clock::boot_now();
            }
        }
        publish(&cluster);
    }
}

/// What INFO and ROLE say of the replicas.
fn publish(cluster: &Cluster) {
    let copies = cluster.node.commit.copies();
    let state = cluster.node.cluster.read();
    // A replica may come before the sentinels know its addresses.
    let member = |copy: Member| {
        let known = state.iter().flat_map(|state| &state.members).find(|member| member.name == copy.name);
        known.cloned().unwrap_or(copy)
    };
    let mut replicas = cluster.node.replicas.write();
    replicas.clear();
    replicas.extend(copies.into_iter().filter(|(copy, _)| copy.is_connected()).map(|(copy, in_sync)| ReplicaState {
        member: member(copy.member),
        incarnation: copy.incarnation,
        held: copy.held,
        disk: copy.disk,
        last_heard: copy.heard,
        in_sync,
        syncing: copy.syncing,
    }));
}
