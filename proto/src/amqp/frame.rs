//! Frames in: the protocol header, and then where the next frame of a receive buffer ends.
//!
//! ```text
//! type u8 | channel u16 | size u32 | payload (size bytes) | 0xCE
//! ```
//!
//! A payload is a slice of the receive buffer and not a copy. The decoder keeps no state: a frame that is not whole is told
//! from its first seven bytes, whatever the number of pieces it comes in.

use bytes::{Buf, Bytes, BytesMut};

use super::Error;

/// What a client of AMQP 0-9-1 sends first, and what a server answers to anything else before it closes.
pub const PROTOCOL_HEADER: [u8; 8] = *b"AMQP\x00\x00\x09\x01";

pub const FRAME_END: u8 = 0xce;

/// Octets of a frame around its payload.
pub const FRAME_OVERHEAD: u32 = 8;

/// The specification's least frame_max; a peer may send frames of this size before tune.
pub const MIN_FRAME_MAX: u32 = 4096;

/// The bound where a frame_max of 0 names none: the largest message that RabbitMQ before 4.0 took.
const UNLIMITED_FRAME_MAX: u32 = 128 << 20;

/// Type, channel and size.
const HEAD: usize = 7;

/// What the first bytes of a connection are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opening {
    /// More bytes are needed.
    Incomplete,
    /// AMQP 0-9-1; the header has been taken from the buffer.
    Accepted,
    /// Another protocol or version: answer `PROTOCOL_HEADER` and close.
    Refused,
}

/// Takes the protocol header from the start of `buffer`. Refuses at the first byte that differs.
pub fn take_protocol_header(buffer: &mut BytesMut) -> Opening {
    let length = buffer.len().min(PROTOCOL_HEADER.len());
    if buffer[..length] != PROTOCOL_HEADER[..length] {
        return Opening::Refused;
    }
    if length < PROTOCOL_HEADER.len() {
        return Opening::Incomplete;
    }
    buffer.advance(length);
    Opening::Accepted
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum FrameKind {
    Method = 1,
    Header = 2,
    Body = 3,
    Heartbeat = 8,
}

impl FrameKind {
    fn from_octet(octet: u8) -> Option<Self> {
        match octet {
            1 => Some(Self::Method),
            2 => Some(Self::Header),
            3 => Some(Self::Body),
            8 => Some(Self::Heartbeat),
            _ => None,
        }
    }
}

/// One frame. The payload keeps the receive buffer alive; copy what is kept for long and is small.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    pub kind: FrameKind,
    pub channel: u16,
    pub payload: Bytes,
}

/// Finds frames in a receive buffer. One a connection.
#[derive(Debug, Clone, Copy)]
pub struct Decoder {
    frame_max: u32,
}

impl Decoder {
    /// `frame_max` counts whole frames, in octets; 0 negotiates no limit and leaves one of 128 MiB.
    #[must_use]
    pub fn new(frame_max: u32) -> Self {
        Self { frame_max: if frame_max == 0 { UNLIMITED_FRAME_MAX } else { frame_max } }
    }

    /// Takes the next whole frame from the start of `buffer`; `None` when more bytes are needed.
    ///
    /// # Errors
    /// The stream cannot be followed any more; the connection is to be closed with the error's reply code.
    pub fn decode(&self, buffer: &mut BytesMut) -> Result<Option<Frame>, Error> {
        let Some(head) = buffer.first_chunk::<HEAD>() else { return Ok(None) };
        let [kind, channel_high, channel_low, size @ ..] = *head;
        let kind = FrameKind::from_octet(kind).ok_or(Error::FrameType(kind))?;
        let channel = u16::from_be_bytes([channel_high, channel_low]);
        let size = u32::from_be_bytes(size);
        self.check(kind, channel, size)?;

        let end = HEAD + size as usize;
        let Some(&octet) = buffer.get(end) else { return Ok(None) };
        if octet != FRAME_END {
            return Err(Error::FrameEnd(octet));
        }
        buffer.advance(HEAD);
        let payload = if size == 0 { Bytes::new() } else { buffer.split_to(size as usize).freeze() };
        buffer.advance(1);
        Ok(Some(Frame { kind, channel, payload }))
    }

    /// Like RabbitMQ, a payload may have frame_max octets: some clients do not count the frame around it.
    fn check(&self, kind: FrameKind, channel: u16, size: u32) -> Result<(), Error> {
        if size > self.frame_max {
            return Err(Error::FrameTooLarge { channel, size, frame_max: self.frame_max });
        }
        if kind == FrameKind::Heartbeat && size != 0 {
            return Err(Error::HeartbeatPayload(size));
        }
        if kind == FrameKind::Heartbeat && channel != 0 {
            return Err(Error::HeartbeatChannel(channel));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::amqp::testing::Random;

    fn frame(kind: u8, channel: u16, payload: &[u8]) -> Vec<u8> {
        let mut out = vec![kind];
        out.extend_from_slice(&channel.to_be_bytes());
        out.extend_from_slice(&u32::try_from(payload.len()).unwrap().to_be_bytes());
        out.extend_from_slice(payload);
        out.push(FRAME_END);
        out
    }

    fn head(kind: u8, channel: u16, size: u32) -> BytesMut {
        let mut out = frame(kind, channel, b"");
        out.truncate(HEAD);
        out[3..7].copy_from_slice(&size.to_be_bytes());
        BytesMut::from(&out[..])
    }

    #[test]
    fn numbers_never_change() {
        let numbers = [FrameKind::Method, FrameKind::Header, FrameKind::Body, FrameKind::Heartbeat].map(|k| k as u8);
        assert_eq!(numbers, [1, 2, 3, 8]);
        assert_eq!(FRAME_END, 206);
    }

    #[test]
    fn half_a_frame_is_none_at_every_offset_and_takes_nothing() {
        let input = frame(3, 513, b"payload");
        for end in 0..input.len() {
            let mut buffer = BytesMut::from(&input[..end]);
            assert_eq!(Decoder::new(4096).decode(&mut buffer), Ok(None));
            assert_eq!(buffer, &input[..end]);
            buffer.extend_from_slice(&input[end..]);
            let decoded = Decoder::new(4096).decode(&mut buffer).unwrap().unwrap();
            assert_eq!(decoded, Frame { kind: FrameKind::Body, channel: 513, payload: Bytes::from_static(b"payload") });
            assert!(buffer.is_empty());
        }
    }

    #[test]
    fn frames_that_come_together_are_taken_one_by_one() {
        let mut buffer = BytesMut::from(&[frame(1, 1, b"abcd"), frame(8, 0, b""), frame(2, 65535, b"x")].concat()[..]);
        let decoder = Decoder::new(4096);
        let mut kinds = Vec::new();
        while let Some(frame) = decoder.decode(&mut buffer).unwrap() {
            kinds.push((frame.kind, frame.channel));
        }
        assert_eq!(kinds, [(FrameKind::Method, 1), (FrameKind::Heartbeat, 0), (FrameKind::Header, 65535)]);
    }

    #[test]
    fn payload_is_not_copied() {
        let mut buffer = BytesMut::from(&frame(3, 1, b"payload")[..]);
        let start = buffer.as_ptr() as usize;
        let payload = Decoder::new(4096).decode(&mut buffer).unwrap().unwrap().payload;
        assert_eq!(payload.as_ptr() as usize, start + HEAD);
    }

    #[test]
    fn a_length_of_a_gigabyte_is_refused_before_its_bytes_come() {
        for frame_max in [0, 4096, 131_072] {
            let error = Decoder::new(frame_max).decode(&mut head(3, 7, 1 << 30)).unwrap_err();
            let expected = if frame_max == 0 { UNLIMITED_FRAME_MAX } else { frame_max };
            assert_eq!(error, Error::FrameTooLarge { channel: 7, size: 1 << 30, frame_max: expected });
            assert_eq!(error.reply_code().code(), 501);
        }
    }

    #[test]
    fn frame_max_bounds_the_payload() {
        assert_eq!(Decoder::new(4096).decode(&mut head(3, 1, 4096)), Ok(None));
        assert!(Decoder::new(4096).decode(&mut head(3, 1, 4097)).is_err());
    }

    #[test]
    fn wrong_end_octet_is_a_frame_error() {
        let mut input = frame(1, 0, b"abcd");
        *input.last_mut().unwrap() = 0xcd;
        let error = Decoder::new(4096).decode(&mut BytesMut::from(&input[..])).unwrap_err();
        assert_eq!((error.clone(), error.reply_code().code()), (Error::FrameEnd(0xcd), 501));
    }

    #[test]
    fn heartbeats_are_empty_and_on_channel_zero() {
        let decode = |input: Vec<u8>| Decoder::new(4096).decode(&mut BytesMut::from(&input[..]));
        assert_eq!(decode(frame(8, 1, b"")), Err(Error::HeartbeatChannel(1)));
        assert_eq!(decode(frame(8, 0, b"x")), Err(Error::HeartbeatPayload(1)));
        assert_eq!(decode(frame(8, 0, b"")).unwrap().unwrap().kind, FrameKind::Heartbeat);
    }

    #[test]
    fn unknown_types_are_refused() {
        for kind in (0..=255).filter(|kind| ![1, 2, 3, 8].contains(kind)) {
            assert_eq!(Decoder::new(4096).decode(&mut head(kind, 0, 0)), Err(Error::FrameType(kind)));
        }
    }

    #[test]
    fn garbage_is_refused_or_awaited_but_never_panics() {
        let mut random = Random::from_environment();
        for _ in 0..20_000 {
            let mut bytes = random.bytes(64);
            if let (Some(first), true) = (bytes.first_mut(), random.below(2) == 0) {
                *first = [1, 2, 3, 8][random.below(4)];
            }
            let mut buffer = BytesMut::from(&bytes[..]);
            while let Ok(Some(_)) = Decoder::new(4096).decode(&mut buffer) {}
        }
    }

    #[test]
    fn protocol_header_is_accepted_whole_and_refused_early() {
        for end in 0..8 {
            assert_eq!(take_protocol_header(&mut BytesMut::from(&PROTOCOL_HEADER[..end])), Opening::Incomplete);
        }
        let mut buffer = BytesMut::from(&[&PROTOCOL_HEADER[..], b"rest"].concat()[..]);
        assert_eq!(take_protocol_header(&mut buffer), Opening::Accepted);
        assert_eq!(buffer, &b"rest"[..]);
        for wrong in [&b"GET / HTTP/1.1"[..], b"AMQP\x00\x01\x00\x00", b"AMQP\x01", b"X", b"AMQP\x03\x01\x00\x00"] {
            assert_eq!(take_protocol_header(&mut BytesMut::from(wrong)), Opening::Refused);
        }
    }
}
