//! What time alone changes: messages whose time has come, and queues that nobody uses.

use std::sync::atomic::Ordering;

use super::Broker;
use super::batch::Batch;
use super::declare::Deletion;
use super::queue::AfterExpiry;

impl Broker {
    /// Whether time alone may change anything: false as long as no queue and no message has ever had a limit in time.
    #[must_use]
    pub fn is_timed(&self) -> bool {
        self.is_timed.load(Ordering::Relaxed) || self.topology.read().is_timed
    }

    /// Drops what has expired. To be called several times a second on a master.
    pub fn sweep(&self, batch: &mut Batch<'_>) {
        for queue in self.queues() {
            if queue.expire(batch) == AfterExpiry::Delete {
                let deletion = Deletion { if_unused: true, if_empty: false };
                // A consumer may have come meanwhile; then it stays.
                _ = self.delete_queue(batch, &queue, deletion);
            }
        }
    }
}
