//! Scripts: the texts that are known, the functions that are loaded, and what runs now.
//!
//! ```text
//! connection --quick script, or within EXEC--> runs on the I/O thread
//!        '----any other--> the thread of scripts --reply--> connection
//! ```
//!
//! The same thread runs commands that walk over a large value (`table::flag::WHOLE`).
//!
//! A script holds shards as long as it runs. What runs long is on a thread of its own, so that the other clients of a
//! thread can be told BUSY, and can kill it.

use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, mpsc};

use parking_lot::Mutex;

use crate::clock::{self, BootNanos};
use crate::limits;

/// What a script's first line says: `#!lua flags=no-writes,allow-oom`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Flags {
    pub no_writes: bool,
    pub allow_oom: bool,
    pub allow_stale: bool,
    pub no_cluster: bool,
    pub allow_cross_slot_keys: bool,
}

/// How long a script has taken.
#[derive(Debug, Default)]
pub struct Pace {
    runs: AtomicU64,
    slowest_us: AtomicU64,
}

impl Pace {
    pub fn note(&self, micros: u64) {
        self.slowest_us.fetch_max(micros, Ordering::Relaxed);
        self.runs.fetch_add(1, Ordering::Relaxed);
    }

    /// It was short whenever it ran.
    #[must_use]
    pub fn is_quick(&self) -> bool {
        self.runs.load(Ordering::Relaxed) > 0 && self.slowest_us.load(Ordering::Relaxed) <= limits::QUICK_SCRIPT_US
    }
}

/// A script.
#[derive(Debug)]
pub struct Source {
    /// 40 hex digits in lower case.
    pub sha: String,
    pub text: Vec<u8>,
    /// `None`: it has no first line that says so, and is treated as before there were any.
    pub flags: Option<Flags>,
    pub pace: Pace,
}

/// What runs now.
#[derive(Debug)]
pub struct Running {
    pub kind: Kind,
    /// The name of a function, the SHA-1 of a script.
    pub name: String,
    /// The command that runs it.
    pub command: Vec<Vec<u8>>,
    pub since: BootNanos,
    pub has_written: AtomicBool,
    pub is_killed: AtomicBool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Script,
    Function,
}

#[derive(Debug, Default)]
struct Sources {
    by_sha: HashMap<String, Arc<Source>>,
    /// Those that came with EVAL, the oldest first: they are forgotten when they are many.
    evaluated: VecDeque<String>,
    bytes: usize,
}

/// Of the thread of scripts: the library of Lua recurses, and only what is touched is memory.
const STACK_BYTES: usize = 16 << 20;

type Task = Box<dyn FnOnce() + Send>;

thread_local! {
    static HELD: RefCell<Held> = RefCell::default();
}

/// Shards that this thread has found held, since something last began that may hold shards for long.
#[derive(Debug, Default)]
struct Held {
    begun: u64,
    shards: Vec<usize>,
}

/// The scripts of a node.
#[derive(Debug, Default)]
pub struct Scripts {
    sources: Mutex<Sources>,
    /// Grows with SCRIPT FLUSH: interpreters of before are thrown away.
    generation: AtomicU64,
    running: Mutex<Vec<Arc<Running>>>,
    count: AtomicUsize,
    /// Commands that are no scripts and may hold shards for long.
    long: AtomicUsize,
    /// Scripts and long commands that have begun since the start.
    begun: AtomicU64,
    thread: OnceLock<mpsc::Sender<Task>>,
    /// Bytes of the interpreter that ran last.
    pub memory: AtomicUsize,
    pub evictions: AtomicU64,
}

/// Why a script is not kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Full;

/// Takes a script off the list when it ends.
#[derive(Debug)]
pub struct Listed<'s> {
    scripts: &'s Scripts,
    pub running: Arc<Running>,
}

impl Drop for Listed<'_> {
    fn drop(&mut self) {
        self.scripts.running.lock().retain(|other| !Arc::ptr_eq(other, &self.running));
        self.scripts.count.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Takes a long command off the count when it ends.
#[derive(Debug)]
pub struct Long<'s>(&'s Scripts);

impl Drop for Long<'_> {
    fn drop(&mut self) {
        self.0.long.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Why nothing was killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotKilled {
    NothingRuns,
    /// It has changed something already.
    HasWritten,
}

impl Scripts {
    #[must_use]
    pub fn find(&self, sha: &str) -> Option<Arc<Source>> {
        self.sources.lock().by_sha.get(sha).cloned()
    }

    /// Keeps a script that came with EVAL, as long as there is room.
    pub fn keep_evaluated(&self, source: Source) -> Arc<Source> {
        let source = Arc::new(source);
        let mut sources = self.sources.lock();
        if sources.by_sha.contains_key(&source.sha) {
            return source;
        }
        sources.evaluated.push_back(source.sha.clone());
        sources.bytes += source.text.len();
        sources.by_sha.insert(source.sha.clone(), Arc::clone(&source));
        while sources.evaluated.len() > limits::EVALUATED_SCRIPTS || sources.bytes > limits::SCRIPT_BYTES {
            let Some(oldest) = sources.evaluated.pop_front() else { break };
            if let Some(gone) = sources.by_sha.remove(&oldest) {
                sources.bytes -= gone.text.len();
                self.evictions.fetch_add(1, Ordering::Relaxed);
            }
        }
        source
    }

    /// SCRIPT LOAD: keeps a script until SCRIPT FLUSH.
    ///
    /// # Errors
    /// There are too many.
    pub fn load(&self, source: Source) -> Result<(), Full> {
        let mut sources = self.sources.lock();
        if sources.by_sha.contains_key(&source.sha) {
            sources.evaluated.retain(|sha| *sha != source.sha);
            return Ok(());
        }
        if sources.bytes + source.text.len() > limits::SCRIPT_BYTES {
            return Err(Full);
        }
        sources.bytes += source.text.len();
        sources.by_sha.insert(source.sha.clone(), Arc::new(source));
        Ok(())
    }

    pub fn flush(&self) {
        *self.sources.lock() = Sources::default();
        self.generation.fetch_add(1, Ordering::AcqRel);
    }

    #[must_use]
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// How many scripts are kept, and their bytes.
    #[must_use]
    pub fn kept(&self) -> (usize, usize) {
        let sources = self.sources.lock();
        (sources.by_sha.len(), sources.bytes)
    }

    pub fn begin(&self, kind: Kind, name: &str, command: &[&[u8]]) -> Listed<'_> {
        let running = Arc::new(Running {
            kind,
            name: name.to_owned(),
            command: command.iter().take(limits::SHOWN_ARGUMENTS).map(|arg| arg.to_vec()).collect(),
            since: clock::boot_now(),
            has_written: AtomicBool::new(false),
            is_killed: AtomicBool::new(false),
        });
        self.begun.fetch_add(1, Ordering::AcqRel);
        self.count.fetch_add(1, Ordering::AcqRel);
        self.running.lock().push(Arc::clone(&running));
        Listed { scripts: self, running }
    }

    /// Notes that a command runs which may hold shards for long.
    #[must_use]
    pub fn begin_long(&self) -> Long<'_> {
        self.begun.fetch_add(1, Ordering::AcqRel);
        self.long.fetch_add(1, Ordering::AcqRel);
        Long(self)
    }

    /// Whether any script runs.
    #[inline]
    #[must_use]
    pub fn are_running(&self) -> bool {
        self.count.load(Ordering::Acquire) > 0
    }

    /// Whether anything runs that may hold shards for long.
    #[inline]
    #[must_use]
    pub fn may_hold_shards(&self) -> bool {
        self.are_running() || self.long.load(Ordering::Acquire) > 0
    }

    /// Whether a shard that could not be locked is held for long. To find that out a thread waits for it (`find_out`), once
    /// only as long as nothing else begins: many clients may ask for what one script holds.
    pub fn is_held(&self, shard: usize, find_out: impl FnOnce() -> bool) -> bool {
        let begun = self.begun.load(Ordering::Acquire);
        HELD.with_borrow_mut(|held| {
            if held.begun != begun {
                *held = Held { begun, shards: Vec::new() };
            }
            if held.shards.contains(&shard) {
                return true;
            }
            let is_held = find_out();
            if is_held {
                held.shards.push(shard);
            }
            is_held
        })
    }

    /// The one that has run longest.
    #[must_use]
    pub fn oldest(&self) -> Option<Arc<Running>> {
        self.running.lock().iter().min_by_key(|running| running.since).cloned()
    }

    /// The kind of a script that has run for so many milliseconds.
    #[must_use]
    pub fn busy(&self, threshold_ms: i64) -> Option<Kind> {
        if !self.are_running() {
            return None;
        }
        let oldest = self.oldest()?;
        let ran_ms = clock::boot_now().millis_since(oldest.since);
        (ran_ms >= u64::try_from(threshold_ms).unwrap_or(0)).then_some(oldest.kind)
    }

    /// SCRIPT KILL and FUNCTION KILL: ends the oldest script of a kind.
    ///
    /// # Errors
    /// There is none, or it has written.
    pub fn kill(&self, kind: Kind) -> Result<(), NotKilled> {
        let running = self.running.lock();
        let oldest = running.iter().filter(|running| running.kind == kind).min_by_key(|running| running.since);
        let oldest = oldest.ok_or(NotKilled::NothingRuns)?;
        if oldest.has_written.load(Ordering::Acquire) {
            return Err(NotKilled::HasWritten);
        }
        oldest.is_killed.store(true, Ordering::Release);
        Ok(())
    }

    /// Runs a task on the thread of scripts, behind those that came before.
    pub fn run(&self, task: Task) {
        let sender = self.thread.get_or_init(|| {
            let (sender, tasks) = mpsc::channel::<Task>();
            let spawned = std::thread::Builder::new().name("scripts".into()).stack_size(STACK_BYTES).spawn(move || {
                while let Ok(task) = tasks.recv() {
                    task();
                }
            });
            if let Err(error) = spawned {
                tracing::error!(%error, "no thread for scripts");
            }
            sender
        });
        // Without the thread the task is dropped, and who waits for it notices.
        _ = sender.send(task);
    }
}

#[cfg(test)]
mod tests {
    use super::Scripts;

    #[test]
    fn a_shard_is_waited_for_once_as_long_as_nothing_else_begins() {
        let scripts = Scripts::default();
        let long = scripts.begin_long();
        assert!(!scripts.is_held(7, || false));
        assert!(scripts.is_held(7, || true));
        assert!(scripts.is_held(7, || panic!("it was waited for again")));
        assert!(!scripts.is_held(8, || false));
        drop(long);
        let _other = scripts.begin_long();
        assert!(!scripts.is_held(7, || false));
    }
}
