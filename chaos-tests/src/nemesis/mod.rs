//! Faults: one row each in `FAULTS`, what it needs, how it ends, and what is promised of it. How it is done stands in the
//! files of this folder, which also tell whether it happened.

pub mod clock;
pub mod cut;
pub mod disk;
pub mod flood;
pub mod kill;
pub mod large_queue;
pub mod large_value;
pub mod order;
pub mod pause;
pub mod storm;
pub mod stranger;
pub mod wedge;

use clap::ValueEnum;
use rand::rngs::StdRng;

use crate::cluster::{self, Cluster, Member};
use crate::sys::Moment;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, ValueEnum)]
pub enum Fault {
    /// `kill -9` of the master; sometimes a supervisor starts it again at once.
    Kill,
    /// SIGSTOP of the master, SIGCONT when there is another one.
    Pause,
    /// The master is cut off from everybody.
    Isolate,
    /// The master is cut off from the sentinels; its clients and replicas reach it.
    SentinelsCut,
    /// The master is cut off from its replicas; sentinels and clients reach it.
    ReplicasCut,
    /// What the master sends reaches nobody; it hears everybody.
    OneWayOut,
    /// The master hears nobody; what it sends arrives.
    OneWayIn,
    /// The clients do not reach the master; everybody else does.
    ClientsCut,
    /// `kill -9` of the master and of one sentinel.
    MasterAndSentinel,
    /// `kill -9` of the sentinel that leads Raft.
    Leader,
    /// SIGSTOP of a replica.
    ReplicaPause,
    /// `kill -9` of all six, and all are started again.
    RestartAll,
    /// SIGTERM to one node after the other, each started again.
    RollingRestart,
    /// `SENTINEL FAILOVER`.
    HandOver,
    /// A replica behind a link that delays and loses.
    SlowLink,
    /// The master's disk is full.
    FullDisk,
    /// Writes and syncs of the master's disk hang, again and again.
    SlowDisk,
    /// The wall clocks of a replica, a sentinel and the master jump and drift.
    ClockSkew,
    /// The master's thread that serves clients stands still; all its other threads go on.
    WedgedThread,
    /// Publishers without pause at the master.
    PublisherFlood,
    /// The same to a queue, while the master's disk hangs again and again.
    SlowDiskFlood,
    /// Values of a hundred megabytes, and `kill -9` of the master.
    LargeValue,
    /// A large queue, a full sync of it to a replaced replica, and `kill -9` of the master.
    LargeQueue,
    /// Thousands of connections to every port.
    DescriptorStorm,
    /// Orders of somebody who does not know the cluster's token.
    ForgedPeer,
}

/// What a fault takes besides processes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Needs {
    /// Addresses and a network of their own.
    pub network: bool,
    /// A file system for each node.
    pub disks: bool,
    /// Wall clocks of their own.
    pub clocks: bool,
}

/// What comes of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// Another node serves while the fault lasts.
    NewMaster,
    /// The master stays who it was, and the clients reach it all the time.
    SameMaster,
    /// Who serves then does not matter, and a replacement of the master is as good as its stay.
    AnyMaster,
    /// Nothing is promised before the fault ends.
    AfterMend,
}

/// What is promised of the time in which a client cannot write, in milliseconds, and of its errors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Promise {
    pub median_ms: Option<u128>,
    pub worst_ms: Option<u128>,
    pub errors: Errors,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Errors {
    /// A connection that ends, a reply that never comes: part of the fault.
    Happen,
    /// No Redis client may meet one.
    None,
}

#[derive(Debug, Clone, Copy)]
pub struct Row {
    pub fault: Fault,
    pub name: &'static str,
    pub needs: Needs,
    pub ending: Ending,
    pub promise: Promise,
}

const PROCESSES: Needs = Needs { network: false, disks: false, clocks: false };
const NETWORK: Needs = Needs { network: true, ..PROCESSES };
const DISKS: Needs = Needs { disks: true, ..PROCESSES };
const CLOCKS: Needs = Needs { clocks: true, ..PROCESSES };

const fn within(median_ms: u128) -> Promise {
    Promise { median_ms: Some(median_ms), worst_ms: Some(1500), errors: Errors::Happen }
}
const NOTHING_FELT: Promise = Promise { median_ms: None, worst_ms: Some(1500), errors: Errors::None };
const WORST_ONLY: Promise = Promise { median_ms: None, worst_ms: Some(1500), errors: Errors::Happen };
const PLANNED: Promise = Promise { median_ms: None, worst_ms: Some(50), errors: Errors::None };
/// A node that stops closes its connections between two requests: a client that does not listen to the sentinels finds
/// that out with its next one.
const STOPPED: Promise = Promise { median_ms: None, worst_ms: Some(100), errors: Errors::Happen };
/// A replica that stalls is out of the way before a client gives up.
const STALLED_REPLICA: Promise = Promise { median_ms: None, worst_ms: Some(300), errors: Errors::None };
/// A hang is told from a long command after a second; then it is a failover as any other.
const WEDGED: Promise = Promise { median_ms: Some(1800), worst_ms: Some(2500), errors: Errors::Happen };
/// Everybody has his turn between two of the flood: within the time that a client waits for a reply.
const FLOODED: Promise = Promise { median_ms: None, worst_ms: Some(300), errors: Errors::Happen };
/// Clients wait until the fault is over, which is not the cluster's to decide: so they do for a disk that is behind by more
/// than the journal may have in memory.
const SAFETY_ONLY: Promise = Promise { median_ms: None, worst_ms: None, errors: Errors::Happen };

/// In the order of the enum.
pub const FAULTS: [Row; 25] = {
    use Ending::{AfterMend, AnyMaster, NewMaster, SameMaster};
    [
        row(Fault::Kill, "kill", PROCESSES, NewMaster, within(500)),
        row(Fault::Pause, "pause", PROCESSES, NewMaster, within(700)),
        row(Fault::Isolate, "isolate", NETWORK, NewMaster, within(700)),
        row(Fault::SentinelsCut, "sentinels-cut", NETWORK, NewMaster, within(700)),
        row(Fault::ReplicasCut, "replicas-cut", NETWORK, NewMaster, within(700)),
        row(Fault::OneWayOut, "one-way-out", NETWORK, NewMaster, within(700)),
        row(Fault::OneWayIn, "one-way-in", NETWORK, NewMaster, within(700)),
        row(Fault::ClientsCut, "clients-cut", NETWORK, AfterMend, SAFETY_ONLY),
        row(Fault::MasterAndSentinel, "master-and-sentinel", PROCESSES, NewMaster, WORST_ONLY),
        row(Fault::Leader, "leader", PROCESSES, SameMaster, NOTHING_FELT),
        row(Fault::ReplicaPause, "replica-pause", PROCESSES, SameMaster, STALLED_REPLICA),
        row(Fault::RestartAll, "restart-all", PROCESSES, AfterMend, SAFETY_ONLY),
        row(Fault::RollingRestart, "rolling-restart", PROCESSES, AnyMaster, STOPPED),
        row(Fault::HandOver, "hand-over", PROCESSES, NewMaster, PLANNED),
        row(Fault::SlowLink, "slow-link", NETWORK, SameMaster, NOTHING_FELT),
        row(Fault::FullDisk, "full-disk", DISKS, AnyMaster, WORST_ONLY),
        row(Fault::SlowDisk, "slow-disk", DISKS, AnyMaster, WORST_ONLY),
        row(Fault::ClockSkew, "clock-skew", CLOCKS, SameMaster, NOTHING_FELT),
        row(Fault::WedgedThread, "wedged-thread", PROCESSES, NewMaster, WEDGED),
        row(Fault::PublisherFlood, "publisher-flood", PROCESSES, SameMaster, FLOODED),
        row(Fault::SlowDiskFlood, "slow-disk-flood", DISKS, AnyMaster, SAFETY_ONLY),
        row(Fault::LargeValue, "large-value", PROCESSES, NewMaster, WORST_ONLY),
        row(Fault::LargeQueue, "large-queue", PROCESSES, NewMaster, WORST_ONLY),
        row(Fault::DescriptorStorm, "descriptor-storm", PROCESSES, SameMaster, WORST_ONLY),
        row(Fault::ForgedPeer, "forged-peer", PROCESSES, SameMaster, NOTHING_FELT),
    ]
};

const fn row(fault: Fault, name: &'static str, needs: Needs, ending: Ending, promise: Promise) -> Row {
    Row { fault, name, needs, ending, promise }
}

impl Fault {
    #[must_use]
    pub fn row(self) -> &'static Row {
        &FAULTS[self as usize]
    }

    /// Are Redis clients carried to the next master? Then a connection says nothing of who answers on it.
    #[must_use]
    pub fn carries_clients(self) -> bool {
        matches!(
            self,
            Self::HandOver
                | Self::RollingRestart
                | Self::FullDisk
                | Self::SlowDisk
                | Self::SlowDiskFlood
                | Self::ReplicasCut
        )
    }
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.row().name)
    }
}

/// Why a fault did not happen: whatever follows proves nothing.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Cluster(#[from] cluster::Error),
    #[error(transparent)]
    Network(#[from] cluster::network::Error),
    #[error(transparent)]
    Disk(#[from] cluster::disk::Error),
    #[error("the fault did not happen: {0}")]
    DidNotHappen(String),
    #[error("no answer to a question about the fault: {0}")]
    NoAnswer(String),
    #[error("the fault did what it must not do: {0}")]
    Broken(String),
}

/// A fault under way.
#[derive(Debug)]
pub struct Struck {
    /// Just before it began.
    pub at: Moment,
    /// Whose life was ended: it has to come back as another incarnation.
    pub killed: Option<usize>,
    wound: Wound,
}

/// What has to be undone, and looked at for whether it happened.
#[derive(Debug)]
enum Wound {
    Killed(Vec<Member>),
    /// Nothing to undo: what was asked for has been done.
    Done,
    Paused(Member),
    Cut,
    SlowLink(cluster::network::delay::SlowLink),
    FullDisk(usize),
    SlowDisk(cluster::disk::Stalling),
    Clocks(clock::Wrong),
    Wedged(wedge::Wedged),
    Flooded(flood::Flood),
    LargeValue(large_value::Written),
    LargeQueue(large_queue::Confirmed),
    Storm(storm::Storm),
}

/// Begins a fault.
///
/// # Errors
/// It did not happen.
pub async fn strike(fault: Fault, cluster: &mut Cluster, master: usize, random: &mut StdRng) -> Result<Struck, Error> {
    match fault {
        Fault::Kill => kill::master(cluster, master, random),
        Fault::MasterAndSentinel => kill::master_and_sentinel(cluster, master, random),
        Fault::Leader => kill::leader(cluster).await,
        Fault::RestartAll => kill::all(cluster),
        Fault::Pause => pause::master(cluster, master),
        Fault::ReplicaPause => pause::replica(cluster, master, random),
        Fault::HandOver => order::hand_over(cluster, master, random).await,
        Fault::RollingRestart => order::rolling_restart(cluster).await,
        Fault::Isolate
        | Fault::SentinelsCut
        | Fault::ReplicasCut
        | Fault::OneWayOut
        | Fault::OneWayIn
        | Fault::ClientsCut => cut::around(fault, cluster, master),
        Fault::SlowLink => cut::slow_link(master, random),
        Fault::FullDisk => disk::full(cluster, master).await,
        Fault::SlowDisk => disk::slow(cluster, master),
        Fault::ClockSkew => clock::skew(cluster, master, random).await,
        Fault::WedgedThread => wedge::master(cluster, master),
        Fault::PublisherFlood => flood::begin(cluster, master).await,
        Fault::SlowDiskFlood => flood::begin_behind_a_slow_disk(cluster, master).await,
        Fault::LargeValue => large_value::strike(cluster, master, random).await,
        Fault::LargeQueue => large_queue::strike(cluster, master, random).await,
        Fault::DescriptorStorm => storm::begin(cluster, master).await,
        Fault::ForgedPeer => stranger::strike(cluster, master, random).await,
    }
}

impl Struck {
    /// Ends the fault.
    ///
    /// # Errors
    /// It had not happened, or cannot be undone, or has done what it must not do.
    pub async fn mend(self, cluster: &mut Cluster) -> Result<(), Error> {
        match self.wound {
            Wound::Done => Ok(()),
            Wound::Killed(members) => kill::start_again(cluster, &members),
            Wound::Paused(member) => pause::go_on(cluster, member),
            Wound::Cut => cut::mend(cluster),
            Wound::SlowLink(link) => cut::mend_link(link),
            Wound::FullDisk(node) => disk::free(cluster, node),
            Wound::SlowDisk(stalling) => Ok(stalling.end()?),
            Wound::Clocks(wrong) => clock::set_right(cluster, wrong).await,
            Wound::Wedged(wedged) => wedged.go_on(),
            Wound::Flooded(flood) => flood.end(cluster).await,
            Wound::LargeValue(written) => written.look(cluster).await,
            Wound::LargeQueue(confirmed) => confirmed.look(cluster).await,
            Wound::Storm(storm) => {
                storm.end();
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_has_the_row_of_its_name() {
        for (index, fault) in Fault::value_variants().iter().enumerate() {
            let row = &FAULTS[index];
            assert_eq!(row.fault, *fault);
            let value = fault.to_possible_value().unwrap();
            assert_eq!(row.name, value.get_name());
        }
        assert_eq!(FAULTS.len(), Fault::value_variants().len());
    }
}
