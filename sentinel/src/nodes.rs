//! The data nodes as they say themselves.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    time::Duration,
};

use parking_lot::Mutex;
use tercet_edge::{dial::Dialer, guard::Trusted};
use tercet_proto::grpc::peer::v1::{NodeStatus, Role, peer_client::PeerClient};
use tokio::sync::Notify;

use crate::{
    clock::Moment,
    limits,
    plan::{Observations, Replaced, Seen},
    raft::endpoint,
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
pub(crate) struct Table {
    by_name: BTreeMap<String, Node>,
    listed: Vec<Option<String>>,
    first_answer: Option<Moment>,
    replaced: Replaced,
    pub(crate) channels: HashMap<Address, Trusted>,
    /// Nodes that follow the state at this sentinel, by how many streams: nobody may have told us of them.
    pub(crate) introduced: BTreeMap<Address, usize>,
}

/// Two data directories under one name, both alive.
#[derive(Debug)]
pub(crate) struct Double {
    pub(crate) name: String,
    pub(crate) node_id: String,
}

/// Every node that was ever heard of by this process.
#[derive(Debug)]
pub(crate) struct Nodes {
    pub(crate) listed: Vec<Address>,
    dialer: Dialer,
    pub(crate) table: Mutex<Table>,
    /// Something new was said.
    pub(crate) changed: Notify,
    /// Somebody has introduced itself, or has left.
    pub(crate) introductions: Notify,
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

    pub(crate) fn client_at(&self, address: &Address) -> PeerClient<Trusted> {
        let mut table = self.table.lock();
        let channel =
            table.channels.entry(address.clone()).or_insert_with(|| self.dialer.connect_lazy(&endpoint(address)));
        PeerClient::new(channel.clone())
    }

    pub(crate) fn record(&self, address: &Address, status: NodeStatus, now: Moment) -> Result<(), Double> {
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

    pub(crate) fn disconnected(&self, address: &Address) {
        let mut table = self.table.lock();
        for node in table.by_name.values_mut() {
            node.streams.remove(address);
        }
        drop(table);
        self.changed.notify_waiters();
    }
}

/// The replicas that a master hears.
fn heard_by(status: &NodeStatus) -> BTreeSet<String> {
    let is_heard = |silent_ms: u64| Duration::from_millis(silent_ms) < limits::LINK_SILENCE;
    let heard = status.replicas.iter().filter(|replica| is_heard(replica.silent_ms));
    heard.map(|replica| replica.name.clone()).collect()
}
