//! Commands on whole databases.

use tercet_proto::resp::Encoder;

use super::number;
use crate::engine::{Transaction, View};
use crate::limits;
use crate::resp::error::Error;
use crate::resp::table::{Args, Outcome};

pub(super) fn dbsize(view: &View<'_>, _: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let mut keys = 0;
    view.each_shard(|shard| keys += shard.database(view.database()).len());
    out.integer(keys as i64);
    Ok(())
}

pub(super) fn flushdb(transaction: &mut Transaction<'_>, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    check_flush(args)?;
    let database = transaction.database();
    transaction.flush(Some(database));
    out.ok();
    Ok(())
}

pub(super) fn flushall(transaction: &mut Transaction<'_>, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    check_flush(args)?;
    transaction.flush(None);
    out.ok();
    Ok(())
}

/// `[ASYNC | SYNC]`, which only says who frees the memory.
fn check_flush(args: &Args<'_>) -> Outcome {
    match args {
        [_] => Ok(()),
        [_, word] if word.eq_ignore_ascii_case(b"sync") || word.eq_ignore_ascii_case(b"async") => Ok(()),
        _ => Err(Error::Syntax),
    }
}

pub(super) fn swapdb(transaction: &mut Transaction<'_>, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let index = |text, message| number::small(text).map_err(|_| Error::text(message));
    let first = index(args[1], "ERR invalid first DB index")?;
    let second = index(args[2], "ERR invalid second DB index")?;
    let (first, second) = (database(first)?, database(second)?);
    if first != second {
        transaction.swap(first, second);
    }
    out.ok();
    Ok(())
}

/// A database that exists.
pub(super) fn database(index: i32) -> Result<u8, Error> {
    u8::try_from(index).ok().filter(|index| *index < limits::DATABASES).ok_or(Error::DatabaseIndex)
}
