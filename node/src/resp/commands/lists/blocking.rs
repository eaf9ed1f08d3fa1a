//! BLPOP and its like: as the commands without the B, and they wait when there is nothing.

use tercet_proto::resp::Encoder;

use super::moving::{self, end};
use super::{nth, number, typed};
use crate::effect::KeyChange;
use crate::engine::Transaction;
use crate::keyspace::Wants;
use crate::keyspace::value::End;
use crate::resp::block::{Block, Timeout};
use crate::resp::error::Error;
use crate::resp::table::{Args, Outcome};
use crate::resp::timeout;

pub(super) fn blpop(transaction: &mut Transaction<'_>, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    pop(transaction, args, End::Front, out)
}

pub(super) fn brpop(transaction: &mut Transaction<'_>, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    pop(transaction, args, End::Back, out)
}

fn pop(transaction: &mut Transaction<'_>, args: &Args<'_>, from: End, out: &mut Encoder<'_>) -> Outcome {
    let last = args.len() - 1;
    let timeout = timeout::seconds(args, last)?;
    for key in &args[1..last] {
        let slot = transaction.open(key);
        if let Some(item) = typed::list(slot.value())?.and_then(|list| list.get(nth(list, from, 0))) {
            out.array(2);
            out.bulk(key);
            out.bulk(&item);
            slot.apply(&KeyChange::ListPop { end: from, count: 1 })?;
            return Ok(());
        }
    }
    Err(wait(args, &args[1..last], &[], timeout))
}

fn wait(args: &Args<'_>, keys: &Args<'_>, needs: &Args<'_>, timeout: Timeout) -> Error {
    let owned = |args: &Args<'_>| args.iter().map(|arg| arg.to_vec()).collect();
    let (keys, needs, args) = (owned(keys), owned(needs), owned(args));
    Error::Blocked(Box::new(Block { timeout, keys, needs, wants: Wants::List, args }))
}

pub(super) fn blmove(transaction: &mut Transaction<'_>, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let (from, to) = (end(args[3])?, end(args[4])?);
    move_one(transaction, args, from, to, timeout::seconds(args, 5)?, out)
}

pub(super) fn brpoplpush(transaction: &mut Transaction<'_>, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    move_one(transaction, args, End::Back, End::Front, timeout::seconds(args, 3)?, out)
}

fn move_one(
    transaction: &mut Transaction<'_>,
    args: &Args<'_>,
    from: End,
    to: End,
    timeout: Timeout,
    out: &mut Encoder<'_>,
) -> Outcome {
    if typed::list(transaction.open(args[1]).value())?.is_none() {
        return Err(wait(args, &args[1..2], &args[2..3], timeout));
    }
    moving::move_one(transaction, args, from, to, out)
}

pub(super) fn blmpop(transaction: &mut Transaction<'_>, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let timeout = timeout::seconds(args, 1)?;
    let (keys, rest) = number::counted_keys(&args[2..])?;
    if moving::pop_from_first(transaction, keys, rest, out)? {
        return Ok(());
    }
    Err(wait(args, keys, &[], timeout))
}
