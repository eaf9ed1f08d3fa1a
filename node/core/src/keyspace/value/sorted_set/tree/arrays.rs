//! How do items move within and between the arrays of nodes?

/// Puts an item before the one at `at`, in an array that has room.
#[inline]
pub(super) fn open<T: Copy>(items: &mut [T], len: usize, at: usize, item: T) {
    items.copy_within(at..len, at + 1);
    items[at] = item;
}

/// Moves items from the end of the left array to the start of the right one, or back, until the left has `goal`.
pub(super) fn level<T: Copy>(left: &mut [T], left_len: usize, right: &mut [T], right_len: usize, goal: usize) {
    if let Some(moved) = left_len.checked_sub(goal) {
        right.copy_within(..right_len, moved);
        right[..moved].copy_from_slice(&left[goal..left_len]);
    } else {
        let moved = goal - left_len;
        left[left_len..goal].copy_from_slice(&right[..moved]);
        right.copy_within(moved..right_len, 0);
    }
}
