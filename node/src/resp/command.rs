//! A command as its family declares it: a row and a function. A row made by `read` has a function that takes a view, a row made
//! by `write` one that takes a transaction, so what the row says cannot disagree with what the function does.

use tercet_proto::resp::Encoder;

use super::error::Error;
use super::row::{Args, Group, Keys, Kind, Row};
use super::session::Session;
use crate::engine::{Transaction, View};

pub(crate) type Outcome = Result<(), Error>;

/// What a command's function takes.
#[derive(Clone, Copy)]
pub enum Handler {
    Read(fn(&View<'_>, &Args<'_>, &mut Encoder<'_>) -> Outcome),
    Write(fn(&mut Transaction<'_>, &Args<'_>, &mut Encoder<'_>) -> Outcome),
    /// Such a function locks no shard: within EXEC all of them may be held.
    Session(fn(&mut Session, &Args<'_>, &mut Encoder<'_>) -> Outcome),
    /// The key space is seen through the view.
    Survey(fn(&mut Session, &View<'_>, &Args<'_>, &mut Encoder<'_>) -> Outcome),
    /// Other commands run by `Session::call_within`.
    Nested(fn(&mut Session, &mut Transaction<'_>, &Args<'_>, &mut Encoder<'_>) -> Outcome),
    /// There is no function: the session knows by the kind what to do.
    Itself(Kind),
}

impl Handler {
    const fn kind(self) -> Kind {
        match self {
            Self::Read(_) => Kind::Read,
            Self::Write(_) => Kind::Write,
            Self::Session(_) => Kind::Session,
            Self::Survey(_) => Kind::Survey,
            Self::Nested(_) => Kind::Nested,
            Self::Itself(kind) => kind,
        }
    }
}

/// One command, or one subcommand.
#[derive(Clone, Copy)]
pub struct Command {
    pub(super) row: Row,
    pub(super) handler: Handler,
    pub(super) subcommands: &'static [Self],
}

impl Command {
    pub(crate) const fn new(
        name: &'static str,
        arity: i32,
        flags: u32,
        keys: Keys,
        group: Group,
        summary: &'static str,
        handler: Handler,
    ) -> Self {
        let row = Row::new(name, arity, flags, keys, group, summary, handler.kind());
        Self { row, handler, subcommands: &[] }
    }

    /// Gives a command subcommands, whatever it does without one.
    pub(crate) const fn with(self, subcommands: &'static [Self]) -> Self {
        Self { subcommands, ..self }
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
) -> Command {
    Command::new(name, arity, flags, keys, group, summary, Handler::Read(function))
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
) -> Command {
    Command::new(name, arity, flags, keys, group, summary, Handler::Write(function))
}

/// A row about the connection or the server.
pub(crate) const fn session(
    name: &'static str,
    arity: i32,
    flags: u32,
    group: Group,
    summary: &'static str,
    function: fn(&mut Session, &Args<'_>, &mut Encoder<'_>) -> Outcome,
) -> Command {
    Command::new(name, arity, flags, Keys::None, group, summary, Handler::Session(function))
}

/// A row about the server that looks at the key space.
pub(crate) const fn survey(
    name: &'static str,
    arity: i32,
    flags: u32,
    group: Group,
    summary: &'static str,
    function: fn(&mut Session, &View<'_>, &Args<'_>, &mut Encoder<'_>) -> Outcome,
) -> Command {
    Command::new(name, arity, flags, Keys::Space, group, summary, Handler::Survey(function))
}

/// A row that has subcommands and does nothing by itself.
pub(crate) const fn container(
    name: &'static str,
    group: Group,
    summary: &'static str,
    subcommands: &'static [Command],
) -> Command {
    Command::new(name, -2, 0, Keys::None, group, summary, Handler::Itself(Kind::Container)).with(subcommands)
}
