//! Every bound of the broker's core, with its reason.

/// Bytes of deliveries that wait in one connection's inbox: enough for a full write, so little that ten thousand slow
/// consumers stay within a gigabyte or two.
pub(super) const INBOX_BYTES: usize = 128 << 10;

/// Deliveries in one inbox: small messages cost more than their bytes.
pub(super) const INBOX_DELIVERIES: usize = 512;

/// What a delivery counts on top of its bytes.
pub(super) const DELIVERY_OVERHEAD: usize = 64;

/// Removed slots that a queue may carry along before they are swept, when they are also the greater part.
pub(super) const DEAD_SLOTS: usize = 1024;

/// Exchanges that one message may pass on its way: a chain of bindings between exchanges, or of alternate exchanges.
pub(super) const EXCHANGE_HOPS: usize = 64;

/// Numbers of queues that are never replicated begin here; the journal never names them.
pub(super) const FIRST_TRANSIENT_QUEUE: u32 = 1 << 31;

/// Ranges of consumed messages whose rows are to go, in one queue: a megabyte or two. Beyond it the queue is written anew.
pub(super) const GONE_RANGES: usize = 32 << 10;

/// What a message takes beside its bytes, and its slot in a queue.
pub(super) const MESSAGE_OVERHEAD: usize = 96;
pub(super) const SLOT_BYTES: usize = 40;

/// What a message takes beside that in a queue whose order is not that of arrival.
pub(super) const ORDER_BYTES: usize = 32;

/// Dead letters that one turn puts where they go. The rest waits for the next one, so that no topology of queues that bury
/// into each other keeps a thread.
pub(super) const DEAD_LETTERS_A_TURN: usize = 512;

/// Messages that one look at a queue drops because their time has come; the next look follows at once.
pub(super) const EXPIRED_A_TURN: usize = 4096;

/// A queue with fewer bytes is never so long that its publishers are slowed, and does not ask.
pub(super) const LOOK_AT_LENGTH_BYTES: usize = 1 << 20;

/// Ids that a queue with `x-message-deduplication` remembers if `x-cache-size` does not say otherwise, and at the most:
/// some seventy megabytes.
pub(super) const UNIQUE_IDS: usize = 10_000;
pub(super) const UNIQUE_IDS_MOST: usize = 1_000_000;

/// Producers of one queue whose numbers are watched: some hundred kilobytes.
pub(super) const PRODUCERS: usize = 4096;

/// `x-delivery-limit` of a quorum queue, as in RabbitMQ 4: a message that no consumer survives comes to an end.
pub(super) const DELIVERIES: u32 = 20;

/// How long the successor of a single active consumer that was cancelled waits for what its predecessor still has, in
/// milliseconds: who cancels and then closes gives it back in order.
pub(super) const HAND_OVER_MS: u64 = 1000;

/// Messages that x-recent-history remembers if `x-recent-history-length` does not say otherwise, as in RabbitMQ's plugin, and
/// at the most; and their bytes: a binding copies them in one turn.
pub(super) const HISTORY_MESSAGES: usize = 20;
pub(super) const HISTORY_MESSAGES_MOST: usize = 10_000;
pub(super) const HISTORY_BYTES: usize = 16 << 20;

/// Points on the ring that each unit of weight has in an exchange of consistent hashing, and the greatest weight.
pub(super) const POINTS_A_WEIGHT: u64 = 100;
pub(super) const WEIGHT_MOST: u32 = 1000;

/// Messages of one run on the shelf, their bytes, and the span of their ids: reading it takes a few milliseconds, and what the
/// queue keeps of it is close to nothing for each message.
pub(super) const RUN_MESSAGES: usize = 4096;
pub(super) const RUN_BYTES: usize = 512 << 10;
pub(super) const RUN_IDS: u64 = 1 << 16;

/// Messages and bytes that are in memory before their consumers come to them: some milliseconds at full speed.
pub(super) const AHEAD_MESSAGES: usize = 8192;
pub(super) const AHEAD_BYTES: usize = 4 << 20;

/// Bytes of an image's queue that stay in memory while it is loaded.
pub(super) const LOADING_BYTES: usize = 16 << 20;

/// Bytes of a lazy queue that stay in memory, and those at which more leave.
pub(super) const LAZY_BYTES: usize = 6 << 20;
