//! What else wants to know of changes: keyspace notifications and the tracking of clients' caches. Nobody, mostly: then
//! it costs a transaction one load, and a change one branch.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

pub use crate::effect::class;

/// Something that happened to a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    pub database: u8,
    pub class: u32,
    pub name: &'static str,
    pub key: Vec<u8>,
}

/// Who is told. It runs on the thread of the change, with the shards held, so that events stand in the order of the
/// changes: it only hands them on.
pub trait Listener: Send + Sync + std::fmt::Debug {
    /// What a transaction did, in its order. Events of classes that nobody wants may be among them while
    /// `class::TRACKED` is set.
    fn happened(&self, events: &[Event]);
}

/// Who wants to know of changes.
#[derive(Debug, Default)]
pub struct Signals {
    classes: AtomicU32,
    listener: OnceLock<Box<dyn Listener>>,
}

impl Signals {
    /// Sets who is told. Once: later ones are ignored.
    pub fn listen(&self, listener: Box<dyn Listener>) {
        _ = self.listener.set(listener);
    }

    /// Says which classes are wanted, besides `class::TRACKED`.
    pub fn want(&self, classes: u32) {
        let tracked = self.classes.load(Ordering::Relaxed) & class::TRACKED;
        self.classes.store(classes & !class::TRACKED | tracked, Ordering::Relaxed);
    }

    /// Whether anybody tracks keys.
    pub fn track(&self, is_tracking: bool) {
        if is_tracking {
            self.classes.fetch_or(class::TRACKED, Ordering::Relaxed);
        } else {
            self.classes.fetch_and(!class::TRACKED, Ordering::Relaxed);
        }
    }

    #[inline]
    #[must_use]
    pub fn wanted(&self) -> u32 {
        self.classes.load(Ordering::Relaxed)
    }

    /// A reading command has found nothing.
    #[inline]
    pub(super) fn missed(&self, database: u8, key: &[u8]) {
        if self.wanted() & class::MISS != 0 {
            self.tell(&[Event { database, class: class::MISS, name: "keymiss", key: key.to_vec() }]);
        }
    }

    pub(super) fn tell(&self, events: &[Event]) {
        if let Some(listener) = self.listener.get() {
            listener.happened(events);
        }
    }
}
