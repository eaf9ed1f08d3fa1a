//! What a drill prints at its end, for people and as one line of JSON.

use std::collections::BTreeMap;
use std::fmt::Write;

use crate::check::acknowledged::{self, Elements, Violation};
use crate::check::masters::Overlap;
use crate::check::unavailable::{Gap, Summary, summary};
use crate::nemesis::{Errors, Fault};

/// Violations that are printed in words; all are counted.
const MOST_PRINTED: usize = 20;

/// What clients saw of one fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    /// The longest time in which the probe could not write.
    pub gap: Option<Gap>,
    /// The same of a publisher.
    pub amqp_gap: Option<Gap>,
    /// Errors that Redis clients met from the fault to the end of the round.
    pub failures: u64,
}

/// Bytes of the largest process of a node, at its peak, and how many it may have.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Memory {
    pub peak: u64,
    pub most: u64,
}

/// All rounds of one fault.
#[derive(Debug, Clone, Default)]
struct Class {
    seen: Vec<Seen>,
}

#[derive(Debug, Clone)]
pub struct Report {
    pub seed: u64,
    pub acknowledged: u64,
    pub unknown: u64,
    pub refused: u64,
    pub reads: u64,
    /// Operations on shared registers for which an order was found.
    pub operations: u64,
    pub masterships: usize,
    pub overlaps: Vec<Overlap>,
    pub confirmed: usize,
    pub unconfirmed: usize,
    pub rejected: u64,
    pub errors: BTreeMap<String, u64>,
    pub memory: Memory,
    classes: BTreeMap<Fault, Class>,
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
            acknowledged: 0,
            unknown: 0,
            refused: 0,
            reads: 0,
            operations: 0,
            masterships: 0,
            overlaps: Vec::new(),
            confirmed: 0,
            unconfirmed: 0,
            rejected: 0,
            errors: BTreeMap::new(),
            memory: Memory::default(),
            classes: BTreeMap::new(),
            violations: Vec::new(),
            message_violations: Vec::new(),
            drained: None,
        }
    }

    /// A fault that happened.
    pub fn round(&mut self, fault: Fault, seen: Seen) {
        self.classes.entry(fault).or_default().seen.push(seen);
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

    /// Every fault happened, clients wrote after each, every message was counted, and nothing was violated.
    #[must_use]
    pub fn passed(&self, rounds: usize) -> bool {
        let seen: usize = self.classes.values().map(|class| class.seen.len()).sum();
        let gaps: usize = self.classes.values().map(|class| class.gaps().len()).sum();
        seen == rounds
            && gaps == rounds
            && self.drained.is_some()
            && self.acknowledged > 0
            && self.overlaps.is_empty()
            && self.memory.peak <= self.memory.most
            && self.violations.is_empty()
            && self.message_violations.is_empty()
            && self.broken_promises(Scope::Errors).is_empty()
    }

    /// Promises of the faults' rows that were not kept, in words.
    #[must_use]
    pub fn broken_promises(&self, scope: Scope) -> Vec<String> {
        let mut broken = Vec::new();
        for (fault, class) in &self.classes {
            let promise = fault.row().promise;
            let failures = class.failures();
            if promise.errors == Errors::None && failures > 0 {
                broken.push(format!("{fault}: {failures} errors of clients, none promised"));
            }
            if scope == Scope::Errors {
                continue;
            }
            let Summary { median, max, .. } = summary(class.gaps().iter().map(|gap| gap.between_successes));
            let limits = [("median", median, promise.median_ms), ("worst", max, promise.worst_ms)];
            for (which, found, limit) in limits {
                if let Some(limit) = limit.filter(|limit| found.as_millis() > *limit) {
                    broken.push(format!("{fault}: {which} pause {} ms, {limit} promised", found.as_millis()));
                }
            }
        }
        broken
    }

    #[must_use]
    pub fn text(&self) -> String {
        let mut text = format!(
            "{:<20} {:>6} {:>10} {:>6} {:>6} {:>12} {:>7} {:>12}\n",
            "longest pause, ms", "rounds", "median", "p90", "worst", "promised", "errors", "amqp median"
        );
        for (fault, class) in &self.classes {
            let of = summary(class.gaps().iter().map(|gap| gap.between_successes));
            let amqp = summary(class.seen.iter().filter_map(|seen| Some(seen.amqp_gap?.between_successes)));
            let promise = fault.row().promise;
            let limit = |limit: Option<u128>| limit.map_or("-".to_owned(), |ms| ms.to_string());
            let _ = writeln!(
                text,
                "{:<20} {:>6} {:>10} {:>6} {:>6} {:>12} {:>7} {:>12}",
                fault.row().name,
                class.seen.len(),
                of.median.as_millis(),
                of.p90.as_millis(),
                of.max.as_millis(),
                format!("{}/{}", limit(promise.median_ms), limit(promise.worst_ms)),
                class.failures(),
                amqp.median.as_millis(),
            );
        }
        let all = |kind: fn(&Violation) -> bool| self.violations.iter().filter(|violation| kind(violation)).count();
        let messages =
            |kind: fn(&Violation) -> bool| self.message_violations.iter().filter(|violation| kind(violation)).count();
        let _ = writeln!(text, "seed                   {}", self.seed);
        let _ = writeln!(
            text,
            "acknowledged           {} writes, {} reads, {} operations on shared registers ordered",
            self.acknowledged, self.reads, self.operations
        );
        let _ = writeln!(
            text,
            "lost                   {}, duplicated {}, stale reads {}, other violations {}",
            all(is_lost),
            all(is_duplicated),
            all(is_stale),
            all(|violation| !is_lost(violation) && !is_duplicated(violation) && !is_stale(violation))
        );
        let _ = writeln!(
            text,
            "unknown                {} (connection ended before the reply), refused {}",
            self.unknown, self.refused
        );
        let _ = writeln!(text, "overlaps of masters    {} in {} masterships", self.overlaps.len(), self.masterships);
        let drained = self.drained.map_or("never".to_owned(), |count| count.to_string());
        let _ = writeln!(
            text,
            "confirmed messages     {}, {} unknown, {} rejected, {drained} drained, lost {}, duplicated {}",
            self.confirmed,
            self.unconfirmed,
            self.rejected,
            messages(is_lost),
            messages(is_duplicated)
        );
        let Memory { peak, most } = self.memory;
        let _ = writeln!(text, "memory of a node       {} MiB at its peak, {} allowed", peak >> 20, most >> 20);
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
    pub fn json(&self, rounds: usize) -> serde_json::Value {
        let count =
            |violations: &[Violation], kind: fn(&Violation) -> bool| violations.iter().filter(|v| kind(v)).count();
        let faults: serde_json::Map<_, _> =
            self.classes.iter().map(|(fault, class)| (fault.row().name.to_owned(), class.json())).collect();
        serde_json::json!({
            "seed": self.seed,
            "rounds": rounds,
            "faults": faults,
            "acknowledged": self.acknowledged,
            "lost": count(&self.violations, is_lost),
            "stale": count(&self.violations, is_stale),
            "violations": self.violations.len(),
            "unknown": self.unknown,
            "overlaps": self.overlaps.len(),
            "confirmed": self.confirmed,
            "confirmed_lost": count(&self.message_violations, is_lost),
            "confirmed_duplicated": count(&self.message_violations, is_duplicated),
            "message_violations": self.message_violations.len(),
            "memory_peak_bytes": self.memory.peak,
            "passed": self.passed(rounds),
        })
    }
}

/// Which promises to look at. Times belong to a machine that is quick enough.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    Errors,
    ErrorsAndTimes,
}

impl Class {
    fn gaps(&self) -> Vec<Gap> {
        self.seen.iter().filter_map(|seen| seen.gap).collect()
    }

    fn failures(&self) -> u64 {
        self.seen.iter().map(|seen| seen.failures).sum()
    }

    fn json(&self) -> serde_json::Value {
        let of = summary(self.gaps().iter().map(|gap| gap.between_successes));
        serde_json::json!({
            "rounds": self.seen.len(),
            "median_ms": of.median.as_millis() as u64,
            "p90_ms": of.p90.as_millis() as u64,
            "worst_ms": of.max.as_millis() as u64,
            "errors": self.failures(),
        })
    }
}

fn is_lost(violation: &Violation) -> bool {
    matches!(violation, Violation::Lost { .. })
}

fn is_duplicated(violation: &Violation) -> bool {
    matches!(violation, Violation::Duplicated { .. })
}

fn is_stale(violation: &Violation) -> bool {
    matches!(violation, Violation::Stale { .. } | Violation::NotLinearizable { .. })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn seen(ms: u64, failures: u64) -> Seen {
        let gap = Duration::from_millis(ms);
        Seen { gap: Some(Gap { from_fault: gap, between_successes: gap }), amqp_gap: None, failures }
    }

    /// A drill of one round in which nothing went wrong.
    fn clean() -> Report {
        let mut report = Report::new(1);
        report.acknowledged = 10;
        report.round(Fault::Kill, seen(490, 3));
        report.judge_messages(&Elements::default(), &[]);
        report
    }

    #[test]
    fn a_clean_drill_passes() {
        assert!(clean().passed(1));
        assert_eq!(clean().broken_promises(Scope::ErrorsAndTimes), Vec::<String>::new());
        assert_eq!(clean().json(1)["faults"]["kill"]["worst_ms"], 490);
    }

    #[test]
    fn a_fault_that_did_not_fire_and_one_after_which_nobody_wrote_fail_the_drill() {
        assert!(!clean().passed(2));
        let mut never = clean();
        never.round(Fault::Pause, Seen { gap: None, ..seen(0, 0) });
        assert!(!never.passed(2));
    }

    #[test]
    fn a_loss_an_overlap_and_a_queue_that_was_never_counted_each_fail_it() {
        let mut lossy = clean();
        let loss = Violation::Lost { place: "k".to_owned(), what: "1".to_owned() };
        lossy.judge(vec![loss.clone(), loss]);
        assert!(!lossy.passed(1));
        assert_eq!(lossy.json(1)["lost"], 1);
        let mut lossy_queue = clean();
        lossy_queue.judge_messages(&Elements { acknowledged: vec!["a-1".to_owned()], ..Elements::default() }, &[]);
        assert!(!lossy_queue.passed(1));
        let mut greedy = clean();
        greedy.memory = Memory { peak: 2, most: 1 };
        assert!(!greedy.passed(1));
        let mut uncounted = clean();
        uncounted.drained = None;
        assert!(!uncounted.passed(1));
    }

    #[test]
    fn an_error_where_none_is_promised_fails_the_drill_and_a_slow_failover_breaks_a_promise() {
        let mut errors = clean();
        errors.round(Fault::HandOver, seen(10, 1));
        assert!(!errors.passed(2));
        let mut slow = clean();
        slow.round(Fault::Kill, seen(510, 0));
        slow.round(Fault::Kill, seen(1501, 0));
        assert!(slow.passed(3));
        assert_eq!(slow.broken_promises(Scope::ErrorsAndTimes).len(), 2);
    }
}
