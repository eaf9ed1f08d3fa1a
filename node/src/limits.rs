//! Every bound of the node, with its reason.

/// Bytes after which the open block of the journal is sealed: large enough to amortise a gRPC message, small enough to
/// leave at once.
pub const JOURNAL_BLOCK_BYTES: usize = 64 << 10;

/// Bytes of records kept in memory for replicas that were away: some seconds of writes at full speed. A replica behind
/// it needs a full sync.
pub const JOURNAL_MEMORY_BYTES: usize = 128 << 20;

/// log2 of the number of shards. 1024 tables keep each resize of ten million keys under a millisecond.
pub const SHARD_BITS: u32 = 10;

/// Databases of SELECT, as in Redis.
pub const DATABASES: u8 = 16;

/// Bytes of replies after which a batch of pipelined commands stops, so that its replies leave before more are made.
pub const REPLY_BATCH_BYTES: usize = 1 << 20;

/// Bytes that one read from a client may bring; Redis's PROTO_IOBUF_LEN.
pub const READ_BYTES: usize = 16 << 10;

/// `client-query-buffer-limit`: bytes of a request that is not whole yet.
pub const QUERY_BUFFER_BYTES: usize = 1 << 30;

/// `maxclients`.
pub const CLIENTS: usize = 10_000;

/// How long a command waits for a master that has lost its lease or holds for a hand-over. Longer than any failover;
/// then the connection closes and the client asks the sentinels.
pub const AUTHORITY_WAIT: std::time::Duration = std::time::Duration::from_secs(2);

/// Pause after a failed accept, so that a lack of descriptors does not spin.
pub const ACCEPT_PAUSE: std::time::Duration = std::time::Duration::from_millis(10);

/// Cycles of active expiry a second; Redis's hz.
pub const EXPIRY_HZ: u64 = 10;

/// Time of one cycle: a quarter of a tick, as Redis's slow cycle.
pub const EXPIRY_BUDGET: std::time::Duration = std::time::Duration::from_millis(25);

/// Keys that one lock of a shard deletes.
pub const EXPIRY_BATCH: usize = 64;

/// Connections that the kernel holds for us before they are accepted.
pub const LISTEN_BACKLOG: u32 = 4096;

/// Commands of a pipeline that are decoded before the first is executed, so that the memory they need is on its way.
pub const LOOK_AHEAD: usize = 16;
