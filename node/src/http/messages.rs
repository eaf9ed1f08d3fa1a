//! Messages through the API: publish, get, and the aliveness test.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tercet_proto::amqp::{Properties, ShortString};

use super::answer::{Answer, Error, Outcome};
use super::broker::{self, NOBODY, batch};
use super::json::{of_properties, to_properties};
use super::limits;
use super::request::{Request, short};
use crate::broker::{
    Acknowledge, Batch, Broker, Delivered, Draft, ExchangeKind, Queue, QueueDeclaration, Refusal, Settled, Settlement,
    Taken, Then, Verdict,
};
use crate::ids::Offset;
use crate::permission::Right;

/// POST /api/exchanges/:vhost/:name/publish {properties, routing_key, payload, payload_encoding}
pub(super) fn publish(request: &Request) -> Outcome {
    let exchange = super::exchanges::find(request)?;
    let (vhost, name) = (&exchange.vhost, &exchange.name);
    request.may(Right::Write, vhost, if name.is_empty() { "amq.default" } else { name })?;
    let fields = request.object()?;
    fields.require(&["routing_key", "payload", "payload_encoding"])?;
    let payload = fields.text("payload")?.unwrap_or_default();
    let encoding = fields.text("payload_encoding")?.unwrap_or_default();
    let body = match encoding.as_str() {
        "string" => payload.into_bytes(),
        "base64" => STANDARD.decode(payload).map_err(|error| Error::bad(format!("payload is no base64: {error}")))?,
        other => return Err(Error::bad(format!("{{unsupported_encoding,{other}}}"))),
    };
    let key = short(&fields.text("routing_key")?.unwrap_or_default())?;
    if exchange.declaration.kind == ExchangeKind::Topic {
        request.may_topic(Right::Write, vhost, name, &key)?;
    }
    let properties = to_properties(&fields.object("properties")?)?;
    if let Some(expiration) = properties.expiration()
        && std::str::from_utf8(expiration).ok().and_then(|text| text.parse::<u32>().ok()).is_none()
    {
        return Err(Error::bad(format!("invalid expiration '{}'", String::from_utf8_lossy(expiration))));
    }
    if let Some(user) = properties.user_id()
        && user != request.user.name.as_bytes()
    {
        return Err(Error::bad(format!(
            "user_id property set to '{}' but authenticated user was '{}'",
            String::from_utf8_lossy(user),
            request.user.name
        )));
    }
    let (routed, offset) = batch(request, |broker, batch| put(broker, batch, vhost, name, &key, &properties, &body))?;
    Ok(Answer::json(json!({ "routed": routed })).after(offset))
}

/// Puts a message into the queues that want it. Says whether there was one.
fn put(
    broker: &Broker,
    batch: &mut Batch<'_>,
    vhost: &ShortString,
    exchange: &ShortString,
    key: &ShortString,
    properties: &Properties,
    body: &[u8],
) -> Result<bool, Refusal> {
    let route = broker.route(vhost, exchange, key, properties)?;
    batch.count().published += 1;
    let mut draft = Draft::new(exchange.as_bytes(), key.as_bytes(), properties, body.len());
    draft.push(body);
    Ok(match broker.enqueue(batch, &route, draft) {
        Ok(placed) => {
            batch.depends_on(placed.offset);
            placed.verdict == Verdict::Taken
        }
        Err(unroutable) => {
            batch.count().dropped += 1;
            batch.depends_on(unroutable.offset);
            false
        }
    })
}

/// How many messages, what becomes of them, and how they are written.
struct Wish {
    count: u64,
    acknowledge: Acknowledge,
    /// Of what is not acknowledged by itself.
    settlement: Settlement,
    is_base64: bool,
    truncate: Option<usize>,
}

impl Wish {
    fn of(request: &Request) -> Result<Self, Error> {
        let fields = request.object()?;
        // Before 3.7 there was `requeue` only.
        let old = fields.get("requeue").is_some();
        fields.require(if old { &["count", "encoding"] } else { &["count", "ackmode", "encoding"] })?;
        let mode = match fields.text("ackmode")? {
            Some(mode) => mode,
            None if fields.flag("requeue")? => "ack_requeue_true".to_owned(),
            None => "ack_requeue_false".to_owned(),
        };
        let (acknowledge, settlement) = match mode.as_str() {
            "ack_requeue_false" => (Acknowledge::Automatically, Settlement::Remove),
            "ack_requeue_true" | "reject_requeue_true" => (Acknowledge::Manually, Settlement::Requeue),
            "reject_requeue_false" => (Acknowledge::Manually, Settlement::Reject),
            other => return Err(Error::bad(format!("unknown ackmode '{other}'"))),
        };
        let is_base64 = match fields.text("encoding")?.as_deref() {
            Some("base64") => true,
            Some("auto") => false,
            other => return Err(Error::bad(format!("{{unsupported_encoding,{}}}", other.unwrap_or_default()))),
        };
        let positive = |number: i64| u64::try_from(number).map_err(|_| Error::bad("a count is not negative"));
        let count = fields.number("count")?.map(positive).transpose()?.unwrap_or(1).min(limits::GET_MESSAGES);
        let truncate = fields.number("truncate")?.map(positive).transpose()?.map(|bytes| bytes as usize);
        Ok(Self { count, acknowledge, settlement, is_base64, truncate })
    }
}

/// POST /api/queues/:vhost/:name/get {count, ackmode, encoding, truncate}
pub(super) fn get(request: &Request) -> Outcome {
    let (vhost, name) = (request.vhost(0)?, request.name(1)?);
    let wish = Wish::of(request)?;
    let queue = broker::queue(request, &vhost, &name)?;
    request.may(Right::Read, &vhost, &name)?;
    if queue.is_stream() {
        return Err(Error::bad("basic.get not supported by stream queues"));
    }
    let (messages, offset) = batch(request, |broker, batch| {
        // Whether it is another connection's.
        broker.queue(NOBODY, broker::name(&vhost, &name))?;
        Ok(take(batch, &queue, &wish))
    })?;
    if messages.is_empty() && queue.awaits_run() {
        return Ok(Answer::failed(json!({ "error": "the next message is being read from the disk" })));
    }
    Ok(Answer::json(Value::Array(messages)).after(offset))
}

fn take(batch: &mut Batch<'_>, queue: &std::sync::Arc<Queue>, wish: &Wish) -> Vec<Value> {
    let (mut messages, mut settled, mut bytes) = (Vec::new(), Vec::new(), 0);
    while (messages.len() as u64) < wish.count && bytes < limits::GET_BYTES {
        let Some((taken, left)) = queue.get(batch, wish.acknowledge) else { break };
        bytes += taken.message.len();
        messages.push(described(&taken, left, wish));
        if wish.acknowledge == Acknowledge::Manually {
            settled.push(Settled { id: taken.id, consumer: None });
        }
    }
    if !settled.is_empty() {
        queue.settle(batch, &settled, wish.settlement, Then::Serve);
    }
    if messages.is_empty() {
        batch.depends_on(queue.counts().last_offset);
    }
    messages
}

fn described(taken: &Taken, left: usize, wish: &Wish) -> Value {
    let content = taken.message.content();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let shown = content.body.get(..wish.truncate.unwrap_or(usize::MAX).min(content.body.len())).unwrap_or_default();
    let (payload, encoding) = match std::str::from_utf8(shown) {
        Ok(text) if !wish.is_base64 => (text.to_owned(), "string"),
        _ => (STANDARD.encode(shown), "base64"),
    };
    json!({
        "payload_bytes": content.body.len(),
        "redelivered": taken.delivered == Delivered::Maybe,
        "exchange": text(content.exchange),
        "routing_key": text(content.routing_key),
        "message_count": left,
        "properties": of_properties(content.properties),
        "payload": payload,
        "payload_encoding": encoding,
    })
}

/// GET /api/aliveness-test/:vhost: declares a queue, puts a message in and takes it out.
pub(super) fn aliveness(request: &Request) -> Outcome {
    let vhost = request.vhost(0)?;
    let name = ShortString::from_static("aliveness-test");
    for right in [Right::Configure, Right::Write, Right::Read] {
        request.may(right, &vhost, &name)?;
    }
    let (came_back, offset) = batch(request, |broker, batch| {
        let declaration = QueueDeclaration {
            durable: false,
            auto_delete: false,
            owner: None,
            arguments: tercet_proto::amqp::FieldTable::new(),
        };
        let queue = match broker.queue(NOBODY, broker::name(&vhost, &name)) {
            Ok(queue) => queue,
            Err(_) => broker.declare_queue(batch, NOBODY, broker::name(&vhost, &name), declaration)?,
        };
        let properties = tercet_proto::amqp::BasicProperties::default().encode();
        put(broker, batch, &vhost, &ShortString::default(), &name, &properties, b"test_message")?;
        Ok(queue.get(batch, Acknowledge::Automatically).is_some())
    })?;
    // The journal's end: what comes back shows that it takes records and that they are committed.
    let end: Offset = request.node().engine.journal.end();
    if came_back {
        Ok(Answer::json(json!({ "status": "ok" })).after(offset.max(end)))
    } else {
        Ok(Answer::failed(json!({ "status": "failed", "reason": "the message has not come back" })))
    }
}
