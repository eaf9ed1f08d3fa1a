//! What this sentinel has in its log and has not applied, as far as leases depend on it: the highest epoch of a promotion,
//! and the newest change of who the sentinels are. A majority that appends either thereby stops granting leases of before,
//! even before it is committed.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::atomic::{AtomicU64, Ordering},
};

use parking_lot::Mutex;

use crate::state::Command;

/// Shared between the log store, which sets it, and the lease path, which reads it without a lock.
#[derive(Debug, Default)]
pub struct FenceEpoch {
    pending: Mutex<BTreeMap<u64, u64>>,
    highest: AtomicU64,
    pending_sets: Mutex<BTreeSet<u64>>,
    newest_set: AtomicU64,
}

impl FenceEpoch {
    /// The highest such epoch; 0 if there is none.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.highest.load(Ordering::Acquire)
    }

    /// Entry `index` is in the log; to be called before it is acknowledged.
    pub fn appended(&self, index: u64, command: &Command) {
        if let Command::Promote { epoch, .. } = command {
            self.change(|pending| {
                pending.insert(index, *epoch);
            });
        }
    }

    /// The index of the newest such change of the sentinels; 0 if there is none.
    #[must_use]
    pub fn sentinels_version(&self) -> u64 {
        self.newest_set.load(Ordering::Acquire)
    }

    /// Entry `index` changes who the sentinels are; to be called before it is acknowledged.
    pub fn appended_set(&self, index: u64) {
        self.change_sets(|pending| {
            pending.insert(index);
        });
    }

    /// Entries from `index` on were cut off: they never took place.
    pub fn truncated(&self, index: u64) {
        self.change(|pending| {
            pending.split_off(&index);
        });
        self.change_sets(|pending| {
            pending.split_off(&index);
        });
    }

    /// Entries up to `index` are part of the state now, which speaks for itself (a promotion may have been refused).
    pub fn applied(&self, index: u64) {
        self.change(|pending| {
            *pending = pending.split_off(&(index + 1));
        });
        self.change_sets(|pending| *pending = pending.split_off(&(index + 1)));
    }

    fn change(&self, change: impl FnOnce(&mut BTreeMap<u64, u64>)) {
        let mut pending = self.pending.lock();
        change(&mut pending);
        self.highest.store(pending.values().max().copied().unwrap_or(0), Ordering::Release);
    }

    fn change_sets(&self, change: impl FnOnce(&mut BTreeSet<u64>)) {
        let mut pending = self.pending_sets.lock();
        change(&mut pending);
        self.newest_set.store(pending.last().copied().unwrap_or(0), Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn promote(epoch: u64) -> Command {
        Command::Promote { expect_epoch: 0, expect_isr_version: 0, epoch, master: String::new(), isr: Vec::new() }
    }

    #[test]
    fn a_promotion_fences_from_its_append_until_it_is_applied_or_cut_off() {
        let fence = FenceEpoch::default();
        fence.appended(4, &promote(2));
        fence.appended(5, &Command::Bootstrap { cluster_id: "c".into(), min_isr: 1 });
        fence.appended(6, &promote(3));
        assert_eq!(fence.get(), 3);
        fence.truncated(6);
        assert_eq!(fence.get(), 2);
        fence.applied(4);
        assert_eq!(fence.get(), 0);
    }

    #[test]
    fn so_does_a_change_of_the_sentinels() {
        let fence = FenceEpoch::default();
        fence.appended_set(7);
        fence.appended_set(9);
        assert_eq!(fence.sentinels_version(), 9);
        fence.truncated(8);
        assert_eq!(fence.sentinels_version(), 7);
        fence.applied(7);
        assert_eq!(fence.sentinels_version(), 0);
    }
}
