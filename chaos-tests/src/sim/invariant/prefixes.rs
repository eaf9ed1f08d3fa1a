//! Journals that share an epoch and an offset share the record, and all before it; what a replica has applied is a prefix
//! of the committed history, and so is the state that a full sync has made.

use std::collections::HashMap;

use super::super::message::{KEYS, Record, Values};
use super::history::History;

/// Which record each epoch has at an offset.
#[derive(Debug, Default)]
pub(super) struct Journals(HashMap<(u64, u64), u64>);

impl Journals {
    pub(super) fn appended(&mut self, offset: u64, record: Record) -> Result<(), String> {
        let known = *self.0.entry((record.epoch, offset)).or_insert(record.id);
        if known == record.id {
            return Ok(());
        }
        Err(format!("at epoch {} and offset {offset} there are records {known} and {}", record.epoch, record.id))
    }
}

/// How many of the newest records of a journal are looked at: one would do if the rest were right.
const NEWEST: usize = 4;

/// What a replica goes on from lies in its master's journal. (Behind what the mastership began with, `appended` sees it.)
pub(super) fn kept(mastership: Option<&[Record]>, log: &[Record]) -> Result<(), String> {
    let Some(of_master) = mastership else { return Ok(()) };
    for at in (log.len().saturating_sub(NEWEST)..log.len()).filter(|at| *at < of_master.len()) {
        if log[at] != of_master[at] {
            return Err(format!(
                "a replica goes on with {:?} at {}, its master has {:?}",
                log[at],
                at + 1,
                of_master[at]
            ));
        }
    }
    Ok(())
}

pub(super) fn applied(history: &History, offset: u64, record: Record) -> Result<(), String> {
    match history.at(offset) {
        Some(committed) if committed == record => Ok(()),
        _ if history.is_void(offset, record) => Ok(()),
        Some(committed) => Err(format!("a replica applies {record:?} at {offset}, committed is {committed:?}")),
        None => Err(format!("a replica applies {record:?} at {offset}, which is not committed")),
    }
}

/// `newest`: the record at `offset`, if there is one.
pub(super) fn readable(history: &History, offset: u64, newest: Option<Record>, values: &Values) -> Result<(), String> {
    if newest.is_some_and(|record| history.is_void(offset, record)) {
        return Ok(());
    }
    if offset as usize > history.committed().len() {
        return Err(format!("a state is readable at {offset}, and {} are committed", history.committed().len()));
    }
    let mut expected: Values = [(0, 0); KEYS];
    for (at, record) in history.committed()[..offset as usize].iter().enumerate() {
        expected[usize::from(record.key)] = (at as u64 + 1, record.id);
    }
    if expected == *values { Ok(()) } else { Err(format!("the state at {offset} is {values:?}, not {expected:?}")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn record(epoch: u64, id: u64) -> Record {
        Record { epoch, id, key: 0 }
    }

    #[test]
    fn two_records_in_one_place_are_seen() {
        let mut journals = Journals::default();
        assert_eq!(journals.appended(1, record(1, 7)), Ok(()));
        assert_eq!(journals.appended(1, record(2, 8)), Ok(()), "a tail of another epoch");
        assert!(journals.appended(1, record(1, 9)).is_err());
        assert!(kept(Some(&[record(1, 7)]), &[record(1, 7), record(1, 8)]).is_ok());
        assert!(kept(Some(&[record(1, 7)]), &[record(2, 8)]).is_err());
    }

    #[test]
    fn what_is_applied_and_not_committed_is_seen() {
        let mut history = History::default();
        history.push(record(1, 7));
        assert_eq!(applied(&history, 1, record(1, 7)), Ok(()));
        assert!(applied(&history, 1, record(1, 8)).is_err());
        assert!(applied(&history, 2, record(1, 8)).is_err());
        let mut values = [(0, 0); KEYS];
        assert!(readable(&history, 1, Some(record(1, 7)), &values).is_err());
        values[0] = (1, 7);
        assert_eq!(readable(&history, 1, Some(record(1, 7)), &values), Ok(()));
    }
}
