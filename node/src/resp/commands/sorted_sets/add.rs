//! ZADD and ZINCRBY.

use std::borrow::Cow;

use smallvec::SmallVec;
use tercet_proto::resp::Encoder;

use super::{number, typed};
use crate::effect::{KeyChange, class};
use crate::engine::Transaction;
use crate::resp::error::Error;
use crate::resp::table::{Args, Outcome};

/// Pairs that need no allocation.
const PAIRS_INLINE: usize = 8;

type Pairs<'a> = SmallVec<[(f64, &'a [u8]); PAIRS_INLINE]>;

#[derive(Debug, Clone, Copy, Default)]
struct Options {
    only_new: bool,
    only_known: bool,
    only_greater: bool,
    only_less: bool,
    /// The reply counts updates too.
    counts_changed: bool,
    increments: bool,
}

impl Options {
    /// Takes the options from the front; what is left are the pairs.
    fn parse<'a, 'b>(mut rest: &'b Args<'a>) -> (Self, &'b Args<'a>) {
        let mut options = Self::default();
        while let [word, behind @ ..] = rest {
            // No score is as short as an option and begins with one of these letters, except for infinity.
            let is_word = matches!(word.first(), Some(byte) if byte.is_ascii_alphabetic());
            let flag = match is_word.then(|| word.to_ascii_lowercase()).as_deref() {
                Some(b"nx") => &mut options.only_new,
                Some(b"xx") => &mut options.only_known,
                Some(b"gt") => &mut options.only_greater,
                Some(b"lt") => &mut options.only_less,
                Some(b"ch") => &mut options.counts_changed,
                Some(b"incr") => &mut options.increments,
                _ => break,
            };
            *flag = true;
            rest = behind;
        }
        (options, rest)
    }

    fn check(self, pairs: usize) -> Outcome {
        if self.only_new && self.only_known {
            return Err(Error::text("ERR XX and NX options at the same time are not compatible"));
        }
        if self.only_new && (self.only_greater || self.only_less) || self.only_greater && self.only_less {
            return Err(Error::text("ERR GT, LT, and/or NX options at the same time are not compatible"));
        }
        if self.increments && pairs > 1 {
            return Err(Error::text("ERR INCR option supports a single increment-element pair"));
        }
        Ok(())
    }

    fn is_plain(self) -> bool {
        !(self.only_new || self.only_known || self.only_greater || self.only_less)
    }

    /// Whether a member with the score `old` may get the score `new`.
    fn allow(self, old: Option<f64>, new: f64) -> bool {
        match old {
            None => !self.only_known,
            Some(old) => !(self.only_new || self.only_greater && new <= old || self.only_less && new >= old),
        }
    }
}

pub(in crate::resp::commands) fn zadd(
    transaction: &mut Transaction<'_>,
    args: &Args<'_>,
    out: &mut Encoder<'_>,
) -> Outcome {
    let (options, rest) = Options::parse(&args[2..]);
    let (pairs, []) = rest.as_chunks::<2>() else { return Err(Error::Syntax) };
    if pairs.is_empty() {
        return Err(Error::Syntax);
    }
    options.check(pairs.len())?;
    let pairs: Pairs<'_> =
        pairs.iter().map(|[score, member]| Ok((number::float(score)?, *member))).collect::<Result<_, Error>>()?;
    if options.increments {
        return increment(transaction, args[1], options, pairs[0], out);
    }
    let (mut added, mut updated) = (0, 0);
    if options.is_plain() {
        let applied = transaction.apply(args[1], &KeyChange::SortedAdd { pairs: Cow::Borrowed(&pairs) })?;
        (added, updated) = (applied.count, applied.updated);
    } else {
        for pair in pairs {
            // One by one: what a pair meets may be what an earlier one did.
            let slot = transaction.open(args[1]);
            let old = typed::sorted(slot.value())?.and_then(|sorted| sorted.score(pair.1));
            if options.allow(old, pair.0) {
                let change = KeyChange::SortedAdd { pairs: Cow::Borrowed(&[pair]) };
                let applied = slot.apply_as(0, "", &change)?;
                added += applied.count;
                updated += applied.updated;
            }
        }
        if added + updated > 0 {
            transaction.raise(class::SORTED_SET, "zadd", args[1]);
        }
    }
    out.integer(if options.counts_changed { added + updated } else { added } as i64);
    Ok(())
}

pub(super) fn zincrby(transaction: &mut Transaction<'_>, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let options = Options { increments: true, ..Options::default() };
    increment(transaction, args[1], options, (number::float(args[2])?, args[3]), out)
}

fn increment(
    transaction: &mut Transaction<'_>,
    key: &[u8],
    options: Options,
    (by, member): (f64, &[u8]),
    out: &mut Encoder<'_>,
) -> Outcome {
    let slot = transaction.open(key);
    let old = typed::sorted(slot.value())?.and_then(|sorted| sorted.score(member));
    // Redis: a member that may not be touched at all is none before the sum is formed.
    if old.is_some() && options.only_new || old.is_none() && options.only_known {
        out.null();
        return Ok(());
    }
    let sum = old.map_or(by, |old| old + by);
    if sum.is_nan() {
        return Err(Error::text("ERR resulting score is not a number (NaN)"));
    }
    if !options.allow(old, sum) {
        out.null();
        return Ok(());
    }
    // The final score is replicated, so that no replica adds in its own way.
    slot.apply_as(class::SORTED_SET, "zincr", &KeyChange::SortedAdd { pairs: Cow::Borrowed(&[(sum, member)]) })?;
    out.double(sum);
    Ok(())
}
