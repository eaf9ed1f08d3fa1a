//! How do entries of a stream lie together? As in Redis, so that trimming takes as much and DUMP carries them as they are:
//!
//! ```text
//! node  = listpack: live | deleted | fields | field... | 0 | entry...
//! entry = flags | ms - node's ms | seq - node's seq | values...                    fields as the node's (flag 2)
//!                                                    | fields | (field | value)...  of its own
//!         | number of elements of the entry before this one
//! ```

use super::id::StreamId;
use crate::keyspace::listpack::{Cursor, Element, Listpack};

const DELETED: i64 = 1;
const SAME_FIELDS: i64 = 2;

/// The first element of a listpack.
const FIRST: usize = 6;

/// An entry of a stream where it lies.
#[derive(Debug, Clone)]
pub struct Entry<'a> {
    pub id: StreamId,
    pub(super) is_deleted: bool,
    /// Where its flags are.
    at: usize,
    flags: i64,
    fields: usize,
    /// The names, where they are the node's.
    names: Option<Cursor<'a>>,
    content: Cursor<'a>,
}

impl<'a> Entry<'a> {
    /// Number of fields.
    #[must_use]
    pub fn len(&self) -> usize {
        self.fields
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.fields == 0
    }

    /// Fields with their values.
    pub fn fields(&self) -> impl Iterator<Item = (Element<'a>, Element<'a>)> + 'a {
        let (mut names, mut content) = (self.names, self.content);
        (0..self.fields).map_while(move |_| {
            let name = match &mut names {
                Some(names) => names.next()?,
                None => content.next()?,
            };
            Some((name, content.next()?))
        })
    }
}

/// Some entries that were added one after the other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Node {
    pack: Listpack,
}

impl Node {
    /// A node whose first entry has these fields; without the entry.
    fn new(pairs: &[&[u8]]) -> Self {
        let mut pack = Listpack::default();
        pack.push_integer(0);
        pack.push_integer(0);
        pack.push_integer((pairs.len() / 2) as i64);
        pairs.iter().step_by(2).for_each(|field| pack.push_text(field));
        pack.push_integer(0);
        Self { pack }
    }

    /// A node with its first entry.
    pub(super) fn starting_with(id: StreamId, pairs: &[&[u8]]) -> Self {
        let mut node = Self::new(pairs);
        node.push(id, id, pairs);
        node
    }

    /// A node that came from elsewhere, if every entry of it can be read.
    pub(super) fn checked(master: StreamId, pack: Listpack) -> Option<Self> {
        let node = Self { pack };
        let (live, deleted) = node.counts()?;
        let (mut found, mut gone, mut last) = (0u64, 0u64, None);
        let mut entries = node.entries(master);
        for entry in entries.by_ref() {
            if last.is_some_and(|last| last >= entry.id) {
                return None;
            }
            last = Some(entry.id);
            let counter = if entry.is_deleted { &mut gone } else { &mut found };
            *counter += 1;
        }
        // Every element belongs to an entry, and the first lines say how many there are.
        (entries.is_at_end() && found == live && gone == deleted && found > 0).then_some(node)
    }

    pub(super) fn pack(&self) -> &Listpack {
        &self.pack
    }

    pub(super) fn shrink(&mut self) {
        self.pack.shrink();
    }

    fn counts(&self) -> Option<(u64, u64)> {
        let mut cursor = self.pack.cursor();
        let live = cursor.next()?.integer()?;
        let deleted = cursor.next()?.integer()?;
        Some((u64::try_from(live).ok()?, u64::try_from(deleted).ok()?))
    }

    pub(super) fn live(&self) -> u64 {
        self.counts().map_or(0, |(live, _)| live)
    }

    /// Entries, the deleted ones included.
    pub(super) fn len(&self) -> u64 {
        self.counts().map_or(0, |(live, deleted)| live + deleted)
    }

    fn change_counts(&mut self, live: i64, deleted: i64) {
        let Some((before, gone)) = self.counts() else { return };
        self.pack.replace_integer(FIRST, before as i64 + live);
        let mut cursor = self.pack.cursor();
        cursor.next();
        let second = cursor.position();
        self.pack.replace_integer(second, gone as i64 + deleted);
    }

    pub(super) fn push(&mut self, master: StreamId, id: StreamId, pairs: &[&[u8]]) {
        let mut names = self.pack.cursor().skip(2);
        let fields = names.next().and_then(Element::integer).unwrap_or(0);
        let is_same = fields as usize == pairs.len() / 2
            && pairs.iter().step_by(2).all(|field| names.next().is_some_and(|name| name.is(field)));
        self.change_counts(1, 0);
        let pack = &mut self.pack;
        pack.push_integer(if is_same { SAME_FIELDS } else { 0 });
        pack.push_integer(id.ms.wrapping_sub(master.ms) as i64);
        pack.push_integer(id.seq.wrapping_sub(master.seq) as i64);
        let count = (pairs.len() / 2) as i64;
        if is_same {
            pairs.iter().skip(1).step_by(2).for_each(|value| pack.push_text(value));
            pack.push_integer(count + 3);
        } else {
            pack.push_integer(count);
            pairs.iter().for_each(|text| pack.push_text(text));
            pack.push_integer(2 * count + 4);
        }
    }

    pub(super) fn entries(&self, master: StreamId) -> Entries<'_> {
        let mut cursor = self.pack.cursor();
        // Live and deleted.
        cursor.next();
        cursor.next();
        let fields = cursor.next().and_then(Element::integer).and_then(|count| usize::try_from(count).ok());
        let names = cursor;
        // As many as there are, whatever the number claims; and the 0 behind them.
        let fields = fields.filter(|fields| cursor.by_ref().take(fields.saturating_add(1)).count() == fields + 1);
        Entries { master, names, fields: fields.unwrap_or(0), cursor, end: self.pack.end() }
    }

    /// Marks the entry as deleted. Says whether it was there.
    pub(super) fn delete(&mut self, master: StreamId, id: StreamId) -> bool {
        let Some((at, flags)) = self
            .entries(master)
            .take_while(|entry| entry.id <= id)
            .find(|entry| entry.id == id && !entry.is_deleted)
            .map(|entry| (entry.at, entry.flags))
        else {
            return false;
        };
        self.pack.replace_integer(at, flags | DELETED);
        self.change_counts(-1, 1);
        true
    }
}

/// The entries of a node in their order, the deleted ones among them.
#[derive(Debug, Clone)]
pub(super) struct Entries<'a> {
    master: StreamId,
    names: Cursor<'a>,
    fields: usize,
    cursor: Cursor<'a>,
    end: usize,
}

impl Entries<'_> {
    fn is_at_end(&self) -> bool {
        self.cursor.position() == self.end
    }
}

impl<'a> Iterator for Entries<'a> {
    type Item = Entry<'a>;

    fn next(&mut self) -> Option<Entry<'a>> {
        let mut cursor = self.cursor;
        let at = cursor.position();
        let flags = cursor.next()?.integer()?;
        let ms = cursor.next()?.integer()? as u64;
        let seq = cursor.next()?.integer()? as u64;
        let is_same = flags & SAME_FIELDS != 0;
        let fields = if is_same { self.fields } else { usize::try_from(cursor.next()?.integer()?).ok()? };
        let content = cursor;
        let elements = if is_same { fields } else { fields.checked_mul(2)? };
        // The elements, and their number.
        if cursor.by_ref().take(elements).count() != elements {
            return None;
        }
        let said = cursor.next()?.integer()?;
        if usize::try_from(said).ok()? != elements + 3 + usize::from(!is_same) {
            return None;
        }
        self.cursor = cursor;
        Some(Entry {
            id: StreamId::new(self.master.ms.wrapping_add(ms), self.master.seq.wrapping_add(seq)),
            is_deleted: flags & DELETED != 0,
            at,
            flags,
            fields,
            names: is_same.then_some(self.names),
            content,
        })
    }
}
