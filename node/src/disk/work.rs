//! What the threads of the disk share: whose records they write, where to, and what is still to be synced.

use std::sync::OnceLock;
use std::time::Instant;

use parking_lot::{Condvar, Mutex};

use crate::journal::Reached;
use crate::node;
use crate::storage;

/// What the threads share.
#[derive(Debug)]
pub(super) struct Work {
    pub(super) node: node::Shared,
    pub(super) storage: storage::Shared,
    /// Since when the node stops.
    pub(super) closed: OnceLock<Instant>,
    pub(super) sync: Mutex<ToSync>,
    pub(super) to_sync: Condvar,
    /// Why writes are refused.
    pub(super) troubles: Mutex<[Option<String>; 2]>,
}

/// What there is to sync.
#[derive(Debug, Default)]
pub(super) struct ToSync {
    pub(super) written: Option<Reached>,
    /// Since when the present sync runs.
    pub(super) since: Option<Instant>,
}
