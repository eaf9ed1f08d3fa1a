//! The command table: one row and one function a command.
//!
//! What else needs to know a command is derived from its row: arity errors, which keys it locks, READONLY checks, COMMAND
//! INFO and DOCS, its counters. A row made by `read` has a function that takes a view, a row made by `write` one that takes
//! a transaction, so the flag cannot disagree with what the function does.
//!
//! A container's subcommands are rows too: `container("config", ..., &[session("config|get", ...), ...])`. Their arity
//! counts the name and the subcommand, and their keys are found in the whole command, as in Redis.

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
    /// About the connection or the server. Such a function locks no shard: within EXEC all of them may be held.
    Session(fn(&mut Session, &Args<'_>, &mut Encoder<'_>) -> Outcome),
    /// About the server and its key space, which is seen through the view.
    Survey(fn(&mut Session, &View<'_>, &Args<'_>, &mut Encoder<'_>) -> Outcome),
    /// Runs other commands in its own transaction (`Session::call_within`).
    Nested(fn(&mut Session, &mut Transaction<'_>, &Args<'_>, &mut Encoder<'_>) -> Outcome),
    /// Runs a script: EVAL and its like, read-only or not.
    Script(ScriptKind, Access),
    /// MULTI, EXEC, DISCARD, WATCH, UNWATCH: the session itself carries them out.
    Transactional(Transactional),
    /// Has subcommands and does nothing by itself.
    Container,
}

/// Where a script's text comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ScriptKind {
    Eval,
    EvalSha,
    Function,
}

/// Whether a script may write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    ReadOnly,
    ReadWrite,
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
    /// The number of keys stands at this place, and behind it each key with a value.
    CountedPairs(usize),
    /// The whole key space, one shard after the other (reads) or all at once (writes).
    Space,
    /// The key at 1, and any others of the whole key space, all at once: SORT, unless it has no pattern of other keys.
    Any,
    /// The first half of what stands behind the word STREAMS.
    Streams,
    /// The key at 3, or where that is empty those behind the word KEYS.
    Migrate,
    /// The key at `source`, and those behind STORE and STOREDIST among the options that begin at `from`.
    Stored {
        source: usize,
        from: usize,
    },
}

impl Keys {
    pub(crate) const ONE: Self = Self::Range(1, 1, 1);
    pub(crate) const TWO: Self = Self::Range(1, 2, 1);
    pub(crate) const REST: Self = Self::Range(1, -1, 1);

    /// The keys of SORT, if it names no others by a pattern.
    pub(crate) fn of_plain_sort<'a>(args: &'a Args<'a>) -> Option<SmallVec<[&'a [u8]; 8]>> {
        let looks_up = |pair: &[&[u8]]| {
            (pair[0].eq_ignore_ascii_case(b"by") || pair[0].eq_ignore_ascii_case(b"get")) && pair[1].contains(&b'*')
        };
        if args.get(2..).unwrap_or_default().windows(2).any(looks_up) {
            return None;
        }
        Some(Self::Stored { source: 1, from: 2 }.of(args))
    }

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
            Self::CountedPairs(place) => {
                let count = args.get(place).and_then(|text| std::str::from_utf8(text).ok()?.parse::<usize>().ok());
                args.iter().skip(place + 1).step_by(2).take(count.unwrap_or(0)).copied().collect()
            }
            Self::Streams => {
                let word = args.iter().position(|arg| arg.eq_ignore_ascii_case(b"streams"));
                let behind = word.and_then(|word| args.get(word + 1..)).unwrap_or_default();
                behind[..behind.len() / 2].iter().copied().collect()
            }
            Self::Migrate => {
                let word = args.iter().skip(6).position(|arg| arg.eq_ignore_ascii_case(b"keys")).map(|at| at + 6);
                match word {
                    Some(word) => args[word + 1..].iter().copied().collect(),
                    None => args.get(3).copied().into_iter().collect(),
                }
            }
            Self::Stored { source, from } => {
                let options = args.get(from..).unwrap_or_default();
                let stored = options.windows(2).filter(|pair| {
                    pair[0].eq_ignore_ascii_case(b"store") || pair[0].eq_ignore_ascii_case(b"storedist")
                });
                args.get(source).copied().into_iter().chain(stored.map(|pair| pair[1])).collect()
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
    pub const AT_ONCE: u32 = 32;
    /// Not allowed between MULTI and EXEC.
    pub const NOT_IN_MULTI: u32 = 64;
    pub const BLOCKING: u32 = 128;
    /// Not allowed in scripts.
    pub const NO_SCRIPT: u32 = 256;
    /// About channels.
    pub const PUBSUB: u32 = 512;
    /// MONITOR does not show it.
    pub const SKIP_MONITOR: u32 = 1024;
    /// CLIENT PAUSE WRITE holds it up, though it changes no key.
    pub const MAY_REPLICATE: u32 = 2048;
    /// Allowed to a subscriber that speaks RESP2.
    pub const WHILE_SUBSCRIBED: u32 = 4096;
    /// Allowed where `enable-debug-command` says so.
    pub const PROTECTED: u32 = 8192;
    /// It walks over whole values: with large ones it runs on the thread of scripts.
    pub const WHOLE: u32 = 16384;
    /// Refused while publishers are held.
    pub const PUBLISHES: u32 = 32768;
}

/// A family of commands, as COMMAND DOCS names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Group {
    String,
    List,
    Hash,
    Set,
    SortedSet,
    Bitmap,
    HyperLogLog,
    Geo,
    Stream,
    Generic,
    Connection,
    Server,
    Transactions,
    PubSub,
    Queue,
    Scripting,
    Cluster,
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
            Self::Bitmap => "bitmap",
            Self::HyperLogLog => "hyperloglog",
            Self::Geo => "geo",
            Self::Stream => "stream",
            Self::Generic => "generic",
            Self::Connection => "connection",
            Self::Server => "server",
            Self::Transactions => "transactions",
            Self::PubSub => "pubsub",
            Self::Queue => "queue",
            Self::Scripting => "scripting",
            Self::Cluster => "cluster",
        }
    }
}

/// One command, or one subcommand.
#[derive(Clone, Copy)]
pub struct Row {
    /// Lower case; a subcommand's stands behind its container's: `config|get`.
    pub name: &'static str,
    /// Arguments with the name (and the subcommand); negative: at least so many.
    pub arity: i32,
    pub flags: u32,
    pub keys: Keys,
    pub group: Group,
    pub summary: &'static str,
    pub handler: Handler,
    /// As they were declared; `subcommands()` has them with their numbers.
    declared: &'static [Self],
    /// Its place among all rows, by which its counters are found.
    pub id: usize,
    /// Where its subcommands stand among all rows.
    first_subcommand: usize,
}

impl std::fmt::Debug for Row {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Row({})", self.name)
    }
}

impl Row {
    pub(crate) const fn new(
        name: &'static str,
        arity: i32,
        flags: u32,
        keys: Keys,
        group: Group,
        summary: &'static str,
        handler: Handler,
    ) -> Self {
        Self { name, arity, flags, keys, group, summary, handler, declared: &[], id: 0, first_subcommand: 0 }
    }

    /// Gives a row subcommands, whatever it does without one.
    pub(crate) const fn with(self, subcommands: &'static [Self]) -> Self {
        Self { declared: subcommands, ..self }
    }

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

    /// Takes a time that need not be measured call by call: one key, and constant or logarithmic time.
    #[inline]
    #[must_use]
    pub fn is_brief(&self) -> bool {
        self.keys == Keys::ONE && (self.has(flag::FAST) || self.group == Group::String)
    }

    #[inline]
    #[must_use]
    pub fn has_subcommands(&self) -> bool {
        !self.declared.is_empty()
    }

    #[must_use]
    pub fn subcommands(&self) -> &'static [Self] {
        TABLE.rows.get(self.first_subcommand..self.first_subcommand + self.declared.len()).unwrap_or_default()
    }

    /// The row of a subcommand, whatever the case of its letters.
    #[must_use]
    pub fn subcommand(&self, name: &[u8]) -> Option<&'static Self> {
        self.subcommands().iter().find(|row| row.last_name().as_bytes().eq_ignore_ascii_case(name))
    }

    /// The name of a subcommand without that of its container; a command's own name.
    #[must_use]
    pub fn last_name(&self) -> &'static str {
        self.name.split_once('|').map_or(self.name, |(_, name)| name)
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
    Row::new(name, arity, flags, keys, group, summary, Handler::Read(function))
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
    Row::new(name, arity, flags, keys, group, summary, Handler::Write(function))
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
    Row::new(name, arity, flags, Keys::None, group, summary, Handler::Session(function))
}

/// A row about the server that looks at the key space.
pub(crate) const fn survey(
    name: &'static str,
    arity: i32,
    flags: u32,
    group: Group,
    summary: &'static str,
    function: fn(&mut Session, &View<'_>, &Args<'_>, &mut Encoder<'_>) -> Outcome,
) -> Row {
    Row::new(name, arity, flags, Keys::Space, group, summary, Handler::Survey(function))
}

/// A row that has subcommands and does nothing by itself.
pub(crate) const fn container(
    name: &'static str,
    group: Group,
    summary: &'static str,
    subcommands: &'static [Row],
) -> Row {
    Row::new(name, -2, 0, Keys::None, group, summary, Handler::Container).with(subcommands)
}

/// Longest name of a command.
const NAME_LENGTH: usize = 32;

/// All rows with their numbers: first the commands, then the subcommands of each.
struct Table {
    rows: Vec<Row>,
    commands: usize,
    index: HashMap<&'static [u8], usize, foldhash::fast::FixedState>,
}

static TABLE: LazyLock<Table> = LazyLock::new(|| {
    let mut rows: Vec<Row> = commands::FAMILIES.iter().flat_map(|rows| rows.iter()).copied().collect();
    let commands = rows.len();
    for at in 0..commands {
        rows[at].first_subcommand = rows.len();
        rows.extend_from_slice(rows[at].declared);
    }
    rows.iter_mut().enumerate().for_each(|(id, row)| row.id = id);
    let index = rows[..commands].iter().map(|row| (row.name.as_bytes(), row.id)).collect();
    Table { rows, commands, index }
});

/// The row of a command, whatever the case of its letters. A container's is its own; see `resolve`.
#[inline]
#[must_use]
pub fn find(name: &[u8]) -> Option<&'static Row> {
    let mut lower = [0; NAME_LENGTH];
    let lower = lower.get_mut(..name.len())?;
    lower.copy_from_slice(name);
    lower.make_ascii_lowercase();
    let table = &*TABLE;
    table.index.get(&*lower).and_then(|id| table.rows.get(*id))
}

/// The row that a whole command is executed by: that of the subcommand, if there is one of this name. Otherwise the
/// container's, which says what is wrong.
#[inline]
#[must_use]
pub fn resolve<'a>(mut args: impl Iterator<Item = &'a [u8]>) -> Option<&'static Row> {
    find(args.next()?).map(|row| refine(row, args.next()))
}

/// The subcommand's row where `row` has subcommands and one of this name.
#[inline]
#[must_use]
pub fn refine(row: &'static Row, subcommand: Option<&[u8]>) -> &'static Row {
    if row.has_subcommands() { subcommand.and_then(|name| row.subcommand(name)).unwrap_or(row) } else { row }
}

/// The row of a name as COMMAND INFO takes it: `get`, or `config|get`.
#[must_use]
pub fn find_full(name: &[u8]) -> Option<&'static Row> {
    let mut parts = name.splitn(2, |byte| *byte == b'|');
    let row = find(parts.next()?)?;
    match parts.next() {
        None => Some(row),
        Some(subcommand) => row.subcommand(subcommand),
    }
}

/// All commands, by name, without their subcommands.
#[must_use]
pub fn all() -> Vec<&'static Row> {
    let table = &*TABLE;
    let mut rows: Vec<_> = table.rows[..table.commands].iter().collect();
    rows.sort_by_key(|row| row.name);
    rows
}

/// All rows by their numbers, those of subcommands included.
#[must_use]
pub fn rows() -> &'static [Row] {
    &TABLE.rows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_lower_case_and_short() {
        let count: usize = commands::FAMILIES.iter().map(|rows| rows.len()).sum();
        assert_eq!(count, all().len(), "a name stands twice");
        for row in rows() {
            assert!(row.last_name().len() <= NAME_LENGTH && row.name == row.name.to_ascii_lowercase(), "{}", row.name);
        }
    }

    #[test]
    fn a_subcommand_is_named_after_its_container_and_found_in_it() {
        for container in all() {
            for row in container.subcommands() {
                assert_eq!(row.name, format!("{}|{}", container.name, row.last_name()));
                assert!(!row.has_subcommands(), "{} has subcommands of its own", row.name);
                assert_eq!(find_full(row.name.as_bytes()).map(|found| found.id), Some(row.id));
                let words = [container.name.to_uppercase(), row.last_name().to_uppercase()];
                let found = resolve(words.iter().map(String::as_bytes));
                assert_eq!(found.map(|found| found.id), Some(row.id));
            }
            let unknown = resolve([container.name.as_bytes(), b"no such subcommand"].into_iter());
            assert_eq!(unknown.map(|found| found.id), Some(container.id));
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
