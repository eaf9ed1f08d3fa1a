//! In which order does a scan visit a collection? By a fixed 64-bit hash of its elements, its *position*.
//!
//! ```text
//! cursor 0 ---> positions >= 0, the `count` smallest ---> cursor = last position + 1 ---> ... ---> cursor 0: the end
//! ```
//!
//! The cursor says all there is to say, so the server keeps nothing between two calls, and a scan goes on across
//! resizes, restarts and a failover. It is the upper 53 bits of a position, as that of SCAN (`keyspace/scan.rs`), because clients
//! keep cursors as signed or floating numbers; entries whose positions differ below stay together. What is there from the first call to the last is returned; what is there all the
//! time and whose collection stays above `WHOLE_MAX` is returned once.

use super::hashing::scan_position;

/// Collections up to this size are returned in one piece, as Redis returns a listpack.
pub const WHOLE_MAX: usize = 128;

/// Bits of a position that a cursor does not say.
pub(super) const UNSAID_BITS: u32 = 11;

/// Where an element stands in the order of a scan, as far as cursors say it.
#[must_use]
pub fn said_position(element: &[u8]) -> u64 {
    scan_position(element) >> UNSAID_BITS
}

/// A page in the making: the entries that a scan has met, of which the first `count` positions will be kept.
pub(super) struct Page<T> {
    /// The first position of the page.
    first: u64,
    count: usize,
    /// Positions without what a cursor does not say.
    met: Vec<(u64, T)>,
    /// The first position that was not looked at, if there is one.
    rest: Option<u64>,
}

impl<T> Page<T> {
    pub(super) fn new(cursor: u64, count: usize) -> Page<T> {
        // A page makes progress: a count of zero is one.
        Page { first: cursor << UNSAID_BITS, count: count.max(1), met: Vec::new(), rest: None }
    }

    /// The first position of the page.
    pub(super) fn first(&self) -> u64 {
        self.first
    }

    #[inline]
    pub(super) fn offer(&mut self, position: u64, entry: T) {
        if position >= self.first {
            self.met.push((position >> UNSAID_BITS << UNSAID_BITS, entry));
        }
    }

    pub(super) fn is_full(&self) -> bool {
        self.met.len() >= self.count
    }

    /// Says from which position on nothing has been offered.
    pub(super) fn close(&mut self, rest: Option<u64>) {
        self.rest = rest;
    }

    /// The next cursor and the entries in the order of their positions; entries of equal position stay together.
    pub(super) fn finish(mut self) -> (u64, Vec<T>) {
        let mut end = self.met.len();
        let mut next = self.rest.map_or(0, |rest| rest.div_ceil(1 << UNSAID_BITS));
        if end > self.count {
            // Only the part that is returned has to be in order.
            let last = self.met.select_nth_unstable_by_key(self.count - 1, |(position, _)| *position).1.0;
            let (kept, beyond) = self.met.split_at_mut(self.count);
            kept.sort_unstable_by_key(|(position, _)| *position);
            end = self.count;
            for index in 0..beyond.len() {
                if beyond[index].0 == last {
                    beyond.swap(index, end - self.count);
                    end += 1;
                }
            }
            if end < self.met.len() {
                // What is left has a greater position, so the sum does not overflow.
                next = (last >> UNSAID_BITS) + 1;
            }
        } else {
            self.met.sort_unstable_by_key(|(position, _)| *position);
        }
        self.met.truncate(end);
        (next, self.met.into_iter().map(|(_, entry)| entry).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(positions: &[u64], cursor: u64, count: usize, rest: Option<u64>) -> (u64, Vec<u64>) {
        let mut page = Page::new(cursor, count);
        // With something that no cursor says.
        positions.iter().for_each(|p| page.offer((*p << UNSAID_BITS) + 7, p));
        page.close(rest.map(|rest| rest << UNSAID_BITS));
        let (next, items) = page.finish();
        (next, items.into_iter().copied().collect())
    }

    #[test]
    fn a_page_is_the_smallest_positions_from_the_cursor_on() {
        assert_eq!(page(&[9, 3, 7, 1, 5], 2, 2, None), (6, vec![3, 5]));
        assert_eq!(page(&[9, 3, 7, 1, 5], 6, 2, None), (0, vec![7, 9]));
        assert_eq!(page(&[9, 3, 7, 1, 5], 10, 2, None), (0, vec![]));
        assert_eq!(page(&[4, 3, 5], 4, 2, None), (0, vec![4, 5]), "the cursor's own position belongs to the page");
    }

    #[test]
    fn equal_positions_are_never_parted() {
        assert_eq!(page(&[8, 4, 4, 9, 4, 4], 0, 2, None), (5, vec![4, 4, 4, 4]));
        assert_eq!(page(&[4, 4, 4], 0, 1, None), (0, vec![4, 4, 4]));
    }

    #[test]
    fn the_greatest_position_ends_a_scan() {
        let greatest = u64::MAX >> UNSAID_BITS;
        assert_eq!(page(&[greatest, greatest, 1], 2, 1, None), (0, vec![greatest, greatest]));
        assert_eq!(page(&[1, greatest], 0, 1, None), (2, vec![1]));
    }

    #[test]
    fn a_page_goes_on_where_nothing_was_offered() {
        assert_eq!(page(&[3, 1], 0, 5, Some(100)), (100, vec![1, 3]));
        assert_eq!(page(&[3, 1], 0, 1, Some(100)), (2, vec![1]));
        assert_eq!(page(&[3, 1], 0, 2, Some(100)), (100, vec![1, 3]));
        assert_eq!(page(&[3, 3], 0, 1, Some(100)), (100, vec![3, 3]));
    }

    #[test]
    fn entries_that_no_cursor_tells_apart_are_never_parted() {
        let mut page = Page::new(0, 1);
        for position in [1 << UNSAID_BITS, 5, 6] {
            page.offer(position, position);
        }
        page.close(None);
        let (next, mut found) = page.finish();
        found.sort_unstable();
        assert_eq!((next, found), (1, vec![5, 6]));
    }

    #[test]
    fn a_count_of_zero_makes_progress() {
        assert_eq!(page(&[3, 1], 0, 0, None), (2, vec![1]));
    }
}
