//! How far the disk is behind the journal, and what that lets be acknowledged.
//!
//! ```text
//! durable <= written <= end        durable: survives a power cut; written: survives the process
//! ```

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use event_listener::{Event, EventListener};
use parking_lot::Mutex;

use crate::ids::Offset;

/// What has to be true of a record before it may be acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Promise {
    /// It is in memory; the disk follows within its bounds.
    Appended,
    /// The kernel has it: it survives the end of the process, whatever ends it.
    Written,
    /// It is synced to disk.
    Durable,
}

/// The disk's part of the journal's position. One a node.
#[derive(Debug, Default)]
pub struct Durability {
    /// Acknowledgements may have to wait for the disk: the fast road looks at this only.
    is_holding: AtomicBool,
    written: AtomicU64,
    durable: AtomicU64,
    state: Mutex<State>,
    /// Any of it has changed.
    changed: Event,
}

#[derive(Debug, Default)]
struct State {
    /// `None`: there is no disk.
    promise: Option<Promise>,
    /// More is unwritten than the bound allows, or a sync takes too long.
    is_behind: bool,
    /// Why the disk cannot be written.
    refusal: Option<String>,
}

impl Durability {
    pub(super) fn start(&self, promise: Promise, written: Offset) {
        self.state.lock().promise = Some(promise);
        self.publish(written, written);
    }

    /// Up to here an acknowledgement may go, as far as this node's disk is concerned.
    #[inline]
    #[must_use]
    pub fn acknowledgeable(&self, end: Offset) -> Offset {
        if self.is_holding.load(Ordering::Acquire) { self.held(end) } else { end }
    }

    #[cold]
    fn held(&self, end: Offset) -> Offset {
        let state = self.state.lock();
        match state.promise {
            None => end,
            Some(Promise::Durable) => end.min(self.durable()),
            Some(Promise::Written) => end.min(self.written()),
            // A disk that refuses does not hold up what had been appended: that was promised no more, and nothing is added.
            Some(Promise::Appended) if state.is_behind => end.min(self.written()),
            Some(Promise::Appended) => end,
        }
    }

    /// Up to here a replica says that it holds everything. A copy whose disk refuses is soon none.
    #[must_use]
    pub fn held_by_replica(&self, end: Offset) -> Offset {
        if self.refusal().is_some() { end.min(self.written()) } else { self.acknowledgeable(end) }
    }

    pub(super) fn is_behind(&self) -> bool {
        self.is_holding.load(Ordering::Acquire) && self.state.lock().is_behind
    }

    /// What was promised of the disk. `None`: there is none.
    #[must_use]
    pub fn promise(&self) -> Option<Promise> {
        self.state.lock().promise
    }

    /// Everything up to here survives the end of the process.
    #[must_use]
    pub fn written(&self) -> Offset {
        Offset(self.written.load(Ordering::Acquire))
    }

    /// Everything up to here survives a power cut.
    #[must_use]
    pub fn durable(&self) -> Offset {
        Offset(self.durable.load(Ordering::Acquire))
    }

    /// Why the disk cannot be written at the moment: writes are refused meanwhile.
    #[must_use]
    pub fn refusal(&self) -> Option<String> {
        self.state.lock().refusal.clone()
    }

    /// Resolves at the next change of any of these. What was changed before the call is not waited for; so the future is
    /// made before the look at the offsets.
    pub fn changed(&self) -> EventListener {
        self.changed.listen()
    }

    pub(super) fn publish(&self, written: Offset, durable: Offset) {
        self.written.store(written.0, Ordering::Release);
        self.durable.store(durable.0, Ordering::Release);
        self.change(|_| ());
    }

    pub fn set_behind(&self, is_behind: bool) {
        if self.state.lock().is_behind != is_behind {
            self.change(|state| state.is_behind = is_behind);
        }
    }

    /// The disk cannot be written, or it can again.
    pub fn set_refusal(&self, refusal: Option<String>) {
        self.change(|state| state.refusal = refusal);
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.state.lock();
        change(&mut state);
        let is_holding = match state.promise {
            None => false,
            Some(Promise::Written | Promise::Durable) => true,
            Some(Promise::Appended) => state.is_behind,
        };
        self.is_holding.store(is_holding, Ordering::Release);
        drop(state);
        self.changed.notify(usize::MAX);
    }
}
