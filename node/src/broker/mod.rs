//! The broker's synchronous core: exchanges, queues, bindings.

pub mod effect;

use crate::ids::{Offset, Partition};

/// What a record asks for that the broker's state does not have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("no queue of number {0}")]
    NoQueue(u32),
}

/// Topology and queues of a node.
#[derive(Debug, Default)]
pub struct Broker {}

impl Broker {
    /// Applies a change to the topology or to one queue.
    ///
    /// # Errors
    /// The state is not the one that the effect was made for.
    pub fn apply(
        &self,
        _offset: Offset,
        _partition: Partition,
        effect: &effect::BrokerEffect<'_>,
    ) -> Result<(), Error> {
        let effect::BrokerEffect::Nothing(_) = effect;
        Ok(())
    }
}
