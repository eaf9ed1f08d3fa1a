//! Suspending an epoch: who agreed, and from when on no lease of it can be valid.

use std::{collections::BTreeMap, time::Duration};

use crate::{clock::Moment, limits};

/// One sentinel agreed to suspend. All moments are ours: the age is counted back from when its answer arrived, which
/// makes the grant look younger than it is, never older.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Report {
    pub asked: Moment,
    pub answered: Moment,
    pub grant_age: Duration,
}

/// The answers of one round of suspicion.
#[derive(Debug, Clone)]
pub struct Poll {
    majority: usize,
    bound: Duration,
    reports: BTreeMap<u64, Report>,
    reached: bool,
}

impl Poll {
    #[must_use]
    pub fn new(sentinels: usize, lease: Duration) -> Self {
        Self {
            majority: sentinels / 2 + 1,
            bound: limits::lease_bound(lease),
            reports: BTreeMap::new(),
            reached: false,
        }
    }

    pub fn record(&mut self, sentinel: u64, report: Report) {
        self.reports.insert(sentinel, report);
    }

    /// It hears the master, or is gone: what it said before still binds it, but is not renewed.
    #[must_use]
    pub fn agreed(&self, now: Moment) -> usize {
        self.fresh(now).count()
    }

    /// One more makes a majority.
    #[must_use]
    pub fn lacks_one(&self, now: Moment) -> bool {
        self.agreed(now) + 1 >= self.majority
    }

    fn fresh(&self, now: Moment) -> impl Iterator<Item = &Report> {
        self.reports.values().filter(move |report| now.since(report.asked) < limits::REPORT_LIFE)
    }

    /// From when on no lease of the epoch can be valid, if a majority has promised not to renew it.
    #[must_use]
    pub fn lease_ends(&self, now: Moment) -> Option<Moment> {
        let mut grants: Vec<Moment> = self.fresh(now).map(|report| report.answered.before(report.grant_age)).collect();
        if grants.len() < self.majority {
            return None;
        }
        // Any majority will do: take the one whose youngest grant is oldest.
        grants.sort_unstable();
        Some(grants[self.majority - 1].after(self.bound))
    }

    /// The first time that a majority agreed.
    pub fn reaches_majority(&mut self, now: Moment) -> bool {
        let first = !self.reached && self.agreed(now) >= self.majority;
        self.reached |= first;
        first
    }

    /// Whether a majority has ever agreed in this round.
    #[must_use]
    pub fn is_reached(&self) -> bool {
        self.reached
    }

    /// The answer of `sentinel` is missing or grows old: ask (again).
    #[must_use]
    pub fn should_ask(&self, sentinel: u64, now: Moment) -> bool {
        self.reports.get(&sentinel).is_none_or(|report| now.since(report.asked) > limits::REPORT_LIFE / 2)
    }
}
