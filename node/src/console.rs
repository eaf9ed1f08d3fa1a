//! What a frontend that is not Redis's own may ask of its commands: frontends do not know each other, so whoever starts both
//! hands this over (`server.rs`).

use std::net::SocketAddr;

use crate::ids::Offset;
use crate::node::Shared;

/// One command, for a user who has logged in elsewhere.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Call<'a> {
    /// A user of Redis's ACL.
    pub(crate) user: &'a str,
    pub(crate) peer: SocketAddr,
    pub(crate) database: u8,
    pub(crate) args: &'a [&'a [u8]],
}

/// A reply of RESP2, and the record that it may not leave before.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) bytes: Vec<u8>,
    pub(crate) depends_on: Offset,
}

/// A command of the table: the number under which it is counted, its name and its family.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Command {
    pub(crate) id: usize,
    pub(crate) name: &'static str,
    pub(crate) family: &'static str,
}

/// The commands, as functions.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Console {
    /// Executes a command under the permit of a master, which the caller holds. What would make a client wait is refused.
    pub(crate) run: fn(&Shared, Call<'_>) -> Reply,
    pub(crate) commands: fn() -> Vec<Command>,
}
