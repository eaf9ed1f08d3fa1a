//! A server under measurement: a process of its own on loopback, with what its setup needs.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use tercet_proto::resp::Value;

use super::plan::{Before, KEYS, Setup};
use crate::ports::Block;
use crate::process::Process;
use crate::sys;

const START_LIMIT: Duration = Duration::from_secs(20);
/// A filling command writes many megabytes; a server that takes longer than this hangs.
const REPLY_LIMIT: Duration = Duration::from_secs(60);
/// Arguments of one filling command, well under every server's limit.
const FILL_BATCH: usize = 1000;

/// The process that is measured, and those that it needs.
#[derive(Debug)]
pub struct Server {
    measured: Process,
    port: u16,
    _others: Vec<Process>,
    _ports: Block,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("{0}")]
    Ports(#[from] crate::ports::Error),
    #[error("{program} is not ready within {START_LIMIT:?}: {missing}; its log ends:\n{log}")]
    NotReady { program: String, missing: &'static str, log: String },
    #[error("{command} was answered {reply:?}")]
    Refused { command: String, reply: Value },
    #[error("the server's reply cannot be read: {0}")]
    Reply(#[from] tercet_proto::resp::ValueError),
}

impl Server {
    /// Starts a server of ours (`program` has a name that begins with `tercet`) or one that takes redis-server's flags.
    ///
    /// # Errors
    /// It does not come up.
    pub fn start(program: &Path, sentinel: &Path, setup: Setup, folder: &Path) -> Result<Self, Error> {
        let name = program.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
        let launch =
            Launch { program, sentinel, setup, folder, ports: Block::take()?, is_ours: name.starts_with("tercet") };
        let mut others = Vec::new();
        if launch.is_ours && setup == Setup::Replica {
            for index in 0..SENTINELS {
                others.push(launch.run(launch.our_sentinel(index), &format!("s{index}"))?);
            }
        }
        let mut measured = launch.run(launch.node(0)?, "n0")?;
        if setup == Setup::Replica {
            others.push(launch.run(launch.node(1)?, "n1")?);
        }
        let ready = launch.wait_until_ready(&mut measured, &name)?;
        // Of two empty nodes the sentinels may choose either.
        if ready != 0
            && let Some(other) = others.last_mut()
        {
            std::mem::swap(&mut measured, other);
        }
        Ok(Self { measured, port: launch.resp_port(ready), _others: others, _ports: launch.ports })
    }

    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// User and system time so far.
    ///
    /// # Errors
    /// The server has died.
    pub fn cpu_time(&self) -> Result<Duration, Error> {
        Ok(sys::cpu_time(self.measured.pid())?)
    }

    /// Resident memory.
    #[must_use]
    pub fn resident_bytes(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.measured.pid())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0) * 1024
    }

    /// Empties the server and puts in what a test needs; `length` is that of a long list.
    ///
    /// # Errors
    /// A command is refused.
    pub fn prepare(&self, before: Before, length: usize) -> Result<(), Error> {
        let mut client = Filler::connect(self.port)?;
        client.run(&[b"FLUSHALL".to_vec()])?;
        match before {
            Before::Empty => Ok(()),
            Before::Keys => client.fill(&["MSET"], KEYS, |n| vec![format!("key:{n:012}"), "xxx".to_owned()]),
            Before::Counters => client.fill(&["MSET"], KEYS, |n| vec![format!("counter:{n:012}"), "0".to_owned()]),
            Before::LongList => client.fill(&["LPUSH", "mylist"], length, |_| vec!["xxx".to_owned()]),
            Before::ShortList => client.fill(&["LPUSH", "mylist"], 1000, |_| vec!["xxx".to_owned()]),
            Before::Members => {
                client.fill(&["SADD", "myset"], KEYS, |n| vec![format!("element:{n:012}")])?;
                client.fill(&["HSET", "myhash"], KEYS, |n| vec![format!("element:{n:012}"), "xxx".to_owned()])?;
                client.fill(&["ZADD", "myzset"], KEYS, |n| vec![n.to_string(), format!("element:{n:012}")])
            }
        }
    }
}

/// Ports of one node, and where those of the sentinels begin in the block.
const NODE_PORTS: u16 = 6;
const SENTINEL_PORTS: u16 = 2 * NODE_PORTS;
const SENTINELS: u16 = 3;

/// How the processes of one server are started.
struct Launch<'a> {
    program: &'a Path,
    sentinel: &'a Path,
    setup: Setup,
    folder: &'a Path,
    ports: Block,
    is_ours: bool,
}

impl Launch<'_> {
    fn resp_port(&self, node: u16) -> u16 {
        self.ports.port(NODE_PORTS * node)
    }

    fn run(&self, command: Command, name: &str) -> Result<Process, Error> {
        Ok(Process::start(command, &self.folder.join(format!("{name}-{}.log", self.resp_port(0))))?)
    }

    fn data(&self, name: &str) -> Result<std::path::PathBuf, Error> {
        let data = self.folder.join(format!("{name}-{}", self.resp_port(0)));
        std::fs::create_dir_all(&data)?;
        Ok(data)
    }

    fn node(&self, index: u16) -> Result<Command, Error> {
        let data = self.data(&format!("n{index}"))?;
        let mut command = Command::new(self.program);
        command.args(["--bind", "127.0.0.1"]);
        if !self.is_ours {
            let append = if self.setup == Setup::Disk { "yes" } else { "no" };
            command.args(["--save", "", "--appendonly", append, "--appendfsync", "everysec", "--dir"]).arg(&data);
            command.args(["--port", &self.resp_port(index).to_string()]);
            if index > 0 {
                command.args(["--replicaof", "127.0.0.1", &self.resp_port(0).to_string()]);
            }
            return Ok(command);
        }
        let persistence = if self.setup == Setup::Disk { "on" } else { "off" };
        command.args(["--name", &format!("n{index}"), "--persistence", persistence, "--fsync", "everysec", "--data"]);
        command.arg(&data);
        for (which, flag) in (0..).zip(["resp", "amqp", "gateway", "http", "metrics", "peer"]) {
            command.arg(format!("--{flag}-port")).arg(self.ports.port(NODE_PORTS * index + which).to_string());
        }
        if self.setup == Setup::Replica {
            command.args(["--sentinels", &self.sentinel_peers()]);
        }
        Ok(command)
    }

    fn our_sentinel(&self, index: u16) -> Command {
        let mut command = Command::new(self.sentinel);
        command.args(["--name", &format!("s{index}"), "--bind", "127.0.0.1", "--service", "bench", "--data"]);
        command.arg(self.folder.join(format!("s{index}-{}", self.resp_port(0))));
        for (which, flag) in (0..).zip(["resp", "peer", "metrics"]) {
            let port = self.ports.port(SENTINEL_PORTS + 3 * index + which);
            command.arg(format!("--{flag}-port")).arg(port.to_string());
        }
        let nodes: Vec<_> =
            (0..2).map(|node| format!("127.0.0.1:{}", self.ports.port(NODE_PORTS * node + 5))).collect();
        command.args(["--sentinels", &self.sentinel_peers(), "--nodes", &nodes.join(",")]);
        command
    }

    fn sentinel_peers(&self) -> String {
        let peer = |index| format!("127.0.0.1:{}", self.ports.port(SENTINEL_PORTS + 3 * index + 1));
        (0..SENTINELS).map(peer).collect::<Vec<_>>().join(",")
    }

    /// Waits for a master with all the replicas that it is to have; says which node it is.
    fn wait_until_ready(&self, first: &mut Process, name: &str) -> Result<u16, Error> {
        let (nodes, replicas) = if self.setup == Setup::Replica { (2, 1) } else { (1, 0) };
        let deadline = Instant::now() + START_LIMIT;
        while Instant::now() < deadline && first.ended().is_none() {
            for node in 0..nodes {
                if self.replicas_of_master(node).is_ok_and(|found| found == Some(replicas)) {
                    return Ok(node);
                }
            }
            thread::sleep(Duration::from_millis(20));
        }
        let missing = if self.setup == Setup::Replica { "no master with a replica" } else { "it does not serve" };
        Err(Error::NotReady { program: name.to_owned(), missing, log: first.log_tail(10) })
    }

    /// Replicas that are up to date; `None` if the node is no master or still loads.
    fn replicas_of_master(&self, node: u16) -> Result<Option<usize>, Error> {
        let reply = Filler::connect(self.resp_port(node))?.ask(&[b"INFO".to_vec(), b"replication".to_vec()])?;
        let Value::Bulk(info) = reply else { return Ok(None) };
        let info = String::from_utf8_lossy(&info);
        let field = |name: &str| info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        if field("role") != Some("master") {
            return Ok(None);
        }
        let online = info.lines().filter(|line| line.starts_with("slave") && line.contains("state=online")).count();
        // Ours answers what the replica has acknowledged only once it belongs to the in-sync ones.
        let in_sync = field("tercet_isr").and_then(|isr| isr.parse::<usize>().ok());
        let replicas = in_sync.map_or(online, |isr| online.min(isr.saturating_sub(1)));
        Ok(Some(if self.setup == Setup::Replica { replicas } else { 0 }))
    }
}

/// A plain blocking connection.
struct Filler(TcpStream);

impl Filler {
    fn connect(port: u16) -> Result<Self, Error> {
        let stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_read_timeout(Some(REPLY_LIMIT))?;
        stream.set_nodelay(true)?;
        Ok(Self(stream))
    }

    fn run(&mut self, command: &[Vec<u8>]) -> Result<(), Error> {
        self.ask(command).map(drop)
    }

    fn ask(&mut self, command: &[Vec<u8>]) -> Result<Value, Error> {
        self.0.write_all(&Value::command(command))?;
        let mut buffer = Vec::new();
        let mut chunk = [0; 4096];
        loop {
            if let Some((reply, _)) = Value::decode(&buffer)? {
                return match reply {
                    Value::Error(_) => {
                        let command = String::from_utf8_lossy(&command[0]).into_owned();
                        Err(Error::Refused { command, reply })
                    }
                    reply => Ok(reply),
                };
            }
            match self.0.read(&mut chunk)? {
                0 => return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
                n => buffer.extend_from_slice(&chunk[..n]),
            }
        }
    }

    /// `count` elements, in commands that begin with `head`, in an order that no table likes better than another.
    fn fill(&mut self, head: &[&str], count: usize, element: impl Fn(usize) -> Vec<String>) -> Result<(), Error> {
        /// Coprime to the million, so that every number comes once.
        const STRIDE: usize = 611_953;
        for start in (0..count).step_by(FILL_BATCH) {
            let numbers =
                (start..count.min(start + FILL_BATCH)).map(|n| if count == KEYS { n * STRIDE % KEYS } else { n });
            let words = head.iter().map(|word| (*word).to_owned()).chain(numbers.flat_map(&element));
            self.run(&words.map(String::into_bytes).collect::<Vec<_>>())?;
        }
        Ok(())
    }
}
