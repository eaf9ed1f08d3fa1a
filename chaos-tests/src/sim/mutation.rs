//! Rules that can be broken on purpose, one at a time, to show that the invariants see it.
//!
//! The rule itself stays as it is in production; what breaks it is the simulation's glue around it. Some rules guard each
//! other, so that either alone keeps the cluster safe: where the table says so, the other one is broken along with it.

use super::invariant::Name;

/// A broken rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mutation {
    PromoteWithoutCommit,
    CompareAndSetIgnored,
    AcknowledgeByMajority,
    PendingAdditionsIgnored,
    ShrinkBeforeCommit,
    MinIsrIgnored,
    OutsiderPromoted,
    ShorterJournalChosen,
    IncarnationIgnored,
    LeaseFromReceipt,
    LeaseFromMinority,
    SuspensionIgnored,
    YoungestGrantNotAwaited,
    LowerLeasesForgotten,
    StepDownNotAwaited,
    RestartedSentinelGrants,
    LeaseByWallClock,
    AppliedBeyondCommit,
    TruncationSkipped,
    AppliedTailKept,
    AcknowledgedInFullSync,
    SyncNotAwaited,
    RecoveryWithoutAll,
}

/// What a mutation breaks, and who sees it.
#[derive(Debug, Clone, Copy)]
pub struct Row {
    pub mutation: Mutation,
    /// For `--mutation`.
    pub name: &'static str,
    /// The rule of "Control" (DESIGN.md), or "replication", and what is done instead.
    pub rule: &'static str,
    /// Any of these is expected to see it first.
    pub seen_by: &'static [Name],
}

const fn row(mutation: Mutation, name: &'static str, rule: &'static str, seen_by: &'static [Name]) -> Row {
    Row { mutation, name, rule, seen_by }
}

/// All of them.
pub const ROWS: &[Row] = &[
    row(
        Mutation::PromoteWithoutCommit,
        "promote-without-commit",
        "1: a master is told before its promotion is committed",
        &[Name::OneMasterAnEpoch, Name::AcknowledgedKept, Name::MonotonicCommit, Name::Prefixes],
    ),
    row(
        Mutation::AcknowledgeByMajority,
        "acknowledge-by-majority",
        "2: a write is acknowledged when most of the ISR hold it",
        &[Name::AcknowledgedKept, Name::MonotonicCommit],
    ),
    row(
        Mutation::ShrinkBeforeCommit,
        "shrink-before-commit",
        "2: a member that is to leave does not count any more before its removal is committed",
        &[Name::AcknowledgedKept, Name::MonotonicCommit],
    ),
    row(
        Mutation::MinIsrIgnored,
        "min-isr-ignored",
        "2: a master whose ISR is too small acknowledges",
        &[Name::AcknowledgedKept, Name::MonotonicCommit],
    ),
    row(
        Mutation::OutsiderPromoted,
        "outsider-promoted",
        "3: whoever answers may be promoted, in the ISR or not",
        &[Name::AcknowledgedKept, Name::MonotonicCommit, Name::Prefixes],
    ),
    row(
        Mutation::ShorterJournalChosen,
        "shorter-journal-chosen",
        "3 and 9: the shortest of the journals leads",
        &[Name::AcknowledgedKept, Name::MonotonicCommit],
    ),
    row(
        Mutation::IncarnationIgnored,
        "incarnation-ignored",
        "3: a process that came back counts as the one that went",
        &[Name::AcknowledgedKept, Name::MonotonicCommit],
    ),
    row(Mutation::LeaseFromMinority, "lease-from-minority", "4: one grant makes a lease", &[Name::LeaseExclusion]),
    row(
        Mutation::LeaseByWallClock,
        "lease-by-wall-clock",
        "4: the lease is looked at by wall time",
        &[Name::LeaseExclusion],
    ),
    row(
        Mutation::YoungestGrantNotAwaited,
        "youngest-grant-not-awaited",
        "5: a failover begins as soon as most have agreed (and leases of lower epochs are forgotten, which guard it)",
        &[Name::LeaseExclusion],
    ),
    row(
        Mutation::StepDownNotAwaited,
        "step-down-not-awaited",
        "5: a master of no use is replaced without its word (and leases of lower epochs are forgotten, which guard it)",
        &[Name::LeaseExclusion],
    ),
    row(
        Mutation::RecoveryWithoutAll,
        "recovery-without-all",
        "9: the first that comes back leads",
        &[Name::AcknowledgedKept, Name::MonotonicCommit],
    ),
    row(
        Mutation::AppliedBeyondCommit,
        "applied-beyond-commit",
        "replication: a replica applies what it has received",
        &[Name::Prefixes],
    ),
    row(
        Mutation::TruncationSkipped,
        "truncation-skipped",
        "replication: a tail that the master does not know is kept",
        &[Name::Prefixes, Name::AcknowledgedKept, Name::MonotonicCommit],
    ),
    row(
        Mutation::AppliedTailKept,
        "applied-tail-kept",
        "replication: a deposed master continues though it has applied what its successor never had",
        &[Name::Prefixes, Name::NoStaleRead],
    ),
];
