//! OBJECT: how a value is kept.

use tercet_proto::resp::Encoder;

use super::number;
use crate::engine::View;
use crate::keyspace::Entry;
use crate::keyspace::value::{Limits, Value};
use crate::resp::error::Error;
use crate::resp::table::{Args, Outcome};

/// What Redis answers for the integers that it keeps once and shares.
const SHARED: i64 = i32::MAX as i64;
/// Integers from 0 to here are shared in Redis.
const SHARED_END: i64 = 10_000;

const HELP: &[&str] = &[
    "OBJECT <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    "ENCODING <key>",
    "    Return the kind of internal representation used in order to store the value",
    "    associated with a <key>.",
    "FREQ <key>",
    "    Return the access frequency index of the <key>. The returned integer is",
    "    proportional to the logarithm of the recent access frequency of the key.",
    "IDLETIME <key>",
    "    Return the idle time of the <key>, that is the approximated number of",
    "    seconds elapsed since the last access to the key.",
    "REFCOUNT <key>",
    "    Return the number of references of the value associated with the specified",
    "    <key>.",
    "HELP",
    "    Print this help.",
];

pub(super) fn object(view: &View<'_>, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let name = args[1].to_ascii_lowercase();
    let reply: fn(&Entry, &mut Encoder<'_>) -> Outcome = match name.as_slice() {
        b"help" if args.len() == 2 => return help(out),
        b"encoding" => encoding,
        b"refcount" => refcount,
        b"idletime" => idletime,
        b"freq" => freq,
        b"help" => return Err(Error::Arity("object|help".into())),
        _ => {
            let subcommand = String::from_utf8_lossy(number::c_text(args[1])).into_owned();
            return Err(Error::UnknownSubcommand { command: "OBJECT", subcommand });
        }
    };
    if args.len() != 3 {
        return Err(Error::Arity(format!("object|{}", String::from_utf8_lossy(&name)).into()));
    }
    match view.peek(args[2]) {
        None => out.null(),
        Some(entry) => reply(entry, out)?,
    }
    Ok(())
}

fn help(out: &mut Encoder<'_>) -> Outcome {
    out.array(HELP.len());
    HELP.iter().for_each(|line| out.simple(line));
    Ok(())
}

fn encoding(entry: &Entry, out: &mut Encoder<'_>) -> Outcome {
    out.bulk(entry.value.encoding_name(&Limits::default()).as_bytes());
    Ok(())
}

fn refcount(entry: &Entry, out: &mut Encoder<'_>) -> Outcome {
    let is_shared = matches!(entry.value, Value::Integer(number) if (0..SHARED_END).contains(&number));
    out.integer(if is_shared { SHARED } else { 1 });
    Ok(())
}

/// Accesses are not timed as long as nothing is evicted: every key was used just now.
fn idletime(_: &Entry, out: &mut Encoder<'_>) -> Outcome {
    out.integer(0);
    Ok(())
}

fn freq(_: &Entry, _: &mut Encoder<'_>) -> Outcome {
    Err(Error::text(
        "ERR An LFU maxmemory policy is not selected, access frequency not tracked. Please note that when switching \
         between policies at runtime LRU and LFU data will take some time to adjust.",
    ))
}
