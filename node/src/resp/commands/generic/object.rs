//! OBJECT: how a value is kept.

use tercet_proto::resp::Encoder;

use super::G;
use crate::engine::View;
use crate::keyspace::Entry;
use crate::keyspace::access::{Access, Rule};
use crate::keyspace::value::ValueRef;
use crate::resp::error::Error;
use crate::resp::session::Session;
use crate::resp::table::flag::LOADING;
use crate::resp::table::{Args, Command, Keys, Outcome, read, session};

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

pub(super) const ROWS: &[Command] = &[
    row("object|encoding", "Returns the internal encoding of a Redis object.", encoding),
    row("object|refcount", "Returns the reference count of a value of a key.", refcount),
    row("object|idletime", "Returns the time since the last access to a Redis object.", idletime),
    row("object|freq", "Returns the logarithmic access frequency counter of a Redis object.", freq),
    session("object|help", 2, LOADING, G, "Returns helpful text about the different subcommands.", help),
];

type Function = fn(&View<'_>, &Args<'_>, &mut Encoder<'_>) -> Outcome;

const fn row(name: &'static str, summary: &'static str, function: Function) -> Command {
    read(name, 3, 0, Keys::Range(2, 2, 1), G, summary, function)
}

/// Answers about the key, or nil if there is none.
fn about(
    view: &View<'_>,
    args: &Args<'_>,
    out: &mut Encoder<'_>,
    reply: impl Fn(&Access, Entry<'_>, &mut Encoder<'_>) -> Outcome,
) -> Outcome {
    match view.peek(args[2]) {
        None => out.null(),
        Some(entry) => reply(view.keyspace().access(), entry, out)?,
    }
    Ok(())
}

fn help(_: &mut Session, _: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    out.array(HELP.len());
    HELP.iter().for_each(|line| out.simple(line));
    Ok(())
}

fn encoding(view: &View<'_>, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let limits = view.keyspace().thresholds().sizes().limits;
    about(view, args, out, |_, entry, out| {
        // A text that was changed in place is raw in Redis, whatever its length.
        let name = match entry.is_changed_text() {
            true => "raw",
            false => entry.value().encoding_name(&limits),
        };
        out.bulk(name.as_bytes());
        Ok(())
    })
}

fn refcount(view: &View<'_>, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    about(view, args, out, |_, entry, out| {
        let is_shared = matches!(entry.value(), ValueRef::Integer(number) if (0..SHARED_END).contains(&number));
        out.integer(if is_shared { SHARED } else { 1 });
        Ok(())
    })
}

fn idletime(view: &View<'_>, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    about(view, args, out, |access, entry, out| {
        match access.rule() {
            Rule::Clock => out.integer(access.idle_seconds(entry) as i64),
            Rule::Queue => {
                return Err(Error::text("ERR The policy allkeys-s3fifo is selected, idle time not tracked."));
            }
            Rule::Counter => {
                return Err(Error::text(
                    "ERR An LFU maxmemory policy is selected, idle time not tracked. Please note that when switching \
                     between policies at runtime LRU and LFU data will take some time to adjust.",
                ));
            }
        }
        Ok(())
    })
}

fn freq(view: &View<'_>, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    about(view, args, out, |access, entry, out| {
        if access.rule() != Rule::Counter {
            return Err(Error::text(
                "ERR An LFU maxmemory policy is not selected, access frequency not tracked. Please note that when \
                 switching between policies at runtime LRU and LFU data will take some time to adjust.",
            ));
        }
        out.integer(access.frequency(entry).into());
        Ok(())
    })
}
