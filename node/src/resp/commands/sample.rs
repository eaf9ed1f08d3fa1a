//! How are random elements chosen? SRANDMEMBER, HRANDFIELD and ZRANDMEMBER share their rules: a positive count means
//! distinct elements, a negative one elements that may repeat.

use std::collections::HashSet;

use super::number;
use crate::keyspace::value::Text;
use crate::limits;
use crate::resp::error::Error;
use crate::resp::table::Args;

/// Below this part of the collection, distinct elements are found by drawing again; above, by leaving some out.
const SPARSE: usize = 3;

/// An element of a collection, by what tells it from others.
pub(super) trait Element: Copy {
    fn name(&self) -> &[u8];
}

impl Element for Text<'_> {
    fn name(&self) -> &[u8] {
        self
    }
}

impl<V: Copy> Element for (&[u8], V) {
    fn name(&self) -> &[u8] {
        self.0
    }
}

/// `count [WITHVALUES]`, where `option` is the word that this command knows.
pub(super) fn arguments(args: &Args<'_>, option: &[u8]) -> Result<(i64, bool), Error> {
    let count = count(args[0])?;
    let has_option = match &args[1..] {
        [] => false,
        [word] if word.eq_ignore_ascii_case(option) => true,
        _ => return Err(Error::Syntax),
    };
    // Two replies an element, and their number has to be one that can be written.
    if has_option && count.unsigned_abs() > i64::MAX as u64 / 2 {
        return Err(Error::OutOfRange);
    }
    Ok((count, has_option))
}

/// How many elements are wanted. A negative count is as long as its client says, so it has a bound; Redis has none, and
/// takes memory until there is none left.
pub(super) fn count(text: &[u8]) -> Result<i64, Error> {
    let count = number::symmetric(text)?;
    if count < 0 && count.unsigned_abs() > limits::REPEATED_ELEMENTS {
        return Err(Error::OutOfRange);
    }
    Ok(count)
}

/// How many elements a count means.
pub(super) fn length(count: i64, available: usize) -> usize {
    match usize::try_from(count) {
        Ok(count) => count.min(available),
        Err(_) => count.unsigned_abs() as usize,
    }
}

/// Visits as many elements as `length` says.
pub(super) fn each<T: Element, I: Iterator<Item = T>>(
    count: i64,
    available: usize,
    all: impl Fn() -> I,
    random: impl Fn() -> Option<T>,
    mut visit: impl FnMut(T),
) {
    let wanted = length(count, available);
    if count < 0 {
        return (0..wanted).filter_map(|_| random()).for_each(visit);
    }
    if wanted == available {
        return all().for_each(visit);
    }
    // Draws distinct elements: those that are wanted, or, if that is less work, those that are not.
    let is_sparse = wanted < available / SPARSE;
    let drawn_count = if is_sparse { wanted } else { available - wanted };
    let mut drawn = HashSet::with_capacity(drawn_count);
    while drawn.len() < drawn_count {
        let Some(element) = random() else { return };
        if drawn.insert(element.name().to_vec()) && is_sparse {
            visit(element);
        }
    }
    if !is_sparse {
        all().filter(|element| !drawn.contains(element.name())).for_each(visit);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_that_repeat_have_a_bound() {
        for (text, expected) in [("-4194304", Some(-4_194_304)), ("-4194305", None), ("-9223372036854775807", None)] {
            assert_eq!(count(text.as_bytes()).ok(), expected, "{text}");
        }
        assert_eq!(count(b"9223372036854775807").ok(), Some(i64::MAX), "distinct ones are bounded by what is there");
    }
}
