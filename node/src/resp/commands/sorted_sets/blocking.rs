//! BZPOPMIN and its like: as the commands without the B, and they wait when there is nothing.

use tercet_proto::resp::Encoder;

use super::remove::{self, change, ranks_at};
use super::{number, typed};
use crate::effect::{End, class};
use crate::engine::Transaction;
use crate::keyspace::Wants;
use crate::resp::block::{Block, Timeout};
use crate::resp::error::Error;
use crate::resp::table::{Args, Outcome};
use crate::resp::timeout;

pub(super) fn bzpopmin(transaction: &mut Transaction<'_>, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    pop(transaction, args, End::Front, out)
}

pub(super) fn bzpopmax(transaction: &mut Transaction<'_>, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    pop(transaction, args, End::Back, out)
}

fn pop(transaction: &mut Transaction<'_>, args: &Args<'_>, end: End, out: &mut Encoder<'_>) -> Outcome {
    let last = args.len() - 1;
    let timeout = timeout::seconds(args, last)?;
    for key in &args[1..last] {
        let slot = transaction.open(key);
        let Some(sorted) = typed::sorted(slot.value())? else { continue };
        let ranks = ranks_at(sorted, end, 1);
        if let Some((member, score)) = sorted.nth(ranks.start) {
            out.array(3);
            out.bulk(key);
            out.bulk(member);
            out.double(score);
            slot.apply_as(class::SORTED_SET, remove::event(end), &change(&ranks))?;
            return Ok(());
        }
    }
    Err(wait(args, &args[1..last], timeout))
}

fn wait(args: &Args<'_>, keys: &Args<'_>, timeout: Timeout) -> Error {
    let owned = |args: &Args<'_>| args.iter().map(|arg| arg.to_vec()).collect();
    let (keys, args) = (owned(keys), owned(args));
    Error::Blocked(Box::new(Block { timeout, keys, needs: Vec::new(), wants: Wants::SortedSet, args }))
}

pub(super) fn bzmpop(transaction: &mut Transaction<'_>, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let timeout = timeout::seconds(args, 1)?;
    let (keys, rest) = number::counted_keys(&args[2..])?;
    if remove::pop_from_first(transaction, keys, rest, out)? {
        return Ok(());
    }
    Err(wait(args, keys, timeout))
}
