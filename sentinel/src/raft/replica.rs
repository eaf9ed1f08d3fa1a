//! This sentinel's member of the Raft group: starts openraft, proposes, answers the others' requests.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::Arc,
};

use bytes::Bytes;
use futures::future::BoxFuture;
use openraft::{
    ChangeMembers, Config, Raft, SnapshotPolicy,
    error::{ClientWriteError, RaftError},
    raft::{AppendEntriesRequest, InstallSnapshotRequest, VoteRequest},
};
use parking_lot::Mutex;
use tercet_proto::grpc::sentinel::v1::raft_request;
use tokio::sync::{oneshot, watch};

use super::{
    Consensus, Disk, Error, FenceEpoch, Leadership, Peers, Step,
    log::Log,
    machine::Machine,
    network::Network,
    types::{SentinelNode, StorageError, TypeConfig},
};
use crate::{
    limits,
    state::{Answer, ClusterState, Command, SentinelMember},
};

pub(crate) use raft_request::Kind;

const HEARTBEAT_MS: u64 = 40;
/// Staggered by the place in `--sentinels`, so that two seldom stand for election at once.
const ELECTION_MIN_MS: u64 = 120;
const ELECTION_STAGGER_MS: u64 = 10;
/// The same everywhere: it is also how long a follower refuses to vote after it heard its leader.
const ELECTION_MAX_MS: u64 = 180;
const SNAPSHOT_TIMEOUT_MS: u64 = 1000;
const SNAPSHOT_EVERY: u64 = 1000;
const LOGS_KEPT: u64 = 200;
const SNAPSHOT_CHUNK: u64 = 256 << 10;

/// What stopped a replica from starting.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Disk(#[from] super::disk::Error),
    #[error("the raft log cannot be read: {0}")]
    Storage(#[from] Box<StorageError>),
    #[error("raft cannot start: {0}")]
    Raft(String),
}

/// A running member.
pub(crate) struct Replica {
    pub(crate) raft_id: u64,
    raft: Raft<TypeConfig>,
    sentinel_id: String,
    /// None once it is shut down: the database closes with the last handle.
    disk: Mutex<Option<Disk>>,
    was_pristine: bool,
    has_joined: bool,
    fence: Arc<FenceEpoch>,
    state: watch::Receiver<Arc<ClusterState>>,
    leadership: watch::Receiver<Leadership>,
    closed: Mutex<Option<oneshot::Receiver<()>>>,
}

impl std::fmt::Debug for Replica {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Replica").field("raft_id", &self.raft_id).finish_non_exhaustive()
    }
}

impl Replica {
    /// Opens the data directory and joins the group that its log names; a pristine one waits for `initialize`, or for the
    /// leader of a group to teach it. `place`: among the listed, to stand for election at another time than they.
    pub(crate) async fn start(path: &Path, place: usize, peers: Peers) -> Result<Self, StartError> {
        let (disk, closed) = Disk::open(path)?;
        let (sentinel_id, raft_id) = (disk.sentinel_id().to_owned(), disk.raft_id());
        let has_joined = disk.has_joined()?;
        let fence = Arc::new(FenceEpoch::default());
        let log = Log::new(disk.clone(), Arc::clone(&fence))?;
        let was_pristine = log.is_pristine()?;
        let machine = Machine::new(disk.clone(), Arc::clone(&fence))?;
        let state = machine.watch();
        let network = Network { peers, sentinel_id: sentinel_id.clone(), state: state.clone() };
        let config = Arc::new(config(place).map_err(|error| StartError::Raft(error.to_string()))?);
        let raft = Raft::new(raft_id, config, network, log, machine)
            .await
            .map_err(|error| StartError::Raft(error.to_string()))?;
        let leadership = follow_leadership(&raft, raft_id);
        let closed = Mutex::new(Some(closed));
        Ok(Self {
            raft_id,
            raft,
            sentinel_id,
            disk: Mutex::new(Some(disk)),
            was_pristine,
            has_joined,
            fence,
            state,
            leadership,
            closed,
        })
    }

    pub(crate) fn sentinel_id(&self) -> &str {
        &self.sentinel_id
    }

    /// The data directory held nothing when we started.
    pub(crate) fn was_pristine(&self) -> bool {
        self.was_pristine
    }

    /// It has been told of a group, by `initialize` or by its leader.
    pub(crate) async fn is_initialized(&self) -> bool {
        self.raft.is_initialized().await.unwrap_or(true)
    }

    /// It had a vote when it started.
    pub(crate) fn had_joined(&self) -> bool {
        self.has_joined
    }

    /// Founds the group. Only for a pristine one whose peers are all pristine.
    pub(crate) async fn initialize(&self, members: &[SentinelMember]) -> Result<(), String> {
        let members: BTreeMap<_, _> = members.iter().map(|one| (one.raft_id, SentinelNode::from(one))).collect();
        self.raft.initialize(members).await.map_err(|error| error.to_string())
    }

    async fn step(&self, step: Step) -> Result<(), WriteError> {
        match step {
            Step::Teach(sentinel) => {
                self.raft.add_learner(sentinel.raft_id, SentinelNode::from(&sentinel), true).await?;
            }
            Step::Admit(id) => {
                self.raft.change_membership(ChangeMembers::AddVoterIds(BTreeSet::from([id])), false).await?;
            }
            Step::Dismiss(id) => {
                self.raft.change_membership(ChangeMembers::RemoveVoters(BTreeSet::from([id])), false).await?;
            }
            Step::Move(sentinel) => {
                let nodes = BTreeMap::from([(sentinel.raft_id, SentinelNode::from(&sentinel))]);
                self.raft.change_membership(ChangeMembers::SetNodes(nodes), true).await?;
            }
            Step::Settle => {
                let sets = self.raft.metrics().borrow().membership_config.membership().get_joint_config().clone();
                if let [_, .., new] = sets.as_slice() {
                    self.raft.change_membership(ChangeMembers::ReplaceAllVoters(new.clone()), false).await?;
                }
            }
        }
        Ok(())
    }

    /// Answers another sentinel's request; `None` if it cannot be read.
    pub(crate) async fn answer(&self, kind: Kind, payload: &[u8]) -> Option<Bytes> {
        let reply = match kind {
            Kind::Unspecified => return None,
            Kind::AppendEntries => {
                let request: AppendEntriesRequest<TypeConfig> = serde_json::from_slice(payload).ok()?;
                self.check_term(request.vote.leader_id.term)?;
                serde_json::to_vec(&self.raft.append_entries(request).await)
            }
            Kind::Vote => {
                let request: VoteRequest<u64> = serde_json::from_slice(payload).ok()?;
                self.check_term(request.vote.leader_id.term)?;
                serde_json::to_vec(&self.raft.vote(request).await)
            }
            Kind::InstallSnapshot => {
                let request: InstallSnapshotRequest<TypeConfig> = serde_json::from_slice(payload).ok()?;
                self.check_term(request.vote.leader_id.term)?;
                serde_json::to_vec(&self.raft.install_snapshot(request).await)
            }
        };
        reply.ok().map(Into::into)
    }

    /// A term that is far ahead of ours is nobody's who counts them, and there might be none after it.
    fn check_term(&self, term: u64) -> Option<()> {
        let ours = self.raft.metrics().borrow().current_term;
        (term <= ours.saturating_add(limits::TERM_STEP)).then_some(())
    }

    /// Keeps a setting that an operator has changed at run time.
    ///
    /// # Errors
    /// The disk refuses.
    pub(crate) async fn remember(&self, name: &'static str, value: u64) -> Result<(), String> {
        let disk = self.disk.lock().clone().ok_or("the sentinel stops")?;
        disk.remember(name, value).map_err(|error| error.to_string())?;
        disk.sync().await.map_err(|error| error.to_string())
    }

    /// What was kept under this name.
    pub(crate) fn remembered(&self, name: &'static str) -> Option<u64> {
        self.disk.lock().as_ref()?.remembered(name)
    }

    /// Waits until the Raft core has died, and says of what. A dead core never comes back: the process has to end.
    pub(crate) async fn died(&self) -> String {
        let mut metrics = self.raft.metrics();
        loop {
            if let Err(fatal) = &metrics.borrow_and_update().running_state {
                return fatal.to_string();
            }
            if metrics.changed().await.is_err() {
                return "raft has stopped".into();
            }
        }
    }

    /// Stops Raft and waits until the data directory is closed.
    pub(crate) async fn shutdown(&self) {
        if let Err(error) = self.raft.shutdown().await {
            tracing::warn!(%error, "raft did not stop cleanly");
        }
        drop(self.disk.lock().take());
        // RocksDB must be closed before the process runs its exit handlers, or it aborts in them.
        let closed = self.closed.lock().take();
        if let Some(closed) = closed
            && tokio::time::timeout(limits::CLOSE_TIMEOUT, closed).await.is_err()
        {
            tracing::warn!("the data directory is still in use");
        }
    }
}

impl Consensus for Replica {
    fn propose(&self, command: Command) -> BoxFuture<'_, Result<Answer, Error>> {
        Box::pin(async move {
            let timeout = limits::PROPOSE_TIMEOUT;
            match tokio::time::timeout(timeout, self.raft.client_write(command)).await {
                Err(_) => Err(Error::Timeout(crate::clock::millis(timeout))),
                Ok(Ok(response)) => Ok(response.data),
                Ok(Err(RaftError::APIError(ClientWriteError::ForwardToLeader(forward)))) => {
                    Err(Error::NotLeader { leader: forward.leader_id })
                }
                Ok(Err(error)) => Err(Error::Stopped(error.to_string())),
            }
        })
    }

    fn watch_applied(&self) -> watch::Receiver<Arc<ClusterState>> {
        self.state.clone()
    }

    fn leadership(&self) -> watch::Receiver<Leadership> {
        self.leadership.clone()
    }

    fn fence_epoch(&self) -> u64 {
        self.fence.get()
    }

    fn pending_sentinels_version(&self) -> u64 {
        self.fence.sentinels_version()
    }

    fn reconfigure(&self, step: Step) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(async move {
            let timeout = limits::RECONFIGURE_TIMEOUT;
            match tokio::time::timeout(timeout, self.step(step)).await {
                Err(_) => Err(Error::Timeout(crate::clock::millis(timeout))),
                Ok(Ok(())) => Ok(()),
                Ok(Err(RaftError::APIError(ClientWriteError::ForwardToLeader(forward)))) => {
                    Err(Error::NotLeader { leader: forward.leader_id })
                }
                Ok(Err(RaftError::APIError(error))) => Err(Error::Refused(error.to_string())),
                Ok(Err(RaftError::Fatal(error))) => Err(Error::Stopped(error.to_string())),
            }
        })
    }

    fn is_stranger(&self, sentinel_id: &str) -> bool {
        let metrics = self.raft.server_metrics();
        let metrics = metrics.borrow();
        let mut nodes = metrics.membership_config.nodes().peekable();
        nodes.peek().is_some() && nodes.all(|(_, node)| node.sentinel_id != sentinel_id)
    }
}

type WriteError = RaftError<u64, ClientWriteError<u64, SentinelNode>>;

fn config(place: usize) -> Result<Config, Box<openraft::ConfigError>> {
    let stagger = place as u64 * ELECTION_STAGGER_MS;
    Config {
        cluster_name: "tercet".into(),
        heartbeat_interval: HEARTBEAT_MS,
        election_timeout_min: (ELECTION_MIN_MS + stagger).min(ELECTION_MAX_MS - ELECTION_STAGGER_MS),
        election_timeout_max: ELECTION_MAX_MS,
        install_snapshot_timeout: SNAPSHOT_TIMEOUT_MS,
        snapshot_policy: SnapshotPolicy::LogsSinceLast(SNAPSHOT_EVERY),
        max_in_snapshot_log_to_keep: LOGS_KEPT,
        snapshot_max_chunk_size: SNAPSHOT_CHUNK,
        ..Config::default()
    }
    .validate()
    .map_err(Box::new)
}

/// openraft's metrics change many times a second; this channel changes only with the leader.
fn follow_leadership(raft: &Raft<TypeConfig>, raft_id: u64) -> watch::Receiver<Leadership> {
    let mut metrics = raft.server_metrics();
    let (sender, receiver) = watch::channel(Leadership::default());
    tokio::spawn(async move {
        loop {
            let now = {
                let metrics = metrics.borrow_and_update();
                let is_us = metrics.state == openraft::ServerState::Leader;
                Leadership { term: metrics.vote.leader_id().term, leader: metrics.current_leader, is_us }
            };
            let is_us = now.is_us && now.leader == Some(raft_id);
            let now = Leadership { is_us, ..now };
            sender.send_if_modified(|known| std::mem::replace(known, now) != now);
            if metrics.changed().await.is_err() {
                return;
            }
        }
    });
    receiver
}

#[cfg(test)]
mod tests {
    use tercet_edge::dial::Dialer;

    use super::*;
    use crate::state::{Address, Member};

    async fn lone(path: &Path) -> Replica {
        let address = Address { host: "127.0.0.1".into(), port: 1 };
        Replica::start(path, 0, Peers::new(&[address], 0, Dialer::default())).await.unwrap()
    }

    async fn lead(replica: &Replica) {
        let mut leadership = replica.leadership();
        tokio::time::timeout(limits::CLOSE_TIMEOUT, leadership.wait_for(|now| now.is_us)).await.unwrap().unwrap();
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn the_state_outlives_a_snapshot_a_purge_and_a_restart() {
        let directory = tempfile::tempdir().unwrap();
        let replica = lone(directory.path()).await;
        assert!(replica.was_pristine() && !replica.is_initialized().await);
        let own = SentinelMember { raft_id: replica.raft_id, ..SentinelMember::default() };
        replica.initialize(&[own]).await.unwrap();
        lead(&replica).await;
        let bootstrap = Command::Bootstrap { cluster_id: "c".into(), min_isr: 2 };
        assert_eq!(replica.propose(bootstrap).await.unwrap(), Answer::Done);
        for port in 1..=(SNAPSHOT_EVERY + LOGS_KEPT) as u16 {
            let peer = Address { host: "h".into(), port };
            let member = Member { name: "n1".into(), peer, ..Member::default() };
            assert_eq!(replica.propose(Command::RegisterMember { member }).await.unwrap(), Answer::Done);
        }
        let purged = |metrics: &openraft::RaftMetrics<u64, SentinelNode>| metrics.purged.is_some();
        replica.raft.wait(Some(limits::CLOSE_TIMEOUT)).metrics(purged, "a purge").await.unwrap();
        let state = replica.watch_applied().borrow().clone();
        let sentinel_id = replica.sentinel_id().to_owned();
        replica.shutdown().await;
        drop(replica);
        let again = lone(directory.path()).await;
        assert!(!again.was_pristine());
        assert_eq!(again.sentinel_id(), sentinel_id);
        assert_eq!(**again.watch_applied().borrow(), *state);
        lead(&again).await;
        let member = Member { name: "n2".into(), ..Member::default() };
        assert_eq!(again.propose(Command::RegisterMember { member }).await.unwrap(), Answer::Done);
        again.shutdown().await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_data_directory_that_is_in_use_is_refused_in_one_line() {
        let directory = tempfile::tempdir().unwrap();
        let replica = lone(directory.path()).await;
        let address = Address { host: "127.0.0.1".into(), port: 1 };
        let error = Replica::start(directory.path(), 0, Peers::new(&[address], 0, Dialer::default()))
            .await
            .unwrap_err()
            .to_string();
        assert!(error.contains("is another sentinel using it?") && !error.contains('\n'), "{error}");
        replica.shutdown().await;
    }
}
