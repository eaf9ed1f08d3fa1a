//! The rules of sentinels, leases, ISR and replication under a seeded scheduler: one thread, virtual time, one seed is one
//! run. Messages are lost, late, doubled and overtaken, links are cut, processes stand still, crash and lose what they had
//! not synced, clocks drift and jump; after every step the invariants are checked (`invariant/`).
//!
//! ```text
//! seed -> swarm (who, how broken) -> world: event -> node | sentinel | client -> invariants
//!                                      ^----------- messages, ticks, faults ------'
//! ```
//!
//! The rules are production's own: `Ledger`, `Hearing`, `Poll`, `Fitness`, `plan`, `ClusterState::apply` of the sentinels;
//! `Grants`, `Authority`, `Tracker` and `Term`, `Journal`, `Gate`, `resume` of the nodes. What production does around them in
//! tasks and on sockets is written out here once more. `mutation` breaks one rule at a time, to show that it is seen.

mod client;
mod clock;
mod context;
mod coverage;
mod fault;
mod invariant;
mod known;
mod message;
pub mod mutation;
mod network;
mod node;
mod raft;
mod random;
mod sentinel;
mod strike;
mod swarm;
mod world;

use std::time::Duration;

pub use coverage::Coverage;
pub use invariant::{Name, Violation};
pub use mutation::Mutation;

const CLUSTER: &str = "simulated";

/// As `--lease-ms` has it.
const LEASE: Duration = Duration::from_millis(400);
const LEASE_MS: u64 = LEASE.as_millis() as u64;

/// What a run came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    pub violation: Option<Violation>,
    pub coverage: Coverage,
    /// Of everything that happened and when: the same for the same seed.
    pub hash: u64,
    /// Virtual milliseconds.
    pub ended_ms: u64,
}

/// Whether a run is told on the standard output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Telling {
    Silent,
    Told,
}

/// Runs one seed, with one rule broken or none.
#[must_use]
pub fn run(seed: u64, mutation: Option<Mutation>, telling: Telling) -> Outcome {
    let mut world = world::World::new(seed, mutation);
    if telling == Telling::Told {
        world.trace();
    }
    world.run()
}

fn sentinel_name(index: usize) -> String {
    format!("s{index}:7379")
}

fn node_of(name: &str) -> usize {
    name.strip_prefix('n').and_then(|number| number.parse().ok()).expect("the nodes of the simulation are n0, n1, ...")
}
