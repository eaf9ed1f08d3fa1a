//! A cluster of real processes: three nodes and three sentinels in a folder of its own, on free loopback ports or in a
//! network of their own.
//!
//! ```text
//! folder/ n1.log n1/ ... s3.log s3/        data and log of each process
//! port block: node i    6i + resp amqp gateway http metrics peer
//!             sentinel i  18 + 3i + resp peer metrics
//! ```

pub mod disk;
pub mod health;
mod launch;
mod member;
pub mod network;
pub mod wall;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;

use self::disk::Disk;
use self::network::Network;
use self::wall::Skew;
use crate::binaries::NotBuilt;
use crate::client::discovery::Sentinels;
use crate::ports::{self, Block};
use crate::process::Process;
use crate::sys::{self, Signal};

pub use member::{Member, NODES, SENTINELS};
pub const SERVICE: &str = "mymaster";
pub use launch::TOKEN;
/// SIGTERM to end: a planned hand-over and its drain fit into this.
const STOP_LIMIT: Duration = Duration::from_secs(10);

/// Whose programs run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Family {
    #[default]
    Tercet,
    /// redis-server and redis-sentinel, down-after 1 s: what we measure ourselves against, and a proof that the checks
    /// find something.
    Redis,
}

/// What differs between one cluster and another.
#[derive(Debug, Clone, Default)]
pub struct Options {
    pub family: Family,
    pub password: Option<String>,
    /// More arguments for every node.
    pub node_args: Vec<String>,
    /// Where the members live; on loopback if there is none.
    pub network: Option<Arc<Network>>,
    pub disks: Disks,
    pub clocks: Clocks,
    pub walls: Walls,
    /// Files and connections that a node may have open; as many as we, if it is not said.
    pub descriptors: Option<u64>,
}

/// Where the nodes keep their data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Disks {
    #[default]
    Shared,
    /// Each node has a file system of its own, which can be full or slow.
    Own,
}

/// What the boot clocks of the processes show.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Clocks {
    #[default]
    Same,
    /// Each process, at each start, has a boot clock that is ahead by another amount.
    Different,
}

/// Whose the wall clocks of the processes are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Walls {
    #[default]
    Machine,
    /// Each process has one of its own, which can be set.
    Own,
}

#[derive(Debug)]
pub struct Cluster {
    options: Options,
    programs: launch::Programs,
    nodes: [Option<Process>; NODES],
    sentinels: [Option<Process>; SENTINELS],
    disks: Vec<Disk>,
    ports: Ports,
    launches: u64,
    /// The most memory that a process of each node has had, of those that have ended.
    peaks: [u64; NODES],
    folder: TempDir,
}

/// Where a cluster's ports begin.
#[derive(Debug)]
enum Ports {
    /// In a network of one's own every port is free.
    OwnNetwork,
    Shared(Block),
}

/// Below the kernel's ephemeral ports.
const FIRST_OWN_PORT: u16 = 17_000;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{0}")]
    NotBuilt(#[from] NotBuilt),
    #[error("{0}")]
    Ports(#[from] ports::Error),
    #[error("{member}: {error}")]
    Process { member: Member, error: std::io::Error },
    #[error("no folder for the cluster: {0}")]
    Folder(std::io::Error),
    #[error("the members have no network of their own")]
    NoNetwork,
    #[error("the nodes have no disks of their own")]
    NoDisk,
    #[error("{member} has no wall clock of its own")]
    NoClock { member: Member },
    #[error("{0}")]
    Network(#[from] network::Error),
    #[error("{0}")]
    Disk(#[from] disk::Error),
    #[error("{member} is not running")]
    NotRunning { member: Member },
    #[error("{member} ended with {status}; its log ends:\n{log}")]
    Ended { member: Member, status: std::process::ExitStatus, log: String },
    #[error("not healthy after {limit:?}: {missing}")]
    NotHealthy { limit: Duration, missing: String },
}

impl Cluster {
    /// Starts the six processes; see `health` for when they are a cluster.
    ///
    /// # Errors
    /// A program is not built or does not start.
    pub fn start(options: Options) -> Result<Self, Error> {
        let folder = tempfile::Builder::new().prefix("tercet-cluster-").tempdir().map_err(Error::Folder)?;
        let disks = match options.disks {
            Disks::Shared => Vec::new(),
            Disks::Own => {
                let mount = |node| Disk::mount(folder.path(), &Member::Node(node).to_string());
                (0..NODES).map(mount).collect::<Result<_, _>>()?
            }
        };
        let mut cluster = Self {
            programs: launch::Programs::find(options.family)?,
            nodes: Default::default(),
            sentinels: Default::default(),
            disks,
            ports: if options.network.is_some() { Ports::OwnNetwork } else { Ports::Shared(Block::take()?) },
            launches: 0,
            peaks: [0; NODES],
            folder,
            options,
        };
        for member in cluster.members_in_order() {
            cluster.launch(member)?;
        }
        Ok(cluster)
    }

    /// Starts a member that does not run, on its old ports, folder and log.
    ///
    /// # Errors
    /// It runs already, or does not start.
    pub fn launch(&mut self, member: Member) -> Result<(), Error> {
        let to_error = |error| Error::Process { member, error };
        if self.slot(member).is_some() {
            return Err(to_error(std::io::Error::other("it runs already")));
        }
        let data = self.data(member);
        let mut command = self.command(member, &data).map_err(to_error)?;
        self.launches += 1;
        if let (Member::Node(_), Some(most)) = (member, self.options.descriptors) {
            sys::limit_descriptors(&mut command, most);
        }
        if let Some(network) = &self.options.network {
            network.place(&mut command, member);
        }
        if self.options.clocks == Clocks::Different {
            sys::shift_boot_clock(&mut command, BOOT_CLOCK_STEP * u32::try_from(self.launches).unwrap_or(1));
        }
        if self.options.walls == Walls::Own {
            let library = wall::library().ok_or(Error::NoClock { member })?;
            let file = self.clock_file(member);
            wall::set(&file, Skew::NONE).map_err(to_error)?;
            wall::give(&mut command, &library, &file);
        }
        let log = self.folder.path().join(format!("{member}.log"));
        let process = Process::start(command, &log).map_err(to_error)?;
        *self.slot(member) = Some(process);
        Ok(())
    }

    /// Where a member keeps its data.
    #[must_use]
    pub fn data(&self, member: Member) -> PathBuf {
        match (member, self.options.disks) {
            (Member::Node(node), Disks::Own) => self.disks[node].data(),
            _ => self.folder.path().join(member.to_string()),
        }
    }

    /// `kill -9`, and waits until the process is gone.
    ///
    /// # Errors
    /// It does not run; the fault did not happen.
    pub fn kill(&mut self, member: Member) -> Result<(), Error> {
        self.note_peak(member);
        let mut process = self.slot(member).take().ok_or(Error::NotRunning { member })?;
        let killed = process.kill();
        self.tidy_up_after(&process);
        killed.map(|_| ()).map_err(|error| Error::Process { member, error })
    }

    /// SIGTERM, then SIGKILL after a bounded wait.
    ///
    /// # Errors
    /// It does not run.
    pub fn stop(&mut self, member: Member) -> Result<crate::process::Ended, Error> {
        self.note_peak(member);
        let mut process = self.slot(member).take().ok_or(Error::NotRunning { member })?;
        let ended = process.terminate(STOP_LIMIT);
        self.tidy_up_after(&process);
        Ok(ended)
    }

    /// # Errors
    /// It does not run.
    pub fn signal(&mut self, member: Member, signal: Signal) -> Result<(), Error> {
        let process = self.slot(member).as_ref().ok_or(Error::NotRunning { member })?;
        process.signal(signal).map_err(|error| Error::Process { member, error })
    }

    /// # Errors
    /// Names the first process that ended without being told to, with the end of its log.
    pub fn check_running(&mut self) -> Result<(), Error> {
        for member in (0..NODES).map(Member::Node).chain((0..SENTINELS).map(Member::Sentinel)) {
            if let Some(process) = self.slot(member)
                && let Some(status) = process.ended()
            {
                let log = process.log_tail(10);
                return Err(Error::Ended { member, status, log });
            }
        }
        Ok(())
    }

    /// The most memory that any process of a node has had at a time, by the kernel's account.
    pub fn peak_memory(&mut self) -> u64 {
        for node in 0..NODES {
            self.note_peak(Member::Node(node));
        }
        self.peaks.into_iter().max().unwrap_or(0)
    }

    fn note_peak(&mut self, member: Member) {
        if let Member::Node(node) = member
            && let Some(process) = self.process(member)
        {
            self.peaks[node] = self.peaks[node].max(sys::peak_memory(process.pid()).unwrap_or(0));
        }
    }

    /// The process of a member that runs.
    ///
    /// # Errors
    /// It does not run.
    pub fn pid(&self, member: Member) -> Result<u32, Error> {
        self.process(member).map(Process::pid).ok_or(Error::NotRunning { member })
    }

    /// The network that the members live in.
    ///
    /// # Errors
    /// They live on loopback, which cannot be cut.
    pub fn network(&self) -> Result<&Network, Error> {
        self.options.network.as_deref().ok_or(Error::NoNetwork)
    }

    /// The file system of a node.
    ///
    /// # Errors
    /// The nodes share one.
    pub fn disk(&self, node: usize) -> Result<&Disk, Error> {
        self.disks.get(node).ok_or(Error::NoDisk)
    }

    /// Sets the wall clock of a member. It sees it within a second.
    ///
    /// # Errors
    /// It has the machine's.
    pub fn set_wall_clock(&self, member: Member, skew: Skew) -> Result<(), Error> {
        match self.options.walls {
            Walls::Machine => Err(Error::NoClock { member }),
            Walls::Own => wall::set(&self.clock_file(member), skew).map_err(|error| Error::Process { member, error }),
        }
    }

    /// The last lines of a member's log.
    ///
    /// # Errors
    /// It does not run.
    pub fn log_tail(&self, member: Member, lines: usize) -> Result<String, Error> {
        self.process(member).map(|process| process.log_tail(lines)).ok_or(Error::NotRunning { member })
    }

    #[must_use]
    pub fn address(&self, member: Member) -> IpAddr {
        if self.options.network.is_some() { network::address(member) } else { IpAddr::V4(Ipv4Addr::LOCALHOST) }
    }

    /// An address that is none of the clients' nor of a member.
    #[must_use]
    pub fn strangers(&self) -> IpAddr {
        if self.options.network.is_some() { network::STRANGERS } else { IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2)) }
    }

    #[must_use]
    pub fn resp_address(&self, node: usize) -> SocketAddr {
        self.node_address(node, 0)
    }

    #[must_use]
    pub fn amqp_address(&self, node: usize) -> SocketAddr {
        self.node_address(node, 1)
    }

    #[must_use]
    pub fn peer_address(&self, node: usize) -> SocketAddr {
        self.node_address(node, NODE_PORTS - 1)
    }

    /// Every port of a node.
    #[must_use]
    pub fn node_ports(&self, node: usize) -> Vec<SocketAddr> {
        (0..NODE_PORTS).map(|which| self.node_address(node, which)).collect()
    }

    /// Every port of a sentinel.
    #[must_use]
    pub fn sentinel_ports(&self, sentinel: usize) -> Vec<SocketAddr> {
        (0..SENTINEL_PORTS_EACH).map(|which| self.sentinel_place(sentinel, which)).collect()
    }

    #[must_use]
    pub fn sentinel_address(&self, sentinel: usize) -> SocketAddr {
        self.sentinel_place(sentinel, 0)
    }

    #[must_use]
    pub fn sentinel_peer_address(&self, sentinel: usize) -> SocketAddr {
        self.sentinel_place(sentinel, 1)
    }

    #[must_use]
    pub fn sentinel_metrics_address(&self, sentinel: usize) -> SocketAddr {
        self.sentinel_place(sentinel, 2)
    }

    #[must_use]
    pub fn family(&self) -> Family {
        self.options.family
    }

    #[must_use]
    pub fn password(&self) -> Option<&str> {
        self.options.password.as_deref()
    }

    /// What a client is configured with.
    #[must_use]
    pub fn discovery(&self) -> Sentinels {
        let addresses = (0..SENTINELS).map(|index| self.sentinel_address(index)).collect();
        Sentinels::new(addresses, SERVICE, self.options.password.clone())
    }

    /// Files and connections that a node may have open, if it is told how many.
    #[must_use]
    pub fn descriptors(&self) -> Option<u64> {
        self.options.descriptors
    }

    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Leaves the folder with its logs behind, for whoever looks into a failure.
    pub fn keep_folder(&mut self) -> PathBuf {
        self.folder.disable_cleanup(true);
        self.folder.path().to_owned()
    }

    fn clock_file(&self, member: Member) -> PathBuf {
        self.folder.path().join(format!("{member}.clock"))
    }

    /// What a process with a clock of its own leaves behind if it is killed.
    fn tidy_up_after(&self, process: &Process) {
        if self.options.walls == Walls::Own {
            wall::tidy_up_after(process.pid());
        }
    }

    fn slot(&mut self, member: Member) -> &mut Option<Process> {
        match member {
            Member::Node(index) => &mut self.nodes[index],
            Member::Sentinel(index) => &mut self.sentinels[index],
        }
    }

    fn process(&self, member: Member) -> Option<&Process> {
        match member {
            Member::Node(index) => self.nodes[index].as_ref(),
            Member::Sentinel(index) => self.sentinels[index].as_ref(),
        }
    }

    fn sentinel_place(&self, sentinel: usize, which: u16) -> SocketAddr {
        self.place(Member::Sentinel(sentinel), SENTINEL_PORTS + SENTINEL_PORTS_EACH * as_port(sentinel) + which)
    }

    fn node_address(&self, node: usize, which: u16) -> SocketAddr {
        self.place(Member::Node(node), NODE_PORTS * as_port(node) + which)
    }

    fn place(&self, member: Member, index: u16) -> SocketAddr {
        let port = match &self.ports {
            Ports::OwnNetwork => FIRST_OWN_PORT + index,
            Ports::Shared(block) => block.port(index),
        };
        SocketAddr::new(self.address(member), port)
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for member in (0..NODES).map(Member::Node).chain((0..SENTINELS).map(Member::Sentinel)) {
            // Who does not run needs no end.
            let _ = self.kill(member);
        }
    }
}

/// Ports of one node, and where the sentinels' begin in the block.
const NODE_PORTS: u16 = 6;
const SENTINEL_PORTS: u16 = NODE_PORTS * NODES as u16;
const SENTINEL_PORTS_EACH: u16 = 3;
/// How far the boot clocks of two processes are apart that are started one after the other: longer than any of them runs.
const BOOT_CLOCK_STEP: Duration = Duration::from_secs(100_000);

fn as_port(index: usize) -> u16 {
    u16::try_from(index).expect("a cluster has six members")
}
