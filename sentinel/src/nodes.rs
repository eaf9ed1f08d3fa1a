//! The data nodes as they say themselves: one Observe stream to each that is known, opened again when it breaks.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use tercet_edge::{dial::Dialer, guard::Trusted, name::is_name};
use tercet_proto::grpc::peer::v1::{NodeStatus, ObserveRequest, Role, peer_client::PeerClient};
use tokio::{sync::Notify, task::JoinSet};
use tracing::{debug, warn};

use crate::{
    clock::Moment,
    limits,
    plan::{Observations, Replaced, Seen},
    raft::endpoint,
    shared::Shared,
    state::{Address, ClusterState},
};

/// What one node said last.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    pub(crate) status: NodeStatus,
    pub(crate) at: Moment,
    /// The addresses under which a stream to it is open.
    pub(crate) streams: BTreeSet<Address>,
    last_address: Address,
}

impl Node {
    pub(crate) fn is_connected(&self) -> bool {
        !self.streams.is_empty()
    }

    pub(crate) fn is_master_of(&self, epoch: u64, incarnation: &str) -> bool {
        self.is_connected()
            && self.status.role() == Role::Master
            && self.status.epoch == epoch
            && self.status.incarnation == incarnation
    }
}

#[derive(Debug, Default)]
struct Table {
    by_name: BTreeMap<String, Node>,
    listed: Vec<Option<String>>,
    first_answer: Option<Moment>,
    replaced: Replaced,
    channels: HashMap<Address, Trusted>,
    /// Nodes that follow the state at this sentinel, by how many streams: nobody may have told us of them.
    introduced: BTreeMap<Address, usize>,
}

/// Two data directories under one name, both alive.
#[derive(Debug)]
struct Double {
    name: String,
    node_id: String,
}

/// Every node that was ever heard of by this process.
#[derive(Debug)]
pub(crate) struct Nodes {
    listed: Vec<Address>,
    dialer: Dialer,
    table: Mutex<Table>,
    /// Something new was said.
    pub(crate) changed: Notify,
    /// Somebody has introduced itself, or has left.
    introductions: Notify,
}

/// A node says where it can be observed. It is, until this is dropped.
#[derive(Debug)]
pub(crate) struct Introduction {
    shared: Arc<Shared>,
    address: Address,
}

impl Introduction {
    pub(crate) fn new(shared: &Arc<Shared>, address: Address) -> Self {
        let nodes = &shared.nodes;
        *nodes.table.lock().introduced.entry(address.clone()).or_default() += 1;
        nodes.introductions.notify_one();
        Self { shared: Arc::clone(shared), address }
    }
}

impl Drop for Introduction {
    fn drop(&mut self) {
        let nodes = &self.shared.nodes;
        let mut table = nodes.table.lock();
        if let Some(streams) = table.introduced.get_mut(&self.address) {
            *streams -= 1;
            if *streams == 0 {
                table.introduced.remove(&self.address);
            }
        }
        drop(table);
        nodes.introductions.notify_one();
    }
}

impl Nodes {
    pub(crate) fn new(listed: Vec<Address>, dialer: Dialer) -> Self {
        let table = Table { listed: vec![None; listed.len()], ..Table::default() };
        Self { listed, dialer, table: Mutex::new(table), changed: Notify::new(), introductions: Notify::new() }
    }

    pub(crate) fn get(&self, name: &str) -> Option<Node> {
        self.table.lock().by_name.get(name).cloned()
    }

    pub(crate) fn all(&self) -> BTreeMap<String, Node> {
        self.table.lock().by_name.clone()
    }

    pub(crate) fn observations(&self) -> Observations {
        let table = self.table.lock();
        let seen = |node: &Node| Seen {
            incarnation: node.status.incarnation.clone(),
            connected: node.is_connected(),
            promised_epoch: node.status.promised_epoch,
            last_epoch: node.status.last_epoch,
            end_offset: node.status.end_offset,
            syncing: node.status.syncing,
            loading: node.status.loading,
            disk_failed: node.status.disk_failed,
            link_up: node.status.link_up,
            link_silent: Duration::from_millis(node.status.link_silent_ms),
            hears: heard_by(&node.status),
            at: node.at,
        };
        Observations {
            nodes: table.by_name.iter().map(|(name, node)| (name.clone(), seen(node))).collect(),
            listed: table.listed.clone(),
            first_answer: table.first_answer,
            replaced: table.replaced.clone(),
        }
    }

    /// Where the node is reached: where a stream to it is (or was) open, else where the state says.
    pub(crate) fn address(&self, name: &str, state: &ClusterState) -> Option<Address> {
        let table = self.table.lock();
        let observed = table.by_name.get(name).map(|node| node.last_address.clone());
        observed.or_else(|| state.member(name).map(|member| member.peer.clone()))
    }

    /// A client on the lasting channel to the node.
    pub(crate) fn client(&self, name: &str, state: &ClusterState) -> Option<PeerClient<Trusted>> {
        let address = self.address(name, state)?;
        Some(self.client_at(&address))
    }

    fn client_at(&self, address: &Address) -> PeerClient<Trusted> {
        let mut table = self.table.lock();
        let channel =
            table.channels.entry(address.clone()).or_insert_with(|| self.dialer.connect_lazy(&endpoint(address)));
        PeerClient::new(channel.clone())
    }

    fn record(&self, address: &Address, status: NodeStatus, now: Moment) -> Result<(), Double> {
        let member = status.member.as_ref().filter(|member| !member.name.is_empty());
        let Some((name, node_id)) = member.map(|member| (member.name.clone(), member.node_id.clone())) else {
            return Ok(());
        };
        let mut table = self.table.lock();
        if table.by_name.len() >= limits::MOST_NAMES && !table.by_name.contains_key(&name) {
            return Ok(());
        }
        let is_double = table.by_name.get(&name).is_some_and(|known| {
            known.status.member.as_ref().is_some_and(|known| known.node_id != node_id)
                && known.streams.iter().any(|stream| stream != address)
        });
        if is_double {
            return Err(Double { name, node_id });
        }
        if let Some(at) = self.listed.iter().position(|listed| listed == address) {
            table.first_answer.get_or_insert(now);
            table.listed[at] = Some(name.clone());
        }
        let before = table.by_name.get(&name);
        let mut streams = before.map(|node| node.streams.clone()).unwrap_or_default();
        let is_new_stream = streams.insert(address.clone());
        // The regular status of every 100 ms wakes nobody.
        let is_news = is_new_stream
            || before.is_none_or(|Node { status: old, .. }| {
                (status.role, status.epoch, &status.incarnation) != (old.role, old.epoch, &old.incarnation)
            });
        if let Some(before) = before.map(|node| node.status.incarnation.clone()) {
            table.replaced.note(&before, &status.incarnation);
        }
        table.by_name.insert(name, Node { status, at: now, streams, last_address: address.clone() });
        drop(table);
        if is_news {
            self.changed.notify_waiters();
        }
        Ok(())
    }

    fn disconnected(&self, address: &Address) {
        let mut table = self.table.lock();
        for node in table.by_name.values_mut() {
            node.streams.remove(address);
        }
        drop(table);
        self.changed.notify_waiters();
    }
}

/// Whether a node can be as it says. `epoch` is the newest that was agreed on.
fn check(status: &NodeStatus, epoch: u64) -> Result<(), &'static str> {
    let member = status.member.as_ref();
    if !member.is_some_and(|member| is_name(&member.name)) {
        return Err("its name is no name");
    }
    if !is_name(&status.incarnation) || !member.is_some_and(|member| is_name(&member.node_id)) {
        return Err("its ids are no ids");
    }
    if status.replicas.len() > limits::MOST_NAMES || !status.replicas.iter().all(|replica| is_name(&replica.name)) {
        return Err("its replicas have no names, or there are too many");
    }
    let told = status.epoch.max(status.promised_epoch).max(status.last_epoch);
    // Where nothing was agreed on yet, nodes that remember more than this sentinel are as they should be.
    let is_far = epoch > 0 && told > epoch.saturating_add(limits::TERM_STEP);
    if is_far || told > limits::MOST_EPOCH { Err("its epoch is out of reach") } else { Ok(()) }
}

/// The replicas that a master hears.
fn heard_by(status: &NodeStatus) -> BTreeSet<String> {
    let is_heard = |silent_ms: u64| Duration::from_millis(silent_ms) < limits::LINK_SILENCE;
    let heard = status.replicas.iter().filter(|replica| is_heard(replica.silent_ms));
    heard.map(|replica| replica.name.clone()).collect()
}

/// Keeps one stream to each address of `--nodes` and of the members, for as long as the sentinel lives.
pub(crate) async fn observe_all(shared: Arc<Shared>) {
    let mut state = shared.consensus.watch_applied();
    let mut observed: BTreeMap<Address, tokio::task::AbortHandle> = BTreeMap::new();
    let mut tasks = JoinSet::new();
    loop {
        let mut wanted: BTreeSet<Address> = shared.nodes.listed.iter().cloned().collect();
        {
            let state = state.borrow_and_update();
            wanted.extend(state.members.iter().map(|member| member.peer.clone()));
        }
        let is_introduced = |address: &Address| !wanted.contains(address);
        let introduced: Vec<Address> =
            shared.nodes.table.lock().introduced.keys().filter(|address| is_introduced(address)).cloned().collect();
        // Those that are known come first, where there are too many.
        let room = limits::MOST_NODES.saturating_sub(wanted.len());
        wanted.extend(introduced.into_iter().take(room));
        wanted.retain(|address| address.port != 0 && !address.host.is_empty());
        observed.retain(|address, task| {
            let keep = wanted.contains(address);
            if !keep {
                task.abort();
                shared.nodes.disconnected(address);
            }
            keep
        });
        shared.nodes.table.lock().channels.retain(|address, _| wanted.contains(address));
        for address in wanted.into_iter().take(limits::MOST_NODES) {
            observed
                .entry(address)
                .or_insert_with_key(|address| tasks.spawn(observe(Arc::clone(&shared), address.clone())));
        }
        tokio::select! {
            changed = state.changed() => if changed.is_err() { return },
            () = shared.nodes.introductions.notified() => {}
        }
    }
}

async fn observe(shared: Arc<Shared>, address: Address) {
    let mut last_warning: Option<Instant> = None;
    loop {
        let mut client = shared.nodes.client_at(&address);
        let request = ObserveRequest { cluster_id: shared.cluster_id(), sentinel: shared.identity.name.clone() };
        let opened = tokio::time::timeout(limits::OBSERVE_SILENCE, client.observe(request)).await;
        match opened {
            Ok(Ok(response)) => {
                let mut statuses = response.into_inner();
                while let Ok(Ok(Some(status))) = tokio::time::timeout(limits::OBSERVE_SILENCE, statuses.message()).await
                {
                    let ours = shared.cluster_id();
                    if !status.cluster_id.is_empty() && !ours.is_empty() && status.cluster_id != ours {
                        if last_warning.is_none_or(|at| at.elapsed() > limits::LOG_AGAIN) {
                            last_warning = Some(Instant::now());
                            let theirs = status.cluster_id;
                            warn!(node = %address, theirs, ours, "the node belongs to another cluster and is left alone");
                        }
                        break;
                    }
                    if let Err(reason) = check(&status, shared.state().epoch) {
                        if last_warning.is_none_or(|at| at.elapsed() > limits::LOG_AGAIN) {
                            last_warning = Some(Instant::now());
                            warn!(node = %address, reason, "what a node says of itself cannot be, and is left out");
                        }
                        break;
                    }
                    if status.role() == Role::Replica {
                        shared.stepped_down(&status.incarnation, status.epoch);
                    }
                    if let Err(Double { name, node_id }) = shared.nodes.record(&address, status, Moment::now())
                        && last_warning.is_none_or(|at| at.elapsed() > limits::LOG_AGAIN)
                    {
                        last_warning = Some(Instant::now());
                        warn!(node = %address, name, node_id, "another node of this name is there already; give each its own --name");
                    }
                }
                shared.nodes.disconnected(&address);
                debug!(node = %address, "observation ended");
            }
            Ok(Err(status)) if status.code() == tonic::Code::FailedPrecondition => {
                if last_warning.is_none_or(|at| at.elapsed() > limits::LOG_AGAIN) {
                    last_warning = Some(Instant::now());
                    warn!(node = %address, reason = status.message(), "the node refuses to be observed");
                }
            }
            Ok(Err(_)) | Err(_) => {}
        }
        tokio::time::sleep(limits::OBSERVE_RETRY).await;
    }
}
