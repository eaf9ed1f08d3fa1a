//! A real child process: started with its output in a file, signalled, and never left behind.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::{Duration, Instant};
use std::{io, thread};

use crate::sys::{self, Signal};

/// A running child. Dropping it kills it; if we are killed ourselves, the kernel kills it (`PR_SET_PDEATHSIG`).
#[derive(Debug)]
pub struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `command` with its output appended to the file `log`.
    ///
    /// # Errors
    /// The program or the log file cannot be opened.
    pub fn start(mut command: Command, log: &Path) -> io::Result<Self> {
        let file = File::options().create(true).append(true).open(log)?;
        command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
        sys::die_with_parent(&mut command);
        Ok(Self { child: spawn_from_lasting_thread(command)?, log: log.to_owned() })
    }

    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    #[must_use]
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// # Errors
    /// The process has ended.
    pub fn signal(&self, signal: Signal) -> io::Result<()> {
        sys::send(self.pid(), signal)
    }

    /// `kill -9`, and waits until the kernel has taken it away.
    ///
    /// # Errors
    /// It had ended before.
    pub fn kill(&mut self) -> io::Result<ExitStatus> {
        if let Some(status) = self.child.try_wait()? {
            return Err(io::Error::other(format!("the process had ended before with {status}")));
        }
        self.child.kill()?;
        self.child.wait()
    }

    /// The exit status, if it has ended.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Asks it to end and waits up to `limit`, then kills it. Says whether it ended by itself.
    pub fn terminate(&mut self, limit: Duration) -> Ended {
        let _ = self.signal(Signal::Terminate);
        let deadline = Instant::now() + limit;
        while Instant::now() < deadline {
            if let Some(status) = self.ended() {
                return Ended::ByItself(status);
            }
            thread::sleep(Duration::from_millis(5));
        }
        let _ = self.kill();
        Ended::Killed
    }

    /// The last lines of its log, for an error message.
    #[must_use]
    pub fn log_tail(&self, lines: usize) -> String {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let all: Vec<_> = text.lines().collect();
        all[all.len().saturating_sub(lines)..].join("\n")
    }
}

/// How a process that was asked to end did so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    ByItself(ExitStatus),
    Killed,
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

struct Order {
    command: Command,
    answer: SyncSender<io::Result<Child>>,
}

/// The kernel sends the parent-death signal when the *thread* that forked ends, and a runtime ends its threads when it
/// likes. So one thread that never ends starts every child.
fn spawn_from_lasting_thread(command: Command) -> io::Result<Child> {
    static SPAWNER: OnceLock<SyncSender<Order>> = OnceLock::new();
    let spawner = SPAWNER.get_or_init(|| {
        let (sender, orders) = sync_channel::<Order>(16);
        thread::spawn(move || {
            for mut order in orders {
                let _ = order.answer.send(order.command.spawn());
            }
        });
        sender
    });
    let (answer, answered) = sync_channel(1);
    spawner.send(Order { command, answer }).expect("the spawner lives as long as the process");
    answered.recv().expect("the spawner answers every order")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sleeper(folder: &Path) -> Process {
        let mut command = Command::new("sh");
        command.args(["-c", "echo started; exec sleep 600"]);
        Process::start(command, &folder.join("log")).unwrap()
    }

    fn gone(pid: u32) -> bool {
        let deadline = Instant::now() + Duration::from_secs(5);
        while Path::new(&format!("/proc/{pid}")).exists() {
            if Instant::now() > deadline {
                return false;
            }
            thread::yield_now();
        }
        true
    }

    #[test]
    fn a_child_outlives_the_thread_that_asked_for_it_and_not_its_handle() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().to_owned();
        let mut process = thread::spawn(move || sleeper(&path)).join().unwrap();
        assert_eq!(process.ended(), None);
        let pid = process.pid();
        drop(process);
        assert!(gone(pid));
    }

    #[test]
    fn killing_twice_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let mut process = sleeper(folder.path());
        process.kill().unwrap();
        let error = process.kill().unwrap_err().to_string();
        assert!(error.contains("had ended before"), "{error}");
    }
}
