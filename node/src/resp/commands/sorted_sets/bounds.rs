//! The ranges of sorted sets as they are written: `1 5`, `(1 +inf`, `[a (b`, `- +`.

use std::ops::{Bound, Range};

use super::number;
use crate::keyspace::value::SortedSetRef;
use crate::resp::error::Error;

/// A range of scores.
#[derive(Debug, Clone, Copy)]
pub(super) struct ByScore {
    min: Bound<f64>,
    max: Bound<f64>,
}

impl ByScore {
    pub(super) fn parse(min: &[u8], max: &[u8]) -> Result<Self, Error> {
        Ok(Self { min: score(min)?, max: score(max)? })
    }

    pub(super) fn ranks(&self, sorted: SortedSetRef<'_>) -> Range<usize> {
        sorted.ranks_by_score(self.min, self.max)
    }
}

fn score(text: &[u8]) -> Result<Bound<f64>, Error> {
    let wrong = Error::text("ERR min or max is not a float");
    match text.strip_prefix(b"(") {
        Some(rest) => number::parse_bound(rest).map(Bound::Excluded).ok_or(wrong),
        None => number::parse_bound(text).map(Bound::Included).ok_or(wrong),
    }
}

/// A range of members by their bytes.
#[derive(Debug, Clone, Copy)]
pub(super) struct ByLex<'a> {
    min: Lex<'a>,
    max: Lex<'a>,
}

#[derive(Debug, Clone, Copy)]
enum Lex<'a> {
    /// `-`: before every member.
    First,
    /// `+`: behind every member.
    Last,
    At(Bound<&'a [u8]>),
}

impl<'a> ByLex<'a> {
    pub(super) fn parse(min: &'a [u8], max: &'a [u8]) -> Result<Self, Error> {
        Ok(Self { min: lex(min)?, max: lex(max)? })
    }

    pub(super) fn ranks(&self, sorted: SortedSetRef<'_>) -> Range<usize> {
        let min = match self.min {
            Lex::First => Bound::Unbounded,
            Lex::At(bound) => bound,
            Lex::Last => return 0..0,
        };
        let max = match self.max {
            Lex::Last => Bound::Unbounded,
            Lex::At(bound) => bound,
            Lex::First => return 0..0,
        };
        sorted.ranks_by_lex(min, max)
    }
}

fn lex(text: &[u8]) -> Result<Lex<'_>, Error> {
    match text {
        b"-" => Ok(Lex::First),
        b"+" => Ok(Lex::Last),
        [b'[', member @ ..] => Ok(Lex::At(Bound::Included(member))),
        [b'(', member @ ..] => Ok(Lex::At(Bound::Excluded(member))),
        _ => Err(Error::text("ERR min or max not valid string range item")),
    }
}
