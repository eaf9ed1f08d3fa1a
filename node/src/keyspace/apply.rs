//! `apply`: the one door through which the key space changes, for live commands, replicas and recovery alike.

use super::shard::{Found, Shard};
use super::value::{Hash, List, Set, SortedSet, Value, image};
use super::{Database, WrongType};
use crate::effect::{Expiry, KeyChange};

/// What a change did: enough for a command to answer without a second look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Applied {
    /// Nothing to replicate if not.
    pub changed: bool,
    /// LENGTH of a list or string after a push, insert or append; NUMBER of items that were added or removed otherwise.
    pub count: usize,
}

impl Applied {
    const NOTHING: Self = Self { changed: false, count: 0 };

    fn removed(count: usize) -> Self {
        Self { changed: count > 0, count }
    }

    fn changed(count: usize) -> Self {
        Self { changed: true, count }
    }
}

impl Shard {
    /// Changes one key.
    ///
    /// # Errors
    /// The key holds another type. On a replica that cannot be: the master applied the same to the same.
    #[inline]
    pub fn apply_key(&mut self, database: u8, key: &[u8], change: &KeyChange<'_>) -> Result<Applied, WrongType> {
        self.changes = self.changes.wrapping_add(1);
        let version = self.changes;
        let table = self.database_mut(database);
        match change {
            KeyChange::SetString { value, expiry } => {
                Ok(table.set_string(key, *expiry, version, || Value::from_bytes(value)))
            }
            KeyChange::SetInteger { value, expiry } => {
                Ok(table.set_string(key, *expiry, version, || Value::Integer(*value)))
            }
            KeyChange::Delete => Ok(Applied::removed(usize::from(table.remove(key).is_some()))),
            other => table.apply_other(key, other, version),
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
    fn set_string(&mut self, key: &[u8], expiry: Expiry, version: u32, make: impl Fn() -> Value) -> Applied {
        let (entry, found) = self.entry(key, &make);
        if found == Found::Old {
            entry.value = make();
        }
        entry.touch(version);
        let had_expiry = entry.expire_at().is_some();
        match expiry {
            Expiry::At(at) => _ = self.set_expiry(key, Some(at)),
            Expiry::Never if had_expiry => _ = self.set_expiry(key, None),
            Expiry::Never | Expiry::Keep => {}
        }
        Applied::changed(1)
    }

    fn apply_other(&mut self, key: &[u8], change: &KeyChange<'_>, version: u32) -> Result<Applied, WrongType> {
        let applied = match change {
            KeyChange::Append { bytes } => self.append(key, bytes)?,
            KeyChange::SetRange { offset, bytes } => self.set_range(key, *offset as usize, bytes)?,
            KeyChange::Expire { at } => Applied::removed(usize::from(self.set_expiry(key, Some(*at)))),
            KeyChange::Persist => Applied::removed(usize::from(self.set_expiry(key, None))),
            KeyChange::Restore { image, expiry } => {
                let Ok(value) = image::decode(image) else { return Ok(Applied::NOTHING) };
                let (entry, _) = self.entry(key, || Value::Integer(0));
                entry.value = value;
                match expiry {
                    Expiry::At(at) => _ = self.set_expiry(key, Some(*at)),
                    Expiry::Never => _ = self.set_expiry(key, None),
                    Expiry::Keep => {}
                }
                Applied::changed(1)
            }
            KeyChange::ListPush { end, values } => {
                let list = self.list(key, Absent::Make)?.expect("made when absent");
                for value in values.iter() {
                    list.push(*end, (*value).into());
                }
                Applied::changed(list.len())
            }
            KeyChange::ListPop { end, count } => {
                let Some(list) = self.list(key, Absent::Leave)? else { return Ok(Applied::NOTHING) };
                let count = (*count as usize).min(list.len());
                for _ in 0..count {
                    list.pop(*end);
                }
                let emptied = list.is_empty();
                self.remove_if(key, emptied);
                Applied::removed(count)
            }
            KeyChange::ListSet { index, value } => {
                let Some(list) = self.list(key, Absent::Leave)? else { return Ok(Applied::NOTHING) };
                Applied::removed(usize::from(list.set(*index as usize, (*value).into()).is_some()))
            }
            KeyChange::ListInsert { index, value } => {
                let Some(list) = self.list(key, Absent::Leave)? else { return Ok(Applied::NOTHING) };
                list.insert_at((*index as usize).min(list.len()), (*value).into());
                Applied::changed(list.len())
            }
            KeyChange::ListRemove { indexes } => {
                let Some(list) = self.list(key, Absent::Leave)? else { return Ok(Applied::NOTHING) };
                for index in indexes.iter().rev() {
                    list.remove_at(*index as usize);
                }
                let emptied = list.is_empty();
                self.remove_if(key, emptied);
                Applied::removed(indexes.len())
            }
            KeyChange::ListTrim { start, end } => {
                let Some(list) = self.list(key, Absent::Leave)? else { return Ok(Applied::NOTHING) };
                let before = list.len();
                list.trim(*start as usize..*end as usize);
                let (after, emptied) = (list.len(), list.is_empty());
                self.remove_if(key, emptied);
                Applied::removed(before - after)
            }
            KeyChange::HashSet { pairs } => {
                let hash = self.hash_value(key, Absent::Make)?.expect("made when absent");
                let (pairs, _) = pairs.as_chunks::<2>();
                let added = pairs.iter().filter(|[field, value]| hash.set(field, (*value).into())).count();
                Applied::changed(added)
            }
            KeyChange::HashRemove { fields } => {
                let Some(hash) = self.hash_value(key, Absent::Leave)? else { return Ok(Applied::NOTHING) };
                let removed = fields.iter().filter(|field| hash.remove(field).is_some()).count();
                let emptied = hash.is_empty();
                self.remove_if(key, emptied);
                Applied::removed(removed)
            }
            KeyChange::SetAdd { members } => {
                let set = self.set(key, Absent::Make)?.expect("made when absent");
                Applied::removed(members.iter().filter(|member| set.insert(member)).count())
            }
            KeyChange::SetRemove { members } => {
                let Some(set) = self.set(key, Absent::Leave)? else { return Ok(Applied::NOTHING) };
                let removed = members.iter().filter(|member| set.remove(member)).count();
                let emptied = set.is_empty();
                self.remove_if(key, emptied);
                Applied::removed(removed)
            }
            KeyChange::SortedAdd { pairs } => {
                let sorted = self.sorted(key, Absent::Make)?.expect("made when absent");
                let before = sorted.len();
                for (score, member) in pairs.iter() {
                    sorted.insert(member, *score);
                }
                Applied::changed(sorted.len() - before)
            }
            KeyChange::SortedRemove { members } => {
                let Some(sorted) = self.sorted(key, Absent::Leave)? else { return Ok(Applied::NOTHING) };
                let removed = members.iter().filter(|member| sorted.remove(member).is_some()).count();
                let emptied = sorted.is_empty();
                self.remove_if(key, emptied);
                Applied::removed(removed)
            }
            KeyChange::Delete | KeyChange::SetString { .. } | KeyChange::SetInteger { .. } => {
                unreachable!("apply_key has dealt with these")
            }
        };
        if applied.changed {
            if let Some(entry) = self.find_mut(key) {
                entry.touch(version);
            }
        }
        Ok(applied)
    }

    fn append(&mut self, key: &[u8], bytes: &[u8]) -> Result<Applied, WrongType> {
        let (entry, found) = self.entry(key, || Value::from_bytes(bytes));
        if found == Found::New {
            return Ok(Applied::changed(bytes.len()));
        }
        let text = entry.value.as_string_mut().ok_or(WrongType)?;
        text.append(bytes);
        Ok(Applied::changed(text.len()))
    }

    fn set_range(&mut self, key: &[u8], offset: usize, bytes: &[u8]) -> Result<Applied, WrongType> {
        let (entry, _) = self.entry(key, || Value::from_bytes(b""));
        let text = entry.value.as_string_mut().ok_or(WrongType)?;
        text.set_range(offset, bytes);
        Ok(Applied::changed(text.len()))
    }

    fn remove_if(&mut self, key: &[u8], emptied: bool) {
        if emptied {
            self.remove(key);
        }
    }
}

/// What to do when a collection is not there.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Absent {
    Make,
    Leave,
}

macro_rules! collection {
    ($function:ident, $type:ident) => {
        fn $function(&mut self, key: &[u8], absent: Absent) -> Result<Option<&mut $type>, WrongType> {
            let entry = match absent {
                Absent::Make => self.entry(key, || Value::$type(Box::default())).0,
                Absent::Leave => match self.find_mut(key) {
                    None => return Ok(None),
                    Some(entry) => entry,
                },
            };
            match &mut entry.value {
                Value::$type(collection) => Ok(Some(collection)),
                _ => Err(WrongType),
            }
        }
    };
}

impl Database {
    collection!(list, List);
    collection!(hash_value, Hash);
    collection!(set, Set);
    collection!(sorted, SortedSet);
}
