//! What a drill prints at its end, for people and as one line of JSON.

use std::collections::BTreeMap;
use std::fmt::Write;

use crate::check::acknowledged::{self, Elements, Violation};
use crate::check::masters::Overlap;
use crate::check::unavailable::{Gap, Summary, summary};

/// Violations that are printed in words; all are counted.
const MOST_PRINTED: usize = 20;

#[derive(Debug, Clone)]
pub struct Report {
    pub seed: u64,
    pub faults: u64,
    pub acknowledged: u64,
    pub unknown: u64,
    pub refused: u64,
    pub reads: u64,
    pub masterships: usize,
    pub overlaps: Vec<Overlap>,
    pub unavailable: Vec<Gap>,
    pub amqp_unavailable: Vec<Gap>,
    pub confirmed: usize,
    pub unconfirmed: usize,
    pub rejected: u64,
    pub errors: BTreeMap<String, u64>,
    violations: Vec<Violation>,
    message_violations: Vec<Violation>,
    /// The queue was emptied and counted.
    drained: Option<usize>,
}

impl Report {
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            seed,
            faults: 0,
            acknowledged: 0,
            unknown: 0,
            refused: 0,
            reads: 0,
            masterships: 0,
            overlaps: Vec::new(),
            unavailable: Vec::new(),
            amqp_unavailable: Vec::new(),
            confirmed: 0,
            unconfirmed: 0,
            rejected: 0,
            errors: BTreeMap::new(),
            violations: Vec::new(),
            message_violations: Vec::new(),
            drained: None,
        }
    }

    /// Takes up violations; one that stays is counted once, however often it is found.
    pub fn judge(&mut self, found: Vec<Violation>) {
        for violation in found {
            if !self.violations.contains(&violation) {
                self.violations.push(violation);
            }
        }
    }

    pub fn judge_messages(&mut self, written: &Elements, found: &[String]) {
        self.confirmed = written.acknowledged.len();
        self.unconfirmed = written.unknown.len();
        self.drained = Some(found.len());
        self.message_violations = acknowledged::elements(written, found);
    }

    /// Every fault happened, every message was counted, and nothing was violated.
    #[must_use]
    pub fn passed(&self, rounds: usize) -> bool {
        self.faults == rounds as u64
            && self.unavailable.len() == rounds
            && self.drained.is_some()
            && self.acknowledged > 0
            && self.overlaps.is_empty()
            && self.violations.is_empty()
            && self.message_violations.is_empty()
    }

    #[must_use]
    pub fn text(&self) -> String {
        let of = |kind: fn(&Violation) -> bool| {
            (
                self.violations.iter().filter(|v| kind(v)).count(),
                self.message_violations.iter().filter(|v| kind(v)).count(),
            )
        };
        let (lost, messages_lost) = of(is_lost);
        let (duplicated, messages_duplicated) = of(is_duplicated);
        let client = self.client_gap();
        let kill = summary(self.unavailable.iter().map(|gap| gap.from_fault));
        let amqp = summary(self.amqp_unavailable.iter().map(|gap| gap.between_successes));
        let mut text = String::new();
        let ms = |summary: Summary| {
            format!(
                "median {}, p90 {}, max {}",
                summary.median.as_millis(),
                summary.p90.as_millis(),
                summary.max.as_millis()
            )
        };
        let _ = writeln!(text, "faults                 {} (seed {})", self.faults, self.seed);
        let _ = writeln!(text, "acknowledged           {} writes, {} checked reads", self.acknowledged, self.reads);
        let _ = writeln!(text, "lost                   {lost}");
        let _ = writeln!(text, "duplicated             {duplicated}");
        let _ = writeln!(
            text,
            "unknown                {} (connection ended before the reply), refused {}",
            self.unknown, self.refused
        );
        let _ = writeln!(text, "overlaps of masters    {} in {} masterships", self.overlaps.len(), self.masterships);
        let _ = writeln!(text, "unavailable ms         {} (last success to first success of a client)", ms(client));
        let _ = writeln!(text, "       from the kill   {}", ms(kill));
        let _ = writeln!(text, "       publishes       {}", ms(amqp));
        let drained = self.drained.map_or("never".to_owned(), |count| count.to_string());
        let _ = writeln!(
            text,
            "confirmed messages     {}, {} unknown, {} rejected, {drained} drained",
            self.confirmed, self.unconfirmed, self.rejected
        );
        let _ = writeln!(text, "       lost            {messages_lost}");
        let _ = writeln!(text, "       duplicated      {messages_duplicated}");
        for violation in self.violations.iter().chain(&self.message_violations).take(MOST_PRINTED) {
            let _ = writeln!(text, "{violation}");
        }
        for overlap in self.overlaps.iter().take(MOST_PRINTED) {
            let _ = writeln!(text, "OVERLAP: {:?} and {:?}: {}", overlap.one, overlap.other, overlap.why);
        }
        if !self.errors.is_empty() {
            let _ = writeln!(text, "errors that clients saw:");
            for (error, count) in &self.errors {
                let _ = writeln!(text, "  {count:>6} {error}");
            }
        }
        text
    }

    #[must_use]
    pub fn json(&self, fault: &str, rounds: usize) -> serde_json::Value {
        let ms = |summary: Summary| serde_json::json!({"median": summary.median.as_millis() as u64, "p90": summary.p90.as_millis() as u64, "max": summary.max.as_millis() as u64});
        let count =
            |violations: &[Violation], kind: fn(&Violation) -> bool| violations.iter().filter(|v| kind(v)).count();
        serde_json::json!({
            "drill": fault,
            "seed": self.seed,
            "rounds": rounds,
            "faults": self.faults,
            "acknowledged": self.acknowledged,
            "lost": count(&self.violations, is_lost),
            "violations": self.violations.len(),
            "unknown": self.unknown,
            "overlaps": self.overlaps.len(),
            "unavailable_ms": ms(self.client_gap()),
            "unavailable_from_kill_ms": ms(summary(self.unavailable.iter().map(|gap| gap.from_fault))),
            "amqp_unavailable_ms": ms(summary(self.amqp_unavailable.iter().map(|gap| gap.between_successes))),
            "confirmed": self.confirmed,
            "confirmed_lost": count(&self.message_violations, is_lost),
            "confirmed_duplicated": count(&self.message_violations, is_duplicated),
            "message_violations": self.message_violations.len(),
            "passed": self.passed(rounds),
        })
    }

    fn client_gap(&self) -> Summary {
        summary(self.unavailable.iter().map(|gap| gap.between_successes))
    }
}

fn is_lost(violation: &Violation) -> bool {
    matches!(violation, Violation::Lost { .. })
}

fn is_duplicated(violation: &Violation) -> bool {
    matches!(violation, Violation::Duplicated { .. })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    /// A drill of one round in which nothing went wrong.
    fn clean() -> Report {
        let mut report = Report::new(1);
        report.faults = 1;
        report.acknowledged = 10;
        let gap = Duration::from_millis(500);
        report.unavailable.push(Gap { from_fault: gap, between_successes: gap });
        report.judge_messages(&Elements::default(), &[]);
        report
    }

    #[test]
    fn a_clean_drill_passes() {
        assert!(clean().passed(1));
        assert_eq!(clean().json("kill", 1)["unavailable_ms"]["max"], 500);
    }

    #[test]
    fn a_fault_that_did_not_fire_fails_the_drill() {
        assert!(!clean().passed(2));
        let mut never = clean();
        never.faults = 0;
        assert!(!never.passed(1));
    }

    #[test]
    fn a_loss_an_overlap_and_a_queue_that_was_never_counted_each_fail_it() {
        let mut lossy = clean();
        let loss = Violation::Lost { place: "k".to_owned(), what: "1".to_owned() };
        lossy.judge(vec![loss.clone(), loss]);
        assert!(!lossy.passed(1));
        assert_eq!(lossy.json("kill", 1)["lost"], 1);
        let mut lossy_queue = clean();
        lossy_queue.judge_messages(&Elements { acknowledged: vec!["a-1".to_owned()], ..Elements::default() }, &[]);
        assert!(!lossy_queue.passed(1));
        let mut uncounted = clean();
        uncounted.drained = None;
        assert!(!uncounted.passed(1));
    }
}
