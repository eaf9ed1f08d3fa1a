//! Locks with ranks: a thread takes them in one order only, so that no two threads can wait for each other.
//!
//! ```text
//! door < shards (ascending) < broker < topology < queues (ascending) < accounts < journal < leaf
//! ```
//!
//! A debug build, and so every test, panics where a lock is taken whose rank is not greater than that of every lock that
//! the thread holds. That finds a lock taken twice, too. A release build has the bare locks of `parking_lot`.
//!
//! **Invariant:** whoever holds a lock calls nothing that takes one of the same rank or of a lower one.

use std::ops::{Deref, DerefMut};
use std::time::Duration;

use parking_lot::{MutexGuard as BareMutexGuard, RwLockReadGuard as BareReadGuard, RwLockWriteGuard as BareWriteGuard};

/// The place of a lock in the order. Locks of one kind are ordered by number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rank {
    /// Role and hold of the node: held shared by every batch.
    Door,
    Shard(u32),
    /// The broker: shared by each batch, alone for operations that make one record.
    Broker,
    Topology,
    Queue(u32),
    Accounts,
    Journal,
    /// Under it nothing else is locked.
    Leaf,
}

/// A mutex that knows its rank.
#[derive(Debug)]
pub struct Mutex<T> {
    #[cfg(debug_assertions)]
    rank: Rank,
    bare: parking_lot::Mutex<T>,
}

/// A lock for many readers or one writer that knows its rank.
#[derive(Debug)]
pub struct RwLock<T> {
    #[cfg(debug_assertions)]
    rank: Rank,
    bare: parking_lot::RwLock<T>,
}

impl<T> Mutex<T> {
    #[cfg_attr(not(debug_assertions), allow(unused_variables, reason = "only debug builds check ranks"))]
    pub const fn new(rank: Rank, value: T) -> Self {
        Self {
            #[cfg(debug_assertions)]
            rank,
            bare: parking_lot::Mutex::new(value),
        }
    }

    #[inline]
    #[track_caller]
    pub fn lock(&self) -> MutexGuard<'_, T> {
        #[cfg(debug_assertions)]
        let held = held::Held::new(self.rank);
        MutexGuard {
            bare: self.bare.lock(),
            #[cfg(debug_assertions)]
            held,
        }
    }

    /// Whether somebody holds it for longer than this.
    #[must_use]
    pub fn is_held_for(&self, most: Duration) -> bool {
        self.bare.try_lock_for(most).is_none()
    }

    /// `None`: somebody else holds it. It waits for nobody, so the order does not matter.
    #[inline]
    pub fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        let bare = self.bare.try_lock()?;
        Some(MutexGuard {
            bare,
            #[cfg(debug_assertions)]
            held: held::Held::without_order(self.rank),
        })
    }

    pub fn get_mut(&mut self) -> &mut T {
        self.bare.get_mut()
    }
}

impl<T> RwLock<T> {
    #[cfg_attr(not(debug_assertions), allow(unused_variables, reason = "only debug builds check ranks"))]
    pub const fn new(rank: Rank, value: T) -> Self {
        Self {
            #[cfg(debug_assertions)]
            rank,
            bare: parking_lot::RwLock::new(value),
        }
    }

    #[inline]
    #[track_caller]
    pub fn read(&self) -> ReadGuard<'_, T> {
        #[cfg(debug_assertions)]
        let held = held::Held::new(self.rank);
        ReadGuard {
            bare: self.bare.read(),
            #[cfg(debug_assertions)]
            held,
        }
    }

    /// As `read`, also for a thread that already reads: a writer who waits meanwhile does not come between.
    #[inline]
    pub fn read_recursive(&self) -> ReadGuard<'_, T> {
        ReadGuard {
            bare: self.bare.read_recursive(),
            #[cfg(debug_assertions)]
            held: held::Held::without_order(self.rank),
        }
    }

    #[inline]
    #[track_caller]
    pub fn write(&self) -> WriteGuard<'_, T> {
        #[cfg(debug_assertions)]
        let held = held::Held::new(self.rank);
        WriteGuard {
            bare: self.bare.write(),
            #[cfg(debug_assertions)]
            held,
        }
    }

    /// `None`: somebody writes, or waits to write.
    #[inline]
    pub fn try_read(&self) -> Option<ReadGuard<'_, T>> {
        let bare = self.bare.try_read()?;
        Some(ReadGuard {
            bare,
            #[cfg(debug_assertions)]
            held: held::Held::without_order(self.rank),
        })
    }

    pub fn get_mut(&mut self) -> &mut T {
        self.bare.get_mut()
    }
}

macro_rules! guard {
    ($(#[$about:meta])* $name:ident, $bare:ident) => {
        $(#[$about])*
        #[derive(Debug)]
        #[must_use]
        pub struct $name<'a, T> {
            bare: $bare<'a, T>,
            #[cfg(debug_assertions)]
            #[allow(dead_code, reason = "it is held, and dropped")]
            held: held::Held,
        }

        impl<T> Deref for $name<'_, T> {
            type Target = T;

            #[inline]
            fn deref(&self) -> &T {
                &self.bare
            }
        }
    };
}

guard!(
    /// Holds a `Mutex`.
    MutexGuard,
    BareMutexGuard
);
guard!(
    /// Holds an `RwLock` shared.
    ReadGuard,
    BareReadGuard
);
guard!(
    /// Holds an `RwLock` alone.
    WriteGuard,
    BareWriteGuard
);

impl<T> DerefMut for MutexGuard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        &mut self.bare
    }
}

impl<T> DerefMut for WriteGuard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        &mut self.bare
    }
}

impl<'a, T> WriteGuard<'a, T> {
    /// Others may read from now on, and nobody has written in between.
    pub fn downgrade(this: Self) -> ReadGuard<'a, T> {
        ReadGuard {
            bare: BareWriteGuard::downgrade(this.bare),
            #[cfg(debug_assertions)]
            held: this.held,
        }
    }
}

impl<'a, T> MutexGuard<'a, T> {
    /// For a condition variable, which gives the lock up while it waits.
    pub fn bare(this: &mut Self) -> &mut BareMutexGuard<'a, T> {
        &mut this.bare
    }
}

#[cfg(debug_assertions)]
mod held {
    use std::cell::RefCell;
    use std::panic::Location;

    use super::Rank;

    thread_local! {
        static RANKS: RefCell<Vec<(Rank, &'static Location<'static>)>> = const { RefCell::new(Vec::new()) };
    }

    /// A rank that this thread holds as long as this lives.
    #[derive(Debug)]
    pub(super) struct Held(Rank);

    impl Held {
        /// Taken before the lock is waited for: a wrong order is reported instead of a hang.
        #[track_caller]
        pub(super) fn new(rank: Rank) -> Self {
            let highest = RANKS.with_borrow(|ranks| ranks.iter().max_by_key(|(held, _)| *held).copied());
            if let Some((held, at)) = highest {
                assert!(rank > held, "{rank:?} is locked while {held:?} is held, which was locked at {at}");
            }
            Self::without_order(rank)
        }

        #[track_caller]
        pub(super) fn without_order(rank: Rank) -> Self {
            RANKS.with_borrow_mut(|ranks| ranks.push((rank, Location::caller())));
            Self(rank)
        }
    }

    impl Drop for Held {
        fn drop(&mut self) {
            // Guards are dropped in any order.
            RANKS.with_borrow_mut(|ranks| {
                if let Some(at) = ranks.iter().rposition(|(rank, _)| *rank == self.0) {
                    ranks.swap_remove(at);
                }
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn locks() -> [Mutex<()>; 3] {
        [Mutex::new(Rank::Shard(1), ()), Mutex::new(Rank::Shard(2), ()), Mutex::new(Rank::Journal, ())]
    }

    #[test]
    fn locks_are_taken_in_ascending_order_and_again_after_they_were_given_up() {
        let [first, second, journal] = locks();
        for _ in 0..2 {
            let held = (first.lock(), second.lock());
            drop(journal.lock());
            drop(held);
        }
    }

    #[test]
    #[should_panic(expected = "Shard(1) is locked while Shard(2) is held")]
    fn a_descending_order_is_reported() {
        let [first, second, _] = locks();
        let _held = second.lock();
        _ = first.lock();
    }

    #[test]
    #[should_panic(expected = "Shard(1) is locked while Shard(1) is held")]
    fn a_lock_that_is_taken_twice_is_reported_and_does_not_hang() {
        let [first, _, _] = locks();
        let _held = first.lock();
        _ = first.lock();
    }

    #[test]
    fn who_reads_already_may_read_the_door_again() {
        let (door, shard) = (RwLock::new(Rank::Door, ()), Mutex::new(Rank::Shard(1), ()));
        let _batch = door.read();
        let _held = shard.lock();
        drop(door.read_recursive());
        drop(door.try_read());
    }
}
