//! Changes to the broker's partitions, as the journal holds them.
//!
//! ```text
//! topology: DeclareExchange, DeleteExchange, DeclareQueue, DeleteQueue, Bind, Unbind
//! a queue:  Enqueue, Remove
//! ```
//!
//! Only what is durable is ever an effect: durable exchanges and queues, bindings between them, persistent messages in
//! durable queues. Tags go on where `crate::effect` stops; they are append-only, and a test holds them.

use std::borrow::Cow;

use super::message::Content;
use crate::wire::{self, Reader};

/// One change to the topology or to a queue.
#[derive(Debug, Clone, PartialEq)]
pub enum BrokerEffect<'a> {
    DeclareExchange {
        vhost: &'a str,
        name: &'a str,
        kind: &'a str,
        /// `exchange_flags`
        flags: u8,
        /// An encoded field table.
        arguments: &'a [u8],
    },
    DeleteExchange {
        vhost: &'a str,
        name: &'a str,
    },
    DeclareQueue {
        number: u32,
        vhost: &'a str,
        name: &'a str,
        /// `queue_flags`
        flags: u8,
        arguments: &'a [u8],
    },
    /// With its bindings.
    DeleteQueue {
        number: u32,
    },
    Bind(Binding<'a>),
    Unbind(Binding<'a>),
    Enqueue {
        id: u64,
        content: Content<'a>,
    },
    /// As `Enqueue`, of a message that goes when its time has come.
    EnqueueUntil {
        id: u64,
        /// Milliseconds since the Unix epoch.
        deadline: u64,
        content: Content<'a>,
    },
    /// As `EnqueueUntil` (a deadline of 0 is none), of a message with extras.
    EnqueueNoted {
        id: u64,
        deadline: u64,
        content: Content<'a>,
    },
    /// A message came back from a consumer for the so manieth time.
    Returned {
        id: u64,
        returns: u32,
    },
    /// Ids that came within the window in which a queue takes each once, with their times. Of images and rows only.
    Seen {
        ids: Cow<'a, [(u128, u64)]>,
    },
    /// Messages that lie together outside of the memory. Of rows only.
    Run {
        /// Where they lie.
        number: u64,
        bytes: u64,
        body_bytes: u64,
        /// Of the first and of the last message; 0 is never.
        deadlines: (u64, u64),
        /// When all of them are over; 0 is never.
        over_at: u64,
        /// First id, how many.
        ranges: Cow<'a, [(u64, u64)]>,
    },
    /// Messages that are gone for good: first id, how many.
    Remove {
        ranges: Cow<'a, [(u64, u64)]>,
    },
}

/// A binding between durable ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Binding<'a> {
    pub vhost: &'a str,
    pub source: &'a str,
    pub target: Target<'a>,
    pub key: &'a str,
    pub arguments: &'a [u8],
}

/// Where a binding leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target<'a> {
    Queue(u32),
    Exchange(&'a str),
}

pub mod exchange_flags {
    pub const AUTO_DELETE: u8 = 1;
    pub const INTERNAL: u8 = 2;
}

pub mod queue_flags {
    pub const AUTO_DELETE: u8 = 1;
}

mod tag {
    pub(super) const DECLARE_EXCHANGE: u8 = 64;
    pub(super) const DELETE_EXCHANGE: u8 = 65;
    pub(super) const DECLARE_QUEUE: u8 = 66;
    pub(super) const DELETE_QUEUE: u8 = 67;
    pub(super) const BIND: u8 = 68;
    pub(super) const UNBIND: u8 = 69;
    pub(super) const ENQUEUE: u8 = 70;
    pub(super) const REMOVE: u8 = 71;
    pub(super) const ENQUEUE_UNTIL: u8 = 72;
    pub(super) const ENQUEUE_NOTED: u8 = 73;
    pub(super) const RETURNED: u8 = 74;
    pub(super) const SEEN: u8 = 75;
    pub(super) const RUN: u8 = 76;
}

impl<'a> BrokerEffect<'a> {
    pub fn tag(&self) -> u8 {
        match self {
            Self::DeclareExchange { .. } => tag::DECLARE_EXCHANGE,
            Self::DeleteExchange { .. } => tag::DELETE_EXCHANGE,
            Self::DeclareQueue { .. } => tag::DECLARE_QUEUE,
            Self::DeleteQueue { .. } => tag::DELETE_QUEUE,
            Self::Bind(_) => tag::BIND,
            Self::Unbind(_) => tag::UNBIND,
            Self::Enqueue { .. } => tag::ENQUEUE,
            Self::EnqueueUntil { .. } => tag::ENQUEUE_UNTIL,
            Self::EnqueueNoted { .. } => tag::ENQUEUE_NOTED,
            Self::Returned { .. } => tag::RETURNED,
            Self::Seen { .. } => tag::SEEN,
            Self::Run { .. } => tag::RUN,
            Self::Remove { .. } => tag::REMOVE,
        }
    }

    pub fn encode_body(&self, out: &mut Vec<u8>) {
        match self {
            Self::DeclareExchange { vhost, name, kind, flags, arguments } => {
                put_texts(out, &[vhost, name, kind]);
                out.push(*flags);
                wire::put_bytes(out, arguments);
            }
            Self::DeleteExchange { vhost, name } => put_texts(out, &[vhost, name]),
            Self::DeclareQueue { number, vhost, name, flags, arguments } => {
                wire::put_varint(out, u64::from(*number));
                put_texts(out, &[vhost, name]);
                out.push(*flags);
                wire::put_bytes(out, arguments);
            }
            Self::DeleteQueue { number } => wire::put_varint(out, u64::from(*number)),
            Self::Bind(binding) | Self::Unbind(binding) => binding.encode(out),
            Self::Enqueue { id, content } => {
                wire::put_varint(out, *id);
                put_content(out, content);
            }
            Self::EnqueueUntil { id, deadline, content } => {
                wire::put_varint(out, *id);
                wire::put_varint(out, *deadline);
                put_content(out, content);
            }
            Self::EnqueueNoted { id, deadline, content } => {
                wire::put_varint(out, *id);
                wire::put_varint(out, *deadline);
                wire::put_bytes(out, content.extras);
                put_content(out, content);
            }
            Self::Returned { id, returns } => {
                wire::put_varint(out, *id);
                wire::put_varint(out, u64::from(*returns));
            }
            Self::Seen { ids } => {
                wire::put_varint(out, ids.len() as u64);
                for (id, at) in ids.iter() {
                    out.extend_from_slice(&id.to_le_bytes());
                    wire::put_varint(out, *at);
                }
            }
            Self::Run { number, bytes, body_bytes, deadlines, over_at, ranges } => {
                for field in [*number, *bytes, *body_bytes, deadlines.0, deadlines.1, *over_at] {
                    wire::put_varint(out, field);
                }
                put_ranges(out, ranges);
            }
            Self::Remove { ranges } => put_ranges(out, ranges),
        }
    }

    pub fn decode_body(tag: u8, reader: &mut Reader<'a>) -> Result<Self, wire::Error> {
        Ok(match tag {
            tag::DECLARE_EXCHANGE => Self::DeclareExchange {
                vhost: reader.text()?,
                name: reader.text()?,
                kind: reader.text()?,
                flags: reader.byte()?,
                arguments: reader.bytes()?,
            },
            tag::DELETE_EXCHANGE => Self::DeleteExchange { vhost: reader.text()?, name: reader.text()? },
            tag::DECLARE_QUEUE => Self::DeclareQueue {
                number: take_u32(reader)?,
                vhost: reader.text()?,
                name: reader.text()?,
                flags: reader.byte()?,
                arguments: reader.bytes()?,
            },
            tag::DELETE_QUEUE => Self::DeleteQueue { number: take_u32(reader)? },
            tag::BIND => Self::Bind(Binding::decode(reader)?),
            tag::UNBIND => Self::Unbind(Binding::decode(reader)?),
            tag::ENQUEUE => Self::Enqueue { id: reader.varint()?, content: take_content(reader)? },
            tag::ENQUEUE_UNTIL => {
                Self::EnqueueUntil { id: reader.varint()?, deadline: reader.varint()?, content: take_content(reader)? }
            }
            tag::ENQUEUE_NOTED => {
                let (id, deadline, extras) = (reader.varint()?, reader.varint()?, reader.bytes()?);
                Self::EnqueueNoted { id, deadline, content: Content { extras, ..take_content(reader)? } }
            }
            tag::RETURNED => Self::Returned { id: reader.varint()?, returns: take_u32(reader)? },
            tag::SEEN => Self::Seen { ids: Cow::Owned(take_seen(reader)?) },
            tag::RUN => Self::Run {
                number: reader.varint()?,
                bytes: reader.varint()?,
                body_bytes: reader.varint()?,
                deadlines: (reader.varint()?, reader.varint()?),
                over_at: reader.varint()?,
                ranges: Cow::Owned(take_ranges(reader)?),
            },
            tag::REMOVE => Self::Remove { ranges: Cow::Owned(take_ranges(reader)?) },
            unknown => return Err(wire::Error::Tag(unknown)),
        })
    }
}

impl<'a> Binding<'a> {
    fn encode(&self, out: &mut Vec<u8>) {
        put_texts(out, &[self.vhost, self.source, self.key]);
        wire::put_bytes(out, self.arguments);
        match self.target {
            Target::Queue(number) => {
                out.push(0);
                wire::put_varint(out, u64::from(number));
            }
            Target::Exchange(name) => {
                out.push(1);
                wire::put_bytes(out, name.as_bytes());
            }
        }
    }

    fn decode(reader: &mut Reader<'a>) -> Result<Self, wire::Error> {
        let [vhost, source, key] = [reader.text()?, reader.text()?, reader.text()?];
        let arguments = reader.bytes()?;
        let target = match reader.byte()? {
            0 => Target::Queue(take_u32(reader)?),
            1 => Target::Exchange(reader.text()?),
            unknown => return Err(wire::Error::Tag(unknown)),
        };
        Ok(Self { vhost, source, target, key, arguments })
    }
}

/// Groups ascending ids into ranges.
pub fn ranges(ids: impl IntoIterator<Item = u64>) -> Vec<(u64, u64)> {
    let mut ranges: Vec<(u64, u64)> = Vec::new();
    for id in ids {
        match ranges.last_mut() {
            Some((first, count)) if *first + *count == id => *count += 1,
            _ => ranges.push((id, 1)),
        }
    }
    ranges
}

fn put_content(out: &mut Vec<u8>, content: &Content<'_>) {
    for part in [content.exchange, content.routing_key, content.properties, content.body] {
        wire::put_bytes(out, part);
    }
}

fn take_content<'a>(reader: &mut Reader<'a>) -> Result<Content<'a>, wire::Error> {
    Ok(Content {
        exchange: reader.bytes()?,
        routing_key: reader.bytes()?,
        properties: reader.bytes()?,
        extras: &[],
        body: reader.bytes()?,
    })
}

fn put_texts(out: &mut Vec<u8>, texts: &[&str]) {
    for text in texts {
        wire::put_bytes(out, text.as_bytes());
    }
}

fn take_u32(reader: &mut Reader<'_>) -> Result<u32, wire::Error> {
    u32::try_from(reader.varint()?).map_err(|_| wire::Error::Overflow)
}

fn take_seen(reader: &mut Reader<'_>) -> Result<Vec<(u128, u64)>, wire::Error> {
    let count = reader.varint()?;
    // Each takes seventeen bytes at least.
    let mut ids = Vec::with_capacity(count.min(reader.remaining() as u64 / 17) as usize);
    for _ in 0..count {
        let mut id = [0; 16];
        for byte in &mut id {
            *byte = reader.byte()?;
        }
        ids.push((u128::from_le_bytes(id), reader.varint()?));
    }
    Ok(ids)
}

fn put_ranges(out: &mut Vec<u8>, ranges: &[(u64, u64)]) {
    wire::put_varint(out, ranges.len() as u64);
    let mut before = 0;
    for (first, count) in ranges {
        // Ascending, so the distance is a small number.
        wire::put_varint(out, first - before);
        wire::put_varint(out, *count);
        before = *first;
    }
}

fn take_ranges(reader: &mut Reader<'_>) -> Result<Vec<(u64, u64)>, wire::Error> {
    let count = reader.varint()?;
    // Each takes two bytes at least: a length that lies cannot make us reserve more than the record holds.
    let mut ranges = Vec::with_capacity(count.min(reader.remaining() as u64 / 2) as usize);
    let mut before = 0u64;
    for _ in 0..count {
        before = before.checked_add(reader.varint()?).ok_or(wire::Error::Overflow)?;
        ranges.push((before, reader.varint()?));
    }
    Ok(ranges)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn effects() -> Vec<(u8, BrokerEffect<'static>)> {
        let binding = |target| Binding { vhost: "/", source: "logs", target, key: "a.*", arguments: &[0, 0, 0, 0] };
        let content = Content { exchange: b"", routing_key: b"q", properties: &[0, 0], extras: &[], body: b"body" };
        vec![
            (
                64,
                BrokerEffect::DeclareExchange {
                    vhost: "/",
                    name: "logs",
                    kind: "topic",
                    flags: 3,
                    arguments: &[0, 0, 0, 0],
                },
            ),
            (65, BrokerEffect::DeleteExchange { vhost: "/", name: "logs" }),
            (66, BrokerEffect::DeclareQueue { number: 300, vhost: "/", name: "q", flags: 1, arguments: &[] }),
            (67, BrokerEffect::DeleteQueue { number: 300 }),
            (68, BrokerEffect::Bind(binding(Target::Queue(300)))),
            (69, BrokerEffect::Unbind(binding(Target::Exchange("other")))),
            (70, BrokerEffect::Enqueue { id: 1 << 40, content }),
            (71, BrokerEffect::Remove { ranges: Cow::Owned(vec![(1, 3), (900, 1)]) }),
            (72, BrokerEffect::EnqueueUntil { id: 7, deadline: 1 << 41, content }),
            (
                73,
                BrokerEffect::EnqueueNoted { id: 7, deadline: 0, content: Content { extras: b"\x01\x01k", ..content } },
            ),
            (
                76,
                BrokerEffect::Run {
                    number: 300,
                    bytes: 1 << 20,
                    body_bytes: 7,
                    deadlines: (0, 1 << 41),
                    over_at: 0,
                    ranges: Cow::Owned(vec![(5, 4096), (1 << 40, 1)]),
                },
            ),
        ]
    }

    #[test]
    fn tags_never_change() {
        let tags: Vec<u8> = effects().iter().map(|(_, effect)| effect.tag()).collect();
        let expected: Vec<u8> = effects().iter().map(|(tag, _)| *tag).collect();
        assert_eq!(tags, expected);
    }

    #[test]
    fn effects_read_back_as_written_and_never_when_cut_off() {
        for (tag, effect) in effects() {
            let mut out = Vec::new();
            effect.encode_body(&mut out);
            let mut reader = Reader::new(&out);
            assert_eq!(BrokerEffect::decode_body(tag, &mut reader), Ok(effect));
            assert!(reader.is_empty());
            for end in 0..out.len() {
                assert!(BrokerEffect::decode_body(tag, &mut Reader::new(&out[..end])).is_err());
            }
        }
    }

    #[test]
    fn ids_are_grouped_into_ranges() {
        assert_eq!(ranges([1, 2, 3, 7, 9, 10]), [(1, 3), (7, 1), (9, 2)]);
        assert_eq!(ranges([]), []);
    }
}
