//! A message as queues hold it: everything in one run of bytes, copied once from the receive buffer.
//!
//! ```text
//! exchange | routing key | properties (flags and fields, as they came) | extras (`Extra`, mostly none) | body
//! ```

use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use tercet_proto::amqp::{FieldView, Properties};
use xxhash_rust::xxh3::xxh3_128;

use super::limits;
use crate::ids::Offset;
use crate::wire::{self, Reader};

/// A message that is still being received, or not yet in a queue.
#[derive(Debug, Clone)]
pub struct Draft {
    bytes: Vec<u8>,
    ends: Ends,
    persistence: Persistence,
    priority: u8,
    lifetime: Lifetime,
}

/// How long a message waits for somebody, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Lifetime {
    /// After which nobody wants it any more, if its publisher said so.
    pub(crate) time_to_live: Option<u64>,
    /// Before which it goes nowhere, if it is to be delayed.
    pub(crate) delay: Option<u64>,
}

/// Where the parts end.
#[derive(Debug, Clone, Copy)]
struct Ends {
    exchange_end: u32,
    key_end: u32,
    properties_end: u32,
    extras_end: u32,
}

/// Whether a message is to survive its node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Persistence {
    Transient,
    Persistent,
}

/// Whether a message may have been delivered before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivered {
    Never,
    Maybe,
}

/// A message in one or several queues.
#[derive(Debug)]
pub struct Message {
    bytes: Box<[u8]>,
    ends: Ends,
    persistence: Persistence,
    priority: u8,
    /// Queues that share it.
    copies: u32,
    /// The record that made it; zero for one that was never journaled.
    offset: AtomicU64,
}

/// The parts of a message, borrowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Content<'a> {
    pub exchange: &'a [u8],
    pub routing_key: &'a [u8],
    /// Flags and fields.
    pub properties: &'a [u8],
    /// What only the broker sees: each an `Extra`.
    pub extras: &'a [u8],
    pub body: &'a [u8],
}

/// What the broker notes of a message beside what its publisher wrote. Numbers are part of the journal's format.
///
/// ```text
/// extra = number (1 byte) | bytes
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extra<'a> {
    /// 1: a routing key that nobody is to see: BCC.
    HiddenKey(&'a [u8]),
    /// 2: the id under which the queue takes it once.
    Unique(&'a [u8]),
    /// 3: when it was published, milliseconds since the Unix epoch.
    PublishedAt(u64),
    /// 4: its number in the row of its producer, of whom this is a digest.
    Sequence { producer: u128, number: u64 },
}

impl<'a> Extra<'a> {
    pub fn put(&self, out: &mut Vec<u8>) {
        match self {
            Self::HiddenKey(key) => {
                out.push(1);
                wire::put_bytes(out, key);
            }
            Self::Unique(id) => {
                out.push(2);
                wire::put_bytes(out, id);
            }
            Self::PublishedAt(at) => {
                out.push(3);
                wire::put_bytes(out, &at.to_le_bytes());
            }
            Self::Sequence { producer, number } => {
                out.push(4);
                let mut bytes = producer.to_le_bytes().to_vec();
                bytes.extend_from_slice(&number.to_le_bytes());
                wire::put_bytes(out, &bytes);
            }
        }
    }

    /// The extras of a message. What is not known is passed over.
    pub fn all(extras: &'a [u8]) -> impl Iterator<Item = Self> {
        let mut reader = Reader::new(extras);
        std::iter::from_fn(move || {
            while !reader.is_empty() {
                let (number, bytes) = (reader.byte().ok()?, reader.bytes().ok()?);
                match number {
                    1 => return Some(Self::HiddenKey(bytes)),
                    2 => return Some(Self::Unique(bytes)),
                    3 => return Some(Self::PublishedAt(u64::from_le_bytes(bytes.try_into().ok()?))),
                    4 => {
                        let (producer, number) = bytes.split_at_checked(16)?;
                        let producer = u128::from_le_bytes(producer.try_into().ok()?);
                        let number = u64::from_le_bytes(number.try_into().ok()?);
                        return Some(Self::Sequence { producer, number });
                    }
                    _ => {}
                }
            }
            None
        })
    }
}

/// The header under whose value queues with `x-message-deduplication` take a message once.
const UNIQUE: &str = "x-deduplication-header";

/// The headers of a message that is one of a row: who counts, and its number.
const PRODUCER: &str = "x-producer";
const SEQUENCE: &str = "x-sequence";

/// Notes as extras what the headers of a message tell the broker.
pub fn note_headers(properties: &Properties, now: u64, extras: &mut Vec<u8>) {
    let Some(headers) = properties.headers() else { return };
    if let Some(FieldView::LongString(id)) = headers.find(UNIQUE) {
        Extra::Unique(id).put(extras);
        Extra::PublishedAt(now).put(extras);
    }
    if let (Some(FieldView::LongString(producer)), Some(number)) = (headers.find(PRODUCER), headers.find(SEQUENCE))
        && let Some(number) = number.to_value().as_i64().and_then(|number| u64::try_from(number).ok())
    {
        Extra::Sequence { producer: xxh3_128(producer), number }.put(extras);
    }
}

impl Draft {
    /// `expected` is how many bytes of body to make room for; more may come.
    #[must_use]
    pub fn new(exchange: &[u8], routing_key: &[u8], properties: &Properties, expected: usize) -> Self {
        let persistence = if properties.is_persistent() { Persistence::Persistent } else { Persistence::Transient };
        Self::with_extras(exchange, routing_key, properties, &[], expected, persistence)
    }

    /// As `new`, with encoded extras.
    #[must_use]
    pub fn noted(exchange: &[u8], routing_key: &[u8], properties: &Properties, extras: &[u8], expected: usize) -> Self {
        let persistence = if properties.is_persistent() { Persistence::Persistent } else { Persistence::Transient };
        Self::with_extras(exchange, routing_key, properties, extras, expected, persistence)
    }

    #[inline]
    fn with_extras(
        exchange: &[u8],
        routing_key: &[u8],
        properties: &Properties,
        extras: &[u8],
        expected: usize,
        persistence: Persistence,
    ) -> Self {
        let parts = Content { exchange, routing_key, properties: properties.raw(), extras, body: &[] };
        let mut draft = Self::from_parts(&parts, persistence, expected);
        draft.priority = properties.priority().unwrap_or(0);
        let expiration = properties.expiration().and_then(|digits| std::str::from_utf8(digits).ok());
        draft.lifetime.time_to_live = expiration.and_then(|digits| digits.parse().ok());
        draft
    }

    /// A whole message out of a journal record or an image: there is none that is not persistent.
    #[must_use]
    pub fn stored(content: &Content<'_>) -> Self {
        let mut draft = Self::from_parts(content, Persistence::Persistent, content.body.len());
        if let Ok(properties) = Properties::from_raw(Bytes::copy_from_slice(content.properties)) {
            draft.priority = properties.priority().unwrap_or(0);
        }
        draft.push(content.body);
        draft
    }

    /// Without the body.
    fn from_parts(content: &Content<'_>, persistence: Persistence, expected: usize) -> Self {
        let Content { exchange, routing_key, properties, extras, .. } = *content;
        let head = exchange.len() + routing_key.len() + properties.len() + extras.len();
        let mut bytes = Vec::with_capacity(head + expected);
        bytes.extend_from_slice(exchange);
        let exchange_end = bytes.len() as u32;
        bytes.extend_from_slice(routing_key);
        let key_end = bytes.len() as u32;
        bytes.extend_from_slice(properties);
        let properties_end = bytes.len() as u32;
        bytes.extend_from_slice(extras);
        let ends = Ends { exchange_end, key_end, properties_end, extras_end: bytes.len() as u32 };
        Self { bytes, ends, persistence, priority: 0, lifetime: Lifetime::default() }
    }

    pub(super) fn lifetime(&self) -> Lifetime {
        self.lifetime
    }

    /// It goes nowhere before so many milliseconds.
    pub(super) fn delay(&mut self, milliseconds: Option<u64>) {
        self.lifetime.delay = milliseconds;
    }

    /// It is to survive its node, whatever its publisher asked for.
    pub(super) fn persist(&mut self) {
        self.persistence = Persistence::Persistent;
    }

    /// Appends a part of the body.
    #[inline]
    pub fn push(&mut self, body: &[u8]) {
        self.bytes.extend_from_slice(body);
    }

    #[inline]
    pub(super) fn extras(&self) -> &[u8] {
        &self.bytes[self.ends.properties_end as usize..self.ends.extras_end as usize]
    }

    #[must_use]
    pub fn body_len(&self) -> usize {
        self.bytes.len() - self.ends.extras_end as usize
    }

    /// Bytes of memory that it takes so far.
    #[inline]
    #[must_use]
    pub fn held(&self) -> usize {
        self.bytes.capacity()
    }

    #[must_use]
    pub fn persistence(&self) -> Persistence {
        self.persistence
    }

    #[must_use]
    pub fn content(&self) -> Content<'_> {
        self.ends.parts(&self.bytes)
    }

    /// The message, made by the record at `offset`, for so many queues.
    #[must_use]
    pub fn finish(self, offset: Offset, copies: usize) -> Message {
        let (copies, offset) = (u32::try_from(copies.max(1)).unwrap_or(u32::MAX), AtomicU64::new(offset.0));
        let Self { bytes, ends, persistence, priority, .. } = self;
        let bytes = bytes.into_boxed_slice();
        Message { bytes, ends, persistence, priority, copies, offset }
    }
}

impl Message {
    #[inline]
    #[must_use]
    pub fn content(&self) -> Content<'_> {
        self.ends.parts(&self.bytes)
    }

    #[must_use]
    pub fn persistence(&self) -> Persistence {
        self.persistence
    }

    #[must_use]
    pub fn priority(&self) -> u8 {
        self.priority
    }

    /// The record that has to be committed before anybody sees the message.
    #[inline]
    #[must_use]
    pub fn offset(&self) -> Offset {
        Offset(self.offset.load(Ordering::Acquire))
    }

    /// The record that it is a part of is in the journal now; nobody has seen it before.
    pub(super) fn made_by(&self, offset: Offset) {
        self.offset.store(offset.0, Ordering::Release);
    }

    /// What one of the queues that hold it counts for it: its part of the bytes, and its own overhead.
    #[inline]
    #[must_use]
    pub fn share(&self) -> usize {
        (self.bytes.len() + limits::MESSAGE_OVERHEAD) / self.copies as usize + limits::SLOT_BYTES
    }

    #[must_use]
    pub fn body_len(&self) -> usize {
        self.bytes.len() - self.ends.extras_end as usize
    }

    /// All of its bytes.
    #[inline]
    #[must_use]
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }
}

impl Ends {
    #[inline]
    fn parts(self, bytes: &[u8]) -> Content<'_> {
        let (head, body) = bytes.split_at(self.extras_end as usize);
        let (head, extras) = head.split_at(self.properties_end as usize);
        let (head, properties) = head.split_at(self.key_end as usize);
        let (exchange, routing_key) = head.split_at(self.exchange_end as usize);
        Content { exchange, routing_key, properties, extras, body }
    }
}

#[cfg(test)]
mod tests {
    use tercet_proto::amqp::BasicProperties;

    use super::*;

    #[test]
    fn the_parts_come_out_as_they_went_in() {
        let properties = BasicProperties { delivery_mode: Some(2), ..BasicProperties::default() }.encode();
        let mut draft = Draft::new(b"logs", b"a.b", &properties, 3);
        draft.push(b"bo");
        draft.push(b"dy");
        assert_eq!(draft.body_len(), 4);
        let message = draft.finish(Offset(7), 1);
        let properties = properties.raw();
        let content = Content { exchange: b"logs", routing_key: b"a.b", properties, extras: &[], body: b"body" };
        assert_eq!(message.content(), content);
        assert_eq!((message.persistence(), message.offset()), (Persistence::Persistent, Offset(7)));
        assert_eq!(Draft::stored(&content).finish(Offset(1), 1).content(), content);
        let mut extras = Vec::new();
        let sequence = Extra::Sequence { producer: 1 << 100, number: 9 };
        let all = [Extra::HiddenKey(b"bcc"), Extra::Unique(b"id"), Extra::PublishedAt(7), sequence];
        all.iter().for_each(|extra| extra.put(&mut extras));
        let noted = Draft::stored(&Content { extras: &extras, ..content }).finish(Offset(1), 1);
        assert_eq!(Extra::all(noted.content().extras).collect::<Vec<_>>(), all);
        assert_eq!((noted.content().body, noted.body_len()), (&b"body"[..], 4));
    }
}
