//! XREAD and XREADGROUP: what came after an id, from several streams; if there is nothing, they may wait for it.

use std::borrow::Cow;

use tercet_proto::resp::{Encoder, Version};

use super::{id, limit, lossy, number, reply_entries, reply_entry, reply_id, see, stream_of};
use crate::effect::{KeyChange, StreamChange};
use crate::engine::{Transaction, View};
use crate::keyspace::Wants;
use crate::keyspace::value::stream::{Given, Stream, StreamId};
use crate::resp::block::{Block, Timeout};
use crate::resp::error::Error;
use crate::resp::table::{Args, Outcome};
use crate::resp::timeout;

/// What the arguments ask for.
struct Request<'a, 'b> {
    keys: &'b Args<'a>,
    ids: &'b Args<'a>,
    /// 0 = all.
    count: u64,
    block: Option<Timeout>,
    group: Option<(&'a [u8], &'a [u8])>,
    acknowledges_itself: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Read,
    Group,
}

impl<'a, 'b> Request<'a, 'b> {
    fn parse(args: &'b Args<'a>, form: Form) -> Result<Self, Error> {
        let mut request = Self { keys: &[], ids: &[], count: 0, block: None, group: None, acknowledges_itself: false };
        let mut rest = &args[1..];
        let mut has_streams = false;
        while let [word, behind @ ..] = rest {
            rest = behind;
            match (word.to_ascii_lowercase().as_slice(), behind) {
                (b"block", [text, behind @ ..]) => {
                    request.block = Some(timeout::millis(text, args.len() - behind.len() - 1)?);
                    rest = behind;
                }
                (b"count", [text, behind @ ..]) => {
                    request.count = u64::try_from(number::integer(text)?).unwrap_or(0);
                    rest = behind;
                }
                (b"streams", [_, ..]) => {
                    if behind.len() % 2 != 0 {
                        return Err(unbalanced(form));
                    }
                    (request.keys, request.ids) = behind.split_at(behind.len() / 2);
                    has_streams = true;
                    break;
                }
                (b"group", [group, consumer, behind @ ..]) => {
                    if form == Form::Read {
                        return Err(only_in_groups("GROUP"));
                    }
                    request.group = Some((group, consumer));
                    rest = behind;
                }
                (b"noack", _) => {
                    if form == Form::Read {
                        return Err(only_in_groups("NOACK"));
                    }
                    request.acknowledges_itself = true;
                }
                _ => return Err(Error::Syntax),
            }
        }
        if !has_streams {
            return Err(Error::Syntax);
        }
        if form == Form::Group && request.group.is_none() {
            return Err(Error::text("ERR Missing GROUP option for XREADGROUP"));
        }
        Ok(request)
    }

    /// Nothing is there: waits if that was asked for.
    fn nothing(&self, args: &Args<'_>, ids: &[StreamId], wants: Wants, out: &mut Encoder<'_>) -> Outcome {
        let Some(timeout) = self.block else {
            out.null_array();
            return Ok(());
        };
        // `$` is where the stream ends now, not when the command is executed again.
        let before = args.len() - self.ids.len();
        let mut rewritten: Vec<Vec<u8>> = args.iter().map(|arg| arg.to_vec()).collect();
        for (place, id) in ids.iter().enumerate().filter(|(place, _)| self.ids[*place] == b"$") {
            rewritten[before + place] = id.to_string().into_bytes();
        }
        let keys = self.keys.iter().map(|key| key.to_vec()).collect();
        Err(Error::Blocked(Box::new(Block { timeout, keys, needs: Vec::new(), wants, args: rewritten })))
    }
}

fn unbalanced(form: Form) -> Error {
    let (name, symbol) = match form {
        Form::Read => ("xread", '$'),
        Form::Group => ("xreadgroup", '>'),
    };
    Error::text(format!(
        "ERR Unbalanced '{name}' list of streams: for each stream key an ID or '{symbol}' must be specified."
    ))
}

fn only_in_groups(option: &str) -> Error {
    Error::text(format!("ERR The {option} option is only supported by XREADGROUP. You called XREAD instead."))
}

/// Opens the reply: pairs of a stream's name and its entries.
fn reply_head(streams: usize, out: &mut Encoder<'_>) {
    match out.version() {
        Version::Resp2 => out.array(streams),
        Version::Resp3 => out.map(streams),
    }
}

fn reply_name(key: &[u8], out: &mut Encoder<'_>) {
    if out.version() == Version::Resp2 {
        out.array(2);
    }
    out.bulk(key);
}

pub(super) fn xread(view: &View<'_>, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let request = Request::parse(args, Form::Read)?;
    let mut ids = Vec::with_capacity(request.ids.len());
    for (key, text) in request.keys.iter().zip(request.ids) {
        let stream = stream_of(view.get(key))?;
        ids.push(match *text {
            b"$" => stream.map_or(StreamId::MIN, Stream::last_id),
            b">" => {
                return Err(Error::text(
                    "ERR The > ID can be specified only when calling XREADGROUP using the GROUP <group> <consumer> option.",
                ));
            }
            text => id::strict(text)?,
        });
    }
    let most = limit(request.count);
    let mut served = Vec::new();
    for (key, id) in request.keys.iter().zip(&ids) {
        let (Some(stream), Some(next)) = (stream_of(view.peek(key))?, id.next()) else { continue };
        let entries: Vec<_> = stream.range(next, StreamId::MAX).take(most).collect();
        if !entries.is_empty() {
            served.push((*key, entries));
        }
    }
    if served.is_empty() {
        return request.nothing(args, &ids, Wants::Stream, out);
    }
    reply_head(served.len(), out);
    for (key, entries) in served {
        reply_name(key, out);
        reply_entries(&entries, out);
    }
    Ok(())
}

/// What a consumer reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum From {
    /// What nobody of the group has got.
    New,
    /// What it has not acknowledged, after this id.
    History(StreamId),
}

pub(super) fn xreadgroup(transaction: &mut Transaction<'_>, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let request = Request::parse(args, Form::Group)?;
    let (group, consumer) = request.group.unwrap_or_default();
    let mut wanted = Vec::with_capacity(request.ids.len());
    for (key, text) in request.keys.iter().zip(request.ids) {
        let stream = stream_of(transaction.read(key))?;
        if stream.is_none_or(|stream| stream.group(group).is_none()) {
            return Err(Error::text(format!(
                "NOGROUP No such key '{}' or consumer group '{}' in XREADGROUP with GROUP option",
                lossy(key),
                lossy(group)
            )));
        }
        wanted.push(match *text {
            b"$" => {
                return Err(Error::text(
                    "ERR The $ ID is meaningless in the context of XREADGROUP: you want to read the history of this \
                     consumer by specifying a proper ID, or use the > ID to get new messages. The $ ID would just \
                     return an empty result set.",
                ));
            }
            b">" => From::New,
            text => From::History(id::strict(text)?),
        });
    }
    let mut is_served = Vec::with_capacity(wanted.len());
    for (key, from) in request.keys.iter().zip(&wanted) {
        let stream = stream_of(transaction.get(key))?;
        let has_new = |stream: &Stream| {
            stream.group(group).is_some_and(|group| !stream.is_empty() && stream.last_valid_id() > group.last_id)
        };
        is_served.push(*from != From::New || stream.is_some_and(has_new));
    }
    let count = is_served.iter().filter(|is_served| **is_served).count();
    if count > 0 {
        reply_head(count, out);
    }
    for ((key, from), is_served) in request.keys.iter().zip(wanted).zip(is_served) {
        let got = match from {
            _ if !is_served => Got::default(),
            From::New => {
                reply_name(key, out);
                read_new(transaction, key, &request, out)?
            }
            From::History(after) => {
                reply_name(key, out);
                read_history(transaction, key, &request, after, out)?
            }
        };
        note(transaction, key, group, consumer, got)?;
    }
    if count == 0 {
        return request.nothing(args, &[], Wants::Group, out);
    }
    Ok(())
}

/// What a consumer got of one stream.
#[derive(Default)]
struct Got {
    given: Vec<Given>,
    position: Option<(StreamId, Option<u64>)>,
    is_active: bool,
}

/// Notes what a consumer has got. Nobody who waits for the stream gets anything by it.
fn note(transaction: &mut Transaction<'_>, key: &[u8], group: &[u8], consumer: &[u8], got: Got) -> Outcome {
    let now = transaction.now().0;
    let active_at = got.is_active.then_some(now);
    transaction.quietly(|transaction| {
        see(transaction, key, (group, consumer), active_at)?;
        let mut change = |change| transaction.apply(key, &KeyChange::Stream(change));
        if let Some((last_id, read)) = got.position {
            change(StreamChange::SetGroup { name: group, last_id, read })?;
        }
        if !got.given.is_empty() {
            change(StreamChange::Give { group, consumer, entries: Cow::Owned(got.given) })?;
        }
        Ok(())
    })
}

fn read_new(
    transaction: &mut Transaction<'_>,
    key: &[u8],
    request: &Request<'_, '_>,
    out: &mut Encoder<'_>,
) -> Result<Got, Error> {
    let at = transaction.now().0;
    let (name, _) = request.group.unwrap_or_default();
    let mut got = Got::default();
    let stream = stream_of(transaction.get(key))?;
    let Some((stream, group)) = stream.and_then(|stream| Some((stream, stream.group(name)?))) else {
        out.array(0);
        return Ok(got);
    };
    let start = group.last_id.next().unwrap_or(StreamId::MAX);
    let entries: Vec<_> = stream.range(start, StreamId::MAX).take(limit(request.count)).collect();
    reply_entries(&entries, out);
    let mut read = group.read;
    for entry in &entries {
        read = stream.read_after(read, entry.id);
        got.position = Some((entry.id, read));
        if !request.acknowledges_itself {
            got.given.push(Given { id: entry.id, at, count: 1 });
        }
    }
    got.is_active = !got.given.is_empty();
    Ok(got)
}

fn read_history(
    transaction: &mut Transaction<'_>,
    key: &[u8],
    request: &Request<'_, '_>,
    after: StreamId,
    out: &mut Encoder<'_>,
) -> Result<Got, Error> {
    let at = transaction.now().0;
    let (name, consumer) = request.group.unwrap_or_default();
    let mut got = Got::default();
    let stream = stream_of(transaction.get(key))?;
    let Some((stream, group)) = stream.and_then(|stream| Some((stream, stream.group(name)?))) else {
        out.array(0);
        return Ok(got);
    };
    let pending = group.consumer(consumer).map(|consumer| consumer.pending());
    let ids: Vec<StreamId> = match (pending, after.next()) {
        (Some(pending), Some(start)) => pending.range(start..).take(limit(request.count)).copied().collect(),
        _ => Vec::new(),
    };
    out.array(ids.len());
    for id in ids {
        match stream.get(id) {
            Some(entry) => {
                reply_entry(&entry, out);
                let count = group.pending().get(&id).map_or(1, |pending| pending.count.saturating_add(1));
                got.given.push(Given { id, at, count });
            }
            // It was deleted without being acknowledged.
            None => {
                out.array(2);
                reply_id(id, out);
                out.null_array();
            }
        }
    }
    Ok(got)
}
