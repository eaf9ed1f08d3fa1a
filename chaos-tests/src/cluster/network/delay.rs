//! A slow link: while it lasts, every frame of a member goes through this process, which holds it back, and loses some.
//!
//! ```text
//! member eth0 ~ veth -- bridge `far` -- tap `slow-far` <-> threads here <-> tap `slow-near` -- bridge `lan`
//! ```
//!
//! The kernel's own way (netem) is missing in many kernels; this one needs only `/dev/net/tun`.

use std::fs::File;
use std::io::{Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rand::Rng;

use super::{Error, run};
use crate::cluster::Member;
use crate::sys;

/// How slow.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Slowness {
    /// Each way; drawn for each frame between half and one and a half of it, without changing the order.
    pub delay: Duration,
    /// Share of frames that are lost.
    pub loss: f64,
}

/// What passed through a slow link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Passed {
    pub frames: u64,
    pub lost: u64,
}

/// A slow link in place.
#[derive(Debug)]
pub struct SlowLink {
    member: Member,
    counters: Arc<Counters>,
    threads: Vec<JoinHandle<()>>,
    /// A tap is gone with its last file: these keep both until they are deleted.
    taps: [Arc<File>; 2],
}

#[derive(Debug, Default)]
struct Counters {
    frames: AtomicU64,
    lost: AtomicU64,
}

/// The largest frame of a link without offloading, with room for a tag.
const LARGEST_FRAME: usize = 2048;
/// Frames on their way in one direction; more are lost, as in the queue of a real link.
const QUEUE: usize = 4096;

struct Held {
    due: Instant,
    frame: Vec<u8>,
}

impl SlowLink {
    /// Takes the member's cable from the bridge and puts the slow link in between.
    ///
    /// # Errors
    /// There is no `/dev/net/tun`, or a tool fails.
    pub fn start(member: Member, slowness: Slowness) -> Result<Self, Error> {
        let tap = |name: &str| {
            sys::tap(name).map_err(|error| Error::NoTool { command: format!("/dev/net/tun for {name}"), error })
        };
        let (near, far) = (Arc::new(tap("slow-near")?), Arc::new(tap("slow-far")?));
        run(None, "ip", &["link", "add", "far", "type", "bridge"])?;
        run(None, "ip", &["link", "set", "far", "up"])?;
        run(None, "ip", &["link", "set", "slow-near", "master", "lan", "up"])?;
        run(None, "ip", &["link", "set", "slow-far", "master", "far", "up"])?;
        let counters = Arc::new(Counters::default());
        let mut threads = Vec::new();
        for (from, to) in [(&near, &far), (&far, &near)] {
            let (sender, receiver) = sync_channel(QUEUE);
            let (from, to, counting) = (from.clone(), to.clone(), counters.clone());
            threads.push(thread::spawn(move || hold_back(&from, &sender, slowness, &counting)));
            threads.push(thread::spawn(move || let_go(&to, &receiver)));
        }
        run(None, "ip", &["link", "set", &member.to_string(), "master", "far"])?;
        Ok(Self { member, counters, threads, taps: [near, far] })
    }

    /// Puts the cable back and says what passed.
    ///
    /// # Errors
    /// A tool fails.
    pub fn end(self) -> Result<Passed, Error> {
        run(None, "ip", &["link", "set", &self.member.to_string(), "master", "lan"])?;
        // A device that is gone ends the threads that read from it.
        for device in ["slow-near", "slow-far", "far"] {
            run(None, "ip", &["link", "del", device])?;
        }
        for thread in self.threads {
            assert!(thread.join().is_ok(), "a thread of the slow link panicked");
        }
        drop(self.taps);
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Ok(Passed { frames: read(&self.counters.frames), lost: read(&self.counters.lost) })
    }
}

fn hold_back(mut from: &File, sender: &SyncSender<Held>, slowness: Slowness, counters: &Counters) {
    let mut frame = vec![0; LARGEST_FRAME];
    let mut last_due = Instant::now();
    let mut random = rand::rng();
    while let Ok(length) = from.read(&mut frame) {
        counters.frames.fetch_add(1, Ordering::Relaxed);
        if random.random_bool(slowness.loss) {
            counters.lost.fetch_add(1, Ordering::Relaxed);
            continue;
        }
        let due = Instant::now() + slowness.delay.mul_f64(random.random_range(0.5..1.5));
        last_due = last_due.max(due);
        match sender.try_send(Held { due: last_due, frame: frame[..length].to_vec() }) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => {
                counters.lost.fetch_add(1, Ordering::Relaxed);
            }
            Err(TrySendError::Disconnected(_)) => return,
        }
    }
}

fn let_go(mut to: &File, receiver: &Receiver<Held>) {
    for held in receiver {
        thread::sleep(held.due.saturating_duration_since(Instant::now()));
        if to.write_all(&held.frame).is_err() {
            return;
        }
    }
}
