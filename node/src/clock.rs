//! The two clocks: wall time for expiry, and the time since boot that also counts suspension, for leases.

use crate::ids::UnixMillis;

/// Wall time. Expiry follows it, as in Redis.
#[must_use]
pub fn unix_now() -> UnixMillis {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    UnixMillis(now.as_millis() as u64)
}

/// Nanoseconds of CLOCK_BOOTTIME: monotonic, and unlike `Instant` it goes on while the machine is suspended, so a
/// lease cannot outlive a suspend.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct BootNanos(pub u64);

impl BootNanos {
    #[must_use]
    pub fn plus_millis(self, millis: u64) -> Self {
        Self(self.0 + millis * 1_000_000)
    }

    #[must_use]
    pub fn millis_since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0) / 1_000_000
    }
}

/// The processor time of one thread, which any thread may read.
#[derive(Debug, Clone, Copy)]
pub struct ThreadClock(libc::clockid_t);

impl ThreadClock {
    /// That of the calling thread.
    #[must_use]
    #[allow(unsafe_code, reason = "std has no pthread_getcpuclockid")]
    pub fn of_this_thread() -> Self {
        let mut clock = libc::CLOCK_THREAD_CPUTIME_ID;
        // SAFETY: the calling thread is alive, and `clock` is a valid, writable clock id for the length of the call. If it
        // fails, which it does not for a living thread, the clock is that of whoever reads it: no time seems to pass.
        unsafe { libc::pthread_getcpuclockid(libc::pthread_self(), &raw mut clock) };
        Self(clock)
    }

    /// Nanoseconds of user and system time; 0 once the thread has ended.
    #[must_use]
    #[allow(unsafe_code, reason = "std has no clock_gettime")]
    pub fn nanos(self) -> u64 {
        let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: `time` is a valid, writable timespec for the length of the call; a clock id that is no longer valid is an
        // error of the call, not undefined.
        let result = unsafe { libc::clock_gettime(self.0, &raw mut time) };
        if result == 0 { nanos_of(time) } else { 0 }
    }
}

#[must_use]
#[allow(unsafe_code, reason = "std has no CLOCK_BOOTTIME")]
pub fn boot_now() -> BootNanos {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a valid, writable timespec for the length of the call, and the clock id is one that Linux knows.
    let result = unsafe { libc::clock_gettime(libc::CLOCK_BOOTTIME, &raw mut time) };
    assert_eq!(result, 0, "CLOCK_BOOTTIME exists since Linux 2.6.39");
    BootNanos(nanos_of(time))
}

/// A time before the beginning counts as the beginning: libfaketime moves clocks of processor time back, too.
fn nanos_of(time: libc::timespec) -> u64 {
    let part = |number: i64| u64::try_from(number).unwrap_or(0);
    if time.tv_sec < 0 { 0 } else { part(time.tv_sec).saturating_mul(1_000_000_000).saturating_add(part(time.tv_nsec)) }
}

#[cfg(test)]
mod tests {
    use super::nanos_of;

    #[test]
    fn a_clock_that_was_moved_back_or_too_far_ends_nothing() {
        let at = |tv_sec, tv_nsec| nanos_of(libc::timespec { tv_sec, tv_nsec });
        assert_eq!(at(2, 7), 2_000_000_007);
        assert_eq!(at(-21_600, 999_999_999), 0);
        assert_eq!(at(i64::MAX, 0), u64::MAX);
    }
}
