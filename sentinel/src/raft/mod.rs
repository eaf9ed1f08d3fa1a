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

use crate::state::{Answer, ClusterState, Command};

pub(crate) use bootstrap::FORMING;
pub(crate) use bootstrap::bootstrap;
pub(crate) use disk::Disk;
pub use fence::FenceEpoch;
pub(crate) use network::{Peers, endpoint};
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
}

mod types {
    //! The types that openraft is instantiated with.

    use serde::{Deserialize, Serialize};

    use crate::state::{Answer, Command};

    /// What the log knows of a sentinel: an id that a wiped data directory does not have.
    #[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
    pub(crate) struct SentinelNode {
        pub(crate) addr: String,
        pub(crate) name: String,
        pub(crate) sentinel_id: String,
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
