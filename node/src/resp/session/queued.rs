//! What a session keeps between MULTI or WATCH and EXEC.

use std::sync::Arc;

use bytes::Bytes;

use crate::engine::View;
use crate::keyspace::Watch;
use crate::node::Shared;
use crate::resp::row::Row;

/// Commands between MULTI and EXEC.
#[derive(Debug, Default)]
pub(super) struct Multi {
    pub(super) queued: Vec<(&'static Row, Vec<Bytes>)>,
    pub(super) bytes: usize,
    pub(super) is_broken: bool,
}

impl Multi {
    pub(super) fn push(&mut self, row: &'static Row, args: Vec<Bytes>) {
        self.bytes += args.iter().map(|arg| arg.len() + size_of::<Bytes>()).sum::<usize>();
        self.queued.push((row, args));
    }
}

/// What must not change before EXEC.
#[derive(Debug)]
pub(super) enum Watched {
    Key(WatchedKey),
    /// The session came from another node: nobody knows what has changed on the way.
    Lost,
}

/// A key that its shard tells about.
#[derive(Debug)]
pub(super) struct WatchedKey {
    pub(super) node: Shared,
    pub(super) database: u8,
    pub(super) key: Vec<u8>,
    pub(super) was_there: bool,
    pub(super) watch: Arc<Watch>,
}

impl Drop for WatchedKey {
    fn drop(&mut self) {
        let keyspace = &self.node.engine.keyspace;
        let shard = keyspace.shard_of(&self.key);
        if let Some(mut shard) = keyspace.try_lock(shard) {
            return shard.unwatch(self.database, &self.key, &self.watch);
        }
        // A script may hold it for seconds, and this may be a thread that serves clients.
        let (node, database) = (Arc::clone(&self.node), self.database);
        let (key, watch) = (std::mem::take(&mut self.key), Arc::clone(&self.watch));
        self.node.scripts.run(Box::new(move || {
            node.engine.keyspace.lock(shard).unwatch(database, &key, &watch);
        }));
    }
}

impl Watched {
    pub(super) fn key(&self) -> Option<&[u8]> {
        match self {
            Self::Key(watched) => Some(&watched.key),
            Self::Lost => None,
        }
    }

    pub(super) fn is_unchanged(&self, view: &View<'_>) -> bool {
        match self {
            // One that has expired meanwhile counts as changed, deleted or not.
            Self::Key(WatchedKey { database, key, was_there, watch, .. }) => {
                !watch.is_touched() && (!was_there || view.peek_in(*database, key).is_some())
            }
            Self::Lost => false,
        }
    }
}

/// What a session has that EXEC and WATCH change: the thread of scripts is given it, and it is brought back.
#[derive(Debug, Default)]
pub(crate) struct Brought {
    pub(super) multi: Option<Multi>,
    pub(super) watched: Vec<Watched>,
    pub(super) database: u8,
}
