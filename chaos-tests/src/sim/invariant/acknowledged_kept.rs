//! An acknowledged write is in the journal that every later mastership begins with, and an earlier one acknowledges nothing
//! that a later one began without.
//!
//! What voids the promise, exactly: a fault after which no copy is left that counts, that is none in the journal (memory of
//! a process that lives and holds a whole copy, else what its disk would come back with) of any node that the ISR names,
//! nor in that of a process that bears witness. So: loss of the disks of all of them; or, unless every node syncs
//! always, the end of all of them at once. The same goes for those that a promotion names, if none of the processes that
//! were fenced for it is left when it is agreed on; and for those that a change of the ISR names, if none of their processes
//! is left then (the order of a master may be agreed on after its end). In runs with `--fsync always` and whole disks nothing is ever void.

use super::super::message::{KEYS, Record};

#[derive(Debug, Default)]
pub(super) struct Acknowledged {
    /// In the order of acknowledgement.
    writes: Vec<(u64, Record)>,
    /// What each mastership began with.
    masterships: Vec<(u64, Vec<Record>)>,
}

fn holds(log: &[Record], offset: u64, record: Record) -> bool {
    log.get(offset as usize - 1) == Some(&record)
}

impl Acknowledged {
    pub(super) fn began(&mut self, epoch: u64, log: &[Record]) -> Result<(), String> {
        let lost = self.writes.iter().find(|(offset, record)| record.epoch < epoch && !holds(log, *offset, *record));
        let result = lost.map_or(Ok(()), |(offset, record)| {
            Err(format!(
                "epoch {epoch} begins at {} without the acknowledged write {} (epoch {}, offset {offset})",
                log.len(),
                record.id,
                record.epoch
            ))
        });
        self.masterships.push((epoch, log.to_vec()));
        result
    }

    pub(super) fn acknowledged(&mut self, offset: u64, record: Record) -> Result<(), String> {
        self.writes.push((offset, record));
        let later = self.masterships.iter().filter(|(epoch, _)| *epoch > record.epoch);
        match later.into_iter().find(|(_, log)| !holds(log, offset, record)) {
            None => Ok(()),
            Some((epoch, _)) => Err(format!(
                "epoch {} acknowledges write {} at {offset}, and epoch {epoch} has begun without it",
                record.epoch, record.id
            )),
        }
    }

    pub(super) fn mastership(&self, epoch: u64) -> Option<&[Record]> {
        self.masterships.iter().find(|(began, _)| *began == epoch).map(|(_, log)| log.as_slice())
    }

    pub(super) fn void_behind(&mut self, offset: u64) -> usize {
        let before = self.writes.len();
        self.writes.retain(|(at, _)| *at <= offset);
        before - self.writes.len()
    }

    /// The offset of the newest acknowledged write of each key.
    pub(super) fn newest(&self) -> [u64; KEYS] {
        let mut newest = [0; KEYS];
        for (offset, record) in &self.writes {
            let of_key = &mut newest[usize::from(record.key)];
            *of_key = (*of_key).max(*offset);
        }
        newest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn record(epoch: u64, id: u64) -> Record {
        Record { epoch, id, key: 0 }
    }

    #[test]
    fn a_mastership_that_begins_without_an_acknowledged_write_is_seen() {
        let mut writes = Acknowledged::default();
        assert_eq!(writes.acknowledged(1, record(1, 7)), Ok(()));
        assert_eq!(writes.began(2, &[record(1, 7), record(1, 8)]), Ok(()));
        assert!(writes.began(3, &[record(1, 9)]).is_err());
        assert!(writes.began(4, &[]).is_err());
    }

    #[test]
    fn a_late_acknowledgement_of_what_the_next_master_lacks_is_seen() {
        let mut writes = Acknowledged::default();
        assert_eq!(writes.began(2, &[record(1, 7)]), Ok(()));
        assert_eq!(writes.acknowledged(1, record(1, 7)), Ok(()));
        assert!(writes.acknowledged(2, record(1, 8)).is_err());
    }
}
