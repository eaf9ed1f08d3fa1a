//! ZRANGE with all its options, its older relatives, and ZRANGESTORE.

use std::borrow::Cow;
use std::ops::Range;

use tercet_proto::resp::Encoder;

use super::bounds::{ByLex, ByScore};
use super::{Cell, Scores, find, number, reply_head, reply_member};
use crate::effect::{KeyChange, class};
use crate::engine::{Transaction, View};
use crate::keyspace::value::{ShortBytes, SortedSetRef};
use crate::resp::error::Error;
use crate::resp::table::{Args, Outcome};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum By {
    Rank,
    Score,
    Lex,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Direction {
    Forward,
    Reverse,
}

/// What the name of the command leaves open.
#[derive(Debug, Clone, Copy)]
struct Fixed {
    by: Option<By>,
    direction: Option<Direction>,
    may_have_scores: bool,
}

const OPEN: Fixed = Fixed { by: None, direction: None, may_have_scores: true };

pub(super) fn zrange(view: &View<'_>, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    reply(view, args, OPEN, out)
}

pub(super) fn zrevrange(view: &View<'_>, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    reply(view, args, fixed(By::Rank, Direction::Reverse), out)
}

pub(super) fn zrangebyscore(view: &View<'_>, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    reply(view, args, fixed(By::Score, Direction::Forward), out)
}

pub(super) fn zrevrangebyscore(view: &View<'_>, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    reply(view, args, fixed(By::Score, Direction::Reverse), out)
}

pub(super) fn zrangebylex(view: &View<'_>, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    reply(view, args, fixed(By::Lex, Direction::Forward), out)
}

pub(super) fn zrevrangebylex(view: &View<'_>, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    reply(view, args, fixed(By::Lex, Direction::Reverse), out)
}

fn fixed(by: By, direction: Direction) -> Fixed {
    Fixed { by: Some(by), direction: Some(direction), may_have_scores: true }
}

fn reply(view: &View<'_>, args: &Args<'_>, fixed: Fixed, out: &mut Encoder<'_>) -> Outcome {
    let wanted = Wanted::parse(&args[2..], fixed)?;
    let Some(sorted) = find(view, args[1])? else {
        out.array(0);
        return Ok(());
    };
    let ranks = wanted.ranks(sorted);
    reply_head(ranks.len(), wanted.scores, out);
    let members = sorted.range_by_rank(ranks);
    match wanted.direction {
        Direction::Forward => members.for_each(|(member, score)| reply_member(member, score, wanted.scores, out)),
        Direction::Reverse => {
            members.rev().for_each(|(member, score)| reply_member(member, score, wanted.scores, out));
        }
    }
    Ok(())
}

pub(super) fn zrangestore(transaction: &mut Transaction<'_>, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let wanted = Wanted::parse(&args[3..], Fixed { may_have_scores: false, ..OPEN })?;
    let members: Vec<(ShortBytes, f64)> = {
        let ignored = (Cell::new(0), Cell::new(0));
        let view = transaction.view(&ignored.0, &ignored.1);
        let found = find(&view, args[2])?;
        let members = found.map(|sorted| sorted.range_by_rank(wanted.ranks(sorted)));
        members.into_iter().flatten().map(|(member, score)| (ShortBytes::from(member), score)).collect()
    };
    store(transaction, args[1], "zrangestore", &members)?;
    out.integer(members.len() as i64);
    Ok(())
}

/// Puts a sorted set of these members in the place of whatever is there; nothing, if there are none.
pub(in crate::resp::commands) fn store(
    transaction: &mut Transaction<'_>,
    key: &[u8],
    event: &'static str,
    members: &[(ShortBytes, f64)],
) -> Outcome {
    let pairs: Vec<(f64, &[u8])> = members.iter().map(|(member, score)| (*score, member.as_slice())).collect();
    let change = KeyChange::SortedAdd { pairs: Cow::Owned(pairs) };
    Ok(transaction.replace(key, (class::SORTED_SET, event), (!members.is_empty()).then_some(&change))?)
}

/// A range and how it is to be shown.
struct Wanted<'a> {
    bounds: Bounds<'a>,
    direction: Direction,
    scores: Scores,
    offset: i64,
    /// Negative: no limit.
    limit: i64,
}

enum Bounds<'a> {
    Rank(i64, i64),
    Score(ByScore),
    Lex(ByLex<'a>),
}

impl<'a> Wanted<'a> {
    /// Parses `min max [options]`.
    fn parse(args: &Args<'a>, fixed: Fixed) -> Result<Self, Error> {
        let (mut by, mut direction) = (fixed.by, fixed.direction);
        let (mut scores, mut offset, mut limit) = (Scores::Without, 0, -1);
        let mut rest = &args[2..];
        while let [word, behind @ ..] = rest {
            rest = behind;
            match (word.to_ascii_lowercase().as_slice(), behind) {
                (b"withscores", _) if fixed.may_have_scores => scores = Scores::With,
                (b"limit", [first, second, behind @ ..]) => {
                    (offset, limit) = (number::integer(first)?, number::integer(second)?);
                    rest = behind;
                }
                (b"rev", _) if direction.is_none() => direction = Some(Direction::Reverse),
                (b"bylex", _) if by.is_none() => by = Some(By::Lex),
                (b"byscore", _) if by.is_none() => by = Some(By::Score),
                _ => return Err(Error::Syntax),
            }
        }
        let (by, direction) = (by.unwrap_or(By::Rank), direction.unwrap_or(Direction::Forward));
        if limit != -1 && by == By::Rank {
            return Err(Error::text(
                "ERR syntax error, LIMIT is only supported in combination with either BYSCORE or BYLEX",
            ));
        }
        if scores == Scores::With && by == By::Lex {
            return Err(Error::text("ERR syntax error, WITHSCORES not supported in combination with BYLEX"));
        }
        let (first, second) = (args[0], args[1]);
        // In reverse the greater bound comes first, except for ranks, which are counted from the other end.
        let (min, max) = if direction == Direction::Reverse { (second, first) } else { (first, second) };
        let bounds = match by {
            By::Rank => Bounds::Rank(number::integer(first)?, number::integer(second)?),
            By::Score => Bounds::Score(ByScore::parse(min, max)?),
            By::Lex => Bounds::Lex(ByLex::parse(min, max)?),
        };
        Ok(Self { bounds, direction, scores, offset, limit })
    }

    /// The ranks that are wanted, from the lowest score on whatever the direction.
    fn ranks(&self, sorted: SortedSetRef<'_>) -> Range<usize> {
        let ranks = match &self.bounds {
            Bounds::Rank(start, stop) => {
                let range = number::range(*start, *stop, sorted.len());
                return match self.direction {
                    Direction::Forward => range,
                    Direction::Reverse => sorted.len() - range.end..sorted.len() - range.start,
                };
            }
            Bounds::Score(range) => range.ranks(sorted),
            Bounds::Lex(range) => range.ranks(sorted),
        };
        // Redis: a negative offset skips everything.
        let skipped = usize::try_from(self.offset).unwrap_or(usize::MAX).min(ranks.len());
        let left = ranks.len() - skipped;
        let taken = usize::try_from(self.limit).map_or(left, |limit| limit.min(left));
        match self.direction {
            Direction::Forward => ranks.start + skipped..ranks.start + skipped + taken,
            Direction::Reverse => ranks.end - skipped - taken..ranks.end - skipped,
        }
    }
}
