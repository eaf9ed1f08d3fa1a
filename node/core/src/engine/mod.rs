//! The synchronous engine: key space, broker and journal, and the one road on which they change.
//!
//! ```text
//! command --> Transaction --apply(effect)--> partition --.
//!                  '------encode(effect)--> record ------+--> journal
//! replica, recovery: record --> apply_record --> partition
//! ```
//!
//! It knows no socket, no task and no clock: `now` comes in with each call. Locks are taken in ascending order of
//! partitions (shards, topology, queues, accounts) and never held across an await.

mod evict;
mod locked;
mod ready;
mod replay;
pub mod signals;
mod transaction;
mod waiting;

pub use evict::Evicted;
pub use locked::{Locked, View};
pub use replay::Error as ReplayError;
pub use transaction::{Name, Refused, Slot, Transaction};
pub use waiting::{Served, Waiter, Waiting};

use std::sync::Arc;

use crate::accounts::Accounts;
use crate::broker::Broker;
use crate::budget::Budget;
use crate::ids::{Offset, UnixMillis};
use crate::journal::Journal;
use crate::keyspace::Keyspace;
use crate::keyspace::value::ShortBytes;

/// All replicated state of a node.
#[derive(Debug)]
pub struct Engine {
    pub keyspace: Keyspace,
    pub broker: Broker,
    pub accounts: Accounts,
    pub journal: Journal,
    /// What the node holds for clients beside the key space.
    pub budget: Arc<Budget>,
    /// Who wants to know of changes.
    pub signals: signals::Signals,
    pub waiting: Waiting,
}

impl Default for Engine {
    fn default() -> Self {
        let budget = Arc::<Budget>::default();
        let broker = Broker::new(Arc::clone(&budget));
        let (keyspace, accounts, journal) = <(Keyspace, Accounts, Journal)>::default();
        let (signals, waiting) = <(signals::Signals, Waiting)>::default();
        Self { keyspace, broker, accounts, journal, budget, signals, waiting }
    }
}

impl Engine {
    /// Deletes keys of a shard that are due, and fields of hashes, by effect. Says which keys have changed, with their databases, how
    /// many are gone with that, and the record that did it.
    pub fn expire_due(
        &self,
        shard: usize,
        now: UnixMillis,
        most: usize,
        record: &mut Vec<u8>,
    ) -> (Vec<(u8, ShortBytes)>, usize, Offset) {
        // A shard that somebody holds for long is for the next cycle.
        let Some(mut guard) = self.keyspace.try_lock(shard) else { return (Vec::new(), 0, Offset::ZERO) };
        if !guard.has_due(now) {
            return (Vec::new(), 0, Offset::ZERO);
        }
        let due = guard.due(now, most);
        let mut transaction = Transaction::new(self, Locked::One(shard, guard), record, 0, now);
        for (database, key) in &due {
            transaction.select(*database);
            // It is found expired, and deleted, by opening it.
            _ = transaction.open(key);
        }
        let gone = transaction.expired();
        (due, gone, transaction.finish())
    }
}
