//! The generated types of `proto/*.proto`.

#![allow(
    unreachable_pub,
    unused_qualifications,
    clippy::large_futures,
    clippy::allow_attributes_without_reason,
    reason = "generated code"
)]

pub mod schema {
    tonic::include_proto!("schema");

    /// The descriptor set of `schema.proto`, for gRPC reflection on the client port.
    pub const DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/schema.bin"));
}

pub mod cluster {
    pub mod v1 {
        tonic::include_proto!("tercet.cluster.v1");
    }
}

pub mod sentinel {
    pub mod v1 {
        tonic::include_proto!("tercet.sentinel.v1");
    }
}

pub mod peer {
    pub mod v1 {
        tonic::include_proto!("tercet.peer.v1");
    }
}
