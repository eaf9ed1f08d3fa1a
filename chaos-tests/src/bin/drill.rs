//! `drill`: kills the master of a real cluster again and again, under load, and checks what must hold.

use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use tercet_chaos::cluster::Family;
use tercet_chaos::drill::{Drill, Plan};

#[derive(Debug, Parser)]
#[command(about = "Rounds of load, fault, failover and check on a cluster of real processes")]
struct Options {
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    #[arg(long, value_enum, default_value_t = Fault::Kill)]
    fault: Fault,
    /// Draws when the fault comes; a new one each time if not given, and printed.
    #[arg(long)]
    seed: Option<u64>,
    /// Whose programs to drill.
    #[arg(long, value_enum, default_value_t = Against::Tercet)]
    against: Against,
    /// Protects the cluster's nodes with a password.
    #[arg(long)]
    password: Option<String>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Fault {
    /// `kill -9` of the master.
    Kill,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Against {
    Tercet,
    /// redis-server with redis-sentinel, for comparison: it loses acknowledged writes, and the drill says so.
    Redis,
}

/// The drill as a whole ends in time, whatever hangs.
const START: Duration = Duration::from_secs(120);
const MOST_A_ROUND: Duration = Duration::from_secs(180);

fn main() -> ExitCode {
    let options = Options::parse();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    match runtime {
        Ok(runtime) => runtime.block_on(run(options)),
        Err(error) => {
            eprintln!("drill: no runtime: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(options: Options) -> ExitCode {
    let Fault::Kill = options.fault;
    let seed = options.seed.unwrap_or_else(rand::random);
    println!("drill: {} rounds of kill -9 of the master, seed {seed}", options.rounds);
    let family = match options.against {
        Against::Tercet => Family::Tercet,
        Against::Redis => Family::Redis,
    };
    let plan = Plan { rounds: options.rounds, seed, password: options.password, family };
    let mut drill = match Drill::start(plan) {
        Ok(drill) => drill,
        Err(error) => {
            eprintln!("drill: {error}");
            return ExitCode::FAILURE;
        }
    };
    println!("processes and logs: {}", drill.cluster.folder().display());
    let limit = START + MOST_A_ROUND * u32::try_from(options.rounds).unwrap_or(u32::MAX);
    let result = tokio::time::timeout(limit, Box::pin(drill.run())).await;
    print!("{}", drill.report.text());
    println!("{}", drill.report.json("kill", options.rounds));
    match result {
        Ok(Ok(())) if drill.report.passed(options.rounds) => return ExitCode::SUCCESS,
        Ok(Ok(())) => eprintln!("drill: FAILED, see above"),
        Ok(Err(error)) => eprintln!("drill: FAILED: {error}"),
        Err(_) => eprintln!("drill: FAILED: not over after {limit:?}"),
    }
    eprintln!("drill: logs stay in {}", drill.cluster.keep_folder().display());
    ExitCode::FAILURE
}
