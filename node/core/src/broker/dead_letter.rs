//! Dead letters: messages that were rejected, have expired or had no room go to the exchange that their queue names.
//!
//! The copy is written before the removal, so a failover between them repeats a dead letter and loses none.

use std::sync::Arc;

use tercet_proto::amqp::{BasicProperties, FieldTable, FieldValue, Properties, ShortBytes, ShortString};

use super::Broker;
use super::batch::Batch;
use super::message::{Draft, Message};
use super::queue::Queue;

/// Why nobody consumed a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reason {
    Rejected,
    Expired,
    MaxLength,
}

impl Reason {
    fn name(self) -> &'static str {
        match self {
            Self::Rejected => "rejected",
            Self::Expired => "expired",
            Self::MaxLength => "maxlen",
        }
    }
}

/// A message that is out of its queue, and not yet anywhere else.
#[derive(Debug)]
pub(super) struct Dead {
    pub(super) queue: Arc<Queue>,
    /// 0: it never was in the queue.
    pub(super) id: u64,
    pub(super) message: Arc<Message>,
    pub(super) reason: Reason,
}

impl Broker {
    /// Publishes a dead letter, and then writes its removal. Called without any lock.
    pub(super) fn bury(&self, batch: &mut Batch<'_>, dead: Dead) {
        let Dead { queue, id, message, reason } = dead;
        if let Some(target) = &queue.settings.dead_letter {
            let content = message.content();
            let own_key = ShortString::from_utf8(content.routing_key.to_vec().into()).unwrap_or_default();
            let key = target.key.clone().unwrap_or(own_key);
            let properties = Properties::from_raw(content.properties.to_vec().into()).unwrap_or_default();
            let (properties, history) = with_death(&properties, &queue, &message, reason, batch.now().0);
            // An exchange that is not there takes nothing, as in RabbitMQ.
            if let Ok(mut route) = self.route_dead(&queue.vhost, &target.exchange, &key, &properties) {
                route.queues.retain(|queue| !is_circle(&history, queue));
                let mut draft = Draft::new(target.exchange.as_bytes(), key.as_bytes(), &properties, content.body.len());
                draft.push(content.body);
                _ = self.enqueue(batch, &route, draft);
            }
        }
        if id > 0 && queue.keeps(&message) {
            let mut state = queue.lock();
            if !state.is_deleted {
                state.journal_removed(&queue, batch, vec![id]);
            }
        }
    }
}

/// Whether a message has come round without anybody having rejected it: it would come for ever.
fn is_circle(history: &[FieldValue], queue: &Queue) -> bool {
    let text = |death: &FieldValue, name| {
        death.as_table().and_then(|table| table.get(name)).and_then(FieldValue::as_str).map(str::to_owned)
    };
    let name = Some(queue.name.to_string());
    let Some(end) = history.iter().position(|death| text(death, "queue") == name) else { return false };
    history[..=end].iter().all(|death| text(death, "reason").as_deref() != Some(Reason::Rejected.name()))
}

/// The properties with one more death in `x-death`, newest first, and the whole list.
fn with_death(
    properties: &Properties,
    queue: &Queue,
    message: &Message,
    reason: Reason,
    now: u64,
) -> (Properties, Vec<FieldValue>) {
    let key = |name: &str| ShortBytes::try_from(name).expect("our own names are short");
    let content = message.content();
    let text = |bytes: &[u8]| FieldValue::from(String::from_utf8_lossy(bytes).into_owned());
    let mut basic: BasicProperties = properties.to_basic();
    let mut headers: FieldTable = basic.headers.take().unwrap_or_default();
    let mut history: Vec<FieldValue> =
        headers.get("x-death").and_then(FieldValue::as_array).map(<[_]>::to_vec).unwrap_or_default();

    let is_same = |death: &FieldValue| {
        let Some(table) = death.as_table() else { return false };
        let field = |name| table.get(name).and_then(FieldValue::as_str);
        field("queue") == Some(queue.name.as_str()) && field("reason") == Some(reason.name())
    };
    let mut death = match history.iter().position(is_same).map(|at| history.remove(at)) {
        Some(FieldValue::Table(table)) => table,
        _ => {
            let mut table = FieldTable::new();
            table.insert(key("count"), 0i64);
            table.insert(key("reason"), reason.name());
            table.insert(key("queue"), queue.name.as_str());
            table.insert(key("time"), FieldValue::Timestamp(now / 1000));
            table.insert(key("exchange"), text(content.exchange));
            table.insert(key("routing-keys"), vec![text(content.routing_key)]);
            table
        }
    };
    let count = death.get("count").and_then(FieldValue::as_i64).unwrap_or(0);
    death.insert(key("count"), count + 1);
    if let Some(expiration) = basic.expiration.take() {
        // Or it would expire again where it goes.
        death.insert(key("original-expiration"), text(expiration.as_bytes()));
    }
    history.insert(0, FieldValue::Table(death));
    headers.insert(key("x-death"), history.clone());
    for (name, value) in [
        ("x-first-death-exchange", text(content.exchange)),
        ("x-first-death-queue", FieldValue::from(queue.name.as_str())),
        ("x-first-death-reason", FieldValue::from(reason.name())),
    ] {
        if headers.get(name).is_none() {
            headers.insert(key(name), value);
        }
    }
    basic.headers = Some(headers);
    (basic.encode(), history)
}
