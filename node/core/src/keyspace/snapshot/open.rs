//! One open snapshot: what of its value was given, and what the value was before it changed.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::super::entry_image::put_piece;
use super::super::value::image::pieces::{Element, Kind, Piece, is_large, put_text};
use super::super::value::{ShortBytes, Value, ValueRef, said_position};
use super::list::{Broken, ListState};
use crate::effect::KeyChange;
use crate::ids::UnixMillis;

/// Elements that are looked up in one go.
const PAGE_ELEMENTS: usize = 128;

/// An open snapshot of one shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SnapshotId(pub(super) u64);

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
pub(in super::super) struct Snapshots {
    pub(super) next_id: u64,
    pub(super) open: Vec<Open>,
}

#[derive(Debug)]
pub(super) struct Open {
    pub(super) id: SnapshotId,
    pub(super) database: u8,
    pub(super) key: ShortBytes,
    pub(super) expire_at: Option<UnixMillis>,
    pub(super) is_begun: bool,
    pub(super) state: State,
    /// The value, if its key has lost it.
    pub(super) moved: Option<Arc<Value>>,
}

#[derive(Debug)]
pub(super) enum State {
    Text { given: usize, length: usize },
    List(ListState),
    Elements(Elements),
    Broken,
}

/// A hash, a set or a sorted set.
#[derive(Debug)]
pub(super) struct Elements {
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

impl State {
    /// Nothing was given yet. `None`: the value is small.
    pub(super) fn of(value: ValueRef<'_>) -> Option<Self> {
        Some(match value {
            value if !is_large(value) => return None,
            ValueRef::String(text) => Self::Text { given: 0, length: text.len() },
            ValueRef::List(list) => Self::List(ListState::new(list)),
            other => Self::Elements(Elements { kind: Kind::of(other)?, cursor: Some(0), before: BTreeMap::new() }),
        })
    }
}

impl Open {
    /// Whether it is of what this key holds now.
    pub(super) fn is_of(&self, database: u8, key: &[u8]) -> bool {
        self.moved.is_none() && self.database == database && self.key.matches(key)
    }

    /// Appends the next pieces, of about `bytes` in all. `live` is what the key holds now.
    pub(super) fn step(&mut self, live: Option<ValueRef<'_>>, bytes: usize, out: &mut Vec<u8>) -> Step {
        let Self { database, key, expire_at, is_begun, state, moved, .. } = self;
        let live = moved.as_ref().map_or(live, |value| Some(Value::as_ref(value)));
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

    /// Keeps what a change of the value is about to take away.
    pub(super) fn keep(&mut self, live: ValueRef<'_>, change: &KeyChange<'_>) -> Result<(), Broken> {
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
            let position = said_position(key);
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
        let position = said_position(element);
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
