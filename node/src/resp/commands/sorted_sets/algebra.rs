//! Union, intersection and difference of sorted sets. Plain sets take part as if every member had the score 1.

use std::cell::Cell;
use std::collections::HashMap;

use tercet_proto::resp::Encoder;

use super::range::store;
use super::{Scores, number, reply_head, reply_member, typed};
use crate::engine::{Transaction, View};
use crate::keyspace::value::{SetRef, ShortBytes, SortedSetRef, Text, ValueRef};
use crate::resp::error::Error;
use crate::resp::table::{Args, Outcome};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operation {
    Union,
    Intersection,
    Difference,
}

pub(super) fn zunion(view: &View<'_>, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    reply(view, args, "zunion", Operation::Union, out)
}

pub(super) fn zinter(view: &View<'_>, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    reply(view, args, "zinter", Operation::Intersection, out)
}

pub(super) fn zdiff(view: &View<'_>, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    reply(view, args, "zdiff", Operation::Difference, out)
}

pub(super) fn zintercard(view: &View<'_>, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let (inputs, rest) = Input::parse(view, &args[1..], "zintercard")?;
    let limit = number::limit(rest)?;
    out.integer(combine(Operation::Intersection, inputs, Aggregate::Sum, limit).len() as i64);
    Ok(())
}

pub(super) fn zunionstore(transaction: &mut Transaction<'_>, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    combine_and_store(transaction, args, "zunionstore", Operation::Union, out)
}

pub(super) fn zinterstore(transaction: &mut Transaction<'_>, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    combine_and_store(transaction, args, "zinterstore", Operation::Intersection, out)
}

pub(super) fn zdiffstore(transaction: &mut Transaction<'_>, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    combine_and_store(transaction, args, "zdiffstore", Operation::Difference, out)
}

fn reply(view: &View<'_>, args: &Args<'_>, name: &'static str, operation: Operation, out: &mut Encoder<'_>) -> Outcome {
    let (mut inputs, rest) = Input::parse(view, &args[1..], name)?;
    let (aggregate, scores) = parse_options(&mut inputs, rest, operation, Target::Client)?;
    let mut members = combine(operation, inputs, aggregate, usize::MAX);
    members.sort_by(|(a, x), (b, y)| x.total_cmp_as_scores(*y).then_with(|| a.cmp(b)));
    reply_head(members.len(), scores, out);
    members.into_iter().for_each(|(member, score)| reply_member(&member, score, scores, out));
    Ok(())
}

fn combine_and_store(
    transaction: &mut Transaction<'_>,
    args: &Args<'_>,
    name: &'static str,
    operation: Operation,
    out: &mut Encoder<'_>,
) -> Outcome {
    let members: Vec<(ShortBytes, f64)> = {
        let ignored = (Cell::new(0), Cell::new(0));
        let view = transaction.view(&ignored.0, &ignored.1);
        let (mut inputs, rest) = Input::parse(&view, &args[2..], name)?;
        let (aggregate, _) = parse_options(&mut inputs, rest, operation, Target::Key)?;
        let members = combine(operation, inputs, aggregate, usize::MAX);
        members.into_iter().map(|(member, score)| (ShortBytes::from(member), score)).collect()
    };
    store(transaction, args[1], name, &members)?;
    out.integer(members.len() as i64);
    Ok(())
}

/// Scores are never NaN, and -0 is 0.
trait Score {
    fn total_cmp_as_scores(self, other: Self) -> std::cmp::Ordering;
}

impl Score for f64 {
    fn total_cmp_as_scores(self, other: f64) -> std::cmp::Ordering {
        self.partial_cmp(&other).unwrap_or(std::cmp::Ordering::Equal)
    }
}

/// A set that takes part, with its weight.
struct Input<'v> {
    source: Source<'v>,
    weight: f64,
}

#[derive(Clone, Copy)]
enum Source<'v> {
    Nothing,
    Set(SetRef<'v>),
    Sorted(SortedSetRef<'v>),
}

impl<'v> Input<'v> {
    /// Parses `numkeys key ...` and looks the keys up; the options are left.
    fn parse<'a, 'b>(
        view: &'v View<'_>,
        args: &'b Args<'a>,
        name: &'static str,
    ) -> Result<(Vec<Self>, &'b Args<'a>), Error> {
        let count = number::integer(args[0])?;
        if count < 1 {
            return Err(Error::text(format!("ERR at least 1 input key is needed for '{name}' command")));
        }
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        let (keys, rest) = args[1..].split_at_checked(count).ok_or(Error::Syntax)?;
        let inputs = keys.iter().map(|key| {
            let source = match typed::value(view.get(key)) {
                None => Source::Nothing,
                Some(ValueRef::Set(set)) => Source::Set(set),
                Some(ValueRef::SortedSet(sorted)) => Source::Sorted(sorted),
                Some(_) => return Err(Error::WrongType),
            };
            Ok(Self { source, weight: 1.0 })
        });
        Ok((inputs.collect::<Result<_, _>>()?, rest))
    }

    fn len(&self) -> usize {
        match self.source {
            Source::Nothing => 0,
            Source::Set(set) => set.len(),
            Source::Sorted(sorted) => sorted.len(),
        }
    }

    /// The score of a member, before its weight.
    fn score(&self, member: &[u8]) -> Option<f64> {
        match self.source {
            Source::Nothing => None,
            Source::Set(set) => set.contains(member).then_some(1.0),
            Source::Sorted(sorted) => sorted.score(member),
        }
    }

    fn each(&self, mut visit: impl FnMut(Text<'v>, f64)) {
        match self.source {
            Source::Nothing => {}
            Source::Set(set) => set.iter().for_each(|member| visit(member, 1.0)),
            Source::Sorted(sorted) => sorted.iter().for_each(|(member, score)| visit(Text::lent(member), score)),
        }
    }

    /// Infinity times 0 is 0 here, as in Redis.
    fn weighted(&self, score: f64) -> f64 {
        let product = self.weight * score;
        if product.is_nan() { 0.0 } else { product }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Aggregate {
    Sum,
    Min,
    Max,
}

impl Aggregate {
    fn of(self, first: f64, second: f64) -> f64 {
        match self {
            Self::Sum => {
                let sum = first + second;
                // Infinity and minus infinity make 0, as in Redis.
                if sum.is_nan() { 0.0 } else { sum }
            }
            Self::Min => {
                if second < first {
                    second
                } else {
                    first
                }
            }
            Self::Max => {
                if second > first {
                    second
                } else {
                    first
                }
            }
        }
    }
}

/// Who gets the result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Target {
    Client,
    Key,
}

fn parse_options(
    inputs: &mut [Input<'_>],
    mut rest: &Args<'_>,
    operation: Operation,
    target: Target,
) -> Result<(Aggregate, Scores), Error> {
    let (mut aggregate, mut scores) = (Aggregate::Sum, Scores::Without);
    let has_weights = operation != Operation::Difference;
    while let [word, behind @ ..] = rest {
        match (word.to_ascii_lowercase().as_slice(), behind) {
            (b"weights", _) if has_weights && behind.len() >= inputs.len() => {
                let (weights, behind) = behind.split_at(inputs.len());
                for (input, text) in inputs.iter_mut().zip(weights) {
                    input.weight = number::parse_float(text).ok_or(Error::text("ERR weight value is not a float"))?;
                }
                rest = behind;
            }
            (b"aggregate", [kind, behind @ ..]) if has_weights => {
                aggregate = match kind.to_ascii_lowercase().as_slice() {
                    b"sum" => Aggregate::Sum,
                    b"min" => Aggregate::Min,
                    b"max" => Aggregate::Max,
                    _ => return Err(Error::Syntax),
                };
                rest = behind;
            }
            (b"withscores", _) if target == Target::Client => {
                scores = Scores::With;
                rest = behind;
            }
            _ => return Err(Error::Syntax),
        }
    }
    Ok((aggregate, scores))
}

/// The members of the result, in no order.
fn combine<'v>(
    operation: Operation,
    mut inputs: Vec<Input<'v>>,
    aggregate: Aggregate,
    limit: usize,
) -> Vec<(Text<'v>, f64)> {
    if operation != Operation::Difference {
        // The smallest first: fewest lookups, and the order in which Redis adds.
        inputs.sort_by_key(Input::len);
    }
    let Some((first, others)) = inputs.split_first() else { return Vec::new() };
    match operation {
        Operation::Union => union(&inputs, aggregate),
        Operation::Intersection => intersection(first, others, aggregate, limit),
        Operation::Difference => {
            let mut members = Vec::new();
            first.each(|member, score| {
                if others.iter().all(|other| other.score(&member).is_none()) {
                    members.push((member, score));
                }
            });
            members
        }
    }
}

fn union<'v>(inputs: &[Input<'v>], aggregate: Aggregate) -> Vec<(Text<'v>, f64)> {
    let mut members: HashMap<Text<'v>, f64, foldhash::fast::RandomState> = HashMap::default();
    for input in inputs {
        input.each(|member, score| {
            let score = input.weighted(score);
            members.entry(member).and_modify(|sum| *sum = aggregate.of(*sum, score)).or_insert(score);
        });
    }
    members.into_iter().collect()
}

fn intersection<'v>(
    first: &Input<'v>,
    others: &[Input<'v>],
    aggregate: Aggregate,
    limit: usize,
) -> Vec<(Text<'v>, f64)> {
    let mut members = Vec::new();
    first.each(|member, score| {
        if members.len() >= limit {
            return;
        }
        let sum = others.iter().try_fold(first.weighted(score), |sum, other| {
            other.score(&member).map(|score| aggregate.of(sum, other.weight * score))
        });
        if let Some(sum) = sum {
            members.push((member, sum));
        }
    });
    members
}
