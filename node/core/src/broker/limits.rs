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
