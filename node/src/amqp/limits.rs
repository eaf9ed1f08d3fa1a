//! Every bound of the AMQP frontend, with its reason.

use std::time::Duration;

/// What we offer in tune, as RabbitMQ does. A client may ask for less.
pub(super) const FRAME_MAX: u32 = 131_072;

/// The protocol's least. RabbitMQ asks for 8192 since 4.0; older clients ask for this and get it.
pub(super) const FRAME_MAX_LEAST: u32 = 4096;

pub(super) const CHANNEL_MAX: u16 = 2047;

/// Seconds; sent after half of it, and the peer is dead after twice.
pub(super) const HEARTBEAT_SECONDS: u16 = 60;

/// `max_message_size` of RabbitMQ since 4.0.
pub(super) const MESSAGE_BYTES: u64 = 16 << 20;

/// Bytes of body that a content header alone makes us reserve: the rest has to come first.
pub(super) const RESERVED_BODY_BYTES: usize = 128 << 10;

/// Bytes that one read from a client may bring.
pub(super) const READ_BYTES: usize = 64 << 10;

/// Bytes not written yet, after which nothing more is delivered: the client is slow, or the replicas are.
pub(super) const OUTPUT_BYTES: usize = 512 << 10;

/// Bytes not written yet, after which nothing more is read either. Until then a client that sends all it has before it
/// reads gets its replies in the end.
pub(super) const REPLY_BYTES: usize = 16 << 20;

/// Steps of one turn, after which the other connections of the thread have theirs: about a millisecond. A step is a frame,
/// or a message that goes into a queue or out of it.
pub(super) const TURN_STEPS: usize = 2048;

/// Bytes that one turn reads: a large message takes several.
pub(super) const TURN_BYTES: usize = 256 << 10;

/// Bytes of messages that are not whole yet, on all channels of a connection, beside one of the largest size.
pub(super) const UNFINISHED_BYTES: usize = 64 << 20;

/// How long the publisher of a queue that has become too long waits before it may send a little more, and how often it
/// looks whether it need not wait. It is never stopped: its own acknowledgements may lie behind what it publishes.
pub(super) const SLOWED: Duration = Duration::from_millis(100);
pub(super) const SLOWED_LOOK: Duration = Duration::from_millis(5);

/// How soon basic.get looks again whether its message has been read from the disk: reading takes a few milliseconds.
pub(super) const FETCH_LOOK: Duration = Duration::from_millis(2);

/// Messages that a slowed publisher may send then.
pub(super) const SLOWED_MESSAGES: u32 = 64;

/// Deliveries of a channel that are looked at for one that its client has kept too long, the oldest first.
pub(super) const OVERDUE_LOOKED_AT: usize = 4096;

/// Between two such looks: a part of the timeout, and never longer than RabbitMQ's.
pub(super) const LOOKS_A_TIMEOUT: u64 = 8;
pub(super) const LOOK_LEAST: Duration = Duration::from_millis(50);
pub(super) const LOOK_MOST: Duration = Duration::from_secs(60);

/// Consumers of one channel, each of which takes memory.
pub(super) const CONSUMERS_A_CHANNEL: usize = 65_536;

/// From the first byte to connection.open, as in RabbitMQ.
pub(super) const HANDSHAKE: Duration = Duration::from_secs(10);

/// For the client's close-ok, and for the last bytes to leave.
pub(super) const CLOSING: Duration = Duration::from_secs(5);

/// Between two looks for messages and queues whose time has come: RabbitMQ's clients see no difference to a timer each.
pub(super) const SWEEP: Duration = Duration::from_millis(50);
