//! Effects: the only way in which state changes.
//!
//! An effect is one deterministic change to one partition: absolute expiry times, the member that was chosen, the float
//! that came out. The same effect is applied on the master when a command executes, on a replica when its record
//! arrives, and on recovery. A transaction's effects lie in one journal record:
//!
//! ```text
//! effect = tag (1 byte) | partition (varint) | body
//! body of a key effect = database (1 byte) | key (bytes) | fields of the change
//! ```
//!
//! **Tags are append-only**; `tags_never_change` holds them.

mod event;
mod stream;

use std::borrow::Cow;

use crate::accounts::Change;
use crate::broker::effect::BrokerEffect;
use crate::ids::{Partition, UnixMillis};
pub use crate::keyspace::value::End;
use crate::wire::{self, Reader};
pub use event::class;
pub use stream::StreamChange;

/// Several arguments: borrowed from a client's request, or from a journal record.
pub type Items<'a> = Cow<'a, [&'a [u8]]>;

/// One change to one partition.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect<'a> {
    Key {
        database: u8,
        key: &'a [u8],
        change: KeyChange<'a>,
    },
    /// Empties a shard's part of one database (`None`: of all).
    Flush {
        database: Option<u8>,
    },
    /// Exchanges two databases within a shard.
    Swap {
        first: u8,
        second: u8,
    },
    Broker(BrokerEffect<'a>),
    /// A rare one: boxed, so that the others stay small.
    Account(Box<Change>),
}

/// What happens to the time to live when a string is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expiry {
    Keep,
    Never,
    At(UnixMillis),
}

impl KeyChange<'_> {
    /// Whether whatever the key holds goes, in any case.
    #[inline]
    #[must_use]
    pub fn replaces(&self) -> bool {
        matches!(self, Self::Delete | Self::SetString { .. } | Self::SetInteger { .. })
    }
}

impl KeyChange<'_> {
    /// About how long its record is: what it carries, and more for each piece of it.
    #[inline]
    #[must_use]
    pub fn record_bytes(&self) -> usize {
        const EACH: usize = 10;
        let all = |items: &[&[u8]]| items.iter().map(|item| item.len() + EACH).sum::<usize>();
        EACH + match self {
            Self::SetString { value: bytes, .. }
            | Self::Append { bytes }
            | Self::SetRange { bytes, .. }
            | Self::Restore { image: bytes, .. }
            | Self::ListSet { value: bytes, .. }
            | Self::ListInsert { value: bytes, .. }
            | Self::ListRemoveMatching { value: bytes, .. } => bytes.len(),
            Self::ListPush { values: items, .. }
            | Self::HashSet { pairs: items }
            | Self::HashRemove { fields: items }
            | Self::HashExpire { fields: items, .. }
            | Self::SetAdd { members: items }
            | Self::SetRemove { members: items }
            | Self::SortedRemove { members: items } => all(items),
            Self::SortedAdd { pairs } => pairs.iter().map(|(_, member)| member.len() + EACH + 8).sum(),
            Self::ListRemove { indexes } => indexes.len() * EACH,
            Self::Stream(change) => change.record_bytes(),
            Self::Delete
            | Self::SetInteger { .. }
            | Self::Expire { .. }
            | Self::Persist
            | Self::ListPop { .. }
            | Self::ListTrim { .. }
            | Self::SortedRemoveRanks { .. } => 2 * EACH,
        }
    }
}

/// What happens to one key. A change that leaves a collection empty deletes the key.
#[derive(Debug, Clone, PartialEq)]
pub enum KeyChange<'a> {
    Delete,
    SetString {
        value: &'a [u8],
        expiry: Expiry,
    },
    SetInteger {
        value: i64,
        expiry: Expiry,
    },
    Append {
        bytes: &'a [u8],
    },
    /// Bytes between the old end and `offset` become zero.
    SetRange {
        offset: u64,
        bytes: &'a [u8],
    },
    Expire {
        at: UnixMillis,
    },
    Persist,
    /// A whole value (`keyspace::value::image`), in place of whatever is there.
    Restore {
        image: &'a [u8],
        expiry: Expiry,
    },
    ListPush {
        end: End,
        values: Items<'a>,
    },
    ListPop {
        end: End,
        count: u64,
    },
    ListSet {
        index: u64,
        value: &'a [u8],
    },
    ListInsert {
        index: u64,
        value: &'a [u8],
    },
    /// Removes the elements at these positions (ascending, of the list before the change).
    ListRemove {
        indexes: Cow<'a, [u64]>,
    },
    /// Keeps `start..end`.
    ListTrim {
        start: u64,
        end: u64,
    },
    /// field, value, field, value, ...
    HashSet {
        pairs: Items<'a>,
    },
    HashRemove {
        fields: Items<'a>,
    },
    SetAdd {
        members: Items<'a>,
    },
    SetRemove {
        members: Items<'a>,
    },
    SortedAdd {
        pairs: Cow<'a, [(f64, &'a [u8])]>,
    },
    SortedRemove {
        members: Items<'a>,
    },
    /// Removes the ranks `start..end`.
    SortedRemoveRanks {
        start: u64,
        end: u64,
    },
    /// Removes up to `limit` elements that are equal to `value`, counted from `end`.
    ListRemoveMatching {
        end: End,
        limit: u64,
        value: &'a [u8],
    },
    Stream(StreamChange<'a>),
    /// When fields expire; `None`: never. Fields that are not there are left out.
    HashExpire {
        at: Option<UnixMillis>,
        fields: Items<'a>,
    },
}

mod tag {
    pub(super) const DELETE: u8 = 1;
    pub(super) const SET_STRING: u8 = 2;
    pub(super) const SET_INTEGER: u8 = 3;
    pub(super) const APPEND: u8 = 4;
    pub(super) const SET_RANGE: u8 = 5;
    pub(super) const EXPIRE: u8 = 6;
    pub(super) const PERSIST: u8 = 7;
    pub(super) const RESTORE: u8 = 8;
    pub(super) const LIST_PUSH: u8 = 9;
    pub(super) const LIST_POP: u8 = 10;
    pub(super) const LIST_SET: u8 = 11;
    pub(super) const LIST_INSERT: u8 = 12;
    pub(super) const LIST_REMOVE: u8 = 13;
    pub(super) const LIST_TRIM: u8 = 14;
    pub(super) const HASH_SET: u8 = 15;
    pub(super) const HASH_REMOVE: u8 = 16;
    pub(super) const SET_ADD: u8 = 17;
    pub(super) const SET_REMOVE: u8 = 18;
    pub(super) const SORTED_ADD: u8 = 19;
    pub(super) const SORTED_REMOVE: u8 = 20;
    pub(super) const SORTED_REMOVE_RANKS: u8 = 21;
    pub(super) const LIST_REMOVE_MATCHING: u8 = 22;
    pub(super) const STREAM: u8 = 23;
    pub(super) const HASH_EXPIRE: u8 = 24;
    pub(super) const FLUSH: u8 = 40;
    pub(super) const SWAP: u8 = 41;
    /// From here on the broker numbers its own: `broker::effect`; the accounts have 192 to 223.
    pub(super) const BROKER_FIRST: u8 = 64;
}

impl<'a> Effect<'a> {
    /// Appends the effect on `partition` to a record.
    pub fn encode(&self, partition: Partition, out: &mut Vec<u8>) {
        match self {
            Self::Key { database, key, change } => encode_key_change(partition, *database, key, change, out),
            Self::Flush { database } => {
                head(tag::FLUSH, partition, out);
                out.push(database.map_or(0, |database| database + 1));
            }
            Self::Swap { first, second } => {
                head(tag::SWAP, partition, out);
                out.extend([*first, *second]);
            }
            Self::Broker(effect) => {
                head(effect.tag(), partition, out);
                effect.encode_body(out);
            }
            Self::Account(change) => {
                head(change.tag(), partition, out);
                change.encode_body(out);
            }
        }
    }

    /// Reads the next effect of a record.
    ///
    /// # Errors
    /// The record is not one that this version wrote.
    pub fn decode(reader: &mut Reader<'a>) -> Result<(Partition, Self), wire::Error> {
        let tag = reader.byte()?;
        let partition = Partition(u32::try_from(reader.varint()?).map_err(|_| wire::Error::Overflow)?);
        let effect = match tag {
            tag::FLUSH => Self::Flush { database: reader.byte()?.checked_sub(1) },
            tag::SWAP => Self::Swap { first: reader.byte()?, second: reader.byte()? },
            tag if Change::TAGS.contains(&tag) => Self::Account(Box::new(Change::decode_body(tag, reader)?)),
            tag if tag >= tag::BROKER_FIRST => Self::Broker(BrokerEffect::decode_body(tag, reader)?),
            tag => {
                let database = reader.byte()?;
                let key = reader.bytes()?;
                Self::Key { database, key, change: decode_key_change(tag, reader)? }
            }
        };
        Ok((partition, effect))
    }
}

#[inline]
fn head(tag: u8, partition: Partition, out: &mut Vec<u8>) {
    out.push(tag);
    wire::put_varint(out, u64::from(partition.0));
}

/// As `Effect::encode`, for the road of a command, which has the parts at hand.
#[inline]
pub fn encode_key_change(partition: Partition, database: u8, key: &[u8], change: &KeyChange<'_>, out: &mut Vec<u8>) {
    let mut begin = |tag: u8| {
        head(tag, partition, out);
        out.push(database);
        wire::put_bytes(out, key);
    };
    match change {
        KeyChange::SetString { value, expiry } => {
            begin(tag::SET_STRING);
            put_expiry(out, *expiry);
            wire::put_bytes(out, value);
        }
        KeyChange::SetInteger { value, expiry } => {
            begin(tag::SET_INTEGER);
            put_expiry(out, *expiry);
            wire::put_zigzag(out, *value);
        }
        KeyChange::Delete => begin(tag::DELETE),
        KeyChange::Append { bytes } => {
            begin(tag::APPEND);
            wire::put_bytes(out, bytes);
        }
        KeyChange::SetRange { offset, bytes } => {
            begin(tag::SET_RANGE);
            wire::put_varint(out, *offset);
            wire::put_bytes(out, bytes);
        }
        KeyChange::Expire { at } => {
            begin(tag::EXPIRE);
            wire::put_varint(out, at.0);
        }
        KeyChange::Persist => begin(tag::PERSIST),
        KeyChange::Restore { image, expiry } => {
            begin(tag::RESTORE);
            put_expiry(out, *expiry);
            wire::put_bytes(out, image);
        }
        KeyChange::ListPush { end, values } => {
            begin(tag::LIST_PUSH);
            put_end(out, *end);
            put_items(out, values);
        }
        KeyChange::ListPop { end, count } => {
            begin(tag::LIST_POP);
            put_end(out, *end);
            wire::put_varint(out, *count);
        }
        KeyChange::ListSet { index, value } => {
            begin(tag::LIST_SET);
            wire::put_varint(out, *index);
            wire::put_bytes(out, value);
        }
        KeyChange::ListInsert { index, value } => {
            begin(tag::LIST_INSERT);
            wire::put_varint(out, *index);
            wire::put_bytes(out, value);
        }
        KeyChange::ListRemove { indexes } => {
            begin(tag::LIST_REMOVE);
            wire::put_varint(out, indexes.len() as u64);
            for index in indexes.iter() {
                wire::put_varint(out, *index);
            }
        }
        KeyChange::ListTrim { start, end } => {
            begin(tag::LIST_TRIM);
            wire::put_varint(out, *start);
            wire::put_varint(out, *end);
        }
        KeyChange::HashSet { pairs } => {
            begin(tag::HASH_SET);
            put_items(out, pairs);
        }
        KeyChange::HashRemove { fields } => {
            begin(tag::HASH_REMOVE);
            put_items(out, fields);
        }
        KeyChange::SetAdd { members } => {
            begin(tag::SET_ADD);
            put_items(out, members);
        }
        KeyChange::SetRemove { members } => {
            begin(tag::SET_REMOVE);
            put_items(out, members);
        }
        KeyChange::SortedAdd { pairs } => {
            begin(tag::SORTED_ADD);
            wire::put_varint(out, pairs.len() as u64);
            for (score, member) in pairs.iter() {
                wire::put_f64(out, *score);
                wire::put_bytes(out, member);
            }
        }
        KeyChange::SortedRemove { members } => {
            begin(tag::SORTED_REMOVE);
            put_items(out, members);
        }
        KeyChange::SortedRemoveRanks { start, end } => {
            begin(tag::SORTED_REMOVE_RANKS);
            wire::put_varint(out, *start);
            wire::put_varint(out, *end);
        }
        KeyChange::ListRemoveMatching { end, limit, value } => {
            begin(tag::LIST_REMOVE_MATCHING);
            put_end(out, *end);
            wire::put_varint(out, *limit);
            wire::put_bytes(out, value);
        }
        KeyChange::HashExpire { at, fields } => {
            begin(tag::HASH_EXPIRE);
            wire::put_varint(out, at.map_or(0, |at| at.0.max(1)));
            put_items(out, fields);
        }
        KeyChange::Stream(change) => {
            begin(tag::STREAM);
            change.encode(out);
        }
    }
}

/// As `encode_key_change` of a string, without the text itself, which stands behind it.
pub fn encode_set_string_head(
    partition: Partition,
    database: u8,
    key: &[u8],
    expiry: Expiry,
    text: usize,
    out: &mut Vec<u8>,
) {
    head(tag::SET_STRING, partition, out);
    out.push(database);
    wire::put_bytes(out, key);
    put_expiry(out, expiry);
    wire::put_varint(out, text as u64);
}

fn decode_key_change<'a>(tag: u8, reader: &mut Reader<'a>) -> Result<KeyChange<'a>, wire::Error> {
    Ok(match tag {
        tag::DELETE => KeyChange::Delete,
        tag::SET_STRING => {
            let expiry = take_expiry(reader)?;
            KeyChange::SetString { value: reader.bytes()?, expiry }
        }
        tag::SET_INTEGER => {
            let expiry = take_expiry(reader)?;
            KeyChange::SetInteger { value: reader.zigzag()?, expiry }
        }
        tag::APPEND => KeyChange::Append { bytes: reader.bytes()? },
        tag::SET_RANGE => KeyChange::SetRange { offset: reader.varint()?, bytes: reader.bytes()? },
        tag::EXPIRE => KeyChange::Expire { at: UnixMillis(reader.varint()?) },
        tag::PERSIST => KeyChange::Persist,
        tag::RESTORE => {
            let expiry = take_expiry(reader)?;
            KeyChange::Restore { image: reader.bytes()?, expiry }
        }
        tag::LIST_PUSH => KeyChange::ListPush { end: take_end(reader)?, values: take_items(reader)? },
        tag::LIST_POP => KeyChange::ListPop { end: take_end(reader)?, count: reader.varint()? },
        tag::LIST_SET => KeyChange::ListSet { index: reader.varint()?, value: reader.bytes()? },
        tag::LIST_INSERT => KeyChange::ListInsert { index: reader.varint()?, value: reader.bytes()? },
        tag::LIST_REMOVE => {
            let indexes = take_many(reader, Reader::varint)?;
            KeyChange::ListRemove { indexes: Cow::Owned(indexes) }
        }
        tag::LIST_TRIM => KeyChange::ListTrim { start: reader.varint()?, end: reader.varint()? },
        tag::HASH_SET => KeyChange::HashSet { pairs: take_items(reader)? },
        tag::HASH_REMOVE => KeyChange::HashRemove { fields: take_items(reader)? },
        tag::SET_ADD => KeyChange::SetAdd { members: take_items(reader)? },
        tag::SET_REMOVE => KeyChange::SetRemove { members: take_items(reader)? },
        tag::SORTED_ADD => {
            let pairs = take_many(reader, |reader| Ok((reader.f64()?, reader.bytes()?)))?;
            KeyChange::SortedAdd { pairs: Cow::Owned(pairs) }
        }
        tag::SORTED_REMOVE => KeyChange::SortedRemove { members: take_items(reader)? },
        tag::SORTED_REMOVE_RANKS => KeyChange::SortedRemoveRanks { start: reader.varint()?, end: reader.varint()? },
        tag::LIST_REMOVE_MATCHING => {
            KeyChange::ListRemoveMatching { end: take_end(reader)?, limit: reader.varint()?, value: reader.bytes()? }
        }
        tag::STREAM => KeyChange::Stream(StreamChange::decode(reader)?),
        tag::HASH_EXPIRE => {
            let at = reader.varint()?;
            KeyChange::HashExpire { at: (at > 0).then_some(UnixMillis(at)), fields: take_items(reader)? }
        }
        unknown => return Err(wire::Error::Tag(unknown)),
    })
}

#[inline]
fn put_expiry(out: &mut Vec<u8>, expiry: Expiry) {
    match expiry {
        Expiry::Never => out.push(0),
        Expiry::Keep => out.push(1),
        Expiry::At(at) => {
            out.push(2);
            wire::put_varint(out, at.0);
        }
    }
}

fn take_expiry(reader: &mut Reader<'_>) -> Result<Expiry, wire::Error> {
    match reader.byte()? {
        0 => Ok(Expiry::Never),
        1 => Ok(Expiry::Keep),
        2 => Ok(Expiry::At(UnixMillis(reader.varint()?))),
        unknown => Err(wire::Error::Tag(unknown)),
    }
}

fn put_end(out: &mut Vec<u8>, end: End) {
    out.push(match end {
        End::Front => 0,
        End::Back => 1,
    });
}

fn take_end(reader: &mut Reader<'_>) -> Result<End, wire::Error> {
    match reader.byte()? {
        0 => Ok(End::Front),
        1 => Ok(End::Back),
        unknown => Err(wire::Error::Tag(unknown)),
    }
}

#[inline]
fn put_items(out: &mut Vec<u8>, items: &[&[u8]]) {
    wire::put_varint(out, items.len() as u64);
    for item in items {
        wire::put_bytes(out, item);
    }
}

fn take_items<'a>(reader: &mut Reader<'a>) -> Result<Items<'a>, wire::Error> {
    take_many(reader, Reader::bytes).map(Cow::Owned)
}

/// A count and so many items. The count is not trusted for the allocation: each item takes at least one byte.
fn take_many<'a, T>(
    reader: &mut Reader<'a>,
    mut take: impl FnMut(&mut Reader<'a>) -> Result<T, wire::Error>,
) -> Result<Vec<T>, wire::Error> {
    let count = usize::try_from(reader.varint()?).map_err(|_| wire::Error::Overflow)?;
    let mut items = Vec::with_capacity(count.min(reader.remaining()));
    for _ in 0..count {
        items.push(take(reader)?);
    }
    Ok(items)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changes() -> Vec<(u8, KeyChange<'static>)> {
        const ITEMS: &[&[u8]] = &[b"a", b"", b"ccc"];
        let items = || Cow::Borrowed(ITEMS);
        vec![
            (1, KeyChange::Delete),
            (2, KeyChange::SetString { value: b"v", expiry: Expiry::At(UnixMillis(7)) }),
            (3, KeyChange::SetInteger { value: -5, expiry: Expiry::Keep }),
            (4, KeyChange::Append { bytes: b"x" }),
            (5, KeyChange::SetRange { offset: 900, bytes: b"x" }),
            (6, KeyChange::Expire { at: UnixMillis(1) }),
            (7, KeyChange::Persist),
            (8, KeyChange::Restore { image: b"img", expiry: Expiry::Never }),
            (9, KeyChange::ListPush { end: End::Back, values: items() }),
            (10, KeyChange::ListPop { end: End::Front, count: 3 }),
            (11, KeyChange::ListSet { index: 1, value: b"x" }),
            (12, KeyChange::ListInsert { index: 1, value: b"x" }),
            (13, KeyChange::ListRemove { indexes: Cow::Borrowed(&[1, 300]) }),
            (14, KeyChange::ListTrim { start: 1, end: 2 }),
            (15, KeyChange::HashSet { pairs: items() }),
            (16, KeyChange::HashRemove { fields: items() }),
            (17, KeyChange::SetAdd { members: items() }),
            (18, KeyChange::SetRemove { members: items() }),
            (19, KeyChange::SortedAdd { pairs: Cow::Borrowed(&[(1.5, b"m")]) }),
            (20, KeyChange::SortedRemove { members: items() }),
            (21, KeyChange::SortedRemoveRanks { start: 0, end: 300 }),
            (22, KeyChange::ListRemoveMatching { end: End::Back, limit: 2, value: b"x" }),
            (24, KeyChange::HashExpire { at: Some(UnixMillis(300)), fields: items() }),
            (24, KeyChange::HashExpire { at: None, fields: items() }),
        ]
    }

    #[test]
    fn tags_never_change() {
        for (tag, change) in changes() {
            let mut record = Vec::new();
            Effect::Key { database: 0, key: b"k", change }.encode(Partition(5), &mut record);
            assert_eq!(record[0], tag);
        }
        let mut record = Vec::new();
        Effect::Flush { database: None }.encode(Partition(5), &mut record);
        assert_eq!(record, [40, 5, 0]);
    }

    #[test]
    fn effects_read_back_as_written_and_no_prefix_panics() {
        for (_, change) in changes() {
            let effect = Effect::Key { database: 3, key: b"key", change };
            let mut record = Vec::new();
            effect.encode(Partition(700), &mut record);
            let mut reader = Reader::new(&record);
            assert_eq!(
                format!("{:?}", Effect::decode(&mut reader)),
                format!("{:?}", Ok::<_, ()>((Partition(700), effect)))
            );
            assert!(reader.is_empty());
            for end in 0..record.len() {
                assert!(Effect::decode(&mut Reader::new(&record[..end])).is_err());
            }
        }
    }
}
