//! A Tercet node: RESP, AMQP 0-9-1 and a gRPC stream gateway over one replicated state.
//!
//! ARCHITECTURE.md has the map. The frontends (`resp`, `amqp`, `gateway`) do not know each other; the core (`node/core`)
//! knows neither tokio nor RocksDB nor the clock.

pub use tercet_core::{
    accounts, broker, budget, effect, engine, freeing, glob, ids, journal, keyspace, lent, lock, prefetch, sampling,
    wire,
};

pub mod amqp;
pub(crate) mod api;
pub mod backup;
pub mod checkpoint;
pub mod clients;
pub mod clock;
pub mod cluster;
pub mod config;
pub(crate) mod console;
pub mod counters;
pub mod disk;
pub mod drain;
pub mod eviction;
pub mod expiry;
pub mod gateway;
pub mod health;
pub mod http;
pub(crate) mod idle;
pub mod import;
pub mod latency;
pub mod leaving;
pub mod limits;
pub mod loading;
pub mod memory;
pub mod metrics;
pub mod monitor;
pub mod node;
pub mod notifications;
pub(crate) mod output;
pub(crate) mod pager;
pub mod pause;
pub mod peers;
pub mod permission;
pub mod progress;
pub mod pubsub;
pub mod rates;
pub mod recovery;
pub mod replication;
pub mod resp;
pub mod role;
pub mod scripts;
pub mod server;
pub mod slowlog;
pub mod status;
pub mod storage;
pub mod streams;
pub mod task;
pub mod top;
pub mod tracking;
pub mod vhost_rules;
