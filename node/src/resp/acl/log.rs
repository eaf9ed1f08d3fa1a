//! The log of refused accesses: ACL LOG.

use std::collections::VecDeque;

use parking_lot::Mutex;

use crate::ids::UnixMillis;

/// Refusals that are alike within this time are one entry.
const ALIKE_MS: u64 = 60_000;

/// Where a command was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Context {
    TopLevel,
    Multi,
    Lua,
}

impl Context {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::TopLevel => "toplevel",
            Self::Multi => "multi",
            Self::Lua => "lua",
        }
    }
}

/// One kind of refusal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) id: u64,
    pub(crate) count: u64,
    /// command, key, channel or auth.
    pub(crate) reason: &'static str,
    pub(crate) context: Context,
    pub(crate) object: Vec<u8>,
    pub(crate) user: String,
    pub(crate) created: UnixMillis,
    pub(crate) updated: UnixMillis,
    /// The client, as CLIENT LIST shows it.
    pub(crate) client: String,
}

#[derive(Debug, Default)]
struct Kept {
    entries: VecDeque<Entry>,
    next_id: u64,
}

/// The newest refusals.
#[derive(Debug, Default)]
pub(crate) struct Log(Mutex<Kept>);

impl Log {
    /// Notes a refusal. `most` entries are kept.
    pub(crate) fn note(&self, mut entry: Entry, most: usize) {
        let mut kept = self.0.lock();
        let alike = kept.entries.iter().position(|old| {
            old.reason == entry.reason
                && old.context == entry.context
                && old.object == entry.object
                && old.user == entry.user
                && entry.updated.0.saturating_sub(old.updated.0) <= ALIKE_MS
        });
        if let Some(mut old) = alike.and_then(|place| kept.entries.remove(place)) {
            old.count += 1;
            (old.updated, old.client) = (entry.updated, entry.client);
            kept.entries.push_front(old);
        } else {
            entry.id = kept.next_id;
            kept.next_id += 1;
            kept.entries.push_front(entry);
        }
        kept.entries.truncate(most);
    }

    pub(crate) fn reset(&self) {
        self.0.lock().entries.clear();
    }

    /// The newest first.
    pub(crate) fn newest(&self, most: usize) -> Vec<Entry> {
        self.0.lock().entries.iter().take(most).cloned().collect()
    }
}
