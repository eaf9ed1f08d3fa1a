//! What a node asks of the sentinels: the state of the cluster, and changes of the ISR.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tercet_proto::grpc::cluster::v1::{Address, ClusterState};
use tercet_proto::grpc::sentinel::v1::sentinel_client::SentinelClient;
use tercet_proto::grpc::sentinel::v1::{ChangeIsrRequest, FailoverRequest, WatchRequest};
use tokio::time::{Instant, timeout};
use tonic::transport::Channel;
use tracing::{debug, info};

use super::{Cluster, Error, channel};
use crate::config::Config;
use crate::limits;
use crate::replication::isr::Proposal;

/// One sentinel, on a connection that opens again by itself.
#[derive(Debug)]
pub(super) struct Sentinel {
    address: String,
    channel: Channel,
}

impl Sentinel {
    fn client(&self) -> SentinelClient<Channel> {
        SentinelClient::new(self.channel.clone())
    }
}

/// All sentinels of the settings. To be called on the runtime that their connections are to live on.
pub(super) fn all(config: &Config) -> Result<Vec<Sentinel>, Error> {
    let sentinels = config.sentinels.iter().map(|sentinel| {
        let address = Address { host: sentinel.host.clone(), port: u32::from(sentinel.port) };
        let wrong = |error: tonic::transport::Error| Error::Sentinel {
            address: sentinel.to_string(),
            reason: error.to_string(),
        };
        let channel = channel::endpoint(&address).map_err(wrong)?.connect_lazy();
        Ok(Sentinel { address: sentinel.to_string(), channel })
    });
    sentinels.collect()
}

/// Takes over every newer state that one sentinel sends, for as long as the node lives.
pub(super) async fn watch(cluster: Arc<Cluster>, index: usize) {
    let sentinel = &cluster.sentinels[index];
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
    let count = cluster.sentinels.len();
    let first = FIRST.load(Ordering::Relaxed);
    for step in 0..count {
        let index = (first + step) % count;
        let sentinel = &cluster.sentinels[index];
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
    for sentinel in &cluster.sentinels {
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
