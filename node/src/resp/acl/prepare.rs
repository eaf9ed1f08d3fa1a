//! A definition made ready: rules about commands become a bit for each row of the table.

use super::command_rules::{CommandRule, What, categories_of};
use super::definition::{Definition, Selector};
use super::rights::{Prepared, Rights};
use crate::resp::table::{self, Args, Row};

impl Rights {
    pub(crate) fn new(name: &str, definition: &Definition) -> Self {
        let selectors: Vec<Prepared> =
            std::iter::once(&definition.root).chain(&definition.selectors).map(Prepared::new).collect();
        let is_unrestricted = selectors.iter().any(|prepared| {
            prepared.commands.iter().all(|allowed| *allowed) && prepared.reach.all_keys && prepared.reach.all_channels
        });
        Self { name: name.to_owned(), is_unrestricted, selectors }
    }

    /// As `check`, of whatever command the arguments name.
    pub(crate) fn allows(&self, args: &Args<'_>) -> bool {
        table::resolve(args.iter().copied()).is_some_and(|row| self.check(row, args).is_ok())
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
        Self { commands, first_arguments, reach: selector.reach.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resp::acl::Denied;

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
