//! `drill`: faults of a real cluster, again and again, under load, and checks of what must hold.

use std::io::Write;
use std::process::ExitCode;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use tercet_chaos::cluster::network::Network;
use tercet_chaos::cluster::{Clocks, Disks, Family, Walls, disk, wall};
use tercet_chaos::drill::report::Scope;
use tercet_chaos::drill::{Drill, Plan};
use tercet_chaos::nemesis::{FAULTS, Fault};

#[derive(Debug, Parser)]
#[command(about = "Rounds of load, fault, mending and check on a cluster of real processes")]
struct Options {
    /// Of all faults together, which take turns.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Names of faults with commas in between, or `all`.
    #[arg(long, default_value = "kill")]
    fault: Faults,
    /// Draws when the fault comes; a new one each time if not given, and printed.
    #[arg(long)]
    seed: Option<u64>,
    /// Whose programs to drill.
    #[arg(long, value_enum, default_value_t = Against::Tercet)]
    against: Against,
    /// Protects the cluster's nodes with a password. In a network of its own there is always one.
    #[arg(long)]
    password: Option<String>,
    /// Fails also if a pause is longer than promised: for a machine that does nothing else.
    #[arg(long)]
    times: bool,
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
/// A file to which whoever wants to know of checks that did not run has them written.
const SKIPPED_LOG: &str = "SKIPPED_LOG";

#[derive(Debug, Clone)]
struct Faults(Vec<Fault>);

impl FromStr for Faults {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "all" {
            return Ok(Self(FAULTS.iter().map(|row| row.fault).collect()));
        }
        text.split(',').map(|name| <Fault as ValueEnum>::from_str(name, false)).collect::<Result<_, _>>().map(Self)
    }
}

fn main() -> ExitCode {
    let options = Options::parse();
    // Before there is a second thread, which would stay in the network and mounts of the machine.
    let place = Place::make(&options);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    match runtime {
        Ok(runtime) => runtime.block_on(run(options, place)),
        Err(error) => {
            eprintln!("drill: no runtime: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Where the cluster lives, and what can be done to it there.
struct Place {
    network: Option<Arc<Network>>,
    disks: Disks,
    walls: Walls,
    faults: Vec<Fault>,
}

impl Place {
    /// As much as the faults need and we may have.
    fn make(options: &Options) -> Self {
        let mut faults = options.fault.0.clone();
        let mut network = None;
        if faults.iter().any(|fault| fault.row().needs.network) {
            match Network::enter() {
                Ok(entered) => network = Some(Arc::new(entered)),
                Err(error) => leave_out(&mut faults, |fault| fault.row().needs.network, &error.to_string()),
            }
        }
        let mut disks = Disks::Shared;
        if faults.iter().any(|fault| fault.row().needs.disks) {
            match disk::enter_own_mounts() {
                Ok(()) => disks = Disks::Own,
                Err(error) => leave_out(&mut faults, |fault| fault.row().needs.disks, &error.to_string()),
            }
        }
        let mut walls = Walls::Machine;
        if faults.iter().any(|fault| fault.row().needs.clocks) {
            match wall::library() {
                Some(_) => walls = Walls::Own,
                None => leave_out(&mut faults, |fault| fault.row().needs.clocks, "libfaketime is not installed"),
            }
        }
        Self { network, disks, walls, faults }
    }
}

/// Says loudly what is not drilled.
fn leave_out(faults: &mut Vec<Fault>, is_out: fn(Fault) -> bool, why: &str) {
    let out: Vec<_> = faults.iter().filter(|fault| is_out(**fault)).map(ToString::to_string).collect();
    let text = format!("drills of {}: {why}", out.join(", "));
    eprintln!("\n!!!!!!!!!! SKIPPED: {text}\n");
    if let Some(path) = std::env::var_os(SKIPPED_LOG) {
        let file = std::fs::File::options().create(true).append(true).open(path);
        if let Err(error) = file.and_then(|mut file| writeln!(file, "{text}")) {
            eprintln!("drill: {SKIPPED_LOG}: {error}");
        }
    }
    faults.retain(|fault| !is_out(*fault));
}

async fn run(options: Options, place: Place) -> ExitCode {
    let seed = options.seed.unwrap_or_else(rand::random);
    if place.faults.is_empty() {
        eprintln!("drill: FAILED: nothing is left to drill");
        return ExitCode::FAILURE;
    }
    let names: Vec<_> = place.faults.iter().map(ToString::to_string).collect();
    println!("drill: {} rounds of {}, seed {seed}", options.rounds, names.join(", "));
    let family = match options.against {
        Against::Tercet => Family::Tercet,
        Against::Redis => Family::Redis,
    };
    // Beyond loopback a node without a password serves nobody.
    let password = options.password.or_else(|| place.network.is_some().then(|| "drill".to_owned()));
    // Processes whose clocks have nothing in common: nobody may compare one with another.
    let clocks = if place.network.is_some() { Clocks::Different } else { Clocks::Same };
    let (network, disks, walls) = (place.network, place.disks, place.walls);
    let plan =
        Plan { rounds: options.rounds, faults: place.faults, seed, password, family, network, disks, clocks, walls };
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
    println!("{}", drill.report.json(options.rounds));
    let scope = if options.times { Scope::ErrorsAndTimes } else { Scope::Errors };
    for promise in drill.report.broken_promises(Scope::ErrorsAndTimes) {
        println!("not as promised: {promise}");
    }
    let kept = drill.report.broken_promises(scope).is_empty();
    match result {
        Ok(Ok(())) if kept && drill.report.passed(options.rounds) => return ExitCode::SUCCESS,
        Ok(Ok(())) => eprintln!("drill: FAILED, see above"),
        Ok(Err(error)) => eprintln!("drill: FAILED: {error}"),
        Err(_) => eprintln!("drill: FAILED: not over after {limit:?}"),
    }
    eprintln!("drill: logs stay in {}", drill.cluster.keep_folder().display());
    ExitCode::FAILURE
}
