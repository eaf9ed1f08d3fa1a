//! What a client reads is remembered, if it keeps a cache of its own.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use super::Session;
use crate::clients::state;
use crate::resp::table::{Args, Keys, Row};
use crate::tracking::{Mode, Tracker};

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
    pub(super) fn tell_trackers(&self, row: &Row, args: &Args<'_>) {
        let (tracking, clients, live) = (&self.node.tracking, &self.node.clients, &self.node.config.live);
        match row.keys {
            Keys::None => {}
            // Which keys is not known before.
            Keys::Space | Keys::Any => tracking.flushed(clients, live),
            keys => tracking.changed(self.client.id, &keys.of(args), clients, live),
        }
    }

    /// CLIENT CACHING is about the next command, or the next transaction.
    #[cold]
    pub(super) fn note_caching(&mut self, row: &Row) {
        if !row.name.starts_with("client|") && self.multi.is_none() {
            self.is_caching_said = false;
        }
    }
}
