//! Rules about commands: `+get`, `-@dangerous`, `+config|get`, in the order in which they were given.

use crate::resp::table::{self, Row, flag};
use crate::resp::{facts, table::Group};

/// All categories, in Redis's order.
pub(crate) const CATEGORIES: &[&str] = &[
    "keyspace",
    "read",
    "write",
    "set",
    "sortedset",
    "list",
    "hash",
    "string",
    "bitmap",
    "hyperloglog",
    "geo",
    "stream",
    "pubsub",
    "admin",
    "fast",
    "slow",
    "blocking",
    "dangerous",
    "connection",
    "transaction",
    "scripting",
];

/// The categories of a command.
pub(crate) fn categories_of(row: &Row) -> Vec<&'static str> {
    if let Some(fact) = facts::of(row.name) {
        return fact.categories.clone();
    }
    let mut categories = Vec::new();
    if row.is_write() {
        categories.push("write");
    }
    if row.has(flag::ADMIN) {
        categories.extend(["admin", "dangerous"]);
    }
    if row.has(flag::PUBSUB) {
        categories.push("pubsub");
    }
    if row.has(flag::BLOCKING) {
        categories.push("blocking");
    }
    categories.push(if row.has(flag::FAST) { "fast" } else { "slow" });
    match row.group {
        Group::Connection => categories.push("connection"),
        Group::Transactions => categories.push("transaction"),
        Group::Generic => categories.push("keyspace"),
        Group::SortedSet => categories.push("sortedset"),
        other => categories.extend(CATEGORIES.iter().find(|name| **name == other.name()).copied()),
    }
    categories
}

/// What a rule is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum What {
    Everything,
    Category(&'static str),
    /// A command or a subcommand, as a row calls it; with its subcommands.
    Command(&'static str),
    /// A command with this as its first argument, which is no subcommand.
    FirstArgument(&'static str, Vec<u8>),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct CommandRule {
    pub(super) is_allowed: bool,
    pub(super) what: What,
}

/// Why a rule is not one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wrong {
    Unknown,
    Syntax,
    FirstArgument,
}

impl What {
    /// Of what stands behind `+` or `-`.
    pub(super) fn parse(text: &[u8], is_allowed: bool) -> Result<Self, Wrong> {
        let text = std::str::from_utf8(text).map_err(|_| Wrong::Unknown)?;
        if let Some(category) = text.strip_prefix('@') {
            if category.eq_ignore_ascii_case("all") {
                return Ok(Self::Everything);
            }
            let known = CATEGORIES.iter().find(|known| known.eq_ignore_ascii_case(category));
            return known.map(|known| Self::Category(known)).ok_or(Wrong::Unknown);
        }
        let Some((command, rest)) = text.split_once('|') else {
            return table::find(text.as_bytes()).map(|row| Self::Command(row.name)).ok_or(Wrong::Unknown);
        };
        if rest.is_empty() {
            return Err(Wrong::Syntax);
        }
        let row = table::find(command.as_bytes()).ok_or(Wrong::Unknown)?;
        match row.subcommand(rest.as_bytes()) {
            Some(subcommand) => Ok(Self::Command(subcommand.name)),
            None if row.has_subcommands() => Err(Wrong::Unknown),
            None if is_allowed => Ok(Self::FirstArgument(row.name, rest.to_ascii_lowercase().into_bytes())),
            None => Err(Wrong::FirstArgument),
        }
    }

    /// Whether a later rule about `self` makes one about `other` meaningless.
    fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Everything, _) => true,
            (Self::Command(mine), Self::Command(other)) => {
                mine == other || other.strip_prefix(mine).is_some_and(|rest| rest.starts_with('|'))
            }
            (Self::Command(mine), Self::FirstArgument(other, _)) => mine == other,
            _ => self == other,
        }
    }

    fn show(&self) -> Vec<u8> {
        match self {
            Self::Everything => b"@all".to_vec(),
            Self::Category(name) => format!("@{name}").into_bytes(),
            Self::Command(name) => name.as_bytes().to_vec(),
            Self::FirstArgument(name, argument) => [name.as_bytes(), b"|", argument].concat(),
        }
    }
}

/// Adds a rule; earlier ones that it makes meaningless go.
pub(super) fn add(rules: &mut Vec<CommandRule>, rule: CommandRule) {
    rules.retain(|earlier| !rule.what.covers(&earlier.what));
    // Nothing is allowed anyway before the first rule.
    if rule.is_allowed || rule.what != What::Everything {
        rules.push(rule);
    }
}

/// As `-@all +get`, in the order in which they were given.
pub(super) fn show(rules: &[CommandRule]) -> Vec<u8> {
    let mut text = Vec::new();
    if !matches!(rules.first(), Some(CommandRule { what: What::Everything, .. })) {
        text.extend_from_slice(b"-@all");
    }
    for rule in rules {
        if !text.is_empty() {
            text.push(b' ');
        }
        text.push(if rule.is_allowed { b'+' } else { b'-' });
        text.extend_from_slice(&rule.what.show());
    }
    text
}
