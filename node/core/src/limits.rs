//! Every bound of the core, with its reason.

/// Bytes after which the open block of the journal is sealed: large enough to amortise a gRPC message, small enough to
/// leave at once.
pub const JOURNAL_BLOCK_BYTES: usize = 64 << 10;

/// Bytes that a record may run over a block's end without a new allocation: the allocator's next size.
pub const JOURNAL_BLOCK_SLACK_BYTES: usize = 16 << 10;

/// Bytes of a record beyond which it goes into the journal in parts: with its head a part fits one frame between nodes, and
/// the disk and the stream to a replica are never longer at one of them than at a block.
pub const RECORD_PART_BYTES: usize = 96 << 10;

/// The largest legal record: what a node collects before it can apply anything of it. Twice what a client can send as one
/// command.
pub const RECORD_BYTES: usize = 2 << 30;

/// Bytes that the changes of one transaction may carry: what would make a record larger than a legal one is refused before
/// it is done. The rest is for what stands around them.
pub const TRANSACTION_BYTES: usize = RECORD_BYTES / 16 * 15;

/// Bytes of one message in all of its queues: each queue's part of the record has its own copy.
pub const FAN_OUT_BYTES: usize = RECORD_BYTES / 2;

/// Bytes of records that stay in memory where nobody but the disk reads them: what fits in a core's cache.
pub const JOURNAL_MEMORY_ALONE_BYTES: usize = 1 << 20;

/// Bytes of records that are not on disk yet. Beyond it acknowledgements wait: some seconds of a slow disk.
pub const DISK_BACKLOG_BYTES: usize = 64 << 20;

/// Bytes of records in one batch to the disk.
pub const DISK_TURN_BYTES: usize = 4 << 20;

/// Bytes of records kept in memory for replicas that were away: some seconds of writes at full speed. A replica behind
/// it needs a full sync.
pub const JOURNAL_MEMORY_BYTES: usize = 128 << 20;

/// How many entries ahead a value is asked of the memory when all values are read: about what one core has under way.
pub const VALUES_AHEAD: usize = 8;

/// log2 of the number of shards. 1024 tables keep each resize of ten million keys under a millisecond.
pub const SHARD_BITS: u32 = 10;

/// Clients whose waiting one transaction tries to end. The rest is for others, between which everybody else has his turn.
pub const SERVED_A_TRANSACTION: usize = 1024;

/// Bytes of its record after which a transaction serves nobody more: what is moved from list to list is in it each time.
pub const SERVED_BYTES_A_TRANSACTION: usize = 1 << 20;

/// Elements of a collection, and messages of a queue, that are freed where they were deleted: half a millisecond.
pub const FREED_AT_ONCE: usize = 4096;

/// Elements by which the bytes of what is freed later are judged.
pub const FREED_SAMPLES: usize = 8;

/// Databases of SELECT, as in Redis.
pub const DATABASES: u8 = 16;

/// Ended masterships (and restarts of a copy) of which is known how far they came, for replies that leave late. A
/// hand-over makes three of them.
pub const ENDED_TERMS: usize = 8;

/// Keys of a database that room is made for before they are seen: the number on disk is only a claim.
pub const RESERVED_KEYS: usize = 1 << 22;

/// A holder of memory reports to the node's account when its number has changed by so many bytes: ten thousand holders
/// are wrong by some forty megabytes at the most.
pub const BUDGET_STEP: usize = 4 << 10;

/// Held publishers go on when this part of the limit is free again: not with every message that is consumed.
pub const BUDGET_RELIEF: usize = 10;

/// What has begun when the limit is reached may take this part of it on top. Beyond that its connection is closed.
pub const BUDGET_OVERRUN: usize = 4;

/// The part of the limit that one queue with consumers may take before its publishers are slowed to their pace.
pub const QUEUE_SHARE: usize = 8;

/// Bytes of one queue that never slow a publisher.
pub const QUEUE_AHEAD_BYTES: usize = 64 << 20;

/// Fields of a hash that are removed when it is opened to be written: a transaction that meets more leaves them to the next
/// ones. They are not seen in between.
pub const FIELDS_EXPIRED_AT_ONCE: usize = 1024;

/// Messages begin to leave the memory when queues hold this part of the limit, and go on until they hold so many of so many
/// parts: publishers are held at the limit itself.
pub const PAGING_BEGINS: usize = 2;
pub const PAGING_ENDS: usize = 8;
pub const PAGING_ENDS_OF: usize = 3;
