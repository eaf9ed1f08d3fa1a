//! `bench`: our node beside redis-server. Prints a table and writes the figures as JSON.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use clap::Parser;
use tercet_chaos::bench::measure::{Pair, Point};
use tercet_chaos::bench::plan::{Before, Plan, Setup, Test};
use tercet_chaos::bench::table;
use tercet_chaos::binaries::{self, Program};

#[derive(Debug, Parser)]
#[command(about = "Measures our node beside redis-server: requests a second and server CPU a request")]
struct Options {
    /// SET and GET only, shorter.
    #[arg(long)]
    quick: bool,
    /// Only these tests, e.g. `SET,GET,LRANGE`.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Only these: memory, disk, replica.
    #[arg(long, value_delimiter = ',')]
    setups: Vec<String>,
    #[arg(long, value_delimiter = ',', default_values_t = [1, 16, 64])]
    pipelines: Vec<usize>,
    /// Measurements of each server a point.
    #[arg(long)]
    repetitions: Option<usize>,
    /// Length of a measurement.
    #[arg(long)]
    seconds: Option<f64>,
    /// The node to measure; the release build of the workspace if not given.
    #[arg(long)]
    node: Option<PathBuf>,
    /// The server to stand beside; anything that takes redis-server's flags.
    #[arg(long, default_value = "redis-server")]
    redis: PathBuf,
    /// Where the figures go; `bench.json` in the target directory if not given.
    #[arg(long)]
    json: Option<PathBuf>,
}

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<(), Box<dyn std::error::Error>> {
    let plan = plan(options)?;
    let mut points = Vec::new();
    for &setup in &plan.setups {
        let tests = plan.tests_of(setup);
        if tests.is_empty() {
            continue;
        }
        let folder = tempfile::tempdir()?;
        let pair = Pair::start(&plan, setup, folder.path())?;
        println!("{}\n{}", setup.title(), table::HEADER);
        for test in tests {
            for &pipeline in &plan.pipelines {
                let point = pair.point(&plan, test, pipeline)?;
                println!("{}", table::row(&point));
                points.push(point);
            }
        }
        if setup == Setup::Memory {
            print_memory(&pair)?;
        }
        println!();
    }
    for line in table::verdict(&points) {
        println!("{line}");
    }
    let path = options.json.clone().unwrap_or_else(|| binaries::target_directory().join("bench.json"));
    std::fs::write(&path, serde_json::to_vec_pretty(&document(&plan, &points))?)?;
    println!("figures: {}", path.display());
    Ok(())
}

fn print_memory(pair: &Pair) -> Result<(), Box<dyn std::error::Error>> {
    pair.reference.prepare(Before::Keys, 0)?;
    pair.ours.prepare(Before::Keys, 0)?;
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    let (ours, reference) = (pair.ours.resident_bytes(), pair.reference.resident_bytes());
    println!(
        "resident with a million keys of 16 + 3 bytes, after all of the above: redis {:.0} MiB, ours {:.0} MiB",
        mib(reference),
        mib(ours)
    );
    Ok(())
}

fn plan(options: &Options) -> Result<Plan, Box<dyn std::error::Error>> {
    let mut tests = if options.quick { Test::QUICK.to_vec() } else { Test::ALL.to_vec() };
    if !options.only.is_empty() {
        let named =
            options.only.iter().map(|name| Test::named(name).ok_or_else(|| format!("no test is called {name:?}")));
        tests = named.collect::<Result<_, _>>()?;
    }
    if let Some(wrong) = options.pipelines.iter().find(|depth| **depth == 0) {
        return Err(format!("a pipeline of {wrong} sends nothing").into());
    }
    let ours = match &options.node {
        Some(path) => path.clone(),
        None => binaries::find(Program::Node)?,
    };
    let mut setups = Setup::ALL.to_vec();
    if !options.setups.is_empty() {
        let named =
            options.setups.iter().map(|name| Setup::named(name).ok_or_else(|| format!("no setup is called {name:?}")));
        setups = named.collect::<Result<_, _>>()?;
    }
    Ok(Plan {
        setups,
        tests,
        pipelines: options.pipelines.clone(),
        repetitions: options.repetitions.unwrap_or(3).max(1),
        seconds: options.seconds.unwrap_or(if options.quick { 1.0 } else { 1.5 }),
        ours,
        sentinel: binaries::find(Program::Sentinel)?,
        reference: options.redis.clone(),
    })
}

fn document(plan: &Plan, points: &[Point]) -> serde_json::Value {
    let at = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    serde_json::json!({
        "unix_time": at,
        "cores": cores,
        "reference": plan.reference.display().to_string(),
        "repetitions": plan.repetitions,
        "seconds": plan.seconds,
        "points": points,
    })
}
