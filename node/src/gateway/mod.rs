//! The stream gateway: `schema.Gateway/Call`, with health and reflection.
//!
//! Every request is answered with num + 1, in order, until the client half-closes. A connection to a replica is carried
//! to the master; when a mastership ends, its streams end with UNAVAILABLE and the address of the next master.

use std::pin::Pin;
use std::sync::atomic::Ordering::Relaxed;

use futures::{Stream, StreamExt};
use tercet_edge::accept::Door;
use tercet_edge::socket::Socket;
use tercet_proto::grpc::schema::gateway_server::{Gateway, GatewayServer};
use tercet_proto::grpc::schema::{DESCRIPTOR_SET, Request, Response};
use tokio::sync::mpsc;
use tonic::{Status, Streaming};

use crate::cluster::carry::{self, Port};
use crate::limits;
use crate::node::Shared;
use crate::role::{Authority, Role};
use crate::task;

/// What cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the gateway's schema cannot be reflected: {0}")]
    Reflection(#[from] tonic_reflection::server::Error),
    #[error("the gateway cannot serve: {0}")]
    Serve(#[from] tonic::transport::Error),
}

#[derive(Debug)]
struct Service {
    node: Shared,
}

#[tonic::async_trait]
impl Gateway for Service {
    type CallStream = Pin<Box<dyn Stream<Item = Result<Response, Status>> + Send>>;

    async fn call(
        &self,
        request: tonic::Request<Streaming<Request>>,
    ) -> Result<tonic::Response<Self::CallStream>, Status> {
        let node = self.node.clone();
        let listed = node.streams.list(request.remote_addr());
        let gauges = std::sync::Arc::clone(&listed.gauges);
        let deposed = async move {
            wait_until_deposed(&node.authority).await;
            Err(Status::unavailable(moved(&node)))
        };
        let answers = request.into_inner().map(move |request| {
            gauges.requests.fetch_add(1, Relaxed);
            answer(&request.map_err(too_large)?)
        });
        // The half-close of the client ends the stream; the end of the mastership is one more, last item.
        let answers = answers.map(Some).chain(futures::stream::iter([None]));
        let answers = futures::stream::select(answers, futures::stream::once(deposed).map(Some));
        // The first error ends the stream with its status.
        let answers = answers.scan(false, move |ended, answer| {
            let item = answer.filter(|_| !*ended);
            *ended = item.as_ref().is_none_or(Result::is_err);
            // Owned by the stream: it is listed as long as that lives.
            listed.gauges.answers.fetch_add(u64::from(matches!(item, Some(Ok(_)))), Relaxed);
            futures::future::ready(item)
        });
        Ok(tonic::Response::new(Box::pin(answers)))
    }
}

async fn wait_until_deposed(authority: &Authority) {
    // The sender lives as long as the node, so this ends only when the role does.
    _ = authority.subscribe().wait_for(|standing| standing.role != Role::Master).await;
}

fn moved(node: &Shared) -> String {
    match node.other_master().and_then(|master| master.gateway) {
        Some(address) => format!("the master is now {}:{}", address.host, address.port),
        None => "this node is no longer the master".to_owned(),
    }
}

/// tonic says OUT_OF_RANGE of a message over its limit, the other implementations RESOURCE_EXHAUSTED.
fn too_large(status: Status) -> Status {
    if status.code() == tonic::Code::OutOfRange { Status::resource_exhausted(status.message()) } else { status }
}

fn answer(request: &Request) -> Result<Response, Status> {
    match request.num.checked_add(1) {
        Some(num) => Ok(Response { num }),
        None => Err(Status::invalid_argument(format!("num {} has no successor in int64", request.num))),
    }
}

/// Serves the gateway on its ports until `stop` resolves.
///
/// # Errors
/// The listener is broken.
pub async fn serve(node: Shared, doors: Vec<Door>, stop: impl Future<Output = ()> + Send) -> Result<(), Error> {
    let (health, health_service) = tonic_health::server::health_reporter();
    health.set_serving::<GatewayServer<Service>>().await;
    // Older grpcurl asks v1alpha.
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    let (served, incoming) = mpsc::channel(limits::GATEWAY_BACKLOG);
    let accept = |door| task::spawn("gateway accept", accept(node.clone(), door, served.clone()));
    let _accepting: Vec<_> = doors.into_iter().map(accept).collect();
    tonic::transport::Server::builder()
        .http2_keepalive_interval(Some(std::time::Duration::from_secs(30)))
        .http2_keepalive_timeout(Some(std::time::Duration::from_secs(10)))
        .max_concurrent_streams(1024)
        .add_service(health_service)
        .add_service(reflection().build_v1()?)
        .add_service(reflection().build_v1alpha()?)
        .add_service(GatewayServer::new(Service { node }))
        .serve_with_incoming_shutdown(tokio_stream::wrappers::ReceiverStream::new(incoming), stop)
        .await?;
    Ok(())
}

/// Hands connections to the server on a master, and carries them to the master elsewhere.
async fn accept(node: Shared, door: Door, served: mpsc::Sender<std::io::Result<Socket>>) {
    loop {
        let guest = door.next().await;
        if node.is_full_for(&guest) {
            node.stats.rejected_connections.fetch_add(1, Relaxed);
            guest.turn_away(b"");
            continue;
        }
        let (node, served) = (node.clone(), served.clone());
        let carried = async move {
            // Who fails is logged; who says nothing is not served.
            let Ok(socket) = guest.enter().await else { return };
            if !socket.speaks().await {
                return;
            }
            if let Some(socket) = carry::carry(node, socket, Port::Gateway).await {
                // An error says that the server has ended, and the client's connection with it.
                _ = served.send(Ok(socket)).await;
            }
        };
        task::spawn("gateway client", carried).detach();
    }
}

#[cfg(test)]
mod tests {
    use tercet_proto::grpc::schema::gateway_client::GatewayClient;

    use super::*;
    use crate::config::{Action, Config};
    use crate::node::{Identity, Node, random_id};

    fn node() -> Shared {
        let Ok(Action::Serve(config)) = Config::from_args(["tercet-node".into()], |_| None) else { panic!("defaults") };
        let identity = Identity { name: "n1".into(), node_id: random_id(), incarnation: random_id() };
        std::sync::Arc::new(Node::new(*config, identity))
    }

    async fn client() -> GatewayClient<tonic::transport::Channel> {
        let (node, listener) = (node(), tercet_edge::accept::listen("127.0.0.1:0".parse().unwrap()).unwrap());
        let door = Door::new("gateway", listener, node.places.clone());
        let address = door.address().unwrap();
        tokio::spawn(serve(node, vec![door], std::future::pending()));
        GatewayClient::connect(format!("http://{address}")).await.unwrap()
    }

    async fn call(nums: Vec<i64>) -> Vec<Result<i64, tonic::Code>> {
        let requests = futures::stream::iter(nums.into_iter().map(|num| Request { num }));
        let answers = client().await.call(requests).await.unwrap().into_inner();
        answers.map(|answer| answer.map(|a| a.num).map_err(|status| status.code())).collect().await
    }

    #[tokio::test]
    async fn every_request_is_answered_in_order_until_the_half_close() {
        assert_eq!(call(vec![1, 41, -1, 0]).await, [Ok(2), Ok(42), Ok(0), Ok(1)]);
    }

    #[tokio::test]
    async fn a_number_without_successor_is_an_invalid_argument() {
        assert_eq!(call(vec![7, i64::MAX, 1]).await, [Ok(8), Err(tonic::Code::InvalidArgument)]);
    }

    #[tokio::test]
    async fn a_message_over_the_limit_is_resource_exhausted() {
        let status = too_large(Status::out_of_range("decoded message length too large"));
        assert_eq!(status.code(), tonic::Code::ResourceExhausted);
        assert_eq!(too_large(Status::internal("x")).code(), tonic::Code::Internal);
    }
}
