//! What clients want of a node.

use super::super::clock::Nanos;
use super::super::message::{Host, Record};

#[derive(Debug, Clone, Copy)]
pub(super) enum What {
    Write,
    Read { asked: u64 },
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Command {
    pub(super) client: Host,
    pub(super) id: u64,
    pub(super) key: u8,
    pub(super) what: What,
    pub(super) since: Nanos,
}

impl Command {
    pub(super) fn write(client: Host, id: u64, key: u8) -> Self {
        Self { client, id, key, what: What::Write, since: 0 }
    }

    pub(super) fn read(client: Host, id: u64, key: u8, asked: u64) -> Self {
        Self { client, id, key, what: What::Read { asked }, since: 0 }
    }
}

/// Executed; waits for the commit offset.
#[derive(Debug)]
pub(super) struct Unanswered {
    pub(super) command: Command,
    pub(super) term: u64,
    pub(super) depends_on: u64,
    /// What was written, or what is read.
    pub(super) record: Option<Record>,
    pub(super) value: (u64, u64),
}
