//! A master that is told to stop hands over first, so that no client meets an error; or at least gives its lease up.

use std::time::Duration;

use tracing::info;

use super::{Cluster, sentinels};
use crate::limits;
use crate::role::Role;

/// A resignation is one message on an open stream.
const RESIGN_WAIT: Duration = Duration::from_millis(100);

pub(super) async fn resign(cluster: &Cluster) {
    let standing = cluster.node.authority.standing();
    if !cluster.node.config.is_clustered() || !matches!(standing.role, Role::Master | Role::Deposed) {
        return;
    }
    let mut changes = cluster.node.authority.subscribe();
    if standing.role == Role::Master && standing.isr > 1 {
        let handed_over = async {
            sentinels::request_failover(cluster).await
                && changes.wait_for(|now| !matches!(now.role, Role::Master | Role::Deposed)).await.is_ok()
        };
        if tokio::time::timeout(limits::HANDOVER_WAIT, handed_over).await == Ok(true) {
            info!(epoch = standing.epoch.0, "the mastership was handed over");
            return;
        }
    }
    cluster.step_down().await;
    cluster.lease.is_resigned(RESIGN_WAIT).await;
    info!(epoch = standing.epoch.0, "the lease was given up");
}
