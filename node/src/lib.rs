//! A Tercet node: RESP, AMQP 0-9-1 and a gRPC stream gateway over one replicated state.
//!
//! ARCHITECTURE.md has the map. The frontends (`resp`, `amqp`, `gateway`) do not know each other; the core (`keyspace`,
//! `broker`, `engine`) knows neither tokio nor the clock.

pub mod amqp;
pub mod backup;
pub mod broker;
pub mod checkpoint;
pub mod clients;
pub mod clock;
pub mod cluster;
pub mod config;
pub mod disk;
pub mod drain;
pub mod effect;
pub mod engine;
pub mod expiry;
pub mod gateway;
pub mod glob;
pub mod ids;
pub mod journal;
pub mod keyspace;
pub mod limits;
pub mod memory;
pub mod metrics;
pub mod node;
pub mod prefetch;
pub mod recovery;
pub mod replication;
pub mod resp;
pub mod role;
pub mod server;
pub mod storage;
pub mod task;
pub mod wire;
