//! A server under measurement: a process of its own, without persistence, on loopback.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use tercet_proto::resp::Value;

use super::plan::{Before, KEYS};
use crate::ports::Block;
use crate::process::Process;
use crate::sys;

const START_LIMIT: Duration = Duration::from_secs(20);
/// A filling command writes many megabytes; a server that takes longer than this hangs.
const REPLY_LIMIT: Duration = Duration::from_secs(60);
/// Arguments of one filling command, well under every server's limit.
const FILL_BATCH: usize = 1000;

#[derive(Debug)]
pub struct Server {
    process: Process,
    port: u16,
    _ports: Block,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("{0}")]
    Ports(#[from] crate::ports::Error),
    #[error("{program} does not answer PING within {START_LIMIT:?}; its log ends:\n{log}")]
    NotServing { program: String, log: String },
    #[error("{command} was answered {reply:?}")]
    Refused { command: String, reply: Value },
    #[error("the server's reply cannot be read: {0}")]
    Reply(#[from] tercet_proto::resp::ValueError),
}

impl Server {
    /// Starts `program` without persistence. One whose name begins with `tercet` gets our flags, every other those of
    /// redis-server.
    ///
    /// # Errors
    /// It does not come up.
    pub fn start(program: &Path, folder: &Path) -> Result<Self, Error> {
        let ports = Block::take()?;
        let port = ports.port(0);
        let name = program.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
        let data = folder.join(format!("{name}-{port}"));
        std::fs::create_dir_all(&data)?;
        let mut command = Command::new(program);
        if name.starts_with("tercet") {
            command.args(["--name", "bench", "--bind", "127.0.0.1", "--persistence", "off", "--data"]).arg(&data);
            for (index, flag) in (0..).zip(["resp", "amqp", "gateway", "http", "metrics", "peer"]) {
                command.arg(format!("--{flag}-port")).arg(ports.port(index).to_string());
            }
        } else {
            command
                .args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--port", &port.to_string(), "--dir"])
                .arg(&data);
        }
        let mut server =
            Self { process: Process::start(command, &folder.join(format!("{name}-{port}.log")))?, port, _ports: ports };
        server.wait_until_serving(&name)?;
        Ok(server)
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
        Ok(sys::cpu_time(self.process.pid())?)
    }

    /// Resident memory.
    #[must_use]
    pub fn resident_bytes(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.pid())).unwrap_or_default();
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

    fn wait_until_serving(&mut self, name: &str) -> Result<(), Error> {
        let deadline = Instant::now() + START_LIMIT;
        while Instant::now() < deadline && self.process.ended().is_none() {
            if let Ok(mut client) = Filler::connect(self.port)
                && client.run(&[b"PING".to_vec()]).is_ok()
            {
                return Ok(());
            }
            thread::sleep(Duration::from_millis(20));
        }
        Err(Error::NotServing { program: name.to_owned(), log: self.process.log_tail(10) })
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
                    _ => Ok(()),
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
