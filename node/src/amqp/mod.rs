//! The AMQP 0-9-1 frontend: sockets in, methods through the table, frames out.
//!
//! ```text
//! listen -> connection (socket, buffers, gate, heartbeats) -> session (handshake, channels) -> channel/<class>
//! broker -> link of the connection -> session -> output -> socket
//! ```

mod channel;
mod connection;
mod context;
mod delivery;
mod error;
mod handshake;
mod limits;
mod listen;
mod output;
mod policy;
mod session;
mod sweep;

pub use listen::accept;
