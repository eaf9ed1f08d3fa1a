//! Checkpoints: what changed becomes rows, so that the journal can be trimmed and a start has little to replay.
//!
//! ```text
//! pace.rs  due? --> pass.rs --take--> partitions --rows, head--> storage --floor--> the journal is trimmed
//!                     '-- known.rs: what has rows                   '-- load.rs: rows become partitions again
//! ```
//!
//! The thread `checkpoint` loads first (`recovery`) and then keeps the rows up to date. It works for some milliseconds and
//! rests for three times as long, unless somebody waits for it or the journal outruns it.

mod head;
mod keep;
mod known;
mod load;
mod pace;
mod pass;

#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use tokio::sync::watch;

pub(crate) use keep::keep;
pub(crate) use known::Known;
pub use load::Error as LoadError;
pub(crate) use load::{Cuts, Loaded, load};
pub use pass::Report;

use crate::clock;
use crate::ids::{Offset, UnixMillis};
use crate::peers::Portion;

/// How far the partitions are, and of which state that was said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// Everything up to here is in them.
    pub offset: Offset,
    /// Changes when they become another state, or another master's.
    pub state: (u64, u64),
}

/// What the checkpoints of this process have come to.
#[derive(Debug, Clone, Default)]
pub struct Status {
    pub is_running: bool,
    pub passes: u64,
    pub last: Option<Report>,
    /// When the last pass ended well.
    pub last_at: UnixMillis,
    /// Why the last one did not.
    pub failure: Option<String>,
    /// Requests that were answered, well or not.
    answered: u64,
}

impl Status {
    fn outcome(&self) -> Result<Report, Refusal> {
        match (&self.failure, self.last) {
            (None, Some(report)) => Ok(report),
            (failure, _) => Err(Refusal::Failed(failure.clone().unwrap_or_default())),
        }
    }
}

/// The node's checkpoints as others see them. One a node.
#[derive(Debug, Default)]
pub struct Control {
    orders: Mutex<Orders>,
    changed: Condvar,
    status: watch::Sender<Status>,
    /// How far the pass is that runs.
    portion: Mutex<Option<Portion>>,
}

#[derive(Debug, Default)]
struct Orders {
    /// Requests so far.
    asked: u64,
    /// The node stops: a last pass may take until then.
    closing: Option<Instant>,
    /// The thread is at work.
    is_kept: bool,
    /// Where the requests want a copy of the disk to, by their number.
    backups: Vec<(u64, PathBuf)>,
}

/// No checkpoint was made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("this node keeps nothing on disk, or still loads it")]
    NotKept,
    #[error("{0}")]
    Failed(String),
}

impl Control {
    #[must_use]
    pub fn status(&self) -> Status {
        self.status.borrow().clone()
    }

    /// How far the pass is that runs, in keys and messages; a backup that waits for it is done as soon as it is.
    #[must_use]
    pub fn portion(&self) -> Option<Portion> {
        *self.portion.lock()
    }

    /// Copies of the disk that wait for a pass.
    #[must_use]
    pub fn backups(&self) -> usize {
        self.orders.lock().backups.len()
    }

    fn reached(&self, portion: Portion) {
        *self.portion.lock() = Some(portion);
    }

    /// Asks for a pass that begins after this call. `finished` waits for it.
    ///
    /// # Errors
    /// Nobody is there to make one.
    pub fn request(&self) -> Result<u64, Refusal> {
        self.order(None)
    }

    /// Asks for a pass, and for a copy of the disk behind it. `finished` waits for both.
    ///
    /// # Errors
    /// Nobody is there to make one.
    pub fn request_backup(&self, directory: PathBuf) -> Result<u64, Refusal> {
        self.order(Some(directory))
    }

    fn order(&self, backup: Option<PathBuf>) -> Result<u64, Refusal> {
        let mut orders = self.orders.lock();
        if !orders.is_kept {
            return Err(Refusal::NotKept);
        }
        orders.asked += 1;
        let request = orders.asked;
        orders.backups.extend(backup.map(|directory| (request, directory)));
        self.changed.notify_all();
        Ok(request)
    }

    /// Where the requests up to `asked` want a copy to; they are not told again.
    fn take_backups(&self, asked: u64) -> Vec<PathBuf> {
        let mut orders = self.orders.lock();
        let (due, later) = std::mem::take(&mut orders.backups).into_iter().partition(|(request, _)| *request <= asked);
        orders.backups = later;
        let due: Vec<(u64, PathBuf)> = due;
        due.into_iter().map(|(_, directory)| directory).collect()
    }

    /// Resolves when the pass that was asked for has ended.
    ///
    /// # Errors
    /// It has failed.
    pub async fn finished(&self, request: u64) -> Result<Report, Refusal> {
        let mut status = self.status.subscribe();
        let ended = status.wait_for(|status| status.answered >= request).await.map_err(|_| Refusal::NotKept)?;
        ended.outcome()
    }

    /// What became of the pass that was asked for; `None` while it has not ended.
    #[must_use]
    pub fn outcome(&self, request: u64) -> Option<Result<Report, Refusal>> {
        let status = self.status.borrow();
        (status.answered >= request).then(|| status.outcome())
    }

    /// The thread makes a last pass, if that is quick, and ends.
    pub fn close(&self, most: Duration) {
        self.orders.lock().closing.get_or_insert(Instant::now() + most);
        self.changed.notify_all();
    }

    /// Until when a last pass may take, if the node stops.
    fn closing(&self) -> Option<Instant> {
        self.orders.lock().closing
    }

    fn begin(&self) {
        self.status.send_modify(|status| status.is_running = true);
    }

    fn end(&self, answered: u64, result: Result<Report, String>) {
        *self.portion.lock() = None;
        self.status.send_modify(|status| {
            (status.is_running, status.answered) = (false, answered);
            match result {
                Ok(report) => {
                    (status.last, status.last_at, status.failure) = (Some(report), clock::unix_now(), None);
                    status.passes += 1;
                }
                Err(reason) => status.failure = Some(reason),
            }
        });
    }
}
