//! Times to live.

use tercet_proto::resp::Encoder;

use super::number::{self, TimeUnit};
use crate::effect::KeyChange;
use crate::engine::{Transaction, View};
use crate::ids::UnixMillis;
use crate::resp::error::Error;
use crate::resp::table::{Args, Outcome};

pub(super) fn expire(transaction: &mut Transaction<'_>, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    set(transaction, args, TimeUnit::Seconds, "expire", out)
}

pub(super) fn pexpire(transaction: &mut Transaction<'_>, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    set(transaction, args, TimeUnit::Millis, "pexpire", out)
}

pub(super) fn expireat(transaction: &mut Transaction<'_>, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    set(transaction, args, TimeUnit::UnixSeconds, "expireat", out)
}

pub(super) fn pexpireat(transaction: &mut Transaction<'_>, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    set(transaction, args, TimeUnit::UnixMillis, "pexpireat", out)
}

/// When a time to live may be set.
#[derive(Debug, Clone, Copy, Default)]
struct Conditions {
    if_none: bool,
    if_any: bool,
    if_later: bool,
    if_earlier: bool,
}

impl Conditions {
    fn parse(options: &Args<'_>) -> Result<Self, Error> {
        let mut conditions = Self::default();
        for option in options {
            match option.to_ascii_lowercase().as_slice() {
                b"nx" => conditions.if_none = true,
                b"xx" => conditions.if_any = true,
                b"gt" => conditions.if_later = true,
                b"lt" => conditions.if_earlier = true,
                _ => {
                    let option = String::from_utf8_lossy(number::c_text(option));
                    return Err(Error::text(format!("ERR Unsupported option {option}")));
                }
            }
        }
        if conditions.if_none && (conditions.if_any || conditions.if_later || conditions.if_earlier) {
            return Err(Error::text("ERR NX and XX, GT or LT options at the same time are not compatible"));
        }
        if conditions.if_later && conditions.if_earlier {
            return Err(Error::text("ERR GT and LT options at the same time are not compatible"));
        }
        Ok(conditions)
    }

    /// A key without a time to live counts as one that lives for ever.
    fn allow(self, at: i64, current: Option<UnixMillis>) -> bool {
        let current = current.map(|at| at.0 as i64);
        !(self.if_none && current.is_some()
            || self.if_any && current.is_none()
            || self.if_later && current.is_none_or(|current| at <= current)
            || self.if_earlier && current.is_some_and(|current| at >= current))
    }
}

fn set(
    transaction: &mut Transaction<'_>,
    args: &Args<'_>,
    unit: TimeUnit,
    command: &'static str,
    out: &mut Encoder<'_>,
) -> Outcome {
    let conditions = Conditions::parse(&args[3..])?;
    let now = transaction.now();
    let at = number::expiry(args[2], unit, now, command)?;
    let slot = transaction.open(args[1]);
    let may_set = slot.entry().is_some_and(|entry| conditions.allow(at, entry.expire_at()));
    if may_set {
        match u64::try_from(at).map(UnixMillis) {
            Ok(at) if at > now => slot.apply(&KeyChange::Expire { at })?,
            // A time that has passed deletes at once.
            _ => slot.apply(&KeyChange::Delete)?,
        };
    }
    out.integer(i64::from(may_set));
    Ok(())
}

pub(super) fn persist(transaction: &mut Transaction<'_>, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let removed = transaction.apply(args[1], &KeyChange::Persist)?.count;
    out.integer(removed as i64);
    Ok(())
}

pub(super) fn ttl(view: &View<'_>, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    reply(view, args[1], |left, _| seconds(left), out)
}

pub(super) fn pttl(view: &View<'_>, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    reply(view, args[1], |left, _| left, out)
}

pub(super) fn expiretime(view: &View<'_>, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    reply(view, args[1], |_, at| seconds(at), out)
}

pub(super) fn pexpiretime(view: &View<'_>, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    reply(view, args[1], |_, at| at, out)
}

/// Rounded as Redis does, to the nearest second.
fn seconds(millis: u64) -> u64 {
    millis.saturating_add(500) / 1000
}

/// -2 without the key, -1 without a time to live; else what `choose` makes of the time left and the deadline.
fn reply(view: &View<'_>, key: &[u8], choose: impl Fn(u64, u64) -> u64, out: &mut Encoder<'_>) -> Outcome {
    let answer = match view.glance(key).map(|entry| entry.expire_at()) {
        None => -2,
        Some(None) => -1,
        Some(Some(at)) => choose(at.0.saturating_sub(view.now().0), at.0) as i64,
    };
    out.integer(answer);
    Ok(())
}
