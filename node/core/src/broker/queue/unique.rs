//! Messages that a queue takes once: the ids of those that came last, within a window of number and time.
//!
//! The window follows from the messages and their times alone, so a replica has the same one: a publisher that sends again
//! after a failover is confirmed, and its message is not there twice.

use std::collections::{HashMap, VecDeque};

use xxhash_rust::xxh3::xxh3_128;

use crate::broker::settings::Once;

#[derive(Debug, Default)]
pub(crate) struct Unique {
    /// Digest of an id -> when it came.
    at: HashMap<u128, u64>,
    /// The same, the oldest first.
    order: VecDeque<(u128, u64)>,
}

/// What stands for an id.
pub(crate) fn digest(id: &[u8]) -> u128 {
    xxh3_128(id)
}

impl Unique {
    /// Whether a message of this id came within the window.
    pub(crate) fn has(&self, id: u128, once: &Once, now: u64) -> bool {
        self.at.get(&id).is_some_and(|at| !once.is_over(*at, now))
    }

    /// A message of this id has come.
    pub(crate) fn note(&mut self, id: u128, at: u64, once: &Once) {
        if self.at.insert(id, at).is_some() {
            self.order.retain(|(other, _)| *other != id);
        }
        self.order.push_back((id, at));
        while self.order.len() > once.size || self.order.front().is_some_and(|(_, first)| once.is_over(*first, at)) {
            if let Some((oldest, _)) = self.order.pop_front() {
                self.at.remove(&oldest);
            }
        }
    }

    /// All ids with their times, the oldest first.
    pub(crate) fn all(&self) -> Vec<(u128, u64)> {
        self.order.iter().copied().collect()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.order.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_window_ends_by_number_and_by_time() {
        let once = Once { size: 2, milliseconds: Some(100) };
        let mut unique = Unique::default();
        for (id, at) in [(1, 10), (2, 20), (3, 30)] {
            unique.note(id, at, &once);
        }
        assert_eq!([1, 2, 3].map(|id| unique.has(id, &once, 110)), [false, true, true]);
        assert_eq!([2, 3].map(|id| unique.has(id, &once, 125)), [false, true]);
        unique.note(4, 135, &once);
        assert_eq!(unique.all(), [(4, 135)]);
    }
}
