//! Consensus among the sentinels. The rest of the crate sees the trait `Consensus` and nothing of openraft.

mod bootstrap;
mod disk;
mod fence;
mod log;
mod machine;
mod network;
mod replica;

use std::sync::Arc;

use futures::future::BoxFuture;
use tokio::sync::watch;

use crate::state::{Answer, ClusterState, Command, SentinelMember};

pub(crate) use bootstrap::{FORMING, Founding, bootstrap};
pub(crate) use disk::Disk;
pub use fence::FenceEpoch;
pub(crate) use network::{Peer, Peers, endpoint};
pub(crate) use replica::Replica;
pub use replica::StartError;

/// Raft's leader, as far as this sentinel knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Leadership {
    pub term: u64,
    pub leader: Option<u64>,
    /// It is this sentinel.
    pub is_us: bool,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("this sentinel is not the leader")]
    NotLeader { leader: Option<u64> },
    #[error("no majority of sentinels answered within {0} ms")]
    Timeout(u64),
    #[error("raft has stopped: {0}")]
    Stopped(String),
    #[error("the sentinels cannot be changed: {0}")]
    Refused(String),
}

/// One step of changing who takes part. A set of sentinels differs from the one before it by one, so that a majority of
/// either holds a member of the other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Sends it the log; returns when it has caught up. It has no vote.
    Teach(SentinelMember),
    /// Gives it a vote.
    Admit(u64),
    /// Takes its vote, and sends it nothing any more.
    Dismiss(u64),
    /// It is found elsewhere.
    Move(SentinelMember),
    /// Finishes a change that its leader has left half done.
    Settle,
}

/// What consensus is for: proposing commands, following the state, knowing who leads.
pub trait Consensus: Send + Sync + std::fmt::Debug {
    /// Proposes a command; only the leader can. The answer tells whether its comparison held. After a timeout the
    /// outcome is unknown and the state tells.
    fn propose(&self, command: Command) -> BoxFuture<'_, Result<Answer, Error>>;
    /// The applied state and every newer one.
    fn watch_applied(&self) -> watch::Receiver<Arc<ClusterState>>;
    fn leadership(&self) -> watch::Receiver<Leadership>;
    /// The highest epoch of a promotion in the log, committed or not.
    fn fence_epoch(&self) -> u64;
    /// The index of the newest change of the sentinels in the log that is not applied; 0 if there is none.
    fn pending_sentinels_version(&self) -> u64;
    /// Changes who takes part; only the leader can. After a timeout the outcome is unknown.
    fn reconfigure(&self, step: Step) -> BoxFuture<'_, Result<(), Error>>;
    /// The group is known and does not hold the sentinel of this id, not even without a vote.
    fn is_stranger(&self, sentinel_id: &str) -> bool;
}

mod types {
    //! The types that openraft is instantiated with.

    use serde::{Deserialize, Serialize};

    use crate::state::{Answer, Command, SentinelMember};

    /// What the log knows of a sentinel: an id that a wiped data directory does not have.
    #[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
    pub(crate) struct SentinelNode {
        pub(crate) addr: String,
        pub(crate) name: String,
        pub(crate) sentinel_id: String,
    }

    impl From<&SentinelMember> for SentinelNode {
        fn from(sentinel: &SentinelMember) -> Self {
            let SentinelMember { sentinel_id, name, peer, .. } = sentinel;
            Self { addr: peer.to_string(), name: name.clone(), sentinel_id: sentinel_id.clone() }
        }
    }

    /// Who has a vote; while there are two sets, those of the new one.
    pub(crate) fn voters(membership: &StoredMembership) -> Vec<SentinelMember> {
        let membership = membership.membership();
        let ids = membership.get_joint_config().last().into_iter().flatten();
        let member = |id: &u64| {
            let node = membership.get_node(id).cloned().unwrap_or_default();
            // What was written was an address.
            let peer = node.addr.parse().unwrap_or_default();
            SentinelMember { raft_id: *id, sentinel_id: node.sentinel_id, name: node.name, peer }
        };
        ids.map(member).collect()
    }

    openraft::declare_raft_types!(
        pub(crate) TypeConfig:
            D = Command,
            R = Answer,
            NodeId = u64,
            Node = SentinelNode,
            Entry = openraft::Entry<TypeConfig>,
            SnapshotData = std::io::Cursor<Vec<u8>>,
    );

    pub(crate) type StorageError = openraft::StorageError<u64>;
    pub(crate) type StorageIoError = openraft::StorageIOError<u64>;
    pub(crate) type LogId = openraft::LogId<u64>;
    pub(crate) type Vote = openraft::Vote<u64>;
    pub(crate) type Entry = openraft::Entry<TypeConfig>;
    pub(crate) type StoredMembership = openraft::StoredMembership<u64, SentinelNode>;
    pub(crate) type SnapshotMeta = openraft::SnapshotMeta<u64, SentinelNode>;
    pub(crate) type Snapshot = openraft::Snapshot<TypeConfig>;
}
