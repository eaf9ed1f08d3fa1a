//! Pages: a shard's keys in ranges of the fixed hash, the unit in which a checkpoint writes them.
//!
//! ```text
//! position of a key = [ shard | page | ... ]       2^bits pages a shard, of some 8 KiB each
//! ```
//!
//! What has changed since the last checkpoint costs an update nothing: an entry carries the `version` of its last change,
//! and the shard's counter of changes as of the last checkpoint tells old from new. Only what leaves no entry behind is
//! noted when it happens: a deletion marks its page, a flush the whole shard.
//!
//! A large value need not be in its page: it is read in steps, each under the lock for a moment (`take_in_steps`), and lies in
//! rows of its own.
//!
//! **Invariant:** a page that is not among those taken holds exactly what it held when it was taken last.

use super::entry::Entry;
use super::entry_image::{Elsewhere, put_entry, put_reference};
use super::position;
use super::shard::Shard;
use super::snapshot::SnapshotId;
pub use super::tracking::{PageSet, page_of};
use super::value::image::pieces::is_large;
use crate::ids::Offset;

/// log2 of the most pages of a shard: the number of a page has two bytes on disk.
pub const PAGE_BITS_MAX: u32 = 16;

/// Bytes of a page, about.
pub const PAGE_BYTES: u64 = 8 << 10;

/// The pages are divided anew when they are this many times larger or smaller than they should be: far enough from each
/// other that a shard which breathes is not written whole again and again.
const LARGER: u64 = 3;
const SMALLER: u64 = 4;

/// Versions are compared within half of their range. A shard that is a quarter behind is looked at, see `settle`.
const VERSIONS_APART_MAX: u32 = 1 << 30;

/// log2 of the pages that suit a shard of so many bytes.
#[must_use]
pub fn suitable_bits(bytes: u64) -> u32 {
    let pages = (bytes / PAGE_BYTES).max(1);
    // To the nearer power of two, as far as that matters.
    (pages + pages / 2).ilog2().min(PAGE_BITS_MAX)
}

/// Whether a shard of so many bytes is better divided otherwise than into 2^`bits` pages.
#[must_use]
pub fn is_unsuitable(bytes: u64, bits: u32) -> bool {
    let should_be = PAGE_BYTES << bits;
    let too_large = bytes > should_be * LARGER && bits < PAGE_BITS_MAX;
    too_large || bytes < should_be / SMALLER && bits > 0
}

/// How much of a shard is to be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    Changed,
    /// All of it, divided anew.
    Whole,
}

/// Pages of a shard as they were at one moment. Reused from shard to shard: the memory stays.
#[derive(Debug, Default)]
pub struct Taken {
    /// The newest record that is in them.
    pub cut: Offset,
    pub bits: u32,
    pub pages: PageSet,
    /// Keys of the whole shard, a database each.
    pub keys: Vec<usize>,
    /// Entries that were changed since the pages were taken last; all, if all were taken.
    pub changed: usize,
    shard_bits: u32,
    /// Position and end of each entry in `bytes`, which follow on each other.
    entries: Vec<(u64, usize)>,
    bytes: Vec<u8>,
    /// Large values whose entries are not there yet: see `refer`.
    pub large: Vec<LargeValue>,
    /// Whether large values are left to snapshots.
    in_steps: bool,
}

/// A large value that is read in steps.
#[derive(Debug)]
pub struct LargeValue {
    pub database: u8,
    pub key: Vec<u8>,
    pub position: u64,
    /// To be closed. Nothing: it cannot be read in steps after all.
    pub snapshot: Option<SnapshotId>,
}

impl Shard {
    /// Whether anything is to be taken.
    #[inline]
    #[must_use]
    pub fn is_changed(&self) -> bool {
        let tracking = &self.tracking;
        tracking.is_whole || tracking.has_lost || self.last_offset() > tracking.cut
    }

    /// log2 of the pages that were taken last.
    #[must_use]
    pub fn page_bits(&self) -> u32 {
        self.tracking.bits
    }

    /// Takes the pages that have changed since the last time. They count as written from now on, unless `give_back` says
    /// otherwise.
    pub fn take(&mut self, extent: Extent, taken: &mut Taken) {
        taken.in_steps = false;
        self.take_pages(extent, taken);
    }

    /// As `take`, but for large values, of which snapshots are opened: they are as they are now.
    pub fn take_in_steps(&mut self, extent: Extent, taken: &mut Taken) {
        taken.in_steps = true;
        self.take_pages(extent, taken);
        for value in &mut taken.large {
            value.snapshot = self.open_snapshot(value.database, &value.key);
        }
    }

    fn take_pages(&mut self, extent: Extent, taken: &mut Taken) {
        let tracking = &self.tracking;
        taken.clear();
        taken.shard_bits = tracking.shard_bits;
        taken.cut = self.last_offset();
        let is_whole = extent == Extent::Whole
            || tracking.is_whole
            || self.changes.wrapping_sub(tracking.base) > VERSIONS_APART_MAX * 2;
        taken.keys.extend(self.databases().map(|(_, database)| database.len()));
        if is_whole {
            self.each_entry(|_, _, _| true, taken);
            taken.changed = taken.entries.len() + taken.large.len();
            taken.bits = suitable_bits(taken.bytes.len() as u64);
            taken.pages = PageSet::all(taken.bits);
        } else {
            taken.bits = tracking.bits;
            taken.pages = tracking.lost.clone();
            let (shard_bits, bits, base) = (tracking.shard_bits, tracking.bits, tracking.base);
            for (_, database) in self.databases() {
                for entry in database.iter().filter(|entry| is_newer(entry.version(), base)) {
                    taken.pages.insert(page_of(position(entry.key()), shard_bits, bits));
                    taken.changed += 1;
                }
            }
            let pages = std::mem::take(&mut taken.pages);
            if !pages.is_empty() {
                self.each_entry(|_, _, position| pages.contains(page_of(position, shard_bits, bits)), taken);
            }
            taken.pages = pages;
        }
        self.tracking.are_taken(taken.bits, self.changes, taken.cut);
    }

    /// What was taken has not been written.
    pub fn give_back(&mut self, bits: u32, pages: &PageSet) {
        let tracking = &mut self.tracking;
        if tracking.bits == bits && !tracking.is_whole {
            tracking.lost.extend(pages);
            tracking.has_lost = true;
        } else {
            tracking.is_whole = true;
        }
    }

    /// To be called now and then, more often than a shard can be changed 2^30 times: versions that are too far apart can
    /// no longer be told from each other.
    pub fn settle(&mut self) {
        if self.changes.wrapping_sub(self.tracking.base) > VERSIONS_APART_MAX {
            if self.is_changed() {
                self.tracking.is_whole = true;
            } else {
                // Attempts that changed nothing.
                self.tracking.base = self.changes;
            }
        }
    }

    /// What was loaded is what is on disk, up to this cut.
    pub fn loaded(&mut self, bits: u32, cut: Offset) {
        self.changed_at(cut);
        self.tracking.are_taken(bits, self.changes, cut);
    }

    fn each_entry(&self, mut wanted: impl FnMut(u8, Entry<'_>, u64) -> bool, taken: &mut Taken) {
        let mut scratch = Vec::new();
        for (database, table) in self.databases() {
            for entry in table.iter() {
                let position = position(entry.key());
                if !wanted(database, entry, position) {
                } else if taken.in_steps && is_large(entry.value()) {
                    let key = entry.key().to_vec();
                    taken.large.push(LargeValue { database, key, position, snapshot: None });
                } else {
                    put_entry(database, entry, &mut scratch, &mut taken.bytes);
                    taken.entries.push((position, taken.bytes.len()));
                }
            }
        }
    }
}

/// Whether a version came after `base`, both modulo 2^32. An old one may look new after a long time, which costs a page
/// that is written for nothing; a new one never looks old, see `settle`.
#[inline]
fn is_newer(version: u32, base: u32) -> bool {
    (version.wrapping_sub(base) as i32) > 0
}

impl Taken {
    /// Lends each page that was taken with its entries, ascending. One that has none is empty.
    pub fn each_page(&self, mut visit: impl FnMut(usize, &[u8])) {
        let page = |index: usize| page_of(self.entries[index].0, self.shard_bits, self.bits);
        let mut starts = vec![0usize; (1 << self.bits) + 1];
        (0..self.entries.len()).for_each(|index| starts[page(index) + 1] += 1);
        (1..starts.len()).for_each(|page| starts[page] += starts[page - 1]);
        let (mut order, mut next) = (vec![0usize; self.entries.len()], starts.clone());
        for index in 0..self.entries.len() {
            let place = &mut next[page(index)];
            order[*place] = index;
            *place += 1;
        }
        let mut row = Vec::new();
        for page in self.pages.iter() {
            row.clear();
            for index in &order[starts[page]..starts[page + 1]] {
                let start = index.checked_sub(1).map_or(0, |before| self.entries[before].1);
                row.extend_from_slice(&self.bytes[start..self.entries[*index].1]);
            }
            visit(page, &row);
        }
    }

    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// The page of a large value.
    #[must_use]
    pub fn page_of(&self, value: &LargeValue) -> usize {
        page_of(value.position, self.shard_bits, self.bits)
    }

    /// Puts an entry into its page that says where a large value lies.
    pub fn refer(&mut self, value: &LargeValue, place: Elsewhere) {
        put_reference(value.database, &value.key, place, &mut self.bytes);
        self.entries.push((value.position, self.bytes.len()));
    }

    fn clear(&mut self) {
        self.changed = 0;
        self.large.clear();
        self.keys.clear();
        self.entries.clear();
        self.bytes.clear();
        // One shard with a very large value must not decide what is held for ever.
        self.bytes.shrink_to(KEPT_BYTES);
        self.entries.shrink_to(KEPT_BYTES / 64);
    }
}

/// Memory that a `Taken` keeps for the next shard.
const KEPT_BYTES: usize = 4 << 20;

#[cfg(test)]
mod tests;
