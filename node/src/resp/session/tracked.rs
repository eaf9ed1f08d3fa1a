//! What a client reads is remembered, if it keeps a cache of its own.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use super::Session;
use crate::clients::state;
use crate::resp::table::{Args, Keys, Row};
use crate::tracking::{Mode, Tracker};

/// Changed keys that are told of at the latest.
const CHANGED_KEYS_MAX: usize = 1024;

impl Session {
    pub(crate) fn tracker(&self) -> Option<Arc<Tracker>> {
        self.tracker.clone()
    }

    /// CLIENT TRACKING ON.
    pub(crate) fn track(&mut self, tracker: Tracker) {
        self.end_tracking();
        let tracker = Arc::new(tracker);
        self.client.sizes.redirect.store(tracker.redirect, Relaxed);
        self.client.set(state::TRACKING, true);
        self.client.set(state::TRACKING_BROADCAST, tracker.mode == Mode::Broadcast);
        self.node.tracking.begin(&tracker);
        self.tracker = Some(tracker);
    }

    /// Tracks, and tells the client that all it holds may be old.
    pub(crate) fn track_anew(&mut self, tracker: Tracker) {
        self.track(tracker);
        if let Some(tracker) = &self.tracker {
            tracker.tell(None, &self.node.clients, &self.node.config.live);
        }
    }

    pub(crate) fn end_tracking(&mut self) {
        self.is_caching_said = false;
        let Some(tracker) = self.tracker.take() else { return };
        self.client.set(state::TRACKING | state::TRACKING_BROADCAST | state::TRACKING_BROKEN, false);
        self.node.tracking.end(&tracker);
    }

    /// Remembers the keys of a command that reads, whose shards are held.
    #[cold]
    pub(super) fn remember(&self, row: &Row, args: &Args<'_>) {
        let Some(tracker) = &self.tracker else { return };
        let is_wanted = match tracker.mode {
            Mode::Reads => true,
            Mode::OptIn => self.is_caching_said,
            Mode::OptOut => !self.is_caching_said,
            Mode::Broadcast => false,
        };
        if !is_wanted {
            return;
        }
        let node = &self.node;
        let remember = |key: &[u8]| node.tracking.remember(tracker, key, &node.clients, &node.config.live);
        match row.keys {
            Keys::Any => args.get(1).copied().into_iter().for_each(remember),
            keys => keys.of(args).into_iter().for_each(remember),
        }
    }

    /// A command has written: whoever may hold its keys is told. One that changed nothing is told of too, which costs a
    /// client a look, and never the other way round.
    #[cold]
    pub(super) fn tell_trackers(&mut self, row: &Row, args: &Args<'_>) {
        let (tracking, clients, live) = (&self.node.tracking, &self.node.clients, &self.node.config.live);
        match row.keys {
            Keys::None => {}
            // Which keys is not known before.
            Keys::Space | Keys::Any => tracking.flushed(clients, live),
            keys => {
                let keys = keys.of(args);
                tracking.changed_read(self.client.id, &keys, clients, live);
                if tracking.is_broadcasting() {
                    self.changed_keys.extend(keys.iter().map(|key| key.to_vec()));
                    if self.changed_keys.len() > CHANGED_KEYS_MAX {
                        self.broadcast_changes();
                    }
                }
            }
        }
    }

    /// What a batch has changed is told at its end, all in one: as in Redis, which does it between two looks at its clients.
    #[cold]
    pub(super) fn broadcast_changes(&mut self) {
        let mut changed = std::mem::take(&mut self.changed_keys);
        changed.sort_unstable();
        changed.dedup();
        let keys: Vec<&[u8]> = changed.iter().map(Vec::as_slice).collect();
        let node = &self.node;
        node.tracking.broadcast(self.client.id, &keys, &node.clients, &node.config.live);
    }

    /// CLIENT CACHING is about the next command, or the next transaction.
    #[cold]
    pub(super) fn note_caching(&mut self, row: &Row) {
        if !row.name.starts_with("client|") && self.multi.is_none() {
            self.is_caching_said = false;
        }
    }
}
