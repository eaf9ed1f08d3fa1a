//! SLOWLOG and LATENCY: what took long.

use std::fmt::Write as _;

use tercet_proto::resp::Encoder;

use super::G;
use crate::counters::BUCKETS;
use crate::resp::commands::number;
use crate::resp::error::Error;
use crate::resp::session::Session;
use crate::resp::table::flag::{ADMIN, LOADING, NO_SCRIPT};
use crate::resp::table::{self, Args, Command, Outcome, Row, session};

const USUAL: u32 = ADMIN | LOADING;

pub(super) const SLOWLOG: &[Command] = &[
    session("slowlog|get", -2, USUAL, G, "Returns the slow log's entries.", slowlog_get),
    session("slowlog|len", 2, USUAL, G, "Returns the number of entries in the slow log.", |session, _, out| {
        out.integer(session.node.slowlog.len() as i64);
        Ok(())
    }),
    session("slowlog|reset", 2, USUAL, G, "Clears all entries from the slow log.", |session, _, out| {
        session.node.slowlog.reset();
        out.ok();
        Ok(())
    }),
];

pub(super) const LATENCY: &[Command] = &[
    session("latency|latest", 2, USUAL | NO_SCRIPT, G, "Returns the latest latency samples for all events.", latest),
    session("latency|history", 3, USUAL | NO_SCRIPT, G, "Returns timestamp-latency samples for an event.", history),
    session("latency|reset", -2, USUAL | NO_SCRIPT, G, "Resets the latency data for one or more events.", reset),
    session("latency|graph", 3, USUAL | NO_SCRIPT, G, "Returns a latency graph for an event.", graph),
    session("latency|doctor", 2, USUAL | NO_SCRIPT, G, "Returns a latency analysis report.", doctor),
    session("latency|histogram", -2, USUAL | NO_SCRIPT, G, "Returns the distribution of the latencies.", histogram),
];

fn slowlog_get(session: &mut Session, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let most = match &args[2..] {
        [] => 10,
        [count] => match number::parse_integer(count) {
            Some(-1) => usize::MAX,
            count => count
                .and_then(|count| usize::try_from(count).ok())
                .ok_or(Error::text("ERR count should be greater than or equal to -1"))?,
        },
        _ => return Err(Error::Arity("slowlog|get".into())),
    };
    let entries = session.node.slowlog.newest(most);
    out.array(entries.len());
    for entry in entries {
        out.array(6);
        out.integer(entry.id as i64);
        out.integer(entry.unix_seconds as i64);
        out.integer(entry.micros as i64);
        out.array(entry.args.len());
        entry.args.iter().for_each(|arg| out.bulk(arg));
        out.bulk(entry.address.as_bytes());
        out.bulk(entry.client.as_bytes());
    }
    Ok(())
}

fn latest(session: &mut Session, _: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let events = session.node.latency.all();
    out.array(events.len());
    for (name, event) in events {
        let (second, ms) = event.samples.back().copied().unwrap_or_default();
        out.array(4);
        out.bulk(name.as_bytes());
        out.integer(second as i64);
        out.integer(ms as i64);
        out.integer(event.longest_ms as i64);
    }
    Ok(())
}

fn history(session: &mut Session, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let event = session.node.latency.all().remove(&*String::from_utf8_lossy(args[2])).unwrap_or_default();
    out.array(event.samples.len());
    for (second, ms) in event.samples {
        out.array(2);
        out.integer(second as i64);
        out.integer(ms as i64);
    }
    Ok(())
}

fn reset(session: &mut Session, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let names: Vec<String> = args[2..].iter().map(|name| String::from_utf8_lossy(name).into_owned()).collect();
    out.integer(session.node.latency.reset(&names) as i64);
    Ok(())
}

/// Columns of LATENCY GRAPH, at most.
const COLUMNS: usize = 80;
const HEIGHT: u64 = 4;

fn graph(session: &mut Session, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let name = String::from_utf8_lossy(args[2]).into_owned();
    let event = session.node.latency.all().remove(&name);
    let event = event.ok_or_else(|| Error::text(format!("ERR No samples available for event '{name}'")))?;
    let samples: Vec<u64> = event.samples.iter().rev().take(COLUMNS).rev().map(|(_, ms)| *ms).collect();
    let (low, high) = (samples.iter().min().copied().unwrap_or(0), samples.iter().max().copied().unwrap_or(0));
    let mut text = format!(
        "{name} - high {high} ms, low {low} ms (all time high {} ms)\n{}\n",
        event.longest_ms,
        "-".repeat(COLUMNS)
    );
    let span = (high - low).max(1);
    for row in (0..HEIGHT).rev() {
        text.extend(samples.iter().map(|ms| if (ms - low) * (HEIGHT - 1) / span >= row { '#' } else { ' ' }));
        text.push('\n');
    }
    out.verbatim("txt", &text);
    Ok(())
}

fn doctor(session: &mut Session, _: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let threshold = session.node.config.live.latency_monitor_threshold.load();
    let events = session.node.latency.all();
    let mut text = String::new();
    if threshold == 0 {
        text.push_str(
            "Latency monitoring is off: CONFIG SET latency-monitor-threshold <milliseconds> notes events that take \
             longer.\n",
        );
    } else if events.is_empty() {
        // Writing to a String cannot fail.
        _ = writeln!(text, "No event took {threshold} ms or longer.");
    }
    for (name, event) in events {
        let sum: u64 = event.samples.iter().map(|(_, ms)| ms).sum();
        let count = event.samples.len().max(1) as u64;
        _ = writeln!(text, "{name}: {count} samples, {} ms on average, {} ms at most.", sum / count, event.longest_ms);
    }
    out.verbatim("txt", &text);
    Ok(())
}

fn histogram(session: &mut Session, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let rows: Vec<&'static Row> = if args.len() > 2 {
        let named = args[2..].iter().filter_map(|name| table::find_full(name));
        named.flat_map(|row| std::iter::once(row).chain(row.subcommands())).collect()
    } else {
        table::rows().iter().collect()
    };
    let counted: Vec<_> = rows
        .into_iter()
        .map(|row| (row, session.node.counters.count(row.id)))
        .filter(|(_, count)| count.calls > 0)
        .collect();
    out.map(counted.len());
    for (row, count) in counted {
        out.bulk(row.name.as_bytes());
        out.map(2);
        out.bulk(b"calls");
        out.integer(count.calls as i64);
        out.bulk(b"histogram_usec");
        let mut cumulative = 0;
        let steps: Vec<(u64, u64)> = (0..BUCKETS)
            .filter(|bucket| count.buckets[*bucket] > 0)
            .map(|bucket| {
                cumulative += count.buckets[bucket];
                (1 << bucket, cumulative)
            })
            .collect();
        out.map(steps.len());
        for (micros, calls) in steps {
            out.integer(micros as i64);
            out.integer(calls as i64);
        }
    }
    Ok(())
}
