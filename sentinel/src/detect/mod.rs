//! Detection, as pure functions of what was heard and the time: when a master is suspected (s_down), when a majority
//! agrees (o_down), and when no lease of its epoch can be valid any more.

mod hearing;
mod leases;
mod ledger;
mod poll;

pub use hearing::{Hearing, Probe, Reason, Subject, Verdict};
pub use leases::{Leases, Resign};
pub(crate) use ledger::check_cluster;
pub use ledger::{Authority, Ledger, Refusal, Renewal};
pub use poll::{Poll, Report};

#[cfg(test)]
mod tests;
