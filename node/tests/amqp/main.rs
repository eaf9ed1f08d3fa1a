//! AMQP 0-9-1 over real sockets, with the codec as client.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod access;
mod client;
mod errors;
mod flood;
mod flow;
mod handshake;
mod order;
mod replicated;
