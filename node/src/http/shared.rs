//! What the handlers share, and how often logins came and failed.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;

use super::history::History;
use super::limits;
use crate::console::Console;
use crate::node::Shared;

/// What the handlers share.
#[derive(Debug)]
pub(super) struct Http {
    pub(super) node: Shared,
    pub(super) history: Arc<History>,
    /// Redis's commands.
    pub(super) console: Console,
    pub(super) attempts: Attempts,
    /// Bodies that may be in memory at the same time.
    pub(super) bodies: tokio::sync::Semaphore,
}

/// How often logins came and failed.
#[derive(Debug, Default)]
pub(super) struct Attempts {
    pub(super) counts: Mutex<Counts>,
}

#[derive(Debug, Default, Clone)]
pub(super) struct Counts {
    pub(super) succeeded: u64,
    pub(super) failed: u64,
    /// Failed ones by user name, as far as there is room.
    pub(super) by_user: BTreeMap<String, u64>,
}

impl Attempts {
    pub(super) fn count(&self, user: &[u8], succeeded: bool) {
        let mut counts = self.counts.lock();
        if succeeded {
            counts.succeeded += 1;
            return;
        }
        counts.failed += 1;
        let user = String::from_utf8_lossy(user).chars().take(64).collect::<String>();
        let is_known = counts.by_user.contains_key(&user);
        if is_known || counts.by_user.len() < limits::SOURCES {
            *counts.by_user.entry(user).or_default() += 1;
        }
    }
}
