//! XINFO: what streams, groups and consumers say about themselves.

use tercet_proto::resp::Encoder;

use super::{G, help, limit, lossy, number, reading, reply_entries, reply_entry, reply_id, stream_of};
use crate::engine::View;
use crate::keyspace::value::stream::{Group, Stream, StreamId};
use crate::resp::error::Error;
use crate::resp::table::{Args, Command, Keys, Outcome};

pub(super) const ROWS: &[Command] = &[
    reading("xinfo|consumers", 4, 0, KEY, G, "Returns a list of the consumers in a consumer group.", show_consumers),
    reading("xinfo|groups", 3, 0, KEY, G, "Returns a list of the consumer groups of a stream.", show_groups),
    reading("xinfo|stream", -3, 0, KEY, G, "Returns information about a stream.", show_stream),
    reading("xinfo|help", 2, 0, Keys::None, G, "Returns helpful text about the different subcommands.", |_, _, out| {
        help(out, HELP);
        Ok(())
    }),
];

const KEY: Keys = Keys::Range(2, 2, 1);

const HELP: &[&str] = &[
    "XINFO <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    "CONSUMERS <key> <groupname>",
    "    Show consumers of <groupname>.",
    "GROUPS <key>",
    "    Show the stream consumer groups.",
    "STREAM <key> [FULL [COUNT <count>]",
    "    Show information about the stream.",
    "HELP",
    "    Print this help.",
];

/// Entries that FULL shows when nobody says how many.
const FULL_COUNT: u64 = 10;

fn found<'v>(view: &'v View<'_>, args: &Args<'_>) -> Result<&'v Stream, Error> {
    stream_of(view.get(args[2]))?.ok_or(Error::NoSuchKey)
}

fn show_consumers(view: &View<'_>, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    consumers(found(view, args)?, args, view.now().0 as i64, out)
}

fn show_groups(view: &View<'_>, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    groups(found(view, args)?, out);
    Ok(())
}

fn show_stream(view: &View<'_>, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let stream = found(view, args)?;
    match full(args)? {
        None => brief(stream, out),
        Some(count) => whole(stream, count, out),
    }
    Ok(())
}

/// Whether FULL is asked for, and how many entries of each.
fn full(args: &Args<'_>) -> Result<Option<u64>, Error> {
    let wrong = || {
        let name = lossy(args[1]);
        Error::text(format!("ERR unknown subcommand or wrong number of arguments for '{name}'. Try XINFO HELP."))
    };
    match &args[3..] {
        [] => Ok(None),
        [word] if word.eq_ignore_ascii_case(b"full") => Ok(Some(FULL_COUNT)),
        [word, count, text] if word.eq_ignore_ascii_case(b"full") && count.eq_ignore_ascii_case(b"count") => {
            Ok(Some(u64::try_from(number::integer(text)?).unwrap_or(FULL_COUNT)))
        }
        _ => Err(wrong()),
    }
}

fn consumers(stream: &Stream, args: &Args<'_>, now: i64, out: &mut Encoder<'_>) -> Outcome {
    let group = stream.group(args[3]).ok_or_else(|| {
        Error::text(format!("NOGROUP No such consumer group '{}' for key name '{}'", lossy(args[3]), lossy(args[2])))
    })?;
    out.array(group.consumers().len());
    for (name, consumer) in group.consumers() {
        out.map(4);
        out.bulk(b"name");
        out.bulk(name);
        out.bulk(b"pending");
        out.integer(consumer.pending().len() as i64);
        out.bulk(b"idle");
        out.integer((now - consumer.seen_at as i64).max(0));
        out.bulk(b"inactive");
        out.integer(consumer.active_at.map_or(-1, |at| now - at as i64));
    }
    Ok(())
}

fn reply_count(count: Option<i64>, out: &mut Encoder<'_>) {
    match count {
        Some(count) => out.integer(count),
        None => out.null(),
    }
}

fn groups(stream: &Stream, out: &mut Encoder<'_>) {
    out.array(stream.groups().len());
    for (name, group) in stream.groups() {
        out.map(6);
        out.bulk(b"name");
        out.bulk(name);
        out.bulk(b"consumers");
        out.integer(group.consumers().len() as i64);
        out.bulk(b"pending");
        out.integer(group.pending().len() as i64);
        out.bulk(b"last-delivered-id");
        reply_id(group.last_id, out);
        out.bulk(b"entries-read");
        reply_count(group.read.map(|read| read as i64), out);
        out.bulk(b"lag");
        reply_count(stream.lag(group), out);
    }
}

fn summary(stream: &Stream, out: &mut Encoder<'_>) {
    let summary = stream.summary();
    let nodes = stream.nodes().len() as i64;
    out.bulk(b"length");
    out.integer(summary.length as i64);
    out.bulk(b"radix-tree-keys");
    out.integer(nodes);
    // There is no such tree here; Redis's has one node more than keys at the least.
    out.bulk(b"radix-tree-nodes");
    out.integer(nodes + 1);
    out.bulk(b"last-generated-id");
    reply_id(summary.last_id, out);
    out.bulk(b"max-deleted-entry-id");
    reply_id(summary.max_deleted_id, out);
    out.bulk(b"entries-added");
    out.integer(summary.added as i64);
    out.bulk(b"recorded-first-entry-id");
    reply_id(summary.first_id, out);
}

fn brief(stream: &Stream, out: &mut Encoder<'_>) {
    out.map(10);
    summary(stream, out);
    out.bulk(b"groups");
    out.integer(stream.groups().len() as i64);
    let first = stream.range(StreamId::MIN, StreamId::MAX).next();
    let last = stream.range_back(StreamId::MIN, StreamId::MAX).next();
    for (name, entry) in [("first-entry", first), ("last-entry", last)] {
        out.bulk(name.as_bytes());
        match entry {
            Some(entry) => reply_entry(&entry, out),
            None => out.null(),
        }
    }
}

fn whole(stream: &Stream, count: u64, out: &mut Encoder<'_>) {
    out.map(9);
    summary(stream, out);
    out.bulk(b"entries");
    let entries: Vec<_> = stream.range(StreamId::MIN, StreamId::MAX).take(limit(count)).collect();
    reply_entries(&entries, out);
    out.bulk(b"groups");
    out.array(stream.groups().len());
    for (name, group) in stream.groups() {
        out.map(7);
        out.bulk(b"name");
        out.bulk(name);
        out.bulk(b"last-delivered-id");
        reply_id(group.last_id, out);
        out.bulk(b"entries-read");
        reply_count(group.read.map(|read| read as i64), out);
        out.bulk(b"lag");
        reply_count(stream.lag(group), out);
        whole_group(group, limit(count), out);
    }
}

fn whole_group(group: &Group, most: usize, out: &mut Encoder<'_>) {
    out.bulk(b"pel-count");
    out.integer(group.pending().len() as i64);
    out.bulk(b"pending");
    out.array(group.pending().len().min(most));
    for (id, pending) in group.pending().iter().take(most) {
        out.array(4);
        reply_id(*id, out);
        out.bulk(&pending.consumer);
        out.integer(pending.given_at as i64);
        out.integer(pending.count as i64);
    }
    out.bulk(b"consumers");
    out.array(group.consumers().len());
    for (name, consumer) in group.consumers() {
        out.map(5);
        out.bulk(b"name");
        out.bulk(name);
        out.bulk(b"seen-time");
        out.integer(consumer.seen_at as i64);
        out.bulk(b"active-time");
        out.integer(consumer.active_at.map_or(-1, |at| at as i64));
        out.bulk(b"pel-count");
        out.integer(consumer.pending().len() as i64);
        out.bulk(b"pending");
        out.array(consumer.pending().len().min(most));
        for id in consumer.pending().iter().take(most) {
            out.array(3);
            reply_id(*id, out);
            let pending = group.pending().get(id);
            out.integer(pending.map_or(0, |pending| pending.given_at as i64));
            out.integer(pending.map_or(0, |pending| pending.count as i64));
        }
    }
}
