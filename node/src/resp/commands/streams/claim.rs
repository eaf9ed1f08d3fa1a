//! XCLAIM and XAUTOCLAIM: a consumer takes over what another one has not acknowledged.

use std::borrow::Cow;

use tercet_proto::resp::Encoder;

use super::{group_of, id, lossy, number, reply_entry, reply_id, see, stream_of};
use crate::effect::{KeyChange, StreamChange};
use crate::engine::{Refused, Transaction};
use crate::keyspace::Applied;
use crate::keyspace::value::stream::{Given, Stream, StreamId};
use crate::resp::error::Error;
use crate::resp::table::{Args, Outcome};

/// Entries that XAUTOCLAIM takes when nobody says how many.
const COUNT: usize = 100;
/// Entries that it looks at for each that it takes.
const ATTEMPTS: usize = 10;

/// How entries are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shown {
    Whole,
    IdOnly,
}

/// The options of XCLAIM.
struct Options {
    idle: Option<i64>,
    time: Option<i64>,
    count: Option<u64>,
    is_forced: bool,
    shown: Shown,
    last_id: StreamId,
}

impl Options {
    fn parse(mut rest: &Args<'_>) -> Result<Self, Error> {
        let mut options =
            Self { idle: None, time: None, count: None, is_forced: false, shown: Shown::Whole, last_id: StreamId::MIN };
        let integer = |text: &[u8], wrong: &'static str| number::parse_integer(text).ok_or(Error::text(wrong));
        while let [word, behind @ ..] = rest {
            rest = behind;
            let name = word.to_ascii_lowercase();
            match (name.as_slice(), behind) {
                (b"force", _) => options.is_forced = true,
                (b"justid", _) => options.shown = Shown::IdOnly,
                (b"idle", [text, behind @ ..]) => {
                    options.idle = Some(integer(text, "ERR Invalid IDLE option argument for XCLAIM")?);
                    options.time = None;
                    rest = behind;
                }
                (b"time", [text, behind @ ..]) => {
                    options.time = Some(integer(text, "ERR Invalid TIME option argument for XCLAIM")?);
                    options.idle = None;
                    rest = behind;
                }
                (b"retrycount", [text, behind @ ..]) => {
                    let count = integer(text, "ERR Invalid RETRYCOUNT option argument for XCLAIM")?;
                    options.count = u64::try_from(count).ok();
                    rest = behind;
                }
                (b"lastid", [text, behind @ ..]) => {
                    options.last_id = id::strict(text)?;
                    rest = behind;
                }
                _ => return Err(Error::text(format!("ERR Unrecognized XCLAIM option '{}'", lossy(word)))),
            }
        }
        Ok(options)
    }

    /// When the entries count as given. What makes no sense is now.
    fn given_at(&self, now: i64) -> u64 {
        let at = match (self.idle, self.time) {
            (Some(idle), _) => now.saturating_sub(idle),
            (_, Some(time)) => time,
            _ => now,
        };
        (if (0..=now).contains(&at) { at } else { now }) as u64
    }
}

pub(super) fn xclaim(transaction: &mut Transaction<'_>, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let (key, name, consumer) = (args[1], args[2], args[3]);
    let group = group_of(stream_of(transaction.read(key))?, key, name)?;
    let (group_last, group_read) = (group.last_id, group.read);
    let wrong = Error::text("ERR Invalid min-idle-time argument for XCLAIM");
    let least_idle = number::parse_integer(args[4]).ok_or(wrong)?.max(0);
    let ids: Vec<StreamId> = args[5..].iter().map_while(|text| id::strict(text).ok()).collect();
    let options = Options::parse(&args[5 + ids.len()..])?;
    let now = transaction.now().0;
    let at = options.given_at(now as i64);
    if options.last_id > group_last {
        change(transaction, key, StreamChange::SetGroup { name, last_id: options.last_id, read: group_read })?;
    }
    see(transaction, key, (name, consumer), None)?;
    let mut claimed = Vec::new();
    for id in ids {
        // One by one: an id may stand there twice.
        let Some(stream) = stream_of(transaction.get(key))? else { break };
        let Some(group) = stream.group(name) else { break };
        let pending = group.pending().get(&id);
        if stream.get(id).is_none() {
            if pending.is_some() {
                change(transaction, key, StreamChange::Forget { group: name, ids: Cow::Owned(vec![id]) })?;
            }
            continue;
        }
        let before = match pending {
            Some(pending) => {
                if least_idle > 0 && now as i64 - (pending.given_at as i64) < least_idle {
                    continue;
                }
                pending.count
            }
            // Redis: what is made by FORCE has been given once.
            None if options.is_forced => 1,
            None => continue,
        };
        let more = u64::from(options.shown == Shown::Whole);
        let count = options.count.unwrap_or(before.saturating_add(more));
        let entries = Cow::Owned(vec![Given { id, at, count }]);
        change(transaction, key, StreamChange::Give { group: name, consumer, entries })?;
        claimed.push(id);
    }
    if !claimed.is_empty() {
        see(transaction, key, (name, consumer), Some(now))?;
    }
    reply(stream_of(transaction.get(key))?, &claimed, options.shown, out);
    Ok(())
}

fn change(transaction: &mut Transaction<'_>, key: &[u8], change: StreamChange<'_>) -> Result<Applied, Refused> {
    transaction.apply(key, &KeyChange::Stream(change))
}

fn reply(stream: Option<&Stream>, ids: &[StreamId], shown: Shown, out: &mut Encoder<'_>) {
    out.array(ids.len());
    for id in ids {
        match stream.and_then(|stream| stream.get(*id)) {
            Some(entry) if shown == Shown::Whole => reply_entry(&entry, out),
            _ => reply_id(*id, out),
        }
    }
}

pub(super) fn xautoclaim(transaction: &mut Transaction<'_>, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let (key, name, consumer) = (args[1], args[2], args[3]);
    let wrong = Error::text("ERR Invalid min-idle-time argument for XAUTOCLAIM");
    let least_idle = number::parse_integer(args[4]).ok_or(wrong)?.max(0);
    let start = id::start(args[5])?;
    let (mut count, mut shown) = (COUNT, Shown::Whole);
    let mut rest = &args[6..];
    while let [word, behind @ ..] = rest {
        rest = behind;
        match (word.to_ascii_lowercase().as_slice(), behind) {
            (b"count", [text, behind @ ..]) => {
                // Redis: so many that their ids still fit in the memory.
                let most = i64::MAX / 16;
                let number = number::parse_integer(text).filter(|number| (1..=most).contains(number));
                count = number.ok_or(Error::text("ERR COUNT must be > 0"))? as usize;
                rest = behind;
            }
            (b"justid", _) => shown = Shown::IdOnly,
            _ => return Err(Error::Syntax),
        }
    }
    let now = transaction.now().0;
    let stream = stream_of(transaction.read(key))?;
    let group = group_of(stream, key, name)?;
    let (mut deleted, mut claimed) = (Vec::new(), Vec::new());
    let mut pending = group.pending().range(start..);
    let mut attempts = count.saturating_mul(ATTEMPTS);
    while attempts > 0 && deleted.len() + claimed.len() < count {
        let Some((id, item)) = pending.next() else { break };
        attempts -= 1;
        if stream.is_none_or(|stream| stream.get(*id).is_none()) {
            deleted.push(*id);
        } else if least_idle == 0 || now as i64 - item.given_at as i64 >= least_idle {
            let more = u64::from(shown == Shown::Whole);
            claimed.push(Given { id: *id, at: now, count: item.count.saturating_add(more) });
        }
    }
    let next = pending.next().map_or(StreamId::MIN, |(id, _)| *id);
    let ids: Vec<StreamId> = claimed.iter().map(|given| given.id).collect();
    out.array(3);
    reply_id(next, out);
    reply(stream, &ids, shown, out);
    out.array(deleted.len());
    deleted.iter().for_each(|id| reply_id(*id, out));
    let active_at = (!claimed.is_empty()).then_some(now);
    see(transaction, key, (name, consumer), active_at)?;
    if !deleted.is_empty() {
        change(transaction, key, StreamChange::Forget { group: name, ids: Cow::Owned(deleted) })?;
    }
    if !claimed.is_empty() {
        change(transaction, key, StreamChange::Give { group: name, consumer, entries: Cow::Owned(claimed) })?;
    }
    Ok(())
}
