//! COMMAND: what the table says about itself.

use tercet_proto::resp::Encoder;

use super::{Session, unknown};
use crate::resp::error::Error;
use crate::resp::table::{self, Args, Handler, Keys, Outcome, Row, flag};

pub(super) fn command(_: &mut Session, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let Some(subcommand) = args.get(1) else {
        let rows = table::all();
        out.array(rows.len());
        rows.into_iter().for_each(|row| describe(row, out));
        return Ok(());
    };
    match subcommand.to_ascii_lowercase().as_slice() {
        b"count" => out.integer(table::all().len() as i64),
        b"list" => {
            let rows = table::all();
            out.array(rows.len());
            rows.iter().for_each(|row| out.bulk(row.name.as_bytes()));
        }
        b"info" => {
            let rows = chosen(&args[2..]);
            out.array(rows.len());
            for row in rows {
                match row {
                    None => out.null_array(),
                    Some(row) => describe(row, out),
                }
            }
        }
        b"docs" => {
            let rows: Vec<_> = chosen(&args[2..]).into_iter().flatten().collect();
            out.map(rows.len());
            for row in rows {
                out.bulk(row.name.as_bytes());
                out.map(2);
                out.bulk(b"summary");
                out.bulk(row.summary.as_bytes());
                out.bulk(b"group");
                out.bulk(row.group.name().as_bytes());
            }
        }
        b"getkeys" => {
            let inner = args.get(2..).filter(|inner| !inner.is_empty());
            let inner = inner.ok_or(Error::Arity("command|getkeys".into()))?;
            let row = table::find(inner[0]).ok_or(Error::text("ERR Invalid command specified"))?;
            if !row.accepts(inner.len()) {
                return Err(Error::text("ERR Invalid number of arguments specified for command"));
            }
            let keys = row.keys.of(inner);
            if keys.is_empty() {
                return Err(Error::text("ERR The command has no key arguments"));
            }
            out.array(keys.len());
            keys.iter().for_each(|key| out.bulk(key));
        }
        _ => return Err(unknown("COMMAND", args)),
    }
    Ok(())
}

fn chosen(names: &Args<'_>) -> Vec<Option<&'static Row>> {
    if names.is_empty() {
        table::all().into_iter().map(Some).collect()
    } else {
        names.iter().map(|name| table::find(name)).collect()
    }
}

/// Name, arity, flags, first key, last key, step, ACL categories, tips, key specifications, subcommands.
fn describe(row: &Row, out: &mut Encoder<'_>) {
    let mut flags = vec![];
    match row.handler {
        Handler::Write(_) => flags.push("write"),
        Handler::Read(_) if row.keys != Keys::None => flags.push("readonly"),
        Handler::Read(_) | Handler::Session(_) | Handler::Transactional(_) => {}
    }
    let named = [
        (flag::DENY_OOM, "denyoom"),
        (flag::ADMIN, "admin"),
        (flag::LOADING, "loading"),
        (flag::LOADING, "stale"),
        (flag::FAST, "fast"),
        (flag::BLOCKING, "blocking"),
        (flag::NO_AUTH, "no_auth"),
        (flag::NO_MULTI, "no_multi"),
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
    out.array(0);
}
