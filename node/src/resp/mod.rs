//! The Redis frontend: sockets in, commands through the table, replies out.
//!
//! ```text
//! connection (socket, buffers, gate) -> session (authentication, MULTI, SELECT) -> table (rows) -> commands/<family>
//! ```

pub mod commands;
mod connection;
mod error;
mod session;
pub mod table;

pub use connection::{accept, serve};
pub use error::Error;
pub use session::Session;
