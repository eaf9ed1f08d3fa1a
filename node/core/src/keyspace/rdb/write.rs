//! Lengths and strings as Redis writes them into its files: what `read` reads.

use crate::keyspace::value::parse_integer;

pub(super) fn put_length(length: u64, out: &mut Vec<u8>) {
    match length {
        0..0x40 => out.push(length as u8),
        0x40..0x4000 => out.extend([0x40 | (length >> 8) as u8, length as u8]),
        0x4000..=0xFFFF_FFFF => {
            out.push(0x80);
            out.extend_from_slice(&(length as u32).to_be_bytes());
        }
        _ => {
            out.push(0x81);
            out.extend_from_slice(&length.to_be_bytes());
        }
    }
}

pub(super) fn put_bytes(bytes: &[u8], out: &mut Vec<u8>) {
    put_length(bytes.len() as u64, out);
    out.extend_from_slice(bytes);
}

/// A string; a small integer as a number.
pub(super) fn put_string(text: &[u8], out: &mut Vec<u8>) {
    const LONGEST_INTEGER: usize = 11;
    let number = if text.len() <= LONGEST_INTEGER { parse_integer(text) } else { None };
    match number {
        Some(number @ -0x80..=0x7F) => out.extend([0xC0, number as u8]),
        Some(number @ -0x8000..=0x7FFF) => {
            out.push(0xC1);
            out.extend_from_slice(&(number as i16).to_le_bytes());
        }
        Some(number @ -0x8000_0000..=0x7FFF_FFFF) => {
            out.push(0xC2);
            out.extend_from_slice(&(number as i32).to_le_bytes());
        }
        _ => put_bytes(text, out),
    }
}
