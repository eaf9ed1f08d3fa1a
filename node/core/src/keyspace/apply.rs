//! `apply`: the one door through which the key space changes, for live commands, replicas and recovery alike.

mod stream;
mod within;

use super::collection::{self, Boxed, Collection};
use super::database::Place;
use super::entry::About;
use super::payload::New;
use super::shard::Shard;
use super::table::Slot;
use super::value::stream::Stream;
use super::value::{Hash, Inserted, List, Set, SortedSet, Value, image, parse_integer};
use super::{Database, WrongType};
use crate::effect::{Expiry, KeyChange, StreamChange};
use crate::{freeing, lent, limits};

/// What a change did: enough for a command to answer without a second look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Applied {
    /// Nothing to replicate if not.
    pub changed: bool,
    /// LENGTH of a list or string after a push, insert or append; NUMBER of items that were added or removed otherwise.
    pub count: usize,
    /// Members of a sorted set that were there with another score.
    pub updated: usize,
}

impl Applied {
    pub const NOTHING: Self = Self { changed: false, count: 0, updated: 0 };

    fn removed(count: usize) -> Self {
        Self { changed: count > 0, count, updated: 0 }
    }

    fn changed(count: usize) -> Self {
        Self { changed: true, count, updated: 0 }
    }

    /// What giving a member a score did.
    fn inserted(inserted: Inserted) -> Self {
        let (is_new, is_updated) = (inserted == Inserted::Added, inserted == Inserted::Updated);
        Self { changed: is_new || is_updated, count: usize::from(is_new), updated: usize::from(is_updated) }
    }
}

impl Shard {
    /// Changes one key.
    ///
    /// # Errors
    /// The key holds another type. On a replica that cannot be: the master applied the same to the same.
    #[inline]
    pub fn apply_key(&mut self, database: u8, key: &[u8], change: &KeyChange<'_>) -> Result<Applied, WrongType> {
        let place = self.locate(database, key);
        self.apply_at(database, key, place, change)
    }

    /// Changes a key that has been looked up, see `locate`.
    ///
    /// # Errors
    /// As `apply_key`.
    #[inline]
    pub fn apply_at(
        &mut self,
        database: u8,
        key: &[u8],
        place: Place,
        change: &KeyChange<'_>,
    ) -> Result<Applied, WrongType> {
        if self.has_snapshots() {
            self.keep_for_snapshots(database, key, place, change);
        }
        if change.replaces()
            && let Some(slot) = place.slot
        {
            self.database_mut(database).free_later(slot);
        }
        self.changes = self.changes.wrapping_add(1);
        let stamp = Stamp { version: self.changes, access: self.access.fresh() };
        let table = self.database_mut(database);
        let applied = match change {
            KeyChange::SetString { value, expiry } => {
                let new = match parse_integer(value) {
                    Some(number) => New::Integer(number),
                    None => New::Text(value),
                };
                Ok(table.replace(key, place, *expiry, stamp, new))
            }
            KeyChange::SetInteger { value, expiry } => {
                Ok(table.replace(key, place, *expiry, stamp, New::Integer(*value)))
            }
            other => {
                let before = table.len();
                let applied = table.apply_other(key, place, other, stamp);
                if table.len() < before {
                    self.tracking.lost(key);
                }
                applied
            }
        };
        self.database_mut(database).table.tidy(place.hash);
        self.note_deadlines(database, key, change);
        if applied.is_ok_and(|applied| applied.changed) {
            self.interested.changed(database, key);
        }
        applied
    }

    /// A change that is made by other means; `change` says what it is.
    pub(super) fn with_change(
        &mut self,
        database: u8,
        key: &[u8],
        place: Place,
        change: &KeyChange<'_>,
        make: impl FnOnce(&mut Database, Stamp) -> Applied,
    ) -> Applied {
        if self.has_snapshots() {
            self.keep_for_snapshots(database, key, place, change);
        }
        self.changes = self.changes.wrapping_add(1);
        let stamp = Stamp { version: self.changes, access: self.access.fresh() };
        let keys = self.database_mut(database);
        let applied = make(keys, stamp);
        keys.table.tidy(place.hash);
        self.note_deadlines(database, key, change);
        self.interested.changed(database, key);
        applied
    }

    /// Empties one database or all; says how many keys went.
    pub fn apply_flush(&mut self, database: Option<u8>) -> usize {
        self.flush(database)
    }

    pub fn apply_swap(&mut self, first: u8, second: u8) {
        self.swap(first, second);
    }
}

/// What a change leaves on an entry.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stamp {
    version: u32,
    /// Of a key that was not there.
    access: u32,
}

impl Stamp {
    fn about(self, expire_at: u64) -> About {
        About { version: self.version, access: self.access, expire_at }
    }
}

impl Database {
    /// The value at a place is about to go. A large collection leaves an empty one there, and is freed elsewhere.
    #[inline]
    pub(super) fn free_later(&mut self, slot: Slot) {
        if let Some(collection) = self.table.collection(slot)
            && collection.len() > limits::FREED_AT_ONCE
        {
            let value = collection.take();
            let bytes = value.as_ref().heap_bytes(limits::FREED_SAMPLES);
            freeing::later(value, bytes);
        }
    }

    #[inline]
    pub(super) fn replace(&mut self, key: &[u8], place: Place, expiry: Expiry, stamp: Stamp, new: New<'_>) -> Applied {
        let at = match expiry {
            Expiry::At(at) => at.0.max(1),
            Expiry::Never => 0,
            Expiry::Keep => place.slot.and_then(|slot| self.table.at(slot).expire_at()).map_or(0, |at| at.0),
        };
        match place.slot {
            Some(slot) => self.table.replace(slot, key, stamp.version, at, new),
            None => _ = self.insert(place.hash, key, stamp.about(at), new),
        }
        Applied::changed(1)
    }

    fn apply_other(
        &mut self,
        key: &[u8],
        place: Place,
        change: &KeyChange<'_>,
        stamp: Stamp,
    ) -> Result<Applied, WrongType> {
        match change {
            KeyChange::ListPush { end, values } => self.grow(key, place, stamp, change, |list: &mut List| {
                for value in values.iter() {
                    list.push(*end, value);
                }
                Applied::changed(list.len())
            }),
            KeyChange::ListPop { end, count } => self.change(key, place, stamp, change, |list: &mut List| {
                let count = (*count as usize).min(list.len());
                for _ in 0..count {
                    list.pop(*end);
                }
                Applied::removed(count)
            }),
            KeyChange::SetAdd { members } => self.grow(key, place, stamp, change, |set: &mut Set| {
                Applied::removed(members.iter().filter(|member| set.insert(member)).count())
            }),
            KeyChange::SetRemove { members } => self.change(key, place, stamp, change, |set: &mut Set| {
                Applied::removed(members.iter().filter(|member| set.remove(member)).count())
            }),
            KeyChange::HashSet { pairs } => self.grow(key, place, stamp, change, |hash: &mut Hash| {
                let (pairs, _) = pairs.as_chunks::<2>();
                Applied::changed(pairs.iter().filter(|[field, value]| hash.set(field, value)).count())
            }),
            KeyChange::HashRemove { fields } => self.change(key, place, stamp, change, |hash: &mut Hash| {
                Applied::removed(fields.iter().filter(|field| hash.remove(field)).count())
            }),
            KeyChange::HashExpire { at, fields } => self.change(key, place, stamp, change, |hash: &mut Hash| {
                Applied::removed(fields.iter().filter(|field| hash.set_deadline(field, *at)).count())
            }),
            KeyChange::SortedAdd { pairs } => {
                self.grow(key, place, stamp, change, |sorted: &mut SortedSet| add_scores(sorted, pairs))
            }
            KeyChange::SortedRemove { members } => self.change(key, place, stamp, change, |sorted: &mut SortedSet| {
                Applied::removed(members.iter().filter(|member| sorted.remove(member).is_some()).count())
            }),
            KeyChange::SortedRemoveRanks { start, end } => {
                self.change(key, place, stamp, change, |sorted: &mut SortedSet| {
                    Applied::removed(remove_ranks(sorted, *start as usize, *end as usize))
                })
            }
            KeyChange::ListSet { .. }
            | KeyChange::ListInsert { .. }
            | KeyChange::ListRemove { .. }
            | KeyChange::ListRemoveMatching { .. }
            | KeyChange::ListTrim { .. } => {
                self.change(key, place, stamp, change, |list: &mut List| change_inside(list, change))
            }
            KeyChange::Delete | KeyChange::Expire { .. } | KeyChange::Persist => {
                Ok(Applied::removed(usize::from(self.change_key(place, change, stamp))))
            }
            KeyChange::Append { bytes } => self.append(key, place, stamp, bytes),
            KeyChange::SetRange { offset, bytes } => self.set_range(key, place, stamp, *offset as usize, bytes),
            KeyChange::Restore { image, expiry }
                if image.len() >= lent::SHARED_BYTES
                    && let Ok(text) = image::pieces::take_text(image) =>
            {
                place.slot.into_iter().for_each(|slot| self.free_later(slot));
                Ok(self.replace(key, place, *expiry, stamp, New::Text(text)))
            }
            KeyChange::Restore { image, expiry } => match image::decode(image) {
                Ok(value) => {
                    place.slot.into_iter().for_each(|slot| self.free_later(slot));
                    Ok(self.replace(key, place, *expiry, stamp, New::Value(value)))
                }
                Err(_) => Ok(Applied::NOTHING),
            },
            KeyChange::Stream(change) => self.change_stream(key, place, stamp, change),
            KeyChange::SetString { .. } | KeyChange::SetInteger { .. } => {
                unreachable!("apply_at has dealt with these")
            }
        }
    }

    /// A change of the key and not of its value. Says whether anything changed.
    fn change_key(&mut self, place: Place, change: &KeyChange<'_>, stamp: Stamp) -> bool {
        let Some(slot) = place.slot else { return false };
        let at = match change {
            KeyChange::Expire { at } => at.0.max(1),
            KeyChange::Persist => 0,
            _ => {
                self.table.remove(slot);
                return true;
            }
        };
        // The same time again touches the key, as in Redis.
        let changed = self.table.set_expiry(slot, at) || at != 0;
        if changed {
            self.table.set_version(slot, stamp.version);
        }
        changed
    }

    fn append(&mut self, key: &[u8], place: Place, stamp: Stamp, bytes: &[u8]) -> Result<Applied, WrongType> {
        let Some(slot) = place.slot else {
            let new = parse_integer(bytes).map_or(New::Text(bytes), New::Integer);
            self.replace(key, place, Expiry::Keep, stamp, new);
            return Ok(Applied::changed(bytes.len()));
        };
        self.change_text(slot, key, stamp, |text| text.extend_from_slice(bytes))
    }

    fn set_range(
        &mut self,
        key: &[u8],
        place: Place,
        stamp: Stamp,
        offset: usize,
        bytes: &[u8],
    ) -> Result<Applied, WrongType> {
        let slot = match place.slot {
            Some(slot) => slot,
            None => self.insert(place.hash, key, stamp.about(0), New::Text(b"")),
        };
        self.change_text(slot, key, stamp, |text| {
            let end = offset + bytes.len();
            if end > text.len() {
                text.resize(end, 0);
            }
            text[offset..end].copy_from_slice(bytes);
        })
    }

    fn change_text(
        &mut self,
        slot: Slot,
        key: &[u8],
        stamp: Stamp,
        change: impl FnOnce(&mut Vec<u8>),
    ) -> Result<Applied, WrongType> {
        self.table.change_text(slot, key, stamp.version, change).map(Applied::changed).ok_or(WrongType)
    }

    /// Changes a collection that is made if it is not there.
    #[inline]
    fn grow<C: Collection>(
        &mut self,
        key: &[u8],
        place: Place,
        stamp: Stamp,
        change: &KeyChange<'_>,
        make: impl FnOnce(&mut C) -> Applied,
    ) -> Result<Applied, WrongType> {
        if place.slot.is_some() {
            return self.change(key, place, stamp, change, make);
        }
        let mut collection = C::unpack(C::KIND, collection::empty_scratch());
        let applied = make(&mut collection);
        if !collection.is_empty() {
            self.insert_collection(place.hash, key, stamp.about(0), collection);
        }
        Ok(applied)
    }

    /// Changes a collection that may become smaller; an empty one goes, with its key.
    #[inline]
    fn change<C: Collection>(
        &mut self,
        key: &[u8],
        place: Place,
        stamp: Stamp,
        change: &KeyChange<'_>,
        make: impl FnOnce(&mut C) -> Applied,
    ) -> Result<Applied, WrongType> {
        let Some(slot) = place.slot else { return Ok(Applied::NOTHING) };
        let changed = |applied: Applied| (applied, applied.changed);
        let applied = self.table.change(
            slot,
            key,
            stamp.version,
            |kind, room| within::apply(kind, room, change).map(changed),
            |collection: &mut C| changed(make(collection)),
        );
        applied.ok_or(WrongType)
    }

    /// A stream stays when it is empty.
    fn change_stream(
        &mut self,
        key: &[u8],
        place: Place,
        stamp: Stamp,
        change: &StreamChange<'_>,
    ) -> Result<Applied, WrongType> {
        let slot = match place.slot {
            Some(slot) => slot,
            None if stream::creates(change) => {
                self.insert(place.hash, key, stamp.about(0), New::Value(Value::Stream(Box::default())))
            }
            None => return Ok(Applied::NOTHING),
        };
        let content: &mut Stream = match self.table.collection(slot) {
            Some(Boxed::Stream(content)) => content,
            _ => return Err(WrongType),
        };
        let applied = stream::apply(content, change);
        if applied.changed {
            self.table.set_version(slot, stamp.version);
        }
        Ok(applied)
    }
}

fn add_scores(sorted: &mut SortedSet, pairs: &[(f64, &[u8])]) -> Applied {
    let (mut count, mut updated) = (0, 0);
    for (score, member) in pairs {
        // The sum turns -0 into 0: Redis, too, forgets the sign when it stores a score.
        match sorted.insert(member, *score + 0.0) {
            Inserted::Added => count += 1,
            Inserted::Updated => updated += 1,
            Inserted::Same => {}
        }
    }
    Applied { changed: count + updated > 0, count, updated }
}

/// The ends are what ZPOPMIN and ZPOPMAX take.
fn remove_ranks(sorted: &mut SortedSet, start: usize, end: usize) -> usize {
    let length = sorted.len();
    if start == 0 && end == 1 {
        usize::from(sorted.pop_min().is_some())
    } else if start + 1 == length && end == length {
        usize::from(sorted.pop_max().is_some())
    } else {
        sorted.remove_range(start..end)
    }
}

fn change_inside(list: &mut List, change: &KeyChange<'_>) -> Applied {
    match change {
        KeyChange::ListSet { index, value } => Applied::removed(usize::from(list.set(*index as usize, value))),
        KeyChange::ListInsert { index, value } => {
            list.insert_at((*index as usize).min(list.len()), value);
            Applied::changed(list.len())
        }
        KeyChange::ListRemove { indexes } => {
            let removed = indexes.iter().rev().filter(|index| list.remove_at(**index as usize)).count();
            Applied::removed(removed)
        }
        KeyChange::ListRemoveMatching { end, limit, value } => {
            Applied::removed(list.remove_matching(value, *limit as usize, *end))
        }
        KeyChange::ListTrim { start, end } => {
            let before = list.len();
            list.trim(*start as usize..*end as usize);
            // Redis: one that trims nothing touches the key, too.
            Applied::changed(before - list.len())
        }
        _ => Applied::NOTHING,
    }
}
