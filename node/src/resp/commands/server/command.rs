//! COMMAND: what the table says about itself, and what `facts` knows beyond it.

use tercet_proto::resp::Encoder;

use super::{G, Session};
use crate::glob;
use crate::resp::error::Error;
use crate::resp::facts::{self, Argument, Begin, Fact, Find, use_of};
use crate::resp::table::{self, Args, Command, Keys, Kind, Outcome, Row, flag, session};

pub(super) const ROWS: &[Command] = &[
    session("command|count", 2, flag::LOADING, G, "Returns a count of commands.", count),
    session("command|list", -2, flag::LOADING, G, "Returns a list of command names.", list),
    session("command|info", -2, flag::LOADING, G, "Returns information about one, multiple or all commands.", info),
    session(
        "command|docs",
        -2,
        flag::LOADING,
        G,
        "Returns documentary information about one, multiple or all commands.",
        docs,
    ),
    session("command|getkeys", -3, flag::LOADING, G, "Extracts the key names from an arbitrary command.", getkeys),
    session(
        "command|getkeysandflags",
        -3,
        flag::LOADING,
        G,
        "Extracts the key names and access flags from an arbitrary command.",
        getkeysandflags,
    ),
];

pub(super) fn command(_: &mut Session, _: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let rows = table::all();
    out.array(rows.len());
    rows.into_iter().for_each(|row| describe(row, out));
    Ok(())
}

fn count(_: &mut Session, _: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    out.integer(table::all().len() as i64);
    Ok(())
}

fn list(_: &mut Session, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let every = || table::all().into_iter().flat_map(|row| std::iter::once(row).chain(row.subcommands()));
    let names: Vec<&str> = match &args[2..] {
        [] => every().map(|row| row.name).collect(),
        [filter, by, value] if filter.eq_ignore_ascii_case(b"filterby") => {
            if by.eq_ignore_ascii_case(b"module") {
                Vec::new()
            } else if by.eq_ignore_ascii_case(b"aclcat") {
                let category = String::from_utf8_lossy(value).to_ascii_lowercase();
                every().filter(|row| categories(row).contains(&category.as_str())).map(|row| row.name).collect()
            } else if by.eq_ignore_ascii_case(b"pattern") {
                let pattern = value.to_ascii_lowercase();
                every().filter(|row| glob::matches(&pattern, row.name.as_bytes())).map(|row| row.name).collect()
            } else {
                return Err(Error::Syntax);
            }
        }
        _ => return Err(Error::Syntax),
    };
    out.array(names.len());
    names.iter().for_each(|name| out.bulk(name.as_bytes()));
    Ok(())
}

fn info(_: &mut Session, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let rows = chosen(&args[2..]);
    out.array(rows.len());
    for row in rows {
        match row {
            None => out.null_array(),
            Some(row) => describe(row, out),
        }
    }
    Ok(())
}

fn docs(_: &mut Session, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let rows: Vec<_> = chosen(&args[2..]).into_iter().flatten().collect();
    out.map(rows.len());
    for row in rows {
        out.bulk(row.name.as_bytes());
        document(row, out);
    }
    Ok(())
}

fn document(row: &Row, out: &mut Encoder<'_>) {
    let subcommands = row.subcommands();
    let fact = facts::of(row.name);
    let arguments = fact.map_or(Vec::new(), |fact| facts::arguments(fact.arguments));
    let mut texts = vec![("summary", row.summary)];
    if let Some(fact) = fact {
        texts.extend([
            ("since", fact.since),
            ("group", fact.group),
            ("complexity", fact.complexity),
            ("deprecated_since", fact.deprecated_since),
            ("replaced_by", fact.replaced_by),
        ]);
    } else {
        texts.push(("group", row.group.name()));
    }
    texts.retain(|(_, text)| !text.is_empty());
    let doc_flags = fact.map_or(&[][..], |fact| &fact.doc_flags);
    let parts = texts.len()
        + usize::from(!doc_flags.is_empty())
        + usize::from(!arguments.is_empty())
        + usize::from(!subcommands.is_empty());
    out.map(parts);
    for (name, text) in texts {
        out.bulk(name.as_bytes());
        out.bulk(text.as_bytes());
    }
    if !doc_flags.is_empty() {
        out.bulk(b"doc_flags");
        out.set(doc_flags.len());
        doc_flags.iter().for_each(|flag| out.simple(flag));
    }
    if !arguments.is_empty() {
        out.bulk(b"arguments");
        out.array(arguments.len());
        arguments.iter().for_each(|argument| document_argument(argument, out));
    }
    if !subcommands.is_empty() {
        out.bulk(b"subcommands");
        out.map(subcommands.len());
        for row in subcommands {
            out.bulk(row.name.as_bytes());
            document(row, out);
        }
    }
}

fn document_argument(argument: &Argument<'_>, out: &mut Encoder<'_>) {
    let Argument { kind, name, token, key, since, flags, arguments } = argument;
    let parts = 2
        + usize::from(token.is_some())
        + usize::from(key.is_some())
        + usize::from(!since.is_empty())
        + usize::from(!flags.is_empty())
        + usize::from(!arguments.is_empty());
    out.map(parts);
    let mut text = |name: &str, text: &str| {
        out.bulk(name.as_bytes());
        out.bulk(text.as_bytes());
    };
    text("name", name);
    text("type", kind);
    if let Some(token) = token {
        text("token", token);
    }
    if !since.is_empty() {
        text("since", since);
    }
    if let Some(key) = key {
        out.bulk(b"key_spec_index");
        out.integer(*key);
    }
    if !flags.is_empty() {
        out.bulk(b"flags");
        out.set(flags.len());
        flags.iter().for_each(|flag| out.simple(flag));
    }
    if !arguments.is_empty() {
        out.bulk(b"arguments");
        out.array(arguments.len());
        arguments.iter().for_each(|argument| document_argument(argument, out));
    }
}

/// The command within COMMAND GETKEYS, and its keys.
fn keys_of<'a>(args: &'a Args<'a>) -> Result<Vec<(&'a [u8], u16)>, Error> {
    let inner = &args[2..];
    let row = table::resolve(inner.iter().copied()).ok_or(Error::text("ERR Invalid command specified"))?;
    if row.keys == Keys::None && facts::of(row.name).is_none_or(|fact| fact.keys.is_empty()) {
        return Err(Error::text("ERR The command has no key arguments"));
    }
    if !row.accepts(inner.len()) {
        return Err(Error::text("ERR Invalid number of arguments specified for command"));
    }
    let may_be_none = facts::of(row.name).is_some_and(|fact| fact.flags.contains(&"no_mandatory_keys"));
    let keys = if facts::are_keys_malformed(row, inner) { Vec::new() } else { facts::keys(row, inner) };
    if keys.is_empty() && !may_be_none {
        return Err(Error::text("ERR Invalid arguments specified for command"));
    }
    Ok(keys)
}

fn getkeys(_: &mut Session, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let keys = keys_of(args)?;
    out.array(keys.len());
    keys.iter().for_each(|(key, _)| out.bulk(key));
    Ok(())
}

fn getkeysandflags(_: &mut Session, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let keys = keys_of(args)?;
    out.array(keys.len());
    for (key, flags) in keys {
        out.array(2);
        out.bulk(key);
        put_uses(flags, out);
    }
    Ok(())
}

fn put_uses(flags: u16, out: &mut Encoder<'_>) {
    let names: Vec<_> = use_of::NAMES.iter().filter(|(flag, _)| flags & flag != 0).collect();
    out.set(names.len());
    names.iter().for_each(|(_, name)| out.simple(name));
}

fn chosen(names: &Args<'_>) -> Vec<Option<&'static Row>> {
    if names.is_empty() {
        table::all().into_iter().map(Some).collect()
    } else {
        names.iter().map(|name| table::find_full(name)).collect()
    }
}

/// The categories of a command.
fn categories(row: &Row) -> Vec<&'static str> {
    match facts::of(row.name) {
        Some(fact) => fact.categories.clone(),
        None => {
            let mut categories = vec![if row.has(flag::FAST) { "fast" } else { "slow" }];
            if row.is_write() {
                categories.push("write");
            }
            if row.has(flag::ADMIN) {
                categories.extend(["admin", "dangerous"]);
            }
            categories
        }
    }
}

/// The flags of a command that no fact is known of.
fn derived_flags(row: &Row) -> Vec<&'static str> {
    let mut flags = vec![];
    match row.kind {
        Kind::Write | Kind::Nested => flags.push("write"),
        Kind::Read if row.keys != Keys::None => flags.push("readonly"),
        _ => {}
    }
    let named = [
        (flag::DENY_OOM, "denyoom"),
        (flag::ADMIN, "admin"),
        (flag::PUBSUB, "pubsub"),
        (flag::NO_SCRIPT, "noscript"),
        (flag::BLOCKING, "blocking"),
        (flag::LOADING, "loading"),
        (flag::LOADING, "stale"),
        (flag::SKIP_MONITOR, "skip_monitor"),
        (flag::FAST, "fast"),
        (flag::NO_AUTH, "no_auth"),
        (flag::MAY_REPLICATE, "may_replicate"),
        (flag::NOT_IN_MULTI, "no_multi"),
    ];
    flags.extend(named.iter().filter(|(bit, _)| row.has(*bit)).map(|(_, name)| *name));
    if matches!(
        row.keys,
        Keys::Counted(..) | Keys::CountedPairs(_) | Keys::Streams | Keys::Migrate | Keys::Stored { .. }
    ) {
        flags.push("movablekeys");
    }
    flags
}

fn derived_range(row: &Row) -> [i64; 3] {
    match row.keys {
        Keys::Range(first, last, step) => [first as i64, last as i64, step as i64],
        Keys::Counted(_, also) => [i64::from(also != 0); 3],
        Keys::Any => [1, 1, 1],
        Keys::Stored { source, .. } => [source as i64, source as i64, 1],
        _ => [0, 0, 0],
    }
}

/// Name, arity, flags, first key, last key, step, ACL categories, tips, key specifications, subcommands.
fn describe(row: &Row, out: &mut Encoder<'_>) {
    let fact = facts::of(row.name);
    let flags = fact.map_or_else(|| derived_flags(row), |fact| fact.flags.clone());
    out.array(10);
    out.bulk(row.name.as_bytes());
    out.integer(i64::from(row.arity));
    out.set(flags.len());
    flags.iter().for_each(|flag| out.simple(flag));
    for number in fact.map_or_else(|| derived_range(row), |fact| fact.range) {
        out.integer(number);
    }
    let categories = categories(row);
    out.set(categories.len());
    categories.iter().for_each(|category| out.simple(&format!("@{category}")));
    let tips = fact.map_or(&[][..], |fact| &fact.tips);
    out.set(tips.len());
    tips.iter().for_each(|tip| out.bulk(tip.as_bytes()));
    put_specifications(fact, out);
    out.set(row.subcommands().len());
    row.subcommands().iter().for_each(|row| describe(row, out));
}

fn put_specifications(fact: Option<&Fact>, out: &mut Encoder<'_>) {
    let all = fact.map_or(&[][..], |fact| &fact.keys);
    out.set(all.len());
    for keys in all {
        out.map(3);
        out.bulk(b"flags");
        put_uses(keys.flags, out);
        out.bulk(b"begin_search");
        out.map(2);
        match keys.begin {
            Begin::Index(index) => {
                kind("index", 1, out);
                number("index", index as i64, out);
            }
            Begin::Keyword(word, from) => {
                kind("keyword", 2, out);
                out.bulk(b"keyword");
                out.bulk(word.as_bytes());
                number("startfrom", from as i64, out);
            }
            Begin::Unknown => kind("unknown", 0, out),
        }
        out.bulk(b"find_keys");
        out.map(2);
        match keys.find {
            Find::Range { last, step, limit } => {
                kind("range", 3, out);
                number("lastkey", last as i64, out);
                number("keystep", step as i64, out);
                number("limit", limit as i64, out);
            }
            Find::Counted { number: count, first, step } => {
                kind("keynum", 3, out);
                number("keynumidx", count as i64, out);
                number("firstkey", first as i64, out);
                number("keystep", step as i64, out);
            }
            Find::Unknown => kind("unknown", 0, out),
        }
    }
}

/// `type` with a name, and the beginning of `spec`, a map of so many pairs.
fn kind(name: &str, pairs: usize, out: &mut Encoder<'_>) {
    out.bulk(b"type");
    out.bulk(name.as_bytes());
    out.bulk(b"spec");
    out.map(pairs);
}

fn number(name: &str, number: i64, out: &mut Encoder<'_>) {
    out.bulk(name.as_bytes());
    out.integer(number);
}
