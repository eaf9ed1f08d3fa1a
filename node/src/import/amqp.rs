//! A connection to a broker of AMQP 0-9-1 with one channel, as a client.

use std::io::{self, Read as _, Write as _};

use bytes::{Bytes, BytesMut};
use tercet_edge::tls::outside::Stream;
use tercet_proto::amqp::{Decoder, Encoder, FieldTable, FrameKind, Method, PROTOCOL_HEADER, ShortString};

use super::error::Error;
use super::place::Place;

const CHANNEL: u16 = 1;
/// What we agree to, if the broker proposes as much.
const FRAME_MAX: u32 = 128 << 10;
/// Output is sent once there is so much of it.
const OUTPUT_BYTES: usize = 256 << 10;
const READ_BYTES: usize = 64 << 10;

#[derive(Debug)]
pub(super) struct Link {
    address: String,
    stream: Stream,
    input: BytesMut,
    output: Vec<u8>,
    frame_max: u32,
}

impl Link {
    /// Logs in, and opens a channel.
    pub(super) fn open(place: &Place, user: &str, password: &str, vhost: &str) -> Result<Self, Error> {
        let (address, stream) = (place.address(), place.open()?);
        let mut link =
            Self { address, stream, input: BytesMut::new(), output: PROTOCOL_HEADER.to_vec(), frame_max: FRAME_MAX };
        link.flush()?;
        match link.method()? {
            Method::ConnectionStart { .. } => {}
            other => return Err(link.unexpected(&other)),
        }
        let login = Method::ConnectionStartOk {
            client_properties: FieldTable::new(),
            mechanism: ShortString::from_static("PLAIN"),
            response: Bytes::from(format!("\0{user}\0{password}")),
            locale: ShortString::from_static("en_US"),
        };
        // A wrong login closes the connection, with or without a word.
        let refused = |error| match error {
            Error::Connection { address, error } if error.kind() == io::ErrorKind::UnexpectedEof => {
                Error::Refused { address, command: "the login", text: "wrong user or password".to_owned() }
            }
            other => other,
        };
        let (channel_max, proposed) = match link.ask_on(0, &login).map_err(refused)? {
            Method::ConnectionTune { channel_max, frame_max, .. } => (channel_max, frame_max),
            other => return Err(link.unexpected(&other)),
        };
        link.frame_max = if proposed == 0 { FRAME_MAX } else { proposed.min(FRAME_MAX) };
        // Our own waits are bounded: no heartbeats.
        link.put(0, &Method::ConnectionTuneOk { channel_max, frame_max: link.frame_max, heartbeat: 0 });
        match link.ask_on(0, &Method::ConnectionOpen { virtual_host: ShortString::truncated(vhost) })? {
            Method::ConnectionOpenOk {} => {}
            other => return Err(link.unexpected(&other)),
        }
        match link.ask(&Method::ChannelOpen {})? {
            Method::ChannelOpenOk {} => Ok(link),
            other => Err(link.unexpected(&other)),
        }
    }

    fn put(&mut self, channel: u16, method: &Method) {
        Encoder::new(&mut self.output, self.frame_max).method(channel, method);
    }

    /// Sends a method on the channel, with the next `flush` at the latest.
    pub(super) fn send(&mut self, method: &Method) -> Result<(), Error> {
        self.put(CHANNEL, method);
        self.flush_if_much()
    }

    /// Sends a method and its content's header; the body follows.
    pub(super) fn content(&mut self, method: &Method, properties: &[u8], body_size: u64) -> Result<(), Error> {
        let mut encoder = Encoder::new(&mut self.output, self.frame_max);
        encoder.method(CHANNEL, method);
        encoder.header(CHANNEL, properties, body_size);
        self.flush_if_much()
    }

    /// Sends a part of a body.
    pub(super) fn body(&mut self, part: &[u8]) -> Result<(), Error> {
        Encoder::new(&mut self.output, self.frame_max).body(CHANNEL, part);
        self.flush_if_much()
    }

    fn flush_if_much(&mut self) -> Result<(), Error> {
        if self.output.len() >= OUTPUT_BYTES { self.flush() } else { Ok(()) }
    }

    pub(super) fn flush(&mut self) -> Result<(), Error> {
        let sent = self.stream.write_all(&self.output).and_then(|()| self.stream.flush());
        self.output.clear();
        sent.map_err(|error| self.failed(error))
    }

    /// Sends a method, and waits for its answer.
    pub(super) fn ask(&mut self, method: &Method) -> Result<Method, Error> {
        self.ask_on(CHANNEL, method)
    }

    fn ask_on(&mut self, channel: u16, method: &Method) -> Result<Method, Error> {
        self.put(channel, method);
        self.flush()?;
        self.method()
    }

    /// The next method. One that closes is an error.
    pub(super) fn method(&mut self) -> Result<Method, Error> {
        loop {
            let payload = self.frame(FrameKind::Method)?;
            match Method::decode(&payload).map_err(|error| self.wrong(&error.to_string()))? {
                Method::ConnectionClose { reply_code, reply_text, .. }
                | Method::ChannelClose { reply_code, reply_text, .. } => {
                    let text = format!("{reply_code} {}", reply_text.as_str());
                    return Err(Error::Refused { address: self.address.clone(), command: "AMQP", text });
                }
                // Publishing waits by itself: the broker does not read.
                Method::ConnectionBlocked { .. } | Method::ConnectionUnblocked {} => {}
                method => return Ok(method),
            }
        }
    }

    /// The payload of the next frame, which is of this kind.
    pub(super) fn frame(&mut self, kind: FrameKind) -> Result<Bytes, Error> {
        loop {
            let decoder = Decoder::new(self.frame_max);
            match decoder.decode(&mut self.input).map_err(|error| self.wrong(&error.to_string()))? {
                Some(frame) if frame.kind == kind => return Ok(frame.payload),
                Some(frame) if frame.kind == FrameKind::Heartbeat => {}
                Some(frame) => return Err(self.wrong(&format!("a frame of kind {:?}", frame.kind))),
                None => self.read()?,
            }
        }
    }

    fn read(&mut self) -> Result<(), Error> {
        let before = self.input.len();
        self.input.resize(before + READ_BYTES, 0);
        let read = self.stream.read(&mut self.input[before..]);
        self.input.truncate(before + *read.as_ref().unwrap_or(&0));
        match read {
            Ok(0) => Err(self.failed(io::ErrorKind::UnexpectedEof.into())),
            Ok(_) => Ok(()),
            Err(error) => Err(self.failed(error)),
        }
    }

    fn failed(&self, error: io::Error) -> Error {
        Error::Connection { address: self.address.clone(), error }
    }

    /// The broker does not speak as it should.
    pub(super) fn wrong(&self, what: &str) -> Error {
        self.failed(io::Error::new(io::ErrorKind::InvalidData, what.to_owned()))
    }

    pub(super) fn unexpected(&self, method: &Method) -> Error {
        self.wrong(&format!("{} comes unexpectedly", method.name()))
    }
}
