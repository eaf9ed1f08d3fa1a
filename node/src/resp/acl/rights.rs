//! Rights: a definition made ready for the question that every command asks.

use super::command_rules::{CommandRule, What, categories_of};
use super::definition::{Definition, Selector};
use crate::glob;
use crate::resp::facts::{keys, use_of};
use crate::resp::table::{self, Args, Row, flag};

/// Why a command is denied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Denied {
    Command,
    /// The key.
    Key(Vec<u8>),
    Channel(Vec<u8>),
}

impl Denied {
    /// What comes closest to being allowed is reported.
    fn closeness(&self) -> u8 {
        match self {
            Self::Command => 0,
            Self::Key(_) => 1,
            Self::Channel(_) => 2,
        }
    }
}

/// What a user may do.
#[derive(Debug)]
pub(crate) struct Rights {
    pub(crate) name: String,
    /// No question needs to be asked.
    pub(crate) is_unrestricted: bool,
    selectors: Vec<Prepared>,
}

#[derive(Debug)]
struct Prepared {
    /// By the number of the row.
    commands: Vec<bool>,
    /// A command and the first arguments that it is allowed with.
    first_arguments: Vec<(usize, Vec<u8>)>,
    selector: Selector,
}

/// How a command names channels.
enum Channels {
    None,
    /// From this place on; this many at most.
    Literal(usize, usize),
    Patterns(usize),
}

fn channels(row: &Row) -> Channels {
    match row.name {
        "publish" | "spublish" => Channels::Literal(1, 1),
        "subscribe" | "ssubscribe" => Channels::Literal(1, usize::MAX),
        "psubscribe" => Channels::Patterns(1),
        _ => Channels::None,
    }
}

impl Rights {
    /// Of nobody: only what needs no user.
    pub(crate) fn nobody() -> Self {
        Self::new("", &Definition::default())
    }

    pub(crate) fn new(name: &str, definition: &Definition) -> Self {
        let selectors: Vec<Prepared> =
            std::iter::once(&definition.root).chain(&definition.selectors).map(Prepared::new).collect();
        let is_unrestricted = selectors.iter().any(|prepared| {
            prepared.commands.iter().all(|allowed| *allowed)
                && prepared.selector.all_keys
                && prepared.selector.all_channels
        });
        Self { name: name.to_owned(), is_unrestricted, selectors }
    }

    /// Whether the command may be executed.
    ///
    /// # Errors
    /// Why not.
    #[inline]
    pub(crate) fn check(&self, row: &'static Row, args: &Args<'_>) -> Result<(), Denied> {
        if self.is_unrestricted { Ok(()) } else { self.check_selectors(row, args) }
    }

    /// As `check`, of whatever command the arguments name.
    pub(crate) fn allows(&self, args: &Args<'_>) -> bool {
        table::resolve(args.iter().copied()).is_some_and(|row| self.check(row, args).is_ok())
    }

    fn check_selectors(&self, row: &'static Row, args: &Args<'_>) -> Result<(), Denied> {
        // As Redis: what everybody may do who is nobody yet.
        if row.has(flag::NO_AUTH) {
            return Ok(());
        }
        let mut closest = Denied::Command;
        for selector in &self.selectors {
            match selector.check(row, args) {
                Ok(()) => return Ok(()),
                Err(denied) if denied.closeness() > closest.closeness() => closest = denied,
                Err(_) => {}
            }
        }
        Err(closest)
    }
}

impl Selector {
    fn has_channel(&self, channel: &[u8], is_pattern: bool) -> bool {
        self.all_channels
            || self
                .channels
                .iter()
                .any(|pattern| if is_pattern { pattern == channel } else { glob::matches(pattern, channel) })
    }

    fn has_key(&self, key: &[u8], flags: u16) -> bool {
        let reads = flags & use_of::ACCESS != 0;
        let writes = flags & (use_of::INSERT | use_of::DELETE | use_of::UPDATE) != 0;
        self.all_keys
            || self.keys.iter().any(|pattern| {
                (pattern.may_read || !reads) && (pattern.may_write || !writes) && glob::matches(&pattern.pattern, key)
            })
    }
}

impl Prepared {
    fn new(selector: &Selector) -> Self {
        let rows = table::rows();
        let mut commands = vec![false; rows.len()];
        let mut first_arguments = Vec::new();
        for CommandRule { is_allowed, what } in &selector.commands {
            match what {
                What::Everything => {
                    commands.fill(*is_allowed);
                    first_arguments.clear();
                }
                What::Category(name) => {
                    for row in rows.iter().filter(|row| categories_of(row).contains(name)) {
                        commands[row.id] = *is_allowed;
                    }
                }
                What::Command(name) => {
                    let is_it = |row: &&Row| {
                        row.name == *name || row.name.strip_prefix(name).is_some_and(|rest| rest.starts_with('|'))
                    };
                    for row in rows.iter().filter(is_it) {
                        commands[row.id] = *is_allowed;
                        first_arguments.retain(|(id, _)| *id != row.id);
                    }
                }
                What::FirstArgument(name, argument) => {
                    if let Some(row) = table::find(name.as_bytes()) {
                        first_arguments.push((row.id, argument.clone()));
                    }
                }
            }
        }
        Self { commands, first_arguments, selector: selector.clone() }
    }

    fn check(&self, row: &'static Row, args: &Args<'_>) -> Result<(), Denied> {
        let is_allowed = self.commands.get(row.id).is_some_and(|allowed| *allowed)
            || self.first_arguments.iter().any(|(id, argument)| {
                *id == row.id && args.get(1).is_some_and(|given| given.eq_ignore_ascii_case(argument))
            });
        if !is_allowed {
            return Err(Denied::Command);
        }
        if !self.selector.all_keys {
            for (key, flags) in keys(row, args) {
                if !self.selector.has_key(key, flags) {
                    return Err(Denied::Key(key.to_vec()));
                }
            }
        }
        let (named, is_pattern) = match channels(row) {
            Channels::None => return Ok(()),
            Channels::Literal(from, most) => (args.iter().skip(from).take(most), false),
            Channels::Patterns(from) => (args.iter().skip(from).take(usize::MAX), true),
        };
        for channel in named {
            if !self.selector.has_channel(channel, is_pattern) {
                return Err(Denied::Channel(channel.to_vec()));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(rules: &[&str], command: &[&str]) -> Result<(), Denied> {
        let mut definition = Definition::new(false);
        for rule in rules {
            definition.change(rule.as_bytes()).unwrap();
        }
        let args: Vec<&[u8]> = command.iter().map(|arg| arg.as_bytes()).collect();
        Rights::new("bob", &definition).check(table::resolve(args.iter().copied()).unwrap(), &args)
    }

    fn key(name: &str) -> Result<(), Denied> {
        Err(Denied::Key(name.into()))
    }

    #[test]
    fn commands_are_allowed_by_name_category_and_subcommand() {
        assert_eq!(check(&["+get", "~*"], &["get", "k"]), Ok(()));
        assert_eq!(check(&["+get", "~*"], &["set", "k", "v"]), Err(Denied::Command));
        assert_eq!(check(&["+@read", "-get", "~*"], &["get", "k"]), Err(Denied::Command));
        assert_eq!(check(&["+@read", "-get", "~*"], &["strlen", "k"]), Ok(()));
        assert_eq!(check(&["+config|get"], &["config", "get", "x"]), Ok(()));
        assert_eq!(check(&["+config|get"], &["config", "set", "x", "y"]), Err(Denied::Command));
        assert_eq!(check(&["+select|0"], &["select", "0"]), Ok(()));
        assert_eq!(check(&["+select|0"], &["select", "1"]), Err(Denied::Command));
        assert_eq!(check(&[], &["auth", "x"]), Ok(()));
    }

    #[test]
    fn keys_are_read_and_written_where_a_pattern_says() {
        let rules = ["+@all", "%R~r*", "%W~w*", "~b*"];
        for (command, outcome) in [
            (&["get", "r1"][..], Ok(())),
            (&["get", "w1"], key("w1")),
            (&["get", "b1"], Ok(())),
            (&["set", "w1", "v"], Ok(())),
            (&["set", "w1", "v", "get"], key("w1")),
            (&["set", "r1", "v"], key("r1")),
            (&["copy", "r1", "w1"], Ok(())),
            (&["copy", "w1", "r1"], key("w1")),
            (&["mget", "r1", "x"], key("x")),
            (&["exists", "w1"], Ok(())),
        ] {
            assert_eq!(check(&rules, command), outcome, "{command:?}");
        }
    }

    #[test]
    fn one_selector_has_to_allow_all_of_a_command() {
        let rules = ["+get", "~a", "(+set ~b)"];
        assert_eq!(check(&rules, &["get", "a"]), Ok(()));
        assert_eq!(check(&rules, &["set", "b", "1"]), Ok(()));
        assert_eq!(check(&rules, &["get", "b"]), key("b"));
        assert_eq!(check(&rules, &["set", "a", "1"]), key("a"));
    }
}
