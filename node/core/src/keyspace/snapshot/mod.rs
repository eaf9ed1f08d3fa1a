//! Large values as they were at one moment, read in steps between which their shard is free.
//!
//! ```text
//! open ----- step ----- step ----- step ----- done         each under the shard's lock, for some microseconds
//!       change     change
//!         '----------'---- what it takes away is kept first, if no step has given it yet
//! ```
//!
//! The elements of hashes and sets are given in the order of their scan positions, so one number says which were given.
//! A change looks for an open snapshot of its key and keeps the elements that it is about to touch; a value that goes as
//! a whole is moved to the snapshot. A shard without snapshots pays one branch for a change.
//!
//! **Invariant:** a change of an entry's value passes `keep_for_snapshots` before it is made.

mod list;

use std::collections::BTreeMap;
use std::sync::Arc;

use super::collection::Boxed;
use super::entry_image::put_piece;
use super::shard::{Place, Shard};
use super::value::image::pieces::{Element, Kind, Piece, is_large, put_text};
use super::value::{ShortBytes, Value, ValueRef, scan_position};
use crate::effect::KeyChange;
use crate::ids::UnixMillis;
use list::ListState;

/// Elements that are looked up in one go.
const PAGE_ELEMENTS: usize = 128;

/// The value has changed in a way that a snapshot cannot follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Broken;

/// An open snapshot of one shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SnapshotId(u64);

/// What a step has come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// There is more.
    More,
    /// Everything was given.
    Done,
    /// What was given is of no use: the value was changed in a way that cannot be followed.
    Broken,
}

/// The open snapshots of a shard.
#[derive(Debug, Default)]
pub(super) struct Snapshots {
    next_id: u64,
    open: Vec<Open>,
}

#[derive(Debug)]
struct Open {
    id: SnapshotId,
    database: u8,
    key: ShortBytes,
    expire_at: Option<UnixMillis>,
    is_begun: bool,
    state: State,
    /// The value, if its key has lost it.
    moved: Option<Arc<Value>>,
}

#[derive(Debug)]
enum State {
    Text { given: usize, length: usize },
    List(ListState),
    Elements(Elements),
    Broken,
}

/// A hash, a set or a sorted set.
#[derive(Debug)]
struct Elements {
    kind: Kind,
    /// Elements of lower positions were given. Nothing: all.
    cursor: Option<u64>,
    /// Elements that have changed since, as they were. `None`: it was not there.
    before: BTreeMap<(u64, ShortBytes), Option<Was>>,
}

#[derive(Debug)]
enum Was {
    Value(ShortBytes, Option<UnixMillis>),
    Score(f64),
    There,
}

impl Shard {
    /// Opens a snapshot of the value of `key`, if it is large: `step_snapshot` gives it as it is now. To be closed.
    pub fn open_snapshot(&mut self, database: u8, key: &[u8]) -> Option<SnapshotId> {
        let entry = self.database(database).find(key)?;
        let state = match entry.value() {
            value if !is_large(value) => return None,
            ValueRef::String(text) => State::Text { given: 0, length: text.len() },
            ValueRef::List(list) => State::List(ListState::new(list)),
            other => State::Elements(Elements { kind: Kind::of(other)?, cursor: Some(0), before: BTreeMap::new() }),
        };
        let expire_at = entry.expire_at();
        let snapshots = &mut self.snapshots;
        snapshots.next_id += 1;
        let id = SnapshotId(snapshots.next_id);
        let key = ShortBytes::from(key);
        snapshots.open.push(Open { id, database, key, expire_at, is_begun: false, state, moved: None });
        Some(id)
    }

    /// Appends the next pieces of a snapshot, of about `bytes` in all: entries as in the image of a shard, the first of
    /// which begins the value.
    pub fn step_snapshot(&mut self, id: SnapshotId, bytes: usize, out: &mut Vec<u8>) -> Step {
        let mut snapshots = std::mem::take(&mut self.snapshots);
        let step = match snapshots.open.iter_mut().find(|open| open.id == id) {
            Some(open) => open.step(self, bytes, out),
            None => Step::Broken,
        };
        self.snapshots = snapshots;
        step
    }

    /// Nobody reads it any more. What it has kept is given back, to be dropped without the lock.
    pub fn close_snapshot(&mut self, id: SnapshotId) -> impl Drop + use<> {
        let open = &mut self.snapshots.open;
        Dropped(open.iter().position(|other| other.id == id).map(|at| open.swap_remove(at)))
    }

    /// Whether somebody reads the value of a key in steps.
    pub(super) fn is_in_snapshot(&self, database: u8, key: &[u8]) -> bool {
        self.snapshots.open.iter().any(|open| open.is_of(database, key))
    }

    /// Whether a snapshot is open.
    #[inline]
    pub(super) fn has_snapshots(&self) -> bool {
        !self.snapshots.open.is_empty()
    }

    /// `change` is about to be made.
    #[cold]
    pub(super) fn keep_for_snapshots(&mut self, database: u8, key: &[u8], place: Place, change: &KeyChange<'_>) {
        let mut snapshots = std::mem::take(&mut self.snapshots);
        let mut of_key: Vec<&mut Open> = snapshots.open.iter_mut().filter(|open| open.is_of(database, key)).collect();
        if !of_key.is_empty()
            && let Some(slot) = place.slot
        {
            let table = &mut self.database_mut(database).table;
            let moved = if change.replaces() { table.collection(slot).map(Boxed::take) } else { None };
            match (change, moved.map(Arc::new)) {
                (KeyChange::Expire { .. } | KeyChange::Persist, _) => {}
                (_, Some(value)) => of_key.into_iter().for_each(|open| open.moved = Some(Arc::clone(&value))),
                (change, None) => {
                    let live = table.at(slot).value();
                    for open in &mut of_key {
                        if open.keep(live, change) == Err(Broken) {
                            open.state = State::Broken;
                        }
                    }
                }
            }
        }
        self.snapshots = snapshots;
    }

    /// A database is about to lose all that it holds, or all are.
    pub(super) fn flush_snapshots(&mut self, database: Option<u8>) {
        // Rare, and its values are not there any more: begin again, with what is left.
        for open in self.snapshots.open.iter_mut().filter(|open| database.is_none_or(|one| one == open.database)) {
            open.state = State::Broken;
        }
    }

    pub(super) fn swap_snapshots(&mut self, first: u8, second: u8) {
        for open in &mut self.snapshots.open {
            open.database = match open.database {
                database if database == first => second,
                database if database == second => first,
                other => other,
            };
        }
    }
}

/// Something large that is dropped outside of a lock.
struct Dropped(#[expect(dead_code, reason = "it is held, and dropped")] Option<Open>);

impl Drop for Dropped {
    fn drop(&mut self) {}
}

impl Open {
    fn is_of(&self, database: u8, key: &[u8]) -> bool {
        self.moved.is_none() && self.database == database && self.key.matches(key)
    }

    fn step(&mut self, shard: &Shard, bytes: usize, out: &mut Vec<u8>) -> Step {
        let Self { database, key, expire_at, is_begun, state, moved, .. } = self;
        let live = match moved {
            Some(value) => Some(Value::as_ref(value)),
            None => shard.database(*database).find(key).map(|entry| entry.value()),
        };
        let mut image = Vec::new();
        let more = match state {
            State::Broken => return Step::Broken,
            State::Text { given, length } => {
                // Whatever comes in its place ends the snapshot.
                let Some(ValueRef::String(text)) = live else { return Step::Broken };
                let end = (*given + bytes).min(*length);
                let Some(part) = text.get(*given..end) else { return Step::Broken };
                put_text(part, &mut image);
                *given = end;
                end < *length
            }
            State::List(list) => {
                let mut piece = Piece::new(Kind::List);
                let live = match live {
                    Some(ValueRef::List(list)) => Some(list),
                    _ if list.has_shared() => return Step::Broken,
                    _ => None,
                };
                let more = list.give(live, |item| {
                    piece.push(Element::Item(item));
                    piece.bytes() < bytes
                });
                if !piece.is_empty() {
                    piece.finish(&mut image);
                }
                more
            }
            State::Elements(elements) => {
                let mut piece = Piece::new(elements.kind);
                while piece.bytes() < bytes && elements.cursor.is_some() {
                    elements.give(live, &mut piece);
                }
                if !piece.is_empty() {
                    piece.finish(&mut image);
                }
                elements.cursor.is_some()
            }
        };
        if !image.is_empty() {
            put_piece(*database, key, *expire_at, std::mem::replace(is_begun, true), &image, out);
        }
        if more { Step::More } else { Step::Done }
    }

    fn keep(&mut self, live: ValueRef<'_>, change: &KeyChange<'_>) -> Result<(), Broken> {
        match (&mut self.state, live) {
            (State::Broken, _) => Ok(()),
            (State::Text { given, length }, _) => match change {
                KeyChange::Append { .. } => Ok(()),
                KeyChange::SetRange { offset, bytes } => {
                    let offset = *offset as usize;
                    if offset >= *length || offset.saturating_add(bytes.len()) <= *given { Ok(()) } else { Err(Broken) }
                }
                _ => Err(Broken),
            },
            (State::List(state), ValueRef::List(list)) => state.keep(list, change),
            (State::Elements(elements), live) => elements.keep(live, change),
            // The list is gone, and nothing of it is in the value that has come in its place.
            (State::List(_), _) => Ok(()),
        }
    }
}

impl Elements {
    /// Gives some elements in the order of their positions.
    fn give(&mut self, live: Option<ValueRef<'_>>, piece: &mut Piece) {
        let Some(cursor) = self.cursor else { return };
        let before = &self.before;
        // A small collection is scanned from its beginning, whatever the cursor.
        let mut push = |key: &[u8], element: Element<'_>| {
            let position = scan_position(key);
            if position >= cursor && (before.is_empty() || !before.contains_key(&(position, ShortBytes::from(key)))) {
                piece.push(element);
            }
        };
        let next = match (self.kind, live) {
            (Kind::Hash, Some(ValueRef::Hash(hash))) => {
                let (next, page) = hash.scan(cursor, PAGE_ELEMENTS);
                page.into_iter().for_each(|(field, value)| push(field, Element::Field(field, value)));
                next
            }
            (Kind::TimedHash, Some(ValueRef::Hash(hash))) => {
                let (next, page) = hash.scan(cursor, PAGE_ELEMENTS);
                for (field, value) in page {
                    push(field, Element::Timed(field, value, hash.deadline(field)));
                }
                next
            }
            (Kind::Set, Some(ValueRef::Set(set))) => {
                let (next, page) = set.scan(cursor, PAGE_ELEMENTS);
                page.iter().for_each(|member| push(member, Element::Member(member)));
                next
            }
            (Kind::SortedSet, Some(ValueRef::SortedSet(set))) => {
                let (next, page) = set.scan(cursor, PAGE_ELEMENTS);
                page.into_iter().for_each(|(member, score)| push(member, Element::Scored(member, score)));
                next
            }
            // All of it was taken away, an element at a time.
            _ => 0,
        };
        let later = match next {
            0 => BTreeMap::new(),
            next => self.before.split_off(&(next, ShortBytes::new())),
        };
        for ((_, key), was) in std::mem::replace(&mut self.before, later) {
            match was {
                None => {}
                Some(Was::Value(value, deadline)) if self.kind == Kind::TimedHash => {
                    piece.push(Element::Timed(&key, &value, deadline));
                }
                Some(Was::Value(value, _)) => piece.push(Element::Field(&key, &value)),
                Some(Was::Score(score)) => piece.push(Element::Scored(&key, score)),
                Some(Was::There) => piece.push(Element::Member(&key)),
            }
        }
        self.cursor = (next != 0).then_some(next);
    }

    fn keep(&mut self, live: ValueRef<'_>, change: &KeyChange<'_>) -> Result<(), Broken> {
        match change {
            KeyChange::HashSet { pairs } => pairs.iter().step_by(2).for_each(|field| self.keep_one(live, field)),
            KeyChange::HashRemove { fields: elements }
            | KeyChange::HashExpire { fields: elements, .. }
            | KeyChange::SetAdd { members: elements }
            | KeyChange::SetRemove { members: elements }
            | KeyChange::SortedRemove { members: elements } => {
                elements.iter().for_each(|element| self.keep_one(live, element));
            }
            KeyChange::SortedAdd { pairs } => pairs.iter().for_each(|(_, member)| self.keep_one(live, member)),
            KeyChange::SortedRemoveRanks { start, end } => {
                let ValueRef::SortedSet(set) = live else { return Ok(()) };
                for (member, _) in set.range_by_rank(*start as usize..(*end as usize).min(set.len())) {
                    self.keep_one(live, member);
                }
            }
            _ => return Err(Broken),
        }
        Ok(())
    }

    fn keep_one(&mut self, live: ValueRef<'_>, element: &[u8]) {
        let position = scan_position(element);
        if self.cursor.is_none_or(|cursor| position < cursor) {
            return;
        }
        let kind = self.kind;
        self.before.entry((position, ShortBytes::from(element))).or_insert_with(|| match (kind, live) {
            (Kind::Hash | Kind::TimedHash, ValueRef::Hash(hash)) => {
                hash.get(element).map(|value| Was::Value(value.into(), hash.deadline(element)))
            }
            (Kind::Set, ValueRef::Set(set)) => set.contains(element).then_some(Was::There),
            (Kind::SortedSet, ValueRef::SortedSet(set)) => set.score(element).map(Was::Score),
            _ => None,
        });
    }
}

#[cfg(test)]
mod tests;
