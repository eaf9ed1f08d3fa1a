//! What a node's state holds of its journal: the rules of `replication::apply`, on a state of a few keys.

use super::super::message::{KEYS, PARTITIONS, Record, Values, partition_of};

/// What the copy is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Condition {
    #[default]
    Fresh,
    Loading,
    Whole,
    /// A full sync is under way, or has broken off and may go on.
    Syncing,
    /// It does not fit its journal.
    Lost,
}

#[derive(Debug, Clone, Default)]
pub(super) struct Copy {
    pub(super) condition: Condition,
    pub(super) values: Values,
    pub(super) applied: u64,
    /// Up to here is committed.
    pub(super) target: u64,
    /// The full sync: of which epoch, and which images have come, each with its cut.
    pub(super) sync: Option<u64>,
    pub(super) cuts: [Option<u64>; PARTITIONS],
    pub(super) youngest_cut: u64,
    /// The youngest cut is not reached: records are applied whether they are committed or not.
    pub(super) is_loading: bool,
}

impl Copy {
    pub(super) fn restart(&mut self, applied: u64, condition: Condition) {
        let values = if applied == 0 { [(0, 0); KEYS] } else { self.values };
        *self = Self { condition, values, applied, ..Self::default() };
    }

    pub(super) fn begin_sync(&mut self, epoch: u64, offset: u64) {
        *self = Self {
            condition: Condition::Syncing,
            applied: offset,
            is_loading: true,
            sync: Some(epoch),
            ..Self::default()
        };
    }

    pub(super) fn load(&mut self, partition: usize, cut: u64, values: &Values) {
        self.cuts[partition] = Some(cut);
        self.youngest_cut = self.youngest_cut.max(cut);
        for key in (0..KEYS).filter(|key| partition_of(*key as u8) == partition) {
            self.values[key] = values[key];
        }
    }

    /// What can no longer be taken out.
    pub(super) fn held(&self) -> u64 {
        self.applied.max(self.youngest_cut)
    }

    pub(super) fn is_readable(&self) -> bool {
        self.is_of_one_moment() && self.target >= self.applied
    }

    pub(super) fn is_of_one_moment(&self) -> bool {
        self.condition == Condition::Whole && !self.is_loading && self.applied >= self.youngest_cut
    }

    /// Up to where of a journal that ends at `end` it may apply.
    pub(super) fn limit(&self, end: u64) -> u64 {
        match (self.condition, self.is_loading) {
            (Condition::Lost | Condition::Loading, _) => self.applied,
            (Condition::Syncing, _) => end,
            (_, true) => end.min(self.target.max(self.youngest_cut)),
            (_, false) => end.min(self.target),
        }
    }

    pub(super) fn apply(&mut self, offset: u64, record: Record) {
        let is_wanted = match self.cuts[partition_of(record.key)] {
            Some(cut) => offset > cut,
            None => self.sync.is_none(),
        };
        if is_wanted {
            self.values[usize::from(record.key)] = (offset, record.id);
        }
        self.applied = offset;
        if self.condition == Condition::Whole && self.is_loading && self.applied >= self.youngest_cut {
            self.is_loading = false;
        }
    }

    /// All images, and the journal up to the youngest cut, have come.
    pub(super) fn complete(&mut self) {
        (self.condition, self.sync) = (Condition::Whole, None);
        if self.applied >= self.youngest_cut {
            self.is_loading = false;
        }
    }
}
