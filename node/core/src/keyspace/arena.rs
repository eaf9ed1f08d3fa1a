//! The memory of one table: chunks that are tiled by entries and free runs, in units of 8 bytes.
//!
//! ```text
//! handle   chunk << 10 | unit
//! chunk    [ entry ][ entry ][ free run: next | units, tag 0 ][ entry ] ... [ not used yet ]       8 KiB
//! ```
//!
//! A run that is freed goes to the list of its exact size. What those cannot reuse is taken out when the table compacts.
//!
//! **Invariants:** every chunk is tiled by entries and free runs up to its end, the last one up to `used`. `dead` is the sum of
//! the free runs. A handle that a table keeps is the start of an entry: the arena gives one out with each entry that it
//! writes, and the table forgets it when it frees the entry. Entries move under `&mut` only, so whoever borrows the arena
//! may read them.

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error, realloc};
use std::ptr::NonNull;

use super::collection::Boxed;
use super::entry::{About, Entry, Raw};
use super::layout::{ENTRY_BYTES_MAX, EXPIRY_BYTES, FREE};
use super::payload::{New, Payload};
use super::value::space::Room;
use crate::prefetch;

const UNIT: usize = 8;
/// log2 of the units of a full chunk.
const UNIT_BITS: u32 = 10;
const CHUNK_UNITS: u32 = 1 << UNIT_BITS;
/// Bytes of a full chunk: a size that the allocator gives out without loss.
const CHUNK_BYTES: usize = UNIT << UNIT_BITS;
/// Bytes that an arena begins with.
const FIRST_BYTES: usize = 128;
/// Units of the longest entry.
const RUN_UNITS_MAX: usize = ENTRY_BYTES_MAX / UNIT;
/// The end of a list of free runs.
const NONE: u32 = u32::MAX;
/// How far ahead of a walk the memory is asked for.
const WALK_AHEAD_BYTES: usize = 640;
/// The rest of a free run is worth keeping if an entry fits in: a short key, a number.
const REST_UNITS_MIN: u32 = 4;

/// Where an entry lies. Only the arena makes them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Handle(u32);

#[derive(Debug, Default)]
pub(super) struct Arena {
    chunks: Vec<NonNull<u8>>,
    /// Units of the last chunk: in use, and there.
    used: u32,
    limit: u32,
    /// Units in free runs.
    dead: u32,
    /// Which lists of free runs are not empty: bit n for n + 1 units.
    lists: u128,
    /// The first run of each list that is not empty, in their order.
    heads: Vec<u32>,
}

// SAFETY: the chunks belong to the arena alone, and so does what its entries own; none of it is bound to a thread.
unsafe impl Send for Arena {}
// SAFETY: with a shared borrow entries are read only, but for their access bits, which are atomic.
unsafe impl Sync for Arena {}

#[inline]
fn units_of(bytes: usize) -> u32 {
    bytes.div_ceil(UNIT) as u32
}

fn layout(units: u32) -> Layout {
    Layout::from_size_align(units as usize * UNIT, 64).expect("a chunk is small, and 64 a power of two")
}

impl Arena {
    #[inline]
    fn raw(&self, at: u32) -> Raw {
        let chunk = self.chunks[(at >> UNIT_BITS) as usize];
        // SAFETY: handles and free runs lie within the chunk that they name.
        Raw(unsafe { chunk.add((at & (CHUNK_UNITS - 1)) as usize * UNIT) })
    }

    #[inline]
    pub(super) fn entry(&self, handle: Handle) -> Entry<'_> {
        // SAFETY: a handle is the start of an entry, which stays where it is while the arena is borrowed.
        unsafe { Entry::new(self.raw(handle.0)) }
    }

    /// Bytes in use by entries, rounded up to units.
    pub(super) fn live_bytes(&self) -> usize {
        (self.all_units() - self.dead) as usize * UNIT
    }

    /// Bytes of free runs.
    pub(super) fn dead_bytes(&self) -> usize {
        self.dead as usize * UNIT
    }

    /// Bytes that the arena has of the allocator.
    pub(super) fn bytes(&self) -> usize {
        self.chunks.len().saturating_sub(1) * CHUNK_BYTES
            + self.limit as usize * UNIT
            + self.chunks.capacity() * size_of::<NonNull<u8>>()
            + self.heads.capacity() * size_of::<u32>()
    }

    fn all_units(&self) -> u32 {
        self.chunks.len().saturating_sub(1) as u32 * CHUNK_UNITS + self.used
    }

    /// Writes a new entry.
    #[inline]
    pub(super) fn add(&mut self, about: About, key: &[u8], payload: Payload<'_>) -> Handle {
        let units = units_of(payload.entry_bytes(key.len(), about.expire_at != 0));
        let at = self.alloc(units);
        // SAFETY: the run has room for the entry and nobody borrows it.
        unsafe { self.raw(at).write(about, key, payload) };
        Handle(at)
    }

    /// Writes another value over that of an entry, which keeps its key and its use. Says where the entry lies now.
    #[inline]
    pub(super) fn replace(&mut self, handle: Handle, version: u32, expire_at: u64, key: &[u8], new: New<'_>) -> Handle {
        let payload = Payload::new(new, key.len());
        let raw = self.raw(handle.0);
        // SAFETY: `raw` is an entry that nobody borrows. Its value is dropped once: either the new one is written over it, or
        // its run is freed, with the key, of which `add` or `write` makes another one.
        unsafe {
            raw.drop_value();
            let entry = Entry::new(raw);
            let payload = if entry.expire_at().map_or(0, |at| at.0) == expire_at {
                match raw.overwrite(version, payload) {
                    Ok(()) => return handle,
                    Err(payload) => payload,
                }
            } else {
                payload
            };
            let access = entry.access();
            let old = units_of(raw.bytes());
            raw.drop_key();
            let about = About { version, access, expire_at };
            let units = units_of(payload.entry_bytes(key.len(), expire_at != 0));
            if units > old {
                self.release(handle.0, old);
                // The run that is free now is too short for it.
                return self.add(about, key, payload);
            }
            raw.write(about, key, payload);
            if units < old {
                self.release(handle.0 + units, old - units);
            }
        }
        handle
    }

    /// Changes when an entry expires (0: never). Says where it lies now.
    pub(super) fn set_expiry(&mut self, handle: Handle, expire_at: u64) -> Handle {
        let raw = self.raw(handle.0);
        // SAFETY: `raw` is an entry that nobody borrows. What it owns moves to the new run, and the old run is freed.
        unsafe {
            let entry = Entry::new(raw);
            if entry.expire_at().is_some() == (expire_at != 0) {
                if expire_at != 0 {
                    raw.move_expiry(expire_at);
                }
                return handle;
            }
            let bytes = raw.bytes();
            let (old, new) = if expire_at != 0 { (bytes, bytes + EXPIRY_BYTES) } else { (bytes, bytes - EXPIRY_BYTES) };
            let at = self.alloc(units_of(new));
            // The last chunk may have moved.
            self.raw(at).rewrite(self.raw(handle.0), expire_at);
            self.release(handle.0, units_of(old));
            Handle(at)
        }
    }

    pub(super) fn set_version(&mut self, handle: Handle, version: u32) {
        // SAFETY: an entry that nobody borrows.
        unsafe { self.raw(handle.0).set_version(version) }
    }

    /// The kind of an entry's collection, if it is packed.
    #[inline]
    pub(super) fn packed_kind(&self, handle: Handle) -> Option<u8> {
        // SAFETY: an entry.
        unsafe { self.raw(handle.0).packed_kind() }
    }

    /// Takes the bytes of a packed collection out, to be changed and put back by `replace`; into `scratch` if they lie in the entry.
    /// Says how long the entry's value is.
    #[inline]
    pub(super) fn take_packed(&mut self, handle: Handle, scratch: Vec<u8>) -> (Vec<u8>, usize) {
        let raw = self.raw(handle.0);
        // SAFETY: an entry that nobody borrows.
        unsafe { (raw.take_packed(scratch), raw.value_bytes()) }
    }

    /// Lets a collection that is packed in its entry be changed where it lies.
    #[inline]
    pub(super) fn change_packed<R>(
        &mut self,
        handle: Handle,
        change: impl FnOnce(u8, &mut Room<'_>) -> Option<R>,
    ) -> Option<R> {
        // SAFETY: an entry that nobody borrows.
        unsafe { self.raw(handle.0).change_packed(change) }
    }

    /// The collection of an entry, to be changed, unless it is packed.
    #[inline]
    pub(super) fn collection(&mut self, handle: Handle) -> Option<Boxed<'_>> {
        // SAFETY: an entry that nobody else borrows as long as the collection lives.
        unsafe { self.raw(handle.0).collection() }
    }

    /// Takes the text of an entry out, to be changed and put back by `replace`.
    pub(super) fn take_text(&mut self, handle: Handle) -> Option<Vec<u8>> {
        // SAFETY: an entry that nobody borrows.
        unsafe { self.raw(handle.0).take_text() }
    }

    /// Frees an entry and what it owns.
    pub(super) fn remove(&mut self, handle: Handle) {
        let raw = self.raw(handle.0);
        // SAFETY: an entry that nobody borrows; its handle is not used any more.
        unsafe {
            let units = units_of(raw.bytes());
            raw.drop_value();
            raw.drop_key();
            self.release(handle.0, units);
        }
    }

    /// All entries in the order of the memory.
    pub(super) fn iter(&self) -> Iter<'_> {
        Iter { arena: self, chunk: 0, unit: 0 }
    }

    /// Moves all entries to new chunks, side by side; each old chunk is given back as soon as it is empty.
    pub(super) fn compact(&mut self, mut moved: impl FnMut(Handle, Entry<'_>)) {
        let mut old = std::mem::take(self);
        for index in 0..old.chunks.len() {
            old.move_chunk(index, |raw, units| {
                let handle = self.take_run(raw, units);
                moved(handle, self.entry(handle));
            });
        }
        old.chunks.clear();
        self.trim();
    }

    /// Gives back what the last chunk has too much.
    fn trim(&mut self) {
        // In steps of the allocator's own.
        let needed = (self.used as usize * UNIT).next_multiple_of(FIRST_BYTES) / UNIT;
        if (needed as u32) < self.limit && self.limit - (needed as u32) > self.limit / 8 {
            self.resize_last(needed as u32);
        }
    }

    /// Visits the entries of a chunk, which are moved by that, and gives it back.
    fn move_chunk(&self, index: usize, mut visit: impl FnMut(Raw, u32)) {
        let mut unit = 0;
        while unit < self.end_of(index) {
            let (raw, is_free, units) = self.run(index, unit);
            if !is_free {
                visit(raw, units);
            }
            unit += units;
        }
        self.give_back(index);
    }

    /// Takes an entry of another arena in, which forgets it.
    fn take_run(&mut self, from: Raw, units: u32) -> Handle {
        let at = self.alloc(units);
        // SAFETY: a new run of as many units. The old one is forgotten with its chunk, so that what the entry owns is owned once.
        unsafe { self.raw(at).copy_from(from, units as usize * UNIT) };
        Handle(at)
    }

    /// Parts the entries: those that `goes` is true of move to the arena that is returned.
    pub(super) fn divide(&mut self, mut goes: impl FnMut(Entry<'_>) -> bool) -> Self {
        let (mut old, mut other) = (std::mem::take(self), Self::default());
        for index in 0..old.chunks.len() {
            old.move_chunk(index, |raw, units| {
                // SAFETY: an entry, which is not moved yet.
                let goes = goes(unsafe { Entry::new(raw) });
                if goes {
                    other.take_run(raw, units)
                } else {
                    self.take_run(raw, units)
                };
            });
        }
        old.chunks.clear();
        other
    }

    /// Takes the entries of another arena in.
    pub(super) fn absorb(&mut self, other: &mut Self) {
        let mut other = std::mem::take(other);
        for index in 0..other.chunks.len() {
            other.move_chunk(index, |raw, units| _ = self.take_run(raw, units));
        }
        other.chunks.clear();
    }

    /// Asks the memory for an entry that is `typical` bytes long.
    #[inline]
    pub(super) fn prefetch(&self, handle: Handle, typical: usize) {
        let address = self.entry(handle).address();
        prefetch::address(address);
        // Processors drop requests when too many are under way: only a line that is needed is asked for.
        if address.addr() % 64 + typical > 64 {
            prefetch::address(address.wrapping_add(64));
        }
    }

    #[inline]
    fn alloc(&mut self, units: u32) -> u32 {
        debug_assert!(units > 0 && units as usize <= RUN_UNITS_MAX);
        if self.lists >> (units - 1) != 0
            && let Some(at) = self.reuse(units)
        {
            return at;
        }
        if self.used + units > self.limit {
            self.grow(units);
        }
        let at = (self.chunks.len() as u32 - 1) << UNIT_BITS | self.used;
        self.used += units;
        at
    }

    /// A free run of exactly so many units, or of a longer one whose rest is worth something.
    fn reuse(&mut self, units: u32) -> Option<u32> {
        let length = if self.lists >> (units - 1) & 1 != 0 {
            units
        } else {
            let longer = self.lists.checked_shr(units + REST_UNITS_MIN - 1).unwrap_or(0);
            if longer == 0 {
                return None;
            }
            units + REST_UNITS_MIN + longer.trailing_zeros()
        };
        let list = self.list(length);
        let at = self.heads[list];
        // SAFETY: lists hold free runs.
        let (_, next) = unsafe { self.raw(at).free() };
        if next == NONE {
            self.heads.remove(list);
            self.lists &= !(1 << (length - 1));
        } else {
            self.heads[list] = next;
        }
        self.dead -= length;
        if length > units {
            self.release(at + units, length - units);
        }
        Some(at)
    }

    /// Which of the heads is that of the list for so many units: there is one for each bit before.
    #[inline]
    fn list(&self, units: u32) -> usize {
        (self.lists & ((1 << (units - 1)) - 1)).count_ones() as usize
    }

    /// Makes a run a free one.
    #[inline]
    fn release(&mut self, at: u32, units: u32) {
        let list = self.list(units);
        let next = if self.lists >> (units - 1) & 1 == 0 {
            self.heads.insert(list, at);
            self.lists |= 1 << (units - 1);
            NONE
        } else {
            std::mem::replace(&mut self.heads[list], at)
        };
        self.dead += units;
        // SAFETY: nobody uses the run any more.
        unsafe { self.raw(at).set_free(next, units) };
    }

    /// Makes room for a run behind `used`: the last chunk grows (it moves, handles stay) up to its full size; then the next
    /// one begins, as small as the arena is.
    #[cold]
    fn grow(&mut self, units: u32) {
        if self.used + units > CHUNK_UNITS && self.limit < CHUNK_UNITS {
            self.resize_last(CHUNK_UNITS);
        }
        if self.limit == CHUNK_UNITS {
            self.close_last();
        }
        if self.chunks.is_empty() || self.limit == CHUNK_UNITS {
            if self.chunks.len() == self.chunks.capacity() {
                self.chunks.reserve_exact((self.chunks.len() / 4).max(1));
            }
            let all = self.chunks.len() as u32 * CHUNK_UNITS;
            assert!(self.chunks.len() < (u32::MAX >> UNIT_BITS) as usize, "a table has fewer than 2^22 chunks");
            let first = (all / 16).next_power_of_two().clamp((FIRST_BYTES / UNIT) as u32, CHUNK_UNITS);
            self.chunks.push(allocate(first));
            (self.used, self.limit) = (0, first);
        }
        while self.used + units > self.limit {
            // Four steps to twice as much, as the allocator's size classes.
            let step = (1 << self.limit.ilog2()) / 4;
            self.resize_last((self.limit + step).min(CHUNK_UNITS));
        }
    }

    /// Gives the last chunk another size, no smaller than what is used of it.
    fn resize_last(&mut self, units: u32) {
        let Some(last) = self.chunks.last_mut() else { return };
        // SAFETY: the chunk was allocated with the layout that `limit` says; nobody borrows an entry.
        let grown = unsafe { realloc(last.as_ptr(), layout(self.limit), units as usize * UNIT) };
        *last = NonNull::new(grown).unwrap_or_else(|| handle_alloc_error(layout(units)));
        self.limit = units;
    }

    /// What is left of the last chunk becomes free runs.
    fn close_last(&mut self) {
        let chunk = (self.chunks.len() as u32 - 1) << UNIT_BITS;
        while self.used < self.limit {
            let units = (self.limit - self.used).min(RUN_UNITS_MAX as u32);
            self.release(chunk | self.used, units);
            self.used += units;
        }
    }

    /// Units of a chunk that are tiled.
    #[inline]
    fn end_of(&self, chunk: usize) -> u32 {
        if chunk + 1 == self.chunks.len() { self.used } else { CHUNK_UNITS }
    }

    /// The run at a place, whether it is free, and its units.
    #[inline]
    fn run(&self, chunk: usize, unit: u32) -> (Raw, bool, u32) {
        let raw = self.raw((chunk as u32) << UNIT_BITS | unit);
        prefetch::address(raw.0.as_ptr().wrapping_add(WALK_AHEAD_BYTES));
        // SAFETY: callers begin at a chunk's start and go on by the units of each run.
        unsafe {
            match raw.tag() {
                FREE => (raw, true, raw.free().0),
                _ => (raw, false, units_of(raw.bytes())),
            }
        }
    }

    fn give_back(&self, chunk: usize) {
        let units = if chunk + 1 == self.chunks.len() { self.limit } else { CHUNK_UNITS };
        // SAFETY: allocated with this layout, and forgotten by the caller.
        unsafe { dealloc(self.chunks[chunk].as_ptr(), layout(units)) };
    }

    /// Checks that chunks are tiled, and that lists hold what is free. Says how many entries there are.
    #[cfg(test)]
    pub(super) fn check(&self) -> usize {
        let (mut entries, mut free) = (0, std::collections::BTreeMap::new());
        for chunk in 0..self.chunks.len() {
            let mut unit = 0;
            while unit < self.end_of(chunk) {
                let (_, is_free, units) = self.run(chunk, unit);
                assert!(units > 0);
                if is_free {
                    free.insert((chunk as u32) << UNIT_BITS | unit, units);
                }
                entries += usize::from(!is_free);
                unit += units;
            }
            assert_eq!(unit, self.end_of(chunk), "a chunk is tiled");
        }
        assert_eq!(free.values().sum::<u32>(), self.dead, "the dead units are those of the free runs");
        for length in 1..=RUN_UNITS_MAX as u32 {
            let is_filled = self.lists >> (length - 1) & 1 == 1;
            let mut at = if is_filled { self.heads[self.list(length)] } else { NONE };
            assert_eq!(is_filled, at != NONE);
            while at != NONE {
                assert_eq!(free.remove(&at), Some(length), "a list holds free runs of its length");
                // SAFETY: it is a free run, as was just seen.
                at = unsafe { self.raw(at).free() }.1;
            }
        }
        assert!(free.is_empty(), "every free run is in a list");
        entries
    }
}

fn allocate(units: u32) -> NonNull<u8> {
    // SAFETY: the layout is not empty.
    let chunk = unsafe { alloc(layout(units)) };
    NonNull::new(chunk).unwrap_or_else(|| handle_alloc_error(layout(units)))
}

impl Drop for Arena {
    fn drop(&mut self) {
        for index in 0..self.chunks.len() {
            let mut unit = 0;
            while unit < self.end_of(index) {
                let (raw, is_free, units) = self.run(index, unit);
                if !is_free {
                    // SAFETY: each entry is met once and never again.
                    unsafe {
                        raw.drop_value();
                        raw.drop_key();
                    }
                }
                unit += units;
            }
            self.give_back(index);
        }
    }
}

#[derive(Debug, Clone)]
pub(super) struct Iter<'t> {
    arena: &'t Arena,
    chunk: usize,
    unit: u32,
}

impl Iter<'_> {
    /// The handle of the next entry.
    pub(super) fn next_handle(&mut self) -> Option<Handle> {
        while self.chunk < self.arena.chunks.len() {
            while self.unit < self.arena.end_of(self.chunk) {
                let at = (self.chunk as u32) << UNIT_BITS | self.unit;
                let (_, is_free, units) = self.arena.run(self.chunk, self.unit);
                self.unit += units;
                if !is_free {
                    return Some(Handle(at));
                }
            }
            self.chunk += 1;
            self.unit = 0;
        }
        None
    }
}

impl<'t> Iterator for Iter<'t> {
    type Item = Entry<'t>;

    #[inline]
    fn next(&mut self) -> Option<Entry<'t>> {
        let handle = self.next_handle()?;
        Some(self.arena.entry(handle))
    }
}
