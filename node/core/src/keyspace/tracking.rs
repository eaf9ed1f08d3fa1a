//! What a shard knows about its last checkpoint: which of its pages have changed since.

use super::position;
use crate::ids::Offset;

/// A set of pages of one shard.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PageSet {
    words: Vec<u64>,
}

impl PageSet {
    /// The empty set, with room for 2^`bits` pages.
    #[must_use]
    pub fn none(bits: u32) -> Self {
        Self { words: vec![0; (1usize << bits).div_ceil(64)] }
    }

    #[must_use]
    pub fn all(bits: u32) -> Self {
        let mut set = Self::none(bits);
        (0..1usize << bits).for_each(|page| set.insert(page));
        set
    }

    #[inline]
    pub fn insert(&mut self, page: usize) {
        self.words[page / 64] |= 1 << (page % 64);
    }

    #[inline]
    #[must_use]
    pub fn contains(&self, page: usize) -> bool {
        self.words[page / 64] >> (page % 64) & 1 == 1
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.words.iter().all(|word| *word == 0)
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.words.iter().map(|word| word.count_ones() as usize).sum()
    }

    pub(super) fn extend(&mut self, other: &Self) {
        self.words.iter_mut().zip(&other.words).for_each(|(word, more)| *word |= more);
    }

    pub fn iter(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.words.len() * 64).filter(|page| self.contains(*page))
    }
}

/// What a shard knows about its last checkpoint.
#[derive(Debug)]
pub(super) struct Tracking {
    pub(super) shard_bits: u32,
    /// log2 of the pages that were taken last.
    pub(super) bits: u32,
    /// The shard's `changes` when they were taken.
    pub(super) base: u32,
    /// The newest record that they hold.
    pub(super) cut: Offset,
    /// Pages that have lost a key since, or that were taken and not written.
    pub(super) lost: PageSet,
    pub(super) has_lost: bool,
    /// Any page may have changed.
    pub(super) is_whole: bool,
}

impl Tracking {
    pub(super) fn new(shard_bits: u32) -> Self {
        let (lost, cut) = (PageSet::none(0), Offset::ZERO);
        Self { shard_bits, bits: 0, base: 0, cut, lost, has_lost: false, is_whole: true }
    }

    /// A key is gone.
    #[inline]
    pub(super) fn lost(&mut self, key: &[u8]) {
        if !self.is_whole {
            self.lost.insert(page_of(position(key), self.shard_bits, self.bits));
            self.has_lost = true;
        }
    }

    /// Keys are gone, and nobody says which.
    pub(super) fn lost_any(&mut self) {
        self.is_whole = true;
    }

    /// The pages are on disk as they are here now.
    pub(super) fn are_taken(&mut self, bits: u32, changes: u32, cut: Offset) {
        let shard_bits = self.shard_bits;
        let lost = PageSet::none(bits);
        *self = Self { shard_bits, bits, base: changes, cut, lost, has_lost: false, is_whole: false };
    }
}

/// The page of a position: its bits behind those of the shard.
#[inline]
#[must_use]
pub fn page_of(position: u64, shard_bits: u32, bits: u32) -> usize {
    // In two steps, for no bits at all.
    (position << shard_bits >> 1 >> (63 - bits)) as usize
}
