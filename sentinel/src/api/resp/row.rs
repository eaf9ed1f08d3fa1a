//! A row of the table of commands, and a command under way.

use tercet_proto::resp::Encoder;

use crate::orders::Order;

use super::{Server, session::Session};

/// One command under way.
pub(crate) struct Call<'a> {
    pub(crate) server: &'a Server,
    pub(crate) session: &'a mut Session,
    /// The command's name is the first.
    pub(crate) args: &'a [&'a [u8]],
    pub(crate) out: &'a mut Vec<u8>,
    /// Every command of the port.
    pub(crate) table: &'static [Row],
    pub(crate) next: Next,
}

/// What the connection does after the reply.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Next {
    Continue,
    Close,
    ShutDown,
    /// The reply is that of a failover of this service.
    FailOver(String),
    /// The reply is what becomes of this order.
    Order(Order),
    /// Keep a new down-after of this sentinel, and answer.
    DownAfter(u64),
}

/// A row: a command, or a subcommand of the row that holds it.
pub(crate) struct Row {
    pub(crate) name: &'static str,
    /// As Redis counts: with the name; negative means "at least".
    pub(crate) arity: i64,
    pub(crate) flags: &'static [&'static str],
    pub(crate) summary: &'static str,
    pub(crate) run: fn(&mut Call<'_>),
    pub(crate) subcommands: &'static [Row],
}

pub(crate) fn find<'a>(rows: &'a [Row], name: &[u8]) -> Option<&'a Row> {
    rows.iter().find(|row| row.name.as_bytes().eq_ignore_ascii_case(name))
}

impl Row {
    pub(crate) fn takes(&self, args: usize) -> bool {
        let args = args as i64;
        if self.arity >= 0 { args == self.arity } else { args >= -self.arity }
    }

    pub(crate) fn needs_login(&self) -> bool {
        !self.flags.contains(&"no_auth")
    }
}

impl Call<'_> {
    /// Writes in the version that the client speaks at this moment.
    pub(crate) fn reply(&mut self) -> Encoder<'_> {
        Encoder::new(self.out, self.session.version)
    }
}
