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
        runtime.block_on(future);
        // A blocking call in flight (a sync of the disk) is not waited for.
        runtime.shutdown_background();
    })
}
