//! A log line that others can cause is written once in a while, with how many were left out.
//!
//! ```ignore
//! static REFUSED: Seldom = Seldom::new();
//! if let Some(left_out) = REFUSED.due() {
//!     warn!(%address, left_out, "...");
//! }
//! ```

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use crate::limits;

/// One kind of line. One a place in the code.
#[derive(Debug)]
pub struct Seldom {
    /// Milliseconds since the first look at which the next line may be written.
    next: AtomicU64,
    left_out: AtomicU64,
}

impl Seldom {
    #[must_use]
    #[expect(clippy::new_without_default, reason = "it is a static")]
    pub const fn new() -> Self {
        Self { next: AtomicU64::new(0), left_out: AtomicU64::new(0) }
    }

    /// Whether the line is to be written now; then, how many were not since the last one.
    #[must_use]
    pub fn due(&self) -> Option<u64> {
        static BEGAN: OnceLock<Instant> = OnceLock::new();
        self.due_at(BEGAN.get_or_init(Instant::now).elapsed().as_millis() as u64)
    }

    fn due_at(&self, now: u64) -> Option<u64> {
        let next = self.next.load(Ordering::Relaxed);
        let after = now + limits::LOG_AGAIN.as_millis() as u64;
        let is_due =
            now >= next && self.next.compare_exchange(next, after, Ordering::Relaxed, Ordering::Relaxed).is_ok();
        if is_due {
            return Some(self.left_out.swap(0, Ordering::Relaxed));
        }
        self.left_out.fetch_add(1, Ordering::Relaxed);
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_a_while_says_how_many_were_left_out() {
        let seldom = Seldom::new();
        let said: Vec<_> =
            [0, 1, 2, 4999, 5000, 5001, 20_000].map(|now| seldom.due_at(now)).into_iter().flatten().collect();
        assert_eq!(said, [0, 3, 1]);
    }
}
