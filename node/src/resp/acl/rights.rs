//! Rights: what a user may do, ready for the question that every command asks.

use crate::glob;
use crate::resp::facts::{keys, use_of};
use crate::resp::row::{Args, Row, flag};

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
    pub(super) selectors: Vec<Prepared>,
}

/// A pattern of keys, and what it is good for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct KeyPattern {
    pub(super) pattern: Vec<u8>,
    pub(super) may_read: bool,
    pub(super) may_write: bool,
}

/// Which keys and channels.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Reach {
    pub(super) all_keys: bool,
    pub(super) keys: Vec<KeyPattern>,
    pub(super) all_channels: bool,
    pub(super) channels: Vec<Vec<u8>>,
}

#[derive(Debug)]
pub(super) struct Prepared {
    /// By the number of the row.
    pub(super) commands: Vec<bool>,
    /// A command and the first arguments that it is allowed with.
    pub(super) first_arguments: Vec<(usize, Vec<u8>)>,
    pub(super) reach: Reach,
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
        Self { name: String::new(), is_unrestricted: false, selectors: Vec::new() }
    }

    /// Whether the command may be executed.
    ///
    /// # Errors
    /// Why not.
    #[inline]
    pub(crate) fn check(&self, row: &'static Row, args: &Args<'_>) -> Result<(), Denied> {
        if self.is_unrestricted { Ok(()) } else { self.check_selectors(row, args) }
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

impl Reach {
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
    fn check(&self, row: &'static Row, args: &Args<'_>) -> Result<(), Denied> {
        let is_allowed = self.commands.get(row.id).is_some_and(|allowed| *allowed)
            || self.first_arguments.iter().any(|(id, argument)| {
                *id == row.id && args.get(1).is_some_and(|given| given.eq_ignore_ascii_case(argument))
            });
        if !is_allowed {
            return Err(Denied::Command);
        }
        if !self.reach.all_keys {
            for (key, flags) in keys(row, args) {
                if !self.reach.has_key(key, flags) {
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
            if !self.reach.has_channel(channel, is_pattern) {
                return Err(Denied::Channel(channel.to_vec()));
            }
        }
        Ok(())
    }
}
