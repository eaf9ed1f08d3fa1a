//! What is published on one node reaches the subscribers of all: every node listens to each of the others.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::Stream;
use tercet_proto::grpc::cluster::v1::Address;
use tercet_proto::grpc::peer::v1::peer_client::PeerClient;
use tercet_proto::grpc::peer::v1::{Publication, PublicationsRequest};
use tonic::Status;

use super::{Cluster, channel};
use crate::limits;
use crate::pubsub::Channel;
use crate::task::{self, Task};

/// What is published on this node from now on, for another one.
pub(super) fn published(cluster: &Cluster) -> impl Stream<Item = Result<Publication, Status>> + Send + 'static {
    let subscription = cluster.node.pubsub.outbox();
    futures::stream::unfold(subscription, |subscription| async move {
        let (publication, lost) = subscription.next().await;
        let message = Publication {
            channel: publication.name,
            message: publication.message,
            shard: publication.channel == Channel::Shard,
            lost,
        };
        Some((Ok(message), subscription))
    })
}

/// Listens to all other members, whoever they are, for as long as the node lives.
pub(super) async fn follow_all(cluster: Arc<Cluster>) {
    let mut followed: BTreeMap<String, Task> = BTreeMap::new();
    loop {
        let others: BTreeMap<String, Address> = {
            let state = cluster.node.cluster.read();
            let members = state.iter().flat_map(|state| &state.members);
            let others = members.filter(|member| member.name != cluster.node.identity.name);
            others.filter_map(|member| member.peer.clone()).map(|peer| (channel::text(&peer), peer)).collect()
        };
        // Dropping a task ends it.
        followed.retain(|address, _| others.contains_key(address));
        for (address, peer) in others {
            followed.entry(address).or_insert_with(|| task::spawn("publications", follow(Arc::clone(&cluster), peer)));
        }
        tokio::time::sleep(limits::PUBLICATIONS_LOOK).await;
    }
}

async fn follow(cluster: Arc<Cluster>, peer: Address) {
    let mut pause = limits::RECONNECT_PAUSE[0];
    loop {
        let began = tokio::time::Instant::now();
        if let Err(error) = listen(&cluster, &peer).await {
            tracing::debug!(peer = channel::text(&peer), %error, "no publications from another node, trying again");
        }
        if began.elapsed() > limits::REPLICATION_SILENCE {
            pause = limits::RECONNECT_PAUSE[0];
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(limits::RECONNECT_PAUSE[1]);
    }
}

#[derive(Debug, thiserror::Error)]
enum Error {
    #[error(transparent)]
    Connection(#[from] tonic::transport::Error),
    #[error(transparent)]
    Call(#[from] Status),
}

async fn listen(cluster: &Cluster, peer: &Address) -> Result<(), Error> {
    let node = &cluster.node;
    let connection = node.dialer.connect(&channel::endpoint(peer)?).await?;
    let mut client = PeerClient::new(connection).max_decoding_message_size(limits::PEER_MESSAGE_BYTES);
    let request = PublicationsRequest {
        cluster_id: cluster.storage.cluster_id().unwrap_or_default(),
        node: node.identity.name.clone(),
    };
    let mut stream = client.publications(request).await?.into_inner();
    while let Some(publication) = stream.message().await? {
        if publication.lost > 0 {
            let lost = publication.lost;
            tracing::warn!(peer = channel::text(peer), lost, "another node publishes faster than it can send it here");
        }
        let channel = if publication.shard { Channel::Shard } else { Channel::Plain };
        node.pubsub.publish_here(channel, &publication.channel, &publication.message);
    }
    Ok(())
}
