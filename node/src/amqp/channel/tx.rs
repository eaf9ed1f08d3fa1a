//! Class tx: publishes and acknowledgements that take effect at commit. A channel is in this mode or in that of class
//! confirm, never in both.

use std::collections::HashMap;

use super::Channel;
use super::content::Whole;
use super::unfinished::Waiting;
use crate::amqp::context::Context;
use crate::amqp::error::Error;
use crate::broker::{Route, Settlement};
use crate::limits;

impl Channel {
    pub(super) fn select_confirms(&mut self) -> Result<(), Error> {
        if self.tx.is_selected() {
            return Err(Error::Mode { from: "tx", to: "confirm" });
        }
        self.confirms.select();
        Ok(())
    }

    pub(super) fn select_tx(&mut self) -> Result<(), Error> {
        if self.confirms.is_selected() {
            return Err(Error::Mode { from: "confirm", to: "tx" });
        }
        self.tx.waiting.get_or_insert_default();
        Ok(())
    }

    /// An exchange that is not there is told at once.
    pub(super) fn publish_in_tx(&mut self, context: &mut Context<'_>, whole: Whole) -> Result<(), Error> {
        let route = whole.route(context)?;
        if let Some(waiting) = &mut self.tx.waiting {
            context.about.unfinished += whole.held();
            waiting.messages.push((route, whole));
        }
        context.check_unfinished()
    }

    pub(super) fn ack_in_tx(&mut self, tag: u64, multiple: bool, settlement: Settlement) -> Result<(), Error> {
        self.take(tag, multiple)?;
        let settled = std::mem::take(&mut self.settling);
        if let Some(waiting) = &mut self.tx.waiting {
            waiting.settled.push((settlement, settled));
        }
        Ok(())
    }

    /// All of it takes effect in one record, for which commit-ok waits; or, if a queue is too full, nothing of it.
    pub(super) fn commit(&mut self, context: &mut Context<'_>) -> Result<(), Error> {
        let Some(waiting) = &mut self.tx.waiting else { return Err(Error::NotTransactional) };
        let Waiting { messages, settled } = std::mem::take(waiting);
        finished(context, &messages);
        context.batch.begin_together();
        if is_refused(&messages) {
            context.batch.end_together();
            for (_, settled) in settled {
                self.window.restore(settled);
            }
            return Err(Error::PartialTx);
        }
        for (route, message) in messages {
            let sent = self.send_to(context, &route, message);
            context.batch.depends_on(sent.offset);
        }
        for (settlement, settled) in settled {
            self.settle(context, settled, settlement);
        }
        context.batch.end_together();
        Ok(())
    }

    /// Messages are dropped; deliveries that were acknowledged are unsettled again, and are not delivered anew.
    pub(super) fn rollback(&mut self, context: &mut Context<'_>) -> Result<(), Error> {
        let Some(waiting) = &mut self.tx.waiting else { return Err(Error::NotTransactional) };
        let Waiting { messages, settled } = std::mem::take(waiting);
        finished(context, &messages);
        for (_, settled) in settled {
            self.window.restore(settled);
        }
        Ok(())
    }
}

/// Messages that waited for the end of the transaction do so no longer.
fn finished(context: &mut Context<'_>, messages: &[(Route, Whole)]) {
    let held: usize = messages.iter().map(|(_, message)| message.held()).sum();
    context.about.unfinished -= held;
}

/// Whether a queue is too full for its part of the messages, or all of them are more than one record takes.
fn is_refused(messages: &[(Route, Whole)]) -> bool {
    let of_record = messages.iter().map(|(route, message)| route.queues().len().saturating_mul(message.body_len()));
    if of_record.fold(0, usize::saturating_add) > limits::TRANSACTION_BYTES {
        return true;
    }
    let mut placed: HashMap<u32, (usize, usize)> = HashMap::new();
    for (route, message) in messages {
        for queue in route.queues() {
            let (count, bytes) = placed.entry(queue.number).or_default();
            if queue.refuses_after(*count, *bytes, message.body_len()) {
                return true;
            }
            *count += 1;
            *bytes += message.body_len();
        }
    }
    false
}
