//! The simulation in `make test`: ten thousand seeds hold every invariant, and each mutation is seen by some seed.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tercet_chaos::sim::mutation::ROWS;
use tercet_chaos::sim::{self, Coverage, Mutation, Outcome, Telling};

const SEEDS: u64 = 10_000;

/// Most seeds that a mutation is given to be seen.
const MUTATION_SEEDS: u64 = 6_000;

/// Runs seeds on all cores until `judge` says that this is enough.
fn run_seeds(seeds: u64, mutation: Option<Mutation>, judge: &(dyn Fn(u64, &Outcome) -> bool + Sync)) {
    let (next, is_enough) = (AtomicU64::new(0), AtomicBool::new(false));
    let threads = std::thread::available_parallelism().map_or(1, Into::into);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while !is_enough.load(Ordering::Relaxed) {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds || judge(seed, &sim::run(seed, mutation, Telling::Silent)) {
                        is_enough.store(true, Ordering::Relaxed);
                    }
                }
            });
        }
    });
}

#[test]
fn ten_thousand_seeds_hold_every_invariant_and_meet_every_fault() {
    let coverage = Mutex::new(Coverage::default());
    let violated = Mutex::new(Vec::new());
    run_seeds(SEEDS, None, &|seed, outcome| {
        coverage.lock().unwrap().add(&outcome.coverage);
        if let Some(violation) = &outcome.violation {
            violated.lock().unwrap().push(format!("seed {seed}: {violation}\nreplay with: sim --seed {seed} --trace"));
        }
        outcome.violation.is_some()
    });
    let violated = violated.into_inner().unwrap();
    assert!(violated.is_empty(), "{}", violated.join("\n"));
    for (name, count) in coverage.into_inner().unwrap().rows() {
        println!("{count:>12} {name}");
        assert!(count > 0, "in {SEEDS} seeds there were no {name}");
    }
}

#[test]
fn every_mutation_is_seen_by_the_invariant_that_stands_for_its_rule() {
    for row in ROWS {
        let seen = Mutex::new(Vec::new());
        run_seeds(MUTATION_SEEDS, Some(row.mutation), &|seed, outcome| {
            // Others may suffer too; what counts is that one of these does.
            let violation = outcome.violation.as_ref().filter(|violation| row.seen_by.contains(&violation.name));
            seen.lock().unwrap().extend(violation.map(|violation| (seed, violation.name)));
            violation.is_some()
        });
        let seen = seen.into_inner().unwrap();
        let (seed, name) = seen.iter().min().unwrap_or_else(|| {
            panic!("{MUTATION_SEEDS} seeds do not see {}: {}", row.name, row.rule);
        });
        println!("{:<28} seed {seed:>5} {name:?}: {}", row.name, row.rule);
    }
}

#[test]
fn a_seed_is_one_run() {
    for seed in 0..40 {
        let outcome = sim::run(seed, None, Telling::Silent);
        assert_eq!(sim::run(seed, None, Telling::Silent), outcome, "seed {seed}");
        assert_ne!(sim::run(seed + 40, None, Telling::Silent).hash, outcome.hash, "seeds {seed} and {}", seed + 40);
    }
}
