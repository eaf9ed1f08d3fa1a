//! Permissions of users in virtual hosts: regular expressions over names, as RabbitMQ has them.
//!
//! RabbitMQ's are PCRE; ours are linear in time, without look-around and back-references, and one that has them is
//! refused when it is set.

use std::sync::Arc;

use regex::{Regex, RegexBuilder};

use crate::accounts::{Directory, Permissions};
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

/// A pattern of a topic permission. `{username}` and `{vhost}` in it stand for these names, taken literally.
///
/// # Errors
/// As `compile`.
pub fn compile_topic(pattern: &str, user: &str, vhost: &str) -> Result<Regex, regex::Error> {
    let expanded = pattern
        .replace("{username}", &regex::escape(user))
        .replace("{vhost}", &regex::escape(vhost))
        // Of MQTT clients: ours have none.
        .replace("{client_id}", r"\{client_id\}");
    compile(&expanded)
}

/// What one user may do with the routing keys of topic exchanges in one virtual host.
#[derive(Debug, Clone, Default)]
pub struct Topics {
    by_exchange: Vec<(String, Matcher, Matcher)>,
}

impl Topics {
    #[must_use]
    pub fn of(directory: &Directory, user: &str, vhost: &str) -> Self {
        let from = (user.to_owned(), vhost.to_owned(), String::new());
        let mine =
            directory.topic_permissions.range(from..).take_while(|((of, within, _), _)| of == user && within == vhost);
        let matcher = |pattern: &str| match pattern {
            ".*" => Matcher::Everything,
            _ => compile_topic(pattern, user, vhost)
                .map_or(Matcher::Nothing, |pattern| Matcher::Pattern(Arc::new(pattern))),
        };
        let by_exchange = mine
            .map(|((_, _, exchange), permissions)| {
                (exchange.clone(), matcher(&permissions.write), matcher(&permissions.read))
            })
            .collect();
        Self { by_exchange }
    }

    /// Whether routing keys of this exchange are looked at.
    #[inline]
    #[must_use]
    pub fn has(&self, exchange: &str) -> bool {
        self.by_exchange.iter().any(|(name, ..)| name == exchange)
    }

    /// Whether a message of this routing key may be written, or a binding of this key read from. An exchange without topic
    /// permissions allows everything.
    #[must_use]
    pub fn allows(&self, right: Right, exchange: &str, key: &str) -> bool {
        let Some((_, write, read)) = self.by_exchange.iter().find(|(name, ..)| name == exchange) else { return true };
        match right {
            Right::Configure => true,
            Right::Write => write.matches(key),
            Right::Read => read.matches(key),
        }
    }
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
        matcher.matches(name)
    }
}

impl Matcher {
    fn matches(&self, name: &str) -> bool {
        match self {
            Self::Everything => true,
            Self::Nothing => false,
            Self::Pattern(pattern) => pattern.is_match(name),
        }
    }

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
    use crate::accounts::TopicPermissions;

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
    fn topic_permissions_know_the_user_and_hold_for_their_exchange_only() {
        let mut directory = Directory::default();
        let permissions = |write: &str, read: &str| TopicPermissions { write: write.to_owned(), read: read.to_owned() };
        let mut set = |user: &str, exchange: &str, of| {
            directory.topic_permissions.insert((user.to_owned(), "/".to_owned(), exchange.to_owned()), of);
        };
        set("a.b", "t", permissions(r"^{username}\.", "^x-{vhost}-"));
        set("a.b", "closed", permissions("", "^{client_id}$"));
        set("other", "u", permissions("^$", "^$"));
        let topics = Topics::of(&directory, "a.b", "/");
        let table = [
            (Right::Write, "t", "a.b.c", true),
            (Right::Write, "t", "aXb.c", false),
            (Right::Read, "t", "x-/-y", true),
            (Right::Read, "t", "x-y", false),
            (Right::Write, "closed", "k", false),
            (Right::Read, "closed", "k", false),
            (Right::Write, "u", "anything", true),
        ];
        for (right, exchange, key, expected) in table {
            assert_eq!(topics.allows(right, exchange, key), expected, "{right:?} {exchange} {key}");
        }
        assert_eq!([topics.has("t"), topics.has("u")], [true, false]);
    }

    #[test]
    fn what_cannot_be_compiled_allows_nothing() {
        let permissions = Permissions { configure: "(".into(), write: "(?=a)".into(), read: "x".into() };
        let compiled = Compiled::new(&permissions);
        assert!(!compiled.allows(Right::Configure, "(") && !compiled.allows(Right::Write, "a"));
        assert!(compile("(?=a)").is_err() && compile(&"(a{1000}){1000}".repeat(3)).is_err());
    }
}
