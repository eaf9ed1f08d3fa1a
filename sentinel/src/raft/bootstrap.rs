//! Founding the group: once, by the first sentinel of `--sentinels`, when all of them are there and none has a past.

use std::{collections::BTreeMap, time::Instant};

use tercet_proto::grpc::sentinel::v1::HelloRequest;
use tracing::{error, info, warn};

use super::{Consensus, Peers, Replica, types::SentinelNode};
use crate::{
    limits,
    state::{Address, Command},
};

/// What `HelloReply.cluster_id` says for a sentinel that has joined a group which has no name yet.
pub(crate) const FORMING: &str = "forming";

/// Founds the group if it is ours to found, then names the cluster if it has no name and we lead.
pub(crate) async fn bootstrap(replica: &Replica, peers: &Peers, name: &str, own: &Address, min_isr: u32) {
    if replica.raft_id == 1 && !replica.is_initialized().await {
        found(replica, peers, name, own).await;
    }
    name_cluster(replica, min_isr).await;
}

async fn found(replica: &Replica, peers: &Peers, name: &str, own: &Address) {
    let ours = SentinelNode { addr: own.to_string(), name: name.into(), sentinel_id: replica.sentinel_id().into() };
    let mut last_log: Option<Instant> = None;
    while !replica.is_initialized().await {
        let mut members = BTreeMap::from([(replica.raft_id, ours.clone())]);
        let mut missing = Vec::new();
        for peer in peers.iter() {
            let hello =
                HelloRequest { name: name.into(), sentinel_id: replica.sentinel_id().into(), ..Default::default() };
            match tokio::time::timeout(limits::HELLO_TIMEOUT, peer.control().hello(hello)).await {
                Ok(Ok(reply)) => {
                    let reply = reply.into_inner();
                    if reply.cluster_id.is_empty() {
                        let addr = peer.address.to_string();
                        members.insert(
                            peer.raft_id,
                            SentinelNode { addr, name: reply.name, sentinel_id: reply.sentinel_id },
                        );
                    } else {
                        missing.push(format!("{} (belongs to cluster {})", peer.address, reply.cluster_id));
                    }
                }
                Ok(Err(_)) | Err(_) => missing.push(peer.address.to_string()),
            }
        }
        if missing.is_empty() {
            match replica.initialize(members).await {
                Ok(()) => info!(sentinels = peers.iter().count() + 1, "founded the group of sentinels"),
                Err(error) => error!(%error, "the group cannot be founded"),
            }
            return;
        }
        if last_log.is_none_or(|at| at.elapsed() > limits::LOG_AGAIN) {
            last_log = Some(Instant::now());
            warn!(missing = missing.join(", "), "waiting for all sentinels before founding the group");
        }
        tokio::time::sleep(limits::SUSPEND_TIMEOUT).await;
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
