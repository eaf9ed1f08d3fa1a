//! The one committed history: what masters have said is committed, record by record.

use super::super::message::Record;

#[derive(Debug, Default)]
pub(super) struct History {
    /// The record of offset 1 first.
    committed: Vec<Record>,
    /// What was committed once, and of which faults destroyed every copy that counts.
    voided: Vec<(u64, Record)>,
}

impl History {
    pub(super) fn committed(&self) -> &[Record] {
        &self.committed
    }

    /// How many of them were made under lower epochs.
    pub(super) fn committed_before(&self, epoch: u64) -> usize {
        self.committed.partition_point(|record| record.epoch < epoch)
    }

    pub(super) fn at(&self, offset: u64) -> Option<Record> {
        self.committed.get((offset as usize).checked_sub(1)?).copied()
    }

    pub(super) fn push(&mut self, record: Record) {
        self.committed.push(record);
    }

    /// How many records a journal and the history have in common: two that agree in one agree in all before it.
    pub(super) fn common(&self, log: &[Record]) -> usize {
        let shorter = log.len().min(self.committed.len());
        (0..=shorter).rev().find(|&at| at == 0 || log[at - 1] == self.committed[at - 1]).unwrap_or(0)
    }

    pub(super) fn void_behind(&mut self, offset: usize) {
        let gone = (offset as u64 + 1..).zip(self.committed.drain(offset..));
        self.voided.extend(gone);
    }

    pub(super) fn is_void(&self, offset: u64, record: Record) -> bool {
        self.voided.contains(&(offset, record))
    }
}
