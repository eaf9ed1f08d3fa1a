//! `apply`: the one door through which the key space changes, for live commands, replicas and recovery alike.

use super::shard::{Place, Shard};
use super::value::{Hash, Inserted, List, Set, SortedSet, Value, image};
use super::{Database, WrongType};
use crate::effect::{Expiry, KeyChange};

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
        self.changes = self.changes.wrapping_add(1);
        let version = self.changes;
        let table = self.database_mut(database);
        match change {
            KeyChange::SetString { value, expiry } => {
                Ok(table.replace(key, place, *expiry, version, Value::from_bytes(value)))
            }
            KeyChange::SetInteger { value, expiry } => {
                Ok(table.replace(key, place, *expiry, version, Value::Integer(*value)))
            }
            other => {
                let before = table.len();
                let applied = table.apply_other(key, place, other, version);
                if table.len() < before {
                    self.tracking.lost(key);
                }
                applied
            }
        }
    }

    /// Empties one database or all; says how many keys went.
    pub fn apply_flush(&mut self, database: Option<u8>) -> usize {
        self.flush(database)
    }

    pub fn apply_swap(&mut self, first: u8, second: u8) {
        self.swap(first, second);
    }
}

impl Database {
    #[inline]
    fn replace(&mut self, key: &[u8], place: Place, expiry: Expiry, version: u32, value: Value) -> Applied {
        let mut had_expiry = false;
        let slot = match place.slot.and_then(|slot| Some((slot, self.at_mut(slot)?))) {
            Some((slot, entry)) => {
                had_expiry = entry.expire_at().is_some();
                entry.value = value;
                entry.touch(version);
                slot
            }
            None => {
                let slot = self.insert(place, key, value);
                self.touch(slot, version);
                slot
            }
        };
        match expiry {
            Expiry::At(at) => _ = self.set_expiry(slot, place.hash, Some(at)),
            Expiry::Never if had_expiry => _ = self.set_expiry(slot, place.hash, None),
            Expiry::Never | Expiry::Keep => {}
        }
        Applied::changed(1)
    }

    fn apply_other(
        &mut self,
        key: &[u8],
        place: Place,
        change: &KeyChange<'_>,
        version: u32,
    ) -> Result<Applied, WrongType> {
        match change {
            KeyChange::ListPush { end, values } => self.grow(key, place, version, |list: &mut List| {
                for value in values.iter() {
                    list.push(*end, (*value).into());
                }
                Applied::changed(list.len())
            }),
            KeyChange::ListPop { end, count } => self.change(place, version, |list: &mut List| {
                let count = (*count as usize).min(list.len());
                for _ in 0..count {
                    list.pop(*end);
                }
                Applied::removed(count)
            }),
            KeyChange::SetAdd { members } => self.grow(key, place, version, |set: &mut Set| {
                Applied::removed(members.iter().filter(|member| set.insert(member)).count())
            }),
            KeyChange::SetRemove { members } => self.change(place, version, |set: &mut Set| {
                Applied::removed(members.iter().filter(|member| set.remove(member)).count())
            }),
            KeyChange::HashSet { pairs } => self.grow(key, place, version, |hash: &mut Hash| {
                let (pairs, _) = pairs.as_chunks::<2>();
                Applied::changed(pairs.iter().filter(|[field, value]| hash.set(field, (*value).into())).count())
            }),
            KeyChange::HashRemove { fields } => self.change(place, version, |hash: &mut Hash| {
                Applied::removed(fields.iter().filter(|field| hash.remove(field).is_some()).count())
            }),
            KeyChange::SortedAdd { pairs } => {
                self.grow(key, place, version, |sorted: &mut SortedSet| add_scores(sorted, pairs))
            }
            KeyChange::SortedRemove { members } => self.change(place, version, |sorted: &mut SortedSet| {
                Applied::removed(members.iter().filter(|member| sorted.remove(member).is_some()).count())
            }),
            KeyChange::SortedRemoveRanks { start, end } => self.change(place, version, |sorted: &mut SortedSet| {
                Applied::removed(remove_ranks(sorted, *start as usize, *end as usize))
            }),
            KeyChange::ListSet { .. }
            | KeyChange::ListInsert { .. }
            | KeyChange::ListRemove { .. }
            | KeyChange::ListRemoveMatching { .. }
            | KeyChange::ListTrim { .. } => self.change(place, version, |list: &mut List| change_inside(list, change)),
            KeyChange::Delete | KeyChange::Expire { .. } | KeyChange::Persist => {
                Ok(Applied::removed(usize::from(self.change_key(place, change, version))))
            }
            KeyChange::Append { bytes } => self.append(key, place, version, bytes),
            KeyChange::SetRange { offset, bytes } => self.set_range(key, place, version, *offset as usize, bytes),
            KeyChange::Restore { image, expiry } => match image::decode(image) {
                Ok(value) => Ok(self.replace(key, place, *expiry, version, value)),
                Err(_) => Ok(Applied::NOTHING),
            },
            KeyChange::SetString { .. } | KeyChange::SetInteger { .. } => {
                unreachable!("apply_at has dealt with these")
            }
        }
    }

    /// A change of the key and not of its value. Says whether anything changed.
    fn change_key(&mut self, place: Place, change: &KeyChange<'_>, version: u32) -> bool {
        let Some(slot) = place.slot else { return false };
        let at = match change {
            KeyChange::Expire { at } => Some(*at),
            KeyChange::Persist => None,
            _ => return self.remove(slot).is_some(),
        };
        let changed = self.set_expiry(slot, place.hash, at);
        if changed {
            self.touch(slot, version);
        }
        changed
    }

    fn append(&mut self, key: &[u8], place: Place, version: u32, bytes: &[u8]) -> Result<Applied, WrongType> {
        let Some(slot) = place.slot else {
            self.replace(key, place, Expiry::Keep, version, Value::from_bytes(bytes));
            return Ok(Applied::changed(bytes.len()));
        };
        self.change_string(slot, version, |text| text.append(bytes))
    }

    fn set_range(
        &mut self,
        key: &[u8],
        place: Place,
        version: u32,
        offset: usize,
        bytes: &[u8],
    ) -> Result<Applied, WrongType> {
        let slot = match place.slot {
            Some(slot) => slot,
            None => self.insert(place, key, Value::from_bytes(b"")),
        };
        self.change_string(slot, version, |text| text.set_range(offset, bytes))
    }

    fn change_string(
        &mut self,
        slot: usize,
        version: u32,
        change: impl FnOnce(&mut super::value::ShortBytes),
    ) -> Result<Applied, WrongType> {
        let Some(entry) = self.at_mut(slot) else { return Ok(Applied::NOTHING) };
        let text = entry.value.as_string_mut().ok_or(WrongType)?;
        change(text);
        let length = text.len();
        entry.touch(version);
        Ok(Applied::changed(length))
    }

    /// Changes a collection that is made if it is not there.
    #[inline]
    fn grow<C: Collection>(
        &mut self,
        key: &[u8],
        place: Place,
        version: u32,
        change: impl FnOnce(&mut C) -> Applied,
    ) -> Result<Applied, WrongType> {
        let slot = match place.slot {
            Some(slot) => slot,
            None => self.insert(place, key, C::make()),
        };
        let Some(entry) = self.at_mut(slot) else { return Ok(Applied::NOTHING) };
        let applied = change(C::of(&mut entry.value).ok_or(WrongType)?);
        if applied.changed {
            entry.touch(version);
        }
        Ok(applied)
    }

    /// Changes a collection that may become smaller; an empty one goes, with its key.
    #[inline]
    fn change<C: Collection>(
        &mut self,
        place: Place,
        version: u32,
        change: impl FnOnce(&mut C) -> Applied,
    ) -> Result<Applied, WrongType> {
        let Some(slot) = place.slot else { return Ok(Applied::NOTHING) };
        let Some(entry) = self.at_mut(slot) else { return Ok(Applied::NOTHING) };
        let collection = C::of(&mut entry.value).ok_or(WrongType)?;
        let applied = change(collection);
        if collection.is_empty() {
            self.remove(slot);
        } else if applied.changed {
            entry.touch(version);
        }
        Ok(applied)
    }

    fn touch(&mut self, slot: usize, version: u32) {
        if let Some(entry) = self.at_mut(slot) {
            entry.touch(version);
        }
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
        KeyChange::ListSet { index, value } => {
            Applied::removed(usize::from(list.set(*index as usize, (*value).into()).is_some()))
        }
        KeyChange::ListInsert { index, value } => {
            list.insert_at((*index as usize).min(list.len()), (*value).into());
            Applied::changed(list.len())
        }
        KeyChange::ListRemove { indexes } => {
            let removed = indexes.iter().rev().filter(|index| list.remove_at(**index as usize).is_some()).count();
            Applied::removed(removed)
        }
        KeyChange::ListRemoveMatching { end, limit, value } => {
            Applied::removed(list.remove_matching(value, *limit as usize, *end))
        }
        KeyChange::ListTrim { start, end } => {
            let before = list.len();
            list.trim(*start as usize..*end as usize);
            Applied::removed(before - list.len())
        }
        _ => Applied::NOTHING,
    }
}

/// The types that consist of elements.
trait Collection {
    fn make() -> Value;
    fn of(value: &mut Value) -> Option<&mut Self>;
    fn is_empty(&self) -> bool;
}

macro_rules! collection {
    ($type:ident) => {
        impl Collection for $type {
            fn make() -> Value {
                Value::$type(Box::default())
            }

            #[inline]
            fn of(value: &mut Value) -> Option<&mut Self> {
                match value {
                    Value::$type(collection) => Some(collection),
                    _ => None,
                }
            }

            #[inline]
            fn is_empty(&self) -> bool {
                $type::is_empty(self)
            }
        }
    };
}

collection!(List);
collection!(Hash);
collection!(Set);
collection!(SortedSet);
