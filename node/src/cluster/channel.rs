//! How gRPC connections between nodes and sentinels are set up.

use tercet_proto::grpc::cluster::v1::Address;
use tonic::transport::{Endpoint, Error};

use crate::limits;

/// For long streams with little delay.
pub(crate) fn endpoint(address: &Address) -> Result<Endpoint, Error> {
    endpoint_at(&text(address))
}

/// As `host:port`, or `[ipv6]:port`.
pub(crate) fn text(address: &Address) -> String {
    let host = if address.host.contains(':') { format!("[{}]", address.host) } else { address.host.clone() };
    format!("{host}:{}", address.port)
}

/// The same for an address as text.
pub(crate) fn endpoint_at(address: &str) -> Result<Endpoint, Error> {
    let endpoint = Endpoint::from_shared(format!("http://{address}"))?;
    Ok(endpoint
        .connect_timeout(limits::CONNECT_TIMEOUT)
        .tcp_nodelay(true)
        .initial_stream_window_size(limits::PEER_WINDOW_BYTES)
        .initial_connection_window_size(limits::PEER_WINDOW_BYTES)
        .max_frame_size(limits::PEER_FRAME_BYTES)
        .http2_keep_alive_interval(limits::PEER_KEEPALIVE)
        .keep_alive_timeout(limits::PEER_KEEPALIVE)
        .keep_alive_while_idle(true))
}
