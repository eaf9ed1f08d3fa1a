//! What SCAN, HSCAN, SSCAN and ZSCAN share: cursors, options and the shape of the reply.

use tercet_proto::resp::Encoder;

use super::number;
use crate::glob;
use crate::resp::error::Error;
use crate::resp::table::Args;

/// Elements a call looks at when nobody says how many.
const COUNT: usize = 10;

/// Whether the option TYPE is known: only to SCAN itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Types {
    None,
    Known,
}

/// What stands behind the cursor.
pub(super) struct Options<'a> {
    pub(super) count: usize,
    pattern: Option<&'a [u8]>,
    pub(super) type_name: Option<&'a [u8]>,
}

impl<'a> Options<'a> {
    pub(super) fn parse(options: &Args<'a>, types: Types) -> Result<Self, Error> {
        let mut parsed = Self { count: COUNT, pattern: None, type_name: None };
        let (options, rest) = options.as_chunks::<2>();
        for [option, value] in options {
            match option.to_ascii_lowercase().as_slice() {
                b"count" => {
                    let count = number::integer(value)?;
                    parsed.count = usize::try_from(count).ok().filter(|count| *count > 0).ok_or(Error::Syntax)?;
                }
                // Redis: the pattern `*` is none at all, so that it also fits the empty name.
                b"match" => parsed.pattern = (*value != b"*").then_some(*value),
                b"type" if types == Types::Known => parsed.type_name = Some(value),
                _ => return Err(Error::Syntax),
            }
        }
        if rest.is_empty() { Ok(parsed) } else { Err(Error::Syntax) }
    }

    #[inline]
    pub(super) fn matches(&self, name: &[u8]) -> bool {
        self.pattern.is_none_or(|pattern| glob::matches(pattern, name))
    }
}

/// A cursor as `strtoul` reads it.
pub(super) fn cursor(text: &[u8]) -> Result<u64, Error> {
    match text {
        // What `strtoul` makes of nothing.
        b"" => Ok(0),
        [b'-', digits @ ..] => Ok(unsigned(digits)?.wrapping_neg()),
        [b'+', digits @ ..] => unsigned(digits),
        digits => unsigned(digits),
    }
}

fn unsigned(digits: &[u8]) -> Result<u64, Error> {
    if !digits.first().is_some_and(u8::is_ascii_digit) {
        return Err(Error::Cursor);
    }
    std::str::from_utf8(digits).ok().and_then(|digits| digits.parse().ok()).ok_or(Error::Cursor)
}

/// The next cursor, and the head of an array of `length`, which the caller fills.
pub(super) fn reply_head(next: u64, length: usize, out: &mut Encoder<'_>) {
    out.array(2);
    let mut digits = itoa::Buffer::new();
    out.bulk(digits.format(next).as_bytes());
    out.array(length);
}

pub(super) fn reply_nothing(out: &mut Encoder<'_>) {
    reply_head(0, 0, out);
}
