//! Who this node is at the moment, and whether it may execute: the door that every batch of commands goes through.
//!
//! A batch holds the door shared while it executes; a change of role takes it alone. So a role ends between two batches
//! and never within one, and a fenced node cannot append one more record.
//!
//! ```text
//! Waiting --state--> Replica --promote--> Master --lease lost, fenced--> Deposed --state--> Replica
//! ```

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use tokio::sync::watch;

use crate::clock::BootNanos;
use crate::ids::Epoch;
use crate::lock::{Rank, ReadGuard, RwLock};

/// What a node is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Belongs to a cluster and knows no master yet; serves nobody, or reads if its copy is whole and nobody leads.
    Waiting,
    Replica,
    Master,
    /// Was master and has lost its lease or was fenced, and does not know who follows.
    Deposed,
}

/// The role with what belongs to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    pub role: Role,
    pub epoch: Epoch,
    /// New commands wait: a hand-over is under way.
    pub hold: Hold,
    /// A full sync is under way, or a cluster's node has nothing yet: reads would see a mixture.
    pub state: State,
    /// Members of the ISR, the master included, and how many it needs to take writes.
    pub isr: usize,
    pub min_isr: usize,
    pub disk: DiskHealth,
}

impl Standing {
    /// A hand-over under `epoch` has come to nothing: commands go on, now or when the lease comes back. Says whether any
    /// were held.
    pub fn release(&mut self, epoch: Epoch) -> bool {
        let was_held =
            matches!(self.role, Role::Master | Role::Deposed) && self.epoch == epoch && self.hold == Hold::Held;
        if was_held {
            self.hold = Hold::Released;
        }
        was_held
    }
}

/// Whether the disk takes what is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DiskHealth {
    Well,
    Failed,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hold {
    Released,
    Held,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    Whole,
    Loading,
}

/// What a batch may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Read and write.
    Master,
    /// A master whose ISR is too small to acknowledge anything: it reads.
    TooFewReplicas,
    /// A master whose disk is full or fails: it reads.
    DiskFailed,
    /// Read what is committed.
    Replica,
    /// A replica that loads: neither.
    Loading,
    /// Nothing now; ask again after `changed`.
    Wait,
}

/// Holds the standing as long as a batch executes.
#[derive(Debug)]
pub struct Permit<'a> {
    standing: ReadGuard<'a, Standing>,
    pub verdict: Verdict,
}

impl Permit<'_> {
    #[must_use]
    pub fn standing(&self) -> &Standing {
        &self.standing
    }
}

/// A renewal later than this may have been missed by a batch that went through the door at the same moment.
const LEASE_NEARLY_OUT_MS: u64 = 100;

/// The door. One a node.
#[derive(Debug)]
pub struct Authority {
    standing: RwLock<Standing>,
    /// CLOCK_BOOTTIME nanoseconds; `u64::MAX` for a node without sentinels.
    lease_until: AtomicU64,
    /// Changes that wait at the door, or are within.
    wanted: AtomicUsize,
    changes: watch::Sender<Standing>,
}

impl Authority {
    /// A node of its own: always master, no lease.
    #[must_use]
    pub fn standalone() -> Self {
        let standing = Standing {
            role: Role::Master,
            epoch: Epoch(0),
            hold: Hold::Released,
            state: State::Whole,
            isr: 1,
            min_isr: 1,
            disk: DiskHealth::Well,
        };
        Self::new(standing, u64::MAX)
    }

    /// A node that waits for what the sentinels say.
    #[must_use]
    pub fn clustered() -> Self {
        let standing = Standing {
            role: Role::Waiting,
            epoch: Epoch(0),
            hold: Hold::Released,
            state: State::Loading,
            isr: 0,
            min_isr: usize::MAX,
            disk: DiskHealth::Well,
        };
        Self::new(standing, 0)
    }

    fn new(standing: Standing, lease_until: u64) -> Self {
        let changes = watch::Sender::new(standing.clone());
        Self {
            standing: RwLock::new(Rank::Door, standing),
            lease_until: AtomicU64::new(lease_until),
            wanted: AtomicUsize::new(0),
            changes,
        }
    }

    /// Goes through the door. The permit is to be dropped before anything is awaited.
    #[inline]
    #[must_use]
    pub fn enter(&self, now: BootNanos) -> Permit<'_> {
        let standing = self.standing.read();
        let verdict = match (standing.role, standing.hold) {
            (Role::Master, Hold::Released) if now.0 < self.lease_until.load(Ordering::Acquire) => {
                // Only a node of its own is master before it is loaded.
                if standing.state == State::Loading {
                    Verdict::Loading
                } else if standing.isr < standing.min_isr {
                    Verdict::TooFewReplicas
                } else if standing.disk == DiskHealth::Failed {
                    Verdict::DiskFailed
                } else {
                    Verdict::Master
                }
            }
            (Role::Replica | Role::Waiting, _) if standing.state == State::Whole => Verdict::Replica,
            (Role::Replica, _) => Verdict::Loading,
            (Role::Waiting | Role::Deposed | Role::Master, _) => Verdict::Wait,
        };
        Permit { standing, verdict }
    }

    /// Changes the standing with the door closed: no batch executes meanwhile.
    pub fn change<T>(&self, change: impl FnOnce(&mut Standing) -> T) -> T {
        self.wanted.fetch_add(1, Ordering::AcqRel);
        let mut standing = self.standing.write();
        self.wanted.fetch_sub(1, Ordering::AcqRel);
        let result = change(&mut standing);
        self.changes.send_replace(standing.clone());
        result
    }

    /// Whether a change of the standing waits for the batches that are behind the door, or the lease has run out: what
    /// takes long is to end.
    #[must_use]
    pub fn is_wanted(&self, now: BootNanos) -> bool {
        self.wanted.load(Ordering::Acquire) > 0 || now.0 >= self.lease_until.load(Ordering::Acquire)
    }

    /// Extends (or ends, with 0) the lease.
    pub fn set_lease(&self, now: BootNanos, until: BootNanos) {
        let before = self.lease_until.swap(until.0, Ordering::AcqRel);
        // Who found the lease run out waits for it to come back; a renewal in good time wakes nobody.
        if before != u64::MAX && before < until.0 && before <= now.plus_millis(LEASE_NEARLY_OUT_MS).0 {
            self.changes.send_modify(|_| ());
        }
    }

    #[must_use]
    pub fn lease_until(&self) -> BootNanos {
        BootNanos(self.lease_until.load(Ordering::Acquire))
    }

    #[must_use]
    pub fn standing(&self) -> Standing {
        // INFO and ROLE ask within a batch, that is behind the door: a change that waits outside for the batch to end must
        // not keep it from ending.
        self.standing.read_recursive().clone()
    }

    /// Tells of every change of the standing, and of a lease that came back.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<Standing> {
        self.changes.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_master_executes_only_within_its_lease() {
        let authority = Authority::clustered();
        assert_eq!(authority.enter(BootNanos(5)).verdict, Verdict::Wait);
        authority.change(|standing| {
            standing.role = Role::Master;
            standing.state = State::Whole;
            standing.isr = 2;
            standing.min_isr = 2;
        });
        assert_eq!(authority.enter(BootNanos(5)).verdict, Verdict::Wait, "no lease yet");
        authority.set_lease(BootNanos(5), BootNanos(10));
        assert_eq!(authority.enter(BootNanos(9)).verdict, Verdict::Master);
        assert_eq!(authority.enter(BootNanos(10)).verdict, Verdict::Wait, "the lease has run out");
        authority.change(|standing| standing.isr = 1);
        assert_eq!(authority.enter(BootNanos(9)).verdict, Verdict::TooFewReplicas);
    }

    #[test]
    fn a_master_whose_disk_has_failed_reads() {
        let authority = Authority::standalone();
        authority.change(|standing| standing.disk = DiskHealth::Failed);
        assert_eq!(authority.enter(BootNanos(5)).verdict, Verdict::DiskFailed);
        authority.change(|standing| standing.disk = DiskHealth::Well);
        assert_eq!(authority.enter(BootNanos(5)).verdict, Verdict::Master);
    }

    #[test]
    fn a_node_that_waits_for_a_master_reads_what_is_whole() {
        let authority = Authority::clustered();
        authority.change(|standing| standing.state = State::Whole);
        assert_eq!(authority.enter(BootNanos(5)).verdict, Verdict::Replica);
    }

    #[test]
    fn a_hold_that_ends_while_the_lease_is_out_does_not_outlast_it() {
        let mut standing = Authority::clustered().standing();
        (standing.role, standing.epoch, standing.hold) = (Role::Deposed, Epoch(3), Hold::Held);
        assert!(!standing.release(Epoch(2)), "of another mastership");
        assert!(standing.release(Epoch(3)));
        standing.role = Role::Master;
        assert_eq!(standing.hold, Hold::Released);
        assert!(!standing.release(Epoch(3)));
    }

    #[test]
    fn a_batch_may_ask_who_it_is_while_a_change_waits_for_its_end() {
        let authority = Authority::clustered();
        std::thread::scope(|scope| {
            let permit = authority.enter(BootNanos(5));
            scope.spawn(|| authority.change(|standing| standing.isr = 2));
            while authority.standing.try_read().is_some() {
                std::thread::yield_now();
            }
            assert_eq!(authority.standing().isr, 0, "the change is still outside");
            drop(permit);
        });
        assert_eq!(authority.standing().isr, 2);
    }
}
