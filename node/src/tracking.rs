//! CLIENT TRACKING: which clients may hold a key in a cache of their own, and who is told when it changes.
//!
//! ```text
//! GET k of a tracking client --remember--> table: k -> clients
//! a command that writes k --changed--> those clients: invalidate [k]; the table forgets them
//! ```
//!
//! A read is remembered under the lock of the key's shard, and a write is told before the writer is answered: so no change falls
//! between a read and its memory, and who is told and reads again sees the change. Only a master's clients track: a
//! replica is not told which commands its records come from.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use bytes::Bytes;
use parking_lot::{Mutex, RwLock};
use smallvec::SmallVec;

use crate::clients::{Client, Clients, state};
use crate::config::live::Live;

/// What is tracked for a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// What it reads.
    Reads,
    /// What it reads with the command after CLIENT CACHING YES.
    OptIn,
    /// What it reads, but for the command after CLIENT CACHING NO.
    OptOut,
    /// Every key with one of its prefixes, read or not.
    Broadcast,
}

/// A client that tracks.
#[derive(Debug)]
pub struct Tracker {
    client: Arc<Client>,
    pub mode: Mode,
    /// It is not told of its own changes.
    pub is_no_loop: bool,
    /// The client that is told instead: 0 is itself.
    pub redirect: u64,
    /// Of a broadcast.
    pub prefixes: Vec<Box<[u8]>>,
    is_over: AtomicBool,
}

type Trackers = SmallVec<[Arc<Tracker>; 1]>;

/// A part of the table, under a lock of its own.
type Stripe = Mutex<HashMap<Box<[u8]>, Trackers>>;

const STRIPES: usize = 64;

/// Who tracks what on this node.
#[derive(Debug)]
pub struct Tracking {
    stripes: Box<[Stripe]>,
    keys: AtomicUsize,
    broadcasts: RwLock<Vec<Arc<Tracker>>>,
    /// All trackers, so that a flush reaches them.
    trackers: RwLock<Vec<Arc<Tracker>>>,
    /// Whether there are any, for those who look often.
    is_used: AtomicBool,
}

impl Default for Tracking {
    fn default() -> Self {
        Self {
            stripes: (0..STRIPES).map(|_| Mutex::default()).collect(),
            keys: AtomicUsize::new(0),
            broadcasts: RwLock::default(),
            trackers: RwLock::default(),
            is_used: AtomicBool::new(false),
        }
    }
}

impl Tracker {
    #[must_use]
    pub fn new(client: Arc<Client>, mode: Mode, is_no_loop: bool, redirect: u64, prefixes: Vec<Box<[u8]>>) -> Self {
        Self { client, mode, is_no_loop, redirect, prefixes, is_over: AtomicBool::new(false) }
    }

    /// Whether it is told of what this client changes.
    fn hears(&self, writer: Writer) -> bool {
        !(self.is_no_loop && self.client.id == writer)
    }

    /// Tells it that keys have changed, or, with `None`, that everything may have.
    pub(crate) fn tell(&self, keys: Option<&[&[u8]]>, clients: &Clients, live: &Live) {
        if self.is_over.load(Ordering::Relaxed) {
            return;
        }
        let found;
        let target = if self.redirect == 0 {
            &self.client
        } else if let Some(other) = clients.find(self.redirect) {
            found = other;
            &found
        } else {
            self.client.set(state::TRACKING_BROKEN, true);
            if self.client.about.lock().resp == 3 {
                let text = format!(">2\r\n$21\r\ntracking-redir-broken\r\n:{}\r\n", self.redirect);
                self.client.post(text.into(), &live.client_output_buffer_limit);
            }
            return;
        };
        if target.about.lock().resp == 3 {
            target.post(invalidation(b">2\r\n$10\r\ninvalidate\r\n", keys, b"_\r\n"), &live.client_output_buffer_limit);
        } else if self.redirect != 0 && target.is(state::PUBSUB) {
            let head = b">3\r\n$7\r\nmessage\r\n$20\r\n__redis__:invalidate\r\n";
            target.post(invalidation(head, keys, b"$-1\r\n"), &live.client_output_buffer_limit);
        }
    }
}

fn invalidation(head: &[u8], keys: Option<&[&[u8]]>, null: &[u8]) -> Bytes {
    let mut out = head.to_vec();
    match keys {
        None => out.extend_from_slice(null),
        Some(keys) => {
            out.extend_from_slice(format!("*{}\r\n", keys.len()).as_bytes());
            for key in keys {
                out.extend_from_slice(format!("${}\r\n", key.len()).as_bytes());
                out.extend_from_slice(key);
                out.extend_from_slice(b"\r\n");
            }
        }
    }
    out.into()
}

/// Who tells of a change: it is not told itself, if it does not want that.
pub type Writer = u64;

impl Tracking {
    /// Whether anybody tracks anything.
    #[inline]
    #[must_use]
    pub fn is_used(&self) -> bool {
        self.is_used.load(Ordering::Relaxed)
    }

    /// A client begins to track, or goes on in another way.
    pub fn begin(&self, tracker: &Arc<Tracker>) {
        let mut trackers = self.trackers.write();
        trackers.push(Arc::clone(tracker));
        self.is_used.store(true, Ordering::Relaxed);
        drop(trackers);
        if tracker.mode == Mode::Broadcast {
            self.broadcasts.write().push(Arc::clone(tracker));
        }
    }

    /// It tracks no more. What the table holds of it goes when its keys change, or when room is needed.
    pub fn end(&self, tracker: &Arc<Tracker>) {
        tracker.is_over.store(true, Ordering::Relaxed);
        self.broadcasts.write().retain(|other| !Arc::ptr_eq(other, tracker));
        let mut trackers = self.trackers.write();
        trackers.retain(|other| !Arc::ptr_eq(other, tracker));
        if trackers.is_empty() {
            self.is_used.store(false, Ordering::Relaxed);
            self.forget();
        }
    }

    fn forget(&self) {
        for stripe in &self.stripes {
            let mut keys = stripe.lock();
            self.keys.fetch_sub(keys.len(), Ordering::Relaxed);
            *keys = HashMap::new();
        }
    }

    fn stripe(&self, key: &[u8]) -> &Stripe {
        &self.stripes[crate::keyspace::position(key) as usize % STRIPES]
    }

    /// Clients that track, and the prefixes of those that are told of every change.
    #[must_use]
    pub fn trackers(&self) -> (usize, usize) {
        let prefixes = self.broadcasts.read().iter().map(|tracker| tracker.prefixes.len()).sum();
        (self.trackers.read().len(), prefixes)
    }

    /// Clients that are remembered for keys, all keys together.
    #[must_use]
    pub fn items(&self) -> usize {
        self.stripes.iter().map(|stripe| stripe.lock().values().map(SmallVec::len).sum::<usize>()).sum()
    }

    /// Keys in the table.
    #[must_use]
    pub fn known(&self) -> usize {
        self.keys.load(Ordering::Relaxed)
    }

    /// A client may hold this key from now on. Where the table is full, another key counts as changed.
    pub fn remember(&self, tracker: &Arc<Tracker>, key: &[u8], clients: &Clients, live: &Live) {
        let mut evicted = None;
        {
            let mut keys = self.stripe(key).lock();
            match keys.get_mut(key) {
                Some(trackers) => {
                    if !trackers.iter().any(|other| Arc::ptr_eq(other, tracker)) {
                        trackers.retain(|other| !other.is_over.load(Ordering::Relaxed));
                        trackers.push(Arc::clone(tracker));
                    }
                }
                None => {
                    let most = live.tracking_table_max_keys.size();
                    if most > 0 && self.known() >= most {
                        let victim = keys.keys().next().cloned();
                        evicted = victim.and_then(|victim| keys.remove_entry(&victim));
                    }
                    keys.insert(key.into(), SmallVec::from_elem(Arc::clone(tracker), 1));
                    if evicted.is_none() {
                        self.keys.fetch_add(1, Ordering::Relaxed);
                    }
                }
            }
        }
        if let Some((key, trackers)) = evicted {
            trackers.iter().for_each(|tracker| tracker.tell(Some(&[&key]), clients, live));
        }
    }

    /// Keys have changed.
    pub fn changed(&self, writer: Writer, keys: &[&[u8]], clients: &Clients, live: &Live) {
        self.changed_read(writer, keys, clients, live);
        self.broadcast(writer, keys, clients, live);
    }

    /// Whether anybody is told of every change.
    #[must_use]
    pub fn is_broadcasting(&self) -> bool {
        !self.broadcasts.read().is_empty()
    }

    /// Keys have changed: whoever has read them is told.
    pub fn changed_read(&self, writer: Writer, keys: &[&[u8]], clients: &Clients, live: &Live) {
        let is_told = |tracker: &Tracker| tracker.hears(writer);
        for key in keys {
            let trackers = self.stripe(key).lock().remove(*key);
            let Some(trackers) = trackers else { continue };
            self.keys.fetch_sub(1, Ordering::Relaxed);
            for tracker in trackers.iter().filter(|tracker| is_told(tracker)) {
                tracker.tell(Some(&[key]), clients, live);
            }
        }
    }

    /// Keys have changed, in ascending order: whoever tracks a prefix of theirs is told, once a prefix.
    pub fn broadcast(&self, writer: Writer, keys: &[&[u8]], clients: &Clients, live: &Live) {
        for tracker in self.broadcasts.read().iter().filter(|tracker| tracker.hears(writer)) {
            for prefix in &tracker.prefixes {
                let matching: SmallVec<[&[u8]; 8]> =
                    keys.iter().filter(|key| key.starts_with(prefix)).copied().collect();
                if !matching.is_empty() {
                    tracker.tell(Some(&matching), clients, live);
                }
            }
        }
    }

    /// Everything may have changed.
    pub fn flushed(&self, clients: &Clients, live: &Live) {
        self.forget();
        self.trackers.read().iter().for_each(|tracker| tracker.tell(None, clients, live));
    }
}
