//! The stream gateway: `schema.Gateway/Call`, with health and reflection.
//!
//! Every request is answered with num + 1, in order, until the client half-closes. There is no state behind it, so any
//! node answers, whatever its role.

use std::pin::Pin;

use futures::{Stream, StreamExt};
use tercet_proto::grpc::schema::gateway_server::{Gateway, GatewayServer};
use tercet_proto::grpc::schema::{DESCRIPTOR_SET, Request, Response};
use tokio::net::TcpListener;
use tonic::{Status, Streaming};

/// What cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the gateway's schema cannot be reflected: {0}")]
    Reflection(#[from] tonic_reflection::server::Error),
    #[error("the gateway cannot serve: {0}")]
    Serve(#[from] tonic::transport::Error),
}

#[derive(Debug, Default)]
struct Service;

#[tonic::async_trait]
impl Gateway for Service {
    type CallStream = Pin<Box<dyn Stream<Item = Result<Response, Status>> + Send>>;

    async fn call(
        &self,
        request: tonic::Request<Streaming<Request>>,
    ) -> Result<tonic::Response<Self::CallStream>, Status> {
        let answers = request.into_inner().map(|request| answer(&request?));
        // The first error ends the stream with its status.
        let answers = answers.scan(false, |ended, answer| {
            let item = (!*ended).then_some(answer);
            *ended = item.as_ref().is_none_or(Result::is_err);
            futures::future::ready(item)
        });
        Ok(tonic::Response::new(Box::pin(answers)))
    }
}

fn answer(request: &Request) -> Result<Response, Status> {
    match request.num.checked_add(1) {
        Some(num) => Ok(Response { num }),
        None => Err(Status::invalid_argument(format!("num {} has no successor in int64", request.num))),
    }
}

/// Serves the gateway on `listener` until `stop` resolves.
///
/// # Errors
/// The listener is broken.
pub async fn serve(listener: TcpListener, stop: impl Future<Output = ()> + Send) -> Result<(), Error> {
    let (health, health_service) = tonic_health::server::health_reporter();
    health.set_serving::<GatewayServer<Service>>().await;
    // Older grpcurl asks v1alpha.
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    tonic::transport::Server::builder()
        .tcp_nodelay(true)
        .http2_keepalive_interval(Some(std::time::Duration::from_secs(30)))
        .http2_keepalive_timeout(Some(std::time::Duration::from_secs(10)))
        .max_concurrent_streams(1024)
        .add_service(health_service)
        .add_service(reflection().build_v1()?)
        .add_service(reflection().build_v1alpha()?)
        .add_service(GatewayServer::new(Service))
        .serve_with_incoming_shutdown(tokio_stream::wrappers::TcpListenerStream::new(listener), stop)
        .await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use tercet_proto::grpc::schema::gateway_client::GatewayClient;

    use super::*;

    async fn client() -> GatewayClient<tonic::transport::Channel> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(serve(listener, std::future::pending()));
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
}
