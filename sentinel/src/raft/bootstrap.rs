//! How a sentinel with an empty data directory comes into a group.
//!
//! ```text
//! all of --sentinels are there and empty, this is the first one   -> it founds the group
//! somebody belongs to a cluster                                    -> asks it for a vote, until it has one
//! otherwise                                                        -> waits
//! ```

use std::time::Instant;

use tercet_proto::grpc::sentinel::v1::{AddSentinel, HelloReply, HelloRequest, OrderRequest, order_request};
use tracing::{error, info, warn};

use super::{Consensus, Peer, Peers, Replica};
use crate::{
    limits,
    state::{Command, SentinelMember},
};

/// What `HelloReply.cluster_id` says for a sentinel that has joined a group which has no name yet.
pub(crate) const FORMING: &str = "forming";

/// Who comes, and what it brings if it founds the group.
#[derive(Debug)]
pub(crate) struct Founding {
    pub(crate) own: SentinelMember,
    /// It is the first one of `--sentinels`.
    pub(crate) is_founder: bool,
    pub(crate) min_isr: u32,
}

/// Founds the group or joins the one that is there; then names the cluster if it has no name and we lead.
pub(crate) async fn bootstrap(replica: &Replica, peers: &Peers, founding: &Founding) {
    if !replica.had_joined() {
        enter(replica, peers, founding).await;
    }
    name_cluster(replica, founding.min_isr).await;
}

async fn enter(replica: &Replica, peers: &Peers, founding: &Founding) {
    let own = &founding.own;
    let mut log = Seldom::default();
    while replica.watch_applied().borrow().sentinel(&own.sentinel_id).is_none() {
        let found = look_around(peers, own).await;
        if let Some((peer, cluster_id)) = found.cluster {
            match ask_for_a_vote(&peer, cluster_id, own).await {
                Ok(()) => info!(through = %peer.address, "the cluster takes this sentinel in"),
                Err(reason) if log.is_due() => warn!(through = %peer.address, reason, "cannot join yet, trying again"),
                Err(_) => {}
            }
            tokio::time::sleep(limits::JOIN_RETRY).await;
            continue;
        }
        if founding.is_founder && !replica.is_initialized().await {
            if found.missing.is_empty() {
                let members: Vec<SentinelMember> = found.empty.into_iter().chain([own.clone()]).collect();
                match replica.initialize(&members).await {
                    Ok(()) => info!(sentinels = members.len(), "founded the group of sentinels"),
                    Err(error) => error!(%error, "the group cannot be founded"),
                }
            } else if log.is_due() {
                warn!(missing = found.missing.join(", "), "waiting for all sentinels before founding the group");
            }
        }
        tokio::time::sleep(limits::SUSPEND_TIMEOUT).await;
    }
}

/// What the others of `--sentinels` answer.
#[derive(Default)]
struct Found {
    empty: Vec<SentinelMember>,
    missing: Vec<String>,
    /// One that belongs to a cluster, and which.
    cluster: Option<(Peer, String)>,
}

async fn look_around(peers: &Peers, own: &SentinelMember) -> Found {
    let mut found = Found::default();
    for address in peers.listed() {
        let peer = peers.at(address);
        let hello = HelloRequest {
            name: own.name.clone(),
            sentinel_id: own.sentinel_id.clone(),
            cluster_id: String::new(),
            peer: Some((&own.peer).into()),
        };
        match tokio::time::timeout(limits::HELLO_TIMEOUT, peer.control().hello(hello)).await {
            Ok(Ok(reply)) => {
                let HelloReply { name, sentinel_id, raft_id, cluster_id, .. } = reply.into_inner();
                match cluster_id.as_str() {
                    "" => found.empty.push(SentinelMember { raft_id, sentinel_id, name, peer: address.clone() }),
                    FORMING => found.missing.push(format!("{address} (belongs to a group that has no name yet)")),
                    _ => found.cluster = Some((peer, cluster_id)),
                }
            }
            Ok(Err(_)) | Err(_) => found.missing.push(address.to_string()),
        }
    }
    found
}

async fn ask_for_a_vote(peer: &Peer, cluster_id: String, own: &SentinelMember) -> Result<(), String> {
    let order = order_request::Order::AddSentinel(AddSentinel { sentinel: Some(own.into()) });
    let request = OrderRequest { cluster_id, forwarded: false, order: Some(order) };
    match tokio::time::timeout(limits::JOIN_TIMEOUT, peer.control().order(request)).await {
        Ok(Ok(reply)) if reply.get_ref().error.is_empty() => Ok(()),
        Ok(Ok(reply)) => Err(reply.into_inner().error),
        Ok(Err(status)) => Err(status.message().to_owned()),
        Err(_) => Err("no answer in time".into()),
    }
}

/// The first leader names the cluster; the command takes effect once, whoever proposes it.
async fn name_cluster(replica: &Replica, min_isr: u32) {
    let mut state = replica.watch_applied();
    let mut leadership = replica.leadership();
    while state.borrow_and_update().cluster_id.is_empty() {
        if leadership.borrow_and_update().is_us {
            let cluster_id = super::disk::draw_id();
            match replica.propose(Command::Bootstrap { cluster_id: cluster_id.clone(), min_isr }).await {
                Ok(_) => info!(cluster = cluster_id, min_isr, "named the cluster"),
                Err(error) => warn!(%error, "the cluster could not be named yet"),
            }
            if !state.borrow_and_update().cluster_id.is_empty() {
                return;
            }
        }
        let changed = tokio::time::timeout(limits::FAILOVER_RETRY, async {
            tokio::select! {
                result = state.changed() => result.is_ok(),
                result = leadership.changed() => result.is_ok(),
            }
        });
        if changed.await == Ok(false) {
            return;
        }
    }
}

/// Says when something that lasts is to be logged again.
#[derive(Default)]
struct Seldom(Option<Instant>);

impl Seldom {
    fn is_due(&mut self) -> bool {
        let is_due = self.0.is_none_or(|at| at.elapsed() > limits::LOG_AGAIN);
        if is_due {
            self.0 = Some(Instant::now());
        }
        is_due
    }
}
