//! BITFIELD: integers of any width within a string.

use tercet_proto::resp::Encoder;

use super::{checked_offset, number, strings};
use crate::effect::{KeyChange, class};
use crate::engine::{Transaction, View};
use crate::keyspace::Keyspace;
use crate::keyspace::value::ValueRef;
use crate::resp::error::Error;
use crate::resp::table::{Args, Outcome};

/// How a field is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Kind {
    is_signed: bool,
    bits: u32,
}

impl Kind {
    fn parse(text: &[u8]) -> Result<Self, Error> {
        let wrong = || {
            Error::text(
                "ERR Invalid bitfield type. Use something like i16 u8. Note that u64 is not supported but i64 is.",
            )
        };
        let (is_signed, most) = match text.first() {
            Some(b'i') => (true, 64),
            Some(b'u') => (false, 63),
            _ => return Err(wrong()),
        };
        let bits = number::parse_integer(number::c_text(&text[1..])).filter(|bits| (1..=most).contains(bits));
        Ok(Self { is_signed, bits: bits.ok_or_else(wrong)? as u32 })
    }

    fn range(self) -> (i128, i128) {
        let span = 1i128 << self.bits;
        if self.is_signed { (-span / 2, span / 2 - 1) } else { (0, span - 1) }
    }

    /// What the lowest bits of a number are as a field.
    fn wrap(self, number: i128) -> i128 {
        let (low, high) = self.range();
        let bits = number & ((1i128 << self.bits) - 1);
        if bits > high { bits + 2 * low } else { bits }
    }
}

/// What happens to a number that does not fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Overflow {
    Wrap,
    Saturate,
    Fail,
}

impl Overflow {
    fn fit(self, number: i128, kind: Kind) -> Option<i128> {
        let (low, high) = kind.range();
        if (low..=high).contains(&number) {
            return Some(number);
        }
        match self {
            Self::Wrap => Some(kind.wrap(number)),
            Self::Saturate => Some(number.clamp(low, high)),
            Self::Fail => None,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Action {
    Get,
    Set(i64),
    Increment(i64),
}

#[derive(Debug, Clone, Copy)]
struct Operation {
    action: Action,
    kind: Kind,
    offset: u64,
    overflow: Overflow,
}

fn parse(keyspace: &Keyspace, mut rest: &Args<'_>) -> Result<Vec<Operation>, Error> {
    let mut operations = Vec::new();
    let mut overflow = Overflow::Wrap;
    while let [name, behind @ ..] = rest {
        let name = name.to_ascii_lowercase();
        match (name.as_slice(), behind) {
            (b"overflow", [word, behind @ ..]) => {
                overflow = match word.to_ascii_lowercase().as_slice() {
                    b"wrap" => Overflow::Wrap,
                    b"sat" => Overflow::Saturate,
                    b"fail" => Overflow::Fail,
                    _ => return Err(Error::text("ERR Invalid OVERFLOW type specified")),
                };
                rest = behind;
            }
            (b"get", [kind, place, behind @ ..]) => {
                let kind = Kind::parse(kind)?;
                operations.push(Operation {
                    action: Action::Get,
                    kind,
                    offset: offset(keyspace, place, kind)?,
                    overflow,
                });
                rest = behind;
            }
            (b"set" | b"incrby", [kind, place, value, behind @ ..]) => {
                let kind = Kind::parse(kind)?;
                let offset = offset(keyspace, place, kind)?;
                let value = number::integer(value)?;
                let action = if name == b"set" { Action::Set(value) } else { Action::Increment(value) };
                operations.push(Operation { action, kind, offset, overflow });
                rest = behind;
            }
            _ => return Err(Error::Syntax),
        }
    }
    Ok(operations)
}

/// A place among bits, or with `#` among fields of this width.
fn offset(keyspace: &Keyspace, text: &[u8], kind: Kind) -> Result<u64, Error> {
    let (digits, factor) = match text {
        [b'#', digits @ ..] => (digits, u64::from(kind.bits)),
        digits => (digits, 1),
    };
    let offset = number::parse_integer(digits).and_then(|offset| u64::try_from(offset).ok()?.checked_mul(factor));
    checked_offset(keyspace, offset.filter(|offset| i64::try_from(*offset).is_ok()))
}

/// Bytes that a field of 64 bits may touch.
const TOUCHED: usize = 9;

/// The bytes around a field; what lies beyond the string is zero.
fn around(value: Option<ValueRef<'_>>, offset: u64) -> Result<[u8; TOUCHED], Error> {
    let mut bytes = [0; TOUCHED];
    if let Some(value) = value {
        let text = strings::bytes(value)?;
        let tail = text.get((offset / 8) as usize..).unwrap_or_default();
        let count = tail.len().min(TOUCHED);
        bytes[..count].copy_from_slice(&tail[..count]);
    }
    Ok(bytes)
}

/// As one number, and by how many bits the field has to be moved in it.
fn window(bytes: [u8; TOUCHED], offset: u64, kind: Kind) -> (u128, u32) {
    let number = bytes.iter().fold(0, |number, byte| number << 8 | u128::from(*byte));
    (number, 8 * TOUCHED as u32 - (offset % 8) as u32 - kind.bits)
}

fn field(value: Option<ValueRef<'_>>, operation: &Operation) -> Result<i128, Error> {
    let Operation { offset, kind, .. } = *operation;
    let (number, shift) = window(around(value, offset)?, offset, kind);
    Ok(kind.wrap((number >> shift) as i128))
}

pub(super) fn bitfield_ro(view: &View<'_>, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let operations = parse(view.keyspace(), &args[2..])?;
    if operations.iter().any(|operation| operation.action != Action::Get) {
        return Err(Error::text("ERR BITFIELD_RO only supports the GET subcommand"));
    }
    let value = view.get(args[1]).map(|entry| entry.value());
    check_type(value)?;
    out.array(operations.len());
    for operation in &operations {
        out.integer(field(value, operation)? as i64);
    }
    Ok(())
}

fn check_type(value: Option<ValueRef<'_>>) -> Outcome {
    value.map_or(Ok(()), |value| strings::bytes(value).map(|_| ()))
}

pub(super) fn bitfield(transaction: &mut Transaction<'_>, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let operations = parse(transaction.keyspace(), &args[2..])?;
    let written = operations.iter().filter(|operation| operation.action != Action::Get);
    let last = written.map(|operation| operation.offset + u64::from(operation.kind.bits) - 1).max();
    let mut has_grown = false;
    {
        let slot = transaction.open(args[1]);
        check_type(slot.value())?;
        let length = slot.value().map_or(Ok(0), |value| strings::bytes(value).map(|bytes| bytes.len()))?;
        if let Some(last) = last
            && last / 8 >= length as u64
        {
            // Room up to the farthest bit comes first, whatever becomes of the fields.
            has_grown = true;
            slot.apply_as(0, "", &KeyChange::SetRange { offset: last / 8, bytes: &[0] })?;
        }
    }
    let mut has_changed = false;
    out.array(operations.len());
    for operation in &operations {
        let written = execute(transaction, args[1], operation, out)?;
        has_changed |= written == Written::Changed || has_grown && written == Written::Same;
    }
    if has_changed {
        transaction.raise(class::STRING, "setbit", args[1]);
    }
    Ok(())
}

/// What an operation did to the string.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Written {
    /// It reads, or its result has no room.
    Nothing,
    Same,
    Changed,
}

fn execute(
    transaction: &mut Transaction<'_>,
    key: &[u8],
    operation: &Operation,
    out: &mut Encoder<'_>,
) -> Result<Written, Error> {
    let Operation { action, kind, offset, overflow } = *operation;
    let slot = transaction.open(key);
    let old = field(slot.value(), operation)?;
    let wanted = match action {
        Action::Get => {
            out.integer(old as i64);
            return Ok(Written::Nothing);
        }
        Action::Set(value) if kind.is_signed => i128::from(value),
        Action::Set(value) => i128::from(value as u64),
        Action::Increment(by) => old + i128::from(by),
    };
    let Some(new) = overflow.fit(wanted, kind) else {
        out.null();
        return Ok(Written::Nothing);
    };
    out.integer(if matches!(action, Action::Set(_)) { old } else { new } as i64);
    if new == old {
        return Ok(Written::Same);
    }
    let (number, shift) = window(around(slot.value(), offset)?, offset, kind);
    let mask = ((1u128 << kind.bits) - 1) << shift;
    let number = number & !mask | (new as u128) << shift & mask;
    let bytes = number.to_be_bytes();
    let bytes = &bytes[bytes.len() - TOUCHED..];
    let count = ((offset % 8) as usize + kind.bits as usize).div_ceil(8);
    slot.apply_as(0, "", &KeyChange::SetRange { offset: offset / 8, bytes: &bytes[..count] })?;
    Ok(Written::Changed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_wrap_saturate_and_fail_at_every_width() {
        for bits in 1..=64 {
            let kind = Kind { is_signed: true, bits };
            let (low, high) = kind.range();
            assert_eq!(Overflow::Wrap.fit(high + 1, kind), Some(low));
            assert_eq!(Overflow::Wrap.fit(low - 1, kind), Some(high));
            assert_eq!(Overflow::Saturate.fit(high + 7, kind), Some(high));
            assert_eq!(Overflow::Fail.fit(low - 1, kind), None);
        }
        let kind = Kind { is_signed: false, bits: 63 };
        assert_eq!(Overflow::Wrap.fit(-1, kind), Some(kind.range().1));
        assert_eq!(Overflow::Saturate.fit(-1, kind), Some(0));
    }
}
