//! A row: everything that is known of a command but its function. Sessions, rights and counters go by it.

use smallvec::SmallVec;

pub(crate) type Args<'a> = [&'a [u8]];

/// How a command is carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Read,
    Write,
    /// About the connection or the server.
    Session,
    /// About the server and its key space.
    Survey,
    /// Runs other commands in its own transaction.
    Nested,
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
    /// Its effect is of `version::FIELDS_EXPIRE`: refused while an older replica follows.
    pub const FIELDS_EXPIRE: u32 = 65536;
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
    pub kind: Kind,
    /// How many subcommands it has.
    pub(super) subcommands: usize,
    /// Its place among all rows, by which its counters are found.
    pub id: usize,
    /// Where its subcommands stand among all rows.
    pub(super) first_subcommand: usize,
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
        kind: Kind,
    ) -> Self {
        Self { name, arity, flags, keys, group, summary, kind, subcommands: 0, id: 0, first_subcommand: 0 }
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
        self.kind == Kind::Write
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
        self.subcommands > 0
    }

    /// The name of a subcommand without that of its container; a command's own name.
    #[must_use]
    pub fn last_name(&self) -> &'static str {
        self.name.split_once('|').map_or(self.name, |(_, name)| name)
    }
}
