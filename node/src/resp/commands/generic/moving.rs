//! Keys that change their name or database. The record says the whole value anew: an effect changes one partition and reads
//! no other.

use bytes::Bytes;
use tercet_proto::resp::Encoder;

use super::keyspace::database;
use super::number;
use crate::effect::{Expiry, KeyChange, class};
use crate::engine::{Name, Transaction};
use crate::keyspace::value::image;
use crate::resp::error::Error;
use crate::resp::table::{Args, Outcome};

pub(super) fn rename(transaction: &mut Transaction<'_>, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    if transaction.get(args[1]).is_none() {
        return Err(Error::NoSuchKey);
    }
    if args[1] != args[2] {
        carry(transaction, args)?;
    }
    out.ok();
    Ok(())
}

pub(super) fn renamenx(transaction: &mut Transaction<'_>, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    if transaction.get(args[1]).is_none() {
        return Err(Error::NoSuchKey);
    }
    let is_free = transaction.get(args[2]).is_none();
    if is_free {
        carry(transaction, args)?;
    }
    out.integer(i64::from(is_free));
    Ok(())
}

fn carry(transaction: &mut Transaction<'_>, args: &Args<'_>) -> Outcome {
    let database = transaction.database();
    let from = Name { database, key: args[1], event: "rename_from" };
    transaction.carry(from, Name { database, key: args[2], event: "rename_to" })?;
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
    let copied = match Whole::of(transaction, args[1]) {
        None => false,
        Some(whole) => {
            transaction.select(there);
            let may_copy = replaces || transaction.get(args[2]).is_none();
            let put = if may_copy { whole.put(transaction, args[2], class::GENERIC, "copy_to") } else { Ok(()) };
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
    transaction.select(there);
    let is_free = transaction.get(args[1]).is_none();
    transaction.select(here);
    let moved = is_free && {
        let from = Name { database: here, key: args[1], event: "move_from" };
        transaction.carry(from, Name { database: there, key: args[1], event: "move_to" })?
    };
    out.integer(i64::from(moved));
    Ok(())
}

/// All that a key has: its value and its deadline.
enum Whole {
    /// A large text, which both keys share.
    Text(Bytes, Expiry),
    Image(Vec<u8>, Expiry),
}

impl Whole {
    fn of(transaction: &mut Transaction<'_>, key: &[u8]) -> Option<Self> {
        transaction.read(key)?;
        if let Some((text, expiry)) = transaction.share_text(key) {
            return Some(Self::Text(text, expiry));
        }
        let entry = transaction.get(key)?;
        let mut image = Vec::with_capacity(entry.value().image_capacity());
        image::encode(entry.value(), &mut image);
        Some(Self::Image(image, entry.expire_at().map_or(Expiry::Never, Expiry::At)))
    }

    fn put(&self, transaction: &mut Transaction<'_>, key: &[u8], class: u32, event: &'static str) -> Outcome {
        if transaction.get(key).is_some() {
            // Redis deletes what is there and adds a key.
            transaction.raise(class::NEW, "new", key);
        }
        match self {
            Self::Text(text, expiry) => transaction.put_shared(key, text, *expiry, class, event)?,
            Self::Image(image, expiry) => {
                transaction.apply_as(key, class, event, &KeyChange::Restore { image, expiry: *expiry })?;
            }
        }
        Ok(())
    }
}
