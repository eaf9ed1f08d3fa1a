//! DUMP and RESTORE: values in Redis's own format, on their way from one server to another.

use tercet_proto::resp::Encoder;

use super::number;
use crate::effect::{Expiry, KeyChange, class};
use crate::engine::{Transaction, View};
use crate::ids::UnixMillis;
use crate::keyspace::access::Rule;
use crate::keyspace::rdb;
use crate::keyspace::value::image;
use crate::resp::error::Error;
use crate::resp::table::{Args, Outcome};

pub(super) fn dump(view: &View<'_>, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    match view.get(args[1]) {
        None => out.null(),
        Some(entry) => out.bulk(&rdb::dump(entry.value(), &view.keyspace().thresholds().sizes().limits)),
    }
    Ok(())
}

#[derive(Debug, Clone, Copy, Default)]
struct Options {
    replaces: bool,
    is_absolute: bool,
    /// What is noted of the use of the key: seconds since the last one, or how often.
    idle: Option<u64>,
    frequency: Option<u8>,
}

impl Options {
    fn parse(mut rest: &Args<'_>) -> Result<Self, Error> {
        let mut options = Self::default();
        while let [word, behind @ ..] = rest {
            rest = behind;
            match (word.to_ascii_lowercase().as_slice(), behind) {
                (b"replace", _) => options.replaces = true,
                (b"absttl", _) => options.is_absolute = true,
                (b"idletime", [text, behind @ ..]) if options.frequency.is_none() => {
                    let seconds = number::integer(text)?;
                    if seconds < 0 {
                        return Err(Error::text("ERR Invalid IDLETIME value, must be >= 0"));
                    }
                    options.idle = Some(seconds.unsigned_abs());
                    rest = behind;
                }
                (b"freq", [text, behind @ ..]) if options.idle.is_none() => {
                    let number = number::integer(text)?;
                    if !(0..=255).contains(&number) {
                        return Err(Error::text("ERR Invalid FREQ value, must be >= 0 and <= 255"));
                    }
                    options.frequency = Some(number as u8);
                    rest = behind;
                }
                _ => return Err(Error::Syntax),
            }
        }
        Ok(options)
    }
}

pub(super) fn restore(transaction: &mut Transaction<'_>, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let options = Options::parse(&args[4..])?;
    let now = transaction.now();
    let is_there = transaction.get(args[1]).is_some();
    if is_there && !options.replaces {
        return Err(Error::text("BUSYKEY Target key name already exists."));
    }
    let ttl = number::integer(args[2])?;
    let ttl = u64::try_from(ttl).map_err(|_| Error::text("ERR Invalid TTL value, must be >= 0"))?;
    let value = rdb::restore(args[3]).map_err(|error| Error::text(format!("ERR {error}")))?;
    let at = if options.is_absolute { ttl } else { ttl.saturating_add(now.0) };
    if ttl > 0 && at <= now.0 {
        // It has expired on the way.
        transaction.apply(args[1], &KeyChange::Delete)?;
        out.ok();
        return Ok(());
    }
    let mut bytes = Vec::new();
    image::encode(value.as_ref(), &mut bytes);
    let expiry = if ttl > 0 { Expiry::At(UnixMillis(at)) } else { Expiry::Never };
    if is_there {
        // Redis deletes what is there and adds a key.
        transaction.raise(class::NEW, "new", args[1]);
    }
    transaction.apply(args[1], &KeyChange::Restore { image: &bytes, expiry })?;
    let bits = {
        let access = transaction.keyspace().access();
        match (access.rule(), options.idle, options.frequency) {
            (Rule::Clock, Some(seconds), _) => Some(access.bits_idle_for(seconds)),
            (Rule::Counter, _, Some(frequency)) => Some(access.bits_with_frequency(frequency)),
            _ => None,
        }
    };
    if let (Some(bits), Some(entry)) = (bits, transaction.get(args[1])) {
        entry.set_access(bits);
    }
    out.ok();
    Ok(())
}
