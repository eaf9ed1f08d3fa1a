//! How long a client waited: the longest time between two of its answers, around each hand-over.

use std::time::{Duration, Instant};

/// What one client has seen.
#[derive(Debug, Default)]
pub struct Record {
    pub answers: Vec<Instant>,
    pub errors: Vec<String>,
}

/// Pauses in milliseconds: one a client and hand-over, and those of equally long undisturbed times for comparison.
#[derive(Debug, Default, Clone, PartialEq)]
pub struct Pauses {
    pub around: Vec<f64>,
    pub elsewhere: Vec<f64>,
}

impl Pauses {
    /// Adds a client's answers. A window begins with the order; the answer before it belongs to it.
    pub fn add(&mut self, answers: &[Instant], windows: &[(Instant, Instant)]) {
        self.around.extend(windows.iter().filter_map(|window| longest(answers, *window)));
        let between = windows.windows(2).map(|pair| (pair[0].1, pair[1].0));
        self.elsewhere.extend(between.filter_map(|window| longest(answers, window)));
    }
}

fn longest(answers: &[Instant], (began, ended): (Instant, Instant)) -> Option<f64> {
    let first = answers.partition_point(|at| *at < began).saturating_sub(1);
    let last = answers.partition_point(|at| *at <= ended);
    let gaps = answers.get(first..last)?.windows(2).map(|pair| pair[1] - pair[0]);
    // Who was not answered at all any more has an error, not a pause.
    gaps.max().map(|gap: Duration| gap.as_secs_f64() * 1e3)
}

/// The smallest value that a part of all does not exceed.
#[must_use]
pub fn quantile(values: &[f64], part: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let rank = (part * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.clamp(1, sorted.len().max(1)) - 1).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_is_the_longest_time_without_an_answer_around_the_order() {
        let zero = Instant::now();
        let at = |ms: &[u64]| ms.iter().map(|ms| zero + Duration::from_millis(*ms)).collect::<Vec<_>>();
        let answers = at(&[0, 10, 20, 60, 70, 80, 95]);
        let window = |from, to| (zero + Duration::from_millis(from), zero + Duration::from_millis(to));
        let mut pauses = Pauses::default();
        pauses.add(&answers, &[window(25, 70), window(90, 100)]);
        assert_eq!(pauses, Pauses { around: vec![40.0, 15.0], elsewhere: vec![10.0] });
    }

    #[test]
    fn quantiles_are_values_that_were_measured() {
        let values: Vec<f64> = (1..=100).map(f64::from).rev().collect();
        assert_eq!([0.5, 0.99, 1.0].map(|part| quantile(&values, part)), [50.0, 99.0, 100.0]);
        assert!(quantile(&[], 0.5).is_nan());
    }
}
