//! Fields that expire, as in Redis 8: HEXPIRE and its like, HTTL and its like, HPERSIST, HGETEX, HSETEX, HGETDEL.

use std::borrow::Cow;
use std::collections::HashSet;

use tercet_proto::resp::Encoder;

use super::super::number::{self, TimeUnit};
use super::super::typed;
use crate::effect::KeyChange;
use crate::engine::{Transaction, View};
use crate::ids::UnixMillis;
use crate::keyspace::value::HashRef;
use crate::resp::error::{Error, shown};
use crate::resp::table::{Args, Outcome};

/// Milliseconds of the latest deadline: 46 bits, as in Redis.
const LATEST: i64 = (1 << 46) - 1;

/// What is said of a field that is not there.
const NO_FIELD: i64 = -2;
/// A field without a deadline.
const NO_DEADLINE: i64 = -1;
/// The condition is not met.
const NOT_MET: i64 = 0;
const DONE: i64 = 1;
/// The time has passed: the field is gone.
const GONE: i64 = 2;

fn is_relative(unit: TimeUnit) -> bool {
    matches!(unit, TimeUnit::Seconds | TimeUnit::Millis)
}

fn is_seconds(unit: TimeUnit) -> bool {
    matches!(unit, TimeUnit::Seconds | TimeUnit::UnixSeconds)
}

/// The absolute time that an argument means.
fn parse_time(text: &[u8], unit: TimeUnit, now: UnixMillis, command: &'static str) -> Result<UnixMillis, Error> {
    let mut time = number::integer(text)?;
    if time < 0 {
        return Err(Error::text("ERR invalid expire time, must be >= 0"));
    }
    if is_seconds(unit) {
        time = time.checked_mul(1000).ok_or(Error::ExpireTime(command))?;
    }
    let begin = if is_relative(unit) { now.0 as i64 } else { 0 };
    if time > LATEST - begin {
        return Err(Error::ExpireTime(command));
    }
    Ok(UnixMillis((time + begin) as u64))
}

/// When the deadline of a field is set.
#[derive(Clone, Copy, PartialEq)]
enum Condition {
    Always,
    IfNone,
    IfAny,
    IfLater,
    IfEarlier,
}

impl Condition {
    fn parse(text: &[u8]) -> Option<Self> {
        match text.to_ascii_lowercase().as_slice() {
            b"nx" => Some(Self::IfNone),
            b"xx" => Some(Self::IfAny),
            b"gt" => Some(Self::IfLater),
            b"lt" => Some(Self::IfEarlier),
            _ => None,
        }
    }

    /// A field without a deadline counts as one that lives for ever.
    fn allows(self, at: UnixMillis, current: Option<UnixMillis>) -> bool {
        match self {
            Self::Always => true,
            Self::IfNone => current.is_none(),
            Self::IfAny => current.is_some(),
            Self::IfLater => current.is_some_and(|current| at > current),
            Self::IfEarlier => current.is_none_or(|current| at < current),
        }
    }
}

/// `FIELDS count field...` up to the end.
fn fields<'a, 'b>(args: &'b Args<'a>, wrong_count: &'static str) -> Result<&'b Args<'a>, Error> {
    let [word, count, fields @ ..] = args else { return Err(Error::Syntax) };
    if !word.eq_ignore_ascii_case(b"fields") {
        return Err(Error::text("ERR Mandatory argument FIELDS is missing or not at the right position"));
    }
    let count = number::at_least(count, 1, wrong_count)?;
    if usize::try_from(count) != Ok(fields.len()) {
        return Err(Error::text("ERR The `numfields` parameter must match the number of arguments"));
    }
    Ok(fields)
}

const WRONG_COUNT: &str = "ERR Number of fields must be a positive integer";

pub(super) fn hexpire(transaction: &mut Transaction<'_>, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    expire(transaction, args, TimeUnit::Seconds, "hexpire", out)
}

pub(super) fn hpexpire(transaction: &mut Transaction<'_>, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    expire(transaction, args, TimeUnit::Millis, "hpexpire", out)
}

pub(super) fn hexpireat(transaction: &mut Transaction<'_>, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    expire(transaction, args, TimeUnit::UnixSeconds, "hexpireat", out)
}

pub(super) fn hpexpireat(transaction: &mut Transaction<'_>, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    expire(transaction, args, TimeUnit::UnixMillis, "hpexpireat", out)
}

fn expire(
    transaction: &mut Transaction<'_>,
    args: &Args<'_>,
    unit: TimeUnit,
    command: &'static str,
    out: &mut Encoder<'_>,
) -> Outcome {
    let now = transaction.now();
    let slot = transaction.open(args[1]);
    let hash = typed::hash(slot.value())?;
    let at = parse_time(args[2], unit, now, command)?;
    let condition = Condition::parse(args[3]);
    let rest = if condition.is_some() { &args[4..] } else { &args[3..] };
    let fields = fields(rest, "ERR Parameter `numFields` should be greater than 0")?;
    let condition = condition.unwrap_or(Condition::Always);
    let (mut changed, mut replies) = (HashSet::new(), Vec::with_capacity(fields.len()));
    for field in fields {
        let Some(hash) = hash.filter(|hash| hash.contains(field)) else {
            replies.push(NO_FIELD);
            continue;
        };
        // A field that is named twice is met as the first time has left it.
        let is_again = changed.contains(field);
        let before = if is_again { Some(at) } else { hash.deadline(field) };
        replies.push(if at <= now && is_again {
            NO_FIELD
        } else if !condition.allows(at, before) {
            NOT_MET
        } else {
            changed.insert(*field);
            if at > now { DONE } else { GONE }
        });
    }
    if !changed.is_empty() {
        slot.apply(&deadline_change(at, now, changed.into_iter().collect()))?;
    }
    out.array(replies.len());
    replies.into_iter().for_each(|reply| out.integer(reply));
    Ok(())
}

/// Sets a deadline, or removes the fields if it has passed.
fn deadline_change<'a>(at: UnixMillis, now: UnixMillis, fields: Cow<'a, [&'a [u8]]>) -> KeyChange<'a> {
    if at > now { KeyChange::HashExpire { at: Some(at), fields } } else { KeyChange::HashRemove { fields } }
}

pub(super) fn httl(view: &View<'_>, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    ttl(view, args, TimeUnit::Seconds, out)
}

pub(super) fn hpttl(view: &View<'_>, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    ttl(view, args, TimeUnit::Millis, out)
}

pub(super) fn hexpiretime(view: &View<'_>, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    ttl(view, args, TimeUnit::UnixSeconds, out)
}

pub(super) fn hpexpiretime(view: &View<'_>, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    ttl(view, args, TimeUnit::UnixMillis, out)
}

fn ttl(view: &View<'_>, args: &Args<'_>, unit: TimeUnit, out: &mut Encoder<'_>) -> Outcome {
    let hash = super::find(view, args[1])?;
    let fields = fields(&args[2..], WRONG_COUNT)?;
    let begin = if is_relative(unit) { view.now().0 } else { 0 };
    out.array(fields.len());
    for field in fields {
        out.integer(match hash.filter(|hash| hash.contains(field)).map(|hash| hash.deadline(field)) {
            None => NO_FIELD,
            Some(None) => NO_DEADLINE,
            Some(Some(at)) => {
                let left = at.0.saturating_sub(begin);
                if is_seconds(unit) { left.div_ceil(1000) as i64 } else { left as i64 }
            }
        });
    }
    Ok(())
}

pub(super) fn hpersist(transaction: &mut Transaction<'_>, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let slot = transaction.open(args[1]);
    let hash = typed::hash(slot.value())?;
    let fields = fields(&args[2..], WRONG_COUNT)?;
    let (mut changed, mut replies) = (HashSet::new(), Vec::with_capacity(fields.len()));
    for field in fields {
        replies.push(match hash.filter(|hash| hash.contains(field)) {
            None => NO_FIELD,
            Some(hash) if hash.deadline(field).is_some() && changed.insert(*field) => DONE,
            Some(_) => NO_DEADLINE,
        });
    }
    if !changed.is_empty() {
        slot.apply(&KeyChange::HashExpire { at: None, fields: changed.into_iter().collect() })?;
    }
    out.array(replies.len());
    replies.into_iter().for_each(|reply| out.integer(reply));
    Ok(())
}

/// What HGETEX and HSETEX do with deadlines.
#[derive(Clone, Copy, PartialEq)]
enum Deadline {
    /// Said nothing: HGETEX leaves it, HSETEX takes it away.
    Unsaid,
    At(UnixMillis),
    /// PERSIST or KEEPTTL.
    Other,
}

/// Which fields HSETEX wants there to be.
#[derive(Clone, Copy, PartialEq)]
enum Wanted {
    Any,
    All,
    None,
}

/// The arguments of HGETEX and HSETEX behind the key.
struct Options<'a, 'b> {
    deadline: Deadline,
    wanted: Wanted,
    /// Fields, or fields and values.
    fields: &'b Args<'a>,
}

impl<'a, 'b> Options<'a, 'b> {
    /// `width`: arguments of each field.
    fn parse(
        args: &'b Args<'a>,
        width: usize,
        now: UnixMillis,
        command: &'static str,
        other: &'static str,
    ) -> Result<Self, Error> {
        let arity = || Error::Arity(command.into());
        let (mut deadline, mut wanted, mut rest) = (Deadline::Unsaid, Wanted::Any, args);
        while let [word, behind @ ..] = rest {
            rest = behind;
            let name = word.to_ascii_lowercase();
            let time = match name.as_slice() {
                b"fields" => {
                    let [count, fields @ ..] = rest else { return Err(arity()) };
                    if fields.len() < width {
                        return Err(arity());
                    }
                    let count = number::at_least(count, 1, "ERR invalid number of fields")?;
                    if usize::try_from(count).ok().and_then(|count| count.checked_mul(width)) != Some(fields.len()) {
                        return Err(arity());
                    }
                    return Ok(Self { deadline, wanted, fields });
                }
                b"ex" => TimeUnit::Seconds,
                b"px" => TimeUnit::Millis,
                b"exat" => TimeUnit::UnixSeconds,
                b"pxat" => TimeUnit::UnixMillis,
                b"fnx" | b"fxx" if width == 2 => {
                    if wanted != Wanted::Any {
                        return Err(Error::text("ERR Only one of FXX or FNX arguments can be specified"));
                    }
                    wanted = if name == b"fnx" { Wanted::None } else { Wanted::All };
                    continue;
                }
                name if name == other.to_ascii_lowercase().as_bytes() => {
                    if deadline != Deadline::Unsaid {
                        return Err(only_one(other));
                    }
                    deadline = Deadline::Other;
                    continue;
                }
                _ => return Err(Error::text(format!("ERR unknown argument: {}", shown(word)))),
            };
            if deadline != Deadline::Unsaid {
                return Err(only_one(other));
            }
            let [text, behind @ ..] = rest else { return Err(Error::text("ERR missing expire time")) };
            deadline = Deadline::At(parse_time(text, time, now, command)?);
            rest = behind;
        }
        Err(Error::text("ERR missing FIELDS argument"))
    }
}

fn only_one(other: &str) -> Error {
    Error::text(format!("ERR Only one of EX, PX, EXAT, PXAT or {other} arguments can be specified"))
}

/// Replies with the values of fields.
fn reply_values(hash: Option<HashRef<'_>>, fields: &Args<'_>, out: &mut Encoder<'_>) {
    out.array(fields.len());
    fields.iter().for_each(|field| super::reply_field(hash, field, out));
}

/// The fields that are there, each once.
fn present<'a>(hash: Option<HashRef<'_>>, fields: &Args<'a>) -> Vec<&'a [u8]> {
    let mut present: Vec<&[u8]> =
        fields.iter().copied().filter(|field| hash.is_some_and(|hash| hash.contains(field))).collect();
    present.sort_unstable();
    present.dedup();
    present
}

pub(super) fn hgetex(transaction: &mut Transaction<'_>, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let now = transaction.now();
    let options = Options::parse(&args[2..], 1, now, "hgetex", "PERSIST")?;
    let slot = transaction.open(args[1]);
    let hash = typed::hash(slot.value())?;
    reply_values(hash, options.fields, out);
    let mut fields = present(hash, options.fields);
    let change = match options.deadline {
        Deadline::Unsaid => return Ok(()),
        Deadline::At(at) => deadline_change(at, now, fields.into()),
        Deadline::Other => {
            fields.retain(|field| hash.is_some_and(|hash| hash.deadline(field).is_some()));
            KeyChange::HashExpire { at: None, fields: fields.into() }
        }
    };
    slot.apply(&change)?;
    Ok(())
}

pub(super) fn hgetdel(transaction: &mut Transaction<'_>, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let slot = transaction.open(args[1]);
    let hash = typed::hash(slot.value())?;
    let fields = fields(&args[2..], WRONG_COUNT)?;
    // A field that is named twice is gone the second time.
    out.array(fields.len());
    let mut gone = HashSet::new();
    for field in fields {
        super::reply_field(hash.filter(|_| gone.insert(*field)), field, out);
    }
    slot.apply(&KeyChange::HashRemove { fields: Cow::Borrowed(fields) })?;
    Ok(())
}

pub(super) fn hsetex(transaction: &mut Transaction<'_>, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let now = transaction.now();
    let options = Options::parse(&args[2..], 2, now, "hsetex", "KEEPTTL")?;
    let names: Vec<&[u8]> = options.fields.iter().step_by(2).copied().collect();
    let slot = transaction.open(args[1]);
    let hash = typed::hash(slot.value())?;
    let is_there = |field: &&[u8]| hash.is_some_and(|hash| hash.contains(field));
    let is_met = match options.wanted {
        Wanted::Any => true,
        Wanted::All => names.iter().all(is_there),
        Wanted::None => !names.iter().any(is_there),
    };
    if !is_met {
        out.integer(0);
        return Ok(());
    }
    let kept = if options.deadline == Deadline::Other { deadlines(hash, &names) } else { Vec::new() };
    let set = KeyChange::HashSet { pairs: Cow::Borrowed(options.fields) };
    let then = match options.deadline {
        Deadline::At(at) => Some(deadline_change(at, now, names.into())),
        Deadline::Unsaid | Deadline::Other => None,
    };
    let room = set.record_bytes() + then.as_ref().map_or(0, KeyChange::record_bytes) + room_for(&kept);
    transaction.check_room(args[1].len() * (2 + kept.len()) + room)?;
    transaction.apply(args[1], &set)?;
    if let Some(then) = then {
        transaction.apply(args[1], &then)?;
    }
    keep(transaction, args[1], &kept)?;
    out.integer(1);
    Ok(())
}

/// A field and its deadline, before the field is set.
type Kept = (Vec<u8>, UnixMillis);

/// The deadlines of fields, which setting them takes away.
pub(super) fn deadlines(hash: Option<HashRef<'_>>, fields: &[&[u8]]) -> Vec<Kept> {
    let Some(hash) = hash.filter(|hash| hash.is_timed()) else { return Vec::new() };
    fields.iter().filter_map(|field| Some((field.to_vec(), hash.deadline(field)?))).collect()
}

fn room_for(kept: &[Kept]) -> usize {
    kept.iter().map(|(field, at)| keep_one(field, *at, |change| change.record_bytes())).sum()
}

fn keep_one<R>(field: &[u8], at: UnixMillis, with: impl FnOnce(&KeyChange<'_>) -> R) -> R {
    with(&KeyChange::HashExpire { at: Some(at), fields: Cow::Borrowed(&[field]) })
}

/// Gives fields the deadlines back that setting them took away. No event tells of it.
pub(super) fn keep(transaction: &mut Transaction<'_>, key: &[u8], kept: &[Kept]) -> Outcome {
    for (field, at) in kept {
        keep_one(field, *at, |change| transaction.apply_as(key, 0, "", change))?;
    }
    Ok(())
}
