//! The program: reads its settings, runs a sentinel until it is told to stop.

use std::io::{IsTerminal as _, Write as _};

use tercet_edge::{files, log, service, stop::Stop};
use tercet_sentinel::{
    config::{self, Config, Invocation, LogFormat},
    health, limits,
    sentinel::Sentinel,
    status,
};
use tokio::signal::unix::{SignalKind, signal};
use tracing::{error, info};
use tracing_subscriber::EnvFilter;

/// A wrong flag, file or port: nothing was started.
const EXIT_USAGE: u8 = 2;
/// It could not go on.
const EXIT_FAILURE: u8 = 1;

fn main() -> ! {
    files::keep_private();
    let invocation = match config::read(std::env::args_os(), |name| std::env::var(name).ok()) {
        Ok(invocation) => invocation,
        Err(error) => leave(usage(&error.to_string())),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(std::thread::available_parallelism().map_or(2, std::num::NonZero::get).clamp(2, 4))
        .enable_all()
        .build()
        .expect("the runtime of a fresh process starts");
    leave(match invocation {
        Invocation::Print(text) => {
            print!("{text}");
            0
        }
        Invocation::Healthcheck(config) => match runtime.block_on(health::check(&config)) {
            Ok(()) => 0,
            Err(error) => {
                eprintln!("tercet-sentinel: unhealthy: {error}");
                EXIT_FAILURE
            }
        },
        Invocation::Status(config) => match runtime.block_on(status::ask(&config)) {
            Ok(text) => {
                println!("{text}");
                0
            }
            Err(error) => {
                eprintln!("tercet-sentinel: {error}");
                EXIT_FAILURE
            }
        },
        Invocation::Run(config) => {
            files::hide_arguments(&config.secrets());
            start_log(config.log_format);
            runtime.block_on(run(*config))
        }
    })
}

/// Ends the process without the handlers of the C library's `exit`: those of RocksDB take down what its own threads may
/// still be using, and a refusal would now and then end with a signal in place of its code.
fn leave(code: u8) -> ! {
    log::finish();
    // What does not go out has nobody who reads it.
    let _ = std::io::stdout().flush();
    // SAFETY: `_exit` takes a number and ends the process.
    unsafe { libc::_exit(i32::from(code)) }
}

fn usage(text: &str) -> u8 {
    eprintln!("tercet-sentinel: {text}");
    EXIT_USAGE
}

fn start_log(format: LogFormat) {
    // openraft reports every vote and timeout of its own; what matters of it is logged here in our words.
    let filter = EnvFilter::try_from_env("TERCET_LOG").unwrap_or_else(|_| EnvFilter::new("info,openraft=off"));
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(log::writer(std::io::stderr()));
    let is_text = match format {
        LogFormat::Text => true,
        LogFormat::Json => false,
        LogFormat::Auto => std::io::stderr().is_terminal(),
    };
    if is_text {
        let log = log.with_target(false).with_ansi(std::io::stderr().is_terminal()).with_filter_reloading();
        let handle = log.reload_handle();
        // An error only says that there is no log any more.
        log::adjust_by(move |directives| _ = handle.reload(EnvFilter::new(directives)));
        log.init();
    } else {
        let log = log.json().flatten_event(true).with_filter_reloading();
        let handle = log.reload_handle();
        log::adjust_by(move |directives| _ = handle.reload(EnvFilter::new(directives)));
        log.init();
    }
}

async fn run(config: Config) -> u8 {
    // Whatever hangs: the process is gone after this time.
    let stop = match Stop::watch(limits::STOP) {
        Ok(stop) => stop,
        Err(error) => return usage(&format!("cannot watch for signals: {error}")),
    };
    let mut sentinel = match Sentinel::start(config).await {
        Ok(sentinel) => sentinel,
        Err(error) => return usage(&error.to_string()),
    };
    let mut terminate = signal(SignalKind::terminate()).expect("a handler of SIGTERM can be installed");
    let mut interrupt = signal(SignalKind::interrupt()).expect("a handler of SIGINT can be installed");
    let stopped = sentinel.stop_requests();
    let failure = tokio::select! {
        reason = sentinel.failed() => Some(reason),
        _ = terminate.recv() => None,
        _ = interrupt.recv() => None,
        () = stopped => None,
    };
    // SHUTDOWN and a failure are no signals.
    stop.begin();
    service::stopping();
    if let Some(reason) = failure {
        error!("{reason}");
        sentinel.stop().await;
        return EXIT_FAILURE;
    }
    info!("stopping");
    sentinel.stop().await;
    0
}
