//! Frames out, written straight into the send buffer.

use super::frame::{FRAME_END, FRAME_OVERHEAD, FrameKind};
use super::methods::Method;
use super::properties::BASIC_CLASS;
use super::wire::{length_u32, put_short};

/// What basic.deliver says, borrowed: the one method that is sent too often to build a `Method` for it.
#[derive(Debug, Clone, Copy)]
pub struct Delivery<'a> {
    pub consumer_tag: &'a [u8],
    pub delivery_tag: u64,
    pub redelivered: bool,
    pub exchange: &'a [u8],
    pub routing_key: &'a [u8],
}

/// Appends frames to a send buffer.
#[derive(Debug)]
pub struct Encoder<'a> {
    out: &'a mut Vec<u8>,
    /// Octets of a body that fit a frame.
    body_max: usize,
}

impl<'a> Encoder<'a> {
    /// `frame_max` as negotiated, in octets of whole frames; 0 for no limit.
    #[inline]
    pub fn new(out: &'a mut Vec<u8>, frame_max: u32) -> Self {
        let frame_max = if frame_max == 0 { u32::MAX } else { frame_max };
        Self { out, body_max: frame_max.saturating_sub(FRAME_OVERHEAD).max(1) as usize }
    }

    /// A method that carries no content.
    pub fn method(&mut self, channel: u16, method: &Method) {
        self.frame(FrameKind::Method, channel, |out| method.encode(out));
    }

    /// A method with its content: basic.return, basic.get-ok, and basic.publish of a client. The properties are those of
    /// `Properties::raw`.
    pub fn content(&mut self, channel: u16, method: &Method, properties: &[u8], body: &[u8]) {
        self.method(channel, method);
        self.header(channel, properties, body.len() as u64);
        self.body(channel, body);
    }

    /// basic.deliver with its content; the properties are those of `Properties::raw`.
    ///
    /// # Panics
    /// When a name is longer than 255 bytes.
    pub fn deliver(&mut self, channel: u16, delivery: &Delivery<'_>, properties: &[u8], body: &[u8]) {
        self.frame(FrameKind::Method, channel, |out| {
            out.extend_from_slice(&[0, 60, 0, 60]);
            put_short(out, delivery.consumer_tag);
            out.extend_from_slice(&delivery.delivery_tag.to_be_bytes());
            out.push(u8::from(delivery.redelivered));
            put_short(out, delivery.exchange);
            put_short(out, delivery.routing_key);
        });
        self.header(channel, properties, body.len() as u64);
        self.body(channel, body);
    }

    /// The content header of class basic. The protocol has no way to split one that is larger than frame_max.
    pub fn header(&mut self, channel: u16, properties: &[u8], body_size: u64) {
        self.frame(FrameKind::Header, channel, |out| {
            out.extend_from_slice(&BASIC_CLASS.to_be_bytes());
            out.extend_from_slice(&[0, 0]);
            out.extend_from_slice(&body_size.to_be_bytes());
            out.extend_from_slice(properties);
        });
    }

    /// A body in as many frames as frame_max asks for; an empty one in none.
    pub fn body(&mut self, channel: u16, body: &[u8]) {
        let frames = body.len().div_ceil(self.body_max);
        self.out.reserve(body.len() + frames * FRAME_OVERHEAD as usize);
        for part in body.chunks(self.body_max) {
            self.frame(FrameKind::Body, channel, |out| out.extend_from_slice(part));
        }
    }

    pub fn heartbeat(&mut self) {
        self.frame(FrameKind::Heartbeat, 0, |_| {});
    }

    #[inline]
    fn frame(&mut self, kind: FrameKind, channel: u16, payload: impl FnOnce(&mut Vec<u8>)) {
        let [high, low] = channel.to_be_bytes();
        self.out.extend_from_slice(&[kind as u8, high, low, 0, 0, 0, 0]);
        let start = self.out.len();
        payload(self.out);
        let size = length_u32(self.out.len() - start);
        self.out[start - 4..start].copy_from_slice(&size.to_be_bytes());
        self.out.push(FRAME_END);
    }
}

#[cfg(test)]
mod tests {
    use bytes::{Bytes, BytesMut};

    use super::*;
    use crate::amqp::{BasicProperties, ContentHeader, Decoder, Frame, ShortString};

    fn frames(out: &[u8], frame_max: u32) -> Vec<Frame> {
        let mut buffer = BytesMut::from(out);
        let mut frames = Vec::new();
        while let Some(frame) = Decoder::new(frame_max).decode(&mut buffer).unwrap() {
            frames.push(frame);
        }
        assert!(buffer.is_empty(), "bytes are left over");
        frames
    }

    #[test]
    fn body_is_split_so_that_no_frame_exceeds_frame_max() {
        for (length, expected) in [(0, 0), (1, 1), (4088, 1), (4089, 2), (8176, 2), (8177, 3), (100_000, 25)] {
            let body: Vec<u8> = (0..length).map(|n| (n % 251) as u8).collect();
            let mut out = Vec::new();
            Encoder::new(&mut out, 4096).body(9, &body);
            let frames = frames(&out, 4096);
            assert_eq!(frames.len(), expected, "{length} bytes");
            assert!(frames.iter().all(|f| f.payload.len() + 8 <= 4096 && f.kind == FrameKind::Body && f.channel == 9));
            assert_eq!(frames.iter().flat_map(|frame| frame.payload.to_vec()).collect::<Vec<u8>>(), body);
        }
    }

    #[test]
    fn frame_max_of_zero_does_not_split() {
        let mut out = Vec::new();
        Encoder::new(&mut out, 0).body(1, &vec![7; 1 << 20]);
        assert_eq!(frames(&out, 0).len(), 1);
    }

    #[test]
    fn delivery_is_the_same_as_the_method_of_the_table() {
        let properties = BasicProperties { delivery_mode: Some(2), ..BasicProperties::default() }.encode();
        for redelivered in [false, true] {
            let delivery = Delivery {
                consumer_tag: b"ctag1",
                delivery_tag: 0x0102_0304_0506_0708,
                redelivered,
                exchange: b"",
                routing_key: b"a.b",
            };
            let method = Method::BasicDeliver {
                consumer_tag: ShortString::from_static("ctag1"),
                delivery_tag: 0x0102_0304_0506_0708,
                redelivered,
                exchange: ShortString::default(),
                routing_key: ShortString::from_static("a.b"),
            };
            let (mut fast, mut table) = (Vec::new(), Vec::new());
            Encoder::new(&mut fast, 4096).deliver(3, &delivery, properties.raw(), b"body");
            Encoder::new(&mut table, 4096).content(3, &method, properties.raw(), b"body");
            assert_eq!(fast, table);
        }
    }

    #[test]
    fn content_is_method_header_and_body() {
        let properties = BasicProperties { priority: Some(5), ..BasicProperties::default() }.encode();
        let method = Method::BasicPublish {
            exchange: ShortString::from_static("x"),
            routing_key: ShortString::from_static("k"),
            mandatory: true,
            immediate: false,
        };
        let mut out = Vec::new();
        Encoder::new(&mut out, 4096).content(1, &method, properties.raw(), b"hello");
        let frames = frames(&out, 4096);
        assert_eq!(Method::decode(&frames[0].payload), Ok(method));
        let header = ContentHeader::decode(&frames[1].payload).unwrap();
        assert_eq!(header, ContentHeader { class_id: 60, body_size: 5, properties });
        assert_eq!(frames[2].payload, Bytes::from_static(b"hello"));
        assert_eq!(frames.len(), 3);
    }

    #[test]
    fn heartbeat_is_eight_octets() {
        let mut out = Vec::new();
        Encoder::new(&mut out, 4096).heartbeat();
        assert_eq!(out, [8, 0, 0, 0, 0, 0, 0, 0xce]);
    }
}
