//! What a transaction of class tx has gathered so far.

use super::content::Whole;
use crate::amqp::delivery::Unsettled;
use crate::broker::{Route, Settlement};

/// What waits for commit, in order within each kind.
#[derive(Debug, Default)]
pub(super) struct Tx {
    pub(super) waiting: Option<Waiting>,
}

#[derive(Debug, Default)]
pub(super) struct Waiting {
    /// Each with the queues that it found when it was published, as in RabbitMQ.
    pub(super) messages: Vec<(Route, Whole)>,
    pub(super) settled: Vec<(Settlement, Vec<Unsettled>)>,
}

impl Tx {
    pub(super) fn is_selected(&self) -> bool {
        self.waiting.is_some()
    }
}
