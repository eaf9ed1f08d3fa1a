//! The state of the cluster, in the types of both crates.

use std::rc::Rc;

use tercet_proto::grpc::cluster::v1::ClusterState as WireState;
use tercet_sentinel::state::ClusterState;

/// The state of the cluster, in the types of both crates.
#[derive(Debug, Default)]
pub(super) struct Known {
    pub(super) state: ClusterState,
    pub(super) wire: WireState,
}

impl Known {
    pub(super) fn new(state: ClusterState) -> Rc<Self> {
        Rc::new(Self { wire: (&state).into(), state })
    }
}
