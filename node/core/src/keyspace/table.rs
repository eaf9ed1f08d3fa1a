//! The table of a database within a shard: buckets of one cache line, and entries in an arena.
//!
//! ```text
//! home     (upper half of the seeded hash x buckets) >> 32        any number of buckets, in the order of the hash
//! bucket   [ tags | passed | handles ]                            see `bucket`
//! arena    [ entry ][ entry ][ free ] ...                         see `arena` and `entry`
//! ```
//!
//! A look-up touches two cache lines, the bucket and the entry, whose addresses are known early enough to be fetched ahead
//! when a pipeline of commands is there. Growing and compacting are one walk over the arena, which fills a new index;
//! there is no incremental rehash, since a table is small: a shard's part of the keys.
//!
//! Expiry: `hints` has the earliest deadline in each bucket. A hint may be early, never late.
//!
//! **Invariants:** each live entry has exactly one slot, in its home or behind it with no vacancy passed that `passed` does
//! not count. Hints are either none or one a bucket.

use std::hash::BuildHasher;

use super::arena::{Arena, Handle, Iter};
use super::bucket::{Bucket, SLOTS, tag_of};
use super::collection::{self, Boxed, Collection};
use super::entry::{About, Entry};
use super::payload::{New, Payload, pad};
use super::value::ShortBytes;
use super::value::space::Room;
use crate::ids::UnixMillis;
use crate::prefetch;

/// At most this part of the slots is filled: entries that do not lie at home cost another line.
const LOAD_MAX: (usize, usize) = (4, 5);
/// Growing makes the index this much larger.
const GROWTH: (usize, usize) = (4, 3);
/// An index with less than this part filled is made smaller.
const LOAD_MIN: (usize, usize) = (1, 3);
/// Buckets that are never made fewer.
const BUCKETS_KEPT: usize = 8;
/// More dead bytes than this part of all, and the arena is compacted.
const DEAD_MAX: (usize, usize) = (1, 5);
/// Dead bytes that are not worth a compaction.
const DEAD_KEPT: usize = 1 << 10;
/// Draws for a random entry, before the table is walked instead.
const DRAWS_MAX: usize = 64;
/// No key of a bucket expires.
const NEVER: u32 = u32::MAX;

/// Where an entry stands in the index, until the table changes: bucket and slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Slot {
    bucket: u32,
    /// See `parts`.
    part: u16,
    slot: u8,
}

impl Slot {
    /// The same slot, in a part of this number.
    #[inline]
    pub(super) fn of_part(self, part: usize) -> Self {
        Self { part: part as u16, ..self }
    }

    #[inline]
    pub(super) fn part(self) -> usize {
        usize::from(self.part)
    }
}

#[derive(Debug)]
pub(super) struct Table<S> {
    buckets: Box<[Bucket]>,
    len: usize,
    /// Entries with an expiry.
    expiring: usize,
    arena: Arena,
    hints: Box<[u32]>,
    /// None of the hints is earlier.
    earliest: u32,
    /// Bytes of an entry, about.
    typical: usize,
    seed: S,
}

impl<S: BuildHasher> Table<S> {
    pub(super) fn new(seed: S) -> Self {
        Self {
            buckets: Box::default(),
            len: 0,
            expiring: 0,
            arena: Arena::default(),
            hints: Box::default(),
            earliest: NEVER,
            typical: 0,
            seed,
        }
    }

    #[inline]
    pub(super) fn hash(&self, key: &[u8]) -> u64 {
        self.seed.hash_one(key)
    }

    #[inline]
    pub(super) fn len(&self) -> usize {
        self.len
    }

    #[inline]
    pub(super) fn expiring(&self) -> usize {
        self.expiring
    }

    pub(super) fn iter(&self) -> Iter<'_> {
        self.arena.iter()
    }

    /// Bytes that the table has of the allocator, and those of them that hold nothing.
    pub(super) fn bytes(&self) -> (usize, usize) {
        let index = size_of_val(&*self.buckets) + size_of_val(&*self.hints);
        (index + self.arena.bytes(), self.arena.dead_bytes())
    }

    #[inline]
    pub(super) fn slot_of(&self, hash: u64, key: &[u8]) -> Option<Slot> {
        self.search(hash, |entry| entry.has_key(key))
    }

    /// The slot of an entry whose hash has this upper half.
    pub(super) fn slot_of_half(&self, half: u32) -> Option<Slot> {
        let home = self.home(u64::from(half) << 32);
        let mut at = home;
        for _ in 0..self.buckets.len() {
            let bucket = &self.buckets[at];
            for slot in bucket.filled() {
                if (self.hash(self.arena.entry(bucket.handle(slot)).key()) >> 32) as u32 == half {
                    return Some(Slot { bucket: at as u32, part: 0, slot: slot as u8 });
                }
            }
            if !bucket.is_passed() {
                return None;
            }
            at = self.after(at);
        }
        None
    }

    #[inline]
    fn search(&self, hash: u64, is_it: impl Fn(Entry<'_>) -> bool) -> Option<Slot> {
        if self.buckets.is_empty() {
            return None;
        }
        let tag = tag_of(hash);
        let mut at = self.home(hash);
        for _ in 0..self.buckets.len() {
            let bucket = &self.buckets[at];
            for slot in bucket.matches(tag) {
                if is_it(self.arena.entry(bucket.handle(slot))) {
                    return Some(Slot { bucket: at as u32, part: 0, slot: slot as u8 });
                }
            }
            if !bucket.is_passed() {
                return None;
            }
            at = self.after(at);
        }
        None
    }

    #[inline]
    pub(super) fn find(&self, hash: u64, key: &[u8]) -> Option<Entry<'_>> {
        self.slot_of(hash, key).map(|slot| self.at(slot))
    }

    /// The entry of a slot.
    #[inline]
    pub(super) fn at(&self, slot: Slot) -> Entry<'_> {
        self.arena.entry(self.handle(slot))
    }

    #[inline]
    fn handle(&self, slot: Slot) -> Handle {
        self.buckets[slot.bucket as usize].handle(slot.slot.into())
    }

    /// A random entry, each about as likely.
    pub(super) fn random(&self, mut random: impl FnMut() -> u64) -> Option<Entry<'_>> {
        let slots = self.buckets.len() * SLOTS;
        for _ in 0..if self.len > 0 { DRAWS_MAX } else { 0 } {
            let place = ((u128::from(random()) * slots as u128) >> 64) as usize;
            let bucket = &self.buckets[place / SLOTS];
            if bucket.is_filled(place % SLOTS) {
                return Some(self.arena.entry(bucket.handle(place % SLOTS)));
            }
        }
        let place = random().checked_rem(self.len as u64)?;
        self.iter().nth(place as usize)
    }

    /// Entries from a random bucket on, all of them once; `wanted` ends the walk with `false`.
    pub(super) fn each_from(&self, random: u64, mut wanted: impl FnMut(Entry<'_>) -> bool) {
        let count = self.buckets.len();
        let first = ((u128::from(random) * count as u128) >> 64) as usize;
        // The lower slots of a bucket were filled first: the walk begins at any of them.
        let turn = (random % SLOTS as u64) as usize;
        for bucket in self.buckets[first..].iter().chain(&self.buckets[..first]) {
            for slot in (turn..SLOTS).chain(0..turn).filter(|slot| bucket.is_filled(*slot)) {
                if !wanted(self.arena.entry(bucket.handle(slot))) {
                    return;
                }
            }
        }
    }

    /// As `each_from`, without buckets in which nothing expires.
    pub(super) fn each_expiring_from(&self, random: u64, mut wanted: impl FnMut(Entry<'_>) -> bool) {
        let count = self.hints.len();
        let first = ((u128::from(random) * count as u128) >> 64) as usize;
        for at in (first..count).chain(0..first).filter(|at| self.hints[*at] != NEVER) {
            let bucket = &self.buckets[at];
            for slot in bucket.filled() {
                let entry = self.arena.entry(bucket.handle(slot));
                if entry.expire_at().is_some() && !wanted(entry) {
                    return;
                }
            }
        }
    }

    /// Makes room for so many entries in all.
    pub(super) fn reserve(&mut self, entries: usize) {
        if entries * LOAD_MAX.1 > self.buckets.len() * SLOTS * LOAD_MAX.0 {
            self.rebuild(buckets_for(entries), Walk::Index);
        }
    }

    /// Adds a key that is not there. Says in which slot.
    #[inline]
    pub(super) fn insert(&mut self, hash: u64, key: &[u8], about: About, new: New<'_>) -> Slot {
        let payload = Payload::new(new, key.len());
        if (self.len + 1) * LOAD_MAX.1 > self.buckets.len() * SLOTS * LOAD_MAX.0 {
            let larger = (self.buckets.len() * GROWTH.0 / GROWTH.1).max(self.buckets.len() + 1);
            self.rebuild(larger, Walk::Index);
        }
        let handle = self.arena.add(about, key, payload);
        let home = self.home(hash);
        let slot = place(&mut self.buckets, home, tag_of(hash), handle);
        self.len += 1;
        if about.expire_at != 0 {
            self.expiring += 1;
            self.hint(slot, about.expire_at);
        }
        slot
    }

    /// Puts another value under a key, with this expiry (0: never).
    #[inline]
    pub(super) fn replace(&mut self, slot: Slot, key: &[u8], version: u32, expire_at: u64, new: New<'_>) {
        let handle = self.handle(slot);
        let had = self.arena.entry(handle).expire_at().is_some();
        let moved = self.arena.replace(handle, version, expire_at, key, new);
        self.expiring = self.expiring + usize::from(expire_at != 0) - usize::from(had);
        if expire_at != 0 {
            self.hint(slot, expire_at);
        }
        if moved != handle {
            self.moved(slot, moved);
        }
    }

    /// Changes a text, or a number as one. Nothing for a collection. Says how long it is then.
    pub(super) fn change_text(
        &mut self,
        slot: Slot,
        key: &[u8],
        version: u32,
        change: impl FnOnce(&mut Vec<u8>),
    ) -> Option<usize> {
        let handle = self.handle(slot);
        let mut text = self.arena.take_text(handle)?;
        change(&mut text);
        let length = text.len();
        let expire_at = self.arena.entry(handle).expire_at().map_or(0, |at| at.0);
        self.replace(slot, key, version, expire_at, New::Changed(text));
        Some(length)
    }

    /// Lets others keep the large text of a slot too. The value is the same.
    pub(super) fn make_shared(&mut self, slot: Slot, key: &[u8]) {
        let handle = self.handle(slot);
        let entry = self.arena.entry(handle);
        let (version, expire_at) = (entry.version(), entry.expire_at().map_or(0, |at| at.0));
        if let Some(text) = self.arena.take_text(handle) {
            self.replace(slot, key, version, expire_at, New::Shared(text.into()));
        }
    }

    /// Sets when a key expires (0: never). Says whether that changed anything.
    pub(super) fn set_expiry(&mut self, slot: Slot, expire_at: u64) -> bool {
        let handle = self.handle(slot);
        let before = self.arena.entry(handle).expire_at().map_or(0, |at| at.0);
        if before == expire_at {
            return false;
        }
        self.expiring = self.expiring + usize::from(expire_at != 0) - usize::from(before != 0);
        let moved = self.arena.set_expiry(handle, expire_at);
        if expire_at != 0 {
            self.hint(slot, expire_at);
        }
        if moved != handle {
            self.moved(slot, moved);
        }
        true
    }

    /// An entry lies elsewhere, and its old run is free. The slot is good no longer if the table compacts.
    #[inline]
    fn moved(&mut self, slot: Slot, handle: Handle) {
        self.buckets[slot.bucket as usize].set_handle(slot.slot.into(), handle);
    }

    #[inline]
    pub(super) fn set_version(&mut self, slot: Slot, version: u32) {
        self.arena.set_version(self.handle(slot), version);
    }

    pub(super) fn set_all_versions(&mut self, version: u32) {
        let mut handles = Vec::with_capacity(self.len);
        let mut entries = self.arena.iter();
        while let Some(handle) = entries.next_handle() {
            handles.push(handle);
        }
        handles.into_iter().for_each(|handle| self.arena.set_version(handle, version));
    }

    /// The collection in a slot, to be changed, unless it is packed.
    #[inline]
    pub(super) fn collection(&mut self, slot: Slot) -> Option<Boxed<'_>> {
        self.arena.collection(self.handle(slot))
    }

    /// Changes a collection, which gets the version if `change` says that it has changed; an empty one goes, with its key. Nothing if
    /// another type is there. `within` may do the same for a packed one where it lies; if it says nothing, it has changed nothing.
    #[inline]
    pub(super) fn change<C: Collection, R>(
        &mut self,
        slot: Slot,
        key: &[u8],
        version: u32,
        within: impl FnOnce(u8, &mut Room<'_>) -> Option<(R, bool)>,
        change: impl FnOnce(&mut C) -> (R, bool),
    ) -> Option<R> {
        let handle = self.handle(slot);
        let Some(kind) = self.arena.packed_kind(handle) else {
            let collection = self.arena.collection(handle).and_then(C::of)?;
            let (result, has_changed) = change(collection);
            if collection.is_empty() {
                self.remove(slot);
            } else if has_changed {
                self.arena.set_version(handle, version);
            }
            return Some(result);
        };
        if !C::is_kind(kind) {
            return None;
        }
        if let Some((result, has_changed)) = self.arena.change_packed(handle, within) {
            if has_changed {
                self.arena.set_version(handle, version);
            }
            return Some(result);
        }
        self.change_copy(slot, key, version, kind, change)
    }

    /// Takes a packed collection out, and puts it back.
    #[cold]
    fn change_copy<C: Collection, R>(
        &mut self,
        slot: Slot,
        key: &[u8],
        version: u32,
        kind: u8,
        change: impl FnOnce(&mut C) -> (R, bool),
    ) -> Option<R> {
        let handle = self.handle(slot);
        let (bytes, before) = self.arena.take_packed(handle, collection::take_scratch());
        let mut collection = C::unpack(kind, bytes);
        let (result, has_changed) = change(&mut collection);
        if collection.is_empty() {
            self.remove(slot);
            if let Ok((_, bytes)) = collection.pack() {
                collection::keep_scratch(bytes);
            }
            return Some(result);
        }
        let entry = self.arena.entry(handle);
        let version = if has_changed { version } else { entry.version() };
        let expire_at = entry.expire_at().map_or(0, |at| at.0);
        stored(key.len(), collection, Some(before), |new| self.replace(slot, key, version, expire_at, new));
        Some(result)
    }

    pub(super) fn remove(&mut self, slot: Slot) {
        let handle = self.handle(slot);
        let entry = self.arena.entry(handle);
        self.expiring -= usize::from(entry.expire_at().is_some());
        let mut at = self.home(self.hash(entry.key()));
        while at != slot.bucket as usize {
            self.buckets[at].unpass();
            at = self.after(at);
        }
        self.buckets[slot.bucket as usize].clear(slot.slot.into());
        self.arena.remove(handle);
        self.len -= 1;
    }

    /// To be called after changes, when no slot is kept any more: makes the index smaller and the arena compact where that pays.
    #[inline]
    pub(super) fn tidy(&mut self) {
        let dead = self.arena.dead_bytes();
        let is_scattered = dead > DEAD_KEPT && dead * DEAD_MAX.1 > (self.arena.live_bytes() + dead) * DEAD_MAX.0;
        let is_empty =
            self.buckets.len() > BUCKETS_KEPT && self.len * LOAD_MIN.1 < self.buckets.len() * SLOTS * LOAD_MIN.0;
        if is_scattered || is_empty {
            self.shrink();
        }
    }

    #[cold]
    fn shrink(&mut self) {
        // The walk fills a new index in any case: one that is smaller by a fifth is worth having.
        let (fitting, count) = (buckets_for(self.len * GROWTH.0 / GROWTH.1), self.buckets.len());
        self.rebuild(if fitting * 5 <= count * 4 { fitting } else { count }, Walk::Compact);
    }

    /// An empty table with the same hashes.
    pub(super) fn like(&self) -> Self
    where
        S: Clone,
    {
        Self::new(self.seed.clone())
    }

    /// Parts the entries: those go to the table that is returned whose upper half of the hash `goes` wants.
    pub(super) fn divide(&mut self, goes: impl Fn(u32) -> bool) -> Self
    where
        S: Clone,
    {
        let mut other = self.like();
        let seed = &self.seed;
        other.arena = self.arena.divide(|entry| {
            let gone = goes((seed.hash_one(entry.key()) >> 32) as u32);
            other.len += usize::from(gone);
            other.expiring += usize::from(gone && entry.expire_at().is_some());
            gone
        });
        self.len -= other.len;
        self.expiring -= other.expiring;
        for table in [self, &mut other] {
            table.rebuild(buckets_for(table.len * GROWTH.0 / GROWTH.1), Walk::Index);
        }
        other
    }

    /// Takes the entries of another table in, whose keys are not there.
    pub(super) fn absorb(&mut self, mut other: Self) {
        self.arena.absorb(&mut other.arena);
        self.len += std::mem::take(&mut other.len);
        self.expiring += other.expiring;
        self.rebuild(buckets_for(self.len * GROWTH.0 / GROWTH.1), Walk::Index);
    }

    /// Keys that are due at `now`, `most` at the most. They are to be removed: the hints forget them.
    pub(super) fn due(&mut self, now: UnixMillis, most: usize) -> Vec<ShortBytes> {
        let (mut due, mut earliest) = (Vec::new(), NEVER);
        let is_up_to = moment(now.0);
        for at in 0..self.hints.len() {
            if self.hints[at] <= is_up_to && due.len() < most {
                self.hints[at] = self.look_at(at, now, most, &mut due);
            }
            earliest = earliest.min(self.hints[at]);
        }
        self.earliest = earliest;
        due
    }

    /// Takes what is due in a bucket; says when the next one is.
    fn look_at(&self, at: usize, now: UnixMillis, most: usize, due: &mut Vec<ShortBytes>) -> u32 {
        let (bucket, mut next) = (&self.buckets[at], NEVER);
        for slot in bucket.filled() {
            let entry = self.arena.entry(bucket.handle(slot));
            match entry.expire_at() {
                Some(expire_at) if expire_at <= now && due.len() < most => due.push(entry.key().into()),
                Some(expire_at) => next = next.min(moment(expire_at.0)),
                None => {}
            }
        }
        next
    }

    /// Whether a key may be due at `now`.
    #[inline]
    pub(super) fn may_be_due(&self, now: UnixMillis) -> bool {
        self.earliest <= moment(now.0) && self.earliest != NEVER
    }

    #[inline]
    pub(super) fn prefetch_index(&self, hash: u64) {
        if let Some(bucket) = self.buckets.get(self.home(hash)) {
            prefetch::read(bucket);
        }
    }

    /// Asks for the entries that may be the one with this hash.
    #[inline]
    pub(super) fn prefetch_entry(&self, hash: u64) {
        let home = self.home(hash);
        let Some(bucket) = self.buckets.get(home) else { return };
        let mut is_there = false;
        for slot in bucket.matches(tag_of(hash)) {
            self.arena.prefetch(bucket.handle(slot), self.typical);
            is_there = true;
        }
        if !is_there && bucket.is_passed() {
            let bucket = &self.buckets[self.after(home)];
            bucket.matches(tag_of(hash)).for_each(|slot| self.arena.prefetch(bucket.handle(slot), self.typical));
        }
    }

    #[inline]
    fn home(&self, hash: u64) -> usize {
        home(hash, self.buckets.len())
    }

    #[inline]
    fn after(&self, bucket: usize) -> usize {
        if bucket + 1 == self.buckets.len() { 0 } else { bucket + 1 }
    }

    #[inline]
    fn hint(&mut self, slot: Slot, expire_at: u64) {
        if self.hints.is_empty() {
            self.hints = vec![NEVER; self.buckets.len()].into_boxed_slice();
        }
        let at = moment(expire_at);
        let hint = &mut self.hints[slot.bucket as usize];
        *hint = at.min(*hint);
        self.earliest = self.earliest.min(at);
    }

    #[cold]
    fn rebuild(&mut self, count: usize, walk: Walk) {
        let mut buckets = vec![Bucket::default(); count].into_boxed_slice();
        let mut hints = vec![NEVER; if self.expiring > 0 { count } else { 0 }].into_boxed_slice();
        let (seed, mut earliest) = (&self.seed, NEVER);
        let mut enter = |handle: Handle, entry: Entry<'_>| {
            let hash = seed.hash_one(entry.key());
            let slot = place(&mut buckets, home(hash, count), tag_of(hash), handle);
            if let Some(at) = entry.expire_at() {
                let hint = &mut hints[slot.bucket as usize];
                *hint = moment(at.0).min(*hint);
                earliest = earliest.min(*hint);
            }
        };
        match walk {
            Walk::Compact => self.arena.compact(enter),
            Walk::Index => {
                let mut entries = self.arena.iter();
                while let Some(handle) = entries.next_handle() {
                    enter(handle, self.arena.entry(handle));
                }
            }
        }
        (self.buckets, self.hints, self.earliest) = (buckets, hints, earliest);
        self.typical = self.arena.live_bytes() / self.len.max(1);
    }
}

/// Gives a collection to `store` in the form in which it is kept. `before`: the bytes of its value in the entry so far.
#[inline]
pub(super) fn stored<C: Collection, R>(
    key_length: usize,
    collection: C,
    before: Option<usize>,
    store: impl FnOnce(New<'_>) -> R,
) -> R {
    match collection.pack() {
        Ok((kind, mut bytes)) => {
            if !pad(&mut bytes, key_length, before) {
                return store(New::Value(C::unpack(kind, bytes).into_value()));
            }
            let result = store(New::Packed(kind, &bytes));
            collection::keep_scratch(bytes);
            result
        }
        Err((_, large)) => store(New::Value(large.into_value())),
    }
}

/// What a rebuild walks over the arena for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Walk {
    Index,
    Compact,
}

fn buckets_for(entries: usize) -> usize {
    (entries * LOAD_MAX.1).div_ceil(SLOTS * LOAD_MAX.0).max(1)
}

#[inline]
fn home(hash: u64, buckets: usize) -> usize {
    (((hash >> 32) * buckets as u64) >> 32) as usize
}

#[inline]
fn place(buckets: &mut [Bucket], home: usize, tag: u8, handle: Handle) -> Slot {
    let mut at = home;
    loop {
        let bucket = &mut buckets[at];
        if let Some(slot) = bucket.vacancy() {
            bucket.set(slot, tag, handle);
            return Slot { bucket: at as u32, part: 0, slot: slot as u8 };
        }
        bucket.pass();
        at = if at + 1 == buckets.len() { 0 } else { at + 1 };
    }
}

/// Time in steps of 256 ms since 2020: a u32 lasts until 2054. What lies beyond counts as due at its end, so it is early.
#[inline]
fn moment(unix_ms: u64) -> u32 {
    const START_MS: u64 = 1_577_836_800_000;
    (unix_ms.saturating_sub(START_MS) >> 8).min(u64::from(NEVER - 1)) as u32
}

#[cfg(test)]
mod tests;
