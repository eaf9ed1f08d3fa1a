//! Every bound of the management API, with its reason.

use std::time::Duration;

/// Connections at the same time: pages of some dozen people, and their tools.
pub(super) const CONNECTIONS: usize = 256;

/// A connection without a byte in either direction is closed after so long: a page asks every few seconds.
pub(super) const IDLE: Duration = Duration::from_secs(75);

/// Bytes of a request's body: an import of some ten thousand definitions, or a message of 16 MiB in base64.
pub(super) const BODY_BYTES: usize = 24 << 20;

/// Requests whose bodies are in memory at the same time: with `BODY_BYTES` two hundred megabytes at the most.
pub(super) const BODIES: usize = 8;

/// How long a body may take to come.
pub(super) const BODY_WAIT: Duration = Duration::from_secs(30);

/// How long a request waits for a hand-over to end.
pub(super) const PERMIT_WAIT: Duration = Duration::from_secs(5);

/// How long a change waits for its commit before the client is told that it is open.
pub(super) const COMMIT_WAIT: Duration = Duration::from_secs(10);

/// How long a replica waits for the master's answer.
pub(super) const FORWARD_WAIT: Duration = Duration::from_secs(30);

/// Bytes of an answer that a replica passes on.
pub(super) const FORWARD_BYTES: usize = 64 << 20;

/// Bytes of an answer's head.
pub(super) const FORWARD_HEAD_BYTES: usize = 64 << 10;

/// Messages that one `get` takes out of a queue.
pub(super) const GET_MESSAGES: u64 = 10_000;

/// Bytes of messages that one `get` answers with.
pub(super) const GET_BYTES: usize = 16 << 20;

/// Items on one page, as in RabbitMQ.
pub(super) const PAGE_SIZE: usize = 500;

/// Queues whose history is kept: 3 KiB each.
pub(super) const QUEUES_WITH_HISTORY: usize = 2000;

/// Bytes of a regular expression, compiled.
pub(super) const PATTERN_BYTES: usize = 1 << 20;

/// Users whose failed logins are counted apart.
pub(super) const SOURCES: usize = 1000;

/// Keys, or elements of a value, on a page of the key browser: by default, and at the most.
pub(super) const KEYS: usize = 100;
pub(super) const MOST_KEYS: usize = 500;

/// Keys that one look of the key browser walks over: a shard is held for as long.
pub(super) const SLICE: usize = 1000;

/// Keys that a request of the key browser looks at, and for how long: a pattern may fit none of millions.
pub(super) const LOOKED_AT: usize = 200_000;
pub(super) const LOOKING: Duration = Duration::from_millis(50);

/// Bytes of a string that a page of it has, and of an element or a key that are shown: with `MOST_KEYS` and two texts each
/// a megabyte.
pub(super) const STRING_BYTES: usize = 64 << 10;
pub(super) const ELEMENT_BYTES: usize = 1 << 10;

/// Fields of an entry, and groups of a stream, that are shown.
pub(super) const STREAM_FIELDS: usize = 32;
pub(super) const STREAM_GROUPS: usize = 100;

/// Elements by which the memory of a key is judged, as in MEMORY USAGE.
pub(super) const MEMORY_SAMPLES: usize = 5;

/// Entries of the slow log that are shown.
pub(super) const SLOW: usize = 128;

/// Streams of the gateway that are listed.
pub(super) const STREAMS: usize = 1000;
