//! A log line that others can cause is written once in a while, with how many were left out.
//!
//! ```ignore
//! static REFUSED: Seldom = Seldom::new();
//! if let Some(left_out) = REFUSED.due() {
//!     warn!(%address, left_out, "...");
//! }
//! ```
//!
//! The first line is written at once. Where one place writes lines of several kinds (a port, a reason), `SeldomByKind`
//! lets the first of each through: what clients of one kind do hides nothing of another.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use parking_lot::Mutex;

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
        self.due_at(now())
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

/// Milliseconds since the first look.
fn now() -> u64 {
    static BEGAN: OnceLock<Instant> = OnceLock::new();
    BEGAN.get_or_init(Instant::now).elapsed().as_millis() as u64
}

/// Lines of one place in the code, each limited with those of its kind.
#[derive(Debug)]
pub struct SeldomByKind(Mutex<Vec<Kind>>);

#[derive(Debug)]
struct Kind {
    hash: u64,
    next: u64,
    left_out: u64,
}

impl SeldomByKind {
    #[must_use]
    #[expect(clippy::new_without_default, reason = "it is a static")]
    pub const fn new() -> Self {
        Self(Mutex::new(Vec::new()))
    }

    /// Whether a line of this kind is to be written now; then, how many were not since the last one.
    #[must_use]
    pub fn due(&self, kind: impl Hash) -> Option<u64> {
        let mut hasher = DefaultHasher::new();
        kind.hash(&mut hasher);
        self.due_at(hasher.finish(), now())
    }

    fn due_at(&self, hash: u64, now: u64) -> Option<u64> {
        let after = now + limits::LOG_AGAIN.as_millis() as u64;
        let mut kinds = self.0.lock();
        let place = match kinds.iter().position(|kind| kind.hash == hash) {
            Some(place) => place,
            None if kinds.len() < limits::LOG_KINDS => {
                kinds.push(Kind { hash, next: now, left_out: 0 });
                kinds.len() - 1
            }
            // Too many kinds at a time are as good as one: the oldest makes room, and what it left out is told there.
            None => (0..kinds.len()).min_by_key(|place| kinds[*place].next)?,
        };
        let kind = &mut kinds[place];
        if now >= kind.next {
            let left_out = kind.left_out;
            *kind = Kind { hash, next: after, left_out: 0 };
            return Some(left_out);
        }
        kind.left_out += 1;
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

    #[test]
    fn the_first_line_of_each_kind_comes_at_once() {
        let seldom = SeldomByKind::new();
        let said = [(1, 0), (1, 1), (2, 2), (1, 3), (2, 4), (1, 5000), (2, 5001), (2, 5002)];
        let said: Vec<_> = said.into_iter().filter_map(|(kind, now)| Some((kind, seldom.due_at(kind, now)?))).collect();
        assert_eq!(said, [(1, 0), (2, 0), (1, 2), (2, 2)]);
        assert!(seldom.due("a kind").is_some() && seldom.due("a kind").is_none() && seldom.due("another").is_some());
    }

    #[test]
    fn however_many_kinds_there_are_lines_and_memory_have_a_bound() {
        let seldom = SeldomByKind::new();
        let lines = (0..10_000).filter(|kind| seldom.due_at(*kind, kind / 10).is_some()).count();
        assert_eq!((lines, seldom.0.lock().len()), (limits::LOG_KINDS, limits::LOG_KINDS));
        let said = seldom.due_at(10_001, 60_000).unwrap();
        assert!(said > 0, "what was left out is told");
    }
}
