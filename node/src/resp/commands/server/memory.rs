//! MEMORY: how much memory a key takes, and the server.

use tercet_proto::resp::Encoder;

use super::G;
use crate::engine::View;
use crate::limits;
use crate::memory;
use crate::resp::commands::{help, number};
use crate::resp::error::Error;
use crate::resp::session::Session;
use crate::resp::table::{Args, Command, Keys, Outcome, read, session, survey};

pub(super) const ROWS: &[Command] = &[
    read("memory|usage", -3, 0, Keys::Range(2, 2, 1), G, "Estimates the memory usage of a key.", usage),
    session("memory|doctor", 2, 0, G, "Outputs a memory problems report.", |_, _, out| {
        out.verbatim("txt", "Hi Sam, I can't find any memory issue in your instance.");
        Ok(())
    }),
    survey("memory|stats", 2, 0, G, "Returns details about memory usage.", stats),
    session("memory|purge", 2, 0, G, "Asks the allocator to release memory.", |_, _, out| {
        memory::purge();
        out.ok();
        Ok(())
    }),
    session("memory|malloc-stats", 2, 0, G, "Returns the allocator statistics.", |_, _, out| {
        out.verbatim("txt", &memory::report());
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
    "MALLOC-STATS",
    "    Return internal statistics report from the memory allocator.",
    "PURGE",
    "    Attempt to purge dirty pages for reclamation by the allocator.",
    "STATS",
    "    Return information about the memory usage of the server.",
    "USAGE <key> [SAMPLES <count>]",
    "    Return memory in bytes used by <key> and its value. Nested values are",
    "    sampled up to <count> times (default: 5, 0 means sample all).",
    "HELP",
    "    Print this help.",
];

enum Number {
    Whole(u64),
    Part(f64),
}

/// Keys of a database, and bytes of its tables.
#[derive(Clone, Copy, Default)]
struct Database {
    keys: usize,
    table_bytes: usize,
}

fn stats(session: &mut Session, view: &View<'_>, _: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let node = &session.node;
    let mut counts = [Database::default(); limits::DATABASES as usize];
    let mut dead = 0;
    view.each_shard(|shard| {
        for (database, held) in shard.databases() {
            let (bytes, free) = held.bytes();
            dead += free;
            if let Some(count) = counts.get_mut(usize::from(database)) {
                count.keys += held.len();
                count.table_bytes += bytes;
            }
        }
    });
    let (total, (active, resident), process) = (memory::allocated(), memory::pages(), memory::resident());
    let (start, journal) = (memory::at_start(), node.engine.journal.retained_bytes() as u64);
    let databases: Vec<_> = counts.into_iter().enumerate().filter(|(_, count)| count.keys > 0).collect();
    let keys: usize = databases.iter().map(|(_, count)| count.keys).sum();
    let overhead = start + journal;
    let dataset = total.saturating_sub(overhead);
    let ratio = |a: u64, b: u64| Number::Part(a as f64 / b.max(1) as f64);
    let before = [
        ("peak.allocated", Number::Whole(memory::peak())),
        ("total.allocated", Number::Whole(total)),
        ("startup.allocated", Number::Whole(start)),
        ("replication.backlog", Number::Whole(journal)),
    ];
    let after = [
        ("overhead.total", Number::Whole(overhead)),
        ("keys.count", Number::Whole(keys as u64)),
        ("keys.bytes-per-key", Number::Whole(total.saturating_sub(start) / keys.max(1) as u64)),
        ("dataset.bytes", Number::Whole(dataset)),
        ("dataset.percentage", Number::Part(dataset as f64 * 100.0 / total.saturating_sub(start).max(1) as f64)),
        ("peak.percentage", Number::Part(total as f64 * 100.0 / memory::peak().max(1) as f64)),
        ("allocator.allocated", Number::Whole(total)),
        ("allocator.active", Number::Whole(active)),
        ("allocator.resident", Number::Whole(resident)),
        ("allocator-fragmentation.ratio", ratio(active, total)),
        ("allocator-fragmentation.bytes", Number::Whole(active.saturating_sub(total))),
        ("allocator-rss.ratio", ratio(resident, active)),
        ("allocator-rss.bytes", Number::Whole(resident.saturating_sub(active))),
        ("rss-overhead.ratio", ratio(process, resident)),
        ("rss-overhead.bytes", Number::Whole(process.saturating_sub(resident))),
        ("tables.free", Number::Whole(dead as u64)),
        ("fragmentation", ratio(process, total)),
        ("fragmentation.bytes", Number::Whole(process.saturating_sub(total))),
    ];
    let put = |out: &mut Encoder<'_>, numbers: &[(&str, Number)]| {
        for (name, number) in numbers {
            out.bulk(name.as_bytes());
            match number {
                Number::Whole(number) => out.integer(*number as i64),
                Number::Part(number) => out.double(*number),
            }
        }
    };
    out.map(before.len() + databases.len() + after.len());
    put(out, &before);
    for (database, count) in databases {
        out.bulk(format!("db.{database}").as_bytes());
        out.map(1);
        out.bulk(b"tables");
        out.integer(count.table_bytes as i64);
    }
    put(out, &after);
    Ok(())
}

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
