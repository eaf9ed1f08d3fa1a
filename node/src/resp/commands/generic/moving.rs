//! Keys that change their name or database. The value itself is written to its new place: an effect changes one
//! partition and reads no other.

use tercet_proto::resp::Encoder;

use super::keyspace::database;
use super::number;
use crate::effect::{Expiry, KeyChange};
use crate::engine::Transaction;
use crate::keyspace::Entry;
use crate::keyspace::value::{ValueRef, image};
use crate::resp::error::Error;
use crate::resp::table::{Args, Outcome};

pub(super) fn rename(transaction: &mut Transaction<'_>, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let whole = Whole::of(transaction.get(args[1])).ok_or(Error::NoSuchKey)?;
    if args[1] != args[2] {
        transaction.apply(args[1], &KeyChange::Delete)?;
        whole.put(transaction, args[2])?;
    }
    out.ok();
    Ok(())
}

pub(super) fn renamenx(transaction: &mut Transaction<'_>, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let whole = Whole::of(transaction.get(args[1])).ok_or(Error::NoSuchKey)?;
    let is_free = transaction.get(args[2]).is_none();
    if is_free {
        transaction.apply(args[1], &KeyChange::Delete)?;
        whole.put(transaction, args[2])?;
    }
    out.integer(i64::from(is_free));
    Ok(())
}

pub(super) fn copy(transaction: &mut Transaction<'_>, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let here = transaction.database();
    let (mut there, mut replaces) = (here, false);
    let mut rest = &args[3..];
    while let [word, behind @ ..] = rest {
        rest = behind;
        match (word.to_ascii_lowercase().as_slice(), behind) {
            (b"replace", _) => replaces = true,
            (b"db", [index, behind @ ..]) => {
                there = database(number::small(index)?)?;
                rest = behind;
            }
            _ => return Err(Error::Syntax),
        }
    }
    if here == there && args[1] == args[2] {
        return Err(Error::text("ERR source and destination objects are the same"));
    }
    let copied = match Whole::of(transaction.get(args[1])) {
        None => false,
        Some(whole) => {
            transaction.select(there);
            let may_copy = replaces || transaction.get(args[2]).is_none();
            let put = if may_copy { whole.put(transaction, args[2]) } else { Ok(()) };
            transaction.select(here);
            put?;
            may_copy
        }
    };
    out.integer(i64::from(copied));
    Ok(())
}

pub(super) fn move_key(transaction: &mut Transaction<'_>, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let here = transaction.database();
    let there = database(number::small(args[2])?)?;
    if here == there {
        return Err(Error::text("ERR source and destination objects are the same"));
    }
    let moved = match Whole::of(transaction.get(args[1])) {
        None => false,
        Some(whole) => {
            transaction.select(there);
            let is_free = transaction.get(args[1]).is_none();
            let put = if is_free { whole.put(transaction, args[1]) } else { Ok(()) };
            transaction.select(here);
            put?;
            if is_free {
                transaction.apply(args[1], &KeyChange::Delete)?;
            }
            is_free
        }
    };
    out.integer(i64::from(moved));
    Ok(())
}

/// All that a key has: its value and its deadline.
struct Whole {
    image: Vec<u8>,
    expiry: Expiry,
}

impl Whole {
    fn of(entry: Option<Entry<'_>>) -> Option<Self> {
        let entry = entry?;
        let mut image = Vec::with_capacity(image_capacity(entry.value()));
        image::encode(entry.value(), &mut image);
        Some(Self { image, expiry: entry.expire_at().map_or(Expiry::Never, Expiry::At) })
    }

    fn put(&self, transaction: &mut Transaction<'_>, key: &[u8]) -> Outcome {
        transaction.apply(key, &KeyChange::Restore { image: &self.image, expiry: self.expiry })?;
        Ok(())
    }
}

/// A guess that spares most of the growing.
fn image_capacity(value: ValueRef<'_>) -> usize {
    const SAMPLES: usize = 5;
    match value {
        ValueRef::String(text) => text.len() + 8,
        other => 24 + other.heap_bytes(SAMPLES),
    }
}
