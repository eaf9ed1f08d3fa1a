//! The node's program: settings, threads, listeners, and an orderly end.

use std::io::IsTerminal;
use std::process::ExitCode;
use std::sync::Arc;

use tercet_node::config::{Action, Config, LogFormat};
use tercet_node::{backup, server};

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    let config = match Config::from_process() {
        Ok(Action::Serve(config)) => config,
        Ok(Action::Healthcheck(config)) => return server::healthcheck(&config),
        Ok(Action::Backup { config, directory }) => return told(backup::ask(&config, &directory)),
        Ok(Action::Restore { config, directory, over }) => {
            return told(backup::restore(&config.data, &directory, over));
        }
        Err(error) => {
            eprintln!("error: {error}");
            return ExitCode::from(2);
        }
    };
    log_to_stdout(config.log_format);
    match server::run(Arc::from(config)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(error.exit_code())
        }
    }
}

/// What a command of an operator came to.
fn told(result: Result<String, backup::Error>) -> ExitCode {
    match result {
        Ok(text) => {
            println!("{text}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn log_to_stdout(format: LogFormat) {
    let filter = tracing_subscriber::EnvFilter::try_from_env("TERCET_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    let is_text = match format {
        LogFormat::Text => true,
        LogFormat::Json => false,
        LogFormat::Auto => std::io::stdout().is_terminal(),
    };
    let log = tracing_subscriber::fmt().with_env_filter(filter);
    if is_text { log.init() } else { log.json().flatten_event(true).init() }
}
