//! Why an import ends before its time.

use std::io;
use std::path::PathBuf;

use tercet_edge::tls;

use crate::keyspace::rdb;

/// Nothing was copied, or not all.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(
        "{0:?} is neither redis://[user[:password]@]host[:port][/database], nor amqp://[user[:password]@]host[:port][/vhost] \
         (rediss:// and amqps:// under TLS), nor a file that is there"
    )]
    Source(String),
    #[error("{address}: {error}")]
    Connection { address: String, error: io::Error },
    #[error("{address} answers to {command}: {text}")]
    Refused { address: String, command: &'static str, text: String },
    #[error("{}: {error}", path.display())]
    File { path: PathBuf, error: io::Error },
    #[error("{}: {error} at byte {at}", path.display())]
    Damaged { path: PathBuf, error: rdb::Error, at: usize },
    #[error("key {key:?} of database {database} is there already; --replace overwrites what is there")]
    Exists { key: String, database: u32 },
    #[error("key {key:?} of database {database} is refused: {text}")]
    Key { key: String, database: u32, text: String },
    #[error(transparent)]
    Tls(#[from] tls::Error),
    #[error("{0}")]
    Api(String),
    #[error("queue {queue:?} of the node {reason}: its messages stay at the source")]
    Queue { queue: String, reason: &'static str },
    #[error("queue {queue:?} of {vhost:?} has {left} messages again: stop its publishers first, and begin anew")]
    Left { queue: String, vhost: String, left: u64 },
    #[error("{copied} keys were copied, and database {database} has {kept}")]
    Count { database: u32, copied: u64, kept: u64 },
}
