//! The milliseconds of a change of the master, phase by phase: for the log, and for everybody through the state.
//!
//! ```text
//! failover   suspected | agreed | leases over | fenced | committed | activated
//! hand-over  held | committed | activated
//! ```

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use tracing::info;

use crate::clock::{Moment, millis};
use crate::state::{Failover, FailoverPhase};

/// What came before the failover itself: since when the master was suspected, and why.
#[derive(Debug, Clone)]
pub(crate) struct Prelude {
    pub(crate) suspected: Moment,
    /// A majority has suspended the epoch.
    pub(crate) agreed: Option<Moment>,
    pub(crate) reason: String,
}

/// A change of the master that is under way.
#[derive(Debug)]
pub(crate) struct Timeline {
    kind: &'static str,
    epoch: u64,
    from: String,
    reason: String,
    began: Instant,
    began_unix_ms: u64,
    /// Milliseconds from the beginning to when `began` was taken.
    before_ms: u64,
    phases: Vec<FailoverPhase>,
}

impl Timeline {
    /// Begins now; or with the first suspicion, if there was one.
    pub(crate) fn new(kind: &'static str, epoch: u64, from: &str, prelude: Option<&Prelude>) -> Self {
        let now = Moment::now();
        let since = |moment: Moment| millis(now.since(moment));
        let before_ms = prelude.map_or(0, |prelude| since(prelude.suspected));
        let mut phases = Vec::new();
        if let Some(prelude) = prelude {
            let agreed = prelude.agreed.map_or(before_ms, |agreed| before_ms.saturating_sub(since(agreed)));
            phases.push(FailoverPhase { name: "agreed".to_owned(), at_ms: agreed });
            phases.push(FailoverPhase { name: "leases over".to_owned(), at_ms: before_ms });
        }
        let unix_ms = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, millis);
        Self {
            kind,
            epoch,
            from: from.to_owned(),
            reason: prelude.map(|prelude| prelude.reason.clone()).unwrap_or_default(),
            began: Instant::now(),
            began_unix_ms: unix_ms.saturating_sub(before_ms),
            before_ms,
            phases,
        }
    }

    /// A phase has ended.
    pub(crate) fn ended(&mut self, phase: &str) {
        let at_ms = self.before_ms + millis(self.began.elapsed());
        self.phases.push(FailoverPhase { name: phase.to_owned(), at_ms });
    }

    /// The new master answers. One line a phase, with the names of the page.
    pub(crate) fn finish(self, to: &str) -> Failover {
        let Self { kind, epoch, from, reason, began_unix_ms, phases, .. } = self;
        let mut before = 0;
        for phase in &phases {
            info!(
                epoch,
                kind,
                phase = phase.name,
                at_ms = phase.at_ms,
                took_ms = phase.at_ms - before,
                "failover phase"
            );
            before = phase.at_ms;
        }
        Failover { epoch, kind: kind.to_owned(), reason, from, to: to.to_owned(), began_unix_ms, phases }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phases_count_from_the_first_suspicion_and_never_go_back() {
        let now = Moment::now();
        let prelude = Prelude { suspected: now, agreed: Some(now), reason: "Silent".to_owned() };
        let mut timeline = Timeline::new("failover", 3, "n1", Some(&prelude));
        timeline.ended("fenced");
        timeline.ended("committed");
        let failover = timeline.finish("n2");
        let names: Vec<_> = failover.phases.iter().map(|phase| phase.name.as_str()).collect();
        assert_eq!(names, ["agreed", "leases over", "fenced", "committed"]);
        assert!(failover.phases.is_sorted_by_key(|phase| phase.at_ms));
        assert_eq!((failover.from.as_str(), failover.to.as_str()), ("n1", "n2"));
    }
}
