//! Strings: SET and GET with all their relatives.

use tercet_proto::resp::Encoder;

use super::comparing::Comparison;
use super::long_double::{self, LongDouble};
use super::number::{self, TimeUnit};
pub(super) use super::typed::bytes;
use crate::effect::{Expiry, KeyChange, class};
use crate::engine::{Transaction, View};
use crate::keyspace::value::ValueRef;
use crate::keyspace::{Entry, Keyspace};
use crate::lent;
use crate::resp::error::Error;
use crate::resp::table::flag::{DENY_OOM, FAST};
use crate::resp::table::{Args, Command, Group, Keys, Outcome, read, write};

const G: Group = Group::String;

pub(super) const ROWS: &[Command] = &[
    read("get", 2, FAST, Keys::ONE, G, "Returns the string value of a key.", get),
    write("set", -3, DENY_OOM, Keys::ONE, G, "Sets the string value of a key, ignoring its type.", set),
    write(
        "setnx",
        3,
        DENY_OOM | FAST,
        Keys::ONE,
        G,
        "Sets the string value of a key only when the key doesn't exist.",
        setnx,
    ),
    write("setex", 4, DENY_OOM, Keys::ONE, G, "Sets the string value and expiration time (seconds) of a key.", setex),
    write(
        "psetex",
        4,
        DENY_OOM,
        Keys::ONE,
        G,
        "Sets the string value and expiration time (milliseconds) of a key.",
        psetex,
    ),
    write("getset", 3, DENY_OOM | FAST, Keys::ONE, G, "Returns the previous value of a key after setting it.", getset),
    write("getdel", 2, FAST, Keys::ONE, G, "Returns the string value of a key after deleting the key.", getdel),
    write(
        "getex",
        -2,
        FAST,
        Keys::ONE,
        G,
        "Returns the string value of a key after setting its expiration time.",
        getex,
    ),
    read("strlen", 2, FAST, Keys::ONE, G, "Returns the length of a string value.", strlen),
    read("getrange", 4, 0, Keys::ONE, G, "Returns a substring of the string stored at a key.", getrange),
    read("substr", 4, 0, Keys::ONE, G, "Returns a substring from a string value.", getrange),
    write(
        "setrange",
        4,
        DENY_OOM,
        Keys::ONE,
        G,
        "Overwrites a part of a string value with another by an offset.",
        setrange,
    ),
    write("append", 3, DENY_OOM | FAST, Keys::ONE, G, "Appends a string to the value of a key.", append),
    write("incr", 2, DENY_OOM | FAST, Keys::ONE, G, "Increments the integer value of a key by one.", incr),
    write("decr", 2, DENY_OOM | FAST, Keys::ONE, G, "Decrements the integer value of a key by one.", decr),
    write("incrby", 3, DENY_OOM | FAST, Keys::ONE, G, "Increments the integer value of a key by a number.", incrby),
    write("decrby", 3, DENY_OOM | FAST, Keys::ONE, G, "Decrements a number from the integer value of a key.", decrby),
    write(
        "incrbyfloat",
        3,
        DENY_OOM | FAST,
        Keys::ONE,
        G,
        "Increments the floating point value of a key by a number.",
        incrbyfloat,
    ),
    read("mget", -2, FAST, Keys::REST, G, "Atomically returns the string values of one or more keys.", mget),
    write(
        "mset",
        -3,
        DENY_OOM,
        Keys::Range(1, -1, 2),
        G,
        "Atomically creates or modifies the string values of one or more keys.",
        mset,
    ),
    write(
        "msetnx",
        -3,
        DENY_OOM,
        Keys::Range(1, -1, 2),
        G,
        "Atomically modifies the string values of one or more keys only when all keys don't exist.",
        msetnx,
    ),
];

/// Redis refuses to work on more than this at once, whatever `proto-max-bulk-len` says.
pub(super) const MAX_LENGTH: usize = 512 << 20;

/// `proto-max-bulk-len`: no string grows beyond it.
pub(super) fn longest(keyspace: &Keyspace) -> usize {
    keyspace.thresholds().text()
}

/// Puts a string in the place of another one, and replicates as little as it takes. Its time to live stays.
pub(super) fn put_string(
    transaction: &mut Transaction<'_>,
    key: &[u8],
    new: &[u8],
    event: Option<&'static str>,
) -> Outcome {
    /// Equal bytes between two changes that make them two effects.
    const GAP: usize = 16;
    let slot = transaction.open(key);
    let mut changes: Vec<std::ops::Range<usize>> = Vec::new();
    if let Some(ValueRef::String(old)) = slot.value()
        && old.len() == new.len()
    {
        for at in (0..new.len()).filter(|at| old[*at] != new[*at]) {
            match changes.last_mut() {
                Some(last) if at < last.end + GAP => last.end = at + 1,
                _ => changes.push(at..at + 1),
            }
        }
        let bytes: usize = changes.iter().map(|change| change.len() + GAP).sum();
        if bytes < new.len() {
            for change in changes {
                let change = KeyChange::SetRange { offset: change.start as u64, bytes: &new[change] };
                transaction.apply_as(key, 0, "", &change)?;
            }
            if let Some(event) = event {
                transaction.raise(class::STRING, event, key);
            }
            return Ok(());
        }
    }
    let (class, name) = event.map_or((0, ""), |event| (class::STRING, event));
    slot.apply_as(class, name, &KeyChange::SetString { value: new, expiry: Expiry::Keep })?;
    Ok(())
}

#[inline]
fn reply_value(value: ValueRef<'_>, out: &mut Encoder<'_>) -> Outcome {
    match value {
        ValueRef::String(text) => out.bulk(text),
        ValueRef::Integer(number) => out.bulk_integer(number),
        _ => return Err(Error::WrongType),
    }
    Ok(())
}

#[inline]
fn get(view: &View<'_>, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    match view.get(args[1]) {
        None => out.null(),
        Some(entry) => return reply_entry(entry, out),
    }
    Ok(())
}

/// As `reply_value`: a large text is not copied.
#[inline]
fn reply_entry(entry: Entry<'_>, out: &mut Encoder<'_>) -> Outcome {
    match entry.value() {
        ValueRef::String(text) if text.len() >= lent::SHARED_BYTES => match entry.shared_text() {
            Some(text) => out.bulk_shared(&text),
            None => out.bulk(text),
        },
        value => return reply_value(value, out),
    }
    Ok(())
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Condition<'a> {
    Always,
    IfAbsent,
    IfPresent,
    If(Comparison<'a>),
}

#[inline]
fn set(transaction: &mut Transaction<'_>, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    if args.len() == 3 {
        let change = KeyChange::SetString { value: args[2], expiry: Expiry::Never };
        transaction.apply(args[1], &change)?;
        out.ok();
        return Ok(());
    }
    set_with_options(transaction, args, out)
}

fn set_with_options(transaction: &mut Transaction<'_>, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let (mut condition, mut keeps, mut time, mut wants_old) = (Condition::Always, false, None, false);
    let mut rest = args[3..].iter();
    while let Some(option) = rest.next() {
        let lower = option.to_ascii_lowercase();
        match lower.as_slice() {
            b"nx" if matches!(condition, Condition::Always | Condition::IfAbsent) => condition = Condition::IfAbsent,
            b"xx" if matches!(condition, Condition::Always | Condition::IfPresent) => condition = Condition::IfPresent,
            b"ifeq" | b"ifne" | b"ifdeq" | b"ifdne" if condition == Condition::Always => {
                let wanted = rest.next().ok_or(Error::Syntax)?;
                condition = Comparison::of(&lower, wanted)?.map_or(Condition::Always, Condition::If);
            }
            b"get" => wants_old = true,
            b"keepttl" if time.is_none() => keeps = true,
            b"ex" | b"px" | b"exat" | b"pxat" if !keeps && time.is_none_or(|(unit, _)| unit == time_unit(&lower)) => {
                time = Some((time_unit(&lower), rest.next().ok_or(Error::Syntax)?));
            }
            _ => return Err(Error::Syntax),
        }
    }
    // Redis reads the time when all options have been understood.
    let expiry = match time {
        Some((unit, text)) => Expiry::At(number::positive_expiry(text, unit, transaction.now(), "set")?),
        None if keeps => Expiry::Keep,
        None => Expiry::Never,
    };
    let old = transaction.get(args[1]);
    let is_present = old.is_some();
    let is_equal = match condition {
        Condition::If(comparison) => comparison.allows(old.map(|entry| entry.value()))?,
        _ => true,
    };
    if wants_old {
        match old {
            None => {
                out.null();
                transaction.miss(args[1]);
            }
            Some(entry) => reply_value(entry.value(), out)?,
        }
    }
    let may_set = match condition {
        Condition::Always => true,
        Condition::IfAbsent => !is_present,
        Condition::IfPresent => is_present,
        Condition::If(_) => is_equal,
    };
    if may_set {
        let change = KeyChange::SetString { value: args[2], expiry };
        transaction.apply(args[1], &change)?;
        if time.is_some() {
            transaction.raise(class::GENERIC, "expire", args[1]);
        }
    }
    match (wants_old, may_set) {
        (true, _) => {}
        (false, true) => out.ok(),
        (false, false) => out.null(),
    }
    Ok(())
}

fn time_unit(option: &[u8]) -> TimeUnit {
    match option {
        b"ex" => TimeUnit::Seconds,
        b"px" => TimeUnit::Millis,
        b"exat" => TimeUnit::UnixSeconds,
        _ => TimeUnit::UnixMillis,
    }
}

fn setnx(transaction: &mut Transaction<'_>, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let slot = transaction.open(args[1]);
    let is_absent = slot.value().is_none();
    if is_absent {
        slot.apply(&KeyChange::SetString { value: args[2], expiry: Expiry::Never })?;
    }
    out.integer(i64::from(is_absent));
    Ok(())
}

fn setex(transaction: &mut Transaction<'_>, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    set_for(transaction, args, TimeUnit::Seconds, "setex", out)
}

fn psetex(transaction: &mut Transaction<'_>, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    set_for(transaction, args, TimeUnit::Millis, "psetex", out)
}

fn set_for(
    transaction: &mut Transaction<'_>,
    args: &Args<'_>,
    unit: TimeUnit,
    command: &'static str,
    out: &mut Encoder<'_>,
) -> Outcome {
    let at = number::positive_expiry(args[2], unit, transaction.now(), command)?;
    transaction.apply(args[1], &KeyChange::SetString { value: args[3], expiry: Expiry::At(at) })?;
    transaction.raise(class::GENERIC, "expire", args[1]);
    out.ok();
    Ok(())
}

fn getset(transaction: &mut Transaction<'_>, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let slot = transaction.open(args[1]);
    let is_there = slot.value().is_some();
    reply_old(slot.value(), out)?;
    if !is_there {
        transaction.miss(args[1]);
    }
    transaction.apply(args[1], &KeyChange::SetString { value: args[2], expiry: Expiry::Never })?;
    Ok(())
}

fn getdel(transaction: &mut Transaction<'_>, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let slot = transaction.open(args[1]);
    let is_there = slot.value().is_some();
    reply_old(slot.value(), out)?;
    match is_there {
        true => _ = slot.apply(&KeyChange::Delete)?,
        false => transaction.miss(args[1]),
    }
    Ok(())
}

fn reply_old(old: Option<ValueRef<'_>>, out: &mut Encoder<'_>) -> Outcome {
    match old {
        None => out.null(),
        Some(value) => reply_value(value, out)?,
    }
    Ok(())
}

fn getex(transaction: &mut Transaction<'_>, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let now = transaction.now();
    let (mut persists, mut time) = (false, None);
    let mut rest = &args[2..];
    while let [option, behind @ ..] = rest {
        rest = behind;
        let lower = option.to_ascii_lowercase();
        match (lower.as_slice(), behind) {
            (b"persist", _) if time.is_none() => persists = true,
            (name @ (b"ex" | b"px" | b"exat" | b"pxat"), [text, behind @ ..])
                if !persists && time.is_none_or(|(unit, _)| unit == time_unit(name)) =>
            {
                // The last one of a kind counts.
                time = Some((time_unit(name), *text));
                rest = behind;
            }
            _ => return Err(Error::Syntax),
        }
    }
    let slot = transaction.open(args[1]);
    let Some(value) = slot.value() else {
        out.null();
        transaction.miss(args[1]);
        return Ok(());
    };
    if !matches!(value, ValueRef::String(_) | ValueRef::Integer(_)) {
        return Err(Error::WrongType);
    }
    let change = match time {
        Some((unit, text)) => Some(KeyChange::Expire { at: number::positive_expiry(text, unit, now, "getex")? }),
        None => persists.then_some(KeyChange::Persist),
    };
    reply_value(value, out)?;
    match change {
        Some(KeyChange::Expire { at }) if at <= now => _ = slot.apply(&KeyChange::Delete)?,
        Some(change) => _ = slot.apply(&change)?,
        None => {}
    }
    Ok(())
}

fn strlen(view: &View<'_>, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let length = match view.get(args[1]) {
        None => 0,
        Some(entry) => bytes(entry.value())?.len(),
    };
    out.integer(length as i64);
    Ok(())
}

fn getrange(view: &View<'_>, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let (start, stop) = (number::integer(args[2])?, number::integer(args[3])?);
    let Some(entry) = view.get(args[1]) else {
        out.bulk(b"");
        return Ok(());
    };
    let text = bytes(entry.value())?;
    // Redis: two negative indexes the wrong way round are empty even where clipping would say otherwise.
    let range = if start < 0 && stop < 0 && start > stop {
        0..0
    } else {
        number::range(start, stop.max(-(text.len() as i64)), text.len())
    };
    out.bulk(&text[range]);
    Ok(())
}

fn setrange(transaction: &mut Transaction<'_>, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let offset = number::integer(args[2])?;
    let offset = usize::try_from(offset).map_err(|_| Error::Offset)?;
    let longest = longest(transaction.keyspace());
    let slot = transaction.open(args[1]);
    let length = match slot.value() {
        None => 0,
        Some(value) => bytes(value)?.len(),
    };
    if args[3].is_empty() {
        out.integer(length as i64);
        return Ok(());
    }
    if offset.saturating_add(args[3].len()) > longest {
        return Err(Error::StringTooLong);
    }
    let applied = slot.apply(&KeyChange::SetRange { offset: offset as u64, bytes: args[3] })?;
    out.integer(applied.count as i64);
    Ok(())
}

fn append(transaction: &mut Transaction<'_>, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let longest = longest(transaction.keyspace());
    let slot = transaction.open(args[1]);
    let length = match slot.value() {
        None => 0,
        Some(value) => bytes(value)?.len(),
    };
    if length + args[2].len() > longest {
        return Err(Error::StringTooLong);
    }
    let applied = slot.apply(&KeyChange::Append { bytes: args[2] })?;
    out.integer(applied.count as i64);
    Ok(())
}

fn incr(transaction: &mut Transaction<'_>, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    add(transaction, args[1], 1, out)
}

fn decr(transaction: &mut Transaction<'_>, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    add(transaction, args[1], -1, out)
}

fn incrby(transaction: &mut Transaction<'_>, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    add(transaction, args[1], number::integer(args[2])?, out)
}

fn decrby(transaction: &mut Transaction<'_>, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let by = number::integer(args[2])?;
    let by = by.checked_neg().ok_or(Error::text("ERR decrement would overflow"))?;
    add(transaction, args[1], by, out)
}

#[inline]
fn add(transaction: &mut Transaction<'_>, key: &[u8], by: i64, out: &mut Encoder<'_>) -> Outcome {
    let slot = transaction.open(key);
    let old = match slot.value() {
        None => 0,
        Some(ValueRef::Integer(number)) => number,
        Some(ValueRef::String(text)) => number::integer(text)?,
        Some(_) => return Err(Error::WrongType),
    };
    let value = old.checked_add(by).ok_or(Error::Overflow)?;
    slot.apply(&KeyChange::SetInteger { value, expiry: Expiry::Keep })?;
    out.integer(value);
    Ok(())
}

fn incrbyfloat(transaction: &mut Transaction<'_>, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let slot = transaction.open(args[1]);
    let old = match slot.value() {
        None => long_double::ZERO,
        Some(value) => LongDouble::parse(&bytes(value)?).ok_or(Error::NotFloat)?,
    };
    let by = LongDouble::parse(args[2]).ok_or(Error::NotFloat)?;
    let text = old.sum(by).ok_or(Error::NotANumber)?;
    // The final text is replicated, so that no replica computes it in its own way.
    let change = KeyChange::SetString { value: text.as_bytes(), expiry: Expiry::Keep };
    slot.apply_as(class::STRING, "incrbyfloat", &change)?;
    out.bulk(text.as_bytes());
    Ok(())
}

fn mget(view: &View<'_>, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    out.array(args.len() - 1);
    for key in &args[1..] {
        match view.get(key).map(|entry| entry.value()) {
            Some(value @ (ValueRef::String(_) | ValueRef::Integer(_))) => reply_value(value, out)?,
            _ => out.null(),
        }
    }
    Ok(())
}

fn pairs<'a, 'b>(args: &'b Args<'a>, name: &'static str) -> Result<&'b [[&'a [u8]; 2]], Error> {
    match args[1..].as_chunks::<2>() {
        (pairs, []) => Ok(pairs),
        _ => Err(Error::Arity(name.into())),
    }
}

fn mset(transaction: &mut Transaction<'_>, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    for [key, value] in pairs(args, "mset")? {
        transaction.apply(key, &KeyChange::SetString { value, expiry: Expiry::Never })?;
    }
    out.ok();
    Ok(())
}

fn msetnx(transaction: &mut Transaction<'_>, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let pairs = pairs(args, "msetnx")?;
    let may_set = pairs.iter().all(|[key, _]| transaction.get(key).is_none());
    if may_set {
        for [key, value] in pairs {
            transaction.apply(key, &KeyChange::SetString { value, expiry: Expiry::Never })?;
        }
    }
    out.integer(i64::from(may_set));
    Ok(())
}
