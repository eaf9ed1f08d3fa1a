//! Every bound of the edge, with its reason.

use std::time::Duration;

/// Characters of a cluster token: whoever has seen a proof may try tokens at leisure.
pub const LEAST_TOKEN: usize = 16;

/// A name of a node, a sentinel or a service: it goes into every status, log line and metric.
pub const NAME_BYTES: usize = 128;

/// A host name: 253 characters is what DNS has.
pub const HOST_BYTES: usize = 253;

/// How long a client may take for a TLS handshake.
pub const TLS_HANDSHAKE: Duration = Duration::from_secs(10);

/// How long a client of a port that speaks at once may take for its first byte.
pub const FIRST_BYTE: Duration = Duration::from_secs(10);

/// Connections that have come in and were not yet taken over by a server.
pub const ENTERED: usize = 64;

/// Pause after a failed accept, so that a lack of descriptors does not spin.
pub const ACCEPT_PAUSE: Duration = Duration::from_millis(10);

/// Connections that the kernel holds for us before they are accepted.
pub const BACKLOG: i32 = 4096;

/// TCP keepalive of every connection: the first probe after this, as Redis's `tcp-keepalive 300`, three probes in all.
pub const KEEPALIVE: Duration = Duration::from_secs(300);

/// Descriptors that clients never get: the disk's files, peers, listeners, the log.
pub const RESERVED_DESCRIPTORS: u64 = 512;

/// And this part of all of them, where there are many: RocksDB opens more files the more data there is.
pub const RESERVED_PART: u64 = 8;

/// Connections to a peer port: 64 nodes and 9 sentinels with some streams each, and those that are about to be refused.
pub const PEER_CONNECTIONS: usize = 1024;

/// A wrong login waits so long the first time, twice as long each further time, up to the second number.
pub const LOGIN_DELAY: [Duration; 2] = [Duration::from_millis(50), Duration::from_secs(3)];

/// A wrong login is forgotten after so long without another one.
pub const LOGIN_MEMORY: Duration = Duration::from_secs(60);

/// Addresses whose wrong logins are remembered; the one that was quiet for longest makes room.
pub const LOGIN_ADDRESSES: usize = 4096;

/// Pause between two log lines of the same kind that clients can cause.
pub const LOG_AGAIN: Duration = Duration::from_secs(5);

/// Kinds of lines of one place that are told apart: with so many in that time, nobody reads them all anyway.
pub const LOG_KINDS: usize = 32;

/// Log lines that wait for whoever reads them; more are dropped and counted.
pub const LOG_LINES: usize = 8192;

/// How often dropped lines are looked for.
pub const LOG_LOOK: Duration = Duration::from_secs(5);
