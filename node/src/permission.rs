//! Permissions of users in virtual hosts: regular expressions over names, as RabbitMQ has them.
//!
//! RabbitMQ's are PCRE; ours are linear in time, without look-around and back-references, and one that has them is
//! refused when it is set.

use std::sync::Arc;

use regex::{Regex, RegexBuilder};

use crate::accounts::Permissions;
use crate::limits;

/// What is done with a resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Right {
    /// Make or delete it.
    Configure,
    /// Put messages into it.
    Write,
    /// Take messages out of it.
    Read,
}

impl Right {
    fn pattern(self, permissions: &Permissions) -> &str {
        match self {
            Self::Configure => &permissions.configure,
            Self::Write => &permissions.write,
            Self::Read => &permissions.read,
        }
    }
}

/// A pattern that can be matched. RabbitMQ takes an empty one for `^$`.
///
/// # Errors
/// It is no regular expression, or one that takes too much memory.
pub fn compile(pattern: &str) -> Result<Regex, regex::Error> {
    let pattern = if pattern.is_empty() { "^$" } else { pattern };
    RegexBuilder::new(pattern).size_limit(limits::PATTERN_BYTES).build()
}

/// Whether the permissions allow something with the resource of this name. The default exchange's name is `amq.default`
/// here. For who asks once; a connection keeps `Compiled`.
#[must_use]
pub fn allows(permissions: &Permissions, right: Right, name: &str) -> bool {
    let pattern = right.pattern(permissions);
    // Most users have it.
    pattern == ".*" || compile(pattern).is_ok_and(|pattern| pattern.is_match(name))
}

/// Permissions of one user in one virtual host, ready to be matched. They hold until `Accounts::version` changes.
#[derive(Debug, Clone)]
pub struct Compiled {
    configure: Matcher,
    write: Matcher,
    read: Matcher,
}

#[derive(Debug, Clone)]
enum Matcher {
    Everything,
    Nothing,
    Pattern(Arc<Regex>),
}

impl Compiled {
    #[must_use]
    pub fn new(permissions: &Permissions) -> Self {
        Self {
            configure: Matcher::new(&permissions.configure),
            write: Matcher::new(&permissions.write),
            read: Matcher::new(&permissions.read),
        }
    }

    #[must_use]
    pub fn allows(&self, right: Right, name: &str) -> bool {
        let matcher = match right {
            Right::Configure => &self.configure,
            Right::Write => &self.write,
            Right::Read => &self.read,
        };
        match matcher {
            Matcher::Everything => true,
            Matcher::Nothing => false,
            Matcher::Pattern(pattern) => pattern.is_match(name),
        }
    }
}

impl Matcher {
    fn new(pattern: &str) -> Self {
        if pattern == ".*" {
            return Self::Everything;
        }
        // One that came from elsewhere and cannot be compiled allows nothing.
        compile(pattern).map_or(Self::Nothing, |pattern| Self::Pattern(Arc::new(pattern)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_searched_for_and_an_empty_one_matches_the_empty_name_only() {
        let permissions = Permissions { configure: "^q-".into(), write: String::new(), read: ".*".into() };
        let compiled = Compiled::new(&permissions);
        let table = [
            (Right::Configure, "q-1", true),
            (Right::Configure, "aq-1", false),
            (Right::Write, "q", false),
            (Right::Write, "", true),
            (Right::Read, "anything", true),
        ];
        for (right, name, expected) in table {
            assert_eq!(compiled.allows(right, name), expected, "{right:?} {name}");
            assert_eq!(allows(&permissions, right, name), expected, "{right:?} {name}");
        }
    }

    #[test]
    fn what_cannot_be_compiled_allows_nothing() {
        let permissions = Permissions { configure: "(".into(), write: "(?=a)".into(), read: "x".into() };
        let compiled = Compiled::new(&permissions);
        assert!(!compiled.allows(Right::Configure, "(") && !compiled.allows(Right::Write, "a"));
        assert!(compile("(?=a)").is_err() && compile(&"(a{1000}){1000}".repeat(3)).is_err());
    }
}
