//! Time: the true one, which no process knows, and each host's clocks.

use tercet_node::clock::BootNanos;
use tercet_sentinel::clock::Moment;

use super::random::Random;

/// True time since the beginning of the run, in nanoseconds.
pub(super) type Nanos = u64;

pub(super) const MS: Nanos = 1_000_000;

/// Most that a host's clock runs fast or slow, in parts per billion: two hosts differ by a little less than what
/// `tercet_sentinel::limits` allows for (one in a thousand).
const MOST_DRIFT_PPB: u64 = 480_000;

/// What a host's clocks started with: long enough ago that nothing is ever before the beginning.
const BOOTED: Nanos = 100_000 * MS;

/// The clocks of one host. The boot clock counts suspension and never jumps; wall time is set by whoever likes to.
#[derive(Debug, Clone)]
pub(super) struct Clock {
    offset: Nanos,
    drift_ppb: i64,
    /// How far wall time was set from the boot clock.
    wall_jump: i64,
}

impl Clock {
    pub(super) fn new(random: &mut Random) -> Self {
        let drift = random.below(2 * MOST_DRIFT_PPB + 1) as i64 - MOST_DRIFT_PPB as i64;
        Self { offset: BOOTED + random.below(BOOTED), drift_ppb: drift, wall_jump: 0 }
    }

    /// CLOCK_BOOTTIME.
    pub(super) fn boot(&self, now: Nanos) -> BootNanos {
        let drifted = now as i64 + (now as i64 / 1000 * self.drift_ppb) / 1_000_000;
        BootNanos(self.offset + drifted.unsigned_abs())
    }

    /// The same, as sentinels count it.
    pub(super) fn moment(&self, now: Nanos) -> Moment {
        Moment::from_micros(self.boot(now).0 / 1000)
    }

    /// What a process that mistakes wall time for the boot clock would read.
    pub(super) fn wall(&self, now: Nanos) -> BootNanos {
        BootNanos(self.boot(now).0.saturating_add_signed(self.wall_jump))
    }

    pub(super) fn jump(&mut self, by: i64) {
        self.wall_jump += by;
    }
}
