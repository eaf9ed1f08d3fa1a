//! The node's program: settings, threads, listeners, and an orderly end.

use std::fmt::Display;
use std::io::{IsTerminal, Write as _};
use std::sync::Arc;

use tercet_edge::{files, log};
use tercet_node::config::{Action, Config, LogFormat};
use tercet_node::{backup, import, server, status, top};

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// The allocator's settings: memory that was freed goes back to the kernel after a second, by a thread of its own.
#[allow(unsafe_code, reason = "the allocator reads its settings from a symbol")]
// SAFETY: jemalloc declares it as `const char *`, and reads it as a C string, which this one is.
#[unsafe(export_name = "_rjem_malloc_conf")]
static MALLOC_CONF: Option<&'static u8> = Some(&b"background_thread:true,dirty_decay_ms:1000\0"[0]);

/// A wrong flag: nothing was started.
const EXIT_USAGE: u8 = 2;

fn main() -> ! {
    files::keep_private();
    let config = match Config::from_process() {
        Ok(Action::Serve(config)) => config,
        Ok(Action::Status(config)) => told(status::ask(&config).map(Some)),
        Ok(Action::Top { config, times, every }) => told(top::run(&config, times, every).map(Some)),
        Ok(Action::Healthcheck(config)) => told(server::healthcheck(&config).map(|()| None)),
        Ok(Action::Backup { config, directory }) => told(backup::ask(&config, &directory).map(Some)),
        Ok(Action::Restore { config, directory, over }) => {
            told(backup::restore(&config.data, &directory, over).map(Some));
        }
        Ok(Action::Import { config, import }) => told(import::run(&config, &import).map(Some)),
        Err(error) => {
            eprintln!("error: {error}");
            leave(EXIT_USAGE);
        }
    };
    files::hide_arguments(&config.secrets());
    log_to_stdout(config.log_format);
    match server::run(Arc::from(config)) {
        Ok(()) => leave(0),
        Err(error) => {
            eprintln!("error: {error}");
            leave(error.exit_code());
        }
    }
}

/// Ends with what a command of an operator came to.
fn told(result: Result<Option<String>, impl Display>) -> ! {
    match result {
        Ok(text) => {
            if let Some(text) = text {
                println!("{text}");
            }
            leave(0);
        }
        Err(error) => {
            eprintln!("error: {error}");
            leave(1);
        }
    }
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

fn log_to_stdout(format: LogFormat) {
    let filter = tracing_subscriber::EnvFilter::try_from_env("TERCET_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    let is_text = match format {
        LogFormat::Text => true,
        LogFormat::Json => false,
        LogFormat::Auto => std::io::stdout().is_terminal(),
    };
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(log::writer(std::io::stdout()));
    let log = log.with_ansi(std::io::stdout().is_terminal());
    if is_text {
        let log = log.with_filter_reloading();
        let handle = log.reload_handle();
        // An error only says that there is no log any more.
        log::adjust_by(move |directives| _ = handle.reload(tracing_subscriber::EnvFilter::new(directives)));
        log.init();
    } else {
        let log = log.json().flatten_event(true).with_filter_reloading();
        let handle = log.reload_handle();
        log::adjust_by(move |directives| _ = handle.reload(tracing_subscriber::EnvFilter::new(directives)));
        log.init();
    }
}
