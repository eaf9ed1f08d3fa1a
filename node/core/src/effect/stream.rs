//! Changes of streams, as bytes:
//!
//! ```text
//! change = kind (1 byte) | fields of the change
//! ```
//!
//! **Kinds are append-only.**

use std::borrow::Cow;

use super::{Items, put_items, take_items, take_many};
use crate::keyspace::value::stream::image::{put_id, take_id};
use crate::keyspace::value::stream::{Exactness, Given, Keep, StreamId};
use crate::wire::{self, Reader, put_bytes, put_varint};

/// What happens to a stream. All but `Add` and `CreateGroup` need one that is there.
#[derive(Debug, Clone, PartialEq)]
pub enum StreamChange<'a> {
    /// field, value, field, value, ...
    Add {
        id: StreamId,
        starts_node: bool,
        pairs: Items<'a>,
    },
    Trim {
        keep: Keep,
        exactness: Exactness,
    },
    Delete {
        ids: Cow<'a, [StreamId]>,
    },
    SetId {
        last_id: StreamId,
        added: Option<u64>,
        max_deleted_id: Option<StreamId>,
    },
    CreateGroup {
        name: &'a [u8],
        last_id: StreamId,
        read: Option<u64>,
    },
    /// How far a group has come.
    SetGroup {
        name: &'a [u8],
        last_id: StreamId,
        read: Option<u64>,
    },
    RemoveGroup {
        name: &'a [u8],
    },
    RemoveConsumer {
        group: &'a [u8],
        consumer: &'a [u8],
    },
    /// A consumer has asked; it is made if it is not there.
    See {
        group: &'a [u8],
        consumer: &'a [u8],
        seen_at: u64,
        active_at: Option<u64>,
    },
    /// Entries are given to a consumer, whoever had them.
    Give {
        group: &'a [u8],
        consumer: &'a [u8],
        entries: Cow<'a, [Given]>,
    },
    /// Entries are not pending any more.
    Forget {
        group: &'a [u8],
        ids: Cow<'a, [StreamId]>,
    },
}

impl StreamChange<'_> {
    /// About how long its record is.
    pub(super) fn record_bytes(&self) -> usize {
        const EACH: usize = 40;
        EACH + match self {
            Self::Add { pairs, .. } => pairs.iter().map(|item| item.len() + 10).sum(),
            Self::Delete { ids } | Self::Forget { ids, .. } => ids.len() * EACH,
            Self::Give { entries, .. } => entries.len() * EACH,
            Self::CreateGroup { name, .. } | Self::SetGroup { name, .. } | Self::RemoveGroup { name } => name.len(),
            Self::RemoveConsumer { group, consumer } | Self::See { group, consumer, .. } => {
                group.len() + consumer.len()
            }
            Self::Trim { .. } | Self::SetId { .. } => EACH,
        }
    }

    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Add { id, starts_node, pairs } => {
                out.extend([1, u8::from(*starts_node)]);
                put_id(out, *id);
                put_items(out, pairs);
            }
            Self::Trim { keep, exactness } => {
                out.push(2);
                match keep {
                    Keep::Newest(most) => {
                        out.push(0);
                        put_varint(out, *most);
                    }
                    Keep::From(id) => {
                        out.push(1);
                        put_id(out, *id);
                    }
                }
                match exactness {
                    Exactness::Exact => out.push(0),
                    Exactness::WholeNodes { most } => {
                        out.push(1);
                        put_varint(out, *most);
                    }
                }
            }
            Self::Delete { ids } => {
                out.push(3);
                put_ids(out, ids);
            }
            Self::SetId { last_id, added, max_deleted_id } => {
                out.push(4);
                put_id(out, *last_id);
                put_option(out, *added, put_varint);
                put_option(out, *max_deleted_id, put_id);
            }
            Self::CreateGroup { name, last_id, read } => put_group(out, 5, name, *last_id, *read),
            Self::SetGroup { name, last_id, read } => put_group(out, 6, name, *last_id, *read),
            Self::RemoveGroup { name } => {
                out.push(7);
                put_bytes(out, name);
            }
            Self::RemoveConsumer { group, consumer } => put_names(out, 8, group, consumer),
            Self::See { group, consumer, seen_at, active_at } => {
                put_names(out, 9, group, consumer);
                put_varint(out, *seen_at);
                put_option(out, *active_at, put_varint);
            }
            Self::Give { group, consumer, entries } => {
                put_names(out, 10, group, consumer);
                put_varint(out, entries.len() as u64);
                for given in entries.iter() {
                    put_id(out, given.id);
                    put_varint(out, given.at);
                    put_varint(out, given.count);
                }
            }
            Self::Forget { group, ids } => {
                out.push(11);
                put_bytes(out, group);
                put_ids(out, ids);
            }
        }
    }
}

impl<'a> StreamChange<'a> {
    pub(super) fn decode(reader: &mut Reader<'a>) -> Result<Self, wire::Error> {
        Ok(match reader.byte()? {
            1 => {
                let starts_node = reader.byte()? != 0;
                Self::Add { id: take_id(reader)?, starts_node, pairs: take_items(reader)? }
            }
            2 => {
                let keep = match reader.byte()? {
                    0 => Keep::Newest(reader.varint()?),
                    1 => Keep::From(take_id(reader)?),
                    unknown => return Err(wire::Error::Tag(unknown)),
                };
                let exactness = match reader.byte()? {
                    0 => Exactness::Exact,
                    1 => Exactness::WholeNodes { most: reader.varint()? },
                    unknown => return Err(wire::Error::Tag(unknown)),
                };
                Self::Trim { keep, exactness }
            }
            3 => Self::Delete { ids: take_ids(reader)? },
            4 => Self::SetId {
                last_id: take_id(reader)?,
                added: take_option(reader, Reader::varint)?,
                max_deleted_id: take_option(reader, take_id)?,
            },
            5 => {
                let (name, last_id, read) = take_group(reader)?;
                Self::CreateGroup { name, last_id, read }
            }
            6 => {
                let (name, last_id, read) = take_group(reader)?;
                Self::SetGroup { name, last_id, read }
            }
            7 => Self::RemoveGroup { name: reader.bytes()? },
            8 => Self::RemoveConsumer { group: reader.bytes()?, consumer: reader.bytes()? },
            9 => Self::See {
                group: reader.bytes()?,
                consumer: reader.bytes()?,
                seen_at: reader.varint()?,
                active_at: take_option(reader, Reader::varint)?,
            },
            10 => Self::Give {
                group: reader.bytes()?,
                consumer: reader.bytes()?,
                entries: Cow::Owned(take_many(reader, |reader| {
                    Ok(Given { id: take_id(reader)?, at: reader.varint()?, count: reader.varint()? })
                })?),
            },
            11 => Self::Forget { group: reader.bytes()?, ids: take_ids(reader)? },
            unknown => return Err(wire::Error::Tag(unknown)),
        })
    }
}

fn put_group(out: &mut Vec<u8>, kind: u8, name: &[u8], last_id: StreamId, read: Option<u64>) {
    out.push(kind);
    put_bytes(out, name);
    put_id(out, last_id);
    put_option(out, read, put_varint);
}

fn take_group<'a>(reader: &mut Reader<'a>) -> Result<(&'a [u8], StreamId, Option<u64>), wire::Error> {
    Ok((reader.bytes()?, take_id(reader)?, take_option(reader, Reader::varint)?))
}

fn put_names(out: &mut Vec<u8>, kind: u8, group: &[u8], consumer: &[u8]) {
    out.push(kind);
    put_bytes(out, group);
    put_bytes(out, consumer);
}

fn put_ids(out: &mut Vec<u8>, ids: &[StreamId]) {
    put_varint(out, ids.len() as u64);
    ids.iter().for_each(|id| put_id(out, *id));
}

fn take_ids<'a>(reader: &mut Reader<'a>) -> Result<Cow<'a, [StreamId]>, wire::Error> {
    take_many(reader, take_id).map(Cow::Owned)
}

fn put_option<T>(out: &mut Vec<u8>, value: Option<T>, put: impl FnOnce(&mut Vec<u8>, T)) {
    out.push(u8::from(value.is_some()));
    if let Some(value) = value {
        put(out, value);
    }
}

fn take_option<'a, T>(
    reader: &mut Reader<'a>,
    take: impl FnOnce(&mut Reader<'a>) -> Result<T, wire::Error>,
) -> Result<Option<T>, wire::Error> {
    match reader.byte()? {
        0 => Ok(None),
        1 => take(reader).map(Some),
        unknown => Err(wire::Error::Tag(unknown)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_read_back_as_written() {
        const PAIRS: &[&[u8]] = &[b"field", b""];
        let id = StreamId::new(300, 7);
        let changes = [
            StreamChange::Add { id, starts_node: true, pairs: Cow::Borrowed(PAIRS) },
            StreamChange::Trim { keep: Keep::Newest(9), exactness: Exactness::Exact },
            StreamChange::Trim { keep: Keep::From(id), exactness: Exactness::WholeNodes { most: 8 } },
            StreamChange::Delete { ids: Cow::Owned(vec![id, StreamId::MAX]) },
            StreamChange::SetId { last_id: id, added: Some(5), max_deleted_id: None },
            StreamChange::CreateGroup { name: b"g", last_id: id, read: None },
            StreamChange::SetGroup { name: b"g", last_id: id, read: Some(0) },
            StreamChange::RemoveGroup { name: b"g" },
            StreamChange::RemoveConsumer { group: b"g", consumer: b"c" },
            StreamChange::See { group: b"g", consumer: b"c", seen_at: 6, active_at: Some(6) },
            StreamChange::Give {
                group: b"g",
                consumer: b"c",
                entries: Cow::Owned(vec![Given { id, at: 1, count: 2 }]),
            },
            StreamChange::Forget { group: b"g", ids: Cow::Owned(vec![id]) },
        ];
        for (change, kind) in changes.into_iter().zip([1, 2, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]) {
            let mut bytes = Vec::new();
            change.encode(&mut bytes);
            assert_eq!(bytes[0], kind, "kinds never change");
            let decoded = StreamChange::decode(&mut Reader::new(&bytes)).unwrap();
            assert_eq!(format!("{decoded:?}"), format!("{change:?}"));
            for end in 0..bytes.len() {
                assert!(StreamChange::decode(&mut Reader::new(&bytes[..end])).is_err());
            }
        }
    }
}
