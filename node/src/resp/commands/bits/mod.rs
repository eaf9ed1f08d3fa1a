//! Bits of strings: the first bit is the highest one of the first byte.

mod field;
mod search;

use tercet_proto::resp::Encoder;

use super::{number, strings};
use crate::effect::{Expiry, KeyChange, class};
use crate::engine::{Transaction, View};
use crate::keyspace::Keyspace;
use crate::resp::error::Error;
use crate::resp::table::flag::{DENY_OOM, FAST, WHOLE};
use crate::resp::table::{Args, Command, Group, Keys, Outcome, read, write};

const G: Group = Group::Bitmap;

pub(super) const ROWS: &[Command] = &[
    write(
        "setbit",
        4,
        DENY_OOM,
        Keys::ONE,
        G,
        "Sets or clears the bit at offset of the string value. Creates the key if it doesn't exist.",
        setbit,
    ),
    read("getbit", 3, FAST, Keys::ONE, G, "Returns a bit value by offset.", getbit),
    read(
        "bitcount",
        -2,
        WHOLE,
        Keys::ONE,
        G,
        "Counts the number of set bits (population counting) in a string.",
        search::bitcount,
    ),
    read("bitpos", -3, WHOLE, Keys::ONE, G, "Finds the first set (1) or clear (0) bit in a string.", search::bitpos),
    write(
        "bitop",
        -4,
        DENY_OOM | WHOLE,
        Keys::Range(2, -1, 1),
        G,
        "Performs bitwise operations on multiple strings, and stores the result.",
        bitop,
    ),
    write(
        "bitfield",
        -2,
        DENY_OOM,
        Keys::ONE,
        G,
        "Performs arbitrary bitfield integer operations on strings.",
        field::bitfield,
    ),
    read(
        "bitfield_ro",
        -2,
        FAST,
        Keys::ONE,
        G,
        "Performs arbitrary read-only bitfield integer operations on strings.",
        field::bitfield_ro,
    ),
];

/// A place among bits; no string is longer than `proto-max-bulk-len`.
fn offset(keyspace: &Keyspace, text: &[u8]) -> Result<u64, Error> {
    let offset = number::parse_integer(text).and_then(|offset| u64::try_from(offset).ok());
    checked_offset(keyspace, offset)
}

fn checked_offset(keyspace: &Keyspace, offset: Option<u64>) -> Result<u64, Error> {
    offset
        .filter(|offset| *offset / 8 < strings::longest(keyspace) as u64)
        .ok_or(Error::text("ERR bit offset is not an integer or out of range"))
}

fn bit_of(bytes: &[u8], offset: u64) -> u8 {
    bytes.get((offset / 8) as usize).map_or(0, |byte| byte >> (7 - offset % 8) & 1)
}

fn setbit(transaction: &mut Transaction<'_>, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let offset = offset(transaction.keyspace(), args[2])?;
    let wrong = Error::text("ERR bit is not an integer or out of range");
    let bit = number::parse_integer(args[3]).filter(|bit| matches!(bit, 0 | 1)).ok_or(wrong)? as u8;
    let slot = transaction.open(args[1]);
    let (old, byte, is_there) = match slot.value() {
        None => (0, 0, false),
        Some(value) => {
            let bytes = strings::bytes(value)?;
            let byte = bytes.get((offset / 8) as usize).copied();
            (bit_of(&bytes, offset), byte.unwrap_or(0), byte.is_some())
        }
    };
    if old != bit || !is_there {
        let mask = 1 << (7 - offset % 8);
        let byte = byte & !mask | if bit == 1 { mask } else { 0 };
        slot.apply_as(class::STRING, "setbit", &KeyChange::SetRange { offset: offset / 8, bytes: &[byte] })?;
    }
    out.integer(i64::from(old));
    Ok(())
}

fn getbit(view: &View<'_>, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let offset = offset(view.keyspace(), args[2])?;
    let bit = match view.get(args[1]) {
        None => 0,
        Some(entry) => bit_of(&strings::bytes(entry.value())?, offset),
    };
    out.integer(i64::from(bit));
    Ok(())
}

fn bitop(transaction: &mut Transaction<'_>, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let combine: fn(u8, u8) -> u8 = match args[1].to_ascii_lowercase().as_slice() {
        b"and" => |a, b| a & b,
        b"or" => |a, b| a | b,
        b"xor" => |a, b| a ^ b,
        b"not" if args.len() != 4 => {
            return Err(Error::text("ERR BITOP NOT must be called with a single source key."));
        }
        b"not" => |_, b| !b,
        _ => return Err(Error::Syntax),
    };
    let is_not = args[1].eq_ignore_ascii_case(b"not");
    let mut result: Vec<u8> = Vec::new();
    for (place, key) in args[3..].iter().enumerate() {
        let bytes = match transaction.read(key) {
            None => std::borrow::Cow::Borrowed(&[][..]),
            Some(entry) => strings::bytes(entry.value())?,
        };
        if place == 0 && !is_not {
            result = bytes.into_owned();
            continue;
        }
        if result.len() < bytes.len() {
            result.resize(bytes.len(), 0);
        }
        let (both, rest) = result.split_at_mut(bytes.len());
        both.iter_mut().zip(bytes.iter()).for_each(|(a, b)| *a = combine(*a, *b));
        rest.iter_mut().for_each(|a| *a = combine(*a, 0));
    }
    if result.is_empty() {
        transaction.apply(args[2], &KeyChange::Delete)?;
    } else {
        transaction.apply(args[2], &KeyChange::SetString { value: &result, expiry: Expiry::Never })?;
    }
    out.integer(result.len() as i64);
    Ok(())
}
