//! MULTI and its relatives; the session carries them out (`resp::session`).

use crate::resp::table::flag::{AT_ONCE, FAST, LOADING};
use crate::resp::table::{Command, Group, Handler, Keys, Kind, Transactional};

pub(super) const ROWS: &[Command] = &[
    row("multi", 1, FAST | LOADING | AT_ONCE, Keys::None, "Starts a transaction.", Transactional::Multi),
    row("exec", 1, AT_ONCE, Keys::None, "Executes all commands in a transaction.", Transactional::Exec),
    row("discard", 1, FAST | LOADING | AT_ONCE, Keys::None, "Discards a transaction.", Transactional::Discard),
    row(
        "watch",
        -2,
        FAST | AT_ONCE,
        Keys::REST,
        "Monitors changes to keys to determine the execution of a transaction.",
        Transactional::Watch,
    ),
    row(
        "unwatch",
        1,
        FAST | LOADING,
        Keys::None,
        "Forgets about watched keys of a transaction.",
        Transactional::Unwatch,
    ),
];

const fn row(
    name: &'static str,
    arity: i32,
    flags: u32,
    keys: Keys,
    summary: &'static str,
    which: Transactional,
) -> Command {
    Command::new(name, arity, flags, keys, Group::Transactions, summary, Handler::Itself(Kind::Transactional(which)))
}
