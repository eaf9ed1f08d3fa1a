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

#[must_use]
#[allow(unsafe_code, reason = "std has no CLOCK_BOOTTIME")]
pub fn boot_now() -> BootNanos {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a valid, writable timespec for the length of the call, and the clock id is one that Linux knows.
    let result = unsafe { libc::clock_gettime(libc::CLOCK_BOOTTIME, &raw mut time) };
    assert_eq!(result, 0, "CLOCK_BOOTTIME exists since Linux 2.6.39");
    BootNanos(time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64)
}
