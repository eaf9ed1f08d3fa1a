//! The command table: one row and one function a command.
//!
//! What else needs to know a command is derived from its row: arity errors, which keys it locks, READONLY checks, COMMAND
//! INFO and DOCS. A row made by `read` has a function that takes a view, a row made by `write` one that takes a
//! transaction, so the flag cannot disagree with what the function does.

use std::collections::HashMap;
use std::sync::LazyLock;

use smallvec::SmallVec;
use tercet_proto::resp::Encoder;

use super::commands;
use super::error::Error;
use super::session::Session;
use crate::engine::{Transaction, View};

pub(crate) type Args<'a> = [&'a [u8]];
pub(crate) type Outcome = Result<(), Error>;

/// What a command's function takes.
#[derive(Clone, Copy)]
pub enum Handler {
    Read(fn(&View<'_>, &Args<'_>, &mut Encoder<'_>) -> Outcome),
    Write(fn(&mut Transaction<'_>, &Args<'_>, &mut Encoder<'_>) -> Outcome),
    /// About the connection or the server.
    Session(fn(&mut Session, &Args<'_>, &mut Encoder<'_>) -> Outcome),
    /// MULTI, EXEC, DISCARD, WATCH, UNWATCH, WAIT: the session itself carries them out.
    Transactional(Transactional),
}

/// The commands that the session carries out itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transactional {
    Multi,
    Exec,
    Discard,
    Watch,
    Unwatch,
}

/// Which arguments are keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keys {
    None,
    /// From, to (negative: from the end), every how many.
    Range(usize, isize, usize),
    /// The number of keys stands at this place and the keys behind it; and this one is a key too, if not 0.
    Counted(usize, usize),
    /// The whole key space, one shard after the other (reads) or all at once (writes).
    Space,
    /// The key at 1, and any others of the whole key space, all at once.
    Any,
}

impl Keys {
    pub(crate) const ONE: Self = Self::Range(1, 1, 1);
    pub(crate) const TWO: Self = Self::Range(1, 2, 1);
    pub(crate) const REST: Self = Self::Range(1, -1, 1);

    /// The keys among `args`.
    pub(crate) fn of<'a>(self, args: &'a Args<'a>) -> SmallVec<[&'a [u8]; 8]> {
        match self {
            Self::None | Self::Space | Self::Any => SmallVec::new(),
            Self::Range(first, last, step) => {
                let last = if last < 0 { args.len().saturating_add_signed(last) } else { last as usize };
                (first..=last).step_by(step).filter_map(|index| args.get(index).copied()).collect()
            }
            Self::Counted(place, also) => {
                let count = args.get(place).and_then(|text| std::str::from_utf8(text).ok()?.parse::<usize>().ok());
                let rest = args.iter().skip(place + 1).take(count.unwrap_or(0));
                let also = (also != 0).then(|| args.get(also)).flatten();
                also.into_iter().chain(rest).copied().collect()
            }
        }
    }
}

/// Properties that are not seen from the handler.
pub mod flag {
    /// Constant or logarithmic time.
    pub const FAST: u32 = 1;
    /// Refused when memory is full.
    pub const DENY_OOM: u32 = 2;
    /// Allowed before AUTH.
    pub const NO_AUTH: u32 = 4;
    /// Allowed while loading, and while nobody knows the master.
    pub const LOADING: u32 = 8;
    pub const ADMIN: u32 = 16;
    /// Executed at once also between MULTI and EXEC.
    pub const NO_MULTI: u32 = 32;
    /// Not allowed between MULTI and EXEC.
    pub const NOT_IN_MULTI: u32 = 64;
    pub const BLOCKING: u32 = 128;
}

/// A family of commands, as COMMAND DOCS names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Group {
    String,
    List,
    Hash,
    Set,
    SortedSet,
    Generic,
    Connection,
    Server,
    Transactions,
}

impl Group {
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::String => "string",
            Self::List => "list",
            Self::Hash => "hash",
            Self::Set => "set",
            Self::SortedSet => "sorted-set",
            Self::Generic => "generic",
            Self::Connection => "connection",
            Self::Server => "server",
            Self::Transactions => "transactions",
        }
    }
}

/// One command.
pub struct Row {
    /// Lower case.
    pub name: &'static str,
    /// Arguments with the name; negative: at least so many.
    pub arity: i32,
    pub flags: u32,
    pub keys: Keys,
    pub group: Group,
    pub summary: &'static str,
    pub handler: Handler,
}

impl std::fmt::Debug for Row {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Row({})", self.name)
    }
}

impl Row {
    #[inline]
    #[must_use]
    pub fn has(&self, flag: u32) -> bool {
        self.flags & flag != 0
    }

    #[inline]
    #[must_use]
    pub fn accepts(&self, arguments: usize) -> bool {
        if self.arity >= 0 { arguments == self.arity as usize } else { arguments >= self.arity.unsigned_abs() as usize }
    }

    #[must_use]
    pub fn is_write(&self) -> bool {
        matches!(self.handler, Handler::Write(_))
    }
}

/// A row whose function reads.
pub(crate) const fn read(
    name: &'static str,
    arity: i32,
    flags: u32,
    keys: Keys,
    group: Group,
    summary: &'static str,
    function: fn(&View<'_>, &Args<'_>, &mut Encoder<'_>) -> Outcome,
) -> Row {
    Row { name, arity, flags, keys, group, summary, handler: Handler::Read(function) }
}

/// A row whose function writes.
pub(crate) const fn write(
    name: &'static str,
    arity: i32,
    flags: u32,
    keys: Keys,
    group: Group,
    summary: &'static str,
    function: fn(&mut Transaction<'_>, &Args<'_>, &mut Encoder<'_>) -> Outcome,
) -> Row {
    Row { name, arity, flags, keys, group, summary, handler: Handler::Write(function) }
}

/// A row about the connection or the server.
pub(crate) const fn session(
    name: &'static str,
    arity: i32,
    flags: u32,
    group: Group,
    summary: &'static str,
    function: fn(&mut Session, &Args<'_>, &mut Encoder<'_>) -> Outcome,
) -> Row {
    Row { name, arity, flags, keys: Keys::None, group, summary, handler: Handler::Session(function) }
}

/// Longest name of a command.
const NAME_LENGTH: usize = 24;

static INDEX: LazyLock<HashMap<&'static [u8], &'static Row, foldhash::fast::FixedState>> = LazyLock::new(|| {
    commands::FAMILIES.iter().flat_map(|rows| rows.iter()).map(|row| (row.name.as_bytes(), row)).collect()
});

/// The row of a command, whatever the case of its letters.
#[inline]
#[must_use]
pub fn find(name: &[u8]) -> Option<&'static Row> {
    let mut lower = [0; NAME_LENGTH];
    let lower = lower.get_mut(..name.len())?;
    lower.copy_from_slice(name);
    lower.make_ascii_lowercase();
    INDEX.get(&*lower).copied()
}

/// All rows, by name.
#[must_use]
pub fn all() -> Vec<&'static Row> {
    let mut rows: Vec<_> = INDEX.values().copied().collect();
    rows.sort_by_key(|row| row.name);
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_lower_case_and_short() {
        let count: usize = commands::FAMILIES.iter().map(|rows| rows.len()).sum();
        assert_eq!(count, all().len(), "a name stands twice");
        for row in all() {
            assert!(row.name.len() <= NAME_LENGTH && row.name == row.name.to_ascii_lowercase(), "{}", row.name);
        }
    }

    #[test]
    fn keys_are_found_where_the_row_says() {
        let args: Vec<&[u8]> = vec![b"mset", b"a", b"1", b"b", b"2"];
        assert_eq!(Keys::Range(1, -1, 2).of(&args).as_slice(), [b"a".as_slice(), b"b"]);
        let args: Vec<&[u8]> = vec![b"zunionstore", b"to", b"2", b"a", b"b", b"weights"];
        assert_eq!(Keys::Counted(2, 1).of(&args).as_slice(), [b"to".as_slice(), b"a", b"b"]);
    }
}
