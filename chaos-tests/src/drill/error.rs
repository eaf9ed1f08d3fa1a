//! Why a drill fails before it has a verdict.

use std::time::Duration;

use super::readback;
use crate::cluster::{self, Member};
use crate::nemesis::{self, Fault};

/// First start: binaries are loaded, databases made, Raft's first election held.
pub(super) const START_LIMIT: Duration = Duration::from_secs(60);
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Cluster(#[from] cluster::Error),
    #[error(transparent)]
    Fault(#[from] nemesis::Error),
    #[error("no client could write within {limit:?} after the fault; last errors: {errors}")]
    NoWrite { limit: Duration, errors: String },
    #[error("the load did not start within {START_LIMIT:?}; last errors: {errors}")]
    NoLoad { errors: String },
    #[error("a worker did not end within {0:?}")]
    StuckWorker(Duration),
    #[error("{fault}: {before} was master and stays it without a reason to go, but {after} is master now")]
    Moved { fault: Fault, before: Member, after: Member },
    #[error(transparent)]
    Readback(#[from] readback::Error),
    #[error("AMQP: {0}")]
    Amqp(#[from] crate::client::amqp::Error),
}
