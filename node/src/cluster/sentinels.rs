//! What a node asks of the sentinels: the state of the cluster, and changes of the ISR. They are those that the newest state
//! names; those of the settings are followed too, for after a long absence one of them may be all that is left.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tercet_edge::dial::Dialer;
use tercet_edge::guard::Trusted;
use tercet_proto::grpc::cluster::v1::{Address, ClusterState};
use tercet_proto::grpc::sentinel::v1::sentinel_client::SentinelClient;
use tercet_proto::grpc::sentinel::v1::{ChangeIsrRequest, FailoverRequest, WatchRequest};
use tokio::sync::watch;
use tokio::time::{Instant, timeout};
use tracing::{debug, info};

use super::{Cluster, Error, channel};
use crate::config::Config;
use crate::limits;
use crate::replication::isr::Proposal;
use crate::task::{self, Task};

/// One sentinel, on a connection that opens again by itself.
#[derive(Debug)]
pub(super) struct Sentinel {
    address: String,
    channel: Trusted,
}

impl Sentinel {
    fn new(address: &str, dialer: &Dialer) -> Result<Self, tonic::transport::Error> {
        Ok(Self { address: address.to_owned(), channel: dialer.connect_lazy(&channel::endpoint_at(address)?) })
    }

    fn client(&self) -> SentinelClient<Trusted> {
        SentinelClient::new(self.channel.clone())
    }
}

/// The addresses of the settings, sorted.
pub(super) fn listed(config: &Config) -> Vec<String> {
    let address = |host: &str, port: u16| Address { host: host.to_owned(), port: u32::from(port) };
    sorted(config.sentinels.iter().map(|one| channel::text(&address(&one.host, one.port))).collect())
}

/// The addresses of a state, sorted; none, if it names no sentinels.
pub(super) fn addresses(state: &ClusterState) -> Vec<String> {
    sorted(state.sentinels.iter().filter_map(|one| one.peer.as_ref()).map(channel::text).collect())
}

/// The order of the settings means nothing.
fn sorted(mut addresses: Vec<String>) -> Vec<String> {
    addresses.sort_unstable();
    addresses
}

/// The sentinels that there are.
#[derive(Debug)]
pub(super) struct Sentinels {
    listed: Vec<Arc<Sentinel>>,
    dialer: Dialer,
    members: watch::Sender<Vec<Arc<Sentinel>>>,
}

impl Sentinels {
    /// Those of the settings. To be called on the runtime that their connections are to live on.
    pub(super) fn new(config: &Config, dialer: &Dialer) -> Result<Self, Error> {
        let connect = |address: String| match Sentinel::new(&address, dialer) {
            Ok(sentinel) => Ok(Arc::new(sentinel)),
            Err(error) => Err(Error::Sentinel { address, reason: error.to_string() }),
        };
        let listed = listed(config).into_iter().map(connect).collect::<Result<Vec<_>, _>>()?;
        let members = watch::Sender::new(listed.clone());
        Ok(Self { listed, dialer: dialer.clone(), members })
    }

    pub(super) fn count(&self) -> usize {
        self.members.borrow().len()
    }

    fn members(&self) -> Vec<Arc<Sentinel>> {
        self.members.borrow().clone()
    }

    /// Those that a state names, if it names any.
    pub(super) fn adopt(&self, state: &ClusterState) {
        let wanted = addresses(state);
        self.members.send_if_modified(|members| {
            let is_known = members.iter().map(|one| &one.address).eq(&wanted);
            if wanted.is_empty() || is_known {
                return false;
            }
            let known: Vec<_> = members.iter().chain(&self.listed).cloned().collect();
            let sentinel = |address: &String| match known.iter().find(|one| one.address == *address) {
                Some(known) => Some(Arc::clone(known)),
                None => Sentinel::new(address, &self.dialer).ok().map(Arc::new),
            };
            *members = wanted.iter().filter_map(sentinel).collect();
            true
        });
    }
}

/// Follows the state through all of them, whoever they are, for as long as the node lives.
pub(super) async fn watch_all(cluster: Arc<Cluster>) {
    let mut members = cluster.sentinels.members.subscribe();
    let mut followed: BTreeMap<String, Task> = BTreeMap::new();
    loop {
        let wanted: Vec<_> = members.borrow_and_update().iter().chain(&cluster.sentinels.listed).cloned().collect();
        // Dropping a task ends it.
        followed.retain(|address, _| wanted.iter().any(|one| one.address == *address));
        for sentinel in wanted {
            followed
                .entry(sentinel.address.clone())
                .or_insert_with(|| task::spawn("watch", watch_one(Arc::clone(&cluster), sentinel)));
        }
        if members.changed().await.is_err() {
            return;
        }
    }
}

/// Takes over every newer state that one sentinel sends.
async fn watch_one(cluster: Arc<Cluster>, sentinel: Arc<Sentinel>) {
    let mut pause = limits::RECONNECT_PAUSE[0];
    let mut said: Option<Instant> = None;
    loop {
        let request = WatchRequest {
            cluster_id: cluster.storage.cluster_id().unwrap_or_default(),
            name: cluster.node.identity.name.clone(),
            peer: cluster.node.member().peer,
        };
        let error = match sentinel.client().watch(request).await {
            Err(error) => error,
            Ok(response) => {
                pause = limits::RECONNECT_PAUSE[0];
                let mut states = response.into_inner();
                loop {
                    match states.message().await {
                        Ok(Some(state)) => cluster.adopt(state).await,
                        Ok(None) => break tonic::Status::unavailable("the sentinel closed the stream"),
                        Err(error) => break error,
                    }
                }
            }
        };
        if said.is_none_or(|at| at.elapsed() > limits::LOG_AGAIN) {
            said = Some(Instant::now());
            info!(sentinel = sentinel.address, code = %error.code(), error = error.message(), "no state from a sentinel, trying again");
        } else {
            debug!(sentinel = sentinel.address, code = %error.code(), error = error.message(), "no state from a sentinel");
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(limits::RECONNECT_PAUSE[1]);
    }
}

/// Asks one sentinel after the other, beginning with the one that answered last, until one has an answer.
pub(super) async fn change_isr(cluster: &Cluster, proposal: &Proposal) -> Option<ClusterState> {
    static FIRST: AtomicUsize = AtomicUsize::new(0);
    let sentinels = cluster.sentinels.members();
    let count = sentinels.len();
    let first = FIRST.load(Ordering::Relaxed);
    for step in 0..count {
        let index = (first + step) % count;
        let sentinel = &sentinels[index];
        let request = ChangeIsrRequest {
            cluster_id: cluster.storage.cluster_id().unwrap_or_default(),
            epoch: proposal.epoch.0,
            isr_version: proposal.version,
            isr: proposal.isr.clone(),
            forwarded: false,
            witnesses: proposal.witnesses.clone(),
        };
        match timeout(limits::ISR_CHANGE_TIMEOUT, sentinel.client().change_isr(request)).await {
            Ok(Ok(reply)) => {
                let reply = reply.into_inner();
                if !reply.accepted {
                    info!(sentinel = sentinel.address, refusal = reply.refusal, "change of the ISR refused");
                }
                if let Some(state) = reply.state {
                    FIRST.store(index, Ordering::Relaxed);
                    return Some(state);
                }
            }
            Ok(Err(error)) => debug!(sentinel = sentinel.address, %error, "change of the ISR failed"),
            Err(_) => debug!(sentinel = sentinel.address, "change of the ISR timed out"),
        }
    }
    None
}

/// Asks for a hand-over to another node. Says whether one is under way.
pub(super) async fn request_failover(cluster: &Cluster) -> bool {
    for sentinel in cluster.sentinels.members() {
        let request = FailoverRequest {
            cluster_id: cluster.storage.cluster_id().unwrap_or_default(),
            service: String::new(),
            forwarded: false,
        };
        match timeout(limits::HANDOVER_WAIT, sentinel.client().failover(request)).await {
            Ok(Ok(reply)) if reply.get_ref().accepted => return true,
            Ok(Ok(reply)) => debug!(sentinel = sentinel.address, error = reply.get_ref().error, "hand-over refused"),
            Ok(Err(error)) => debug!(sentinel = sentinel.address, %error, "hand-over failed"),
            Err(_) => debug!(sentinel = sentinel.address, "hand-over timed out"),
        }
    }
    false
}
