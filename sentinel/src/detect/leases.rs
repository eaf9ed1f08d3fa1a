//! The lease path of a sentinel: what it granted and whom it listens for, changed together at every Renew.

use std::{collections::HashMap, time::Duration};

use super::{Authority, Hearing, Ledger, Refusal, Renewal, Subject, Verdict, check_cluster};
use crate::{clock::Moment, state::ClusterState};

/// Whether a Renew gives the lease up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resign {
    Yes,
    No,
}

/// Why an epoch is to be suspended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Grounds {
    /// The master is not heard.
    Unheard,
    /// It is heard and of no use; this sentinel finds so too.
    Unfit,
}

/// The lease path: touched at every Renew, under one short lock.
#[derive(Debug)]
pub struct Leases {
    pub ledger: Ledger,
    pub hearing: Hearing,
    streams: HashMap<(String, String), usize>,
}

impl Leases {
    #[must_use]
    pub fn new(ledger: Ledger, hearing: Hearing) -> Self {
        Self { ledger, hearing, streams: HashMap::new() }
    }

    pub fn opened(&mut self, name: &str, incarnation: &str) {
        *self.streams.entry((name.to_owned(), incarnation.to_owned())).or_default() += 1;
        self.hearing.stream_opened(name, incarnation);
    }

    pub fn closed(&mut self, name: &str, incarnation: &str) {
        let key = (name.to_owned(), incarnation.to_owned());
        if let Some(count) = self.streams.get_mut(&key) {
            *count -= 1;
            if *count == 0 {
                self.streams.remove(&key);
            }
        }
        self.hearing.stream_closed(name, incarnation);
    }

    /// Listens for the master of `state`.
    pub fn follow(&mut self, state: &ClusterState, now: Moment) {
        let subject = state.master_process().map(|master| Subject {
            epoch: state.epoch,
            name: master.name.clone(),
            incarnation: master.incarnation.clone(),
        });
        if self.hearing.subject() != subject.as_ref() {
            let key = subject.as_ref().map(|subject| (subject.name.clone(), subject.incarnation.clone()));
            let streams = key.and_then(|key| self.streams.get(&key)).copied().unwrap_or(0);
            self.hearing.listen_for(subject, streams, now);
        }
    }

    /// Answers one Renew. `fence_epoch`: the highest epoch of a promotion in this sentinel's log that is not applied.
    ///
    /// # Errors
    /// The lease is not granted, and why; a resignation is never granted.
    pub fn renew(
        &mut self,
        renewal: Renewal<'_>,
        resign: Resign,
        state: &ClusterState,
        fence_epoch: u64,
        now: Moment,
    ) -> Result<(), Refusal> {
        let (name, incarnation) =
            state.master_process().map_or(("", ""), |master| (master.name.as_str(), master.incarnation.as_str()));
        let authority = Authority { cluster_id: &state.cluster_id, epoch: state.epoch, name, incarnation, fence_epoch };
        if resign == Resign::Yes {
            check_cluster(renewal.cluster_id, authority.cluster_id)?;
            self.ledger.resign(renewal.epoch);
            self.hearing.resigned(renewal.name, renewal.incarnation, renewal.epoch, now);
            return Err(Refusal::Resigned(renewal.epoch));
        }
        self.hearing.renewed(renewal.name, renewal.incarnation, renewal.epoch, renewal.deaf_for, now);
        self.ledger.renew(renewal, authority, now)
    }

    /// Grants nothing under `epoch` for a while, and says how old the youngest grant under it is.
    ///
    /// # Errors
    /// The epoch is not the present one, or its master is heard here and not unfit.
    pub fn suspend(
        &mut self,
        cluster_id: &str,
        epoch: u64,
        grounds: Grounds,
        state: &ClusterState,
        now: Moment,
    ) -> Result<Duration, Refusal> {
        check_cluster(cluster_id, &state.cluster_id)?;
        if epoch != state.epoch {
            return Err(Refusal::Superseded(epoch, state.epoch));
        }
        let is_followed = self.hearing.subject().is_some_and(|subject| subject.epoch == epoch);
        if !is_followed || (self.hearing.hears(now) && grounds == Grounds::Unheard) {
            return Err(Refusal::Heard(epoch));
        }
        Ok(self.ledger.suspend(epoch, now))
    }

    /// This sentinel's own suspicion of the master of `epoch`.
    #[must_use]
    pub fn suspects(&self, epoch: u64, now: Moment) -> bool {
        self.hearing.subject().is_some_and(|subject| subject.epoch == epoch)
            && matches!(self.hearing.verdict(now), Verdict::Suspected(_))
    }
}
