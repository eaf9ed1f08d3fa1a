//! The Redis frontend: sockets in, commands through the table, replies out.
//!
//! ```text
//! connection (socket, buffers, gate) -> session (authentication, MULTI, SELECT) -> table (rows) -> commands/<family>
//! ```

mod acl;
mod block;
pub mod blocking;
pub mod command;
pub mod commands;
mod connection;
mod console;
mod error;
mod facts;
mod frame;
mod libraries;
mod listen;
mod no_script;
pub mod row;
mod script;
mod session;
pub mod table;
mod timeout;
mod waiting;

pub use acl::Acl;
pub use connection::serve;
pub(crate) use console::CONSOLE;
pub use error::Error;
pub use libraries::Libraries;
pub use listen::accept;
pub use session::Session;
