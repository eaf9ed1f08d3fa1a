//! What a user is made of, and the rules of ACL SETUSER that change it.

use sha2::{Digest, Sha256};

use super::command_rules::{self, CommandRule, What, Wrong};
use super::rights::{KeyPattern, Reach};
use crate::accounts::User;

/// Commands, keys and channels that go together: what a user has at its root, and in each of its selectors.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Selector {
    pub(super) commands: Vec<CommandRule>,
    pub(super) reach: Reach,
}

/// A user.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Definition {
    pub(crate) is_on: bool,
    pub(crate) needs_no_password: bool,
    pub(crate) skips_sanitizing: bool,
    pub(crate) passwords: Vec<[u8; 32]>,
    /// The password is that of the setting.
    pub(crate) of_setting: bool,
    pub(crate) root: Selector,
    pub(crate) selectors: Vec<Selector>,
}

/// A rule that is refused, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal(pub(crate) String);

const SYNTAX: &str = "Syntax error";
const UNKNOWN: &str = "Unknown command or category name in ACL";
const BAD_HASH: &str =
    "The password hash must be exactly 64 characters and contain only lowercase hexadecimal characters";

fn hex(digest: &[u8; 32]) -> String {
    use std::fmt::Write as _;
    digest.iter().fold(String::with_capacity(64), |mut text, byte| {
        // Writing to a String cannot fail.
        _ = write!(text, "{byte:02x}");
        text
    })
}

fn digest_of_hex(text: &[u8]) -> Option<[u8; 32]> {
    let is_hex = text.len() == 64 && text.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let text = std::str::from_utf8(text).ok().filter(|_| is_hex)?;
    let mut digest = [0; 32];
    for (index, byte) in digest.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(2 * index..2 * index + 2)?, 16).ok()?;
    }
    Some(digest)
}

impl Selector {
    /// # Errors
    /// What is wrong with the rule.
    fn change(&mut self, rule: &[u8]) -> Result<(), &'static str> {
        let lower = rule.to_ascii_lowercase();
        match lower.as_slice() {
            b"allkeys" | b"~*" => {
                self.reach.all_keys = true;
                self.reach.keys.clear();
            }
            b"resetkeys" => {
                self.reach.all_keys = false;
                self.reach.keys.clear();
            }
            b"allchannels" | b"&*" => {
                self.reach.all_channels = true;
                self.reach.channels.clear();
            }
            b"resetchannels" => {
                self.reach.all_channels = false;
                self.reach.channels.clear();
            }
            b"allcommands" | b"+@all" => self.command(true, What::Everything),
            b"nocommands" | b"-@all" => self.command(false, What::Everything),
            _ => match rule.first() {
                Some(b'~') => self.key(&rule[1..], true, true)?,
                Some(b'%') => {
                    let tilde = rule.iter().position(|byte| *byte == b'~').ok_or(SYNTAX)?;
                    let (mut may_read, mut may_write) = (false, false);
                    for letter in &rule[1..tilde] {
                        match letter.to_ascii_uppercase() {
                            b'R' if !may_read => may_read = true,
                            b'W' if !may_write => may_write = true,
                            _ => return Err(SYNTAX),
                        }
                    }
                    if !may_read && !may_write {
                        return Err(SYNTAX);
                    }
                    self.key(&rule[tilde + 1..], may_read, may_write)?;
                }
                Some(b'&') => {
                    if self.reach.all_channels {
                        return Err(
                            "Adding a pattern after the * pattern (or the 'allchannels' flag) is not valid and \
                             does not have any effect. Try 'resetchannels' to start with an empty list of channels",
                        );
                    }
                    let pattern = clean(&rule[1..])?;
                    if !self.reach.channels.contains(&pattern) {
                        self.reach.channels.push(pattern);
                    }
                }
                Some(sign @ (b'+' | b'-')) if rule.len() > 1 => {
                    let what = What::parse(&rule[1..], *sign == b'+').map_err(|wrong| match wrong {
                        Wrong::Unknown => UNKNOWN,
                        Wrong::Syntax => SYNTAX,
                        Wrong::FirstArgument => "Allowing first-arg of a subcommand is not supported",
                    })?;
                    self.command(*sign == b'+', what);
                }
                _ => return Err(SYNTAX),
            },
        }
        Ok(())
    }

    fn command(&mut self, is_allowed: bool, what: What) {
        command_rules::add(&mut self.commands, CommandRule { is_allowed, what });
    }

    fn key(&mut self, pattern: &[u8], may_read: bool, may_write: bool) -> Result<(), &'static str> {
        if self.reach.all_keys {
            return Err(
                "Adding a pattern after the * pattern (or the 'allkeys' flag) is not valid and does not have any \
                 effect. Try 'resetkeys' to start with an empty list of patterns",
            );
        }
        let pattern = clean(pattern)?;
        match self.reach.keys.iter_mut().find(|known| known.pattern == pattern) {
            Some(known) => {
                known.may_read |= may_read;
                known.may_write |= may_write;
            }
            None => self.reach.keys.push(KeyPattern { pattern, may_read, may_write }),
        }
        Ok(())
    }

    pub(crate) fn show_commands(&self) -> Vec<u8> {
        command_rules::show(&self.commands)
    }

    pub(crate) fn show_keys(&self) -> Vec<u8> {
        if self.reach.all_keys {
            return b"~*".to_vec();
        }
        let shown: Vec<Vec<u8>> = self
            .reach
            .keys
            .iter()
            .map(|key| {
                let sign: &[u8] = match (key.may_read, key.may_write) {
                    (true, false) => b"%R~",
                    (false, true) => b"%W~",
                    _ => b"~",
                };
                [sign, &key.pattern].concat()
            })
            .collect();
        shown.join(&b' ')
    }

    pub(crate) fn show_channels(&self) -> Vec<u8> {
        if self.reach.all_channels {
            return b"&*".to_vec();
        }
        self.reach.channels.iter().map(|channel| [b"&", channel.as_slice()].concat()).collect::<Vec<_>>().join(&b' ')
    }

    /// As ACL LIST shows it.
    fn show(&self) -> Vec<u8> {
        let mut parts = Vec::new();
        let keys = self.show_keys();
        if !keys.is_empty() {
            parts.push(keys);
        }
        let channels = self.show_channels();
        if self.reach.all_channels {
            parts.push(channels);
        } else {
            parts.push(b"resetchannels".to_vec());
            if !channels.is_empty() {
                parts.push(channels);
            }
        }
        parts.push(self.show_commands());
        parts.join(&b' ')
    }
}

fn clean(pattern: &[u8]) -> Result<Vec<u8>, &'static str> {
    if pattern.iter().any(|byte| byte.is_ascii_whitespace() || *byte == 0) { Err(SYNTAX) } else { Ok(pattern.to_vec()) }
}

/// Words of a selector as one rule: `(+get` and `~k*)` belong together.
///
/// # Errors
/// A parenthesis is not closed.
pub(crate) fn joined(words: &[&[u8]]) -> Result<Vec<Vec<u8>>, Refusal> {
    let mut rules: Vec<Vec<u8>> = Vec::new();
    let (mut open, mut opened): (Option<Vec<u8>>, &[u8]) = (None, b"");
    for word in words {
        if open.is_none() {
            opened = word;
        }
        let mut rule = match open.take() {
            Some(mut rule) => {
                rule.push(b' ');
                rule.extend_from_slice(word);
                rule
            }
            None => word.to_vec(),
        };
        if rule.first() == Some(&b'(') && rule.last() != Some(&b')') {
            open = Some(std::mem::take(&mut rule));
        } else {
            rules.push(rule);
        }
    }
    match open {
        None => Ok(rules),
        Some(_) => Err(Refusal(format!(
            "Unmatched parenthesis in acl selector starting at '{}'.",
            String::from_utf8_lossy(opened)
        ))),
    }
}

impl Definition {
    /// A new user: off, with no rights but, if the setting says so, all channels.
    pub(crate) fn new(all_channels: bool) -> Self {
        let root = Selector { reach: Reach { all_channels, ..Reach::default() }, ..Selector::default() };
        Self { root, ..Self::default() }
    }

    /// Of an account. A rule that this version does not know is left out: it would have been a newer one's.
    pub(crate) fn of(user: &User) -> Self {
        let mut definition = Self::default();
        for rule in &user.rules {
            _ = definition.change(rule);
        }
        definition.passwords.clone_from(&user.credentials.sha256);
        definition.of_setting = user.credentials.of_setting;
        definition
    }

    /// Writes it into an account.
    pub(crate) fn write_to(&self, user: &mut User) {
        user.rules = self.rules();
        user.credentials.sha256.clone_from(&self.passwords);
        if user.credentials.of_setting && !self.of_setting {
            user.credentials.of_setting = false;
            user.credentials.salted = None;
        }
    }

    /// # Errors
    /// What is wrong with the rule.
    pub(crate) fn change(&mut self, rule: &[u8]) -> Result<(), Refusal> {
        self.try_change(rule).map_err(|reason| {
            Refusal(format!("Error in ACL SETUSER modifier '{}': {reason}", String::from_utf8_lossy(rule)))
        })
    }

    fn try_change(&mut self, rule: &[u8]) -> Result<(), &'static str> {
        match rule.to_ascii_lowercase().as_slice() {
            b"on" => self.is_on = true,
            b"off" => self.is_on = false,
            b"nopass" => {
                self.needs_no_password = true;
                self.forget_passwords();
            }
            b"resetpass" => {
                self.needs_no_password = false;
                self.forget_passwords();
            }
            b"skip-sanitize-payload" => self.skips_sanitizing = true,
            b"sanitize-payload" => self.skips_sanitizing = false,
            b"clearselectors" => self.selectors.clear(),
            b"reset" => *self = Self::default(),
            _ => match rule.first() {
                Some(b'>') => self.add_password(Sha256::digest(&rule[1..]).into()),
                Some(b'#') => {
                    let digest = digest_of_hex(&rule[1..]).ok_or(BAD_HASH)?;
                    self.add_password(digest);
                }
                Some(sign @ (b'<' | b'!')) => {
                    let digest = match sign {
                        b'<' => Sha256::digest(&rule[1..]).into(),
                        _ => digest_of_hex(&rule[1..]).ok_or(BAD_HASH)?,
                    };
                    let place = self.passwords.iter().position(|known| *known == digest);
                    let place = place.ok_or("The password you are trying to remove from the user does not exist")?;
                    self.passwords.remove(place);
                }
                Some(b'(') if rule.last() == Some(&b')') && rule.len() > 1 => {
                    let mut selector = Selector::default();
                    for word in rule[1..rule.len() - 1].split(u8::is_ascii_whitespace).filter(|word| !word.is_empty()) {
                        selector.change(word)?;
                    }
                    self.selectors.push(selector);
                }
                _ => self.root.change(rule)?,
            },
        }
        Ok(())
    }

    fn forget_passwords(&mut self) {
        self.passwords.clear();
        self.of_setting = false;
    }

    fn add_password(&mut self, digest: [u8; 32]) {
        self.needs_no_password = false;
        self.of_setting = false;
        if !self.passwords.contains(&digest) {
            self.passwords.push(digest);
        }
    }

    pub(crate) fn flags(&self) -> Vec<&'static str> {
        let mut flags = vec![if self.is_on { "on" } else { "off" }];
        if self.needs_no_password {
            flags.push("nopass");
        }
        flags.push(if self.skips_sanitizing { "skip-sanitize-payload" } else { "sanitize-payload" });
        flags
    }

    /// Its rules without passwords, as an account keeps them.
    fn rules(&self) -> Vec<Vec<u8>> {
        let mut rules: Vec<Vec<u8>> = self.flags().iter().map(|flag| flag.as_bytes().to_vec()).collect();
        rules.extend(self.root.show().split(|byte| *byte == b' ').map(<[u8]>::to_vec));
        rules.extend(self.selectors.iter().map(|selector| [b"(", selector.show().as_slice(), b")"].concat()));
        rules
    }

    /// As ACL LIST and an ACL file have it. `open`: the password of the setting is empty.
    pub(crate) fn line(&self, name: &str, setting: &str) -> Vec<u8> {
        let mut words: Vec<Vec<u8>> = vec![b"user".to_vec(), name.as_bytes().to_vec()];
        let mut shown = self.clone();
        shown.needs_no_password |= self.of_setting && setting.is_empty();
        words.extend(shown.flags().iter().map(|flag| flag.as_bytes().to_vec()));
        words.extend(self.hashes(setting).iter().map(|hash| format!("#{hash}").into_bytes()));
        words.push(self.root.show());
        words.extend(self.selectors.iter().map(|selector| [b"(", selector.show().as_slice(), b")"].concat()));
        words.join(&b' ')
    }

    /// SHA-256 of its passwords.
    pub(crate) fn hashes(&self, setting: &str) -> Vec<String> {
        let of_setting = (self.of_setting && !setting.is_empty()).then(|| hex(&Sha256::digest(setting).into()));
        of_setting.into_iter().chain(self.passwords.iter().map(hex)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(rules: &[&str]) -> Result<Definition, String> {
        let words: Vec<&[u8]> = rules.iter().map(|rule| rule.as_bytes()).collect();
        let mut definition = Definition::new(false);
        for rule in joined(&words).map_err(|refusal| refusal.0)? {
            definition.change(&rule).map_err(|refusal| refusal.0)?;
        }
        Ok(definition)
    }

    fn line(rules: &[&str]) -> String {
        String::from_utf8(made(rules).unwrap().line("bob", "")).unwrap()
    }

    #[test]
    fn rules_are_shown_in_the_order_in_which_they_were_given() {
        assert_eq!(line(&[]), "user bob off sanitize-payload resetchannels -@all");
        assert_eq!(
            line(&["on", "~a*", "%R~b*", "&ch*", "+@read", "-get", "+config|get"]),
            "user bob on sanitize-payload ~a* %R~b* resetchannels &ch* -@all +@read -get +config|get"
        );
        assert_eq!(line(&["+config|get", "+config"]), "user bob off sanitize-payload resetchannels -@all +config");
        assert_eq!(line(&["+get", "allcommands", "-get"]), "user bob off sanitize-payload resetchannels +@all -get");
        assert_eq!(
            line(&["(+get", "~k*)"]),
            "user bob off sanitize-payload resetchannels -@all (~k* resetchannels -@all +get)"
        );
    }

    #[test]
    fn a_wrong_rule_is_refused_in_the_words_of_redis() {
        for (rule, reason) in [
            ("foo", SYNTAX),
            ("%X~a", SYNTAX),
            ("+nosuch", UNKNOWN),
            ("+@nosuch", UNKNOWN),
            ("+config|nosuch", UNKNOWN),
            ("#abc", BAD_HASH),
            ("a b", SYNTAX),
            ("(foo)", SYNTAX),
        ] {
            assert_eq!(made(&[rule]), Err(format!("Error in ACL SETUSER modifier '{rule}': {reason}")));
        }
        assert!(made(&["allkeys", "~x"]).unwrap_err().contains("Adding a pattern after the * pattern"));
        assert!(made(&["(+get"]).unwrap_err().starts_with("Unmatched parenthesis"));
    }

    #[test]
    fn an_account_gives_back_what_was_written_to_it() {
        let definition = made(&["on", ">secret", "~a*", "&c", "+@all", "-@dangerous", "(+get %R~x)"]).unwrap();
        let mut user = User::new("bob");
        definition.write_to(&mut user);
        assert_eq!(Definition::of(&user), definition);
    }
}
