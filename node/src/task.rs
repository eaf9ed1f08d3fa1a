//! Where every task and thread of the peers' side begins, and what its end means.
//!
//! | kind | runs | its end |
//! |---|---|---|
//! | task | on the runtime of who spawned it | dropping the `Task` cancels it at its next await; nothing it holds outlives that |
//! | thread | until its closure returns | nobody cancels it; it looks for the end itself |
//!
//! A panic in either is a bug of ours. It is logged with the name, and in a release build it ends the process, so that
//! a replica takes over from a node of which only a part still works.

use std::future::Future;

use futures::FutureExt;
use tokio::task::JoinHandle;
use tracing::error;

use crate::limits;

/// A running task, for as long as this lives.
#[derive(Debug)]
pub struct Task {
    handle: Option<JoinHandle<()>>,
}

impl Task {
    /// Cancels the task and waits until it is gone: whatever it did is done, and it does nothing more.
    pub async fn stop(mut self) {
        if let Some(handle) = self.handle.take() {
            handle.abort();
            // An error only says that it was cancelled, or that it had panicked, which is logged.
            _ = handle.await;
        }
    }

    /// Lets the task run to its own end.
    pub fn detach(mut self) {
        self.handle = None;
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        if let Some(handle) = &self.handle {
            handle.abort();
        }
    }
}

/// Runs a task on the runtime of the caller.
#[must_use]
pub fn spawn(name: &'static str, future: impl Future<Output = ()> + Send + 'static) -> Task {
    let watched = async move {
        if std::panic::AssertUnwindSafe(future).catch_unwind().await.is_err() {
            error!(task = name, "task has panicked");
        }
    };
    Task { handle: Some(tokio::spawn(watched)) }
}

/// Runs a closure on a thread of its own.
///
/// # Errors
/// The system has no more threads.
pub fn thread(name: &'static str, run: impl FnOnce() + Send + 'static) -> std::io::Result<std::thread::JoinHandle<()>> {
    std::thread::Builder::new().name(name.to_owned()).spawn(move || {
        if std::panic::catch_unwind(std::panic::AssertUnwindSafe(run)).is_err() {
            error!(thread = name, "thread has panicked");
        }
    })
}

/// Has the kernel run the calling thread as soon as it has something to do, in the place of one that has been computing for
/// a while (a checkpoint, an image, a merge of files): a thread that asks for short slices comes before one that asks for
/// long ones, and gets no more of the core for it. Threads that it starts ask for nothing. Linux 6.12 and later; before
/// that, and where it is not allowed, nothing changes.
#[allow(unsafe_code, reason = "std has no sched_setattr")]
pub fn run_promptly() {
    const RESET_ON_FORK: u64 = 1;
    let attributes = libc::sched_attr {
        size: size_of::<libc::sched_attr>() as u32,
        sched_policy: libc::SCHED_OTHER as u32,
        sched_flags: RESET_ON_FORK,
        sched_nice: nice(),
        sched_priority: 0,
        sched_runtime: limits::PROMPT_SLICE.as_nanos() as u64,
        sched_deadline: 0,
        sched_period: 0,
    };
    // SAFETY: `attributes` is valid for the length of the call and says its size; 0 is the calling thread.
    unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attributes, 0) };
}

/// The niceness of the calling thread, which stays what it is.
#[allow(unsafe_code, reason = "std has no getpriority")]
fn nice() -> i32 {
    // SAFETY: `getpriority` takes no pointers; 0 is the calling thread.
    unsafe { libc::getpriority(libc::PRIO_PROCESS, 0) }
}

/// Runs a future on a runtime and a thread of its own, so that nothing else delays it.
///
/// # Errors
/// The system has no more threads or descriptors.
pub fn runtime(
    name: &'static str,
    future: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<std::thread::JoinHandle<()>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    thread(name, move || {
        run_promptly();
        runtime.block_on(future);
        // A blocking call in flight (a sync of the disk) is not waited for.
        runtime.shutdown_background();
    })
}
