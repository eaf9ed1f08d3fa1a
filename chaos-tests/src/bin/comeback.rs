//! `comeback`: restart of a node with many keys, and a full sync of a replica under load, with their figures.

use std::process::ExitCode;

use clap::Parser;
use tercet_chaos::comeback::full_sync::{self, Latencies, Place};
use tercet_chaos::comeback::restart::{self, End};

#[derive(Debug, Parser)]
#[command(
    about = "How fast a node comes back from its disk, and what its master's clients feel when it is loaded anew"
)]
struct Options {
    /// Keys of the restart, in millions; 0: none is made.
    #[arg(long, default_value_t = 10)]
    keys_millions: u64,
    /// Bytes of a value of the restart.
    #[arg(long, default_value_t = 64)]
    value_bytes: usize,
    /// Data of the full sync in MiB; 0: none is made.
    #[arg(long, default_value_t = 2048)]
    sync_mib: u64,
    /// The replica that is loaded has a core to itself, as if it were on a machine of its own.
    #[arg(long)]
    apart: bool,
}

fn main() -> ExitCode {
    let options = Options::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let result = match runtime {
        Ok(runtime) => runtime.block_on(run(&options)),
        Err(error) => Err(error.into()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("comeback: FAILED: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(options: &Options) -> Result<(), tercet_chaos::comeback::Error> {
    if options.keys_millions > 0 {
        for end in [End::Orderly, End::Killed] {
            let outcome = restart::run(options.keys_millions * 1_000_000, options.value_bytes, end).await?;
            let seconds = outcome.took.as_secs_f64();
            println!(
                "restart ({end:?}): {} keys of {} bytes in {seconds:.2} s: {:.2} million a second; {} MiB resident",
                outcome.keys,
                options.value_bytes,
                outcome.keys as f64 / seconds / 1e6,
                outcome.resident_bytes >> 20
            );
        }
    }
    if options.sync_mib > 0 {
        let place = if options.apart { Place::Apart } else { Place::Among };
        let outcome = full_sync::run(options.sync_mib << 20, place).await?;
        let line = |what: &str, seen: &Latencies| {
            let ms = |time: std::time::Duration| time.as_secs_f64() * 1e3;
            println!(
                "{what:<22} {} answers, {} errors, median {:.2}, p99 {:.2}, worst {:.2} ms",
                seen.answers,
                seen.errors,
                ms(seen.median),
                ms(seen.p99),
                ms(seen.worst)
            );
        };
        println!(
            "full sync of {} MiB in {:.1} s; master's memory + {} MiB at the most",
            outcome.data_bytes >> 20,
            outcome.took.as_secs_f64(),
            outcome.extra_bytes >> 20
        );
        line("writes without it", &outcome.without);
        line("writes during it", &outcome.during);
        println!(
            "p99 during it is {:.2} of that without",
            outcome.during.p99.as_secs_f64() / outcome.without.p99.as_secs_f64()
        );
    }
    Ok(())
}
