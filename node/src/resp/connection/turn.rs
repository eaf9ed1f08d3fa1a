//! What a turn works on, and how it ends.

use tercet_proto::resp::Args;

use crate::resp::row::Row;

/// A decoded command.
#[derive(Debug, Default)]
pub(super) struct Command {
    pub(super) args: Args,
    pub(super) row: Option<&'static Row>,
    /// Where it lies in the input; the ranges of `args` count from `start`.
    pub(super) start: usize,
    pub(super) end: usize,
    /// Shard and hash of its key, if that was asked for.
    pub(super) fetched: Option<(usize, u64)>,
}

/// How a turn ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    /// Everything whole has been executed.
    Drained,
    /// There is more, but it is the turn of other clients.
    More,
    /// Replies have to leave first.
    Full,
    /// Nothing may be executed now.
    Held,
    /// CLIENT PAUSE holds the next command up.
    Paused,
    /// A command waits for its answer.
    Blocked,
    /// Another node is master, and this is its client.
    Elsewhere,
    /// Replies that have not left depend on a mastership that has ended.
    Deposed,
}
