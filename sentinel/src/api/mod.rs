//! What a sentinel serves: gRPC to nodes and other sentinels, the Redis Sentinel protocol to clients.

pub(crate) mod backend;
pub(crate) mod grpc;
pub mod resp;
