//! The commit offset of the history never goes back, and no committed record changes: not within a mastership, and not from
//! one to the next, which begins with everything that was ever said to be committed.

use std::collections::BTreeMap;

use super::super::message::Record;
use super::history::History;

#[derive(Debug, Default)]
pub(super) struct Commits {
    /// Up to where each mastership has said so.
    by_epoch: BTreeMap<u64, u64>,
}

impl Commits {
    pub(super) fn began(&mut self, history: &History, epoch: u64, log: &[Record]) -> Result<(), String> {
        // An order that comes late begins a mastership that is over: nothing of it can be acknowledged.
        let (kept, committed) = (history.common(log), history.committed_before(epoch));
        if kept >= committed {
            return Ok(());
        }
        Err(format!("epoch {epoch} begins with {kept} of {committed} committed records"))
    }

    pub(super) fn committed(
        &mut self,
        history: &mut History,
        epoch: u64,
        log: &[Record],
        offset: u64,
    ) -> Result<(), String> {
        let said = self.by_epoch.entry(epoch).or_default();
        if offset < *said {
            return Err(format!("epoch {epoch} had committed {said} and goes back to {offset}"));
        }
        let from = std::mem::replace(said, offset);
        for at in from + 1..=offset {
            let Some(&record) = log.get(at as usize - 1) else {
                return Err(format!("epoch {epoch} commits {at}, and its journal ends at {}", log.len()));
            };
            match history.at(at) {
                _ if history.is_lost(epoch, at) => history.push_void(at, record),
                None => history.push(record),
                Some(known) if known == record => {}
                Some(known) => return Err(format!("epoch {epoch} commits {record:?} at {at}, where {known:?} was")),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn record(epoch: u64, id: u64) -> Record {
        Record { epoch, id, key: 0 }
    }

    #[test]
    fn a_committed_record_that_changes_is_seen() {
        let (mut history, mut commits) = (History::default(), Commits::default());
        assert_eq!(commits.committed(&mut history, 1, &[record(1, 1), record(1, 2)], 2), Ok(()));
        assert!(commits.committed(&mut history, 1, &[record(1, 1), record(1, 2)], 1).is_err(), "it goes back");
        assert!(commits.committed(&mut history, 2, &[record(1, 1), record(2, 3)], 2).is_err());
        assert!(commits.began(&history, 3, &[record(1, 1)]).is_err(), "it begins with too little");
        assert!(commits.began(&history, 1, &[record(1, 1)]).is_ok(), "it was over before it began");
    }
    #[test]
    fn what_a_superseded_master_says_of_lost_records_changes_nothing() {
        let (mut history, mut commits) = (History::default(), Commits::default());
        let log: Vec<_> = (1..=4).map(|id| record(1, id)).collect();
        assert_eq!(commits.committed(&mut history, 1, &log, 3), Ok(()));
        history.void_behind(2, 1);
        assert_eq!(commits.committed(&mut history, 2, &[record(1, 1), record(2, 9)], 2), Ok(()));
        assert_eq!(commits.committed(&mut history, 1, &log, 4), Ok(()));
        assert_eq!(history.committed(), [record(1, 1), record(2, 9)]);
        assert!(history.is_void(4, record(1, 4)));
        assert!(
            commits.committed(&mut history, 2, &[record(1, 1), record(2, 9)], 3).is_err(),
            "the present one may not"
        );
    }
}
