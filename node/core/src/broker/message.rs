//! A message as queues hold it: everything in one run of bytes, copied once from the receive buffer.
//!
//! ```text
//! exchange | routing key | properties (flags and fields, as they came) | body
//! ```

use bytes::Bytes;
use tercet_proto::amqp::Properties;

use crate::ids::Offset;

/// A message that is still being received, or not yet in a queue.
#[derive(Debug)]
pub struct Draft {
    bytes: Vec<u8>,
    exchange_end: u32,
    key_end: u32,
    properties_end: u32,
    persistence: Persistence,
    priority: u8,
    /// Milliseconds.
    time_to_live: Option<u64>,
}

/// Whether a message is to survive its node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Persistence {
    Transient,
    Persistent,
}

/// A message in one or several queues.
#[derive(Debug)]
pub struct Message {
    bytes: Box<[u8]>,
    exchange_end: u32,
    key_end: u32,
    properties_end: u32,
    persistence: Persistence,
    priority: u8,
    /// The record that made it; zero for one that was never journaled.
    offset: Offset,
}

/// The parts of a message, borrowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Content<'a> {
    pub exchange: &'a [u8],
    pub routing_key: &'a [u8],
    /// Flags and fields.
    pub properties: &'a [u8],
    pub body: &'a [u8],
}

impl Draft {
    /// `expected` is how many bytes of body to make room for; more may come.
    #[must_use]
    pub fn new(exchange: &[u8], routing_key: &[u8], properties: &Properties, expected: usize) -> Self {
        let persistence = if properties.is_persistent() { Persistence::Persistent } else { Persistence::Transient };
        let mut draft = Self::from_parts(exchange, routing_key, properties.raw(), persistence, expected);
        draft.priority = properties.priority().unwrap_or(0);
        let expiration = properties.expiration().and_then(|digits| std::str::from_utf8(digits).ok());
        draft.time_to_live = expiration.and_then(|digits| digits.parse().ok());
        draft
    }

    /// A whole message out of a journal record or an image: there is none that is not persistent.
    #[must_use]
    pub fn stored(content: &Content<'_>) -> Self {
        let Content { exchange, routing_key, properties, body } = *content;
        let mut draft = Self::from_parts(exchange, routing_key, properties, Persistence::Persistent, body.len());
        if let Ok(properties) = Properties::from_raw(Bytes::copy_from_slice(properties)) {
            draft.priority = properties.priority().unwrap_or(0);
        }
        draft.push(body);
        draft
    }

    fn from_parts(
        exchange: &[u8],
        routing_key: &[u8],
        properties: &[u8],
        persistence: Persistence,
        expected: usize,
    ) -> Self {
        let head = exchange.len() + routing_key.len() + properties.len();
        let mut bytes = Vec::with_capacity(head + expected);
        bytes.extend_from_slice(exchange);
        let exchange_end = bytes.len() as u32;
        bytes.extend_from_slice(routing_key);
        let key_end = bytes.len() as u32;
        bytes.extend_from_slice(properties);
        let properties_end = bytes.len() as u32;
        Self { bytes, exchange_end, key_end, properties_end, persistence, priority: 0, time_to_live: None }
    }

    /// Milliseconds after which nobody wants it any more, if its publisher said so.
    #[must_use]
    pub fn time_to_live(&self) -> Option<u64> {
        self.time_to_live
    }

    /// Appends a part of the body.
    pub fn push(&mut self, body: &[u8]) {
        self.bytes.extend_from_slice(body);
    }

    #[must_use]
    pub fn body_len(&self) -> usize {
        self.bytes.len() - self.properties_end as usize
    }

    #[must_use]
    pub fn persistence(&self) -> Persistence {
        self.persistence
    }

    #[must_use]
    pub fn content(&self) -> Content<'_> {
        parts(&self.bytes, self.exchange_end, self.key_end, self.properties_end)
    }

    /// The message, made by the record at `offset`.
    #[must_use]
    pub fn finish(self, offset: Offset) -> Message {
        let Self { bytes, exchange_end, key_end, properties_end, persistence, priority, .. } = self;
        let bytes = bytes.into_boxed_slice();
        Message { bytes, exchange_end, key_end, properties_end, persistence, priority, offset }
    }
}

impl Message {
    #[inline]
    #[must_use]
    pub fn content(&self) -> Content<'_> {
        parts(&self.bytes, self.exchange_end, self.key_end, self.properties_end)
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
        self.offset
    }

    #[must_use]
    pub fn body_len(&self) -> usize {
        self.bytes.len() - self.properties_end as usize
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

#[inline]
fn parts(bytes: &[u8], exchange_end: u32, key_end: u32, properties_end: u32) -> Content<'_> {
    let (head, body) = bytes.split_at(properties_end as usize);
    let (head, properties) = head.split_at(key_end as usize);
    let (exchange, routing_key) = head.split_at(exchange_end as usize);
    Content { exchange, routing_key, properties, body }
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
        let message = draft.finish(Offset(7));
        let content = Content { exchange: b"logs", routing_key: b"a.b", properties: properties.raw(), body: b"body" };
        assert_eq!(message.content(), content);
        assert_eq!((message.persistence(), message.offset()), (Persistence::Persistent, Offset(7)));
        assert_eq!(Draft::stored(&content).finish(Offset(1)).content(), content);
    }
}
