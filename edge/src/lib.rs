//! What stands between a process and everybody else. Nodes and sentinels share it.
//!
//! ```text
//! listener --> accept (place: how many, from where) --> Socket (plain or TLS) --> a frontend
//! peers:   guard (proof of the cluster token, on the headers) --> the gRPC service
//! clients: trusted (proves itself, and asks for a proof)
//! ```

pub mod accept;
pub mod dial;
pub mod files;
pub mod guard;
pub mod limits;
pub mod log;
pub mod logins;
pub mod name;
pub mod place;
pub mod seldom;
pub mod service;
pub mod socket;
pub mod stop;
pub mod tls;
pub mod token;
pub mod version;
