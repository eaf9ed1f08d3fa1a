//! COMMAND: what the table says about itself.

use tercet_proto::resp::Encoder;

use super::{G, Session};
use crate::resp::error::Error;
use crate::resp::table::{self, Args, Handler, Keys, Outcome, Row, flag, session};

pub(super) const ROWS: &[Row] = &[
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

fn list(_: &mut Session, _: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let rows = table::all();
    out.array(rows.len());
    rows.iter().for_each(|row| out.bulk(row.name.as_bytes()));
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
    out.map(2 + usize::from(!subcommands.is_empty()));
    out.bulk(b"summary");
    out.bulk(row.summary.as_bytes());
    out.bulk(b"group");
    out.bulk(row.group.name().as_bytes());
    if !subcommands.is_empty() {
        out.bulk(b"subcommands");
        out.map(subcommands.len());
        for row in subcommands {
            out.bulk(row.name.as_bytes());
            document(row, out);
        }
    }
}

fn getkeys(_: &mut Session, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let inner = &args[2..];
    let row = table::resolve(inner.iter().copied()).ok_or(Error::text("ERR Invalid command specified"))?;
    if !row.accepts(inner.len()) {
        return Err(Error::text("ERR Invalid number of arguments specified for command"));
    }
    let keys = row.keys.of(inner);
    if keys.is_empty() {
        return Err(Error::text("ERR The command has no key arguments"));
    }
    out.array(keys.len());
    keys.iter().for_each(|key| out.bulk(key));
    Ok(())
}

fn chosen(names: &Args<'_>) -> Vec<Option<&'static Row>> {
    if names.is_empty() {
        table::all().into_iter().map(Some).collect()
    } else {
        names.iter().map(|name| table::find_full(name)).collect()
    }
}

/// Name, arity, flags, first key, last key, step, ACL categories, tips, key specifications, subcommands.
fn describe(row: &Row, out: &mut Encoder<'_>) {
    let mut flags = vec![];
    match row.handler {
        Handler::Write(_) | Handler::Nested(_) => flags.push("write"),
        Handler::Read(_) if row.keys != Keys::None => flags.push("readonly"),
        Handler::Read(_)
        | Handler::Session(_)
        | Handler::Survey(_)
        | Handler::Transactional(_)
        | Handler::Container => {}
    }
    let named = [
        (flag::DENY_OOM, "denyoom"),
        (flag::ADMIN, "admin"),
        (flag::LOADING, "loading"),
        (flag::LOADING, "stale"),
        (flag::FAST, "fast"),
        (flag::BLOCKING, "blocking"),
        (flag::NO_AUTH, "no_auth"),
        (flag::NOT_IN_MULTI, "no_multi"),
        (flag::NO_SCRIPT, "noscript"),
        (flag::PUBSUB, "pubsub"),
        (flag::SKIP_MONITOR, "skip_monitor"),
        (flag::MAY_REPLICATE, "may_replicate"),
    ];
    flags.extend(named.iter().filter(|(bit, _)| row.has(*bit)).map(|(_, name)| *name));
    if matches!(row.keys, Keys::Counted(..)) {
        flags.push("movablekeys");
    }
    let (first, last, step) = match row.keys {
        Keys::Range(first, last, step) => (first as i64, last as i64, step as i64),
        Keys::Counted(_, also) => (i64::from(also != 0), i64::from(also != 0), i64::from(also != 0)),
        Keys::None | Keys::Space => (0, 0, 0),
        Keys::Any => (1, 1, 1),
    };
    let categories = [
        format!("@{}", row.group.name().replace('-', "")),
        if row.is_write() { "@write".into() } else { "@read".into() },
        if row.has(flag::FAST) { "@fast".into() } else { "@slow".to_owned() },
    ];
    out.array(10);
    out.bulk(row.name.as_bytes());
    out.integer(i64::from(row.arity));
    out.set(flags.len());
    flags.iter().for_each(|flag| out.simple(flag));
    out.integer(first);
    out.integer(last);
    out.integer(step);
    out.set(categories.len());
    categories.iter().for_each(|category| out.simple(category));
    out.array(0);
    out.array(0);
    out.array(row.subcommands().len());
    row.subcommands().iter().for_each(|row| describe(row, out));
}
