//! Class tx: publishes and acknowledgements that take effect at commit.

use super::Channel;
use super::publish::Whole;
use crate::amqp::context::Context;
use crate::amqp::delivery::Unsettled;
use crate::amqp::error::Error;
use crate::broker::Settlement;

/// What waits for commit, in order within each kind.
#[derive(Debug, Default)]
pub(super) struct Tx {
    waiting: Option<Waiting>,
}

#[derive(Debug, Default)]
struct Waiting {
    messages: Vec<Whole>,
    settled: Vec<(Settlement, Vec<Unsettled>)>,
}

impl Tx {
    pub(super) fn is_selected(&self) -> bool {
        self.waiting.is_some()
    }

    pub(super) fn publish(&mut self, whole: Whole) {
        if let Some(waiting) = &mut self.waiting {
            waiting.messages.push(whole);
        }
    }
}

impl Channel {
    pub(super) fn select_tx(&mut self) -> Result<(), Error> {
        if self.confirms.is_selected() {
            return Err(Error::Mode { from: "confirm", to: "tx" });
        }
        self.tx.waiting.get_or_insert_default();
        Ok(())
    }

    pub(super) fn ack_in_tx(&mut self, tag: u64, multiple: bool, settlement: Settlement) -> Result<(), Error> {
        self.take(tag, multiple)?;
        let settled = std::mem::take(&mut self.settling);
        if let Some(waiting) = &mut self.tx.waiting {
            waiting.settled.push((settlement, settled));
        }
        Ok(())
    }

    /// Messages first, then acknowledgements: a failure between them repeats a delivery and loses nothing. commit-ok
    /// waits for the records of all of them.
    pub(super) fn commit(&mut self, context: &mut Context<'_>) -> Result<(), Error> {
        let Some(waiting) = &mut self.tx.waiting else { return Err(Error::NotTransactional) };
        let Waiting { messages, settled } = std::mem::take(waiting);
        for message in messages {
            let sent = self.send(context, message)?;
            context.batch.depends_on(sent.offset);
        }
        for (settlement, settled) in settled {
            self.settle(context, settled, settlement);
        }
        context.batch.depends_on_end();
        Ok(())
    }

    /// Messages are dropped; deliveries that were acknowledged are unsettled again, and are not delivered anew.
    pub(super) fn rollback(&mut self) -> Result<(), Error> {
        let Some(waiting) = &mut self.tx.waiting else { return Err(Error::NotTransactional) };
        let Waiting { settled, .. } = std::mem::take(waiting);
        for (_, settled) in settled {
            self.window.restore(settled);
        }
        Ok(())
    }
}
