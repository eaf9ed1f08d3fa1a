//! What a seed is like: how many processes, how fast and how broken the network, and which faults happen how often.
//!
//! Swarm testing: a run with every fault at once meets fewer states than many runs with some of them each.

use super::clock::{MS, Nanos};
use super::fault::{self, Fault};
use super::mutation::Mutation;
use super::random::Random;

/// What nodes keep on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Keeping {
    Nothing,
    EverySecond,
    Always,
}

impl Keeping {
    fn draw(random: &mut Random) -> Self {
        match random.below(8) {
            0 => Self::Nothing,
            1..=3 => Self::EverySecond,
            _ => Self::Always,
        }
    }
}

/// Everything that is drawn before the run begins.
#[derive(Debug, Clone)]
pub(super) struct Swarm {
    pub(super) nodes: usize,
    pub(super) sentinels: usize,
    pub(super) clients: usize,
    pub(super) min_isr: u32,
    /// Of each node.
    pub(super) keeping: Vec<Keeping>,
    /// One way, least and most.
    pub(super) delay: [Nanos; 2],
    /// In a thousand messages: lost (on a stream: held up, or the end of it), sent twice.
    pub(super) loss: u64,
    pub(super) duplication: u64,
    /// Least and most that one sync takes.
    pub(super) sync: [Nanos; 2],
    /// Between two ticks of a process.
    pub(super) tick: Nanos,
    /// Least and most that a client thinks between two commands.
    pub(super) think: [Nanos; 2],
    pub(super) faults: Vec<Fault>,
    /// Mean time between two faults.
    pub(super) calm: Nanos,
    /// How long faults happen.
    pub(super) trouble: Nanos,
}

/// What a run is about: where everything happens at once, few clusters live long enough for the finer rules to matter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Everything,
    /// Who may execute.
    Leases,
    /// Who holds what.
    Copies,
    /// What a process leaves behind.
    Ends,
}

impl Kind {
    fn of(number: u64) -> Self {
        match number {
            0 | 1 => Self::Leases,
            2 | 3 => Self::Copies,
            4 => Self::Ends,
            _ => Self::Everything,
        }
    }

    fn for_mutation(mutation: Mutation) -> Self {
        match mutation {
            Mutation::LeaseFromReceipt
            | Mutation::LeaseFromMinority
            | Mutation::LeaseByWallClock
            | Mutation::SuspensionIgnored
            | Mutation::YoungestGrantNotAwaited
            | Mutation::LowerLeasesForgotten
            | Mutation::StepDownNotAwaited
            | Mutation::RestartedSentinelGrants => Self::Leases,
            Mutation::PromoteWithoutCommit
            | Mutation::AcknowledgeByMajority
            | Mutation::PendingAdditionsIgnored
            | Mutation::ShrinkBeforeCommit
            | Mutation::MinIsrIgnored
            | Mutation::OutsiderPromoted
            | Mutation::CompareAndSetIgnored
            | Mutation::AppliedBeyondCommit
            | Mutation::TruncationSkipped
            | Mutation::AppliedTailKept => Self::Copies,
            Mutation::ShorterJournalChosen
            | Mutation::IncarnationIgnored
            | Mutation::RecoveryWithoutAll
            | Mutation::AcknowledgedInFullSync
            | Mutation::SyncNotAwaited => Self::Ends,
        }
    }

    fn faults(self) -> &'static [Fault] {
        match self {
            Self::Everything => &fault::ALL,
            Self::Leases => &[
                Fault::CutLink,
                Fault::IsolateNode,
                Fault::IsolateSentinel,
                Fault::Partition,
                Fault::Pause,
                Fault::KillSentinel,
                Fault::HandOver,
                Fault::SetWallClock,
                Fault::StepDown,
            ],
            Self::Copies => &[
                Fault::CutLink,
                Fault::IsolateNode,
                Fault::Partition,
                Fault::BreakStreams,
                Fault::Freeze,
                Fault::KillNode,
                Fault::HandOver,
                Fault::StepDown,
            ],
            Self::Ends => &[
                Fault::KillNode,
                Fault::PowerCut,
                Fault::WipeNode,
                Fault::KillAllNodes,
                Fault::IsolateNode,
                Fault::CutLink,
            ],
        }
    }
}

impl Swarm {
    pub(super) fn draw(random: &mut Random, mutation: Option<Mutation>) -> Self {
        let (nodes, sentinels) = match random.below(8) {
            0 => (2, 3),
            1 => (3, 5),
            2 => (2, 5),
            _ => (3, 3),
        };
        let of_all = Keeping::draw(random);
        let is_mixed = random.chance(200);
        let keeping = (0..nodes).map(|_| if is_mixed { Keeping::draw(random) } else { of_all }).collect();
        let slow = random.chance(150);
        let mut swarm = Self {
            nodes,
            sentinels,
            clients: 3,
            min_isr: if nodes == 2 && random.chance(500) { 1 } else { 2 },
            keeping,
            delay: if slow { [MS, random.between(5, 40) * MS] } else { [MS / 20, random.between(1, 20) * MS / 10] },
            loss: if random.chance(400) { random.between(1, 20) } else { 0 },
            duplication: if random.chance(400) { random.between(5, 50) } else { 0 },
            sync: [MS / 10, random.between(1, 20) * MS],
            tick: random.between(8, 14) * MS,
            think: [2 * MS, random.between(10, 60) * MS],
            faults: Vec::new(),
            calm: random.between(60, 700) * MS,
            trouble: random.between(1200, 3500) * MS,
        };
        let kind = mutation.map_or(Kind::of(random.below(8)), Kind::for_mutation);
        let among = kind.faults();
        swarm.faults = among.iter().copied().filter(|_| random.chance(500)).collect();
        swarm.faults.push(among[random.index(among.len())]);
        swarm.suit(mutation);
        swarm
    }

    /// A mutation is looked for where its rule stands alone.
    fn suit(&mut self, mutation: Option<Mutation>) {
        if matches!(mutation, Some(Mutation::SuspensionIgnored | Mutation::YoungestGrantNotAwaited)) {
            // In a hand-over the forgotten leases alone are seen.
            self.faults.retain(|fault| *fault != Fault::HandOver);
            self.faults.push(Fault::IsolateNode);
        }
        if mutation == Some(Mutation::StepDownNotAwaited) {
            // A node that reaches the sentinels alone.
            (self.nodes, self.min_isr) = (3, 2);
            self.keeping.resize(self.nodes, self.keeping[0]);
            self.faults = vec![Fault::IsolateNode];
        }
    }
}
