//! The lease as arithmetic: what each sentinel has granted, and until when this node may execute for it.
//!
//! Only grants of one set of sentinels make a lease. When the set changes, what the one before has granted lasts to its end
//! and is not lengthened.

use std::collections::BTreeMap;

use crate::clock::BootNanos;
use crate::ids::Epoch;

/// The grants of one mastership.
#[derive(Debug)]
pub struct Grants {
    epoch: Option<Epoch>,
    /// Newest granted send time of each sentinel by its address, nanoseconds of CLOCK_BOOTTIME.
    sent_at: BTreeMap<String, u64>,
    /// Since when this set of sentinels is the one that counts.
    since: u64,
    until: BootNanos,
}

impl Grants {
    #[must_use]
    pub fn new(sentinels: impl IntoIterator<Item = String>) -> Self {
        let sent_at = sentinels.into_iter().map(|sentinel| (sentinel, 0)).collect();
        Self { epoch: None, sent_at, since: 0, until: BootNanos(0) }
    }

    /// From now on only grants under `epoch` count, and none was given yet.
    pub fn begin(&mut self, epoch: Option<Epoch>) {
        self.epoch = epoch;
        self.sent_at.values_mut().for_each(|at| *at = 0);
        self.until = BootNanos(0);
    }

    /// From now on a majority of these counts, of what is sent from now on.
    pub fn change_sentinels(&mut self, sentinels: impl IntoIterator<Item = String>, now: BootNanos) {
        self.sent_at = sentinels.into_iter().map(|sentinel| (sentinel, 0)).collect();
        self.since = now.0;
    }

    /// Whether the answer to a Renew that was sent at `sent_at` says anything of this mastership.
    #[must_use]
    pub fn count(&self, epoch: Epoch, sent_at: u64, now: BootNanos) -> bool {
        self.epoch == Some(epoch) && self.since < sent_at && sent_at <= now.0
    }

    /// The sentinel has granted what was sent at `sent_at`. Says until when the lease lasts, if that is longer now.
    pub fn take(&mut self, sentinel: &str, sent_at: u64, lease_ms: u64) -> Option<BootNanos> {
        let newest = self.sent_at.get_mut(sentinel)?;
        *newest = (*newest).max(sent_at);
        let until = lease_until(self.sent_at.values().copied(), lease_ms);
        if until <= self.until {
            return None;
        }
        self.until = until;
        Some(until)
    }
}

/// The end of the lease that these grants make: a majority has granted what was sent at the majority-th newest time, or
/// later.
fn lease_until(sent_at: impl Iterator<Item = u64>, lease_ms: u64) -> BootNanos {
    let mut newest: Vec<u64> = sent_at.collect();
    newest.sort_unstable_by(|a, b| b.cmp(a));
    match newest.get(newest.len() / 2) {
        None | Some(0) => BootNanos(0),
        Some(&sent_at) => BootNanos(sent_at).plus_millis(lease_ms),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(sentinels: &[&str]) -> Grants {
        Grants::new(sentinels.iter().map(|sentinel| (*sentinel).to_owned()))
    }

    #[test]
    fn when_the_sentinels_change_a_lease_lasts_to_its_end_and_begins_anew() {
        let ms = 1_000_000;
        let mut grants = of(&["a", "b", "c"]);
        grants.begin(Some(Epoch(1)));
        assert_eq!(grants.take("a", 100 * ms, 400), None);
        assert_eq!(grants.take("b", 100 * ms, 400), Some(BootNanos(500 * ms)));
        grants.change_sentinels(["a", "b", "d"].map(str::to_owned), BootNanos(120 * ms));
        assert!(!grants.count(Epoch(1), 110 * ms, BootNanos(130 * ms)), "asked of the set before");
        assert!(grants.count(Epoch(1), 125 * ms, BootNanos(130 * ms)));
        assert_eq!(grants.take("d", 125 * ms, 400), None, "one of three");
        assert_eq!(grants.take("c", 125 * ms, 400), None, "it has no vote any more");
        assert_eq!(grants.take("a", 150 * ms, 400), Some(BootNanos(525 * ms)));
    }

    #[test]
    fn a_grant_of_another_epoch_does_not_count() {
        let mut grants = of(&["a", "b", "c"]);
        assert!(!grants.count(Epoch(1), 5, BootNanos(9)), "no mastership");
        grants.begin(Some(Epoch(2)));
        assert!(!grants.count(Epoch(1), 5, BootNanos(9)));
        assert!(!grants.count(Epoch(2), 10, BootNanos(9)), "from the future");
        assert!(grants.count(Epoch(2), 5, BootNanos(9)));
    }

    #[test]
    fn a_new_mastership_begins_without_a_lease() {
        let mut grants = of(&["a"]);
        grants.begin(Some(Epoch(1)));
        assert_eq!(grants.take("a", 7_000_000, 400), Some(BootNanos(407_000_000)));
        assert_eq!(grants.take("a", 6_000_000, 400), None, "an answer that was overtaken lengthens nothing");
        grants.begin(Some(Epoch(2)));
        assert_eq!(grants.take("a", 5_000_000, 400), Some(BootNanos(405_000_000)));
    }

    #[test]
    fn a_lease_counts_from_what_a_majority_has_granted() {
        let ms = 1_000_000;
        let until = |sent_at: &[u64]| lease_until(sent_at.iter().map(|at| at * ms), 400).0 / ms;
        assert_eq!(until(&[0, 0, 0]), 0);
        assert_eq!(until(&[100, 0, 0]), 0, "one of three is no majority");
        assert_eq!(until(&[100, 0, 150]), 500, "the older of the two newest");
        assert_eq!(until(&[100, 200, 150]), 550);
        assert_eq!(until(&[100]), 500);
        assert_eq!(until(&[100, 200, 0, 0, 300]), 500);
        assert_eq!(until(&[100, 200, 0, 0]), 0, "two of four are no majority");
    }
}
