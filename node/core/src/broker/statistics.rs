//! What queues and the broker have done so far, in numbers. Counted under the locks that are held anyway, and once a
//! batch for the whole; a node counts what it did itself, since its start.

use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! statistics {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// Messages so far.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
        pub struct Statistics { $($(#[$doc])* pub $name: u64,)* }

        /// Of the whole broker.
        #[derive(Debug, Default)]
        pub(super) struct Totals { $($name: AtomicU64,)* }

        impl Totals {
            pub(super) fn add(&self, more: &Statistics) {
                $(if more.$name > 0 {
                    self.$name.fetch_add(more.$name, Ordering::Relaxed);
                })*
            }

            pub(super) fn read(&self) -> Statistics {
                Statistics { $($name: self.$name.load(Ordering::Relaxed),)* }
            }
        }
    };
}

statistics! {
    /// Came from clients; of a queue: were put into it.
    published,
    /// Publishers were told that they are taken.
    confirmed,
    /// No queue wanted them, and their publishers got them back.
    returned,
    /// No queue wanted them, and nobody asked for them back.
    dropped,
    /// To consumers that acknowledge.
    delivered,
    /// To consumers that do not.
    delivered_no_ack,
    /// Fetched one by one, to be acknowledged.
    got,
    got_no_ack,
    /// There was none to be fetched.
    got_empty,
    /// Had been delivered before.
    redelivered,
    acknowledged,
    /// Left a queue for a dead letter exchange.
    dead_lettered,
    /// Numbers that producers which count their messages have left out, and messages whose number was not greater than the
    /// one before.
    sequence_gaps,
    sequence_repeats,
}
