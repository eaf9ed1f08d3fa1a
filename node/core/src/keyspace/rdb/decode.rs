//! Reads a value in any of the forms in which Redis has written it. What is damaged or empty is none.

use std::borrow::Cow;

use super::read::Reader;
use super::{kind, stream, ziplist};
use crate::ids::UnixMillis;
use crate::keyspace::listpack;
use crate::keyspace::value::{End, Hash, Inserted, List, Set, ShortBytes, SortedSet, Value};

pub(super) fn value(reader: &mut Reader<'_>) -> Option<Value> {
    let kind = reader.byte()?;
    value_of(kind, reader)
}

/// Bytes of a value of this type at the beginning of `bytes`.
pub(super) fn length(kind: u8, bytes: &[u8]) -> Option<usize> {
    let mut reader = Reader::new(bytes);
    value_of(kind, &mut reader)?;
    Some(bytes.len() - reader.rest().len())
}

fn value_of(kind: u8, reader: &mut Reader<'_>) -> Option<Value> {
    Some(match kind {
        kind::STRING => Value::from_bytes(&reader.string()?),
        kind::LIST => {
            let mut list = List::new();
            for _ in 0..reader.elements()? {
                push(&mut list, &reader.string()?);
            }
            whole_list(list)?
        }
        kind::LIST_ZIPLIST => {
            let mut list = List::new();
            ziplist::ziplist(&reader.string()?)?.iter().for_each(|item| push(&mut list, item));
            whole_list(list)?
        }
        kind::LIST_QUICKLIST => {
            let mut list = List::new();
            for _ in 0..reader.elements()? {
                ziplist::ziplist(&reader.string()?)?.iter().for_each(|item| push(&mut list, item));
            }
            whole_list(list)?
        }
        kind::LIST_QUICKLIST_2 => {
            let mut list = List::new();
            for _ in 0..reader.elements()? {
                let container = reader.number()?;
                let node = reader.string()?;
                match container {
                    1 if !node.is_empty() => push(&mut list, &node),
                    2 => listpack::elements(&node).ok()?.for_each(|item| item.with_text(|text| push(&mut list, text))),
                    _ => return None,
                }
            }
            whole_list(list)?
        }
        kind::SET => {
            let mut set = Set::new();
            for _ in 0..reader.elements()? {
                set.insert(&reader.string()?).then_some(())?;
            }
            Value::Set(Box::new(set))
        }
        kind::SET_INTSET => {
            let numbers = ziplist::intset(&reader.string()?)?;
            let set: Set = numbers.into_iter().map(ShortBytes::from).collect();
            (!set.is_empty()).then(|| Value::Set(Box::new(set)))?
        }
        kind::SET_LISTPACK => {
            let mut set = Set::new();
            for member in packed(reader)? {
                set.insert(&member).then_some(())?;
            }
            (!set.is_empty()).then(|| Value::Set(Box::new(set)))?
        }
        kind::HASH => {
            let mut texts = Vec::new();
            let fields = reader.elements()?;
            for _ in 0..fields.checked_mul(2)? {
                texts.push(reader.string()?);
            }
            hash(texts)?
        }
        kind::TIMED_HASH => {
            let earliest = u64::from_le_bytes(reader.array()?);
            let mut fields = Vec::new();
            for _ in 0..reader.elements()? {
                let at = match reader.number()? {
                    0 => 0,
                    after => earliest.checked_add(after - 1)?,
                };
                fields.push((reader.string()?, reader.string()?, at));
            }
            timed_hash(fields)?
        }
        kind::TIMED_HASH_LISTPACK => {
            let _earliest: [u8; 8] = reader.array()?;
            let texts = packed(reader)?;
            let (fields, rest) = texts.as_chunks::<3>();
            let mut timed = Vec::new();
            for [field, value, at] in fields {
                let at = std::str::from_utf8(at).ok()?.parse().ok()?;
                timed.push((Cow::Borrowed(&field[..]), Cow::Borrowed(&value[..]), at));
            }
            rest.is_empty().then_some(())?;
            timed_hash(timed)?
        }
        kind::HASH_ZIPMAP => hash(owned(ziplist::zipmap(&reader.string()?)?))?,
        kind::HASH_ZIPLIST => hash(owned(ziplist::ziplist(&reader.string()?)?))?,
        kind::HASH_LISTPACK => hash(owned(packed(reader)?))?,
        kind::ZSET | kind::ZSET_2 => {
            let mut set = SortedSet::new();
            for _ in 0..reader.elements()? {
                let member = reader.string()?;
                let score =
                    if kind == kind::ZSET { spelled_score(reader)? } else { f64::from_le_bytes(reader.array()?) };
                add(&mut set, &member, score)?;
            }
            Value::SortedSet(Box::new(set))
        }
        kind::ZSET_ZIPLIST => sorted_set(&ziplist::ziplist(&reader.string()?)?)?,
        kind::ZSET_LISTPACK => sorted_set(&packed(reader)?)?,
        kind::STREAM | kind::STREAM_2 | kind::STREAM_3 => Value::Stream(Box::new(stream::decode(kind, reader)?)),
        _ => return None,
    })
}

fn push(list: &mut List, item: &[u8]) {
    list.push(End::Back, item);
}

fn whole_list(list: List) -> Option<Value> {
    (!list.is_empty()).then(|| Value::List(Box::new(list)))
}

/// The elements of a listpack.
fn packed(reader: &mut Reader<'_>) -> Option<Vec<Vec<u8>>> {
    Some(listpack::elements(&reader.string()?).ok()?.map(listpack::Element::to_vec).collect())
}

fn owned(texts: Vec<Vec<u8>>) -> Vec<Cow<'static, [u8]>> {
    texts.into_iter().map(Cow::Owned).collect()
}

/// Fields and values in turn.
fn hash(texts: Vec<Cow<'_, [u8]>>) -> Option<Value> {
    let (pairs, rest) = texts.as_chunks::<2>();
    let mut hash = Hash::new();
    for [field, value] in pairs {
        hash.set(field, value).then_some(())?;
    }
    (rest.is_empty() && !hash.is_empty()).then(|| Value::Hash(Box::new(hash)))
}

/// A field, its value, and when it expires (0: never).
type TimedField<'a> = (Cow<'a, [u8]>, Cow<'a, [u8]>, u64);

fn timed_hash(fields: Vec<TimedField<'_>>) -> Option<Value> {
    let mut hash = Hash::new();
    for (field, value, at) in fields {
        hash.set(&field, &value).then_some(())?;
        hash.set_deadline(&field, (at > 0).then_some(UnixMillis(at)));
    }
    (!hash.is_empty()).then(|| Value::Hash(Box::new(hash)))
}

/// Members and scores in turn.
fn sorted_set(texts: &[Vec<u8>]) -> Option<Value> {
    let (pairs, rest) = texts.as_chunks::<2>();
    let mut set = SortedSet::new();
    for [member, score] in pairs {
        add(&mut set, member, std::str::from_utf8(score).ok()?.parse().ok()?)?;
    }
    (rest.is_empty() && !set.is_empty()).then(|| Value::SortedSet(Box::new(set)))
}

fn add(set: &mut SortedSet, member: &[u8], score: f64) -> Option<()> {
    if score.is_nan() {
        return None;
    }
    (set.insert(member, score) == Inserted::Added).then_some(())
}

/// A score of the oldest form: its length or what it is, and its digits.
fn spelled_score(reader: &mut Reader<'_>) -> Option<f64> {
    match reader.byte()? {
        253 => None,
        254 => Some(f64::INFINITY),
        255 => Some(f64::NEG_INFINITY),
        length => std::str::from_utf8(reader.take(usize::from(length))?).ok()?.parse().ok(),
    }
}
