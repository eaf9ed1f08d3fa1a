//! The command line of each member, for each family of programs.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{fs, io};

use super::{Cluster, Family, Member, NODES, SENTINELS, SERVICE};
use crate::binaries::{self, NotBuilt, Program};

/// What the members know each other by.
pub const TOKEN: &str = "the-token-of-the-drills";

#[derive(Debug)]
pub(super) struct Programs {
    node: PathBuf,
    sentinel: PathBuf,
}

impl Programs {
    pub(super) fn find(family: Family) -> Result<Self, NotBuilt> {
        Ok(match family {
            Family::Tercet => {
                Self { node: binaries::find(Program::Node)?, sentinel: binaries::find(Program::Sentinel)? }
            }
            Family::Redis => Self { node: "redis-server".into(), sentinel: "redis-server".into() },
        })
    }
}

impl Cluster {
    /// A Redis sentinel has to find its master when it starts; ours wait for one another.
    pub(super) fn members_in_order(&self) -> Vec<Member> {
        let (nodes, sentinels) = ((0..NODES).map(Member::Node), (0..SENTINELS).map(Member::Sentinel));
        match self.options.family {
            Family::Tercet => sentinels.chain(nodes).collect(),
            Family::Redis => nodes.chain(sentinels).collect(),
        }
    }

    pub(super) fn command(&self, member: Member, data: &Path) -> io::Result<Command> {
        let is_first_start = !data.exists();
        fs::create_dir_all(data)?;
        match (self.options.family, member) {
            (Family::Tercet, Member::Node(index)) => Ok(self.tercet_node(index, data)),
            (Family::Tercet, Member::Sentinel(index)) => Ok(self.tercet_sentinel(index, data)),
            (Family::Redis, Member::Node(index)) => Ok(self.redis_node(index, data, is_first_start)),
            (Family::Redis, Member::Sentinel(index)) => self.redis_sentinel(index, data, is_first_start),
        }
    }

    fn tercet_node(&self, index: usize, data: &Path) -> Command {
        let mut command = Command::new(&self.programs.node);
        command
            .args(["--name", &Member::Node(index).to_string(), "--bind", &self.bind(Member::Node(index)), "--data"])
            .arg(data);
        for (which, flag) in (0..).zip(["resp", "amqp", "gateway", "http", "metrics", "peer"]) {
            command.arg(format!("--{flag}-port")).arg(self.node_address(index, which).port().to_string());
        }
        command.args(["--sentinels", &self.sentinel_peers()]);
        command.env("TERCET_CLUSTER_TOKEN", TOKEN);
        match &self.options.password {
            Some(password) => _ = command.args(["--requirepass", password]),
            // A network of its own is not this machine, and nobody else is in it.
            None => _ = command.args(["--allow-insecure", "yes", "--protected-mode", "no"]),
        }
        command.args(&self.options.node_args);
        command
    }

    fn tercet_sentinel(&self, index: usize, data: &Path) -> Command {
        let mut command = Command::new(&self.programs.sentinel);
        command.args([
            "--name",
            &Member::Sentinel(index).to_string(),
            "--bind",
            &self.bind(Member::Sentinel(index)),
            "--service",
            SERVICE,
        ]);
        command.env("TERCET_CLUSTER_TOKEN", TOKEN).arg("--data").arg(data);
        for (which, flag) in (0..).zip(["resp", "peer", "metrics"]) {
            command.arg(format!("--{flag}-port")).arg(self.sentinel_place(index, which).port().to_string());
        }
        let nodes: Vec<_> = (0..NODES).map(|index| self.node_address(index, 5).to_string()).collect();
        command.args(["--sentinels", &self.sentinel_peers(), "--nodes", &nodes.join(",")]);
        command
    }

    fn bind(&self, member: Member) -> String {
        self.address(member).to_string()
    }

    fn sentinel_peers(&self) -> String {
        let peers: Vec<_> = (0..SENTINELS).map(|index| self.sentinel_peer_address(index).to_string()).collect();
        peers.join(",")
    }

    /// With an append-only file, so that a master that is restarted at once does not come back empty.
    fn redis_node(&self, index: usize, data: &Path, is_first_start: bool) -> Command {
        let port = |index| self.resp_address(index).port().to_string();
        let mut command = Command::new(&self.programs.node);
        command.args([
            "--bind",
            &self.bind(Member::Node(index)),
            "--protected-mode",
            "no",
            "--save",
            "",
            "--appendonly",
        ]);
        command.args(["yes", "--port", &port(index), "--dir"]).arg(data);
        if index > 0 && is_first_start {
            command.args(["--replicaof", &self.bind(Member::Node(0)), &port(0)]);
        }
        command
    }

    /// The sentinel keeps what it learns in its configuration file, so that is written once.
    fn redis_sentinel(&self, index: usize, data: &Path, is_first_start: bool) -> io::Result<Command> {
        let file = data.join("sentinel.conf");
        if is_first_start {
            let (own, master) = (self.sentinel_address(index), self.resp_address(0));
            let monitor = format!("sentinel monitor {SERVICE} {} {} 2", master.ip(), master.port());
            let timing =
                format!("sentinel down-after-milliseconds {SERVICE} 1000\nsentinel failover-timeout {SERVICE} 6000");
            let place = format!("port {}\nbind {}\nprotected-mode no\ndir {}", own.port(), own.ip(), data.display());
            fs::write(&file, format!("{place}\n{monitor}\n{timing}\n"))?;
        }
        let mut command = Command::new(&self.programs.sentinel);
        command.arg(file).arg("--sentinel");
        Ok(command)
    }
}
