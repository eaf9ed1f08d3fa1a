//! Failures that `SENTINEL SIMULATE-FAILURE` asks for.

/// Where a sentinel is to crash, for drills.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Simulated {
    CrashAfterElection,
    CrashAfterPromotion,
}

impl Simulated {
    /// Its bit in `sentinel_simulate_failure_flags`.
    pub(crate) fn flag(self) -> u8 {
        match self {
            Self::CrashAfterElection => 1,
            Self::CrashAfterPromotion => 2,
        }
    }
}
