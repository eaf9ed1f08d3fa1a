//! A bucket of a table's index: one cache line with the places of up to twelve entries.
//!
//! ```text
//! [ tag u8 x 12 (0 = empty) | passed u8 | 3 spare | handle u32 x 12 ]       64 bytes
//! ```
//!
//! `passed` counts the entries whose home this bucket is, or lies before, and that had to go further. With none a search
//! ends here. 255 is not counted down: so many pass only where hashes are poor.

use super::arena::Handle;

pub(super) const SLOTS: usize = 12;
/// The byte behind the tags.
const PASSED: usize = SLOTS;

#[derive(Debug, Clone, Copy, Default)]
#[repr(C, align(64))]
pub(super) struct Bucket {
    bytes: [u8; 16],
    handles: [Handle; SLOTS],
}

/// The slots of a bucket that match, from the first to the last.
#[derive(Debug, Clone, Copy)]
pub(super) struct Matches(u32);

impl Iterator for Matches {
    type Item = usize;

    #[inline]
    fn next(&mut self) -> Option<usize> {
        if self.0 == 0 {
            return None;
        }
        let slot = self.0.trailing_zeros();
        self.0 &= self.0 - 1;
        Some(slot as usize)
    }
}

/// What a bucket keeps of a hash: eight bits that the choice of the bucket does not use.
#[inline]
pub(super) fn tag_of(hash: u64) -> u8 {
    (hash as u8).max(1)
}

impl Bucket {
    /// Slots with this tag.
    #[inline]
    pub(super) fn matches(&self, tag: u8) -> Matches {
        Matches(equal(&self.bytes, tag) & ((1 << SLOTS) - 1))
    }

    /// Slots with an entry.
    #[inline]
    pub(super) fn filled(&self) -> Matches {
        Matches(!equal(&self.bytes, 0) & ((1 << SLOTS) - 1))
    }

    /// The first slot without an entry.
    #[inline]
    pub(super) fn vacancy(&self) -> Option<usize> {
        self.matches(0).next()
    }

    #[inline]
    pub(super) fn handle(&self, slot: usize) -> Handle {
        self.handles[slot]
    }

    #[inline]
    pub(super) fn is_filled(&self, slot: usize) -> bool {
        self.bytes[slot] != 0
    }

    #[inline]
    pub(super) fn set(&mut self, slot: usize, tag: u8, handle: Handle) {
        self.bytes[slot] = tag;
        self.handles[slot] = handle;
    }

    /// The entry of a slot has moved.
    #[inline]
    pub(super) fn set_handle(&mut self, slot: usize, handle: Handle) {
        self.handles[slot] = handle;
    }

    #[inline]
    pub(super) fn clear(&mut self, slot: usize) {
        self.bytes[slot] = 0;
    }

    /// Whether entries lie further on that might have lain here.
    #[inline]
    pub(super) fn is_passed(&self) -> bool {
        self.bytes[PASSED] != 0
    }

    pub(super) fn pass(&mut self) {
        self.bytes[PASSED] = self.bytes[PASSED].saturating_add(1);
    }

    pub(super) fn unpass(&mut self) {
        if self.bytes[PASSED] != u8::MAX {
            self.bytes[PASSED] -= 1;
        }
    }

    #[cfg(test)]
    pub(super) fn passed(&self) -> u8 {
        self.bytes[PASSED]
    }
}

/// A bit for each byte that is `tag`.
#[cfg(target_arch = "x86_64")]
#[inline]
fn equal(bytes: &[u8; 16], tag: u8) -> u32 {
    use std::arch::x86_64::{_mm_cmpeq_epi8, _mm_movemask_epi8, _mm_set_epi64x, _mm_set1_epi8};
    let all = u128::from_le_bytes(*bytes);
    // SAFETY: the functions need SSE2, which is part of x86-64.
    unsafe {
        let bytes = _mm_set_epi64x((all >> 64) as i64, all as i64);
        _mm_movemask_epi8(_mm_cmpeq_epi8(bytes, _mm_set1_epi8(tag as i8))) as u32
    }
}

/// A bit for each byte that is `tag`.
#[cfg(not(target_arch = "x86_64"))]
#[inline]
fn equal(bytes: &[u8; 16], tag: u8) -> u32 {
    equal_portable(bytes, tag)
}

#[cfg(any(test, not(target_arch = "x86_64")))]
fn equal_portable(bytes: &[u8; 16], tag: u8) -> u32 {
    bytes.iter().rev().fold(0, |bits, byte| bits << 1 | u32::from(*byte == tag))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_is_one_cache_line() {
        assert_eq!((size_of::<Bucket>(), align_of::<Bucket>()), (64, 64));
    }

    #[test]
    fn both_ways_of_comparing_agree() {
        for round in 0..1_000u64 {
            let bytes: [u8; 16] = std::array::from_fn(|index| (round >> (index % 7)) as u8 & 3);
            (0..4).for_each(|tag| assert_eq!(equal(&bytes, tag), equal_portable(&bytes, tag)));
        }
    }
}
