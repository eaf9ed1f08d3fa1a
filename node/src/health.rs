//! Whether a node is to be sent clients: for the probes of orchestrators, on every port that has them.

use crate::clock;
use crate::node::Node;
use crate::role::{Role, State, Verdict};

/// Why it is not. `None`: it is a master within its lease, or a replica that is in sync.
#[must_use]
pub fn not_ready(node: &Node) -> Option<&'static str> {
    let standing = node.authority.standing();
    if standing.state == State::Loading {
        return Some("the data is being loaded");
    }
    match standing.role {
        Role::Master => match node.authority.enter(clock::boot_now()).verdict {
            Verdict::Master | Verdict::DiskFailed => None,
            Verdict::TooFewReplicas => Some("not enough in-sync replicas to take writes"),
            Verdict::Wait | Verdict::Replica | Verdict::Loading => Some("the master has no lease"),
        },
        Role::Replica => {
            let cluster = node.cluster.read();
            let mut isr = cluster.iter().flat_map(|state| &state.isr);
            if !isr.any(|member| member.name == node.identity.name) {
                Some("this replica is not in sync")
            } else if !node.link.read().is_up {
                Some("this replica has no stream from the master")
            } else {
                None
            }
        }
        Role::Waiting => Some("no master is known"),
        Role::Deposed => Some("this node has lost its mastership"),
    }
}
