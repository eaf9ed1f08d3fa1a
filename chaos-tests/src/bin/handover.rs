//! `handover`: hands the master of a real cluster over again and again, under load. A client's error fails it, and so
//! does a pause beyond the promise.

use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use tercet_chaos::handover::pauses::quantile;
use tercet_chaos::handover::{self, Outcome, Plan, Way};

#[derive(Debug, Parser)]
#[command(about = "Planned hand-overs of a cluster of real processes under load: errors and pauses of its clients")]
struct Options {
    #[arg(long, default_value_t = 50)]
    rounds: usize,
    /// What changes the master.
    #[arg(long, value_enum, default_value_t = Order::Failover)]
    order: Order,
    /// Clients that know one address only; none with `--order restart`, for that address goes away.
    #[arg(long)]
    plain: Option<usize>,
    /// Clients that listen to the sentinels.
    #[arg(long, default_value_t = 8)]
    aware: usize,
    /// Protects the cluster's nodes with a password.
    #[arg(long)]
    password: Option<String>,
    /// The longest pause in milliseconds that 99 of 100 may have.
    #[arg(long, default_value_t = 50.0)]
    pause: f64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Order {
    /// SENTINEL FAILOVER.
    Failover,
    /// SIGTERM of the master, and a new process in its place.
    Restart,
}

fn main() -> ExitCode {
    let options = Options::parse();
    // The clients have a thread of their own, so that looking at the cluster does not delay them.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    match runtime {
        Ok(runtime) => runtime.block_on(run(options)),
        Err(error) => {
            eprintln!("handover: no runtime: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(options: Options) -> ExitCode {
    let way = if options.order == Order::Failover { Way::Failover } else { Way::Restart };
    let plain = options.plain.unwrap_or(if way == Way::Failover { 8 } else { 0 });
    let plan = Plan { rounds: options.rounds, way, plain, aware: options.aware, password: options.password };
    let limit = Duration::from_secs(60) + Duration::from_secs(30) * u32::try_from(plan.rounds).unwrap_or(u32::MAX);
    let outcome = match tokio::time::timeout(limit, Box::pin(handover::run(&plan))).await {
        Ok(Ok(outcome)) => outcome,
        Ok(Err((error, folder))) => {
            let logs = folder.map(|folder| format!("; logs stay in {}", folder.display())).unwrap_or_default();
            eprintln!("handover: FAILED: {error}{logs}");
            return ExitCode::FAILURE;
        }
        Err(_) => {
            eprintln!("handover: FAILED: not over after {limit:?}");
            return ExitCode::FAILURE;
        }
    };
    report(&plan, &outcome);
    let is_fast = quantile(&outcome.pauses.around, 0.99) <= options.pause;
    // Nothing measured, nothing shown.
    let is_whole = outcome.pauses.around.len() == plan.rounds * (plan.plain + plan.aware);
    if outcome.errors.is_empty() && is_fast && is_whole {
        return ExitCode::SUCCESS;
    }
    eprintln!("handover: FAILED: {} errors, fast: {is_fast}, everybody served: {is_whole}", outcome.errors.len());
    ExitCode::FAILURE
}

fn report(plan: &Plan, outcome: &Outcome) {
    outcome.errors.iter().take(20).for_each(|error| println!("error: {error}"));
    println!(
        "{} hand-overs, {} plain and {} aware clients: {} answers, {} errors",
        outcome.orders.len(),
        plan.plain,
        plan.aware,
        outcome.answers,
        outcome.errors.len()
    );
    let line = |what: &str, values: &[f64]| {
        let [median, p99, most] = [0.5, 0.99, 1.0].map(|part| quantile(values, part));
        println!("{what:<34} median {median:7.1}  p99 {p99:7.1}  max {most:7.1} ms  ({} values)", values.len());
    };
    line("pause of a client at a hand-over", &outcome.pauses.around);
    line("pause of a client without one", &outcome.pauses.elsewhere);
    line("order until its answer", &outcome.orders);
}
