//! When is a checkpoint due? Pure.
//!
//! A pass writes about as much as there is data, whatever changed: a few changes in every page are a change of every page.
//! So it pays when the journal has grown by as much; a start then reads at most twice the data.

use std::time::Duration;

use crate::limits;

/// What has happened since the last pass.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Growth {
    pub(super) journal_bytes: u64,
    pub(super) data_bytes: u64,
    pub(super) age: Duration,
}

pub(super) fn is_due(growth: Growth) -> bool {
    let enough = growth.data_bytes.max(limits::CHECKPOINT_JOURNAL_BYTES);
    growth.journal_bytes >= enough || growth.journal_bytes > 0 && growth.age >= limits::CHECKPOINT_AGE
}

/// The journal outruns the pass that is to shorten it: no more rests.
pub(super) fn is_urgent(journal_bytes: u64, data_bytes: u64) -> bool {
    journal_bytes / 4 >= data_bytes.max(limits::CHECKPOINT_JOURNAL_BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pass_is_due_by_growth_or_by_age() {
        let floor = limits::CHECKPOINT_JOURNAL_BYTES;
        let due = |journal_bytes, data_bytes, seconds| {
            is_due(Growth { journal_bytes, data_bytes, age: Duration::from_secs(seconds) })
        };
        assert!(!due(floor - 1, 0, 1) && due(floor, 0, 1));
        assert!(!due(9 * floor, 10 * floor, 1) && due(10 * floor, 10 * floor, 1));
        assert!(due(1, 10 * floor, limits::CHECKPOINT_AGE.as_secs()));
        assert!(!due(0, 10 * floor, 10_000), "nothing has changed");
        assert!(!is_urgent(3 * floor, 0) && is_urgent(4 * floor, 0) && !is_urgent(4 * floor, 2 * floor));
    }
}
