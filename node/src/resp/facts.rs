//! What clients ask about commands beyond what a row says: categories, key specifications, versions, arguments.
//!
//! `facts.txt` has a line a command, its subcommands behind it, with what redis-server 7.0.15 answers to COMMAND and
//! COMMAND DOCS (columns below; `Fact::parse`). A test compares it with the server that is installed. What is not in there
//! is derived from the row.
//!
//! ```text
//! name arity flags first,last,step categories tips key-specifications since group complexity doc-flags deprecated replaced arguments
//! key specification: flags/begin/find   begin: i<index> k<keyword>:<from> u      find: r<last>:<step>:<limit> n<number>:<first>:<step> u
//! argument: type:name[="TOKEN"][@key-specification][^since][!flags][(arguments)]
//! ```

use std::collections::HashMap;
use std::sync::LazyLock;

use super::row::{Args, Row};

/// How a command uses a key, and for what.
pub(crate) mod use_of {
    pub(crate) const READ_ONLY: u16 = 1;
    pub(crate) const READ_WRITE: u16 = 2;
    pub(crate) const OVERWRITE: u16 = 4;
    pub(crate) const REMOVE: u16 = 8;
    pub(crate) const ACCESS: u16 = 16;
    pub(crate) const UPDATE: u16 = 32;
    pub(crate) const INSERT: u16 = 64;
    pub(crate) const DELETE: u16 = 128;
    pub(crate) const NOT_A_KEY: u16 = 256;
    pub(crate) const INCOMPLETE: u16 = 512;
    pub(crate) const VARIABLE: u16 = 1024;
    /// What is not known better: it may be read and written.
    pub(crate) const ANY: u16 = READ_WRITE | ACCESS | UPDATE;

    pub(crate) const NAMES: &[(u16, &str)] = &[
        (READ_ONLY, "RO"),
        (READ_WRITE, "RW"),
        (OVERWRITE, "OW"),
        (REMOVE, "RM"),
        (ACCESS, "access"),
        (UPDATE, "update"),
        (INSERT, "insert"),
        (DELETE, "delete"),
        (NOT_A_KEY, "not_key"),
        (INCOMPLETE, "incomplete"),
        (VARIABLE, "variable_flags"),
    ];
}

/// Where keys begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Begin {
    Index(usize),
    /// Behind this word, which is looked for from this place on (negative: from the end backwards).
    Keyword(&'static str, isize),
    Unknown,
}

/// Which of the arguments from there on are keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Find {
    /// Up to the last (from the beginning; negative: from the end), every how many, and of those one of `limit`.
    Range {
        last: isize,
        step: usize,
        limit: usize,
    },
    /// The number of keys stands at `number`, the first at `first`.
    Counted {
        number: usize,
        first: usize,
        step: usize,
    },
    Unknown,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct KeySpecification {
    pub(crate) flags: u16,
    pub(crate) begin: Begin,
    pub(crate) find: Find,
}

/// One line.
#[derive(Debug)]
pub(crate) struct Fact {
    pub(crate) name: &'static str,
    pub(crate) flags: Vec<&'static str>,
    pub(crate) range: [i64; 3],
    pub(crate) categories: Vec<&'static str>,
    pub(crate) tips: Vec<&'static str>,
    pub(crate) keys: Vec<KeySpecification>,
    pub(crate) since: &'static str,
    pub(crate) group: &'static str,
    pub(crate) complexity: &'static str,
    pub(crate) doc_flags: Vec<&'static str>,
    pub(crate) deprecated_since: &'static str,
    pub(crate) replaced_by: &'static str,
    pub(crate) arguments: &'static str,
}

static FACTS: LazyLock<HashMap<&'static str, Fact>> =
    LazyLock::new(|| include_str!("facts.txt").lines().filter_map(Fact::parse).map(|fact| (fact.name, fact)).collect());

/// What is known of a command or, as `config|get`, a subcommand.
pub(crate) fn of(name: &str) -> Option<&'static Fact> {
    FACTS.get(name)
}

/// Whether a command is left out of the slow log: its arguments may be secret.
pub(crate) fn skips_slowlog(row: &Row) -> bool {
    of(row.name).is_some_and(|fact| fact.flags.contains(&"skip_slowlog"))
}

fn listed(text: &'static str) -> Vec<&'static str> {
    text.split(',').filter(|item| !item.is_empty()).collect()
}

impl Fact {
    fn parse(line: &'static str) -> Option<Self> {
        let columns: Vec<&'static str> = line.split('\t').collect();
        let [
            name,
            _,
            flags,
            range,
            categories,
            tips,
            keys,
            since,
            group,
            complexity,
            doc_flags,
            deprecated,
            replaced,
            arguments,
        ] = columns[..]
        else {
            return None;
        };
        let mut numbers = range.split(',').map(|number| number.parse().unwrap_or(0));
        Some(Self {
            name,
            flags: listed(flags),
            range: std::array::from_fn(|_| numbers.next().unwrap_or(0)),
            categories: listed(categories),
            tips: listed(tips),
            keys: keys.split(';').filter_map(KeySpecification::parse).collect(),
            since,
            group,
            complexity,
            doc_flags: listed(doc_flags),
            deprecated_since: deprecated,
            replaced_by: replaced,
            arguments,
        })
    }
}

impl KeySpecification {
    fn parse(text: &'static str) -> Option<Self> {
        let mut parts = text.splitn(3, '/');
        let (flags, begin, find) = (parts.next()?, parts.next()?, parts.next()?);
        let flags = flags.split(',').filter_map(|flag| use_of::NAMES.iter().find(|(_, name)| *name == flag));
        let begin = match begin.split_at_checked(1)? {
            ("i", index) => Begin::Index(index.parse().ok()?),
            ("k", rest) => {
                let (word, from) = rest.split_once(':')?;
                Begin::Keyword(word, from.parse().ok()?)
            }
            _ => Begin::Unknown,
        };
        let (kind, rest) = find.split_at_checked(1)?;
        let mut numbers = rest.split(':').map(|number| number.parse::<isize>().unwrap_or(0));
        let mut next = || numbers.next().unwrap_or(0);
        let find = match kind {
            "r" => Find::Range { last: next(), step: next().unsigned_abs(), limit: next().unsigned_abs() },
            "n" => Find::Counted {
                number: next().unsigned_abs(),
                first: next().unsigned_abs(),
                step: next().unsigned_abs(),
            },
            _ => Find::Unknown,
        };
        Some(Self { flags: flags.fold(0, |flags, (flag, _)| flags | flag), begin, find })
    }

    /// Places of the keys among `args`. `None`: the specification does not say, or the arguments make no sense.
    pub(crate) fn places(&self, args: &[&[u8]]) -> Option<Vec<usize>> {
        let begin = match self.begin {
            Begin::Index(index) => index,
            Begin::Keyword(word, from) => {
                let is_it =
                    |place: &usize| args.get(*place).is_some_and(|arg| arg.eq_ignore_ascii_case(word.as_bytes()));
                let found = if from >= 0 {
                    (from.unsigned_abs()..args.len()).find(is_it)
                } else {
                    let last = args.len().checked_sub(from.unsigned_abs())?;
                    (1..=last).rev().find(is_it)
                };
                match found {
                    Some(place) => place + 1,
                    None => return Some(Vec::new()),
                }
            }
            Begin::Unknown => return None,
        };
        match self.find {
            Find::Range { last, step, limit } => {
                let end = if last >= 0 {
                    begin.checked_add(last.unsigned_abs())?
                } else {
                    let last = args.len().checked_add_signed(last)?;
                    // One of `limit` of the rest.
                    if limit > 1 { begin + (last + 1).checked_sub(begin)? / limit - 1 } else { last }
                };
                if end >= args.len() {
                    return None;
                }
                Some((begin..=end).step_by(step.max(1)).collect())
            }
            Find::Counted { number, first, step } => {
                let count =
                    args.get(begin + number).and_then(|text| std::str::from_utf8(text).ok()?.parse::<usize>().ok())?;
                let first = begin + first;
                let step = step.max(1);
                if count == 0 && number != 0 {
                    return Some(Vec::new());
                }
                let end = first.checked_add(count.checked_mul(step)?)?;
                (end <= args.len()).then(|| (first..end).step_by(step).collect())
            }
            Find::Unknown => None,
        }
    }
}

/// An argument of a command, for COMMAND DOCS.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Argument<'a> {
    pub(crate) kind: &'a str,
    pub(crate) name: &'a str,
    pub(crate) token: Option<&'a str>,
    /// The key specification that it belongs to.
    pub(crate) key: Option<i64>,
    pub(crate) since: &'a str,
    pub(crate) flags: Vec<&'a str>,
    pub(crate) arguments: Vec<Argument<'a>>,
}

/// The arguments of a line.
pub(crate) fn arguments(text: &str) -> Vec<Argument<'_>> {
    let mut rest = text;
    take_arguments(&mut rest)
}

/// Up to the end, or a parenthesis that closes.
fn take_arguments<'a>(rest: &mut &'a str) -> Vec<Argument<'a>> {
    let mut all = Vec::new();
    while !rest.is_empty() && !rest.starts_with(')') {
        let mut argument = Argument { kind: take_word(rest, &[':']), ..Argument::default() };
        *rest = rest.strip_prefix(':').unwrap_or(rest);
        // Names of old commands have a colon in them.
        argument.name = take_word(rest, &['=', '@', '^', '!', '(', ')', ' ']);
        if let Some(behind) = rest.strip_prefix("=\"") {
            let end = behind.find('"').unwrap_or(behind.len());
            argument.token = behind.get(..end);
            *rest = behind.get(end + 1..).unwrap_or_default();
        }
        if let Some(behind) = rest.strip_prefix('@') {
            *rest = behind;
            argument.key = take_word(rest, &['^', '!', '(', ')', ' ']).parse().ok();
        }
        if let Some(behind) = rest.strip_prefix('^') {
            *rest = behind;
            argument.since = take_word(rest, &['!', '(', ')', ' ']);
        }
        if let Some(behind) = rest.strip_prefix('!') {
            *rest = behind;
            argument.flags = take_word(rest, &['(', ')', ' ']).split(',').collect();
        }
        if let Some(behind) = rest.strip_prefix('(') {
            *rest = behind;
            argument.arguments = take_arguments(rest);
            *rest = rest.strip_prefix(')').unwrap_or_default();
        }
        *rest = rest.strip_prefix(' ').unwrap_or(rest);
        all.push(argument);
    }
    all
}

fn take_word<'a>(rest: &mut &'a str, ends: &[char]) -> &'a str {
    // At least one letter, so that a damaged line ends.
    let end = rest.char_indices().skip(1).find(|(_, letter)| ends.contains(letter)).map_or(rest.len(), |(at, _)| at);
    let (word, behind) = rest.split_at(end);
    *rest = behind;
    word
}

/// Keys of a command, with how they are used.
pub(crate) fn keys<'a>(row: &'static Row, args: &'a Args<'a>) -> Vec<(&'a [u8], u16)> {
    let specified = of(row.name).map(|fact| {
        let found = fact.keys.iter().filter(|keys| keys.flags & use_of::NOT_A_KEY == 0);
        found
            .map(|keys| {
                let places = keys.places(args)?;
                let flags = variable(row.name, args).unwrap_or(keys.flags);
                Some(places.into_iter().filter_map(move |place| Some((*args.get(place)?, flags))).collect::<Vec<_>>())
            })
            .collect::<Option<Vec<_>>>()
    });
    match row.name {
        "sort" => return sort_keys(args),
        "sort_ro" => return sort_keys(args.get(..2).unwrap_or(args)),
        _ => {}
    }
    match specified {
        Some(Some(keys)) => keys.into_iter().flatten().collect(),
        // What the row says, used in any way.
        _ => row.keys.of(args).into_iter().map(|key| (key, use_of::ANY)).collect(),
    }
}

/// Whether a specification that says where keys are does not fit the arguments.
pub(crate) fn are_keys_malformed(row: &Row, args: &Args<'_>) -> bool {
    let specified = of(row.name).map_or(&[][..], |fact| &fact.keys);
    specified
        .iter()
        .any(|keys| keys.begin != Begin::Unknown && keys.find != Find::Unknown && keys.places(args).is_none())
}

/// Commands whose arguments say how they use their key.
fn variable(name: &str, args: &Args<'_>) -> Option<u16> {
    match name {
        "set" => {
            let with_get = args.iter().skip(3).any(|arg| arg.eq_ignore_ascii_case(b"get"));
            Some(if with_get { use_of::ANY } else { use_of::OVERWRITE | use_of::UPDATE })
        }
        "bitfield" => {
            let is_change = |arg: &&[u8]| arg.eq_ignore_ascii_case(b"set") || arg.eq_ignore_ascii_case(b"incrby");
            let reads = use_of::READ_ONLY | use_of::ACCESS;
            Some(if args.iter().skip(2).any(is_change) { use_of::ANY } else { reads })
        }
        _ => None,
    }
}

/// SORT's destination may stand anywhere; of several, the last counts.
fn sort_keys<'a>(args: &'a Args<'a>) -> Vec<(&'a [u8], u16)> {
    let key = args.get(1).map(|key| (*key, use_of::READ_ONLY | use_of::ACCESS));
    let mut store = None;
    let mut place = 2;
    while let Some(option) = args.get(place) {
        place += match option.to_ascii_lowercase().as_slice() {
            b"store" => {
                store = args.get(place + 1).map(|key| (*key, use_of::OVERWRITE | use_of::UPDATE));
                2
            }
            b"limit" => 3,
            b"by" | b"get" => 2,
            _ => 1,
        };
    }
    key.into_iter().chain(store).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(name: &str, args: &[&str]) -> Vec<Option<Vec<usize>>> {
        let args: Vec<&[u8]> = args.iter().map(|arg| arg.as_bytes()).collect();
        of(name).unwrap().keys.iter().map(|keys| keys.places(&args)).collect()
    }

    #[test]
    fn every_line_is_understood() {
        let lines = include_str!("facts.txt").lines().count();
        assert_eq!(FACTS.len(), lines);
    }

    #[test]
    fn arguments_are_read_with_all_that_is_in_them() {
        let set = arguments(of("set").unwrap().arguments);
        let names: Vec<_> = set.iter().map(|argument| argument.name).collect();
        assert_eq!(names, ["key", "value", "condition", "get", "expiration"]);
        assert_eq!((set[0].key, set[3].token, set[3].since), (Some(0), Some("GET"), "6.2.0"));
        assert_eq!((set[4].flags.as_slice(), set[4].arguments.len()), (&["optional"][..], 5));
        for fact in FACTS.values() {
            arguments(fact.arguments);
        }
    }

    #[test]
    fn keys_stand_where_the_specifications_say() {
        assert_eq!(places("mset", &["mset", "a", "1", "b", "2"]), [Some(vec![1, 3])]);
        assert_eq!(places("eval", &["eval", "", "2", "a", "b", "c"]), [Some(vec![3, 4])]);
        assert_eq!(places("zunionstore", &["zunionstore", "to", "1", "a"]), [Some(vec![1]), Some(vec![3])]);
        assert_eq!(places("xread", &["xread", "count", "1", "streams", "a", "b", "0", "0"]), [Some(vec![4, 5])]);
        assert_eq!(places("blpop", &["blpop", "a", "b", "0"]), [Some(vec![1, 2])]);
        assert_eq!(places("eval", &["eval", "", "9", "a"]), [None]);
        assert_eq!(places("georadius", &["georadius", "a", "1", "2", "3", "km", "store", "b"])[1], Some(vec![7]));
    }
}
