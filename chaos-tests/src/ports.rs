//! Free loopback ports for a test's own processes.

use std::fs::{self, File};
use std::net::TcpListener;

use rand::Rng;

/// Blocks lie below the kernel's ephemeral ports (32768 and up), so that no outgoing connection takes one between a
/// kill and a restart, and above the ports that Tercet and its peers use by default.
const LOWEST: u16 = 17_000;
const HIGHEST: u16 = 25_900;
const BLOCK: u16 = 30;
const ATTEMPTS: usize = 300;

/// A block of consecutive ports that were all free, kept from other tests of this machine by a lock file.
#[derive(Debug)]
pub struct Block {
    first: u16,
    _lock: File,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("no block of {BLOCK} free ports between {LOWEST} and {HIGHEST} in {ATTEMPTS} attempts")]
    NoneFree,
    #[error("cannot keep a lock file under the temporary folder: {0}")]
    Lock(#[from] std::io::Error),
}

impl Block {
    /// # Errors
    /// Too much of the range is taken.
    pub fn take() -> Result<Self, Error> {
        let folder = std::env::temp_dir().join("tercet-ports");
        fs::create_dir_all(&folder)?;
        let blocks = (HIGHEST - LOWEST) / BLOCK;
        for _ in 0..ATTEMPTS {
            let first = LOWEST + rand::rng().random_range(0..blocks) * BLOCK;
            let lock = File::options().create(true).truncate(false).write(true).open(folder.join(first.to_string()))?;
            if lock.try_lock().is_ok() && (first..first + BLOCK).all(is_free) {
                return Ok(Self { first, _lock: lock });
            }
        }
        Err(Error::NoneFree)
    }

    /// The block's `index`th port.
    #[must_use]
    pub fn port(&self, index: u16) -> u16 {
        assert!(index < BLOCK, "a block has {BLOCK} ports");
        self.first + index
    }
}

fn is_free(port: u16) -> bool {
    TcpListener::bind(("127.0.0.1", port)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_blocks_do_not_share_a_port() {
        let one = Block::take().unwrap();
        let two = Block::take().unwrap();
        assert_ne!(one.port(0), two.port(0));
    }
}
