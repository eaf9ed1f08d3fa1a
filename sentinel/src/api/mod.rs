//! What a sentinel serves: gRPC to nodes and other sentinels, the Redis Sentinel protocol to clients.

pub(crate) mod grpc;
