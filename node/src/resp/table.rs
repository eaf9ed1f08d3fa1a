//! The command table: one row and one function a command.
//!
//! What else needs to know a command is derived from its row: arity errors, which keys it locks, READONLY checks, COMMAND
//! INFO and DOCS, its counters.
//!
//! A container's subcommands are rows too: `container("config", ..., &[session("config|get", ...), ...])`. Their arity
//! counts the name and the subcommand, and their keys are found in the whole command, as in Redis.

use std::collections::HashMap;
use std::sync::LazyLock;

pub use super::command::{Command, Handler};
pub(crate) use super::command::{Outcome, container, read, session, survey, write};
use super::commands;
pub(crate) use super::row::Args;
pub use super::row::{Access, Group, Keys, Kind, Row, ScriptKind, Transactional, flag};

/// Longest name of a command.
const NAME_LENGTH: usize = 32;

/// All rows with their numbers: first the commands, then the subcommands of each.
struct Table {
    rows: Vec<Row>,
    /// Of each row.
    handlers: Vec<Handler>,
    commands: usize,
    index: HashMap<&'static [u8], usize, foldhash::fast::FixedState>,
}

static TABLE: LazyLock<Table> = LazyLock::new(|| {
    let mut all: Vec<Command> = commands::FAMILIES.iter().flat_map(|family| family.iter()).copied().collect();
    let commands = all.len();
    for at in 0..commands {
        let subcommands = all[at].subcommands;
        (all[at].row.first_subcommand, all[at].row.subcommands) = (all.len(), subcommands.len());
        all.extend_from_slice(subcommands);
    }
    let handlers = all.iter().map(|command| command.handler).collect();
    let mut rows: Vec<Row> = all.into_iter().map(|command| command.row).collect();
    rows.iter_mut().enumerate().for_each(|(id, row)| row.id = id);
    let index = rows[..commands].iter().map(|row| (row.name.as_bytes(), row.id)).collect();
    Table { rows, handlers, commands, index }
});

impl Row {
    #[must_use]
    pub fn subcommands(&self) -> &'static [Self] {
        TABLE.rows.get(self.first_subcommand..self.first_subcommand + self.subcommands).unwrap_or_default()
    }

    /// The row of a subcommand, whatever the case of its letters.
    #[must_use]
    pub fn subcommand(&self, name: &[u8]) -> Option<&'static Self> {
        self.subcommands().iter().find(|row| row.last_name().as_bytes().eq_ignore_ascii_case(name))
    }
}

/// What carries a command out.
#[inline]
pub(crate) fn handler(row: &Row) -> Handler {
    TABLE.handlers.get(row.id).copied().unwrap_or(Handler::Itself(row.kind))
}

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
