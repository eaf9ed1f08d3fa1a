//! Dead letters: messages that were rejected, have expired or had no room go to the exchange that their queue names.
//!
//! The copies and the removal are one record, so a failover neither repeats a dead letter nor loses one. Until then the
//! message stays in its queue, where nobody gets it.

use std::collections::VecDeque;
use std::sync::Arc;

use event_listener::EventListener;
use tercet_proto::amqp::{BasicProperties, FieldTable, FieldValue, FieldView, Properties, ShortBytes, ShortString};

use super::Broker;
use super::batch::Batch;
use super::message::{Content, Draft, Extra, Message};
use super::own_queue::{self, Owner};
use super::publish::Route;
use super::queue::Queue;

/// Why nobody consumed a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reason {
    Rejected,
    Expired,
    MaxLength,
    DeliveryLimit,
}

impl Reason {
    fn name(self) -> &'static str {
        match self {
            Self::Rejected => "rejected",
            Self::Expired => "expired",
            Self::MaxLength => "maxlen",
            Self::DeliveryLimit => "delivery_limit",
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
    /// Puts a dead letter where it goes, and takes it out of its queue: in one record. Called without any lock.
    pub(super) fn bury(&self, batch: &mut Batch<'_>, dead: Dead) {
        let Dead { queue, id, message, reason } = dead;
        if let Some(owner) = &queue.owner {
            let way = self.after_delay(owner, &queue, &message);
            self.enqueue_dead(batch, way, &queue, id);
            return;
        }
        let settings = Arc::clone(&queue.lock().settings);
        let way = settings.dead_letter.as_ref().and_then(|target| {
            let content = message.content();
            let properties = Properties::from_raw(content.properties.to_vec().into()).unwrap_or_default();
            let keys = Keys::of(&content, &properties, target.key.as_ref());
            let (properties, history) = with_death(&properties, &queue, &message, reason, &keys, batch.now().0);
            let routes = keys.next.iter();
            // An exchange that is not there takes nothing, as in RabbitMQ.
            let routes: Result<Vec<_>, _> =
                routes.map(|key| self.route_dead(&queue.vhost, &target.exchange, key, &properties)).collect();
            let mut route = Route::join(routes.ok()?)?;
            route.queues.retain(|queue| !is_circle(&history, queue));
            let key = keys.next.first()?;
            let mut draft = Draft::new(target.exchange.as_bytes(), key.as_bytes(), &properties, content.body.len());
            draft.push(content.body);
            Some((route, draft))
        });
        self.enqueue_dead(batch, way, &queue, id);
    }

    /// Where a message goes that was delayed, now that it is due.
    fn after_delay(&self, owner: &Owner, queue: &Queue, message: &Message) -> Option<(Route, Draft)> {
        let content = message.content();
        let properties = Properties::from_raw(content.properties.to_vec().into()).unwrap_or_default();
        let properties = own_queue::has_waited(&properties);
        let keys = Keys::of(&content, &properties, None);
        let routes = keys.next.iter().map(|key| self.route_dead(&queue.vhost, &owner.exchange, key, &properties));
        let route = Route::join(routes.collect::<Result<Vec<_>, _>>().ok()?)?;
        let Content { exchange, routing_key, extras, body, .. } = content;
        let mut draft = Draft::noted(exchange, routing_key, &properties, extras, body.len());
        draft.push(body);
        Some((route, draft))
    }

    /// Takes over dead letters that found no place in their batch.
    pub(super) fn bury_later(&self, dead: VecDeque<Dead>) {
        self.graveyard.lock().extend(dead);
        self.burial.notify(usize::MAX);
    }

    /// Whether dead letters wait for `bury_waiting`.
    #[must_use]
    pub fn has_dead(&self) -> bool {
        !self.graveyard.lock().is_empty()
    }

    /// How many wait.
    #[must_use]
    pub fn dead_letters(&self) -> usize {
        self.graveyard.lock().len()
    }

    /// Resolves when dead letters wait for `bury_waiting`. Made before the look at `has_dead`.
    pub fn burials(&self) -> EventListener {
        self.burial.listen()
    }

    /// Goes on with dead letters that an earlier batch left, within the budget of this one.
    pub fn bury_waiting(&self, batch: &mut Batch<'_>) {
        let waiting = std::mem::take(&mut *self.graveyard.lock());
        batch.take_up(waiting);
    }
}

/// The routing keys of a dead letter: those that it was published with, and those that it goes on with.
struct Keys {
    before: Vec<FieldValue>,
    next: Vec<ShortString>,
    has_own_key: bool,
}

impl Keys {
    /// A queue's own dead letter key stands for all of them; otherwise the message keeps its key and its copies.
    fn of(content: &Content<'_>, properties: &Properties, own: Option<&ShortString>) -> Self {
        let key = ShortString::from_utf8(content.routing_key.to_vec().into()).unwrap_or_default();
        let mut copies = Vec::new();
        if let Some(headers) = properties.headers()
            && let Some(FieldView::Array(array)) = headers.find("CC")
        {
            for copy in array.iter() {
                if let FieldView::LongString(copy) = copy {
                    copies.extend(ShortString::from_utf8(copy.to_vec().into()));
                }
            }
        }
        let hidden = Extra::all(content.extras).filter_map(|extra| match extra {
            Extra::HiddenKey(key) => ShortString::from_utf8(key.to_vec().into()),
            Extra::Unique(_) | Extra::PublishedAt(_) | Extra::Sequence { .. } => None,
        });
        let text = |key: &ShortString| FieldValue::from(key.as_str());
        let before = std::iter::once(&key).chain(&copies).map(text).collect();
        let next = match own {
            Some(own) => vec![own.clone()],
            None => std::iter::once(key).chain(copies).chain(hidden).collect(),
        };
        Self { before, next, has_own_key: own.is_some() }
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
    keys: &Keys,
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
            table.insert(key("routing-keys"), keys.before.clone());
            table
        }
    };
    let count = death.get("count").and_then(FieldValue::as_i64).unwrap_or(0);
    death.insert(key("count"), count + 1);
    if let Some(expiration) = basic.expiration.take() {
        // Or it would expire again where it goes.
        death.insert(key("original-expiration"), text(expiration.as_bytes()));
    }
    if keys.has_own_key {
        headers.remove("CC");
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
    for (name, value) in [
        ("x-last-death-exchange", text(content.exchange)),
        ("x-last-death-queue", FieldValue::from(queue.name.as_str())),
        ("x-last-death-reason", FieldValue::from(reason.name())),
    ] {
        headers.insert(key(name), value);
    }
    basic.headers = Some(headers);
    (basic.encode(), history)
}
