//! Hashes: fields and their values.

mod expiry;

use std::borrow::Cow;

use tercet_proto::resp::{Encoder, Version};

use super::long_double::{self, LongDouble};
use super::{number, sample, scanning, typed};
use crate::effect::{KeyChange, class};
use crate::engine::{Transaction, View};
use crate::keyspace::value::HashRef;
use crate::resp::error::Error;
use crate::resp::table::flag::{DENY_OOM, FAST, FIELDS_EXPIRE, WHOLE};
use crate::resp::table::{Args, Command, Group, Keys, Outcome, read, write};

const G: Group = Group::Hash;

pub(super) const ROWS: &[Command] = &[
    write("hset", -4, DENY_OOM | FAST, Keys::ONE, G, "Creates or modifies the value of a field in a hash.", hset),
    write("hmset", -4, DENY_OOM | FAST, Keys::ONE, G, "Sets the values of multiple fields.", hmset),
    write(
        "hsetnx",
        4,
        DENY_OOM | FAST,
        Keys::ONE,
        G,
        "Sets the value of a field in a hash only when the field doesn't exist.",
        hsetnx,
    ),
    write(
        "hdel",
        -3,
        FAST,
        Keys::ONE,
        G,
        "Deletes one or more fields and their values from a hash. Deletes the hash if no fields remain.",
        hdel,
    ),
    write(
        "hincrby",
        4,
        DENY_OOM | FAST,
        Keys::ONE,
        G,
        "Increments the integer value of a field in a hash by a number. Uses 0 as initial value if the field doesn't exist.",
        hincrby,
    ),
    write(
        "hincrbyfloat",
        4,
        DENY_OOM | FAST,
        Keys::ONE,
        G,
        "Increments the floating point value of a field by a number. Uses 0 as initial value if the field doesn't exist.",
        hincrbyfloat,
    ),
    write(
        "hexpire",
        -6,
        DENY_OOM | FAST | FIELDS_EXPIRE,
        Keys::ONE,
        G,
        "Set expiry for hash field using relative time to expire (seconds).",
        expiry::hexpire,
    ),
    write(
        "hpexpire",
        -6,
        DENY_OOM | FAST | FIELDS_EXPIRE,
        Keys::ONE,
        G,
        "Set expiry for hash field using relative time to expire (milliseconds).",
        expiry::hpexpire,
    ),
    write(
        "hexpireat",
        -6,
        DENY_OOM | FAST | FIELDS_EXPIRE,
        Keys::ONE,
        G,
        "Set expiry for hash field using an absolute Unix timestamp (seconds).",
        expiry::hexpireat,
    ),
    write(
        "hpexpireat",
        -6,
        DENY_OOM | FAST | FIELDS_EXPIRE,
        Keys::ONE,
        G,
        "Set expiry for hash field using an absolute Unix timestamp (milliseconds).",
        expiry::hpexpireat,
    ),
    write(
        "hpersist",
        -5,
        FAST,
        Keys::ONE,
        G,
        "Removes the expiration time for each specified field.",
        expiry::hpersist,
    ),
    write(
        "hgetex",
        -5,
        FAST | FIELDS_EXPIRE,
        Keys::ONE,
        G,
        "Get the value of one or more fields of a given hash key, and optionally set their expiration.",
        expiry::hgetex,
    ),
    write(
        "hsetex",
        -6,
        DENY_OOM | FAST | FIELDS_EXPIRE,
        Keys::ONE,
        G,
        "Set the value of one or more fields of a given hash key, and optionally set their expiration.",
        expiry::hsetex,
    ),
    write(
        "hgetdel",
        -5,
        FAST,
        Keys::ONE,
        G,
        "Returns the value of a field and deletes it from the hash.",
        expiry::hgetdel,
    ),
    read("httl", -5, FAST, Keys::ONE, G, "Returns the TTL in seconds of a hash field.", expiry::httl),
    read("hpttl", -5, FAST, Keys::ONE, G, "Returns the TTL in milliseconds of a hash field.", expiry::hpttl),
    read(
        "hexpiretime",
        -5,
        FAST,
        Keys::ONE,
        G,
        "Returns the expiration time of a hash field as a Unix timestamp, in seconds.",
        expiry::hexpiretime,
    ),
    read(
        "hpexpiretime",
        -5,
        FAST,
        Keys::ONE,
        G,
        "Returns the expiration time of a hash field as a Unix timestamp, in msec.",
        expiry::hpexpiretime,
    ),
    read("hget", 3, FAST, Keys::ONE, G, "Returns the value of a field in a hash.", hget),
    read("hmget", -3, FAST, Keys::ONE, G, "Returns the values of all fields in a hash.", hmget),
    read("hgetall", 2, WHOLE, Keys::ONE, G, "Returns all fields and values in a hash.", hgetall),
    read("hkeys", 2, WHOLE, Keys::ONE, G, "Returns all fields in a hash.", hkeys),
    read("hvals", 2, WHOLE, Keys::ONE, G, "Returns all values in a hash.", hvals),
    read("hlen", 2, FAST, Keys::ONE, G, "Returns the number of fields in a hash.", hlen),
    read("hexists", 3, FAST, Keys::ONE, G, "Determines whether a field exists in a hash.", hexists),
    read("hstrlen", 3, FAST, Keys::ONE, G, "Returns the length of the value of a field.", hstrlen),
    read("hrandfield", -2, 0, Keys::ONE, G, "Returns one or more random fields from a hash.", hrandfield),
    read("hscan", -3, 0, Keys::ONE, G, "Iterates over fields and values of a hash.", hscan),
];

fn find<'v>(view: &'v View<'_>, key: &[u8]) -> Result<Option<HashRef<'v>>, Error> {
    typed::hash(typed::value(view.get(key)))
}

/// Sets the fields, and says how many of them are new.
#[inline]
fn set(transaction: &mut Transaction<'_>, args: &Args<'_>, name: &'static str) -> Result<usize, Error> {
    if args.len() % 2 == 1 {
        return Err(Error::Arity(name.into()));
    }
    Ok(transaction.apply(args[1], &KeyChange::HashSet { pairs: Cow::Borrowed(&args[2..]) })?.count)
}

#[inline]
fn hset(transaction: &mut Transaction<'_>, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let added = set(transaction, args, "hset")?;
    out.integer(added as i64);
    Ok(())
}

fn hmset(transaction: &mut Transaction<'_>, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    set(transaction, args, "hmset")?;
    out.ok();
    Ok(())
}

fn hsetnx(transaction: &mut Transaction<'_>, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let slot = transaction.open(args[1]);
    let is_absent = typed::hash(slot.value())?.is_none_or(|hash| !hash.contains(args[2]));
    if is_absent {
        slot.apply(&KeyChange::HashSet { pairs: Cow::Borrowed(&args[2..]) })?;
    }
    out.integer(i64::from(is_absent));
    Ok(())
}

fn hdel(transaction: &mut Transaction<'_>, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let removed = transaction.apply(args[1], &KeyChange::HashRemove { fields: Cow::Borrowed(&args[2..]) })?.count;
    out.integer(removed as i64);
    Ok(())
}

fn hincrby(transaction: &mut Transaction<'_>, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let by = number::integer(args[3])?;
    let slot = transaction.open(args[1]);
    let hash = typed::hash(slot.value())?;
    let kept = expiry::deadlines(hash, &args[2..3]);
    let old = match hash.and_then(|hash| hash.get(args[2])) {
        None => 0,
        Some(text) => number::parse_integer(text).ok_or(Error::text("ERR hash value is not an integer"))?,
    };
    let sum = old.checked_add(by).ok_or(Error::Overflow)?;
    let mut digits = itoa::Buffer::new();
    let pair = [args[2], digits.format(sum).as_bytes()];
    slot.apply_as(class::HASH, "hincrby", &KeyChange::HashSet { pairs: Cow::Borrowed(&pair) })?;
    expiry::keep(transaction, args[1], &kept)?;
    out.integer(sum);
    Ok(())
}

fn hincrbyfloat(transaction: &mut Transaction<'_>, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let by = LongDouble::parse(args[3]).ok_or(Error::NotFloat)?;
    if !by.is_finite() {
        return Err(Error::text("ERR value is NaN or Infinity"));
    }
    let slot = transaction.open(args[1]);
    let hash = typed::hash(slot.value())?;
    let kept = expiry::deadlines(hash, &args[2..3]);
    let old = match hash.and_then(|hash| hash.get(args[2])) {
        None => long_double::ZERO,
        Some(text) => LongDouble::parse(text).ok_or(Error::text("ERR hash value is not a float"))?,
    };
    let text = old.sum(by).ok_or(Error::NotANumber)?;
    // The final text is replicated, so that no replica computes it in its own way.
    let pair = [args[2], text.as_bytes()];
    slot.apply_as(class::HASH, "hincrbyfloat", &KeyChange::HashSet { pairs: Cow::Borrowed(&pair) })?;
    expiry::keep(transaction, args[1], &kept)?;
    out.bulk(text.as_bytes());
    Ok(())
}

#[inline]
fn hget(view: &View<'_>, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    reply_field(find(view, args[1])?, args[2], out);
    Ok(())
}

fn hmget(view: &View<'_>, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let hash = find(view, args[1])?;
    out.array(args.len() - 2);
    args[2..].iter().for_each(|field| reply_field(hash, field, out));
    Ok(())
}

#[inline]
fn reply_field(hash: Option<HashRef<'_>>, field: &[u8], out: &mut Encoder<'_>) {
    match hash.and_then(|hash| hash.get(field)) {
        None => out.null(),
        Some(value) => out.bulk(value),
    }
}

fn hgetall(view: &View<'_>, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let hash = find(view, args[1])?;
    out.map(hash.map_or(0, HashRef::len));
    for (field, value) in hash.into_iter().flat_map(HashRef::iter) {
        out.bulk(field);
        out.bulk(value);
    }
    Ok(())
}

fn hkeys(view: &View<'_>, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let hash = find(view, args[1])?;
    out.array(hash.map_or(0, HashRef::len));
    hash.into_iter().flat_map(HashRef::iter).for_each(|(field, _)| out.bulk(field));
    Ok(())
}

fn hvals(view: &View<'_>, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let hash = find(view, args[1])?;
    out.array(hash.map_or(0, HashRef::len));
    hash.into_iter().flat_map(HashRef::iter).for_each(|(_, value)| out.bulk(value));
    Ok(())
}

fn hlen(view: &View<'_>, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    out.integer(find(view, args[1])?.map_or(0, HashRef::len) as i64);
    Ok(())
}

fn hexists(view: &View<'_>, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    out.integer(i64::from(find(view, args[1])?.is_some_and(|hash| hash.contains(args[2]))));
    Ok(())
}

fn hstrlen(view: &View<'_>, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let length = find(view, args[1])?.and_then(|hash| hash.get(args[2])).map_or(0, |value| value.len());
    out.integer(length as i64);
    Ok(())
}

fn hrandfield(view: &View<'_>, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let rng = &mut rand::rng();
    if args.len() == 2 {
        match find(view, args[1])?.and_then(|hash| hash.random(rng)) {
            None => out.null(),
            Some((field, _)) => out.bulk(field),
        }
        return Ok(());
    }
    let (count, has_values) = sample::arguments(&args[2..], b"withvalues")?;
    let Some(hash) = find(view, args[1])? else {
        out.array(0);
        return Ok(());
    };
    let reply = |(field, value): (&[u8], &[u8]), out: &mut Encoder<'_>| {
        if has_values && out.version() == Version::Resp3 {
            out.array(2);
        }
        out.bulk(field);
        if has_values {
            out.bulk(value);
        }
    };
    let length = sample::length(count, hash.len());
    out.array(if has_values && out.version() == Version::Resp2 { 2 * length } else { length });
    sample::each(count, hash.len(), || hash.iter(), || hash.random(&mut rand::rng()), |pair| reply(pair, out));
    Ok(())
}

fn hscan(view: &View<'_>, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let cursor = scanning::cursor(args[2])?;
    let Some(hash) = find(view, args[1])? else {
        scanning::reply_nothing(out);
        return Ok(());
    };
    let options = scanning::Options::parse(&args[3..], scanning::Types::None)?;
    let (next, mut pairs) = hash.scan(cursor, options.count);
    pairs.retain(|(field, _)| options.matches(field));
    scanning::reply_head(next, 2 * pairs.len(), out);
    for (field, value) in pairs {
        out.bulk(field);
        out.bulk(value);
    }
    Ok(())
}
