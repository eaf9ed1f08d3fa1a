//! A network of the drill's own, so that it can be cut, and so that nothing of the machine's network is touched.
//!
//! ```text
//! the drill's namespace:  bridge `lan` 10.77.0.1 (clients), .2 (strangers)    filter `cut`, see cut.rs
//!                           | n1 | n2 | n3 | s1 | s2 | s3     a veth pair each
//! a namespace a member:   eth0 10.77.0.11 .. 13, 21 .. 23
//! ```
//!
//! The namespaces have no names: they are held by this process and its children alone, and the kernel removes them, the
//! devices and the filters in them with the last of those, however the drill ends.

mod cut;
pub mod delay;

use std::fs::File;
use std::net::{IpAddr, Ipv4Addr};
use std::process::Command;
use std::sync::Arc;
use std::{io, thread};

pub use cut::{Dropped, Pair};

use super::{Member, NODES, SENTINELS};
use crate::sys::{self, Namespace};

/// Where the clients are.
pub const CLIENTS: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 77, 0, 1));

/// Where those are whom nobody knows.
pub const STRANGERS: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 77, 0, 2));

/// The namespaces of the six members.
#[derive(Debug)]
pub struct Network {
    nodes: Vec<Arc<File>>,
    sentinels: Vec<Arc<File>>,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("no network namespace: {0} (it takes root)")]
    Namespace(io::Error),
    #[error("`{command}` cannot be started: {error} (it is in the packages iproute2 and nftables)")]
    NoTool { command: String, error: io::Error },
    #[error("`{command}` failed: {stderr}")]
    Tool { command: String, stderr: String },
    #[error("`{command}` answered what we do not understand: {why}")]
    Answer { command: String, why: String },
}

impl Network {
    /// Leaves the machine's network for a new one. Call it before the process has more than one thread: threads that are
    /// there already stay where they are.
    ///
    /// # Errors
    /// We may not make namespaces, or a tool is missing.
    pub fn enter() -> Result<Self, Error> {
        sys::unshare(Namespace::Network).map_err(Error::Namespace)?;
        run(None, "ip", &["link", "set", "lo", "up"])?;
        run(None, "ip", &["link", "add", "lan", "type", "bridge"])?;
        for address in [CLIENTS, STRANGERS] {
            run(None, "ip", &["addr", "add", &format!("{address}/24"), "dev", "lan"])?;
        }
        run(None, "ip", &["link", "set", "lan", "up"])?;
        cut::prepare()?;
        let attach_all = |members: Vec<Member>| members.into_iter().map(attach).collect::<Result<Vec<_>, _>>();
        Ok(Self {
            nodes: attach_all((0..NODES).map(Member::Node).collect())?,
            sentinels: attach_all((0..SENTINELS).map(Member::Sentinel).collect())?,
        })
    }

    /// Lets the child begin in the network of `member`.
    pub(super) fn place(&self, command: &mut Command, member: Member) {
        let space = match member {
            Member::Node(index) => &self.nodes[index],
            Member::Sentinel(index) => &self.sentinels[index],
        };
        sys::enter_network(command, space.clone());
    }

    /// Drops every packet of these directed pairs from now on.
    ///
    /// # Errors
    /// The filter does not take it.
    pub fn cut(&self, pairs: &[Pair]) -> Result<(), Error> {
        cut::add(pairs)
    }

    /// Lets every packet through again, and says how many were dropped.
    ///
    /// # Errors
    /// The filter does not answer.
    pub fn mend(&self) -> Result<Dropped, Error> {
        cut::clear()
    }
}

/// The address of a member in its own network.
#[must_use]
pub fn address(member: Member) -> IpAddr {
    let host = match member {
        Member::Node(index) => 11 + index,
        Member::Sentinel(index) => 21 + index,
    };
    IpAddr::V4(Ipv4Addr::new(10, 77, 0, u8::try_from(host).expect("a cluster has six members")))
}

/// Makes the namespace of a member and its cable to the bridge.
fn attach(member: Member) -> Result<Arc<File>, Error> {
    let made = thread::spawn(|| sys::unshare(Namespace::Network).and_then(|()| sys::own_network()));
    let space = made.join().expect("it does not panic").map_err(Error::Namespace)?;
    let space = Arc::new(space);
    let name = member.to_string();
    run(None, "ip", &["link", "add", &name, "type", "veth", "peer", "name", "eth0", "netns", &path_of(&space)])?;
    run(None, "ip", &["link", "set", &name, "master", "lan", "up"])?;
    run(Some(&space), "ip", &["link", "set", "lo", "up"])?;
    run(Some(&space), "ip", &["addr", "add", &format!("{}/24", address(member)), "dev", "eth0"])?;
    run(Some(&space), "ip", &["link", "set", "eth0", "up"])?;
    Ok(space)
}

/// A path by which another program can open a file of ours.
fn path_of(file: &File) -> String {
    use std::os::fd::AsRawFd;
    format!("/proc/{}/fd/{}", std::process::id(), file.as_raw_fd())
}

/// Runs a tool in a namespace, or in our own, and collects what it prints.
fn run(space: Option<&Arc<File>>, program: &str, args: &[&str]) -> Result<String, Error> {
    let mut command = Command::new(program);
    command.args(args);
    if let Some(space) = space {
        sys::enter_network(&mut command, space.clone());
    }
    let text = || format!("{program} {}", args.join(" "));
    let output = command.output().map_err(|error| Error::NoTool { command: text(), error })?;
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        return Err(Error::Tool { command: text(), stderr });
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
