//! Times to wait, as commands are told them.

use super::block::{Timeout, Unit};
use super::commands::parse_float;
use super::error::Error;
use crate::keyspace::value::parse_integer;

/// A time to wait in seconds, with a fraction.
pub(crate) fn seconds(args: &[&[u8]], at: usize) -> Result<Timeout, Error> {
    let number = parse_float(args[at]).ok_or(Error::text("ERR timeout is not a float or out of range"))?;
    let ms = number * 1000.0;
    if ms > i64::MAX as f64 {
        return Err(Error::text("ERR timeout is out of range"));
    }
    checked(ms.ceil() as i64, at, Unit::Seconds)
}

/// A time to wait in milliseconds.
pub(crate) fn millis(text: &[u8], at: usize) -> Result<Timeout, Error> {
    let ms = parse_integer(text).ok_or(Error::text("ERR timeout is not an integer or out of range"))?;
    checked(ms, at, Unit::Millis)
}

fn checked(ms: i64, at: usize, unit: Unit) -> Result<Timeout, Error> {
    if ms < 0 {
        return Err(Error::text("ERR timeout is negative"));
    }
    // Redis adds the time of day to it.
    if ms > i64::MAX - (1 << 41) {
        return Err(Error::text("ERR timeout is out of range"));
    }
    Ok(Timeout { ms: ms as u64, at, unit })
}
