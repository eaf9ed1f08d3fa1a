//! What must hold after every step, one file each. The processes say what they do; nobody asks the invariants anything.
//!
//! | file | must hold |
//! |---|---|
//! | `one_master_an_epoch` | at most one process begins a mastership under an epoch |
//! | `lease_exclusion` | at no true instant may two processes execute |
//! | `acknowledged_kept` | the journal that a mastership begins with holds every acknowledged write |
//! | `monotonic_commit` | what is committed stays so, record by record |
//! | `prefixes` | who shares (epoch, offset) shares the record; who applies applies what is committed |
//! | `no_stale_read` | a master's answer holds every write that was acknowledged before the question |
//! | `liveness` | once everything is healed there is soon a master that acknowledges, and all are in sync |

mod acknowledged_kept;
mod history;
mod lease_exclusion;
pub(super) mod liveness;
mod monotonic_commit;
mod no_stale_read;
mod one_master_an_epoch;
mod prefixes;

use super::message::{KEYS, Record, Values};
use super::raft::EntryId;
use history::History;

/// Which invariant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Name {
    OneMasterAnEpoch,
    LeaseExclusion,
    AcknowledgedKept,
    MonotonicCommit,
    Prefixes,
    NoStaleRead,
    Liveness,
}

/// An invariant that does not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    pub name: Name,
    pub text: String,
}

impl std::fmt::Display for Violation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}: {}", self.name, self.text)
    }
}

/// All of them, and what they have in common.
#[derive(Debug, Default)]
pub(super) struct Invariants {
    history: History,
    masters: one_master_an_epoch::Masters,
    acknowledged: acknowledged_kept::Acknowledged,
    commits: monotonic_commit::Commits,
    journals: prefixes::Journals,
    reads: no_stale_read::Reads,
    /// What will be void once an entry is applied: the entry, its epoch, and up to where nothing is.
    to_void: Vec<(EntryId, u64, usize)>,
    pub(super) voided_writes: u64,
    pub(super) violation: Option<Violation>,
}

impl Invariants {
    fn judge(&mut self, name: Name, result: Result<(), String>) {
        if let (Err(text), None) = (result, &self.violation) {
            self.violation = Some(Violation { name, text });
        }
    }

    /// A process begins the mastership of `epoch` with this journal.
    pub(super) fn began(&mut self, epoch: u64, incarnation: &str, log: &[Record]) {
        let result = self.masters.began(epoch, incarnation);
        self.judge(Name::OneMasterAnEpoch, result);
        let result = self.acknowledged.began(epoch, log);
        self.judge(Name::AcknowledgedKept, result);
        let result = self.commits.began(&self.history, epoch, log);
        self.judge(Name::MonotonicCommit, result);
    }

    /// Who may execute, now: process and epoch.
    pub(super) fn executing(&mut self, processes: &[(usize, u64)]) {
        let result = lease_exclusion::check(processes);
        self.judge(Name::LeaseExclusion, result);
    }

    /// Somebody has this record at `offset` of its journal.
    pub(super) fn appended(&mut self, offset: u64, record: Record) {
        let result = self.journals.appended(offset, record);
        self.judge(Name::Prefixes, result);
    }

    /// A replica goes on under the master of `epoch` behind this.
    pub(super) fn kept(&mut self, epoch: u64, log: &[Record]) {
        let result = prefixes::kept(self.acknowledged.mastership(epoch), log);
        self.judge(Name::Prefixes, result);
    }

    /// The master of `epoch` says that its journal is committed up to `offset`.
    pub(super) fn committed(&mut self, epoch: u64, log: &[Record], offset: u64) {
        let result = self.commits.committed(&mut self.history, epoch, log, offset);
        self.judge(Name::MonotonicCommit, result);
    }

    /// A write's answer leaves.
    pub(super) fn acknowledged(&mut self, offset: u64, record: Record) {
        if self.history.is_void(offset, record) {
            self.voided_writes += 1;
            return;
        }
        self.reads.acknowledged(record.key, offset);
        let result = self.acknowledged.acknowledged(offset, record);
        self.judge(Name::AcknowledgedKept, result);
    }

    /// The state of a replica takes this in.
    pub(super) fn applied(&mut self, offset: u64, record: Record) {
        let result = prefixes::applied(&self.history, offset, record);
        self.judge(Name::Prefixes, result);
    }

    /// Images and records have become a state that may be read.
    pub(super) fn readable(&mut self, applied: u64, newest: Option<Record>, values: &Values) {
        let result = prefixes::readable(&self.history, applied, newest, values);
        self.judge(Name::Prefixes, result);
    }

    /// The newest acknowledged write of each key, as a question is asked.
    pub(super) fn asked(&self) -> [u64; KEYS] {
        self.reads.newest()
    }

    /// A master answers that the newest write of `key` is this one.
    pub(super) fn answered(&mut self, key: u8, value: (u64, u64), asked: u64) {
        let result = self.reads.answered(&self.history, key, value, asked);
        self.judge(Name::NoStaleRead, result);
    }

    pub(super) fn late(&mut self, text: String) {
        self.judge(Name::Liveness, Err(text));
    }

    /// A fault has left no copy that counts but these. What lies behind the longest of them was promised to nobody: see
    /// `acknowledged_kept`. They count in `epoch`; if by an entry that is not applied, so once it is.
    pub(super) fn only_copies<'a>(
        &mut self,
        epoch: u64,
        entry: Option<EntryId>,
        logs: impl Iterator<Item = &'a [Record]>,
    ) {
        let longest = logs.map(|log| self.history.common(log)).max().unwrap_or(0);
        if longest >= self.history.committed().len() {
            return;
        }
        match entry {
            None => self.void_behind(epoch, longest),
            Some(entry) => self.to_void.push((entry, epoch, longest)),
        }
    }

    /// The sentinels have agreed on this entry.
    pub(super) fn entry_applied(&mut self, entry: EntryId) {
        while let Some(at) = self.to_void.iter().position(|(waiting, ..)| *waiting == entry) {
            let (_, epoch, longest) = self.to_void.swap_remove(at);
            self.void_behind(epoch, longest);
        }
    }

    fn void_behind(&mut self, epoch: u64, offset: usize) {
        if offset < self.history.committed().len() {
            self.history.void_behind(epoch, offset);
            self.voided_writes += self.acknowledged.void_behind(offset as u64) as u64;
            self.reads.void_behind(&self.acknowledged.newest());
        }
    }
}
