//! DEBUG: what test suites and people who look for faults ask for.

use tercet_proto::resp::Encoder;

use super::G;
use crate::glob;
use crate::resp::error::Error;
use crate::resp::session::Session;
use crate::resp::table::flag::{ADMIN, LOADING};
use crate::resp::table::{Args, Outcome, Row, session};
use crate::resp::waiting::Wanted;

const USUAL: u32 = ADMIN | LOADING;

pub(super) const ROWS: &[Row] = &[
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
];

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
