//! An AMQP 0-9-1 client of the smallest kind: one channel, confirms, one queue at a time. It writes its own frames.
//!
//! ```text
//! frame    type:u8 channel:u16 size:u32 payload[size] 0xCE
//! method   class:u16 method:u16 arguments                          type 1
//! header   class:u16 weight:u16 body-size:u64 flags:u16 properties type 2
//! body     bytes                                                   type 3
//! ```

use std::net::SocketAddr;
use std::time::Duration;

use bytes::{Buf, BufMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

const METHOD: u8 = 1;
const HEADER: u8 = 2;
const BODY: u8 = 3;
const HEARTBEAT: u8 = 8;
const FRAME_END: u8 = 0xCE;
/// A frame above this is no frame of a server that we agreed 128 KiB with.
const LARGEST_FRAME: usize = 1 << 20;
const CHANNEL: u16 = 1;
/// `delivery-mode` present; its value 2 means persistent.
const DELIVERY_MODE_FLAG: u16 = 0x1000;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{0}")]
    Io(#[from] std::io::Error),
    #[error("no answer in time")]
    TimedOut,
    #[error("the connection was closed")]
    Closed,
    #[error("the server closed with {code} {text}")]
    ClosedByServer { code: u16, text: String },
    #[error("bytes that are no AMQP frame: {0}")]
    NotAmqp(&'static str),
    #[error("unexpected method {class}.{method}, waiting for {wanted}")]
    Unexpected { class: u16, method: u16, wanted: &'static str },
}

/// What the server sends without being asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Everything up to `tag` if `multiple`, else that one.
    Confirmed {
        tag: u64,
        multiple: bool,
    },
    Rejected {
        tag: u64,
        multiple: bool,
    },
    Delivered {
        body: Vec<u8>,
        redelivered: bool,
    },
}

/// The frames that publish a persistent message to a queue.
#[must_use]
pub fn publish_bytes(queue: &str, body: &[u8]) -> Vec<u8> {
    let mut method = Vec::new();
    method.put_u16(60);
    method.put_u16(40);
    method.put_u16(0);
    put_short(&mut method, b"");
    put_short(&mut method, queue.as_bytes());
    method.put_u8(0);
    let mut header = Vec::new();
    header.put_u16(60);
    header.put_u16(0);
    header.put_u64(body.len() as u64);
    header.put_u16(DELIVERY_MODE_FLAG);
    header.put_u8(2);
    let mut bytes = frame(METHOD, CHANNEL, &method);
    bytes.extend(frame(HEADER, CHANNEL, &header));
    bytes.extend(frame(BODY, CHANNEL, body));
    bytes
}

#[derive(Debug)]
pub struct Channel {
    stream: TcpStream,
    received: Vec<u8>,
    limit: Duration,
}

struct Frame {
    kind: u8,
    payload: Vec<u8>,
}

impl Channel {
    /// Connects, logs in as `user` and opens a channel. `limit` bounds this and every later wait for an answer.
    ///
    /// # Errors
    /// The server refuses or does not answer.
    pub async fn open(address: SocketAddr, user: &str, password: &str, limit: Duration) -> Result<Self, Error> {
        timeout(limit, Self::handshake(address, user, password, limit)).await.map_err(|_| Error::TimedOut)?
    }

    async fn handshake(address: SocketAddr, user: &str, password: &str, limit: Duration) -> Result<Self, Error> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let mut channel = Self { stream, received: Vec::new(), limit };
        channel.stream.write_all(b"AMQP\x00\x00\x09\x01").await?;
        channel.expect(10, 10, "connection.start").await?;

        let mut start_ok = Vec::new();
        start_ok.put_u32(0);
        put_short(&mut start_ok, b"PLAIN");
        put_long(&mut start_ok, format!("\0{user}\0{password}").as_bytes());
        put_short(&mut start_ok, b"en_US");
        channel.send_on(0, 10, 11, &start_ok).await?;

        // What the server proposes is agreed to, but for the heartbeat: our waits are bounded anyhow.
        let tune = channel.expect(10, 30, "connection.tune").await?;
        let mut tune_ok = tune.get(..6).ok_or(Error::NotAmqp("a short connection.tune"))?.to_vec();
        tune_ok.put_u16(0);
        channel.send_on(0, 10, 31, &tune_ok).await?;

        let mut open = Vec::new();
        put_short(&mut open, b"/");
        put_short(&mut open, b"");
        open.put_u8(0);
        channel.send_on(0, 10, 40, &open).await?;
        channel.expect(10, 41, "connection.open-ok").await?;
        channel.send(20, 10, &[0]).await?;
        channel.expect(20, 11, "channel.open-ok").await?;
        Ok(channel)
    }

    /// # Errors
    /// The server does not agree.
    pub async fn confirm_select(&mut self) -> Result<(), Error> {
        self.send(85, 10, &[0]).await?;
        self.answer(85, 11, "confirm.select-ok").await?;
        Ok(())
    }

    /// Declares a durable queue; says how many messages are ready in it.
    ///
    /// # Errors
    /// The server does not agree.
    pub async fn declare_durable(&mut self, queue: &str) -> Result<u32, Error> {
        const DURABLE: u8 = 2;
        let mut args = Vec::new();
        args.put_u16(0);
        put_short(&mut args, queue.as_bytes());
        args.put_u8(DURABLE);
        args.put_u32(0);
        self.send(50, 10, &args).await?;
        let ok = self.answer(50, 11, "queue.declare-ok").await?;
        let mut rest = ok.as_slice();
        take_short(&mut rest)?;
        rest.try_get_u32().map_err(|_| Error::NotAmqp("a short queue.declare-ok"))
    }

    /// Takes all ready messages out of a queue; says how many there were.
    ///
    /// # Errors
    /// The server does not agree.
    pub async fn purge(&mut self, queue: &str) -> Result<u32, Error> {
        let mut args = Vec::new();
        args.put_u16(0);
        put_short(&mut args, queue.as_bytes());
        args.put_u8(0);
        self.send(50, 30, &args).await?;
        let ok = self.answer(50, 31, "queue.purge-ok").await?;
        ok.as_slice().try_get_u32().map_err(|_| Error::NotAmqp("a short queue.purge-ok"))
    }

    /// Publishes a persistent message to a queue. Its delivery tag is the count of publishes on this channel.
    ///
    /// # Errors
    /// The connection failed; the message's fate is unknown.
    pub async fn publish_persistent(&mut self, queue: &str, body: &[u8]) -> Result<(), Error> {
        self.write(&publish_bytes(queue, body)).await
    }

    /// Writes frames that were made before.
    ///
    /// # Errors
    /// The connection failed.
    pub async fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        timeout(self.limit, self.stream.write_all(bytes)).await.map_err(|_| Error::TimedOut)??;
        Ok(())
    }

    /// Starts a consumer that needs no acknowledgements; deliveries come as events.
    ///
    /// # Errors
    /// The server does not agree.
    pub async fn consume(&mut self, queue: &str) -> Result<(), Error> {
        const NO_ACK: u8 = 2;
        let mut args = Vec::new();
        args.put_u16(0);
        put_short(&mut args, queue.as_bytes());
        put_short(&mut args, b"");
        args.put_u8(NO_ACK);
        args.put_u32(0);
        self.send(60, 20, &args).await?;
        self.answer(60, 21, "basic.consume-ok").await?;
        Ok(())
    }

    /// Waits for what the server sends next. Safe to drop half way while nothing is consumed: no confirm is lost.
    ///
    /// # Errors
    /// The connection ended, by the server's word or without.
    pub async fn event(&mut self) -> Result<Event, Error> {
        let (class, method, args) = self.method().await?;
        let mut rest = args.as_slice();
        let short = |_| Error::NotAmqp("a short method");
        match (class, method) {
            (60, 80) => Ok(Event::Confirmed {
                tag: rest.try_get_u64().map_err(short)?,
                multiple: rest.try_get_u8().map_err(short)? & 1 == 1,
            }),
            (60, 120) => Ok(Event::Rejected {
                tag: rest.try_get_u64().map_err(short)?,
                multiple: rest.try_get_u8().map_err(short)? & 1 == 1,
            }),
            (60, 60) => {
                take_short(&mut rest)?;
                rest.try_get_u64().map_err(short)?;
                let redelivered = rest.try_get_u8().map_err(short)? & 1 == 1;
                Ok(Event::Delivered { body: self.content().await?, redelivered })
            }
            _ => Err(Error::Unexpected { class, method, wanted: "basic.ack, basic.nack or basic.deliver" }),
        }
    }

    /// As `event`, within the channel's limit.
    ///
    /// # Errors
    /// As of `event`, or nothing came.
    pub async fn event_in_time(&mut self) -> Result<Event, Error> {
        timeout(self.limit, self.event()).await.map_err(|_| Error::TimedOut)?
    }

    async fn content(&mut self) -> Result<Vec<u8>, Error> {
        let header = self.frame().await?;
        if header.kind != HEADER || header.payload.len() < 12 {
            return Err(Error::NotAmqp("a delivery without its header"));
        }
        let size = (&header.payload[4..12]).get_u64();
        let mut body = Vec::new();
        while (body.len() as u64) < size {
            let part = self.frame().await?;
            if part.kind != BODY {
                return Err(Error::NotAmqp("a delivery without its body"));
            }
            body.extend(part.payload);
        }
        Ok(body)
    }

    async fn answer(&mut self, class: u16, method: u16, wanted: &'static str) -> Result<Vec<u8>, Error> {
        timeout(self.limit, self.expect(class, method, wanted)).await.map_err(|_| Error::TimedOut)?
    }

    async fn expect(&mut self, class: u16, method: u16, wanted: &'static str) -> Result<Vec<u8>, Error> {
        match self.method().await? {
            (c, m, args) if (c, m) == (class, method) => Ok(args),
            (class, method, _) => Err(Error::Unexpected { class, method, wanted }),
        }
    }

    /// The next method. A close is answered and becomes an error.
    async fn method(&mut self) -> Result<(u16, u16, Vec<u8>), Error> {
        loop {
            let frame = self.frame().await?;
            if frame.kind == HEARTBEAT {
                continue;
            }
            if frame.kind != METHOD || frame.payload.len() < 4 {
                return Err(Error::NotAmqp("a frame that is no method"));
            }
            let mut rest = frame.payload.as_slice();
            let (class, method) = (rest.get_u16(), rest.get_u16());
            if matches!((class, method), (10, 50) | (20, 40)) {
                let code = rest.try_get_u16().unwrap_or(0);
                let text = String::from_utf8_lossy(&take_short(&mut rest)?).into_owned();
                return Err(Error::ClosedByServer { code, text });
            }
            return Ok((class, method, rest.to_vec()));
        }
    }

    async fn frame(&mut self) -> Result<Frame, Error> {
        loop {
            if let Some(frame) = self.buffered_frame()? {
                return Ok(frame);
            }
            if self.stream.read_buf(&mut self.received).await? == 0 {
                return Err(Error::Closed);
            }
        }
    }

    fn buffered_frame(&mut self) -> Result<Option<Frame>, Error> {
        let Some(mut head) = self.received.get(..7) else { return Ok(None) };
        if head.starts_with(b"AMQP") {
            return Err(Error::NotAmqp("the server speaks another version"));
        }
        let (kind, _channel, size) = (head.get_u8(), head.get_u16(), head.get_u32() as usize);
        if size > LARGEST_FRAME {
            return Err(Error::NotAmqp("a frame of over a megabyte"));
        }
        if self.received.len() < 7 + size + 1 {
            return Ok(None);
        }
        if self.received[7 + size] != FRAME_END {
            return Err(Error::NotAmqp("a frame without its end"));
        }
        let payload = self.received[7..7 + size].to_vec();
        self.received.drain(..7 + size + 1);
        Ok(Some(Frame { kind, payload }))
    }

    async fn send(&mut self, class: u16, method: u16, args: &[u8]) -> Result<(), Error> {
        timeout(self.limit, self.send_on(CHANNEL, class, method, args)).await.map_err(|_| Error::TimedOut)?
    }

    async fn send_on(&mut self, channel: u16, class: u16, method: u16, args: &[u8]) -> Result<(), Error> {
        let mut payload = Vec::with_capacity(4 + args.len());
        payload.put_u16(class);
        payload.put_u16(method);
        payload.put_slice(args);
        Ok(self.stream.write_all(&frame(METHOD, channel, &payload)).await?)
    }
}

fn frame(kind: u8, channel: u16, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(payload.len() + 8);
    bytes.put_u8(kind);
    bytes.put_u16(channel);
    bytes.put_u32(u32::try_from(payload.len()).expect("our frames are small"));
    bytes.put_slice(payload);
    bytes.put_u8(FRAME_END);
    bytes
}

fn put_short(out: &mut Vec<u8>, text: &[u8]) {
    out.put_u8(u8::try_from(text.len()).expect("our names are short"));
    out.put_slice(text);
}

fn put_long(out: &mut Vec<u8>, text: &[u8]) {
    out.put_u32(u32::try_from(text.len()).expect("our texts are small"));
    out.put_slice(text);
}

fn take_short(rest: &mut &[u8]) -> Result<Vec<u8>, Error> {
    let length = usize::from(rest.try_get_u8().map_err(|_| Error::NotAmqp("a short string that is missing"))?);
    if rest.len() < length {
        return Err(Error::NotAmqp("a short string that is cut off"));
    }
    let text = rest[..length].to_vec();
    rest.advance(length);
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    /// A server that sends `bytes` and hangs up.
    async fn server(bytes: Vec<u8>) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.write_all(&bytes).await.unwrap();
            let mut sink = Vec::new();
            let _ = stream.read_to_end(&mut sink).await;
        });
        address
    }

    async fn refusal(bytes: Vec<u8>) -> String {
        let address = server(bytes).await;
        Channel::open(address, "guest", "guest", Duration::from_secs(5)).await.unwrap_err().to_string()
    }

    #[tokio::test]
    async fn a_close_of_the_server_is_told_in_its_own_words() {
        let mut close = vec![0, 10, 0, 50];
        close.put_u16(403);
        put_short(&mut close, b"ACCESS_REFUSED");
        close.put_u32(0);
        assert_eq!(refusal(frame(METHOD, 0, &close)).await, "the server closed with 403 ACCESS_REFUSED");
    }

    #[tokio::test]
    async fn what_is_no_frame_is_refused() {
        assert!(refusal(b"AMQP\x00\x01\x00\x00".to_vec()).await.contains("another version"));
        let mut unended = frame(METHOD, 0, &[0, 10, 0, 10]);
        *unended.last_mut().unwrap() = 0;
        assert!(refusal(unended).await.contains("without its end"));
        assert!(refusal(frame(METHOD, 0, &[0, 10, 0, 30])).await.contains("unexpected method 10.30"));
    }
}
