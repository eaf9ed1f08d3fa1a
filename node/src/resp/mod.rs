//! The Redis frontend: sockets in, commands through the table, replies out.
//!
//! ```text
//! connection (socket, buffers, gate) -> session (authentication, MULTI, SELECT) -> table (rows) -> commands/<family>
//! ```

mod acl;
pub mod blocking;
pub mod commands;
mod connection;
mod console;
mod error;
mod facts;
mod frame;
mod libraries;
mod listen;
mod script;
mod session;
pub mod table;
mod waiting;

pub use acl::Acl;
pub use connection::serve;
pub(crate) use console::CONSOLE;
pub use error::Error;
pub use libraries::Libraries;
pub use listen::accept;
pub use session::Session;
