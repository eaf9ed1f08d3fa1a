//! What a sentinel serves: gRPC to nodes and other sentinels, the Redis Sentinel protocol to clients,
//! metrics.

pub(crate) mod backend;
pub(crate) mod grpc;
pub(crate) mod metrics;
mod redis_metrics;
pub mod resp;
