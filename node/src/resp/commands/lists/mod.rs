//! Lists: pushing, popping and what lies between the ends.

mod blocking;
mod inside;
mod moving;

use std::borrow::Cow;

use tercet_proto::resp::Encoder;

use super::{number, typed};
use crate::effect::KeyChange;
use crate::engine::{Transaction, View};
use crate::keyspace::value::{End, ListRef};
use crate::resp::error::Error;
use crate::resp::table::flag::{BLOCKING, DENY_OOM, FAST, WHOLE};
use crate::resp::table::{Args, Command, Group, Keys, Outcome, read, write};

const G: Group = Group::List;

pub(super) const ROWS: &[Command] = &[
    write(
        "lpush",
        -3,
        DENY_OOM | FAST,
        Keys::ONE,
        G,
        "Prepends one or more elements to a list. Creates the key if it doesn't exist.",
        lpush,
    ),
    write(
        "rpush",
        -3,
        DENY_OOM | FAST,
        Keys::ONE,
        G,
        "Appends one or more elements to a list. Creates the key if it doesn't exist.",
        rpush,
    ),
    write(
        "lpushx",
        -3,
        DENY_OOM | FAST,
        Keys::ONE,
        G,
        "Prepends one or more elements to a list only when the list exists.",
        lpushx,
    ),
    write(
        "rpushx",
        -3,
        DENY_OOM | FAST,
        Keys::ONE,
        G,
        "Appends an element to a list only when the list exists.",
        rpushx,
    ),
    write(
        "lpop",
        -2,
        FAST,
        Keys::ONE,
        G,
        "Returns the first elements in a list after removing it. Deletes the list if the last element was popped.",
        lpop,
    ),
    write(
        "rpop",
        -2,
        FAST,
        Keys::ONE,
        G,
        "Returns and removes the last elements of a list. Deletes the list if the last element was popped.",
        rpop,
    ),
    read("llen", 2, FAST, Keys::ONE, G, "Returns the length of a list.", llen),
    read("lrange", 4, WHOLE, Keys::ONE, G, "Returns a range of elements from a list.", lrange),
    read("lindex", 3, 0, Keys::ONE, G, "Returns an element from a list by its index.", inside::lindex),
    read("lpos", -3, WHOLE, Keys::ONE, G, "Returns the index of matching elements in a list.", inside::lpos),
    write("lset", 4, DENY_OOM, Keys::ONE, G, "Sets the value of an element in a list by its index.", inside::lset),
    write(
        "linsert",
        5,
        DENY_OOM | WHOLE,
        Keys::ONE,
        G,
        "Inserts an element before or after another element in a list.",
        inside::linsert,
    ),
    write(
        "lrem",
        4,
        WHOLE,
        Keys::ONE,
        G,
        "Removes elements from a list. Deletes the list if the last element was removed.",
        inside::lrem,
    ),
    write(
        "ltrim",
        4,
        0,
        Keys::ONE,
        G,
        "Removes elements from both ends a list. Deletes the list if all elements were trimmed.",
        inside::ltrim,
    ),
    write(
        "lmove",
        5,
        DENY_OOM,
        Keys::TWO,
        G,
        "Returns an element after popping it from one list and pushing it to another. Deletes the list if the last element was moved.",
        moving::lmove,
    ),
    write(
        "rpoplpush",
        3,
        DENY_OOM,
        Keys::TWO,
        G,
        "Returns the last element of a list after removing and pushing it to another list. Deletes the list if the last element was popped.",
        moving::rpoplpush,
    ),
    write(
        "blpop",
        -3,
        BLOCKING,
        Keys::Range(1, -2, 1),
        G,
        "Removes and returns the first element in a list. Blocks until an element is available otherwise. Deletes the list if the last element was popped.",
        blocking::blpop,
    ),
    write(
        "brpop",
        -3,
        BLOCKING,
        Keys::Range(1, -2, 1),
        G,
        "Removes and returns the last element in a list. Blocks until an element is available otherwise. Deletes the list if the last element was popped.",
        blocking::brpop,
    ),
    write(
        "blmove",
        6,
        DENY_OOM | BLOCKING,
        Keys::TWO,
        G,
        "Pops an element from a list, pushes it to another list and returns it. Blocks until an element is available otherwise. Deletes the list if the last element was moved.",
        blocking::blmove,
    ),
    write(
        "brpoplpush",
        4,
        DENY_OOM | BLOCKING,
        Keys::TWO,
        G,
        "Pops an element from a list, pushes it to another list and returns it. Block until an element is available otherwise. Deletes the list if the last element was popped.",
        blocking::brpoplpush,
    ),
    write(
        "blmpop",
        -5,
        BLOCKING,
        Keys::Counted(2, 0),
        G,
        "Pops the first element from one of multiple lists. Blocks until an element is available otherwise. Deletes the list if the last element was popped.",
        blocking::blmpop,
    ),
    write(
        "lmpop",
        -4,
        0,
        Keys::Counted(1, 0),
        G,
        "Returns multiple elements from a list after removing them. Deletes the list if the last element was popped.",
        moving::lmpop,
    ),
];

#[inline]
fn lpush(transaction: &mut Transaction<'_>, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    push(transaction, args, End::Front, out)
}

#[inline]
fn rpush(transaction: &mut Transaction<'_>, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    push(transaction, args, End::Back, out)
}

#[inline]
fn push(transaction: &mut Transaction<'_>, args: &Args<'_>, end: End, out: &mut Encoder<'_>) -> Outcome {
    let applied = transaction.apply(args[1], &KeyChange::ListPush { end, values: Cow::Borrowed(&args[2..]) })?;
    out.integer(applied.count as i64);
    Ok(())
}

fn lpushx(transaction: &mut Transaction<'_>, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    push_to_existing(transaction, args, End::Front, out)
}

fn rpushx(transaction: &mut Transaction<'_>, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    push_to_existing(transaction, args, End::Back, out)
}

fn push_to_existing(transaction: &mut Transaction<'_>, args: &Args<'_>, end: End, out: &mut Encoder<'_>) -> Outcome {
    let slot = transaction.open(args[1]);
    let length = match slot.value() {
        None => 0,
        Some(_) => slot.apply(&KeyChange::ListPush { end, values: Cow::Borrowed(&args[2..]) })?.count,
    };
    out.integer(length as i64);
    Ok(())
}

#[inline]
fn lpop(transaction: &mut Transaction<'_>, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    pop(transaction, args, End::Front, "lpop", out)
}

#[inline]
fn rpop(transaction: &mut Transaction<'_>, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    pop(transaction, args, End::Back, "rpop", out)
}

#[inline]
fn pop(
    transaction: &mut Transaction<'_>,
    args: &Args<'_>,
    end: End,
    name: &'static str,
    out: &mut Encoder<'_>,
) -> Outcome {
    if args.len() > 2 {
        return pop_some(transaction, args, end, name, out);
    }
    let slot = transaction.open(args[1]);
    match typed::list(slot.value())?.and_then(|list| list.get(nth(list, end, 0))) {
        None => out.null(),
        Some(item) => {
            out.bulk(&item);
            slot.apply(&KeyChange::ListPop { end, count: 1 })?;
        }
    }
    Ok(())
}

fn pop_some(
    transaction: &mut Transaction<'_>,
    args: &Args<'_>,
    end: End,
    name: &'static str,
    out: &mut Encoder<'_>,
) -> Outcome {
    if args.len() > 3 {
        return Err(Error::Arity(name.into()));
    }
    let count = number::count(args[2])?;
    let slot = transaction.open(args[1]);
    let Some(list) = typed::list(slot.value())? else {
        out.null_array();
        return Ok(());
    };
    let count = count.min(list.len());
    reply_popped(list, end, count, out);
    if count > 0 {
        slot.apply(&KeyChange::ListPop { end, count: count as u64 })?;
    }
    Ok(())
}

/// Writes the `count` elements that a pop is about to remove, in the order of their removal.
fn reply_popped(list: ListRef<'_>, end: End, count: usize, out: &mut Encoder<'_>) {
    out.array(count);
    match end {
        End::Front => list.range(0..count).for_each(|item| out.bulk(&item)),
        End::Back => list.range(list.len() - count..list.len()).rev().for_each(|item| out.bulk(&item)),
    }
}

/// The position of the element that has `distance` others between itself and `end`.
#[inline]
fn nth(list: ListRef<'_>, end: End, distance: usize) -> usize {
    match end {
        End::Front => distance,
        End::Back => list.len().wrapping_sub(distance + 1),
    }
}

/// Where `index` points, if it is not before the front; it may lie behind the back.
fn position(list: ListRef<'_>, index: i64) -> Option<usize> {
    let index = if index < 0 { index.checked_add(list.len() as i64)? } else { index };
    usize::try_from(index).ok()
}

fn llen(view: &View<'_>, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let length = typed::list(typed::value(view.get(args[1])))?.map_or(0, ListRef::len);
    out.integer(length as i64);
    Ok(())
}

fn lrange(view: &View<'_>, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let (start, stop) = (number::integer(args[2])?, number::integer(args[3])?);
    let Some(list) = typed::list(typed::value(view.get(args[1])))? else {
        out.array(0);
        return Ok(());
    };
    let range = number::range(start, stop, list.len());
    out.array(range.len());
    list.range(range).for_each(|item| out.bulk(&item));
    Ok(())
}
