//! BITCOUNT and BITPOS: what is set in a range of bytes or bits.

use tercet_proto::resp::Encoder;

use super::{number, strings};
use crate::engine::View;
use crate::resp::error::Error;
use crate::resp::table::{Args, Outcome};

/// What the numbers of a range count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unit {
    Byte,
    Bit,
}

fn unit(word: Option<&&[u8]>) -> Result<Unit, Error> {
    match word {
        None => Ok(Unit::Byte),
        Some(word) if word.eq_ignore_ascii_case(b"byte") => Ok(Unit::Byte),
        Some(word) if word.eq_ignore_ascii_case(b"bit") => Ok(Unit::Bit),
        Some(_) => Err(Error::Syntax),
    }
}

/// The bits `first..end` that a range means, whose ends are both included and may count from behind.
fn bits(start: i64, stop: i64, unit: Unit, bytes: usize) -> (u64, u64) {
    let total = bytes as i64 * if unit == Unit::Bit { 8 } else { 1 };
    let place = |index: i64| if index < 0 { index.saturating_add(total).max(0) } else { index };
    let (start, stop) = (place(start), place(stop).min(total - 1));
    if start > stop {
        return (0, 0);
    }
    let each = if unit == Unit::Bit { 1 } else { 8 };
    (start as u64 * each, (stop as u64 + 1) * each)
}

/// The byte at `index`, without the bits outside of `first..end`.
fn masked(bytes: &[u8], index: usize, first: u64, end: u64) -> (u8, u8) {
    let start = index as u64 * 8;
    let ahead = first.saturating_sub(start).min(8);
    let behind = (start + 8).saturating_sub(end).min(8);
    let mask = (0xFFu16 >> ahead) as u8 & (0xFFu16 << behind) as u8;
    (bytes[index], mask)
}

pub(super) fn bitcount(view: &View<'_>, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let Some(entry) = view.get(args[1]) else {
        out.integer(0);
        return Ok(());
    };
    let bytes = strings::bytes(entry.value())?;
    let (first, end) = match &args[2..] {
        [] => (0, bytes.len() as u64 * 8),
        [start, stop, rest @ ..] if rest.len() <= 1 => {
            let (start, stop) = (number::integer(start)?, number::integer(stop)?);
            // Redis: two numbers from behind the wrong way round are nothing, before it looks at the unit.
            if start < 0 && stop < 0 && start > stop {
                out.integer(0);
                return Ok(());
            }
            bits(start, stop, unit(rest.first())?, bytes.len())
        }
        _ => return Err(Error::Syntax),
    };
    out.integer(count(&bytes, first, end) as i64);
    Ok(())
}

fn count(bytes: &[u8], first: u64, end: u64) -> u64 {
    if first >= end {
        return 0;
    }
    let (low, high) = ((first / 8) as usize, ((end - 1) / 8) as usize);
    let edge = |index: usize| {
        let (byte, mask) = masked(bytes, index, first, end);
        u64::from((byte & mask).count_ones())
    };
    if low == high {
        return edge(low);
    }
    let (words, rest) = bytes[low + 1..high].as_chunks::<8>();
    let inner: u64 = words.iter().map(|word| u64::from(u64::from_le_bytes(*word).count_ones())).sum();
    let rest: u64 = rest.iter().map(|byte| u64::from(byte.count_ones())).sum();
    edge(low) + inner + rest + edge(high)
}

pub(super) fn bitpos(view: &View<'_>, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let bit = match number::integer(args[2])? {
        0 => 0,
        1 => 1,
        _ => return Err(Error::text("ERR The bit argument must be 1 or 0.")),
    };
    let Some(entry) = view.get(args[1]) else {
        out.integer(if bit == 1 { -1 } else { 0 });
        return Ok(());
    };
    let bytes = strings::bytes(entry.value())?;
    let (first, end, has_end) = match &args[3..] {
        [] => (0, bytes.len() as u64 * 8, false),
        [start] => {
            let (first, end) = bits(number::integer(start)?, -1, Unit::Byte, bytes.len());
            (first, end, false)
        }
        [start, stop, rest @ ..] if rest.len() <= 1 => {
            let start = number::integer(start)?;
            let unit = unit(rest.first())?;
            let (first, end) = bits(start, number::integer(stop)?, unit, bytes.len());
            (first, end, true)
        }
        _ => return Err(Error::Syntax),
    };
    let position = match find(&bytes, bit, first, end) {
        Some(position) => position as i64,
        // Without an end the string goes on with zeros for ever.
        None if bit == 0 && !has_end && first < end => end as i64,
        None => -1,
    };
    out.integer(position);
    Ok(())
}

fn find(bytes: &[u8], bit: u8, first: u64, end: u64) -> Option<u64> {
    if first >= end {
        return None;
    }
    let (low, high) = ((first / 8) as usize, ((end - 1) / 8) as usize);
    let within = |index: usize| {
        let (byte, mask) = masked(bytes, index, first, end);
        let wanted = if bit == 1 { byte } else { !byte } & mask;
        (wanted != 0).then(|| index as u64 * 8 + u64::from(wanted.leading_zeros()))
    };
    if let found @ Some(_) = within(low) {
        return found;
    }
    let uniform = if bit == 1 { 0 } else { 0xFF };
    let inner = bytes.get(low + 1..high).unwrap_or_default();
    // Whole words first.
    let (words, _) = inner.as_chunks::<8>();
    let skipped = words.iter().take_while(|word| word.iter().all(|byte| *byte == uniform)).count() * 8;
    let next = inner[skipped..].iter().position(|byte| *byte != uniform);
    match next {
        Some(place) => within(low + 1 + skipped + place),
        None => within(high),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counting_and_finding_agree_with_bits_one_by_one() {
        let bytes: Vec<u8> = (0..40u32).map(|n| if n % 9 < 6 { 0 } else { (n * 73) as u8 }).collect();
        let bit = |at: u64| bytes[(at / 8) as usize] >> (7 - at % 8) & 1;
        for first in (0..320).step_by(3) {
            for end in (first..=320).step_by(5) {
                let set = (first..end).filter(|at| bit(*at) == 1).count() as u64;
                assert_eq!(count(&bytes, first, end), set, "{first}..{end}");
                for wanted in [0, 1] {
                    let expected = (first..end).find(|at| bit(*at) == wanted);
                    assert_eq!(find(&bytes, wanted, first, end), expected, "{wanted} in {first}..{end}");
                }
            }
        }
    }
}
