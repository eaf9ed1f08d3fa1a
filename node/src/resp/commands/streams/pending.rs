//! XACK and XPENDING: what has been given to consumers and not acknowledged.

use std::borrow::Cow;

use tercet_proto::resp::Encoder;

use super::{group_of, id, number, reply_id, stream, stream_of};
use crate::effect::{KeyChange, StreamChange};
use crate::engine::{Transaction, View};
use crate::keyspace::value::stream::{Group, StreamId};
use crate::resp::error::Error;
use crate::resp::table::{Args, Outcome};

pub(super) fn xack(transaction: &mut Transaction<'_>, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let slot = transaction.open(args[1]);
    let found = stream(slot.value())?;
    let is_missing = found.is_none();
    if found.is_none_or(|stream| stream.group(args[2]).is_none()) {
        out.integer(0);
        if is_missing {
            transaction.miss(args[1]);
        }
        return Ok(());
    }
    let ids: Vec<StreamId> = args[3..].iter().map(|text| id::strict(text)).collect::<Result<_, _>>()?;
    let change = StreamChange::Forget { group: args[2], ids: Cow::Owned(ids) };
    let count = slot.apply(&KeyChange::Stream(change))?.count;
    out.integer(count as i64);
    Ok(())
}

/// What the longer form of XPENDING asks for.
struct Wanted<'a> {
    least_idle: i64,
    start: StreamId,
    end: StreamId,
    count: usize,
    consumer: Option<&'a [u8]>,
}

impl<'a> Wanted<'a> {
    fn parse(rest: &Args<'a>) -> Result<Self, Error> {
        let (least_idle, rest) = match rest {
            [word, idle, behind @ ..] if word.eq_ignore_ascii_case(b"idle") => (number::integer(idle)?, behind),
            rest => (0, rest),
        };
        let [start, end, count, consumer @ ..] = rest else { return Err(Error::Syntax) };
        let count = usize::try_from(number::integer(count)?).unwrap_or(0);
        let (start, end) = (id::start(start)?, id::end(end)?);
        Ok(Self { least_idle, start, end, count, consumer: consumer.first().copied() })
    }
}

pub(super) fn xpending(view: &View<'_>, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let wanted = match args.len() {
        3 => None,
        6..=9 => Some(Wanted::parse(&args[3..])?),
        _ => return Err(Error::Syntax),
    };
    let group = group_of(stream_of(view.get(args[1]))?, args[1], args[2])?;
    match wanted {
        None => summary(group, out),
        Some(wanted) => entries(group, &wanted, view.now().0 as i64, out),
    }
    Ok(())
}

fn summary(group: &Group, out: &mut Encoder<'_>) {
    let pending = group.pending();
    out.array(4);
    out.integer(pending.len() as i64);
    let (Some((first, _)), Some((last, _))) = (pending.first_key_value(), pending.last_key_value()) else {
        out.null();
        out.null();
        out.null_array();
        return;
    };
    reply_id(*first, out);
    reply_id(*last, out);
    let consumers: Vec<_> = group.consumers().iter().filter(|(_, consumer)| !consumer.pending().is_empty()).collect();
    out.array(consumers.len());
    for (name, consumer) in consumers {
        out.array(2);
        out.bulk(name);
        out.bulk_integer(consumer.pending().len() as i64);
    }
}

fn entries(group: &Group, wanted: &Wanted<'_>, now: i64, out: &mut Encoder<'_>) {
    if wanted.start > wanted.end {
        out.array(0);
        return;
    }
    let range = wanted.start..=wanted.end;
    let ids: Vec<StreamId> = match wanted.consumer {
        None => group.pending().range(range).map(|(id, _)| *id).collect(),
        Some(name) => group.consumer(name).map_or_else(Vec::new, |it| it.pending().range(range).copied().collect()),
    };
    let found = ids.iter().filter_map(|id| Some((id, group.pending().get(id)?)));
    let is_idle = |given_at: u64| wanted.least_idle == 0 || now - given_at as i64 >= wanted.least_idle;
    let found: Vec<_> = found.filter(|(_, pending)| is_idle(pending.given_at)).take(wanted.count).collect();
    out.array(found.len());
    for (id, pending) in found {
        out.array(4);
        reply_id(*id, out);
        out.bulk(&pending.consumer);
        out.integer((now - pending.given_at as i64).max(0));
        out.integer(pending.count as i64);
    }
}
