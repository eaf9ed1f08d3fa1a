//! Consumers: beginning one, ending one, and queues that end with their last.

use std::sync::Arc;

use super::Broker;
use super::batch::Batch;
use super::declare::{Deletion, may_use};
use super::link::{Consume, Consumer};
use super::queue::{AfterCancel, Queue, Then};
use super::refusal::{Refusal, Resource};
use super::settings::Active;

impl Broker {
    /// Begins a consumer. It gets what is ready at once.
    ///
    /// # Errors
    /// The queue is gone or another connection's, or somebody has or wants it for himself.
    pub fn consume(
        &self,
        batch: &mut Batch<'_>,
        queue: &Arc<Queue>,
        consume: Consume,
    ) -> Result<Arc<Consumer>, Refusal> {
        may_use(queue, consume.link.connection)?;
        let resource = || Resource::queue(&queue.vhost, &queue.name);
        let mut state = queue.lock();
        if state.is_deleted {
            return Err(Refusal::NotFound(resource()));
        }
        let start = consume.start;
        let consumer = Arc::new(Consumer::new(consume, Arc::clone(queue)));
        if state.settings.stream.is_some() {
            consumer.go_on_at(state.messages.id_of(start, batch.now().0));
        }
        let others = state.consumers();
        // A single active consumer is exclusive already, and lets others wait.
        let is_single = state.settings.active == Active::Single;
        if consumer.is_exclusive() && is_single
            || others.iter().any(|other| other.is_exclusive())
            || consumer.is_exclusive() && !others.is_empty()
        {
            return Err(Refusal::ExclusiveUse(resource()));
        }
        state.add(Arc::clone(&consumer));
        state.dispatch(queue, batch);
        Ok(consumer)
    }

    /// Ends a consumer. What it has stays unacknowledged; a queue that deletes itself goes with its last consumer.
    pub fn cancel(&self, batch: &mut Batch<'_>, consumer: &Arc<Consumer>, then: Then) {
        if consumer.queue.cancel(batch, consumer, then) == AfterCancel::Delete {
            let deletion = Deletion { if_unused: true, if_empty: false };
            // A new consumer may have come meanwhile; then it stays.
            _ = self.delete_queue(batch, &consumer.queue, deletion);
        }
    }
}
