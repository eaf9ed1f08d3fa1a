//! How long a client that writes all the time could not.

use std::time::Duration;

use crate::sys::Moment;

/// A write of the probe that was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Success {
    pub sent: Moment,
    pub replied: Moment,
}

/// One failover as a client saw it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gap {
    /// From the fault to the first success after it.
    pub from_fault: Duration,
    /// From the last success before to the first success after.
    pub between_successes: Duration,
}

/// The gap that a fault made; `None` while no write that was sent after the old master was `gone` has been answered.
/// One that was sent before may still be the old master's.
#[must_use]
pub fn gap(successes: &[Success], fault: Moment, gone: Moment) -> Option<Gap> {
    let first_after = successes.iter().filter(|success| success.sent > gone).map(|success| success.replied).min()?;
    let last_before = successes.iter().filter(|success| success.sent <= gone).map(|success| success.replied).max();
    let between = last_before.map_or(Duration::ZERO, |last| first_after.since(last));
    Some(Gap { from_fault: first_after.since(fault), between_successes: between })
}

/// The longest time between two successes of which the later came after the fault. A fault that nobody felt leaves the
/// pace of the probe.
#[must_use]
pub fn longest(successes: &[Success], fault: Moment) -> Option<Gap> {
    let mut replies: Vec<_> = successes.iter().map(|success| success.replied).collect();
    replies.sort_unstable();
    let pairs = replies.windows(2).filter(|pair| pair[1] > fault);
    let longest = pairs.max_by_key(|pair| pair[1].since(pair[0]))?;
    Some(Gap { from_fault: longest[1].since(fault), between_successes: longest[1].since(longest[0]) })
}

/// Median, 90th percentile and largest of some durations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Summary {
    pub median: Duration,
    pub p90: Duration,
    pub max: Duration,
}

#[must_use]
pub fn summary(values: impl IntoIterator<Item = Duration>) -> Summary {
    let mut sorted: Vec<_> = values.into_iter().collect();
    sorted.sort_unstable();
    // The smallest value with at least this share at or below it.
    let rank = |percent: usize| {
        sorted.get((sorted.len() * percent).div_ceil(100).saturating_sub(1)).copied().unwrap_or_default()
    };
    Summary { median: rank(50), p90: rank(90), max: rank(100) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn successes(pairs: &[(u64, u64)]) -> Vec<Success> {
        pairs
            .iter()
            .map(|(sent, replied)| Success { sent: Moment::at_ms(*sent), replied: Moment::at_ms(*replied) })
            .collect()
    }

    #[test]
    fn the_gap_reaches_from_the_last_success_before_to_the_first_after() {
        let seen = successes(&[(90, 91), (95, 96), (600, 610), (620, 621)]);
        let gap = gap(&seen, Moment::at_ms(100), Moment::at_ms(102)).unwrap();
        assert_eq!(gap.between_successes, Duration::from_millis(514));
        assert_eq!(gap.from_fault, Duration::from_millis(510));
    }

    #[test]
    fn a_fault_without_a_success_after_it_has_no_gap_yet() {
        let still_the_old_one = successes(&[(90, 91), (95, 105), (101, 102)]);
        assert_eq!(gap(&still_the_old_one, Moment::at_ms(100), Moment::at_ms(103)), None);
    }

    #[test]
    fn the_longest_gap_counts_only_if_it_ends_after_the_fault() {
        let seen = successes(&[(0, 1), (500, 501), (510, 511), (900, 901), (905, 906)]);
        let gap = longest(&seen, Moment::at_ms(600)).unwrap();
        assert_eq!(gap.between_successes, Duration::from_millis(390));
        assert_eq!(gap.from_fault, Duration::from_millis(301));
        assert_eq!(longest(&seen, Moment::at_ms(905)).unwrap().between_successes, Duration::from_millis(5));
        assert_eq!(longest(&seen, Moment::at_ms(906)), None);
    }

    #[test]
    fn the_summary_of_few_values_is_of_values_that_occurred() {
        let ms = Duration::from_millis;
        let of_four = summary([ms(4), ms(1), ms(3), ms(2)]);
        assert_eq!((of_four.median, of_four.p90, of_four.max), (ms(2), ms(4), ms(4)));
        assert_eq!(summary([]), Summary::default());
    }
}
