//! Elements that go from one list to another, or out of the first list that has any.

use std::borrow::Cow;

use tercet_proto::resp::Encoder;

use super::super::{number, typed};
use super::{nth, reply_popped};
use crate::effect::KeyChange;
use crate::engine::Transaction;
use crate::keyspace::value::{End, ShortBytes};
use crate::resp::error::Error;
use crate::resp::table::{Args, Outcome};

pub(super) fn lmove(transaction: &mut Transaction<'_>, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let (from, to) = (end(args[3])?, end(args[4])?);
    move_one(transaction, args, from, to, out)
}

pub(super) fn rpoplpush(transaction: &mut Transaction<'_>, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    move_one(transaction, args, End::Back, End::Front, out)
}

pub(super) fn end(word: &[u8]) -> Result<End, Error> {
    match word.to_ascii_lowercase().as_slice() {
        b"left" => Ok(End::Front),
        b"right" => Ok(End::Back),
        _ => Err(Error::Syntax),
    }
}

pub(super) fn move_one(
    transaction: &mut Transaction<'_>,
    args: &Args<'_>,
    from: End,
    to: End,
    out: &mut Encoder<'_>,
) -> Outcome {
    let source = transaction.open(args[1]);
    let Some(item) = typed::list(source.value())?.and_then(|list| list.get(nth(list, from, 0)).map(ShortBytes::from))
    else {
        out.null();
        return Ok(());
    };
    // Before anything changes: the target may be of another type.
    typed::list(transaction.open(args[2]).value())?;
    let items: [&[u8]; 1] = [&item];
    let pop = KeyChange::ListPop { end: from, count: 1 };
    let push = KeyChange::ListPush { end: to, values: Cow::Borrowed(&items) };
    transaction.check_room(args[1].len() + pop.record_bytes() + args[2].len() + push.record_bytes())?;
    // Pushed first, as in Redis: within one list the key, and its time to live, outlast the move.
    transaction.apply(args[2], &push)?;
    transaction.apply(args[1], &pop)?;
    out.bulk(&item);
    Ok(())
}

pub(super) fn lmpop(transaction: &mut Transaction<'_>, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let (keys, rest) = number::counted_keys(&args[1..])?;
    if !pop_from_first(transaction, keys, rest, out)? {
        out.null_array();
    }
    Ok(())
}

/// Pops from the first list that has anything. Says whether there was one.
pub(super) fn pop_from_first(
    transaction: &mut Transaction<'_>,
    keys: &Args<'_>,
    rest: &Args<'_>,
    out: &mut Encoder<'_>,
) -> Result<bool, Error> {
    let (end, count) = (end(rest[0])?, number::count_option(&rest[1..])?);
    for key in keys {
        let slot = transaction.open(key);
        if let Some(list) = typed::list(slot.value())? {
            let count = list.len().min(count);
            out.array(2);
            out.bulk(key);
            reply_popped(list, end, count, out);
            slot.apply(&KeyChange::ListPop { end, count: count as u64 })?;
            return Ok(true);
        }
    }
    Ok(false)
}
