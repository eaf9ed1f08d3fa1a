//! The port for peers: replicas and sentinels call here.

use std::net::TcpListener;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Instant;

use futures::Stream;
use parking_lot::Mutex;
use tercet_edge::accept::Door;
use tercet_edge::guard::Guard;
use tercet_edge::limits as edge;
use tercet_edge::place::Places;
use tercet_edge::tls::Alpn;
use tercet_proto::grpc::peer::v1::peer_server::{Peer, PeerServer};
use tercet_proto::grpc::peer::v1::{
    FenceReply, FenceRequest, FromMaster, FromReplica, NodeStatus, ObserveRequest, PrepareHandoverReply,
    PrepareHandoverRequest, PromoteReply, PromoteRequest, Publication, PublicationsRequest, from_replica,
};
use tokio::time::timeout;
use tonic::{Request, Response, Status, Streaming};
use tracing::warn;

use super::{Cluster, observe, publications};
use crate::limits;
use crate::replication::master;

/// Serves until it is cancelled.
pub(super) async fn serve(cluster: Arc<Cluster>, listener: TcpListener) -> Result<(), Error> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let token = cluster.node.config.cluster_token.clone();
    let door = Door::new("peers", listener, Places::new(edge::PEER_CONNECTIONS, edge::PEER_CONNECTIONS));
    let door = match &cluster.node.dialer.tls {
        Some(tls) => door.secured(Arc::clone(tls), Alpn::Peer),
        None => door,
    };
    let service = PeerServer::new(Service { cluster, complained: Mutex::default() })
        .max_decoding_message_size(limits::PEER_ORDER_BYTES)
        .max_encoding_message_size(limits::PEER_MESSAGE_BYTES);
    tonic::transport::Server::builder()
        .initial_stream_window_size(limits::PEER_WINDOW_BYTES)
        .initial_connection_window_size(limits::PEER_WINDOW_BYTES)
        .http2_keepalive_interval(Some(limits::PEER_KEEPALIVE))
        .http2_keepalive_timeout(Some(limits::PEER_KEEPALIVE))
        .add_service(Guard::new(service, token))
        .serve_with_incoming(door.sockets()?)
        .await?;
    Ok(())
}

#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error(transparent)]
    Listener(#[from] std::io::Error),
    #[error(transparent)]
    Server(#[from] tonic::transport::Error),
}

struct Service {
    cluster: Arc<Cluster>,
    /// When the last call from another cluster was logged: sentinels try again all the time.
    complained: Mutex<Option<Instant>>,
}

impl Service {
    /// Whoever calls must mean this cluster. A node that belongs to none yet hears everybody out.
    fn check(&self, cluster_id: &str) -> Result<(), Status> {
        if !self.cluster.node.config.is_clustered() {
            return Err(Status::failed_precondition("this node runs by itself; start it with --sentinels"));
        }
        match self.cluster.storage.cluster_id() {
            Some(ours) if !cluster_id.is_empty() && ours != cluster_id => {
                let mut complained = self.complained.lock();
                if complained.is_none_or(|at| at.elapsed() > limits::LOG_AGAIN) {
                    *complained = Some(Instant::now());
                    warn!(
                        ours,
                        theirs = cluster_id,
                        "a call from another cluster was refused; give this node an empty --data to join that one"
                    );
                }
                Err(Status::failed_precondition(format!("this node belongs to cluster {ours}, not to {cluster_id}")))
            }
            _ => Ok(()),
        }
    }
}

type Messages<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl Peer for Service {
    type ObserveStream = Messages<NodeStatus>;
    type ReplicateStream = Messages<FromMaster>;
    type PublicationsStream = Messages<Publication>;

    async fn observe(&self, request: Request<ObserveRequest>) -> Result<Response<Self::ObserveStream>, Status> {
        self.check(&request.get_ref().cluster_id)?;
        Ok(Response::new(Box::pin(observe::statuses(Arc::clone(&self.cluster)))))
    }

    async fn publications(
        &self,
        request: Request<PublicationsRequest>,
    ) -> Result<Response<Self::PublicationsStream>, Status> {
        self.check(&request.get_ref().cluster_id)?;
        Ok(Response::new(Box::pin(publications::published(&self.cluster))))
    }

    async fn fence(&self, request: Request<FenceRequest>) -> Result<Response<FenceReply>, Status> {
        self.check(&request.get_ref().cluster_id)?;
        Ok(Response::new(self.cluster.fence(request.get_ref()).await))
    }

    async fn promote(&self, request: Request<PromoteRequest>) -> Result<Response<PromoteReply>, Status> {
        let Some(state) = request.into_inner().state else {
            return Err(Status::invalid_argument("a promotion without a state"));
        };
        self.check(&state.cluster_id)?;
        let refusal = self.cluster.promote(state).await.err();
        let accepted = refusal.is_none();
        let refusal = refusal.map(|refusal| refusal.to_string()).unwrap_or_default();
        Ok(Response::new(PromoteReply { accepted, refusal }))
    }

    async fn prepare_handover(
        &self,
        request: Request<PrepareHandoverRequest>,
    ) -> Result<Response<PrepareHandoverReply>, Status> {
        self.check(&request.get_ref().cluster_id)?;
        Ok(Response::new(self.cluster.prepare_handover(request.get_ref()).await))
    }

    async fn replicate(
        &self,
        request: Request<Streaming<FromReplica>>,
    ) -> Result<Response<Self::ReplicateStream>, Status> {
        let mut messages = request.into_inner();
        let first = timeout(limits::REPLICATION_SILENCE, messages.message()).await;
        let first = first.map_err(|_| Status::deadline_exceeded("a replica says hello first"))??;
        let Some(FromReplica { message: Some(from_replica::Message::Hello(hello)) }) = first else {
            return Err(Status::invalid_argument("a replica says hello first"));
        };
        self.check(&hello.cluster_id)?;
        let stream =
            master::serve(self.cluster.node.clone(), Arc::clone(&self.cluster.storage), hello, messages).await?;
        Ok(Response::new(Box::pin(stream)))
    }
}
