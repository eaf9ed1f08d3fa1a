//! The lease as arithmetic: what each sentinel has granted, and until when this node may execute for it.

use crate::clock::BootNanos;
use crate::ids::Epoch;

/// The grants of one mastership.
#[derive(Debug)]
pub struct Grants {
    epoch: Option<Epoch>,
    /// Newest granted send time of each sentinel, nanoseconds of CLOCK_BOOTTIME.
    sent_at: Vec<u64>,
    until: BootNanos,
}

impl Grants {
    #[must_use]
    pub fn new(sentinels: usize) -> Self {
        Self { epoch: None, sent_at: vec![0; sentinels], until: BootNanos(0) }
    }

    /// From now on only grants under `epoch` count, and none was given yet.
    pub fn begin(&mut self, epoch: Option<Epoch>) {
        self.epoch = epoch;
        self.sent_at.fill(0);
        self.until = BootNanos(0);
    }

    /// Whether the answer to a Renew that was sent at `sent_at` says anything of this mastership.
    #[must_use]
    pub fn count(&self, epoch: Epoch, sent_at: u64, now: BootNanos) -> bool {
        self.epoch == Some(epoch) && sent_at <= now.0
    }

    /// The sentinel has granted what was sent at `sent_at`. Says until when the lease lasts, if that is longer now.
    pub fn take(&mut self, sentinel: usize, sent_at: u64, lease_ms: u64) -> Option<BootNanos> {
        self.sent_at[sentinel] = self.sent_at[sentinel].max(sent_at);
        let until = lease_until(&self.sent_at, lease_ms);
        if until <= self.until {
            return None;
        }
        self.until = until;
        Some(until)
    }
}

/// The end of the lease that these grants make: a majority has granted what was sent at the majority-th newest time, or
/// later.
fn lease_until(sent_at: &[u64], lease_ms: u64) -> BootNanos {
    let mut newest = sent_at.to_vec();
    newest.sort_unstable_by(|a, b| b.cmp(a));
    match newest[newest.len() / 2] {
        0 => BootNanos(0),
        sent_at => BootNanos(sent_at).plus_millis(lease_ms),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grant_of_another_epoch_does_not_count() {
        let mut grants = Grants::new(3);
        assert!(!grants.count(Epoch(1), 5, BootNanos(9)), "no mastership");
        grants.begin(Some(Epoch(2)));
        assert!(!grants.count(Epoch(1), 5, BootNanos(9)));
        assert!(!grants.count(Epoch(2), 10, BootNanos(9)), "from the future");
        assert!(grants.count(Epoch(2), 5, BootNanos(9)));
    }

    #[test]
    fn a_new_mastership_begins_without_a_lease() {
        let mut grants = Grants::new(1);
        grants.begin(Some(Epoch(1)));
        assert_eq!(grants.take(0, 7_000_000, 400), Some(BootNanos(407_000_000)));
        assert_eq!(grants.take(0, 6_000_000, 400), None, "an answer that was overtaken lengthens nothing");
        grants.begin(Some(Epoch(2)));
        assert_eq!(grants.take(0, 5_000_000, 400), Some(BootNanos(405_000_000)));
    }

    #[test]
    fn a_lease_counts_from_what_a_majority_has_granted() {
        let ms = 1_000_000;
        let until = |sent_at: &[u64]| lease_until(&sent_at.iter().map(|at| at * ms).collect::<Vec<_>>(), 400).0 / ms;
        assert_eq!(until(&[0, 0, 0]), 0);
        assert_eq!(until(&[100, 0, 0]), 0, "one of three is no majority");
        assert_eq!(until(&[100, 0, 150]), 500, "the older of the two newest");
        assert_eq!(until(&[100, 200, 150]), 550);
        assert_eq!(until(&[100]), 500);
        assert_eq!(until(&[100, 200, 0, 0, 300]), 500);
        assert_eq!(until(&[100, 200, 0, 0]), 0, "two of four are no majority");
    }
}
