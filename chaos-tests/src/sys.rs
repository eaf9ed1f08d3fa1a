//! The system calls that the standard library does not wrap: the only module with `unsafe`.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::Duration;

/// A moment of `CLOCK_BOOTTIME`, which counts suspend too: one scale for every process of this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Moment(u64);

impl Moment {
    #[must_use]
    pub fn now() -> Self {
        Self(u64::try_from(read_clock(libc::CLOCK_BOOTTIME).as_nanos()).expect("an uptime of less than 500 years"))
    }

    /// For tests of the checkers, whose histories are written by hand.
    #[must_use]
    pub fn at_ms(ms: u64) -> Self {
        Self(ms * 1_000_000)
    }

    /// How long after `earlier` this is; zero if it is not.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

fn read_clock(clock: libc::clockid_t) -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a valid, writable timespec for the length of the call.
    let result = unsafe { libc::clock_gettime(clock, &raw mut time) };
    if result != 0 {
        return Duration::ZERO;
    }
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// User and system time of a process and all its threads, those that ended included, to the nanosecond.
///
/// # Errors
/// There is no such process.
pub fn cpu_time(pid: u32) -> io::Result<Duration> {
    let mut clock: libc::clockid_t = 0;
    // SAFETY: `clock` is a valid, writable clock id for the length of the call.
    let result = unsafe { libc::clock_getcpuclockid(as_pid(pid), &raw mut clock) };
    if result != 0 {
        return Err(io::Error::from_raw_os_error(result));
    }
    Ok(read_clock(clock))
}

/// What a drill does to a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    Kill,
    Terminate,
    Stop,
    Continue,
}

/// # Errors
/// There is no such process.
pub fn send(pid: u32, signal: Signal) -> io::Result<()> {
    let number = match signal {
        Signal::Kill => libc::SIGKILL,
        Signal::Terminate => libc::SIGTERM,
        Signal::Stop => libc::SIGSTOP,
        Signal::Continue => libc::SIGCONT,
    };
    // SAFETY: `kill` takes no pointers; `as_pid` never yields 0 or a negative number, so no group is meant.
    let result = unsafe { libc::kill(as_pid(pid), number) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn as_pid(pid: u32) -> libc::pid_t {
    let pid = libc::pid_t::try_from(pid).expect("the kernel's pids fit its own type");
    assert!(pid > 0, "a pid of 0 would mean our own process group");
    pid
}

/// Lets the child be killed when the thread that starts it ends, however it ends. That thread must therefore live as
/// long as the process: see `process`.
pub fn die_with_parent(command: &mut Command) {
    // SAFETY: between fork and exec only `prctl` is called, which is async-signal-safe and allocates nothing.
    unsafe {
        command.pre_exec(|| {
            if libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) == 0 {
                Ok(())
            } else {
                Err(io::Error::last_os_error())
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_time_grows_with_work_and_not_with_waiting() {
        let before = cpu_time(std::process::id()).unwrap();
        let mut sum = 0_u64;
        while cpu_time(std::process::id()).unwrap() - before < Duration::from_millis(5) {
            sum = std::hint::black_box(sum + 1);
        }
        assert!(sum > 0);
        assert!(cpu_time(u32::from(u16::MAX) * 60).is_err(), "a pid that cannot be");
    }

    #[test]
    fn moments_are_ordered() {
        let first = Moment::now();
        let second = Moment::now();
        assert!(second >= first);
        assert_eq!(Moment::at_ms(5).since(Moment::at_ms(2)), Duration::from_millis(3));
        assert_eq!(Moment::at_ms(2).since(Moment::at_ms(5)), Duration::ZERO);
    }
}
