//! Sets: members without duplicates.

mod algebra;

use std::borrow::Cow;

use tercet_proto::resp::Encoder;

use super::{number, sample, scanning, typed};
use crate::effect::{KeyChange, class};
use crate::engine::{Transaction, View};
use crate::keyspace::value::{SetRef, ShortBytes};
use crate::resp::error::Error;
use crate::resp::table::flag::{DENY_OOM, FAST, WHOLE};
use crate::resp::table::{Args, Command, Group, Keys, Outcome, read, write};

const G: Group = Group::Set;

pub(super) const ROWS: &[Command] = &[
    write(
        "sadd",
        -3,
        DENY_OOM | FAST,
        Keys::ONE,
        G,
        "Adds one or more members to a set. Creates the key if it doesn't exist.",
        sadd,
    ),
    write(
        "srem",
        -3,
        FAST,
        Keys::ONE,
        G,
        "Removes one or more members from a set. Deletes the set if the last member was removed.",
        srem,
    ),
    write(
        "spop",
        -2,
        FAST,
        Keys::ONE,
        G,
        "Returns one or more random members from a set after removing them. Deletes the set if the last member was popped.",
        spop,
    ),
    write("smove", 4, FAST, Keys::TWO, G, "Moves a member from one set to another.", smove),
    read("scard", 2, FAST, Keys::ONE, G, "Returns the number of members in a set.", scard),
    read("sismember", 3, FAST, Keys::ONE, G, "Determines whether a member belongs to a set.", sismember),
    read("smismember", -3, FAST, Keys::ONE, G, "Determines whether multiple members belong to a set.", smismember),
    read("smembers", 2, WHOLE, Keys::ONE, G, "Returns all members of a set.", smembers),
    read("srandmember", -2, 0, Keys::ONE, G, "Get one or multiple random members from a set", srandmember),
    read("sscan", -3, 0, Keys::ONE, G, "Iterates over members of a set.", sscan),
    read("sinter", -2, WHOLE, Keys::REST, G, "Returns the intersect of multiple sets.", algebra::sinter),
    read("sunion", -2, WHOLE, Keys::REST, G, "Returns the union of multiple sets.", algebra::sunion),
    read("sdiff", -2, WHOLE, Keys::REST, G, "Returns the difference of multiple sets.", algebra::sdiff),
    read(
        "sintercard",
        -3,
        WHOLE,
        Keys::Counted(1, 0),
        G,
        "Returns the number of members of the intersect of multiple sets.",
        algebra::sintercard,
    ),
    write(
        "sinterstore",
        -3,
        DENY_OOM | WHOLE,
        Keys::REST,
        G,
        "Stores the intersect of multiple sets in a key.",
        algebra::sinterstore,
    ),
    write(
        "sunionstore",
        -3,
        DENY_OOM | WHOLE,
        Keys::REST,
        G,
        "Stores the union of multiple sets in a key.",
        algebra::sunionstore,
    ),
    write(
        "sdiffstore",
        -3,
        DENY_OOM | WHOLE,
        Keys::REST,
        G,
        "Stores the difference of multiple sets in a key.",
        algebra::sdiffstore,
    ),
];

fn find<'v>(view: &'v View<'_>, key: &[u8]) -> Result<Option<SetRef<'v>>, Error> {
    typed::set(typed::value(view.get(key)))
}

#[inline]
fn sadd(transaction: &mut Transaction<'_>, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let added = transaction.apply(args[1], &KeyChange::SetAdd { members: Cow::Borrowed(&args[2..]) })?.count;
    out.integer(added as i64);
    Ok(())
}

fn srem(transaction: &mut Transaction<'_>, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let removed = transaction.apply(args[1], &KeyChange::SetRemove { members: Cow::Borrowed(&args[2..]) })?.count;
    out.integer(removed as i64);
    Ok(())
}

#[inline]
fn spop(transaction: &mut Transaction<'_>, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    if args.len() > 2 {
        return spop_some(transaction, args, out);
    }
    let slot = transaction.open(args[1]);
    // The member that was chosen is replicated, not the choosing.
    let Some(member) = typed::set(slot.value())?.and_then(|set| set.random(&mut rand::rng()).map(ShortBytes::from))
    else {
        out.null();
        return Ok(());
    };
    slot.apply_as(class::SET, "spop", &KeyChange::SetRemove { members: Cow::Borrowed(&[&member]) })?;
    out.bulk(&member);
    Ok(())
}

fn spop_some(transaction: &mut Transaction<'_>, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let [_, key, count] = args else { return Err(Error::Syntax) };
    let count = number::count(count)?;
    let slot = transaction.open(key);
    let Some(set) = typed::set(slot.value())?.filter(|_| count > 0) else {
        out.set(0);
        return Ok(());
    };
    if count >= set.len() {
        out.set(set.len());
        set.iter().for_each(|member| out.bulk(&member));
        transaction.raise(class::SET, "spop", key);
        transaction.apply(key, &KeyChange::Delete)?;
        return Ok(());
    }
    let mut chosen: Vec<ShortBytes> = Vec::with_capacity(count);
    let count = i64::try_from(count).unwrap_or(i64::MAX);
    sample::each(count, set.len(), || set.iter(), || set.random(&mut rand::rng()), |member| chosen.push(member.into()));
    out.set(chosen.len());
    chosen.iter().for_each(|member| out.bulk(member));
    let members: Vec<&[u8]> = chosen.iter().map(ShortBytes::as_slice).collect();
    slot.apply_as(class::SET, "spop", &KeyChange::SetRemove { members: Cow::Owned(members) })?;
    Ok(())
}

fn smove(transaction: &mut Transaction<'_>, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let [_, from, to, member] = args else { return Err(Error::Syntax) };
    let source = transaction.open(from);
    let Some(set) = typed::set(source.value())? else {
        out.integer(0);
        return Ok(());
    };
    let is_member = set.contains(member);
    // Redis looks at the target's type before it looks for the member.
    typed::set(transaction.open(to).value())?;
    if is_member && from != to {
        transaction.apply(from, &KeyChange::SetRemove { members: Cow::Borrowed(&[member]) })?;
        transaction.apply(to, &KeyChange::SetAdd { members: Cow::Borrowed(&[member]) })?;
    }
    out.integer(i64::from(is_member));
    Ok(())
}

fn scard(view: &View<'_>, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    out.integer(find(view, args[1])?.map_or(0, SetRef::len) as i64);
    Ok(())
}

fn sismember(view: &View<'_>, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    out.integer(i64::from(find(view, args[1])?.is_some_and(|set| set.contains(args[2]))));
    Ok(())
}

fn smismember(view: &View<'_>, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let set = find(view, args[1])?;
    out.array(args.len() - 2);
    args[2..].iter().for_each(|member| out.integer(i64::from(set.is_some_and(|set| set.contains(member)))));
    Ok(())
}

fn smembers(view: &View<'_>, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let set = find(view, args[1])?;
    out.set(set.map_or(0, SetRef::len));
    set.into_iter().flat_map(SetRef::iter).for_each(|member| out.bulk(&member));
    Ok(())
}

fn srandmember(view: &View<'_>, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let [_, key, count] = args else {
        if args.len() > 3 {
            return Err(Error::Syntax);
        }
        match find(view, args[1])?.and_then(|set| set.random(&mut rand::rng())) {
            None => out.null(),
            Some(member) => out.bulk(&member),
        }
        return Ok(());
    };
    let count = sample::count(count)?;
    let Some(set) = find(view, key)? else {
        out.array(0);
        return Ok(());
    };
    out.array(sample::length(count, set.len()));
    sample::each(count, set.len(), || set.iter(), || set.random(&mut rand::rng()), |member| out.bulk(&member));
    Ok(())
}

fn sscan(view: &View<'_>, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let cursor = scanning::cursor(args[2])?;
    let Some(set) = find(view, args[1])? else {
        scanning::reply_nothing(out);
        return Ok(());
    };
    let options = scanning::Options::parse(&args[3..], scanning::Types::None)?;
    let (next, mut members) = set.scan(cursor, options.count);
    members.retain(|member| options.matches(member));
    scanning::reply_head(next, members.len(), out);
    members.into_iter().for_each(|member| out.bulk(&member));
    Ok(())
}
