//! A cluster of real processes: three nodes and three sentinels on free loopback ports, in a folder of its own.
//!
//! ```text
//! folder/ n1.log n1/ ... s3.log s3/        data and log of each process
//! port block: node i    6i + resp amqp gateway http metrics peer
//!             sentinel i  18 + 3i + resp peer metrics
//! ```

pub mod health;
mod launch;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;

use crate::binaries::NotBuilt;
use crate::client::discovery::Sentinels;
use crate::ports::{self, Block};
use crate::process::Process;
use crate::sys::Signal;

pub const NODES: usize = 3;
pub const SENTINELS: usize = 3;
pub const SERVICE: &str = "mymaster";
/// SIGTERM to end: a planned hand-over and its drain fit into this.
const STOP_LIMIT: Duration = Duration::from_secs(10);

/// One of the six processes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Member {
    Node(usize),
    Sentinel(usize),
}

impl std::fmt::Display for Member {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Node(index) => write!(f, "n{}", index + 1),
            Self::Sentinel(index) => write!(f, "s{}", index + 1),
        }
    }
}

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
}

#[derive(Debug)]
pub struct Cluster {
    options: Options,
    programs: launch::Programs,
    nodes: [Option<Process>; NODES],
    sentinels: [Option<Process>; SENTINELS],
    ports: Block,
    folder: TempDir,
}

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
        let mut cluster = Self {
            programs: launch::Programs::find(options.family)?,
            options,
            nodes: Default::default(),
            sentinels: Default::default(),
            ports: Block::take()?,
            folder: tempfile::Builder::new().prefix("tercet-cluster-").tempdir().map_err(Error::Folder)?,
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
        let data = self.folder.path().join(member.to_string());
        let command = self.command(member, &data).map_err(to_error)?;
        let log = self.folder.path().join(format!("{member}.log"));
        let process = Process::start(command, &log).map_err(to_error)?;
        *self.slot(member) = Some(process);
        Ok(())
    }

    /// `kill -9`, and waits until the process is gone.
    ///
    /// # Errors
    /// It does not run; the fault did not happen.
    pub fn kill(&mut self, member: Member) -> Result<(), Error> {
        let mut process = self.slot(member).take().ok_or(Error::NotRunning { member })?;
        process.kill().map(|_| ()).map_err(|error| Error::Process { member, error })
    }

    /// SIGTERM, then SIGKILL after a bounded wait.
    ///
    /// # Errors
    /// It does not run.
    pub fn stop(&mut self, member: Member) -> Result<crate::process::Ended, Error> {
        let mut process = self.slot(member).take().ok_or(Error::NotRunning { member })?;
        Ok(process.terminate(STOP_LIMIT))
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

    #[must_use]
    pub fn resp_address(&self, node: usize) -> SocketAddr {
        self.node_address(node, 0)
    }

    #[must_use]
    pub fn amqp_address(&self, node: usize) -> SocketAddr {
        self.node_address(node, 1)
    }

    #[must_use]
    pub fn sentinel_address(&self, sentinel: usize) -> SocketAddr {
        loopback(self.sentinel_port(sentinel, 0))
    }

    #[must_use]
    pub fn sentinel_peer_address(&self, sentinel: usize) -> SocketAddr {
        loopback(self.sentinel_port(sentinel, 1))
    }

    /// The node that serves RESP on a port.
    #[must_use]
    pub fn node_of_port(&self, port: u16) -> Option<usize> {
        (0..NODES).find(|node| self.resp_address(*node).port() == port)
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

    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Leaves the folder with its logs behind, for whoever looks into a failure.
    pub fn keep_folder(&mut self) -> PathBuf {
        self.folder.disable_cleanup(true);
        self.folder.path().to_owned()
    }

    fn slot(&mut self, member: Member) -> &mut Option<Process> {
        match member {
            Member::Node(index) => &mut self.nodes[index],
            Member::Sentinel(index) => &mut self.sentinels[index],
        }
    }

    fn sentinel_port(&self, sentinel: usize, which: u16) -> u16 {
        self.ports.port(SENTINEL_PORTS + 3 * as_port(sentinel) + which)
    }

    fn node_address(&self, node: usize, which: u16) -> SocketAddr {
        loopback(self.ports.port(NODE_PORTS * as_port(node) + which))
    }
}

/// Ports of one node, and where the sentinels' begin in the block.
const NODE_PORTS: u16 = 6;
const SENTINEL_PORTS: u16 = NODE_PORTS * NODES as u16;

fn as_port(index: usize) -> u16 {
    u16::try_from(index).expect("a cluster has six members")
}

fn loopback(port: u16) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port)
}
