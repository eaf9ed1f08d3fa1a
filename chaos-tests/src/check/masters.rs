//! Property: no two nodes accept writes at once.
//!
//! A write takes effect at some instant between its sending and its reply, by one clock for all processes. Two
//! masterships are disjoint if all effects of one precede all effects of the other. "A before B" is refuted if a write
//! that A acknowledged was sent after B had answered one. Where the epochs are known, the lower one comes first; where
//! not, both orders must be refuted before we speak of an overlap, so a slow reply is never taken for one.

use std::collections::BTreeMap;

use crate::client::discovery::Tenure;
use crate::sys::Moment;

/// What is kept of a mastership's acknowledged writes: all that the check needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    pub first_reply: Moment,
    pub last_send: Moment,
    pub writes: u64,
}

/// Every mastership that acknowledged a write.
#[derive(Debug, Clone, Default)]
pub struct History(BTreeMap<Tenure, Span>);

/// Two masterships that cannot have been one after the other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Overlap {
    pub one: Tenure,
    pub other: Tenure,
    pub why: String,
}

impl History {
    pub fn record(&mut self, tenure: &Tenure, sent: Moment, replied: Moment) {
        match self.0.get_mut(tenure) {
            Some(span) => {
                span.first_reply = span.first_reply.min(replied);
                span.last_send = span.last_send.max(sent);
                span.writes += 1;
            }
            None => {
                self.0.insert(tenure.clone(), Span { first_reply: replied, last_send: sent, writes: 1 });
            }
        }
    }

    #[must_use]
    pub fn masterships(&self) -> usize {
        self.0.len()
    }

    /// Every pair that overlaps.
    #[must_use]
    pub fn overlaps(&self) -> Vec<Overlap> {
        let all: Vec<_> = self.0.iter().collect();
        let pairs =
            all.iter().enumerate().flat_map(|(index, one)| all[index + 1..].iter().map(move |other| (one, other)));
        pairs
            .filter_map(|(one, other)| {
                Some(Overlap { one: one.0.clone(), other: other.0.clone(), why: overlap(*one, *other)? })
            })
            .collect()
    }
}

fn overlap(one: (&Tenure, &Span), other: (&Tenure, &Span)) -> Option<String> {
    let refuted = |first: &Span, second: &Span| first.last_send > second.first_reply;
    match (one.0.epoch, other.0.epoch) {
        (Some(a), Some(b)) if a == b => Some(format!("both acknowledged writes in epoch {a}")),
        (Some(a), Some(b)) => {
            let (first, second) = if a < b { (one.1, other.1) } else { (other.1, one.1) };
            refuted(first, second).then(|| {
                let late = first.last_send.since(second.first_reply);
                format!(
                    "epoch {} acknowledged a write sent {late:?} after epoch {} had answered one",
                    a.min(b),
                    a.max(b)
                )
            })
        }
        _ => (refuted(one.1, other.1) && refuted(other.1, one.1)).then(|| "their writes interleave".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tenure(name: &str, epoch: Option<u64>) -> Tenure {
        Tenure { address: "127.0.0.1:1".parse().unwrap(), run_id: name.to_owned(), epoch }
    }

    /// Writes as `(run id, epoch, sent, replied)` in milliseconds.
    fn history(writes: &[(&str, Option<u64>, u64, u64)]) -> History {
        let mut history = History::default();
        for (name, epoch, sent, replied) in writes {
            history.record(&tenure(name, *epoch), Moment::at_ms(*sent), Moment::at_ms(*replied));
        }
        history
    }

    #[test]
    fn one_after_the_other_is_no_overlap() {
        let clean = history(&[("a", None, 0, 1), ("a", None, 5, 6), ("b", None, 400, 401), ("b", None, 500, 501)]);
        assert_eq!(clean.overlaps(), []);
        assert_eq!(clean.masterships(), 2);
    }

    #[test]
    fn a_slow_reply_of_the_old_master_is_no_overlap() {
        // Sent before the new master answered anything, answered long after.
        let slow = history(&[("a", Some(1), 0, 900), ("b", Some(2), 400, 401), ("b", Some(2), 950, 951)]);
        assert_eq!(slow.overlaps(), []);
    }

    #[test]
    fn a_write_that_the_old_master_accepts_after_the_new_one_is_caught() {
        let without_epochs =
            history(&[("a", None, 0, 1), ("b", None, 400, 401), ("a", None, 402, 403), ("b", None, 404, 405)]);
        assert_eq!(without_epochs.overlaps().len(), 1);
        // The new master answers once only: with epochs even that is enough.
        let with_epochs = history(&[("a", Some(1), 0, 1), ("b", Some(2), 400, 401), ("a", Some(1), 402, 403)]);
        assert!(with_epochs.overlaps()[0].why.contains("1ms after epoch 2"), "{:?}", with_epochs.overlaps());
    }

    #[test]
    fn two_nodes_in_one_epoch_are_caught() {
        let split = history(&[("a", Some(3), 0, 1), ("b", Some(3), 5, 6)]);
        assert_eq!(split.overlaps().len(), 1);
    }
}
