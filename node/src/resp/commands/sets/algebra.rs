//! Intersection, union and difference of sets, replied or stored.

use std::borrow::Cow;
use std::cell::Cell;

use tercet_proto::resp::Encoder;

use super::super::number;
use super::find;
use crate::effect::{KeyChange, class};
use crate::engine::{Transaction, View};
use crate::keyspace::value::{SetRef, ShortBytes, Text};
use crate::resp::error::Error;
use crate::resp::table::{Args, Outcome};

/// What is made of several sets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operation {
    Intersection,
    Union,
    Difference,
}

pub(super) fn sinter(view: &View<'_>, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    reply(view, args, Operation::Intersection, out)
}

pub(super) fn sunion(view: &View<'_>, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    reply(view, args, Operation::Union, out)
}

pub(super) fn sdiff(view: &View<'_>, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    reply(view, args, Operation::Difference, out)
}

pub(super) fn sinterstore(transaction: &mut Transaction<'_>, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    store(transaction, args, Operation::Intersection, out)
}

pub(super) fn sunionstore(transaction: &mut Transaction<'_>, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    store(transaction, args, Operation::Union, out)
}

pub(super) fn sdiffstore(transaction: &mut Transaction<'_>, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    store(transaction, args, Operation::Difference, out)
}

/// All sets are looked up first: one key of another type is an error, whatever the others hold.
fn find_all<'v>(view: &'v View<'_>, keys: &Args<'_>) -> Result<Vec<Option<SetRef<'v>>>, Error> {
    keys.iter().map(|key| find(view, key)).collect()
}

fn reply(view: &View<'_>, args: &Args<'_>, operation: Operation, out: &mut Encoder<'_>) -> Outcome {
    let members = compute(operation, &find_all(view, &args[1..])?, usize::MAX);
    out.set(members.len());
    members.into_iter().for_each(|member| out.bulk(&member));
    Ok(())
}

fn store(transaction: &mut Transaction<'_>, args: &Args<'_>, operation: Operation, out: &mut Encoder<'_>) -> Outcome {
    let members: Vec<ShortBytes> = {
        let ignored = (Cell::new(0), Cell::new(0));
        let view = transaction.view(&ignored.0, &ignored.1);
        compute(operation, &find_all(&view, &args[2..])?, usize::MAX).into_iter().map(ShortBytes::from).collect()
    };
    let name = match operation {
        Operation::Intersection => "sinterstore",
        Operation::Union => "sunionstore",
        Operation::Difference => "sdiffstore",
    };
    let all: Vec<&[u8]> = members.iter().map(ShortBytes::as_slice).collect();
    let change = KeyChange::SetAdd { members: Cow::Owned(all) };
    transaction.replace(args[1], (class::SET, name), (!members.is_empty()).then_some(&change))?;
    out.integer(members.len() as i64);
    Ok(())
}

pub(super) fn sintercard(view: &View<'_>, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let (keys, rest) = number::counted_keys_or_more(&args[1..])?;
    let limit = number::limit(rest)?;
    let members = compute(Operation::Intersection, &find_all(view, keys)?, limit);
    out.integer(members.len() as i64);
    Ok(())
}

/// The members of the result, `limit` at the most.
fn compute<'s>(operation: Operation, sets: &[Option<SetRef<'s>>], limit: usize) -> Vec<Text<'s>> {
    match operation {
        Operation::Intersection => intersection(sets, limit),
        Operation::Union => union(sets),
        Operation::Difference => difference(sets),
    }
}

fn intersection<'s>(sets: &[Option<SetRef<'s>>], limit: usize) -> Vec<Text<'s>> {
    let Some(mut sets) = sets.iter().copied().collect::<Option<Vec<_>>>() else { return Vec::new() };
    // Each member of the smallest set is looked for in the others, the next smallest first.
    sets.sort_by_key(|set| set.len());
    let Some((smallest, others)) = sets.split_first() else { return Vec::new() };
    smallest.iter().filter(|member| others.iter().all(|set| set.contains(member))).take(limit).collect()
}

fn union<'s>(sets: &[Option<SetRef<'s>>]) -> Vec<Text<'s>> {
    let sets: Vec<SetRef<'_>> = sets.iter().copied().flatten().collect();
    let mut members = Vec::with_capacity(sets.iter().map(|set| set.len()).max().unwrap_or(0));
    for (index, set) in sets.iter().enumerate() {
        let before = &sets[..index];
        members.extend(set.iter().filter(|member| !before.iter().any(|set| set.contains(member))));
    }
    members
}

fn difference<'s>(sets: &[Option<SetRef<'s>>]) -> Vec<Text<'s>> {
    let Some((Some(first), others)) = sets.split_first() else { return Vec::new() };
    let mut others: Vec<SetRef<'_>> = others.iter().copied().flatten().collect();
    // The greatest first: it is the likeliest to rule a member out.
    others.sort_by_key(|set| std::cmp::Reverse(set.len()));
    first.iter().filter(|member| !others.iter().any(|set| set.contains(member))).collect()
}
