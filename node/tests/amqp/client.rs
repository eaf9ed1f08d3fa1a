//! A node that serves AMQP on a port of its own, and a client made of the codec.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use tercet_edge::accept::{self, Door};
use tercet_node::amqp;
use tercet_node::config::Config;
use tercet_node::node::{Identity, Node, Shared, random_id};
use tercet_proto::amqp::{
    ContentHeader, Decoder, Encoder, FieldTable, FieldValue, Frame, FrameKind, Method, PROTOCOL_HEADER, Properties,
    ShortString,
};

/// How long anything may take before a test fails.
const PATIENCE: Duration = Duration::from_secs(10);

/// A node in this process.
pub(crate) struct Server {
    pub(crate) node: Shared,
    pub(crate) address: SocketAddr,
    _runtime: tokio::runtime::Runtime,
}

impl Server {
    pub(crate) fn start() -> Self {
        Self::with(&[])
    }

    /// With these flags.
    pub(crate) fn with(flags: &[&str]) -> Self {
        let args = std::iter::once("tercet-node").chain(flags.iter().copied()).map(Into::into);
        let config = Config::from_args(args, |_| None).unwrap().into_config();
        Self::of(config, 2)
    }

    /// All clients on one thread.
    pub(crate) fn on_one_thread() -> Self {
        let config = Config::from_args(["tercet-node".into()], |_| None).unwrap().into_config();
        Self::of(config, 1)
    }

    fn of(config: Box<Config>, threads: usize) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build().unwrap();
        let identity = Identity { name: "n1".to_owned(), node_id: random_id(), incarnation: random_id() };
        let node: Shared = Arc::new(Node::new(*config, identity));
        let listener = runtime.block_on(async { accept::listen("127.0.0.1:0".parse().unwrap()) }).unwrap();
        let address = listener.local_addr().unwrap();
        let door = Door::new("AMQP", listener, Arc::clone(&node.places));
        runtime.spawn(amqp::accept(Arc::clone(&node), vec![door], vec![runtime.handle().clone()]));
        Self { node, address, _runtime: runtime }
    }

    pub(crate) fn client(&self) -> Client {
        Client::open(self.address, 60)
    }

    /// A client with channel 1.
    pub(crate) fn channel(&self) -> Client {
        let mut client = self.client();
        assert_eq!(client.call(1, Method::ChannelOpen {}), Method::ChannelOpenOk {});
        client
    }

    /// Waits until `check` holds.
    pub(crate) fn until(&self, what: &str, check: impl Fn(&Node) -> bool) {
        let end = std::time::Instant::now() + PATIENCE;
        while !check(&self.node) {
            assert!(std::time::Instant::now() < end, "{what} did not happen");
            std::thread::yield_now();
        }
    }
}

/// A method with its content, if it has one.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Received {
    pub(crate) channel: u16,
    pub(crate) method: Method,
    pub(crate) body: Vec<u8>,
}

/// A client that is as good as its test wants it to be.
pub(crate) struct Client {
    pub(crate) stream: TcpStream,
    input: BytesMut,
}

impl Client {
    /// Only a socket.
    pub(crate) fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream, input: BytesMut::new() }
    }

    pub(crate) fn open(address: SocketAddr, heartbeat: u16) -> Self {
        let mut client = Self::connect(address);
        client.raw(&PROTOCOL_HEADER);
        assert!(matches!(client.method(), Method::ConnectionStart { version_major: 0, version_minor: 9, .. }));
        let tune = client.call(0, start_ok("PLAIN", b"\0guest\0guest"));
        assert_eq!(tune, Method::ConnectionTune { channel_max: 2047, frame_max: 131_072, heartbeat: 60 });
        client.send(0, Method::ConnectionTuneOk { channel_max: 2047, frame_max: 131_072, heartbeat });
        let open = Method::ConnectionOpen { virtual_host: ShortString::from_static("/") };
        assert_eq!(client.call(0, open), Method::ConnectionOpenOk {});
        client
    }

    pub(crate) fn raw(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    pub(crate) fn send(&mut self, channel: u16, method: Method) {
        let mut out = Vec::new();
        Encoder::new(&mut out, 131_072).method(channel, &method);
        self.raw(&out);
    }

    /// Sends a method and gives the next one that comes.
    pub(crate) fn call(&mut self, channel: u16, method: Method) -> Method {
        self.send(channel, method);
        self.method()
    }

    pub(crate) fn publish(&mut self, exchange: &str, key: &str, properties: &Properties, body: &[u8]) {
        let out = publish(exchange, key, properties, body);
        self.raw(&out);
    }

    pub(crate) fn method(&mut self) -> Method {
        self.receive().method
    }

    /// The next method, whole. Heartbeats are passed over.
    pub(crate) fn receive(&mut self) -> Received {
        let frame = self.frame_but_heartbeats();
        assert_eq!(frame.kind, FrameKind::Method, "{frame:?}");
        let (channel, method) = (frame.channel, Method::decode(&frame.payload).unwrap());
        let mut body = Vec::new();
        if method.info().content == tercet_proto::amqp::Content::Follows {
            let header = ContentHeader::decode(&self.frame_but_heartbeats().payload).unwrap();
            while (body.len() as u64) < header.body_size {
                body.extend_from_slice(&self.frame_but_heartbeats().payload);
            }
        }
        Received { channel, method, body }
    }

    fn frame_but_heartbeats(&mut self) -> Frame {
        loop {
            let frame = self.frame().expect("the connection is open");
            if frame.kind != FrameKind::Heartbeat {
                return frame;
            }
        }
    }

    /// The next frame; `None` when the connection has ended.
    pub(crate) fn frame(&mut self) -> Option<Frame> {
        loop {
            if let Some(frame) = Decoder::new(131_072).decode(&mut self.input).unwrap() {
                return Some(frame);
            }
            let mut bytes = [0; 65_536];
            match self.stream.read(&mut bytes) {
                Ok(0) => return None,
                Ok(count) => self.input.extend_from_slice(&bytes[..count]),
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return None,
                Err(error) => panic!("nothing came: {error}"),
            }
        }
    }

    /// Whether nothing comes for a moment.
    pub(crate) fn is_silent(&mut self) -> bool {
        self.stream.set_read_timeout(Some(Duration::from_millis(150))).unwrap();
        let mut byte = [0];
        let silent = self.input.is_empty()
            && matches!(self.stream.peek(&mut byte), Err(error) if error.kind() == ErrorKind::WouldBlock);
        self.stream.set_read_timeout(Some(PATIENCE)).unwrap();
        silent
    }

    /// What the connection ends with, if it is said.
    pub(crate) fn close_reason(&mut self) -> Option<(u16, String)> {
        loop {
            let frame = self.frame()?;
            if frame.kind == FrameKind::Method
                && let Ok(
                    Method::ConnectionClose { reply_code, reply_text, .. }
                    | Method::ChannelClose { reply_code, reply_text, .. },
                ) = Method::decode(&frame.payload)
            {
                return Some((reply_code, reply_text.to_string()));
            }
        }
    }
}

pub(crate) fn publish(exchange: &str, key: &str, properties: &Properties, body: &[u8]) -> Vec<u8> {
    publish_as(exchange, key, properties, body, false)
}

pub(crate) fn publish_as(exchange: &str, key: &str, properties: &Properties, body: &[u8], mandatory: bool) -> Vec<u8> {
    let method =
        Method::BasicPublish { exchange: short(exchange), routing_key: short(key), mandatory, immediate: false };
    let mut out = Vec::new();
    Encoder::new(&mut out, 131_072).content(1, &method, properties.raw(), body);
    out
}

pub(crate) fn short(text: &str) -> ShortString {
    ShortString::try_from(text).unwrap()
}

/// start-ok of a client that understands everything.
pub(crate) fn start_ok(mechanism: &str, response: &[u8]) -> Method {
    let names = ["consumer_cancel_notify", "connection.blocked", "authentication_failure_close"];
    let capabilities: FieldTable =
        names.into_iter().map(|name| (name.try_into().unwrap(), FieldValue::Bool(true))).collect();
    let mut client_properties = FieldTable::new();
    client_properties.insert("capabilities".try_into().unwrap(), capabilities);
    Method::ConnectionStartOk {
        client_properties,
        mechanism: short(mechanism),
        response: response.to_vec().into(),
        locale: short("en_US"),
    }
}

pub(crate) fn declare(queue: &str) -> Method {
    Method::QueueDeclare {
        queue: short(queue),
        passive: false,
        durable: false,
        exclusive: false,
        auto_delete: false,
        no_wait: false,
        arguments: FieldTable::new(),
    }
}

pub(crate) fn declare_durable(queue: &str) -> Method {
    match declare(queue) {
        Method::QueueDeclare { queue, passive, exclusive, auto_delete, no_wait, arguments, .. } => {
            Method::QueueDeclare { queue, passive, durable: true, exclusive, auto_delete, no_wait, arguments }
        }
        other => other,
    }
}

pub(crate) fn declare_with(queue: &str, argument: &str, value: impl Into<FieldValue>) -> Method {
    match declare(queue) {
        Method::QueueDeclare { queue, passive, durable, exclusive, auto_delete, no_wait, mut arguments } => {
            arguments.insert(argument.try_into().unwrap(), value);
            Method::QueueDeclare { queue, passive, durable, exclusive, auto_delete, no_wait, arguments }
        }
        other => other,
    }
}

pub(crate) fn declared(queue: &str, message_count: u32, consumer_count: u32) -> Method {
    Method::QueueDeclareOk { queue: short(queue), message_count, consumer_count }
}

pub(crate) fn consume(queue: &str, tag: &str) -> Method {
    Method::BasicConsume {
        queue: short(queue),
        consumer_tag: short(tag),
        no_local: false,
        no_ack: false,
        exclusive: false,
        no_wait: false,
        arguments: FieldTable::new(),
    }
}

pub(crate) fn get(queue: &str) -> Method {
    Method::BasicGet { queue: short(queue), no_ack: false }
}

pub(crate) fn exchange(name: &str, kind: &str) -> Method {
    Method::ExchangeDeclare {
        exchange: short(name),
        kind: short(kind),
        passive: false,
        durable: false,
        auto_delete: false,
        internal: false,
        no_wait: false,
        arguments: FieldTable::new(),
    }
}

pub(crate) fn bind(queue: &str, exchange: &str, key: &str) -> Method {
    Method::QueueBind {
        queue: short(queue),
        exchange: short(exchange),
        routing_key: short(key),
        no_wait: false,
        arguments: FieldTable::new(),
    }
}
