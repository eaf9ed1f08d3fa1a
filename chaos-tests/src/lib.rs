//! Drills on real processes, checks of what a cluster must keep, and the bench beside peers.
//!
//! ```text
//! bin/drill   drill/: rounds of load (workload/), fault (nemesis/), failover, restart, judgement (check/)
//! bin/handover handover/: planned hand-overs under load, errors and pauses of clients
//! bin/comeback comeback/: restart from disk, full sync under load
//! bin/bench   bench/: our node beside redis-server, in turn, in one run
//! bin/sim     sim/: the rules of both crates under a seeded scheduler, without processes
//! the others stand on: cluster, client, process, ports, binaries, sys
//! ```

pub mod bench;
pub mod binaries;
pub mod check;
pub mod client;
pub mod cluster;
pub mod comeback;
pub mod drill;
pub mod handover;
pub mod nemesis;
pub mod ports;
pub mod process;
pub mod sim;
pub mod sys;
pub mod workload;
