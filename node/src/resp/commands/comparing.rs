//! Strings that are written or deleted if they are what the client thinks: what Redis 8.4 and Valkey 9 have added.

use tercet_proto::resp::Encoder;

use super::number::{self, TimeUnit};
use super::typed;
use crate::effect::{Expiry, KeyChange, class};
use crate::engine::{Transaction, View};
use crate::keyspace::value::ValueRef;
use crate::resp::error::Error;
use crate::resp::table::flag::{DENY_OOM, FAST};
use crate::resp::table::{Args, Command, Group, Keys, Outcome, read, write};

const G: Group = Group::String;

pub(super) const ROWS: &[Command] = &[
    write(
        "msetex",
        -4,
        DENY_OOM,
        Keys::CountedPairs(1),
        G,
        "Atomically sets multiple string keys with a shared expiration in a single operation.",
        msetex,
    ),
    write("delifeq", 3, FAST, Keys::ONE, G, "Deletes a key if its value is the given one.", delifeq),
    write("delex", -2, FAST, Keys::ONE, G, "Conditionally deletes a key based on its value or its digest.", delex),
    read("digest", 2, FAST, Keys::ONE, G, "Returns the XXH3 hash of a string value.", digest),
];

/// What a string has to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Comparison<'a> {
    Equal(&'a [u8]),
    Unequal(&'a [u8]),
    DigestEqual(&'a [u8]),
    DigestUnequal(&'a [u8]),
}

impl<'a> Comparison<'a> {
    /// The comparison that a word in lower case asks for.
    ///
    /// # Errors
    /// A digest has 16 hexadecimal digits.
    pub(super) fn of(word: &[u8], wanted: &'a [u8]) -> Result<Option<Self>, Error> {
        let comparison = match word {
            b"ifeq" => Self::Equal(wanted),
            b"ifne" => Self::Unequal(wanted),
            b"ifdeq" => Self::DigestEqual(wanted),
            b"ifdne" => Self::DigestUnequal(wanted),
            _ => return Ok(None),
        };
        let is_digest = matches!(comparison, Self::DigestEqual(_) | Self::DigestUnequal(_));
        if is_digest && wanted.len() != DIGEST_DIGITS {
            return Err(Error::text("ERR must be exactly 16 hexadecimal characters"));
        }
        Ok(Some(comparison))
    }

    /// Whether a value that is there, or is not, passes.
    ///
    /// # Errors
    /// It is no string.
    pub(super) fn allows(self, value: Option<ValueRef<'_>>) -> Result<bool, Error> {
        let Some(value) = value else {
            // What is not there is equal to nothing.
            return Ok(matches!(self, Self::Unequal(_) | Self::DigestUnequal(_)));
        };
        let text = typed::bytes(value)?;
        Ok(match self {
            Self::Equal(wanted) => *text == *wanted,
            Self::Unequal(wanted) => *text != *wanted,
            Self::DigestEqual(wanted) => digest_of(&text).as_bytes().eq_ignore_ascii_case(wanted),
            Self::DigestUnequal(wanted) => !digest_of(&text).as_bytes().eq_ignore_ascii_case(wanted),
        })
    }
}

const DIGEST_DIGITS: usize = 16;

fn digest_of(text: &[u8]) -> String {
    format!("{:016x}", xxhash_rust::xxh3::xxh3_64(text))
}

fn digest(view: &View<'_>, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    match view.get(args[1]) {
        None => out.null(),
        Some(entry) => out.bulk(digest_of(&typed::bytes(entry.value())?).as_bytes()),
    }
    Ok(())
}

fn delifeq(transaction: &mut Transaction<'_>, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    delete_if(transaction, args[1], Some(Comparison::Equal(args[2])), out)
}

fn delex(transaction: &mut Transaction<'_>, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let comparison = match &args[2..] {
        [] => None,
        [word, wanted] => {
            let word = word.to_ascii_lowercase();
            Some(
                Comparison::of(&word, wanted)?
                    .ok_or(Error::text("ERR Invalid condition. Use IFEQ, IFNE, IFDEQ, or IFDNE"))?,
            )
        }
        _ => return Err(Error::Arity("delex".into())),
    };
    delete_if(transaction, args[1], comparison, out)
}

fn delete_if(
    transaction: &mut Transaction<'_>,
    key: &[u8],
    comparison: Option<Comparison<'_>>,
    out: &mut Encoder<'_>,
) -> Outcome {
    let slot = transaction.open(key);
    let value = slot.value();
    let may_delete = value.is_some() && comparison.map_or(Ok(true), |comparison| comparison.allows(value))?;
    if may_delete {
        slot.apply(&KeyChange::Delete)?;
    }
    out.integer(i64::from(may_delete));
    Ok(())
}

fn msetex(transaction: &mut Transaction<'_>, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let wrong = Error::text("ERR invalid numkeys value");
    let count = number::parse_integer(args[1]).and_then(|count| usize::try_from(count).ok()).filter(|count| *count > 0);
    let count = count.ok_or(wrong)?;
    let (pairs, options) = count
        .checked_mul(2)
        .and_then(|texts| args[2..].split_at_checked(texts))
        .ok_or(Error::text("ERR wrong number of key-value pairs"))?;
    let (pairs, _) = pairs.as_chunks::<2>();
    let (mut keeps, mut time, mut wants_present) = (false, None, None);
    let mut rest = options;
    while let [word, behind @ ..] = rest {
        rest = behind;
        let word = word.to_ascii_lowercase();
        match (word.as_slice(), behind) {
            (b"nx", _) if wants_present.is_none() => wants_present = Some(false),
            (b"xx", _) if wants_present.is_none() => wants_present = Some(true),
            (b"keepttl", _) if time.is_none() && !keeps => keeps = true,
            (b"ex" | b"px" | b"exat" | b"pxat", [text, behind @ ..]) if time.is_none() && !keeps => {
                let unit = match word.as_slice() {
                    b"ex" => TimeUnit::Seconds,
                    b"px" => TimeUnit::Millis,
                    b"exat" => TimeUnit::UnixSeconds,
                    _ => TimeUnit::UnixMillis,
                };
                time = Some(number::positive_expiry(text, unit, transaction.now(), "msetex")?);
                rest = behind;
            }
            _ => return Err(Error::Syntax),
        }
    }
    let may_set = wants_present
        .is_none_or(|is_present| pairs.iter().all(|[key, _]| transaction.get(key).is_some() == is_present));
    if may_set {
        let expiry = time.map_or(if keeps { Expiry::Keep } else { Expiry::Never }, Expiry::At);
        for [key, value] in pairs {
            transaction.apply(key, &KeyChange::SetString { value, expiry })?;
            if time.is_some() {
                transaction.raise(class::GENERIC, "expire", key);
            }
        }
    }
    out.integer(i64::from(may_set));
    Ok(())
}
