//! SORT and SORT_RO: the elements of a list, set or sorted set, in an order that other keys may give, and what other
//! keys hold for each of them.

use std::borrow::Cow;
use std::cell::Cell;
use std::cmp::Ordering;

use tercet_proto::resp::Encoder;

use super::number;
use crate::effect::{End, KeyChange, class};
use crate::engine::{Transaction, View};
use crate::keyspace::value::{Text, ValueRef};
use crate::resp::commands::strings::bytes;
use crate::resp::error::Error;
use crate::resp::table::{Args, Outcome};

/// What is wanted.
struct Wanted<'a> {
    is_descending: bool,
    is_alphabetic: bool,
    start: i64,
    /// Negative: no limit.
    count: i64,
    by: Option<&'a [u8]>,
    get: Vec<&'a [u8]>,
    store: Option<&'a [u8]>,
}

/// Whether a form of the command may store its result.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Storing,
    ReadOnly,
}

/// One item of the result: nothing where a key or field is missing.
type Item = Option<Vec<u8>>;

pub(super) fn sort_ro(view: &View<'_>, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let wanted = Wanted::parse(&args[2..], Form::ReadOnly)?;
    reply(&wanted.items(view, args[1])?, out);
    Ok(())
}

pub(super) fn sort(transaction: &mut Transaction<'_>, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let wanted = Wanted::parse(&args[2..], Form::Storing)?;
    let items = {
        let ignored = (Cell::new(0), Cell::new(0));
        wanted.items(&transaction.view(&ignored.0, &ignored.1), args[1])?
    };
    let Some(key) = wanted.store else {
        reply(&items, out);
        return Ok(());
    };
    let values = items.iter().map(|item| item.as_deref().unwrap_or_default()).collect();
    let change = KeyChange::ListPush { end: End::Back, values: Cow::Owned(values) };
    transaction.replace(key, (class::LIST, "sortstore"), (!items.is_empty()).then_some(&change))?;
    out.integer(items.len() as i64);
    Ok(())
}

fn reply(items: &[Item], out: &mut Encoder<'_>) {
    out.array(items.len());
    for item in items {
        match item {
            None => out.null(),
            Some(text) => out.bulk(text),
        }
    }
}

impl<'a> Wanted<'a> {
    fn parse(mut rest: &Args<'a>, form: Form) -> Result<Self, Error> {
        let mut wanted = Self {
            is_descending: false,
            is_alphabetic: false,
            start: 0,
            count: -1,
            by: None,
            get: Vec::new(),
            store: None,
        };
        while let [word, behind @ ..] = rest {
            rest = behind;
            match (word.to_ascii_lowercase().as_slice(), behind) {
                (b"asc", _) => wanted.is_descending = false,
                (b"desc", _) => wanted.is_descending = true,
                (b"alpha", _) => wanted.is_alphabetic = true,
                (b"limit", [start, count, behind @ ..]) => {
                    (wanted.start, wanted.count) = (number::integer(start)?, number::integer(count)?);
                    rest = behind;
                }
                (b"by", [pattern, behind @ ..]) => {
                    wanted.by = Some(pattern);
                    rest = behind;
                }
                (b"get", [pattern, behind @ ..]) => {
                    wanted.get.push(pattern);
                    rest = behind;
                }
                (b"store", [key, behind @ ..]) if form == Form::Storing => {
                    wanted.store = Some(key);
                    rest = behind;
                }
                _ => return Err(Error::Syntax),
            }
        }
        Ok(wanted)
    }

    fn items(&self, view: &View<'_>, key: &[u8]) -> Result<Vec<Item>, Error> {
        let value = view.get(key).map(|entry| entry.value());
        let elements = self.sorted(view, value)?;
        let range = self.range(elements.len());
        let mut items = Vec::with_capacity(range.len() * self.get.len().max(1));
        for element in &elements[range] {
            if self.get.is_empty() {
                items.push(Some(element.to_vec()));
            }
            items.extend(self.get.iter().map(|pattern| look_up(view, pattern, element)));
        }
        Ok(items)
    }

    fn range(&self, length: usize) -> std::ops::Range<usize> {
        let start = usize::try_from(self.start).unwrap_or(0).min(length);
        let left = length - start;
        start..start + usize::try_from(self.count).map_or(left, |count| count.min(left))
    }

    /// All elements, in the order that is wanted.
    fn sorted<'v>(&self, view: &View<'_>, value: Option<ValueRef<'v>>) -> Result<Vec<Text<'v>>, Error> {
        let mut elements: Vec<Text<'v>> = match value {
            None => Vec::new(),
            Some(ValueRef::List(list)) => list.iter().collect(),
            Some(ValueRef::Set(set)) => set.iter().collect(),
            Some(ValueRef::SortedSet(sorted)) => sorted.iter().map(|(member, _)| Text::lent(member)).collect(),
            Some(_) => return Err(Error::WrongType),
        };
        // A pattern without a star names no order at all, except that a set which is stored, or given to a script, has to have one.
        let is_unordered = self.by.is_some_and(|pattern| !pattern.contains(&b'*'));
        if is_unordered {
            match value {
                Some(ValueRef::Set(_)) if self.store.is_some() || view.is_script() => {
                    elements.sort_by(|a, b| self.directed(a.cmp(b)))
                }
                Some(ValueRef::SortedSet(_)) if self.is_descending => elements.reverse(),
                _ => {}
            }
            return Ok(elements);
        }
        let key_of = |element: &[u8]| match self.by {
            None => Some(element.to_vec()),
            Some(pattern) => look_up(view, pattern, element),
        };
        if self.is_alphabetic {
            let mut keyed: Vec<_> = elements.into_iter().map(|element| (key_of(&element), element)).collect();
            // Redis compares whole strings where it stores, and what C sees of them where it replies.
            keyed.sort_by(|(a, _), (b, _)| self.directed(self.seen(a).cmp(&self.seen(b))));
            return Ok(keyed.into_iter().map(|(_, element)| element).collect());
        }
        let wrong = || Error::text("ERR One or more scores can't be converted into double");
        let mut keyed = Vec::with_capacity(elements.len());
        for element in elements {
            // What has no key weighs nothing.
            let weight = key_of(&element).map_or(Some(0.0), |text| number::parse_weight(&text)).ok_or_else(wrong)?;
            keyed.push((weight, element));
        }
        keyed.sort_by(|(a, x), (b, y)| self.directed(a.partial_cmp(b).unwrap_or(Ordering::Equal).then(x.cmp(y))));
        Ok(keyed.into_iter().map(|(_, element)| element).collect())
    }

    fn seen<'k>(&self, key: &'k Item) -> Option<&'k [u8]> {
        let text = key.as_deref()?;
        Some(if self.store.is_some() { text } else { number::c_text(text) })
    }

    fn directed(&self, order: Ordering) -> Ordering {
        if self.is_descending { order.reverse() } else { order }
    }
}

/// What a pattern of BY or GET means for an element: `#` the element itself, `key_*` the string at this key, and
/// `key_*->field` the field of the hash there.
fn look_up(view: &View<'_>, pattern: &[u8], element: &[u8]) -> Item {
    if pattern == b"#" {
        return Some(element.to_vec());
    }
    let star = memchr::memchr(b'*', pattern)?;
    let (prefix, behind) = (&pattern[..star], &pattern[star + 1..]);
    let (suffix, field) = match memchr::memmem::find(behind, b"->") {
        Some(arrow) if arrow + 2 < behind.len() => (&behind[..arrow], Some(&behind[arrow + 2..])),
        _ => (behind, None),
    };
    let key = [prefix, element, suffix].concat();
    let value = view.get(&key)?.value();
    match (value, field) {
        (ValueRef::Hash(hash), Some(field)) => hash.get(field).map(<[u8]>::to_vec),
        (_, Some(_)) => None,
        (value, None) => bytes(value).ok().map(Cow::into_owned),
    }
}
