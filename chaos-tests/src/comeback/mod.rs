//! How a node comes back: from its own disk, and from its master while that is written to.

pub mod full_sync;
pub mod restart;

use crate::client::resp::{Connection, Error as RespError};
use crate::cluster;

/// Commands that are sent before the first reply is awaited: `Connection::pipeline` bounds what is under way.
const PIPELINE: u64 = 4096;
/// Keys of one filling command.
const KEYS_AT_ONCE: u64 = 16;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Cluster(#[from] cluster::Error),
    #[error(transparent)]
    Resp(#[from] RespError),
    #[error(transparent)]
    NotBuilt(#[from] crate::binaries::NotBuilt),
    #[error(transparent)]
    Ports(#[from] crate::ports::Error),
    #[error("{0}")]
    Io(#[from] std::io::Error),
    #[error("{what}: not within {limit:?}")]
    TooLate { what: &'static str, limit: std::time::Duration },
    #[error("after the restart there are {found} keys, not {expected}")]
    Lost { found: u64, expected: u64 },
}

/// Writes `keys` keys with values of `value_bytes` bytes.
async fn fill(connection: &mut Connection, keys: u64, value_bytes: usize) -> Result<(), Error> {
    let value = "x".repeat(value_bytes);
    let mut next = 0;
    while next < keys {
        let mut commands = Vec::new();
        let end = keys.min(next + PIPELINE * KEYS_AT_ONCE);
        while next < end {
            let mut command = vec!["MSET".to_owned()];
            for number in next..end.min(next + KEYS_AT_ONCE) {
                command.extend([format!("key:{number:012}"), value.clone()]);
            }
            next = end.min(next + KEYS_AT_ONCE);
            commands.push(command);
        }
        connection.pipeline(&commands).await?;
    }
    Ok(())
}

/// A figure of `/proc/<pid>/status`, in bytes: `VmRSS`, or `VmHWM` for the most so far.
fn memory(pid: u32, name: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0) * 1024
}
