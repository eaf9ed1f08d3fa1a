//! A list as it was: which of its items are still in the live list, and what became of the others.
//!
//! ```text
//! as it was:   [ given | lost in front | shared ........... | lost behind ]
//! live list:          [ others         | shared ........... | others      ]
//!                       shift items
//! ```
//!
//! Lists change at their ends nearly always, so the shared part is one range. A change within it that would divide it
//! ends the snapshot; whoever made it begins again.

use std::collections::{BTreeMap, VecDeque};

use super::super::value::{ListRef, ShortBytes};
use crate::effect::KeyChange;
use crate::keyspace::value::End;

/// Items that one change may take out of the shared part. More end the snapshot: keeping them would cost more than the
/// change.
const LOST_AT_ONCE: usize = 4096;

/// The value has changed in a way that a snapshot cannot follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) struct Broken;

/// Items are counted from the front of the list as it was.
#[derive(Debug)]
pub(super) struct ListState {
    /// The shared part.
    start: usize,
    end: usize,
    /// Items of the live list before the shared part.
    shift: usize,
    /// Lost and not given yet.
    front: VecDeque<ShortBytes>,
    back: VecDeque<ShortBytes>,
    /// Shared places whose item was replaced, with what was there.
    replaced: BTreeMap<usize, ShortBytes>,
}

impl ListState {
    pub(super) fn new(list: ListRef<'_>) -> Self {
        Self {
            start: 0,
            end: list.len(),
            shift: 0,
            front: VecDeque::new(),
            back: VecDeque::new(),
            replaced: BTreeMap::new(),
        }
    }

    /// Gives up to `most` items in their order to `visit`, while it says so; says whether there are more.
    pub(super) fn give(&mut self, live: Option<ListRef<'_>>, mut visit: impl FnMut(&[u8]) -> bool) -> bool {
        while let Some(item) = self.front.pop_front() {
            if !visit(&item) {
                return true;
            }
        }
        if let Some(list) = live {
            let from = self.shift;
            let mut given = 0;
            let mut goes_on = true;
            for item in list.range(from..from + self.shared()) {
                let replaced = self.replaced.remove(&(self.start + given));
                given += 1;
                goes_on = visit(replaced.as_ref().map_or(&item, ShortBytes::as_slice));
                if !goes_on {
                    break;
                }
            }
            self.start += given;
            self.shift += given;
            if !goes_on {
                return true;
            }
        }
        while let Some(item) = self.back.pop_front() {
            if !visit(&item) {
                return true;
            }
        }
        false
    }

    /// Keeps what a change of the live list is about to take away.
    pub(super) fn keep(&mut self, live: ListRef<'_>, change: &KeyChange<'_>) -> Result<(), Broken> {
        match change {
            KeyChange::ListPush { end: End::Front, values } => self.shift += values.len(),
            KeyChange::ListPush { end: End::Back, .. } => {}
            KeyChange::ListPop { end: End::Front, count } => self.pop_front(live, *count as usize)?,
            KeyChange::ListPop { end: End::Back, count } => self.pop_back(live, *count as usize)?,
            KeyChange::ListSet { index, .. } => {
                let index = *index as usize;
                if let Some(place) = self.place(index)
                    && let Some(item) = live.get(index)
                {
                    self.replaced.entry(place).or_insert_with(|| item.into());
                }
            }
            KeyChange::ListInsert { index, .. } => match *index as usize {
                index if index <= self.shift => self.shift += 1,
                index if index >= self.shift + self.shared() => {}
                _ => return Err(Broken),
            },
            KeyChange::ListTrim { start, end } => {
                let (length, start) = (live.len(), *start as usize);
                let end = (*end as usize).min(length);
                self.pop_back(live, length - end.max(start.min(length)))?;
                self.pop_front(live, start.min(length))?;
            }
            KeyChange::ListRemove { indexes } => {
                if indexes.iter().any(|index| self.place(*index as usize).is_some()) {
                    return Err(Broken);
                }
                self.shift -= indexes.iter().filter(|index| (**index as usize) < self.shift).count();
            }
            // Which items go is not known before.
            _ if self.shared() > 0 => return Err(Broken),
            _ => {}
        }
        Ok(())
    }

    /// Whether the live list is still needed.
    pub(super) fn has_shared(&self) -> bool {
        self.shared() > 0
    }

    fn shared(&self) -> usize {
        self.end - self.start
    }

    /// The place of an item of the live list, if it is shared.
    fn place(&self, index: usize) -> Option<usize> {
        let within = index.checked_sub(self.shift)?;
        (within < self.shared()).then_some(self.start + within)
    }

    fn pop_front(&mut self, live: ListRef<'_>, count: usize) -> Result<(), Broken> {
        let others = count.min(self.shift);
        let lost = (count - others).min(self.shared());
        if lost > LOST_AT_ONCE {
            return Err(Broken);
        }
        for item in live.range(self.shift..self.shift + lost) {
            let replaced = self.replaced.remove(&self.start);
            self.front.push_back(replaced.unwrap_or_else(|| item.into()));
            self.start += 1;
        }
        self.shift -= others;
        Ok(())
    }

    fn pop_back(&mut self, live: ListRef<'_>, count: usize) -> Result<(), Broken> {
        let shared = self.shared();
        let others = live.len().saturating_sub(self.shift + shared);
        let lost = count.saturating_sub(others).min(shared);
        if lost > LOST_AT_ONCE {
            return Err(Broken);
        }
        let end = self.shift + shared;
        let kept: Vec<ShortBytes> = live.range(end - lost..end).map(ShortBytes::from).collect();
        for item in kept.into_iter().rev() {
            self.end -= 1;
            self.back.push_front(self.replaced.remove(&self.end).unwrap_or(item));
        }
        // What is left of it was in front of the shared part, which is empty by now.
        self.shift -= count.saturating_sub(others + shared).min(self.shift);
        Ok(())
    }
}
