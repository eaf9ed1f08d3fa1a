//! Drills on real processes, checks of what a cluster must keep, and the bench beside peers.
//!
//! ```text
//! bin/drill   rounds of: load, fault, failover, restart, check      nemesis/ workload/ check/
//! bin/bench   our node beside redis-server, in turn, in one run     bench/
//! both stand on: cluster, client, process, ports, binaries, sys
//! ```

pub mod bench;
pub mod binaries;
pub mod ports;
pub mod process;
pub mod sys;
