//! A value of the key space as JSON: a page of it, by its type, with elements that are cut.
//!
//! ```text
//! string   bytes from an offset on            list   elements from an index on     sorted set   members from a rank on
//! hash     fields as HSCAN finds them         set    members as SSCAN finds them    stream       entries from an id on
//! ```

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::answer::Error;
use super::limits;
use crate::keyspace::value::stream::{Stream, StreamId};
use crate::keyspace::value::{HashRef, ListRef, SetRef, SortedSetRef, ValueRef};

/// What a page shows, where the next one begins if there is one, and how many elements (bytes of a string) there are.
#[derive(Debug, PartialEq)]
pub(super) struct Page {
    pub(super) items: Vec<Value>,
    pub(super) next: Option<String>,
    pub(super) length: u64,
}

/// The page of a value that begins at `cursor`, which is empty for the first one.
///
/// # Errors
/// The cursor is none of this type.
pub(super) fn page(value: ValueRef<'_>, cursor: &str, count: usize) -> Result<Page, Error> {
    let mut scratch = itoa::Buffer::new();
    match value {
        ValueRef::Integer(number) => of_string(scratch.format(number).as_bytes(), cursor),
        ValueRef::String(text) => of_string(text, cursor),
        ValueRef::List(list) => of_list(list, cursor, count),
        ValueRef::Hash(hash) => of_hash(hash, cursor, count),
        ValueRef::Set(set) => of_set(set, cursor, count),
        ValueRef::SortedSet(set) => of_sorted_set(set, cursor, count),
        ValueRef::Stream(stream) => of_stream(stream, cursor, count),
    }
}

/// How many elements a value has; bytes of a string.
pub(super) fn length(value: ValueRef<'_>) -> u64 {
    match value {
        ValueRef::Integer(number) => itoa::Buffer::new().format(number).len() as u64,
        ValueRef::String(text) => text.len() as u64,
        ValueRef::List(list) => list.len() as u64,
        ValueRef::Hash(hash) => hash.len() as u64,
        ValueRef::Set(set) => set.len() as u64,
        ValueRef::SortedSet(set) => set.len() as u64,
        ValueRef::Stream(stream) => stream.len(),
    }
}

/// Bytes as JSON: `text` if they are UTF-8, `base64` otherwise. What is longer than `most` is cut, and says how long it is.
pub(super) fn shown(bytes: &[u8], most: usize) -> Value {
    let is_cut = bytes.len() > most;
    let head = bytes.get(..most).unwrap_or(bytes);
    let text = match std::str::from_utf8(head) {
        Ok(text) => Some(text),
        // The cut may have gone through a letter.
        Err(error) if is_cut && error.error_len().is_none() && error.valid_up_to() > 0 => {
            std::str::from_utf8(&head[..error.valid_up_to()]).ok()
        }
        Err(_) => None,
    };
    let mut value = match text {
        Some(text) => json!({ "text": text }),
        None => json!({ "base64": STANDARD.encode(head) }),
    };
    if is_cut {
        value["cut_from"] = json!(bytes.len());
    }
    value
}

fn element(bytes: &[u8]) -> Value {
    shown(bytes, limits::ELEMENT_BYTES)
}

fn number(cursor: &str) -> Result<u64, Error> {
    if cursor.is_empty() { Ok(0) } else { cursor.parse().map_err(|_| Error::bad("the cursor is no number")) }
}

/// Elements from a place on: the place, how many there are on the page, and the next place.
fn window(cursor: &str, count: usize, length: usize) -> Result<(usize, usize, Option<String>), Error> {
    let from = usize::try_from(number(cursor)?).unwrap_or(usize::MAX).min(length);
    let until = from.saturating_add(count).min(length);
    Ok((from, until, (until < length).then(|| until.to_string())))
}

fn of_string(text: &[u8], cursor: &str) -> Result<Page, Error> {
    let (from, mut until, mut next) = window(cursor, limits::STRING_BYTES, text.len())?;
    // A page ends between two letters.
    if next.is_some()
        && let Err(error) = std::str::from_utf8(&text[from..until])
        && error.error_len().is_none()
        && error.valid_up_to() > 0
    {
        until = from + error.valid_up_to();
        next = Some(until.to_string());
    }
    let items = vec![shown(&text[from..until], limits::STRING_BYTES)];
    Ok(Page { items, next, length: text.len() as u64 })
}

fn of_list(list: ListRef<'_>, cursor: &str, count: usize) -> Result<Page, Error> {
    let (from, until, next) = window(cursor, count, list.len())?;
    let item = |(index, item): (usize, _)| {
        let text: crate::keyspace::value::Text<'_> = item;
        json!({ "index": from + index, "value": element(&text) })
    };
    Ok(Page { items: list.range(from..until).enumerate().map(item).collect(), next, length: list.len() as u64 })
}

fn of_sorted_set(set: SortedSetRef<'_>, cursor: &str, count: usize) -> Result<Page, Error> {
    let (from, until, next) = window(cursor, count, set.len())?;
    // As a text: JSON has no infinity.
    let item = |(member, score): (&[u8], f64)| json!({ "member": element(member), "score": score.to_string() });
    Ok(Page { items: set.range_by_rank(from..until).map(item).collect(), next, length: set.len() as u64 })
}

fn scanned(next: u64) -> Option<String> {
    (next != 0).then(|| next.to_string())
}

fn of_hash(hash: HashRef<'_>, cursor: &str, count: usize) -> Result<Page, Error> {
    let (next, pairs) = hash.scan(number(cursor)?, count);
    let item = |(field, value): (&[u8], &[u8])| json!({ "field": element(field), "value": element(value) });
    Ok(Page { items: pairs.into_iter().map(item).collect(), next: scanned(next), length: hash.len() as u64 })
}

fn of_set(set: SetRef<'_>, cursor: &str, count: usize) -> Result<Page, Error> {
    let (next, members) = set.scan(number(cursor)?, count);
    let items = members.iter().map(|member| json!({ "member": element(member) })).collect();
    Ok(Page { items, next: scanned(next), length: set.len() as u64 })
}

fn of_stream(stream: &Stream, cursor: &str, count: usize) -> Result<Page, Error> {
    let from = if cursor.is_empty() { StreamId::MIN } else { id(cursor)? };
    let mut items = Vec::new();
    let mut next = None;
    for entry in stream.range(from, StreamId::MAX) {
        if items.len() == count {
            next = Some(entry.id.to_string());
            break;
        }
        let fields = entry.fields().take(limits::STREAM_FIELDS);
        let fields: Vec<_> = fields.map(|(name, value)| json!([of_element(name), of_element(value)])).collect();
        items.push(json!({ "id": entry.id.to_string(), "fields": fields, "field_count": entry.len() }));
    }
    Ok(Page { items, next, length: stream.len() })
}

fn of_element(part: crate::keyspace::listpack::Element<'_>) -> Value {
    use crate::keyspace::listpack::Element;
    match part {
        Element::Integer(number) => json!({ "text": number.to_string() }),
        Element::Text(text) => element(text),
    }
}

fn id(text: &str) -> Result<StreamId, Error> {
    let parse = |text: &str| text.parse().ok();
    let parts = text.split_once('-').and_then(|(ms, seq)| Some(StreamId::new(parse(ms)?, parse(seq)?)));
    parts.ok_or_else(|| Error::bad("the cursor is no id of a stream"))
}

/// Groups of a stream, as XINFO GROUPS has them.
pub(super) fn groups(stream: &Stream) -> Value {
    let mut rows = Vec::new();
    for (name, group) in stream.groups().iter().take(limits::STREAM_GROUPS) {
        rows.push(json!({
            "name": element(name),
            "consumers": group.consumers().len(),
            "pending": group.pending().len(),
            "lag": stream.lag(group),
        }));
    }
    Value::Array(rows)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keyspace::value::{End, Hash, List, Set, SortedSet, Value as Kept};

    /// Items of all pages, and how many pages there were.
    fn all(value: &Kept, count: usize) -> (Vec<Value>, usize) {
        let (mut cursor, mut items, mut pages) = (String::new(), Vec::new(), 0);
        loop {
            let Ok(page) = page(value.as_ref(), &cursor, count) else { panic!("a page") };
            assert_eq!(page.length, length(value.as_ref()));
            items.extend(page.items);
            pages += 1;
            match page.next {
                Some(next) => cursor = next,
                None => return (items, pages),
            }
        }
    }

    #[test]
    fn pages_of_collections_are_all_of_them() {
        let mut list = List::new();
        (0..25).for_each(|number: i32| list.push(End::Back, number.to_string().as_bytes()));
        let (items, pages) = all(&Kept::List(Box::new(list)), 10);
        assert_eq!((items.len(), pages), (25, 3));
        assert_eq!(items[24], json!({ "index": 24, "value": { "text": "24" } }));

        let mut set = SortedSet::default();
        (0..25).for_each(|number: i32| _ = set.insert(number.to_string().as_bytes(), f64::from(number)));
        set.insert(b"last", f64::INFINITY);
        let (items, pages) = all(&Kept::SortedSet(Box::new(set)), 10);
        assert_eq!((items.len(), pages), (26, 3));
        assert_eq!(items[25], json!({ "member": { "text": "last" }, "score": "inf" }));

        let mut hash = Hash::default();
        (0..1000).for_each(|number: i32| _ = hash.set(number.to_string().as_bytes(), b"v"));
        let (items, pages) = all(&Kept::Hash(Box::new(hash)), 100);
        assert!(items.len() == 1000 && pages > 5, "{} in {pages}", items.len());

        let mut set = Set::default();
        (0..1000).for_each(|number: i32| _ = set.insert(number.to_string().as_bytes()));
        assert_eq!(all(&Kept::Set(Box::new(set)), 100).0.len(), 1000);
    }

    #[test]
    fn entries_of_a_stream_come_in_pages_with_their_fields() {
        let mut stream = Stream::default();
        (1..6).for_each(|ms| stream.add(StreamId::new(ms, 0), ms == 1, &[b"field", b"7", b"raw", b"\xff"]));
        let (items, pages) = all(&Kept::Stream(Box::new(stream)), 2);
        assert_eq!((items.len(), pages), (5, 3));
        let fields = json!([[{ "text": "field" }, { "text": "7" }], [{ "text": "raw" }, { "base64": "/w==" }]]);
        assert_eq!(items[4], json!({ "id": "5-0", "fields": fields, "field_count": 2 }));
    }

    #[test]
    fn long_texts_are_cut_between_letters_and_bytes_are_base64() {
        assert_eq!(shown("aä".as_bytes(), 2), json!({ "text": "a", "cut_from": 3 }));
        assert_eq!(shown(b"\xff\xfe", 10), json!({ "base64": "//4=" }));
        assert_eq!(shown(b"", 10), json!({ "text": "" }));
        let text = "ä".repeat(limits::STRING_BYTES);
        let (items, pages) = all(&Kept::from_bytes(text.as_bytes()), 1);
        let whole: String = items.iter().map(|item| item["text"].as_str().unwrap()).collect();
        assert!(whole == text && pages >= 2, "{pages} pages");
    }

    #[test]
    fn a_cursor_of_another_type_is_refused() {
        let list = Kept::List(Box::new(List::new()));
        assert!(page(list.as_ref(), "1-0", 10).is_err());
        assert!(page(Kept::Stream(Box::default()).as_ref(), "x", 10).is_err());
        assert_eq!(page(list.as_ref(), "99999999999", 10).map(|page| page.items.len()).unwrap_or(9), 0);
    }
}
