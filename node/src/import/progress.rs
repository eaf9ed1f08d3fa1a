//! The progress bar: percent, how many so far, pace, and the time that is left. Only a terminal is shown it.

use std::io::{self, IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

const SHOW_EVERY: Duration = Duration::from_millis(500);

#[derive(Debug)]
pub(super) struct Bar {
    began: Instant,
    shown: Instant,
}

impl Bar {
    pub(super) fn begin() -> Self {
        let now = Instant::now();
        Self { began: now, shown: now }
    }

    /// `count` of `what` so far, at `done` of `all`.
    pub(super) fn show(&mut self, what: &str, count: u64, done: u64, all: u64) {
        if self.shown.elapsed() < SHOW_EVERY || !io::stderr().is_terminal() {
            return;
        }
        self.shown = Instant::now();
        eprint!("\r{} ", line(what, count, done, all, self.began.elapsed()));
        // A bar that is not shown stops no copy.
        _ = io::stderr().flush();
    }

    /// What is printed next stands on a line of its own.
    pub(super) fn end(&self) {
        if io::stderr().is_terminal() {
            eprintln!();
        }
    }
}

fn line(what: &str, count: u64, done: u64, all: u64, took: Duration) -> String {
    let part = if all == 0 { 0.0 } else { (done as f64 / all as f64).min(1.0) };
    let left = if part > 0.0 { took.as_secs_f64() * (1.0 - part) / part } else { 0.0 };
    let bar = "#".repeat((part * 30.0) as usize);
    let pace = count as f64 / took.as_secs_f64().max(0.001);
    format!("[{bar:<30}] {:3.0} %  {count} {what}, {pace:.0}/s, {left:.0} s left", part * 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_follows_from_the_pace_so_far() {
        let text = line("keys", 50, 1, 4, Duration::from_secs(2));
        assert_eq!(text, "[#######                       ]  25 %  50 keys, 25/s, 6 s left");
    }
}
