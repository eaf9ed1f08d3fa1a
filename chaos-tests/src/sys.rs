//! The system calls that the standard library does not wrap: the only module with `unsafe`.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::Arc;
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

/// The most memory that a process has had at a time, in bytes: `VmHWM`, resident and not of files.
///
/// # Errors
/// There is no such process.
pub fn peak_memory(pid: u32) -> io::Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kilobytes = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kilobytes.map(|kilobytes| kilobytes << 10).ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))
}

/// Has all threads of a process, and those that they start, run on these cores alone.
///
/// # Errors
/// There is no such process, or no such core.
pub fn run_on(pid: u32, cores: &[usize]) -> io::Result<()> {
    // SAFETY: an all-zero set is a valid one: it is empty.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    for &core in cores {
        if core >= usize::try_from(libc::CPU_SETSIZE).unwrap_or(0) {
            return Err(io::Error::from(io::ErrorKind::InvalidInput));
        }
        // SAFETY: `core` is within the set.
        unsafe { libc::CPU_SET(core, &mut set) };
    }
    // A thread may start another one while they are listed: the second time its child has been born where it belongs.
    for _ in 0..2 {
        for thread in std::fs::read_dir(format!("/proc/{pid}/task"))? {
            let thread = thread?.file_name().to_string_lossy().parse().map_err(io::Error::other)?;
            // SAFETY: `set` is valid for the length of the call.
            let result = unsafe { libc::sched_setaffinity(thread, size_of::<libc::cpu_set_t>(), &raw const set) };
            let error = io::Error::last_os_error();
            if result != 0 && error.raw_os_error() != Some(libc::ESRCH) {
                return Err(error);
            }
        }
    }
    Ok(())
}

/// Has the calling thread come before all that are not asked the same of.
///
/// # Errors
/// We may not: that takes root.
pub fn come_first() -> io::Result<()> {
    // SAFETY: `setpriority` takes no pointers; 0 is the calling thread.
    let result = unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, -20) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
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

/// Has a SIGSTOP taken effect on it, and no SIGCONT since?
#[must_use]
pub fn is_stopped(pid: u32) -> bool {
    // The state stands behind the name of the program, which is in parentheses and may hold any character.
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('T'))
}

/// A thread of another process that stands still as long as this lives. The rest of its process goes on.
#[derive(Debug)]
pub struct StoppedThread {
    release: std::sync::mpsc::Sender<()>,
    tracer: std::thread::JoinHandle<io::Result<()>>,
}

impl StoppedThread {
    /// Stops a thread by its id, as a debugger does.
    ///
    /// # Errors
    /// There is no such thread, or we may not trace it.
    pub fn stop(thread: u32) -> io::Result<Self> {
        let (release, released) = std::sync::mpsc::channel();
        let (stopped, is_stopped) = std::sync::mpsc::channel();
        // Only the thread that has begun to trace may end it.
        let tracer = std::thread::spawn(move || {
            let outcome = trace(libc::PTRACE_SEIZE, thread).and_then(|()| trace(libc::PTRACE_INTERRUPT, thread));
            let is_traced = outcome.is_ok();
            // Whoever asked waits for it.
            _ = stopped.send(outcome.and_then(|()| wait_for_stop(thread)));
            if !is_traced {
                return Ok(());
            }
            // An error says that the other side has gone: the thread is to go on then, too.
            _ = released.recv();
            trace(libc::PTRACE_DETACH, thread)
        });
        is_stopped.recv().map_err(io::Error::other)??;
        Ok(Self { release, tracer })
    }

    /// # Errors
    /// It was not stopped any more.
    pub fn go_on(self) -> io::Result<()> {
        drop(self.release);
        self.tracer.join().map_err(|_| io::Error::other("the tracer has panicked"))?
    }
}

fn trace(request: libc::c_uint, thread: u32) -> io::Result<()> {
    // SAFETY: these requests read neither address nor data, which are null.
    let result = unsafe {
        libc::ptrace(
            request,
            as_pid(thread),
            std::ptr::null_mut::<libc::c_void>(),
            std::ptr::null_mut::<libc::c_void>(),
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn wait_for_stop(thread: u32) -> io::Result<()> {
    let mut status = 0;
    // SAFETY: `status` is a valid, writable integer for the length of the call.
    let result = unsafe { libc::waitpid(as_pid(thread), &raw mut status, libc::__WALL) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    if libc::WIFSTOPPED(status) { Ok(()) } else { Err(io::Error::other("the thread has ended")) }
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

/// What a thread can have of its own instead of sharing it with the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Namespace {
    /// Devices, addresses, ports and packet filters; a new one holds nothing but a loopback that is down.
    Network,
    /// Mounts; a new one begins as a copy.
    Mounts,
}

/// Gives the calling thread a new namespace, and with it every thread and process that it starts from now on. The kernel
/// takes the namespace away with the last process in it, however that ends.
///
/// # Errors
/// We may not: that takes root.
pub fn unshare(namespace: Namespace) -> io::Result<()> {
    let flag = match namespace {
        Namespace::Network => libc::CLONE_NEWNET,
        Namespace::Mounts => libc::CLONE_NEWNS,
    };
    // SAFETY: `unshare` takes no pointers.
    let result = unsafe { libc::unshare(flag) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// A handle on the network namespace of the calling thread, which keeps it alive.
///
/// # Errors
/// There is no `/proc`.
pub fn own_network() -> io::Result<File> {
    File::open("/proc/thread-self/ns/net")
}

/// Lets the child begin in a network namespace.
pub fn enter_network(command: &mut Command, network: Arc<File>) {
    // SAFETY: between fork and exec only `setns` is called, which is async-signal-safe and allocates nothing; the file
    // that the number stands for is held by the closure.
    unsafe {
        command.pre_exec(move || {
            if libc::setns(network.as_raw_fd(), libc::CLONE_NEWNET) == 0 {
                Ok(())
            } else {
                Err(io::Error::last_os_error())
            }
        });
    }
}

/// Makes a network device whose frames this process reads and writes, one a call; it is gone when the file is closed.
///
/// # Errors
/// There is no `/dev/net/tun`, or we may not.
pub fn tap(name: &str) -> io::Result<File> {
    let file = File::options().read(true).write(true).open("/dev/net/tun")?;
    // SAFETY: an `ifreq` is plain old data, for which zeroes are a value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    assert!(name.len() < request.ifr_name.len(), "{name} is too long for a device");
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = from.cast_signed();
    }
    request.ifr_ifru.ifru_flags =
        libc::c_short::try_from(libc::IFF_TAP | libc::IFF_NO_PI).expect("they are flags of 16 bits");
    // SAFETY: the file is open, and `request` is a valid, writable ifreq for the length of the call.
    let result = unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETIFF, &raw mut request) };
    if result == 0 { Ok(file) } else { Err(io::Error::last_os_error()) }
}

/// Lets the child have so many files and connections open, and no more.
pub fn limit_descriptors(command: &mut Command, most: u64) {
    let limit = libc::rlimit { rlim_cur: most, rlim_max: most };
    // SAFETY: between fork and exec only `setrlimit` is called, which is async-signal-safe; the limit is held by the closure.
    unsafe {
        command.pre_exec(move || {
            if libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) == 0 {
                Ok(())
            } else {
                Err(io::Error::last_os_error())
            }
        });
    }
}

/// Lets the child begin in a time namespace whose `CLOCK_BOOTTIME` and `CLOCK_MONOTONIC` are ahead of ours, as if its
/// machine had been started that much earlier.
pub fn shift_boot_clock(command: &mut Command, ahead: Duration) {
    let offsets = format!("boottime {0} 0\nmonotonic {0} 0\n", ahead.as_secs()).into_bytes();
    // SAFETY: between fork and exec only `unshare`, `open`, `write` and `close` are called, which are async-signal-safe
    // and allocate nothing; the path ends in a zero, and the buffer is held by the closure.
    unsafe {
        command.pre_exec(move || {
            if libc::unshare(libc::CLONE_NEWTIME) != 0 {
                return Err(io::Error::last_os_error());
            }
            let file = libc::open(c"/proc/self/timens_offsets".as_ptr(), libc::O_WRONLY);
            if file < 0 {
                return Err(io::Error::last_os_error());
            }
            let written = libc::write(file, offsets.as_ptr().cast(), offsets.len());
            let error = io::Error::last_os_error();
            libc::close(file);
            if usize::try_from(written) == Ok(offsets.len()) { Ok(()) } else { Err(error) }
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
    fn the_peak_of_memory_stays_when_the_memory_is_given_back() {
        let before = peak_memory(std::process::id()).unwrap();
        drop(std::hint::black_box(vec![1_u8; 64 << 20]));
        let after = peak_memory(std::process::id()).unwrap();
        assert!(after >= before + (32 << 20), "{before} then {after}");
    }

    #[test]
    fn a_child_has_as_few_descriptors_as_it_is_given() {
        let mut command = Command::new("sh");
        command.args(["-c", "ulimit -Hn"]);
        limit_descriptors(&mut command, 77);
        assert_eq!(command.output().unwrap().stdout, b"77\n");
    }

    #[test]
    fn a_process_is_seen_to_be_stopped_and_to_go_on() {
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let wait_for = |stopped: bool| {
            (0..1000).any(|_| {
                std::thread::yield_now();
                is_stopped(child.id()) == stopped || {
                    std::thread::sleep(Duration::from_millis(1));
                    false
                }
            })
        };
        assert!(wait_for(false));
        send(child.id(), Signal::Stop).unwrap();
        assert!(wait_for(true));
        send(child.id(), Signal::Continue).unwrap();
        assert!(wait_for(false));
        child.kill().unwrap();
        child.wait().unwrap();
    }

    #[test]
    fn moments_are_ordered() {
        let first = Moment::now();
        let second = Moment::now();
        assert!(second >= first);
        assert_eq!(Moment::at_ms(5).since(Moment::at_ms(2)), Duration::from_millis(3));
        assert_eq!(Moment::at_ms(2).since(Moment::at_ms(5)), Duration::ZERO);
    }

    #[test]
    fn a_child_in_a_time_namespace_has_another_boot_clock() {
        // In hundredths of a second, as the kernel tells it: whole numbers.
        let uptime = |ahead: Option<Duration>| {
            let mut command = Command::new("cat");
            command.arg("/proc/uptime");
            if let Some(ahead) = ahead {
                shift_boot_clock(&mut command, ahead);
            }
            let text = String::from_utf8(command.output()?.stdout).unwrap();
            Ok::<u64, io::Error>(text.split(' ').next().unwrap().replace('.', "").parse().unwrap())
        };
        let ours = uptime(None).unwrap();
        match uptime(Some(Duration::from_secs(5000))) {
            Ok(shifted) => assert!((500_000..506_000).contains(&(shifted - ours)), "{shifted} beside {ours}"),
            Err(error) => assert_eq!(error.kind(), io::ErrorKind::PermissionDenied, "{error}"),
        }
    }
}
