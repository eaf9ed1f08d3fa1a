//! Members that go: by name, by range, and from the ends.

use std::borrow::Cow;
use std::ops::Range;

use tercet_proto::resp::{Encoder, Version};

use super::bounds::{ByLex, ByScore};
use super::{Scores, number, reply_head, reply_member, typed};
use crate::effect::{End, KeyChange, class};
use crate::engine::Transaction;
use crate::keyspace::value::SortedSetRef;
use crate::resp::error::Error;
use crate::resp::table::{Args, Outcome};

pub(super) fn zrem(transaction: &mut Transaction<'_>, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let removed = transaction.apply(args[1], &KeyChange::SortedRemove { members: Cow::Borrowed(&args[2..]) })?.count;
    out.integer(removed as i64);
    Ok(())
}

pub(super) fn zremrangebyrank(transaction: &mut Transaction<'_>, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let (start, stop) = (number::integer(args[2])?, number::integer(args[3])?);
    remove(transaction, args[1], "zremrangebyrank", |sorted| number::range(start, stop, sorted.len()), out)
}

pub(super) fn zremrangebyscore(transaction: &mut Transaction<'_>, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let range = ByScore::parse(args[2], args[3])?;
    remove(transaction, args[1], "zremrangebyscore", |sorted| range.ranks(sorted), out)
}

pub(super) fn zremrangebylex(transaction: &mut Transaction<'_>, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let range = ByLex::parse(args[2], args[3])?;
    remove(transaction, args[1], "zremrangebylex", |sorted| range.ranks(sorted), out)
}

fn remove(
    transaction: &mut Transaction<'_>,
    key: &[u8],
    event: &'static str,
    ranks_of: impl FnOnce(SortedSetRef<'_>) -> Range<usize>,
    out: &mut Encoder<'_>,
) -> Outcome {
    let slot = transaction.open(key);
    let ranks = typed::sorted(slot.value())?.map_or(0..0, ranks_of);
    if !ranks.is_empty() {
        slot.apply_as(class::SORTED_SET, event, &change(&ranks))?;
    }
    out.integer(ranks.len() as i64);
    Ok(())
}

pub(super) fn change(ranks: &Range<usize>) -> KeyChange<'static> {
    KeyChange::SortedRemoveRanks { start: ranks.start as u64, end: ranks.end as u64 }
}

pub(super) fn zpopmin(transaction: &mut Transaction<'_>, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    pop(transaction, args, End::Front, out)
}

pub(super) fn zpopmax(transaction: &mut Transaction<'_>, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    pop(transaction, args, End::Back, out)
}

fn pop(transaction: &mut Transaction<'_>, args: &Args<'_>, end: End, out: &mut Encoder<'_>) -> Outcome {
    let count = match &args[2..] {
        [] => None,
        [text] => Some(number::count(text)?),
        _ => return Err(Error::Syntax),
    };
    let slot = transaction.open(args[1]);
    let Some(sorted) = typed::sorted(slot.value())? else {
        out.array(0);
        return Ok(());
    };
    let ranks = ranks_at(sorted, end, count.unwrap_or(1));
    if count.is_none() && out.version() == Version::Resp3 {
        // One pair, and not an array of one pair.
        out.array(2);
        for (member, score) in sorted.range_by_rank(ranks.clone()) {
            out.bulk(member);
            out.double(score);
        }
    } else {
        reply_head(ranks.len(), Scores::With, out);
        each(sorted, &ranks, end, |member, score| reply_member(member, score, Scores::With, out));
    }
    if !ranks.is_empty() {
        slot.apply_as(class::SORTED_SET, event(end), &change(&ranks))?;
    }
    Ok(())
}

/// The ranks of the `count` members that are nearest to an end.
pub(super) fn ranks_at(sorted: SortedSetRef<'_>, end: End, count: usize) -> Range<usize> {
    let count = count.min(sorted.len());
    match end {
        End::Front => 0..count,
        End::Back => sorted.len() - count..sorted.len(),
    }
}

/// Visits the members in the order in which they are popped.
fn each(sorted: SortedSetRef<'_>, ranks: &Range<usize>, end: End, mut visit: impl FnMut(&[u8], f64)) {
    let members = sorted.range_by_rank(ranks.clone());
    match end {
        End::Front => members.for_each(|(member, score)| visit(member, score)),
        End::Back => members.rev().for_each(|(member, score)| visit(member, score)),
    }
}

pub(super) fn zmpop(transaction: &mut Transaction<'_>, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let (keys, rest) = number::counted_keys(&args[1..])?;
    if !pop_from_first(transaction, keys, rest, out)? {
        out.null_array();
    }
    Ok(())
}

/// What popping from an end is called.
pub(super) fn event(end: End) -> &'static str {
    match end {
        End::Front => "zpopmin",
        End::Back => "zpopmax",
    }
}

/// Pops from the first sorted set that has anything. Says whether there was one.
pub(super) fn pop_from_first(
    transaction: &mut Transaction<'_>,
    keys: &Args<'_>,
    rest: &Args<'_>,
    out: &mut Encoder<'_>,
) -> Result<bool, Error> {
    let end = match rest[0].to_ascii_lowercase().as_slice() {
        b"min" => End::Front,
        b"max" => End::Back,
        _ => return Err(Error::Syntax),
    };
    let count = number::count_option(&rest[1..])?;
    for key in keys {
        let slot = transaction.open(key);
        if let Some(sorted) = typed::sorted(slot.value())? {
            let ranks = ranks_at(sorted, end, count);
            out.array(2);
            out.bulk(key);
            out.array(ranks.len());
            each(sorted, &ranks, end, |member, score| {
                // Pairs in both versions of the protocol.
                out.array(2);
                out.bulk(member);
                out.double(score);
            });
            slot.apply_as(class::SORTED_SET, event(end), &change(&ranks))?;
            return Ok(true);
        }
    }
    Ok(false)
}
