//! Loads: what they write, and the books that they keep of it.
//!
//! Every worker waits a little between two writes: a drill measures a failover, not a machine that is out of CPU.

pub mod amqp;
pub mod append;
pub mod bank;
pub mod escrow;
pub mod probe;
pub mod register;
pub mod session;
pub mod shared;
pub mod takers;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rand::Rng;
use tokio::time::sleep;

/// Between two writes of a worker.
pub const PACE: Duration = Duration::from_millis(2);

/// Asks the workers of a round to end.
#[derive(Debug, Clone, Default)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    pub fn ask(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    #[must_use]
    pub fn is_asked(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// What a good client waits before it tries again.
pub async fn wait_to_retry() {
    let ms = rand::rng().random_range(10..=20);
    sleep(Duration::from_millis(ms)).await;
}
