//! A Tercet sentinel: it grants leases, detects failure, decides through Raft which node is master, and tells clients in
//! the Redis Sentinel protocol.

mod act;
pub mod api;
pub mod clock;
pub mod config;
pub mod detect;
pub mod events;
mod greet;
pub mod health;
mod herald;
pub mod limits;
mod membership;
mod nodes;
mod observe;
pub mod orders;
pub mod picture;
pub mod plan;
pub mod raft;
pub mod sentinel;
mod shared;
mod siblings;
pub mod simulated;
pub mod state;
pub mod status;
mod timeline;
mod watchdog;
