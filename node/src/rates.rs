//! What happens a second: the `instantaneous_...` lines of INFO, averages of the last 16 samples as in Redis.

use parking_lot::Mutex;

use crate::clock::BootNanos;

const SAMPLES: usize = 16;

/// Numbers a second.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Rate {
    pub commands: u64,
    pub bytes_in: u64,
    pub bytes_out: u64,
}

#[derive(Debug, Default)]
pub struct Rates(Mutex<Window>);

#[derive(Debug, Default)]
struct Window {
    last: Option<(BootNanos, [u64; 3])>,
    samples: [[u64; 3]; SAMPLES],
    next: usize,
}

impl Rates {
    /// Takes a sample of the counters, commands and bytes in and out; ten times a second.
    pub fn sample(&self, counters: [u64; 3], now: BootNanos) {
        let window = &mut *self.0.lock();
        if let Some((before, old)) = window.last {
            let elapsed_ms = now.millis_since(before).max(1);
            // A counter that was reset starts anew.
            let rate = |at: usize| counters[at].saturating_sub(old[at]) * 1000 / elapsed_ms;
            window.samples[window.next] = [rate(0), rate(1), rate(2)];
            window.next = (window.next + 1) % SAMPLES;
        }
        window.last = Some((now, counters));
    }

    #[must_use]
    pub fn average(&self) -> Rate {
        let window = self.0.lock();
        let average = |at: usize| window.samples.iter().map(|sample| sample[at]).sum::<u64>() / SAMPLES as u64;
        Rate { commands: average(0), bytes_in: average(1), bytes_out: average(2) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_steady_load_is_its_rate() {
        let rates = Rates::default();
        for tick in 0..=SAMPLES as u64 {
            rates.sample([tick * 50, 0, 0], BootNanos(tick * 100_000_000));
        }
        assert_eq!(rates.average(), Rate { commands: 500, bytes_in: 0, bytes_out: 0 });
    }
}
