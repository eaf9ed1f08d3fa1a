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
mod open;

use std::sync::Arc;

use super::collection::Boxed;
use super::database::Place;
use super::shard::Shard;
use super::value::ShortBytes;
use crate::effect::KeyChange;
use list::Broken;
pub(super) use open::Snapshots;
use open::{Open, State};
pub use open::{SnapshotId, Step};

impl Shard {
    /// Opens a snapshot of the value of `key`, if it is large: `step_snapshot` gives it as it is now. To be closed.
    pub fn open_snapshot(&mut self, database: u8, key: &[u8]) -> Option<SnapshotId> {
        let entry = self.database(database).find(key)?;
        let state = State::of(entry.value())?;
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
            Some(open) => {
                let live = self.database(open.database).find(&open.key).map(|entry| entry.value());
                open.step(live, bytes, out)
            }
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

#[cfg(test)]
mod tests;
