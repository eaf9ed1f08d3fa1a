//! Numbers of publishers: whether what each of them counted comes whole and once.
//!
//! A message with the headers `x-producer` and `x-sequence` is one of a row of its producer's. Nothing is held back or dropped;
//! what is missing and what came again is counted. The first number of a producer is where its row begins, also after a
//! restart: what a node has not seen is no gap.

use std::collections::{HashMap, VecDeque};

use crate::broker::limits;

#[derive(Debug, Default)]
pub(crate) struct Sequences {
    /// Digest of a producer -> its greatest number so far.
    last: HashMap<u128, u64>,
    /// Producers in the order in which they came first.
    order: VecDeque<u128>,
}

/// What a number says of those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    Next,
    /// So many numbers have been left out.
    Gap(u64),
    /// It is not greater than the greatest before.
    Again,
}

impl Sequences {
    /// A message has come.
    pub(crate) fn note(&mut self, producer: u128, number: u64) -> Step {
        if let Some(last) = self.last.get_mut(&producer) {
            if number <= *last {
                return Step::Again;
            }
            let left_out = number - *last - 1;
            *last = number;
            return if left_out == 0 { Step::Next } else { Step::Gap(left_out) };
        }
        if self.order.len() >= limits::PRODUCERS
            && let Some(oldest) = self.order.pop_front()
        {
            self.last.remove(&oldest);
        }
        self.last.insert(producer, number);
        self.order.push_back(producer);
        Step::Next
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_out_and_what_comes_again_is_told() {
        let mut sequences = Sequences::default();
        let steps = [5, 6, 9, 9, 7, 10].map(|number| sequences.note(1, number));
        assert_eq!(steps, [Step::Next, Step::Next, Step::Gap(2), Step::Again, Step::Again, Step::Next]);
        assert_eq!(sequences.note(2, 1), Step::Next, "another producer");
    }

    #[test]
    fn producers_are_bounded_and_the_oldest_are_forgotten() {
        let mut sequences = Sequences::default();
        for producer in 0..=limits::PRODUCERS as u128 {
            sequences.note(producer, 1);
        }
        assert_eq!(sequences.last.len(), limits::PRODUCERS);
        assert_eq!(sequences.note(0, 9), Step::Next, "it begins anew");
        assert_eq!(sequences.note(limits::PRODUCERS as u128, 3), Step::Gap(1));
    }
}
