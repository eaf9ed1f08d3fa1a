//! The faults of a run.

use super::clock::Nanos;
use super::message::Host;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// A link between two processes, one way or both.
    CutLink,
    /// A node from all sentinels, from all nodes, or from both; one way or both.
    IsolateNode,
    IsolateSentinel,
    /// The sentinels in two parts, the nodes dealt out between them.
    Partition,
    BreakStreams,
    /// SIGSTOP: the kernel goes on.
    Pause,
    /// A virtual machine that stands still.
    Freeze,
    KillNode,
    PowerCut,
    WipeNode,
    KillAllNodes,
    KillSentinel,
    /// `SENTINEL FAILOVER`.
    HandOver,
    /// The Raft leader gives up leading.
    StepDown,
    SetWallClock,
}

pub(super) const ALL: [Fault; 15] = [
    Fault::CutLink,
    Fault::IsolateNode,
    Fault::IsolateSentinel,
    Fault::Partition,
    Fault::BreakStreams,
    Fault::Pause,
    Fault::Freeze,
    Fault::KillNode,
    Fault::PowerCut,
    Fault::WipeNode,
    Fault::KillAllNodes,
    Fault::KillSentinel,
    Fault::HandOver,
    Fault::StepDown,
    Fault::SetWallClock,
];

/// How a process ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// What was written survives.
    Killed,
    /// What was synced survives, and some of what was written.
    PowerCut,
    /// Nothing survives.
    Wiped,
}

/// What of a fault the processes themselves have to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Act {
    Stop { host: Host, end: End, back_after: Nanos },
    HandOver(Host),
    StepDown(Host),
}
