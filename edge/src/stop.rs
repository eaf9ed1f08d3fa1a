//! A process that is told to stop is gone within its grace, whatever hangs in it: a thread that waits for nothing else
//! ends it.

use std::io::{Read, Result};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use tracing::error;

/// The exit code of a process that had to be ended.
const EXIT_HUNG: i32 = 1;

/// The thread that ends this process. One a process.
#[derive(Debug, Clone)]
pub struct Stop(Arc<OwnedFd>);

impl Stop {
    /// Watches for SIGTERM and SIGINT from now on: `grace` after the first of them the process is gone.
    ///
    /// # Errors
    /// The system has no more threads or descriptors.
    #[expect(unsafe_code, reason = "a handler of signals")]
    pub fn watch(grace: Duration) -> Result<Self> {
        let (told, tell) = std::io::pipe()?;
        let stop = Self(Arc::new(tell.into()));
        for signal in [libc::SIGTERM, libc::SIGINT] {
            let stop = stop.clone();
            // SAFETY: a handler may call `write`, which is all that `begin` does.
            unsafe { signal_hook_registry::register(signal, move || stop.begin()) }?;
        }
        std::thread::Builder::new().name("stop".to_owned()).spawn(move || end(told, grace))?;
        Ok(stop)
    }

    /// As if a signal had come.
    #[expect(unsafe_code, reason = "std's write may allocate, and handlers of signals must not")]
    pub fn begin(&self) {
        // SAFETY: one byte of a constant goes to a descriptor that is open for as long as this lives. That the pipe is
        // full only says that there were thousands of signals.
        unsafe { libc::write(self.0.as_raw_fd(), b"s".as_ptr().cast(), 1) };
    }
}

#[expect(unsafe_code, reason = "whatever hangs, these two calls end the process")]
fn end(mut told: std::io::PipeReader, grace: Duration) {
    if told.read_exact(&mut [0]).is_err() {
        return;
    }
    std::thread::sleep(grace);
    // SAFETY: neither takes a pointer. The alarm is for the case that the log hangs too.
    unsafe {
        libc::alarm(1);
        error!(grace_ms = grace.as_millis() as u64, "the process did not stop within its grace and is ended");
        std::thread::sleep(Duration::from_millis(50));
        libc::_exit(EXIT_HUNG)
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};
    use std::time::Instant;

    use super::*;

    const HANGS: &str = "TERCET_TEST_HANGS";

    /// Run by the test below in a process of its own: every thread hangs, but for the one that ends it.
    #[test]
    fn hang() {
        if std::env::var_os(HANGS).is_none() {
            return;
        }
        let _stop = Stop::watch(Duration::from_millis(100)).unwrap();
        println!("ready");
        loop {
            std::thread::park();
        }
    }

    #[test]
    fn a_process_that_hangs_is_gone_after_its_grace() {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "stop::tests::hang", "--nocapture"])
            .env(HANGS, "yes")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = std::io::BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        while !line.contains("ready") {
            line.clear();
            assert!(std::io::BufRead::read_line(&mut said, &mut line).unwrap() > 0, "it has ended by itself");
        }
        let killed = Command::new("kill").arg(child.id().to_string()).status().unwrap();
        assert!(killed.success());
        let began = Instant::now();
        let status = loop {
            if let Some(status) = child.try_wait().unwrap() {
                break status;
            }
            if began.elapsed() > Duration::from_secs(30) {
                child.kill().unwrap();
                panic!("it hangs still");
            }
            std::thread::sleep(Duration::from_millis(10));
        };
        assert_eq!(status.code(), Some(EXIT_HUNG));
    }
}
