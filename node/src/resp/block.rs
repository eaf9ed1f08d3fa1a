//! What a command says that has found nothing and waits.

use crate::keyspace::Wants;

/// What a command says that has found nothing and waits.
#[derive(Debug, Clone, PartialEq)]
pub struct Block {
    /// 0 = for ever.
    pub(crate) timeout: Timeout,
    pub(crate) keys: Vec<Vec<u8>>,
    /// Keys that it needs besides, once it is served.
    pub(crate) needs: Vec<Vec<u8>>,
    pub(crate) wants: Wants,
    /// The command as it is to be executed again.
    pub(crate) args: Vec<Vec<u8>>,
}

/// How long a command waits: in milliseconds, 0 = for ever; and where it says so.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Timeout {
    pub(crate) ms: u64,
    /// The argument, counted from the first.
    pub(crate) at: usize,
    pub(crate) unit: Unit,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unit {
    Seconds,
    Millis,
}
