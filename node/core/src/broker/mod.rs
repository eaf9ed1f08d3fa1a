//! The broker's synchronous core: exchanges, queues, bindings, consumers. No socket, no task, no clock.
//!
//! ```text
//! declare, bind     -> topology (one partition) --.
//! publish -> route -> queue (a partition each) ---+--> effects of what is durable -> journal
//! consume, settle  -> queue ----------------------'
//!                      '--> deliveries -> link of the consumer's connection
//! ```
//!
//! Locks: the broker's door (`batch`), the topology, queues by ascending number, and the journal with all of them held.
//! What is transient is in this memory only; it goes when the first record of another master arrives.

mod arguments;
mod batch;
mod change;
mod consume;
mod dead_letter;
mod declare;
pub mod effect;
mod exchange;
mod exchange_kind;
mod image;
mod image_steps;
mod limits;
mod link;
mod listing;
mod message;
mod own_queue;
mod paging;
mod policy;
mod publish;
mod queue;
mod recall;
mod refusal;
pub mod rows;
mod settings;
pub mod shelf;
mod statistics;
mod sweep;
mod topology;

#[cfg(test)]
pub mod testing;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

pub use arguments::type_name;
pub use batch::Batch;
pub use declare::{BindTo, Deletion, Name, REPLY_QUEUE};
pub use exchange::{Declaration as ExchangeDeclaration, Kind as ExchangeKind};
pub use image_steps::QueueImage;
pub use link::{Acknowledge, ConnectionId, Consume, Consumer, Credit, Event, Link, Share, Start};
pub use listing::{BoundKind, ListedBinding, ListedExchange};
pub use message::{Content, Delivered, Draft, Extra, Message, Persistence, note_headers};
pub use paging::{Leaving, WantedRun};
pub use policy::{Applied, AppliesTo, Policy, PolicyOf};
pub use publish::{Placed, Route, Unroutable, Verdict};
pub use queue::{AfterCancel, Counts, Declaration as QueueDeclaration, Loan, Queue, Settled, Settlement, Taken, Then};
pub use refusal::{Refusal, Resource, ResourceKind};
pub use settings::interval;
pub use statistics::Statistics;
pub use topology::DEFAULT_VHOST;

use crate::budget::Budget;
use crate::ids::{Offset, Partition, PartitionKind, UnixMillis};
use crate::journal::Journal;
use crate::lock::{Mutex, Rank, RwLock};
use dead_letter::Dead;
use effect::BrokerEffect;
use policy::Policies;
use shelf::Shelf;
use topology::Topology;

/// What a record or an image asks for that the broker's state does not have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("no queue of number {0}")]
    NoQueue(u32),
    #[error("unknown exchange type {0:?}")]
    ExchangeKind(String),
    #[error("arguments that are no field table")]
    Arguments,
    #[error("a name that is longer than 255 bytes")]
    Name,
    #[error("an effect on a partition of another kind")]
    Misplaced,
    #[error("the row of message {expected} holds message {found}")]
    OtherMessage { expected: u64, found: u64 },
    #[error("messages cannot leave the memory: {0}")]
    Shelf(String),
    #[error("image cannot be read: {0}")]
    Image(#[from] crate::wire::Error),
}

/// Topology and queues of a node.
#[derive(Debug)]
pub struct Broker {
    /// Held shared by each batch, and alone by operations that make one record together.
    door: RwLock<()>,
    topology: RwLock<Topology>,
    /// Counts changes of the topology: a route that was found under another number may be wrong.
    version: AtomicU64,
    /// Clients have been served since the last record of another master.
    is_live: AtomicBool,
    /// Time alone may change a queue.
    is_timed: AtomicBool,
    budget: Arc<Budget>,
    shelf: Arc<Shelf>,
    /// Dead letters whose batch had no time left for them.
    graveyard: Mutex<VecDeque<Dead>>,
    burial: event_listener::Event,
    totals: statistics::Totals,
    policies: RwLock<Arc<Policies>>,
    /// How many queues a virtual host may have, where that is limited.
    queue_limits: RwLock<HashMap<String, usize>>,
}

impl Default for Broker {
    fn default() -> Self {
        Self::new(Arc::default())
    }
}

impl Broker {
    /// Without queues; what will be in them counts in this budget.
    #[must_use]
    pub fn new(budget: Arc<Budget>) -> Self {
        let shelf = Arc::<Shelf>::default();
        Self {
            door: RwLock::new(Rank::Broker, ()),
            topology: RwLock::new(Rank::Topology, Topology::new(Arc::clone(&budget), Arc::clone(&shelf))),
            version: AtomicU64::default(),
            is_live: AtomicBool::default(),
            is_timed: AtomicBool::default(),
            budget,
            shelf,
            graveyard: Mutex::new(Rank::Leaf, VecDeque::new()),
            burial: event_listener::Event::new(),
            totals: statistics::Totals::default(),
            policies: RwLock::new(Rank::Leaf, Arc::default()),
            queue_limits: RwLock::new(Rank::Leaf, HashMap::new()),
        }
    }

    /// What this node has done for clients so far.
    #[must_use]
    pub fn statistics(&self) -> Statistics {
        self.totals.read()
    }

    /// Begins a batch of operations for clients.
    pub fn begin<'e>(&'e self, journal: &'e Journal, record: &'e mut Vec<u8>, now: UnixMillis) -> Batch<'e> {
        self.goes_live();
        Batch::new(self, journal, record, now)
    }

    /// Begins operations that make one record, with those of a transaction on keys.
    pub(crate) fn begin_together<'e>(&'e self, journal: &'e Journal, now: UnixMillis) -> Batch<'e> {
        self.goes_live();
        Batch::together_from(self, journal, now)
    }

    fn goes_live(&self) {
        if !self.is_live.load(Ordering::Relaxed) {
            self.is_live.store(true, Ordering::SeqCst);
        }
    }

    /// Applies a change to the topology or to one queue, out of a record that another master made.
    ///
    /// # Errors
    /// The state is not the one that the effect was made for.
    pub fn apply(&self, offset: Offset, partition: Partition, effect: &BrokerEffect<'_>) -> Result<(), Error> {
        if self.is_live.load(Ordering::Relaxed) {
            self.forget_transient();
        }
        if matches!(effect, BrokerEffect::EnqueueUntil { .. } | BrokerEffect::EnqueueNoted { .. }) {
            self.is_timed.store(true, Ordering::Relaxed);
        }
        match partition.kind() {
            PartitionKind::Topology => {
                let mut topology = self.topology.write();
                topology.apply(effect)?;
                topology.last_offset = offset;
                self.version.fetch_add(1, Ordering::Release);
                Ok(())
            }
            PartitionKind::Queue(number) => {
                let topology = self.topology.read();
                if let Some(queue) = topology.numbered.get(&number) {
                    let mut state = queue.lock();
                    state.apply_at(offset, effect)?;
                    state.note_memory(queue);
                    return Ok(());
                }
                drop(topology);
                let mut topology = self.topology.write();
                let is_known = number <= topology.last_number();
                match topology.orphans.get_mut(&number) {
                    Some(orphan) => orphan.apply_at(offset, effect),
                    // It has been deleted, which a later record will say.
                    None if is_known => Ok(()),
                    None => Err(Error::NoQueue(number)),
                }
            }
            PartitionKind::Shard(_) | PartitionKind::Accounts => Err(Error::Misplaced),
        }
    }

    /// Forgets everything: a full sync begins.
    pub fn reset(&self) {
        let mut topology = self.topology.write();
        for queue in topology.queues() {
            queue.lock().end();
        }
        *topology = Topology::new(Arc::clone(&self.budget), Arc::clone(&self.shelf));
        self.graveyard.lock().clear();
        self.version.fetch_add(1, Ordering::Release);
        self.is_live.store(false, Ordering::SeqCst);
    }

    /// Drops what only this node knew: transient queues, exchanges and messages, and who had which message. Called by
    /// itself when the first record of another master arrives after clients were served.
    pub fn forget_transient(&self) {
        let mut topology = self.topology.write();
        self.is_live.store(false, Ordering::SeqCst);
        self.graveyard.lock().clear();
        for queue in topology.forget_transient() {
            queue.lock().end();
        }
        for queue in topology.numbered.values() {
            queue.lock().forget_transient();
        }
        self.version.fetch_add(1, Ordering::Release);
    }

    /// Time alone may change a queue from now on.
    fn expect_time(&self) {
        self.is_timed.store(true, Ordering::Relaxed);
    }

    /// The account that queues count in.
    #[must_use]
    pub fn budget(&self) -> &Arc<Budget> {
        &self.budget
    }

    /// Where messages of long queues lie that are not in memory.
    #[must_use]
    pub fn shelf(&self) -> &Arc<Shelf> {
        &self.shelf
    }

    /// All queues, by number: for management and tests.
    #[must_use]
    pub fn queues(&self) -> Vec<Arc<Queue>> {
        self.topology.read().queues()
    }
}
