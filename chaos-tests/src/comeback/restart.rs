//! Restart of a node by itself: how many keys a second come back from disk, with the files in the page cache.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use tokio::time::sleep;

use super::{Error, fill, memory};
use crate::binaries::{self, Program};
use crate::client::resp::Connection;
use crate::ports::Block;
use crate::process::{Ended, Process};

/// How the node's life before ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// SIGTERM: everything is in rows.
    Orderly,
    /// `kill -9` at once behind the last write: what is not in rows is replayed.
    Killed,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Outcome {
    pub keys: u64,
    /// From the start of the process until it serves.
    pub took: Duration,
    pub resident_bytes: u64,
}

const START_LIMIT: Duration = Duration::from_secs(300);
const STOP_LIMIT: Duration = Duration::from_secs(120);
const REPLY_LIMIT: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(2);

/// # Errors
/// The node does not start, or does not have its keys again.
pub async fn run(keys: u64, value_bytes: usize, end: End) -> Result<Outcome, Error> {
    let folder = tempfile::tempdir()?;
    let ports = Block::take()?;
    let mut node = start(folder.path(), &ports)?;
    let mut client = ready(&ports).await?;
    fill(&mut client, keys, value_bytes).await?;
    client.command(&["WAITAOF", "1", "0", "0"]).await?;
    match end {
        End::Killed => _ = node.kill()?,
        End::Orderly => {
            if tokio::task::block_in_place(|| node.terminate(STOP_LIMIT)) == Ended::Killed {
                return Err(Error::TooLate { what: "the end of the node", limit: STOP_LIMIT });
            }
        }
    }
    let began = Instant::now();
    let node = start(folder.path(), &ports)?;
    let mut client = ready(&ports).await?;
    let took = began.elapsed();
    let found = match client.command(&["DBSIZE"]).await? {
        tercet_proto::resp::Value::Integer(found) => u64::try_from(found).unwrap_or(0),
        other => return Err(crate::client::resp::Error::Unexpected(other).into()),
    };
    if found != keys {
        return Err(Error::Lost { found, expected: keys });
    }
    Ok(Outcome { keys, took, resident_bytes: memory(node.pid(), "VmRSS") })
}

fn start(folder: &Path, ports: &Block) -> Result<Process, Error> {
    let mut command = Command::new(binaries::find(Program::Node)?);
    command.arg("--data").arg(folder.join("data"));
    for (index, flag) in (0..).zip(["resp", "amqp", "gateway", "http", "metrics", "peer"]) {
        command.arg(format!("--{flag}-port")).arg(ports.port(index).to_string());
    }
    Ok(Process::start(command, &folder.join("node.log"))?)
}

/// A connection to a node that has loaded everything.
async fn ready(ports: &Block) -> Result<Connection, Error> {
    let deadline = Instant::now() + START_LIMIT;
    let address = ([127, 0, 0, 1], ports.port(0)).into();
    loop {
        if let Ok(mut client) = Connection::open(address, REPLY_LIMIT).await
            && let Ok(info) = client.info("persistence").await
            && info.number("loading") == Some(0)
        {
            return Ok(client);
        }
        if Instant::now() > deadline {
            return Err(Error::TooLate { what: "the start of the node", limit: START_LIMIT });
        }
        sleep(POLL).await;
    }
}
