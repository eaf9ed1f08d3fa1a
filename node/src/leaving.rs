//! What clients are asked for when their node stops.
//!
//! ```text
//! Stay --stops, others serve--> WhenIdle --grace over--> AtOnce       a node of its own goes to AtOnce directly
//! ```
//!
//! | asked | a Redis client's connection closes |
//! |---|---|
//! | `WhenIdle` | when it has said nothing for a while, outside of MULTI and WATCH: libraries survive that by connecting anew |
//! | `AtOnce` | when everything that it has sent is answered |

use std::sync::atomic::{AtomicU8, Ordering};

use tokio::sync::watch;

use crate::clock;
use crate::limits;

/// What clients are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Leave {
    Stay,
    WhenIdle,
    AtOnce,
}

/// What a node's clients are asked for. One a node.
#[derive(Debug)]
pub struct Leaving {
    /// The same as in the channel, for those who look often.
    now: AtomicU8,
    told: watch::Sender<Leave>,
}

impl Default for Leaving {
    fn default() -> Self {
        Self { now: AtomicU8::new(Leave::Stay as u8), told: watch::Sender::new(Leave::Stay) }
    }
}

impl Leaving {
    #[inline]
    #[must_use]
    pub fn now(&self) -> Leave {
        match self.now.load(Ordering::Acquire) {
            0 => Leave::Stay,
            1 => Leave::WhenIdle,
            _ => Leave::AtOnce,
        }
    }

    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<Leave> {
        self.told.subscribe()
    }

    pub(crate) fn ask(&self, leave: Leave) {
        self.now.store(leave as u8, Ordering::Release);
        self.told.send_replace(leave);
    }
}

/// Whether a client that was last active then has said nothing for long enough to be closed.
#[must_use]
pub fn is_idle(last_active: clock::BootNanos, now: clock::BootNanos) -> bool {
    now.millis_since(last_active) >= limits::IDLE_BEFORE_LEAVING.as_millis() as u64
}
