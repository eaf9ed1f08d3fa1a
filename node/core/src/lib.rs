//! The synchronous core of a node: key space, broker, engine and journal, and what they are made of.
//!
//! It knows no runtime, no socket, no database and no clock: `now` comes in with each call. What it waits for is a
//! future that any executor may poll.

pub mod accounts;
pub mod broker;
pub mod budget;
pub mod effect;
pub mod engine;
pub mod freeing;
pub mod glob;
pub mod ids;
pub mod journal;
pub mod keyspace;
pub mod lent;
pub mod limits;
pub mod lock;
pub mod prefetch;
pub mod sampling;
pub mod wire;
