//! What lies between the ends of a list: elements by index and by value.

use tercet_proto::resp::Encoder;

use super::super::{number, typed};
use super::position;
use crate::effect::KeyChange;
use crate::engine::{Transaction, View};
use crate::keyspace::value::{End, ListRef};
use crate::resp::error::Error;
use crate::resp::table::{Args, Outcome};

pub(super) fn lindex(view: &View<'_>, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let Some(list) = typed::list(typed::value(view.get(args[1])))? else {
        out.null();
        return Ok(());
    };
    match position(list, number::integer(args[2])?).and_then(|index| list.get(index)) {
        None => out.null(),
        Some(item) => out.bulk(&item),
    }
    Ok(())
}

pub(super) fn lset(transaction: &mut Transaction<'_>, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let slot = transaction.open(args[1]);
    let list = typed::list(slot.value())?.ok_or(Error::NoSuchKey)?;
    let index = position(list, number::integer(args[2])?).filter(|index| *index < list.len());
    let index = index.ok_or(Error::Index)?;
    slot.apply(&KeyChange::ListSet { index: index as u64, value: args[3] })?;
    out.ok();
    Ok(())
}

pub(super) fn linsert(transaction: &mut Transaction<'_>, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let behind = match args[2] {
        word if word.eq_ignore_ascii_case(b"before") => 0,
        word if word.eq_ignore_ascii_case(b"after") => 1,
        _ => return Err(Error::Syntax),
    };
    let slot = transaction.open(args[1]);
    let length = match typed::list(slot.value())? {
        None => 0,
        Some(list) => match list.iter().position(|item| item.matches(args[3])) {
            None => -1,
            Some(pivot) => {
                let index = (pivot + behind) as u64;
                slot.apply(&KeyChange::ListInsert { index, value: args[4] })?.count as i64
            }
        },
    };
    out.integer(length);
    Ok(())
}

pub(super) fn lrem(transaction: &mut Transaction<'_>, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let count = number::integer(args[2])?;
    let end = if count < 0 { End::Back } else { End::Front };
    let limit = if count == 0 { u64::MAX } else { count.unsigned_abs() };
    let change = KeyChange::ListRemoveMatching { end, limit, value: args[3] };
    let removed = transaction.open(args[1]).apply(&change)?.count;
    out.integer(removed as i64);
    Ok(())
}

pub(super) fn ltrim(transaction: &mut Transaction<'_>, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let (start, stop) = (number::integer(args[2])?, number::integer(args[3])?);
    let slot = transaction.open(args[1]);
    if let Some(list) = typed::list(slot.value())? {
        let kept = number::range(start, stop, list.len());
        slot.apply(&KeyChange::ListTrim { start: kept.start as u64, end: kept.end as u64 })?;
    }
    out.ok();
    Ok(())
}

/// Options of LPOS.
struct Search {
    /// Which match is the first one wanted, from 1; negative: from the back.
    rank: i64,
    /// Matches wanted, 0 = all; without it the reply is one position and not an array.
    count: Option<usize>,
    /// Elements compared at the most, 0 = all.
    compared: usize,
}

pub(super) fn lpos(view: &View<'_>, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let search = parse_search(&args[3..])?;
    let list = typed::list(typed::value(view.get(args[1])))?;
    let found = list.map_or_else(Vec::new, |list| find(list, args[2], &search));
    match (search.count, found.first()) {
        (None, None) => out.null(),
        (None, Some(index)) => out.integer(*index as i64),
        (Some(_), _) => {
            out.array(found.len());
            found.iter().for_each(|index| out.integer(*index as i64));
        }
    }
    Ok(())
}

fn parse_search(options: &Args<'_>) -> Result<Search, Error> {
    let mut search = Search { rank: 1, count: None, compared: 0 };
    let (options, rest) = options.as_chunks::<2>();
    for [option, text] in options {
        match option.to_ascii_lowercase().as_slice() {
            b"rank" => {
                search.rank = number::symmetric(text)?;
                if search.rank == 0 {
                    return Err(Error::text(
                        "ERR RANK can't be zero: use 1 to start from the first match, 2 from the second ... \
                         or use negative to start from the end of the list",
                    ));
                }
            }
            b"count" => search.count = Some(number::at_least(text, 0, "ERR COUNT can't be negative")? as usize),
            b"maxlen" => search.compared = number::at_least(text, 0, "ERR MAXLEN can't be negative")? as usize,
            _ => return Err(Error::Syntax),
        }
    }
    if rest.is_empty() { Ok(search) } else { Err(Error::Syntax) }
}

fn find(list: ListRef<'_>, wanted: &[u8], search: &Search) -> Vec<usize> {
    let unlimited = |number: usize| if number == 0 { usize::MAX } else { number };
    let compared = unlimited(search.compared);
    let skipped = search.rank.unsigned_abs() as usize - 1;
    let count = search.count.map_or(1, unlimited);
    if search.rank > 0 {
        let items = list.iter().enumerate().take(compared);
        items.filter(|(_, item)| item.matches(wanted)).map(|(index, _)| index).skip(skipped).take(count).collect()
    } else {
        let items = list.iter().enumerate().rev().take(compared);
        items.filter(|(_, item)| item.matches(wanted)).map(|(index, _)| index).skip(skipped).take(count).collect()
    }
}
