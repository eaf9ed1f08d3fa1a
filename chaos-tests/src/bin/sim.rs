//! `sim`: the simulation by the million. `make sim SEEDS=1000000`; one seed is told with `sim --seed N --trace`.

use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use clap::Parser;
use tercet_chaos::sim::mutation::{ROWS, Row};
use tercet_chaos::sim::{self, Coverage, Mutation, Telling};

/// Runs the rules of sentinels, leases, ISR and replication under a seeded scheduler, and checks the invariants after
/// every step.
#[derive(Debug, Parser)]
struct Args {
    /// How many seeds.
    #[arg(long, default_value_t = 10_000)]
    seeds: u64,
    /// The first one.
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// This one only.
    #[arg(long)]
    seed: Option<u64>,
    /// Tells what happens.
    #[arg(long)]
    trace: bool,
    /// Breaks a rule: see `sim/mutation.rs`.
    #[arg(long, value_parser = parse_mutation)]
    mutation: Option<Mutation>,
    /// Threads; as many as there are cores.
    #[arg(long)]
    threads: Option<usize>,
}

fn parse_mutation(name: &str) -> Result<Mutation, String> {
    let names = || ROWS.iter().map(|row| row.name).collect::<Vec<_>>().join(", ");
    let row: Option<&Row> = ROWS.iter().find(|row| row.name == name);
    row.map(|row| row.mutation).ok_or_else(|| format!("no such mutation; there are {}", names()))
}

fn main() -> ExitCode {
    let args = Args::parse();
    match args.seed {
        Some(seed) => one(seed, &args),
        None => many(&args),
    }
}

fn one(seed: u64, args: &Args) -> ExitCode {
    let telling = if args.trace { Telling::Told } else { Telling::Silent };
    let outcome = sim::run(seed, args.mutation, telling);
    print(&outcome.coverage);
    println!("seed {seed}: {} ms, hash {:016x}", outcome.ended_ms, outcome.hash);
    match outcome.violation {
        None => ExitCode::SUCCESS,
        Some(violation) => {
            println!("VIOLATED {violation}");
            ExitCode::FAILURE
        }
    }
}

/// What the threads share.
#[derive(Debug, Default)]
struct Progress {
    next: AtomicU64,
    done: AtomicU64,
    is_failed: AtomicBool,
    coverage: Mutex<Coverage>,
}

fn many(args: &Args) -> ExitCode {
    let threads = args.threads.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, Into::into));
    let progress = Progress::default();
    let began = Instant::now();
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(|| work(args, &progress))).collect();
        let mut said = Instant::now();
        while !workers.iter().all(std::thread::ScopedJoinHandle::is_finished) {
            std::thread::sleep(Duration::from_millis(20));
            if said.elapsed() > Duration::from_secs(10) {
                said = Instant::now();
                let done = progress.done.load(Ordering::Relaxed);
                let rate = done as f64 / began.elapsed().as_secs_f64();
                println!("{done} of {} seeds, {rate:.0} a second", args.seeds);
            }
        }
    });
    let coverage = *progress.coverage.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    print(&coverage);
    let done = progress.done.load(Ordering::Relaxed);
    println!("{done} seeds in {:.1} s", began.elapsed().as_secs_f64());
    if progress.is_failed.load(Ordering::Relaxed) { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn work(args: &Args, progress: &Progress) {
    let mut coverage = Coverage::default();
    while !progress.is_failed.load(Ordering::Relaxed) {
        let at = progress.next.fetch_add(1, Ordering::Relaxed);
        if at >= args.seeds {
            break;
        }
        let seed = args.from + at;
        let outcome = sim::run(seed, args.mutation, Telling::Silent);
        coverage.add(&outcome.coverage);
        progress.done.fetch_add(1, Ordering::Relaxed);
        if let Some(violation) = outcome.violation {
            progress.is_failed.store(true, Ordering::Relaxed);
            println!("seed {seed} VIOLATED {violation}\nreplay with: sim --seed {seed} --trace");
        }
    }
    progress.coverage.lock().unwrap_or_else(std::sync::PoisonError::into_inner).add(&coverage);
}

fn print(coverage: &Coverage) {
    for (name, count) in coverage.rows() {
        println!("{count:>12} {name}");
    }
}
