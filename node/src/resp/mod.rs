//! The Redis frontend: sockets in, commands through the table, replies out.
//!
//! ```text
//! connection (socket, buffers, gate) -> session (authentication, MULTI, SELECT) -> table (rows) -> commands/<family>
//! ```

pub mod commands;
mod connection;
mod error;
mod frame;
mod listen;
mod session;
pub mod table;
mod waiting;

pub use connection::serve;
pub use error::Error;
pub use listen::accept;
pub use session::Session;
