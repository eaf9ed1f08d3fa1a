//! A master whose lease has run out executes nothing. If the lease does not come back it says so, and closes its Redis
//! clients, so that they ask the sentinels who is master.
//!
//! A node with a whole copy that finds no master for long answers reads. Not at once: clients may still be sent to a former
//! master that comes back while another one takes its place, and would read what is old.

use std::sync::Arc;
use std::time::Duration;

use tracing::warn;

use super::Cluster;
use crate::clients::Protocol;
use crate::clock::{self, BootNanos};
use crate::limits;
use crate::role::{Role, State};

const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Runs for as long as the node lives.
pub(super) async fn watch(cluster: Arc<Cluster>) {
    // Since when the master of this epoch has had no lease.
    let mut without: Option<BootNanos> = None;
    // Since when a node that does not read yet has had no master to load from.
    let mut alone: Option<BootNanos> = None;
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        let node = &cluster.node;
        let now = clock::boot_now();
        let standing = node.authority.standing();
        let has_lease = now < node.authority.lease_until();
        let is_alone = matches!(standing.role, Role::Waiting | Role::Replica)
            && standing.state == State::Loading
            && !node.link.read().is_up;
        if !is_alone {
            alone = None;
        } else if now.millis_since(*alone.get_or_insert(now)) >= limits::MASTERLESS_READS_AFTER_MS {
            cluster.read_without_master().await;
        }
        match standing.role {
            Role::Master if !has_lease => {
                let since = *without.get_or_insert(now);
                if now.millis_since(since) >= node.config.lease_ms * limits::DEPOSED_AFTER_LEASES {
                    warn!(epoch = standing.epoch.0, "no lease from a majority of the sentinels, clients are closed");
                    cluster.lapse(standing.epoch).await;
                    node.clients.close_all(Protocol::Resp);
                }
            }
            Role::Deposed if has_lease => {
                cluster.recover(standing.epoch).await;
                without = None;
            }
            _ => without = None,
        }
    }
}
