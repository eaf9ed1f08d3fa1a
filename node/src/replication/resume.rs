//! Where may a replica go on? A pure decision over two histories.
//!
//! Two journals agree as far as they have a span in common: the records of one epoch behind one start are the same on
//! everybody who has them, for one master made them. So the last span of the replica that the master knows, as far as
//! both have it, ends at the common point.
//!
//! ```text
//! master    1@0 ........ 10   3@10 ............ 40
//! replica   1@0 ........ 10   2@10 .. 12              common point 10; 11 and 12 were never acknowledged
//! ```

use crate::ids::{Epoch, Offset};
use crate::journal::Span;

/// A journal, as far as the decision goes.
#[derive(Debug, Clone, Copy)]
pub struct Log<'a> {
    pub history: &'a [Span],
    pub end: Offset,
}

/// The master's answer to a replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resume {
    /// It keeps its journal up to here.
    Continue(Offset),
    /// Its full sync goes on where the stream broke.
    GoOn,
    Full(Why),
}

/// What the replica's state is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It is that of the journal up to here, and cannot be cut back behind that.
    Applied(Offset),
    /// A full sync has brought a part of it.
    Partial { epoch: Epoch },
}

/// Why a full sync is needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// It has applied records that are not in the master's journal.
    Diverged,
    /// The master does not keep the records that it lacks.
    TooFarBehind,
    /// It has nothing, and the journal is long: images hold each key once.
    Shorter,
    /// Its full sync was one from another master.
    OtherMaster,
}

/// Decides. `epoch`: of the mastership. `first_kept`: the oldest record that the master could send.
pub fn decide(epoch: Epoch, master: Log<'_>, replica: Log<'_>, standing: Standing, first_kept: Offset) -> Resume {
    let common = common_point(master, replica);
    match standing {
        // Images were made of records that the replica does not have yet: only their own master has them for sure.
        Standing::Partial { epoch: begun } if begun != epoch => Resume::Full(Why::OtherMaster),
        Standing::Partial { .. } if common != replica.end => Resume::Full(Why::Diverged),
        Standing::Applied(applied) if applied > common => Resume::Full(Why::Diverged),
        _ if common.next() < first_kept => Resume::Full(Why::TooFarBehind),
        Standing::Partial { .. } => Resume::GoOn,
        Standing::Applied(_) => Resume::Continue(common),
    }
}

fn common_point(master: Log<'_>, replica: Log<'_>) -> Offset {
    let spans = replica.history.iter().enumerate().rev().filter(|(_, span)| span.start <= replica.end);
    for (index, span) in spans {
        if let Some(of_master) = master.history.iter().position(|known| known == span) {
            return replica.span_end(index).min(master.span_end(of_master));
        }
    }
    Offset::ZERO
}

impl Log<'_> {
    fn span_end(&self, index: usize) -> Offset {
        self.history.get(index + 1).map_or(self.end, |next| next.start.min(self.end))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spans(text: &str) -> (Vec<Span>, Offset) {
        // "1@0 3@10 -40": spans, then the end.
        let mut history = Vec::new();
        let mut end = Offset::ZERO;
        for word in text.split_whitespace() {
            if let Some(number) = word.strip_prefix('-') {
                end = Offset(number.parse().unwrap());
            } else {
                let (epoch, start) = word.split_once('@').unwrap();
                history.push(Span { epoch: Epoch(epoch.parse().unwrap()), start: Offset(start.parse().unwrap()) });
            }
        }
        (history, end)
    }

    #[test]
    fn the_histories_decide() {
        use Resume::{Continue, Full};
        use Why::{Diverged, TooFarBehind};
        // master, replica, applied, first kept -> answer
        let table = [
            ("1@0 -40", "1@0 -30", 30, 1, Continue(Offset(30)), "behind in the same epoch"),
            ("1@0 -40", "1@0 -40", 40, 1, Continue(Offset(40)), "has everything"),
            ("1@0 -40", "-0", 0, 1, Continue(Offset(0)), "has nothing, and everything is kept"),
            ("1@0 -40", "-0", 0, 2, Full(TooFarBehind), "has nothing, and the first record is gone"),
            ("1@0 -40", "1@0 -30", 30, 31, Continue(Offset(30)), "the next record is the oldest that is kept"),
            ("1@0 -40", "1@0 -30", 30, 32, Full(TooFarBehind), "the next record is gone"),
            ("1@0 3@10 -40", "1@0 -10", 10, 1, Continue(Offset(10)), "slept through an epoch"),
            ("1@0 3@10 -40", "1@0 -12", 9, 1, Continue(Offset(10)), "a tail that was not applied is cut off"),
            ("1@0 3@10 -40", "1@0 -12", 12, 1, Full(Diverged), "a deposed master has applied its tail"),
            ("1@0 3@10 -40", "1@0 -12", 11, 1, Full(Diverged), "one record too many was applied"),
            ("1@0 3@10 -40", "1@0 2@10 -12", 10, 1, Continue(Offset(10)), "an epoch that the master never saw"),
            ("1@0 3@10 -40", "1@0 2@10 -12", 12, 1, Full(Diverged), "the deposed master of such an epoch"),
            ("1@0 3@10 -40", "1@0 2@10 -10", 10, 1, Continue(Offset(10)), "such an epoch without records"),
            ("1@0 2@5 3@10 -40", "1@0 2@5 -8", 8, 1, Continue(Offset(8)), "in the middle of a past epoch"),
            ("1@0 2@5 3@10 -40", "1@0 -5", 5, 1, Continue(Offset(5)), "at the end of a past epoch"),
            ("1@0 2@5 -7", "1@0 2@5 -9", 7, 1, Continue(Offset(7)), "ahead of the master in its own epoch"),
            ("4@0 -3", "1@0 -9", 9, 1, Full(Diverged), "the cluster began anew, the replica has old data"),
            ("4@0 -3", "1@0 -9", 0, 1, Continue(Offset(0)), "the same, and nothing was applied"),
            ("1@0 3@10 -40", "1@0 3@10 -7", 7, 1, Continue(Offset(7)), "a span behind its end says nothing"),
        ];
        for (master, replica, applied, first_kept, expected, why) in table {
            let (master_history, master_end) = spans(master);
            let (replica_history, replica_end) = spans(replica);
            let found = decide(
                master_history.last().unwrap().epoch,
                Log { history: &master_history, end: master_end },
                Log { history: &replica_history, end: replica_end },
                Standing::Applied(Offset(applied)),
                Offset(first_kept),
            );
            assert_eq!(found, expected, "{why}: master {master}, replica {replica}, applied {applied}");
        }
    }

    #[test]
    fn a_full_sync_goes_on_under_the_same_master_as_long_as_the_journal_is_kept() {
        use Resume::{Full, GoOn};
        use Why::{Diverged, OtherMaster, TooFarBehind};
        // epoch of the sync, replica, first kept -> answer
        let table = [
            (3, "1@0 3@10 -30", 1, GoOn, "in the middle"),
            (3, "1@0 3@10 -10", 1, GoOn, "no record has come yet"),
            (3, "1@0 3@10 -30", 31, GoOn, "the next record is the oldest that is kept"),
            (3, "1@0 3@10 -30", 32, Full(TooFarBehind), "the next record is gone"),
            (2, "1@0 2@10 -12", 1, Full(OtherMaster), "begun under the master before"),
            (2, "1@0 -9", 1, Full(OtherMaster), "the same, though the records agree: its images may lie behind them"),
            (3, "1@0 2@10 -12", 1, Full(Diverged), "no journal of this master's"),
        ];
        let (master_history, master_end) = spans("1@0 3@10 -40");
        for (epoch, replica, first_kept, expected, why) in table {
            let (replica_history, replica_end) = spans(replica);
            let found = decide(
                Epoch(3),
                Log { history: &master_history, end: master_end },
                Log { history: &replica_history, end: replica_end },
                Standing::Partial { epoch: Epoch(epoch) },
                Offset(first_kept),
            );
            assert_eq!(found, expected, "{why}: {replica}");
        }
    }
}
