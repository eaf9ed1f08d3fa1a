//! XADD, and what takes entries away: XTRIM and XDEL.

use std::borrow::Cow;

use tercet_proto::resp::Encoder;

use super::id::{self, Written};
use super::{number, reply_id, stream};
use crate::effect::{KeyChange, StreamChange};
use crate::engine::Transaction;
use crate::keyspace::value::stream::{Exactness, Keep, NodeLimits, Stream, StreamId};
use crate::resp::error::Error;
use crate::resp::table::{Args, Outcome};

/// Redis: an entry is never larger than what a node may be.
const ENTRY_BYTES_MAX: usize = 1 << 30;

/// Nodes that `~` looks at without LIMIT.
const NODES_TRIMMED: u64 = 100;

fn node_limits(transaction: &Transaction<'_>) -> NodeLimits {
    transaction.keyspace().thresholds().sizes().stream_node
}

/// What stands before the entry of XADD, or is all of XTRIM.
#[derive(Debug, Default)]
struct Options {
    makes_none: bool,
    trim: Option<(Keep, Exactness)>,
    id: Option<Written>,
}

/// Whether the options end with an id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Add,
    Trim,
}

/// The options, and what follows on them.
fn parse<'a, 'b>(mut rest: &'b Args<'a>, form: Form, nodes: NodeLimits) -> Result<(Options, &'b Args<'a>), Error> {
    let mut options = Options::default();
    let (mut keep, mut is_approximate, mut limit) = (None, false, None);
    while let [word, behind @ ..] = rest {
        rest = behind;
        if form == Form::Add && *word == b"*" {
            break;
        }
        match (word.to_ascii_lowercase().as_slice(), behind) {
            (name @ (b"maxlen" | b"minid"), [first, others @ ..]) => {
                if keep.is_some() {
                    return Err(Error::text(
                        "ERR syntax error, MAXLEN and MINID options at the same time are not compatible",
                    ));
                }
                let (value, behind) = match (*first, others) {
                    (b"~" | b"=", [value, behind @ ..]) => (value, behind),
                    _ => (first, others),
                };
                is_approximate = *first == b"~" && !others.is_empty();
                keep = Some(if name == b"maxlen" {
                    let most = number::integer(value)?;
                    let wrong = |_| Error::text("ERR The MAXLEN argument must be >= 0.");
                    Keep::Newest(u64::try_from(most).map_err(wrong)?)
                } else {
                    Keep::From(id::strict(value)?)
                });
                rest = behind;
            }
            (b"limit", [value, behind @ ..]) => {
                let most = number::integer(value)?;
                let wrong = |_| Error::text("ERR The LIMIT argument must be >= 0.");
                limit = Some(u64::try_from(most).map_err(wrong)?);
                rest = behind;
            }
            (b"nomkstream", _) if form == Form::Add => options.makes_none = true,
            _ if form == Form::Add => {
                options.id = Some(id::of_new_entry(word)?);
                break;
            }
            _ => return Err(Error::Syntax),
        }
    }
    if limit.is_some_and(|limit| limit > 0) && keep.is_none() {
        return Err(Error::text("ERR syntax error, LIMIT cannot be used without specifying a trimming strategy"));
    }
    if form == Form::Trim && keep.is_none() {
        return Err(Error::text("ERR syntax error, XTRIM must be called with a trimming strategy"));
    }
    if limit.is_some() && !is_approximate {
        return Err(Error::text("ERR syntax error, LIMIT cannot be used without the special ~ option"));
    }
    let entries = nodes.entries;
    let most = limit.unwrap_or(if entries == 0 { 10_000 } else { (NODES_TRIMMED * entries).min(1_000_000) });
    let exactness = if is_approximate { Exactness::WholeNodes { most } } else { Exactness::Exact };
    options.trim = keep.map(|keep| (keep, exactness));
    Ok((options, rest))
}

/// The id of a new entry.
fn new_id(written: Option<Written>, last: StreamId, now: u64) -> Option<StreamId> {
    let id = match written {
        Some(Written::Whole(id)) => id,
        Some(Written::Millisecond(ms)) if ms == last.ms => StreamId::new(ms, last.seq.checked_add(1)?),
        Some(Written::Millisecond(ms)) => StreamId::new(ms, 0),
        None if now > last.ms => StreamId::new(now, 0),
        None => last.next()?,
    };
    (id > last).then_some(id)
}

pub(super) fn xadd(transaction: &mut Transaction<'_>, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let nodes = node_limits(transaction);
    let (options, pairs) = parse(&args[2..], Form::Add, nodes)?;
    if pairs.len() < 2 || pairs.len() % 2 == 1 {
        return Err(Error::Arity("xadd".into()));
    }
    if options.id == Some(Written::Whole(StreamId::MIN)) {
        return Err(Error::text("ERR The ID specified in XADD must be greater than 0-0"));
    }
    let now = transaction.now().0;
    let slot = transaction.open(args[1]);
    let found = stream(slot.value())?;
    if found.is_none() && options.makes_none {
        out.null();
        return Ok(());
    }
    let last = found.map_or(StreamId::MIN, Stream::last_id);
    if last == StreamId::MAX {
        return Err(Error::text("ERR The stream has exhausted the last possible ID, unable to add more items"));
    }
    let bytes = pairs.iter().map(|text| text.len()).sum();
    let id = new_id(options.id, last, now)
        .ok_or(Error::text("ERR The ID specified in XADD is equal or smaller than the target stream top item"))?;
    if bytes > ENTRY_BYTES_MAX {
        return Err(Error::text("ERR Elements are too large to be stored"));
    }
    let starts_node = found.is_none_or(|stream| stream.starts_node(bytes, nodes));
    let change = StreamChange::Add { id, starts_node, pairs: Cow::Borrowed(pairs) };
    slot.apply(&KeyChange::Stream(change))?;
    if let Some((keep, exactness)) = options.trim {
        transaction.apply(args[1], &KeyChange::Stream(StreamChange::Trim { keep, exactness }))?;
    }
    reply_id(id, out);
    Ok(())
}

pub(super) fn xtrim(transaction: &mut Transaction<'_>, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let (options, _) = parse(&args[2..], Form::Trim, node_limits(transaction))?;
    let slot = transaction.open(args[1]);
    let removed = match (stream(slot.value())?, options.trim) {
        (Some(_), Some((keep, exactness))) => {
            slot.apply(&KeyChange::Stream(StreamChange::Trim { keep, exactness }))?.count
        }
        _ => 0,
    };
    out.integer(removed as i64);
    Ok(())
}

pub(super) fn xdel(transaction: &mut Transaction<'_>, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let slot = transaction.open(args[1]);
    if stream(slot.value())?.is_none() {
        out.integer(0);
        return Ok(());
    }
    let ids: Vec<StreamId> = args[2..].iter().map(|text| id::strict(text)).collect::<Result<_, _>>()?;
    let removed = slot.apply(&KeyChange::Stream(StreamChange::Delete { ids: Cow::Owned(ids) }))?.count;
    out.integer(removed as i64);
    Ok(())
}

pub(super) fn xsetid(transaction: &mut Transaction<'_>, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let last_id = id::strict(args[2])?;
    let (mut added, mut max_deleted_id) = (None, None);
    let (options, []) = args[3..].as_chunks::<2>() else { return Err(Error::Syntax) };
    for [option, value] in options {
        match option.to_ascii_lowercase().as_slice() {
            b"entriesadded" => {
                let number = number::integer(value)?;
                let wrong = |_| Error::text("ERR entries_added must be positive");
                added = Some(u64::try_from(number).map_err(wrong)?);
            }
            b"maxdeletedid" => {
                let id = id::strict(value)?;
                if last_id < id {
                    return Err(Error::text(
                        "ERR The ID specified in XSETID is smaller than the provided max_deleted_entry_id",
                    ));
                }
                max_deleted_id = Some(id).filter(|id| *id != StreamId::MIN);
            }
            _ => return Err(Error::Syntax),
        }
    }
    let slot = transaction.open(args[1]);
    let stream = stream(slot.value())?.ok_or(Error::NoSuchKey)?;
    if last_id < stream.summary().max_deleted_id {
        return Err(Error::text("ERR The ID specified in XSETID is smaller than current max_deleted_entry_id"));
    }
    if !stream.is_empty() {
        if last_id < stream.last_valid_id() {
            return Err(Error::text("ERR The ID specified in XSETID is smaller than the target stream top item"));
        }
        if added.is_some_and(|added| added < stream.len()) {
            return Err(Error::text(
                "ERR The entries_added specified in XSETID is smaller than the target stream length",
            ));
        }
    }
    slot.apply(&KeyChange::Stream(StreamChange::SetId { last_id, added, max_deleted_id }))?;
    out.ok();
    Ok(())
}
