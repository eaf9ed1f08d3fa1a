//! MEMORY: how much memory a key takes, and the server.

use tercet_proto::resp::Encoder;

use super::G;
use crate::engine::View;
use crate::resp::commands::{help, number};
use crate::resp::error::Error;
use crate::resp::table::{Args, Keys, Outcome, Row, read, session};

pub(super) const ROWS: &[Row] = &[
    read("memory|usage", -3, 0, Keys::Range(2, 2, 1), G, "Estimates the memory usage of a key.", usage),
    session("memory|doctor", 2, 0, G, "Outputs a memory problems report.", |_, _, out| {
        out.verbatim("txt", "Hi Sam, I can't find any memory issue in your instance.");
        Ok(())
    }),
    session("memory|purge", 2, 0, G, "Asks the allocator to release memory.", |_, _, out| {
        crate::memory::purge();
        out.ok();
        Ok(())
    }),
    session("memory|help", 2, 0, G, "Returns helpful text about the different subcommands.", |_, _, out| {
        help(out, HELP);
        Ok(())
    }),
];

const HELP: &[&str] = &[
    "MEMORY <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    "DOCTOR",
    "    Return memory problems reports.",
    "PURGE",
    "    Attempt to purge dirty pages for reclamation by the allocator.",
    "USAGE <key> [SAMPLES <count>]",
    "    Return memory in bytes used by <key> and its value. Nested values are",
    "    sampled up to <count> times (default: 5, 0 means sample all).",
    "HELP",
    "    Print this help.",
];

/// Elements that are looked at if nothing else was asked for.
const SAMPLES: usize = 5;

fn usage(view: &View<'_>, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let mut samples = SAMPLES;
    let mut options = args[3..].iter();
    while let Some(option) = options.next() {
        let count = options.next().filter(|_| option.eq_ignore_ascii_case(b"samples")).ok_or(Error::Syntax)?;
        samples = usize::try_from(number::integer(count)?).map_err(|_| Error::Syntax)?;
    }
    match view.peek(args[2]) {
        None => out.null(),
        Some(entry) => {
            out.integer(entry.memory_usage(samples) as i64);
        }
    }
    Ok(())
}
