//! What is a stream? Entries of fields and values in the order of their ids, and the groups that read them. Entries lie
//! packed in nodes (`node.rs`), which are Redis's own, for what `MAXLEN ~` removes is a whole number of nodes.

mod group;
mod id;
pub mod image;
mod node;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

pub use group::{Consumer, Given, Group, Pending};
pub use id::StreamId;
pub use node::Entry;

use node::Node;

use crate::keyspace::listpack::Listpack;

/// Redis: a node never grows beyond this, whatever the settings say.
pub const NODE_BYTES_MAX: usize = 1 << 30;

/// When a node is full: the settings `stream-node-max-bytes` and `stream-node-max-entries`, 0 = no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NodeLimits {
    pub bytes: usize,
    pub entries: u64,
}

impl Default for NodeLimits {
    fn default() -> Self {
        Self { bytes: 4096, entries: 100 }
    }
}

/// What trimming leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// So many of the newest entries.
    Newest(u64),
    /// Entries from this id on.
    From(StreamId),
}

/// How exactly it is trimmed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exactness {
    Exact,
    /// Whole nodes only, and of those at most so many entries (0 = as many as there are).
    WholeNodes {
        most: u64,
    },
}

/// A stream. It may be empty and there all the same.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Stream {
    nodes: BTreeMap<StreamId, Node>,
    length: u64,
    first_id: StreamId,
    last_id: StreamId,
    max_deleted_id: StreamId,
    added: u64,
    groups: BTreeMap<Box<[u8]>, Group>,
}

/// What a stream says about itself besides its entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Summary {
    pub length: u64,
    pub first_id: StreamId,
    pub last_id: StreamId,
    pub max_deleted_id: StreamId,
    pub added: u64,
}

impl Stream {
    #[must_use]
    pub fn len(&self) -> u64 {
        self.length
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    #[must_use]
    pub fn last_id(&self) -> StreamId {
        self.last_id
    }

    #[must_use]
    pub fn summary(&self) -> Summary {
        let Self { length, first_id, last_id, max_deleted_id, added, .. } = *self;
        Summary { length, first_id, last_id, max_deleted_id, added }
    }

    #[must_use]
    pub fn groups(&self) -> &BTreeMap<Box<[u8]>, Group> {
        &self.groups
    }

    #[must_use]
    pub fn group(&self, name: &[u8]) -> Option<&Group> {
        self.groups.get(name)
    }

    pub fn group_mut(&mut self, name: &[u8]) -> Option<&mut Group> {
        self.groups.get_mut(name)
    }

    /// Makes a group, unless it is there. Says whether it was made.
    pub fn create_group(&mut self, name: &[u8], group: Group) -> bool {
        if self.groups.contains_key(name) {
            return false;
        }
        self.groups.insert(name.into(), group);
        true
    }

    pub fn remove_group(&mut self, name: &[u8]) -> bool {
        self.groups.remove(name).is_some()
    }

    /// Nodes with the ids that they count from, in Redis's form.
    pub fn nodes(&self) -> impl ExactSizeIterator<Item = (StreamId, &Listpack)> {
        self.nodes.iter().map(|(id, node)| (*id, node.pack()))
    }

    /// Whether an entry with so many bytes of fields and values begins a new node. The one that adds it decides, and says
    /// so in the effect, since settings may differ between copies.
    #[must_use]
    pub fn starts_node(&self, bytes: usize, limits: NodeLimits) -> bool {
        let Some((_, last)) = self.nodes.last_key_value() else { return true };
        let most = if limits.bytes == 0 { NODE_BYTES_MAX } else { limits.bytes.min(NODE_BYTES_MAX) };
        last.pack().size() + bytes >= most || limits.entries > 0 && last.len() >= limits.entries
    }

    /// Adds an entry with an id beyond the last one.
    pub fn add(&mut self, id: StreamId, starts_node: bool, pairs: &[&[u8]]) {
        match self.nodes.last_entry() {
            Some(mut last) if !starts_node => {
                let master = *last.key();
                last.get_mut().push(master, id, pairs);
            }
            last => {
                if let Some(mut last) = last {
                    last.get_mut().shrink();
                }
                self.nodes.insert(id, Node::starting_with(id, pairs));
            }
        }
        self.length += 1;
        self.added = self.added.wrapping_add(1);
        self.last_id = id;
        if self.length == 1 {
            self.first_id = id;
        }
    }

    /// Deletes an entry. Says whether it was there.
    pub fn delete(&mut self, id: StreamId) -> bool {
        let Some((master, node)) = self.nodes.range_mut(..=id).next_back() else { return false };
        let master = *master;
        if !node.delete(master, id) {
            return false;
        }
        if node.live() == 0 {
            self.nodes.remove(&master);
        }
        self.length -= 1;
        self.max_deleted_id = self.max_deleted_id.max(id);
        if self.length == 0 || id == self.first_id {
            self.find_first();
        }
        true
    }

    fn find_first(&mut self) {
        let first = self.range(StreamId::MIN, StreamId::MAX).next().map(|entry| entry.id);
        self.first_id = first.unwrap_or(StreamId::MIN);
    }

    /// Removes old entries; says how many.
    pub fn trim(&mut self, keep: Keep, exactness: Exactness) -> u64 {
        let before = self.length;
        while let Some(mut first) = self.nodes.first_entry() {
            if matches!(keep, Keep::Newest(most) if self.length <= most) {
                break;
            }
            let master = *first.key();
            let live = first.get().live();
            if let Exactness::WholeNodes { most } = exactness
                && most > 0
                && before - self.length + live > most
            {
                break;
            }
            let goes_whole = match keep {
                Keep::Newest(most) => self.length.saturating_sub(live) >= most,
                Keep::From(id) => first.get().entries(master).last().is_none_or(|last| last.id < id),
            };
            if goes_whole {
                first.remove();
                self.length -= live;
                continue;
            }
            if exactness != Exactness::Exact {
                break;
            }
            let surplus = match keep {
                Keep::Newest(most) => usize::try_from(self.length - most).unwrap_or(usize::MAX),
                Keep::From(_) => usize::MAX,
            };
            let is_old = |id: StreamId| match keep {
                Keep::Newest(_) => true,
                Keep::From(from) => id < from,
            };
            let old = first.get().entries(master).filter(|entry| !entry.is_deleted).take(surplus);
            let old: Vec<StreamId> = old.map(|entry| entry.id).take_while(|id| is_old(*id)).collect();
            for id in &old {
                first.get_mut().delete(master, *id);
            }
            self.length -= old.len() as u64;
            break;
        }
        if self.length < before {
            self.find_first();
        }
        before - self.length
    }

    /// Sets what XSETID sets.
    pub fn set_id(&mut self, last_id: StreamId, added: Option<u64>, max_deleted_id: Option<StreamId>) {
        self.last_id = last_id;
        self.added = added.unwrap_or(self.added);
        self.max_deleted_id = max_deleted_id.unwrap_or(self.max_deleted_id);
    }

    /// Entries from `start` to `end`, both included.
    pub fn range(&self, start: StreamId, end: StreamId) -> impl Iterator<Item = Entry<'_>> {
        let is_empty = start > end;
        let end = end.max(start);
        let first = self.nodes.range(..=start).next_back().map_or(start, |(master, _)| *master);
        let nodes = self.nodes.range(first..=end).filter(move |_| !is_empty);
        nodes
            .flat_map(|(master, node)| node.entries(*master))
            .skip_while(move |entry| entry.id < start)
            .take_while(move |entry| entry.id <= end)
            .filter(|entry| !entry.is_deleted)
    }

    /// As `range`, the newest first.
    pub fn range_back(&self, start: StreamId, end: StreamId) -> impl Iterator<Item = Entry<'_>> {
        let is_empty = start > end;
        let end = end.max(start);
        let first = self.nodes.range(..=start).next_back().map_or(start, |(master, _)| *master);
        let nodes = self.nodes.range(first..=end).rev().filter(move |_| !is_empty);
        nodes
            .flat_map(|(master, node)| node.entries(*master).collect::<Vec<_>>().into_iter().rev())
            .skip_while(move |entry| entry.id > end)
            .take_while(move |entry| entry.id >= start)
            .filter(|entry| !entry.is_deleted)
    }

    #[must_use]
    pub fn get(&self, id: StreamId) -> Option<Entry<'_>> {
        self.range(id, id).next()
    }

    /// The newest entry that is there.
    #[must_use]
    pub fn last_valid_id(&self) -> StreamId {
        self.range_back(StreamId::MIN, StreamId::MAX).next().map_or(StreamId::MIN, |entry| entry.id)
    }

    /// Whether an entry may have been deleted from `start` on.
    #[must_use]
    pub fn may_lack_after(&self, start: StreamId) -> bool {
        self.length > 0
            && self.max_deleted_id != StreamId::MIN
            && self.first_id <= self.max_deleted_id
            && start <= self.max_deleted_id
    }

    /// Entries that were ever added up to `id`, where that can be known.
    #[must_use]
    pub fn added_up_to(&self, id: StreamId) -> Option<u64> {
        if self.added == 0 {
            return Some(0);
        }
        if self.length == 0 && id <= self.last_id || id == self.last_id {
            return Some(self.added);
        }
        if id > self.last_id {
            return None;
        }
        let is_whole = self.max_deleted_id == StreamId::MIN || self.max_deleted_id < self.first_id;
        let before = self.added.wrapping_sub(self.length);
        match id.cmp(&self.first_id) {
            std::cmp::Ordering::Less if is_whole => Some(before),
            std::cmp::Ordering::Equal if is_whole => Some(before.wrapping_add(1)),
            _ => None,
        }
    }

    /// Entries that a group has not read, where that can be known.
    #[must_use]
    pub fn lag(&self, group: &Group) -> Option<i64> {
        if self.added == 0 {
            return Some(0);
        }
        let read = match group.read {
            Some(read) if !self.may_lack_after(group.last_id) => read,
            _ => self.added_up_to(group.last_id)?,
        };
        Some((self.added as i64).wrapping_sub(read as i64))
    }

    /// Where a group stands after it has been given the entry `id`.
    #[must_use]
    pub fn read_after(&self, read: Option<u64>, id: StreamId) -> Option<u64> {
        match read {
            Some(read) if !self.may_lack_after(id) => Some(read.wrapping_add(1)),
            _ if self.added > 0 => self.added_up_to(id),
            other => other,
        }
    }

    /// Bytes taken, about.
    #[must_use]
    pub fn memory_usage(&self) -> usize {
        const NODE_OVERHEAD: usize = size_of::<StreamId>() + size_of::<Node>() + 16;
        let nodes: usize = self.nodes.values().map(|node| node.pack().memory_usage() + NODE_OVERHEAD).sum();
        let groups: usize = self.groups.iter().map(|(name, group)| name.len() + group.memory_usage()).sum();
        size_of::<Self>() + nodes + groups
    }
}
