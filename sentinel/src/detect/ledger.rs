//! What this sentinel granted and what it promised not to grant.
//!
//! **Invariant:** a sentinel grants under an epoch only when its last grant under every lower epoch is too old to be part
//! of a valid lease, and never again under a lower one. Two majorities share a sentinel, so two leases are never valid at
//! once, whatever the rest of the cluster believes.

use std::{collections::BTreeMap, time::Duration};

use crate::{
    clock::{Moment, millis},
    limits,
};

/// A Renew, without its bookkeeping.
#[derive(Debug, Clone, Copy)]
pub struct Renewal<'a> {
    pub cluster_id: &'a str,
    pub name: &'a str,
    pub incarnation: &'a str,
    pub epoch: u64,
    /// For how long the master had not heard this sentinel when it sent this.
    pub deaf_for: Duration,
}

/// What the Raft state says at this moment.
#[derive(Debug, Clone, Copy, Default)]
pub struct Authority<'a> {
    pub cluster_id: &'a str,
    /// The applied epoch and the process that is master of it.
    pub epoch: u64,
    pub name: &'a str,
    pub incarnation: &'a str,
    /// The highest epoch of a promotion in this sentinel's log, committed or not.
    pub fence_epoch: u64,
}

/// Why a Renew or a Suspend was refused; the text goes to the master's log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("this sentinel belongs to no cluster yet")]
    NoCluster,
    #[error("cluster id {0} does not match this cluster's {1}")]
    WrongCluster(String, String),
    #[error("epoch {0} is over: epoch {1} has begun")]
    Superseded(u64, u64),
    #[error("the master of epoch {epoch} is {master} as {incarnation}")]
    NotMaster { epoch: u64, master: String, incarnation: String },
    #[error("this sentinel has just started and grants nothing for another {0} ms")]
    Quarantine(u64),
    #[error("epoch {0} is suspended for another {1} ms")]
    Suspended(u64, u64),
    #[error("the master has not heard this sentinel for {0} ms")]
    Deaf(u64),
    #[error("the lease of epoch {0} was given up")]
    Resigned(u64),
    #[error("a lease of epoch {0} may be valid for another {1} ms")]
    PreviousLease(u64, u64),
    #[error("this sentinel has no vote in this cluster")]
    NotMember,
    #[error("the sentinels are others: their set {0} was followed by {1}")]
    OtherSentinels(u64, u64),
    #[error("the master of epoch {0} is heard")]
    Heard(u64),
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Last {
    Granted { at: Moment, incarnation: String },
    Resigned,
}

/// The grants of this process.
#[derive(Debug, Clone)]
pub struct Ledger {
    started: Moment,
    quarantine_ends: Moment,
    bound: Duration,
    last: BTreeMap<u64, Last>,
    suspended_until: BTreeMap<u64, Moment>,
}

impl Ledger {
    /// `quarantine` is zero for a sentinel that was never part of a cluster: it cannot have granted anything before.
    #[must_use]
    pub fn new(lease: Duration, quarantine: Duration, now: Moment) -> Self {
        Self {
            started: now,
            quarantine_ends: now.after(quarantine),
            bound: limits::lease_bound(lease),
            last: BTreeMap::new(),
            suspended_until: BTreeMap::new(),
        }
    }

    /// Answers a Renew.
    ///
    /// # Errors
    /// The lease is not granted, and why.
    pub fn renew(&mut self, renewal: Renewal<'_>, authority: Authority<'_>, now: Moment) -> Result<(), Refusal> {
        check_cluster(renewal.cluster_id, authority.cluster_id)?;
        let epoch = renewal.epoch;
        let granted_above = self.last.last_key_value().map_or(0, |(&highest, _)| highest);
        let floor = authority.epoch.max(authority.fence_epoch).max(granted_above);
        if epoch < floor {
            return Err(Refusal::Superseded(epoch, floor));
        }
        if epoch == authority.epoch && (renewal.name, renewal.incarnation) != (authority.name, authority.incarnation) {
            let (master, incarnation) = (authority.name.into(), authority.incarnation.into());
            return Err(Refusal::NotMaster { epoch, master, incarnation });
        }
        if now < self.quarantine_ends {
            return Err(Refusal::Quarantine(millis(self.quarantine_ends.since(now))));
        }
        if let Some(&until) = self.suspended_until.get(&epoch).filter(|&&until| now < until) {
            return Err(Refusal::Suspended(epoch, millis(until.since(now))));
        }
        // A grant that the master may never hear would only be waited for when it is to be replaced.
        if renewal.deaf_for >= limits::DEAF_AFTER {
            return Err(Refusal::Deaf(millis(renewal.deaf_for)));
        }
        if self.last.get(&epoch) == Some(&Last::Resigned) {
            return Err(Refusal::Resigned(epoch));
        }
        for (&lower, last) in self.last.range(..epoch) {
            // A process that goes on under a higher epoch does not compete with itself.
            if let Last::Granted { at, incarnation } = last
                && incarnation != renewal.incarnation
            {
                let age = now.since(*at);
                if age < self.bound {
                    return Err(Refusal::PreviousLease(lower, millis(self.bound.saturating_sub(age))));
                }
            }
        }
        match self.last.get_mut(&epoch) {
            Some(Last::Granted { at, incarnation }) if incarnation == renewal.incarnation => *at = now,
            Some(_) | None => {
                let incarnation = renewal.incarnation.to_owned();
                self.last.insert(epoch, Last::Granted { at: now, incarnation });
            }
        }
        while self.last.len() > limits::REMEMBERED_EPOCHS {
            self.last.pop_first();
        }
        Ok(())
    }

    /// The master executes nothing more under `epoch`: no need to wait for what was granted.
    pub fn resign(&mut self, epoch: u64) {
        self.last.insert(epoch, Last::Resigned);
    }

    /// This process follows another master under `epoch`: it executes nothing more under a lower one.
    pub fn stepped_down(&mut self, process: &str, epoch: u64) {
        for (_, last) in self.last.range_mut(..epoch) {
            if matches!(last, Last::Granted { incarnation, .. } if incarnation == process) {
                *last = Last::Resigned;
            }
        }
    }

    /// Grants nothing under `epoch` from now on for a while, and says how old the youngest grant under it is.
    pub fn suspend(&mut self, epoch: u64, now: Moment) -> Duration {
        self.suspended_until.retain(|_, until| now < *until);
        self.suspended_until.insert(epoch, now.after(limits::SUSPENSION));
        self.grant_age(epoch, now)
    }

    #[must_use]
    pub fn is_suspended(&self, epoch: u64, now: Moment) -> bool {
        self.suspended_until.get(&epoch).is_some_and(|&until| now < until)
    }

    /// Since the last grant under `epoch`, or since our start if we may have granted before it.
    #[must_use]
    pub fn grant_age(&self, epoch: u64, now: Moment) -> Duration {
        match self.last.get(&epoch) {
            Some(Last::Resigned) => self.bound.max(now.since(self.started)),
            Some(Last::Granted { at, .. }) => now.since(*at),
            None => now.since(self.started),
        }
    }

    /// No lease below `epoch` that we took part in can be valid.
    #[must_use]
    pub fn is_clear_below(&self, epoch: u64, now: Moment) -> bool {
        self.last.range(..epoch).all(|(_, last)| match last {
            Last::Resigned => true,
            Last::Granted { at, .. } => now.since(*at) >= self.bound,
        })
    }
}

/// A request of another cluster is refused by name, so that the log on both sides says what is mixed up.
pub(crate) fn check_cluster(theirs: &str, ours: &str) -> Result<(), Refusal> {
    if ours.is_empty() {
        Err(Refusal::NoCluster)
    } else if theirs == ours {
        Ok(())
    } else {
        Err(Refusal::WrongCluster(theirs.into(), ours.into()))
    }
}
