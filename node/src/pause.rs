//! CLIENT PAUSE: for a while no command of a client is executed, or none that writes.

use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::{Duration, sleep};

use crate::clock::{self, BootNanos};

/// What a pause holds up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mode {
    Writes,
    All,
}

/// A node's pause.
#[derive(Debug)]
pub struct Pause {
    /// When it ends, CLOCK_BOOTTIME; 0: there is none. For those who look often.
    until: AtomicU64,
    mode: Mutex<Option<Mode>>,
    ended: watch::Sender<()>,
}

impl Default for Pause {
    fn default() -> Self {
        Self { until: AtomicU64::new(0), mode: Mutex::new(None), ended: watch::Sender::new(()) }
    }
}

impl Pause {
    /// Holds clients up for so long. A pause that is longer or stricter stays as it is.
    pub fn begin(&self, mode: Mode, milliseconds: u64) {
        let now = clock::boot_now();
        let mut current = self.mode.lock();
        let before = if self.is_over(now) { None } else { *current };
        *current = before.max(Some(mode));
        let until = now.0.saturating_add(milliseconds.saturating_mul(1_000_000));
        self.until.fetch_max(until, Ordering::AcqRel);
    }

    /// CLIENT UNPAUSE.
    pub fn end(&self) {
        *self.mode.lock() = None;
        self.until.store(0, Ordering::Release);
        self.ended.send_replace(());
    }

    fn is_over(&self, now: BootNanos) -> bool {
        now.0 >= self.until.load(Ordering::Acquire)
    }

    /// What is held up now.
    #[inline]
    #[must_use]
    pub fn mode(&self, now: BootNanos) -> Option<Mode> {
        if self.is_over(now) { None } else { *self.mode.lock() }
    }

    /// Resolves when nothing is held up any more.
    pub async fn over(&self) {
        let mut ended = self.ended.subscribe();
        loop {
            let now = clock::boot_now();
            if self.mode(now).is_none() {
                return;
            }
            let rest = Duration::from_nanos(self.until.load(Ordering::Acquire).saturating_sub(now.0));
            tokio::select! {
                () = sleep(rest) => {}
                // The sender lives as long as this.
                _ = ended.changed() => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stricter_or_longer_pause_is_not_weakened() {
        let pause = Pause::default();
        assert_eq!(pause.mode(clock::boot_now()), None);
        pause.begin(Mode::All, 60_000);
        pause.begin(Mode::Writes, 1);
        let later = clock::boot_now().plus_millis(30_000);
        assert_eq!(pause.mode(later), Some(Mode::All));
        pause.end();
        assert_eq!(pause.mode(clock::boot_now()), None);
        pause.begin(Mode::Writes, 60_000);
        assert_eq!(pause.mode(clock::boot_now()), Some(Mode::Writes), "the pause before is forgotten");
    }

    #[tokio::test]
    async fn whoever_is_held_up_goes_on_when_the_pause_is_ended() {
        let pause = Pause::default();
        pause.begin(Mode::All, u64::MAX);
        let over = pause.over();
        tokio::pin!(over);
        assert!(futures::poll!(over.as_mut()).is_pending());
        pause.end();
        over.await;
    }
}
