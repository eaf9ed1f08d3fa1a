//! The log is written by a thread of its own: whoever reads it slowly, or not at all, delays nobody. Lines that find no
//! room are dropped, and counted in a line.

use std::io::Write;

use parking_lot::Mutex;
use tracing::warn;
use tracing_appender::non_blocking::{ErrorCounter, NonBlocking, NonBlockingBuilder, WorkerGuard};

use crate::limits;

/// What has to be ended for the last lines to be written. The log is one a process.
static WRITER: Mutex<Option<WorkerGuard>> = Mutex::new(None);

/// Takes the directives of a filter, as `TERCET_LOG` has them.
type SetFilter = Box<dyn Fn(&str) + Send + Sync>;

/// How the filter of this process is changed; nothing before the log has begun.
static FILTER: Mutex<Option<SetFilter>> = Mutex::new(None);

/// Lets `set_level` change the filter of the log. The log is one a process.
pub fn adjust_by(set: impl Fn(&str) + Send + Sync + 'static) {
    *FILTER.lock() = Some(Box::new(set));
}

/// Changes the level of the log, by Redis's names: warning, notice, verbose (what this program does step by step), debug (its
/// libraries as well).
pub fn set_level(name: &str) {
    let directives = match name {
        "warning" => "warn,openraft=off",
        "verbose" => "info,tercet_node=debug,tercet_core=debug,tercet_edge=debug,tercet_sentinel=debug,openraft=off",
        "debug" => "debug",
        _ => "info,openraft=off",
    };
    if let Some(set) = &*FILTER.lock() {
        set(directives);
        warn!(level = name, "the level of the log was changed");
    }
}

/// A writer for the log that does not wait for `out`.
pub fn writer(out: impl Write + Send + 'static) -> NonBlocking {
    let builder = NonBlockingBuilder::default().lossy(true).buffered_lines_limit(limits::LOG_LINES).thread_name("log");
    let (writer, guard) = builder.finish(out);
    *WRITER.lock() = Some(guard);
    let dropped = writer.error_counter();
    // Without it nobody learns of dropped lines; the log works all the same.
    _ = std::thread::Builder::new().name("log-count".to_owned()).spawn(move || count(&dropped));
    writer
}

fn count(counter: &ErrorCounter) {
    let mut told = 0;
    loop {
        std::thread::sleep(limits::LOG_LOOK);
        let dropped = counter.dropped_lines();
        if dropped > told {
            warn!(lines = dropped - told, "lines of the log were dropped: nobody reads them fast enough");
            told = dropped;
        }
    }
}

/// Writes what is still to be written, for a second at the most.
pub fn finish() {
    drop(WRITER.lock().take());
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::{Duration, Instant};

    use super::*;

    /// A pipe that nobody reads.
    struct Stuck(mpsc::Receiver<()>);

    impl Write for Stuck {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            _ = self.0.recv();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_log_that_nobody_reads_delays_nobody_and_counts_what_it_dropped() {
        let (release, stuck) = mpsc::channel();
        let mut writer = writer(Stuck(stuck));
        let dropped = writer.error_counter();
        let began = Instant::now();
        for _ in 0..2 * limits::LOG_LINES {
            writer.write_all(b"line\n").unwrap();
        }
        assert!(began.elapsed() < Duration::from_secs(10), "it has waited");
        assert!(dropped.dropped_lines() >= limits::LOG_LINES - 1);
        drop(release);
        finish();
    }
}
