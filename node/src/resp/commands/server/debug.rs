//! DEBUG: what test suites and people who look for faults ask for, where `enable-debug-command` lets them. What ends the
//! process in Redis is not here.

mod digest;
mod keys;

use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;

use tercet_proto::resp::Encoder;

use super::G;
use crate::glob;
use crate::resp::error::Error;
use crate::resp::session::Session;
use crate::resp::table::flag::{ADMIN, LOADING, NO_SCRIPT, NOT_IN_MULTI, PROTECTED};
use crate::resp::table::{Args, Command, Keys, Outcome, read, session, survey};
use crate::resp::waiting::Wanted;

const USUAL: u32 = ADMIN | LOADING | NO_SCRIPT | PROTECTED;
/// Locks shards by itself.
const ALONE: u32 = USUAL | NOT_IN_MULTI;
const KEY: Keys = Keys::Range(2, 2, 1);

pub(super) const ROWS: &[Command] = &[
    session("debug|sleep", 3, USUAL, G, "Lets this client wait, in seconds.", sleep),
    session("debug|protocol", 3, USUAL, G, "Replies with a value of a type.", protocol),
    session("debug|stringmatch-len", 4, USUAL, G, "Matches a long string with a pattern.", |_, args, out| {
        // Redis bounds neither; here a pattern is matched in bounded time.
        let length = crate::resp::commands::number::integer(args[2])?.clamp(0, 1 << 20) as usize;
        _ = glob::matches(args[3], &vec![b'a'; length]);
        out.ok();
        Ok(())
    }),
    session("debug|log", 3, USUAL, G, "Writes a line into the server's log.", |_, args, out| {
        tracing::info!(text = String::from_utf8_lossy(args[2]).as_ref(), "DEBUG LOG");
        out.ok();
        Ok(())
    }),
    read("debug|object", -3, USUAL, KEY, G, "Shows how the value of a key is kept.", keys::object),
    read("debug|sdslen", 3, USUAL, KEY, G, "Shows the lengths of a key and its text.", keys::sds_length),
    read("debug|htstats-key", -3, USUAL, KEY, G, "Shows the table of a large value.", keys::table_of_key),
    survey("debug|htstats", -3, USUAL, G, "Shows the tables of a database.", keys::table),
    survey("debug|digest", 2, USUAL, G, "Returns a digest of the whole data set.", digest::digest),
    read(
        "debug|digest-value",
        -3,
        USUAL,
        Keys::Range(2, -1, 1),
        G,
        "Returns a digest of each value.",
        digest::digest_value,
    ),
    session("debug|reload", -2, ALONE, G, "Writes every value into bytes and reads it back.", keys::reload),
    session("debug|loadaof", 2, ALONE, G, "Writes every value into bytes and reads it back.", keys::reload),
    session("debug|populate", -3, ALONE, G, "Makes so many keys of strings.", keys::populate),
    session(
        "debug|set-active-expire",
        3,
        USUAL,
        G,
        "Stops or starts the deletion of keys that are due.",
        |session, args, out| switch(&session.node.switches.is_expiry_paused, args[2] == b"0", out),
    ),
    session(
        "debug|pause-cron",
        3,
        USUAL,
        G,
        "Stops or starts the deletion of keys that are due.",
        |session, args, out| switch(&session.node.switches.is_expiry_paused, args[2] == b"1", out),
    ),
    session("debug|set-disable-deny-scripts", 3, USUAL, G, "Lets scripts call every command.", |session, args, out| {
        switch(&session.node.switches.are_scripts_free, args[2] == b"1", out)
    }),
    session("debug|error", 3, USUAL, G, "Replies with this error.", |_, args, out| {
        out.error_bytes(args[2]);
        Ok(())
    }),
    session("debug|structsize", 2, USUAL, G, "Shows the sizes of structures.", |_, _, out| {
        out.bulk(format!("bits:{} ", usize::BITS).as_bytes());
        Ok(())
    }),
    session("debug|change-repl-id", 2, USUAL, G, "Accepted; the id of a history is that of the process.", accept),
    session("debug|quicklist-packed-threshold", 3, USUAL, G, "Accepted; lists have no such bound.", accept),
    session("debug|replybuffer", 4, USUAL, G, "Accepted; output has no buffers of a fixed size.", accept),
    session("debug|dict-resizing", 3, USUAL, G, "Accepted; tables grow and shrink as they need to.", accept),
    session("debug|client-enforce-reply-list", 3, USUAL, G, "Accepted; replies are always kept as a list.", accept),
    session(
        "debug|config-rewrite-force-all",
        2,
        USUAL,
        G,
        "Writes all settings to the file.",
        super::config::write_file,
    ),
];

fn switch(switch: &AtomicBool, is_on: bool, out: &mut Encoder<'_>) -> Outcome {
    switch.store(is_on, Relaxed);
    out.ok();
    Ok(())
}

fn accept(_: &mut Session, _: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    out.ok();
    Ok(())
}

/// Only the client that asks sleeps: the others of its thread are served.
fn sleep(session: &mut Session, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let seconds = std::str::from_utf8(args[2]).ok().and_then(|text| text.parse::<f64>().ok());
    let seconds = seconds.filter(|seconds| seconds.is_finite() && *seconds >= 0.0).ok_or(Error::NotFloat)?;
    let ms = (seconds * 1000.0).min(3_600_000.0).ceil() as u64;
    session.wait_for(Wanted::Time, ms.max(1), out);
    Ok(())
}

fn protocol(_: &mut Session, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let is_third = out.version() == tercet_proto::resp::Version::Resp3;
    match args[2].to_ascii_lowercase().as_slice() {
        b"string" => out.bulk(b"Hello World"),
        b"integer" => out.integer(12345),
        b"double" => out.double(3141.0 / 1000.0),
        b"null" => out.null(),
        b"array" => {
            out.array(3);
            (0..3).for_each(|number| out.integer(number));
        }
        b"set" => {
            out.set(3);
            (0..3).for_each(|number| out.integer(number));
        }
        b"map" => {
            out.map(3);
            for number in 0..3 {
                out.integer(number);
                out.boolean(number == 1);
            }
        }
        b"attrib" => {
            if is_third {
                out.raw(b"|1\r\n$14\r\nkey-popularity\r\n*2\r\n$7\r\nkey:123\r\n:90\r\n");
            }
            out.bulk(b"Some real reply following the attribute");
        }
        b"push" => {
            if !is_third {
                return Err(Error::text("ERR RESP2 is not supported by this command"));
            }
            out.push(2);
            out.bulk(b"server-cpu-usage");
            out.integer(42);
        }
        b"bignum" if is_third => out.raw(b"(1234567999999999999999999999999999999\r\n"),
        b"bignum" => out.bulk(b"1234567999999999999999999999999999999"),
        b"verbatim" => out.verbatim("txt", "This is a verbatim\nstring"),
        b"true" => out.boolean(true),
        b"false" => out.boolean(false),
        _ => {
            return Err(Error::text(
                "ERR Wrong protocol type name. Please use one of the following: \
                 string|integer|double|bignum|null|array|set|map|attrib|push|verbatim|true|false",
            ));
        }
    }
    Ok(())
}
