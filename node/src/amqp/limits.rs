//! Every bound of the AMQP frontend, with its reason.

use std::time::Duration;

/// What we offer in tune, as RabbitMQ does. A client may ask for less.
pub(super) const FRAME_MAX: u32 = 131_072;

/// RabbitMQ's least since 4.0: the table of start-ok has to fit one frame.
pub(super) const FRAME_MAX_LEAST: u32 = 8192;

pub(super) const CHANNEL_MAX: u16 = 2047;

/// Seconds; sent after half of it, and the peer is dead after twice.
pub(super) const HEARTBEAT_SECONDS: u16 = 60;

/// `max_message_size` of RabbitMQ since 4.0.
pub(super) const MESSAGE_BYTES: u64 = 16 << 20;

/// Bytes of body that a content header alone makes us reserve: the rest has to come first.
pub(super) const RESERVED_BODY_BYTES: usize = 128 << 10;

/// Bytes that one read from a client may bring.
pub(super) const READ_BYTES: usize = 64 << 10;

/// Bytes not written yet, after which nothing more is delivered and nothing more is read: the client is slow, or the
/// replicas are.
pub(super) const OUTPUT_BYTES: usize = 512 << 10;

/// From the first byte to connection.open, as in RabbitMQ.
pub(super) const HANDSHAKE: Duration = Duration::from_secs(10);

/// For the client's close-ok, and for the last bytes to leave.
pub(super) const CLOSING: Duration = Duration::from_secs(5);

/// Between two looks for messages and queues whose time has come: RabbitMQ's clients see no difference to a timer each.
pub(super) const SWEEP: Duration = Duration::from_millis(50);
