//! Power cuts at random moments: commands, writes of the journal, syncs and passes go on, and at any step the power goes,
//! with it any part of what was not synced. A start recovers exactly the records up to some point, and every one that a
//! sync had promised.

use std::cell::Cell;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::storage::torn;

/// Seeds of one test; each is a run of its own.
const RUNS: u64 = 50;
const CUTS_A_RUN: usize = 20;

/// A master, and what its syncs have promised.
struct Run {
    seed: u64,
    folder: tempfile::TempDir,
    master: Master,
    /// Records up to here survive everything.
    promised: Cell<Offset>,
    cuts: Cell<usize>,
    /// Cuts that took written records with them.
    losses: Cell<usize>,
}

impl Run {
    fn new(seed: u64) -> Self {
        let folder = torn::directory();
        let master = Master::new(&folder.path().join("data"), StdRng::seed_from_u64(seed));
        Self { seed, folder, master, promised: Cell::default(), cuts: Cell::default(), losses: Cell::default() }
    }

    fn all(&self) {
        while self.cuts.get() < CUTS_A_RUN {
            self.step();
            if self.master.random(0..3) == 0 {
                self.pass();
            }
            self.cut();
        }
    }

    /// Some commands, of which some are written, of which some are synced.
    fn step(&self) {
        (0..self.master.random(1..40)).for_each(|_| self.master.act());
        let written = || self.master.engine.journal.durability().written();
        match self.master.random(0..12) {
            0..7 => self.master.write_journal(),
            // As with `--fsync always`: the write itself is synced, if there is anything to write.
            7..9 if self.master.engine.journal.end() > written() => {
                self.master.write_journal_with(Sync::Now);
                self.promised.set(written());
            }
            _ => {}
        }
        // As the thread of `everysec`.
        if self.master.random(0..4) == 0 {
            let written = written();
            self.master.storage.sync().unwrap();
            self.promised.set(written);
        }
    }

    /// A pass that ends or is broken off, with cuts amid it.
    fn pass(&self) {
        let is_broken_off = self.master.random(0..4) == 0;
        // A pass with large values rests often.
        let mut steps = 8;
        let rest = &mut |rest: Rest| {
            if rest == Rest::ForCommit {
                self.master.write_journal();
            }
            if steps > 0 && self.master.random(0..4) == 0 {
                steps -= 1;
                self.step();
            }
            if self.cuts.get() < CUTS_A_RUN && self.master.random(0..10) == 0 {
                self.cut();
            }
            !(is_broken_off && self.master.random(0..8) == 0)
        };
        match self.master.pass(&|| true, rest) {
            Ok(report) => _ = self.master.storage.trim_journal(report.floor).unwrap(),
            Err(Broken::Stopped) => {}
            Err(error) => panic!("seed {}: {error}", self.seed),
        }
    }

    fn cut(&self) {
        let what = format!("seed {}, cut {}", self.seed, self.cuts.get());
        self.cuts.set(self.cuts.get() + 1);
        let (data, copy) = (self.folder.path().join("data"), self.folder.path().join("copy"));
        let synced = self.master.storage.synced();
        crash(&data, &copy);
        if let Some(tail) = torn::tail(&copy, &synced) {
            torn::tear(&tail, &mut *self.master.rng.borrow_mut());
        }
        torn::tear_note(&copy, &mut *self.master.rng.borrow_mut());
        let (engine, end) = recovered(&copy).unwrap_or_else(|error| panic!("{what}: {error}"));
        let (promised, written) = (self.promised.get(), self.master.engine.journal.durability().written());
        assert!(promised <= end && end <= written, "{what}: {promised} promised, {end} there, {written} written");
        self.losses.set(self.losses.get() + usize::from(end < written));
        assert_same(&engine, &self.master.replayed(end), &format!("{what}, cut back to {end}"));
    }
}

/// Makes the runs of these seeds on all cores; says how many cuts there were, and how many took something with them.
fn run_all(seeds: std::ops::Range<u64>) -> (usize, usize) {
    let (next, cuts, losses) = (Mutex::new(seeds), AtomicUsize::new(0), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                while let Some(seed) = { next.lock().next() } {
                    let run = Run::new(seed);
                    run.all();
                    cuts.fetch_add(run.cuts.get(), Ordering::Relaxed);
                    losses.fetch_add(run.losses.get(), Ordering::Relaxed);
                }
            });
        }
    });
    (cuts.into_inner(), losses.into_inner())
}

#[test]
fn a_thousand_power_cuts_recover_to_what_was_promised() {
    // One seed of a failure, or others than those of every day.
    let from = std::env::var("SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(1);
    let (cuts, losses) = run_all(from..from + RUNS);
    println!("{cuts} power cuts, {losses} of them with losses");
    assert!(cuts >= 1000, "{cuts} cuts");
    assert!(losses > cuts / 10, "the cuts took next to nothing: {losses} of {cuts}");
}
