//! Messages that were lent to a client without a connection of its own: for a time, after which they are ready again.
//!
//! A lease is known to this node only. After a failover the message is ready, and whoever had it may still settle it as
//! long as nobody else has got it.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::messages::Taken;
use super::{Queue, Reason, Settlement, State};
use crate::broker::batch::Batch;
use crate::broker::link::Acknowledge;
use crate::broker::message::Delivered;

#[derive(Debug, Default)]
pub(crate) struct Leases {
    by_id: BTreeMap<u64, Lease>,
}

#[derive(Debug, Clone, Copy)]
struct Lease {
    token: u32,
    /// Milliseconds since the Unix epoch.
    until: u64,
}

impl Leases {
    fn due(&self, now: u64) -> Vec<u64> {
        self.by_id.iter().filter(|(_, lease)| lease.until <= now).map(|(id, _)| *id).collect()
    }

    pub(crate) fn clear(&mut self) {
        self.by_id.clear();
    }
}

/// A message that was lent: its number in the queue, and what only the borrower knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Loan {
    pub id: u64,
    pub token: u32,
}

impl Queue {
    /// Takes the next message for a client that settles it within so many milliseconds.
    pub fn lend(self: &Arc<Self>, batch: &mut Batch<'_>, milliseconds: u64) -> Option<(Taken, Loan)> {
        let (taken, _) = self.get(batch, Acknowledge::Manually)?;
        let loan = Loan { id: taken.id, token: rand::random() };
        let until = batch.now().0.saturating_add(milliseconds.max(1));
        self.lock().leases.by_id.insert(loan.id, Lease { token: loan.token, until });
        batch.broker().expect_time();
        Some((taken, loan))
    }

    /// Settles a message that was lent. False: its time is over and somebody else has it, or it is gone.
    pub fn settle_loan(self: &Arc<Self>, batch: &mut Batch<'_>, loan: Loan, settlement: Settlement) -> bool {
        let mut state = self.lock();
        match state.leases.by_id.get(&loan.id) {
            Some(lease) if lease.token == loan.token => _ = state.leases.by_id.remove(&loan.id),
            Some(_) => return false,
            // What is to be buried has to be read first: it stays, and its borrower may try again.
            None if settlement == Settlement::Reject && state.buries() && state.messages.is_out(loan.id) => {
                return false;
            }
            // It has come back, here or with a failover, and is still its borrower's to settle.
            None if state.messages.is_ready(loan.id) => {}
            None => return false,
        }
        let mut removed = Vec::new();
        match settlement {
            Settlement::Remove => removed.push(loan.id),
            Settlement::Reject => state.drop_message(self, batch, loan.id, Reason::Rejected, &mut removed),
            Settlement::Requeue => state.requeue(self, batch, loan.id, &mut removed),
            Settlement::Untouched => _ = state.messages.give_back(loan.id, Delivered::Never),
        }
        state.remove(self, batch, removed);
        state.is_stalled = false;
        state.settle_down(self, batch);
        true
    }
}

impl State {
    /// Loans whose time is over are ready again.
    pub(crate) fn call_in(&mut self, queue: &Arc<Queue>, batch: &mut Batch<'_>) {
        let due = self.leases.due(batch.now().0);
        if due.is_empty() {
            return;
        }
        let mut removed = Vec::new();
        for id in due {
            self.leases.by_id.remove(&id);
            self.requeue(queue, batch, id, &mut removed);
        }
        self.remove(queue, batch, removed);
        self.is_stalled = false;
        self.settle_down(queue, batch);
    }
}
