//! The one committed history: what masters have said is committed, record by record.

use super::super::message::Record;

#[derive(Debug, Default)]
pub(super) struct History {
    /// The record of offset 1 first.
    committed: Vec<Record>,
    /// What was committed once, and of which faults destroyed every copy that counts.
    voided: Vec<(u64, Record)>,
    /// Each time: the epoch that was in force, and the offset behind which nothing was left.
    losses: Vec<(u64, u64)>,
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

    /// What lies behind `offset` is void: a fault destroyed every copy of it that counts in `epoch`.
    pub(super) fn void_behind(&mut self, epoch: u64, offset: usize) {
        self.losses.push((epoch, offset as u64));
        let gone = (offset as u64 + 1..).zip(self.committed.drain(offset..));
        self.voided.extend(gone);
    }

    /// A master that was superseded before a fault, and stood still, still may say what was committed in its time. What the
    /// fault destroyed is void all the same; is this such a record?
    pub(super) fn is_lost(&self, epoch: u64, offset: u64) -> bool {
        self.losses.iter().any(|(in_force, kept)| epoch < *in_force && offset > *kept)
    }

    /// This was committed, and is void.
    pub(super) fn push_void(&mut self, offset: u64, record: Record) {
        self.voided.push((offset, record));
    }

    /// Whether such a record was committed at `offset` once, and is void.
    pub(super) fn was_voided(&self, offset: u64, mut is_it: impl FnMut(Record) -> bool) -> bool {
        self.voided.iter().any(|(at, record)| *at == offset && is_it(*record))
    }

    pub(super) fn is_void(&self, offset: u64, record: Record) -> bool {
        self.voided.contains(&(offset, record))
    }
}
