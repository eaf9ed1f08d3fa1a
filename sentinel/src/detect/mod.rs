//! Detection, as pure functions of what was heard and the time: when a master is suspected (s_down), when a majority
//! agrees (o_down), and when no lease of its epoch can be valid any more; and whether one that is heard is of any use.

mod electorate;
mod fitness;
mod hearing;
mod leases;
mod ledger;
mod poll;

pub use electorate::Electorate;
pub use fitness::{Fitness, Unfit, unfit};
pub use hearing::{Hearing, Probe, Reason, Subject, Verdict};
pub use leases::{Grounds, Leases, Resign};
pub(crate) use ledger::check_cluster;
pub use ledger::{Authority, Ledger, Refusal, Renewal};
pub use poll::{Poll, Report};

#[cfg(test)]
mod tests;
