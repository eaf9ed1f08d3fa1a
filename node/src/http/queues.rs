//! /api/queues

use std::sync::Arc;

use serde_json::{Value, json};

use super::answer::{Answer, Error, Outcome};
use super::broker::{self, NOBODY, batch};
use super::json::{node_name, of_table, to_table};
use super::request::Request;
use super::{connections, history, listing, policies};
use crate::broker::{Deletion, Queue, QueueDeclaration};
use crate::permission::Right;
use crate::vhost_rules;

/// GET /api/queues
pub(super) fn list(request: &Request) -> Outcome {
    let policies = policies::Effective::new(request);
    let queues = request.node().engine.broker.queues();
    let seen = queues.iter().filter(|queue| request.sees(&queue.vhost));
    listing::list(request, seen.map(|queue| described(request, queue, &policies)).collect())
}

/// GET /api/queues/:vhost
pub(super) fn list_in(request: &Request) -> Outcome {
    let vhost = request.vhost(0)?;
    let policies = policies::Effective::new(request);
    let queues = request.node().engine.broker.queues();
    let wanted = queues.iter().filter(|queue| queue.vhost == vhost);
    listing::list(request, wanted.map(|queue| described(request, queue, &policies)).collect())
}

fn find(request: &Request) -> Result<Arc<Queue>, Error> {
    let (vhost, name) = (request.vhost(0)?, request.name(1)?);
    broker::queue(request, &vhost, &name)
}

/// GET /api/queues/:vhost/:name
pub(super) fn show(request: &Request) -> Outcome {
    let queue = find(request)?;
    let mut item = described(request, &queue, &policies::Effective::new(request));
    let consumers = queue.consumers();
    item["consumer_details"] = consumers
        .iter()
        .enumerate()
        .map(|(index, consumer)| connections::consumer(request, consumer, index == 0 || !is_single_active(&queue)))
        .collect();
    item["incoming"] = json!([]);
    item["deliveries"] = json!([]);
    listing::one(request, item)
}

fn is_single_active(queue: &Queue) -> bool {
    queue.declaration.arguments.get("x-single-active-consumer").and_then(|value| value.as_bool()) == Some(true)
}

fn queue_type(queue: &Queue) -> &str {
    queue.declaration.arguments.get("x-queue-type").and_then(|value| value.as_str()).unwrap_or("classic")
}

fn described(request: &Request, queue: &Queue, policies: &policies::Effective) -> Value {
    let counts = queue.counts();
    let node = node_name(request.node());
    let sampled = request.http.history.queue(queue.number);
    let rate = |value: fn(&history::QueueRates) -> f64| json!({ "rate": sampled.as_ref().map_or(0.0, value) });
    let policy = policies.of_queue(&queue.vhost, &queue.name);
    let operator = policies.operator_of_queue(&queue.vhost, &queue.name);
    let declaration = &queue.declaration;
    let messages = counts.ready + counts.unacknowledged;
    let tag = |value: bool| {
        let first = value.then(|| queue.consumers().first().map(|consumer| consumer.tag.to_string())).flatten();
        first.map_or(Value::Null, Value::String)
    };
    let is_exclusive_consumer = queue.consumers().first().is_some_and(|consumer| consumer.is_exclusive());
    let mut item = json!({
        "name": queue.name.as_str(),
        "vhost": queue.vhost.as_str(),
        "type": queue_type(queue),
        "durable": declaration.durable,
        "auto_delete": declaration.auto_delete,
        "exclusive": declaration.owner.is_some(),
        "internal": queue.is_internal(),
        "arguments": of_table(&declaration.arguments),
        "node": node,
        "leader": node,
        "state": "running",
        "policy": policy.as_ref().map(|policy| policy.name.clone()),
        "operator_policy": operator.as_ref().map(|policy| policy.name.clone()),
        "effective_policy_definition": policies::merged(policy, operator),
        "consumers": counts.consumers,
        "consumer_utilisation": 0,
        "consumer_capacity": 0,
        "exclusive_consumer_tag": tag(is_exclusive_consumer),
        "single_active_consumer_tag": tag(is_single_active(queue)),
        "messages": messages,
        "messages_details": rate(|rates| rates.ready + rates.unacknowledged),
        "messages_ready": counts.ready,
        "messages_ready_details": rate(|rates| rates.ready),
        "messages_unacknowledged": counts.unacknowledged,
        "messages_unacknowledged_details": rate(|rates| rates.unacknowledged),
        "messages_ram": messages - counts.paged,
        "messages_paged_out": counts.paged,
        "message_bytes": counts.bytes,
        "message_bytes_ram": counts.bytes.saturating_sub(counts.paged_bytes),
        "message_bytes_paged_out": counts.paged_bytes,
        "memory": counts.bytes.saturating_sub(counts.paged_bytes),
    });
    let statistics = queue.statistics();
    item["message_stats"] = history::message_stats(&statistics, sampled.as_ref());
    item["sequence"] = json!({ "gaps": statistics.sequence_gaps, "repeats": statistics.sequence_repeats });
    if let Some(owner) = declaration.owner {
        item["owner_pid_details"] = connections::owner(request, owner);
    }
    item
}

/// PUT /api/queues/:vhost/:name {durable, auto_delete, arguments}
pub(super) fn declare(request: &Request) -> Outcome {
    let (vhost, name) = (request.vhost(0)?, request.name(1)?);
    request.may(Right::Configure, &vhost, &name)?;
    let fields = request.object()?;
    let mut declaration = QueueDeclaration {
        durable: fields.flag("durable")?,
        auto_delete: fields.flag("auto_delete")?,
        owner: None,
        arguments: to_table(&fields.object("arguments")?)?,
    };
    vhost_rules::complete(&request.directory, &vhost, &name, &mut declaration);
    let is_new = broker::queue(request, &vhost, &name).is_err();
    let (_, offset) =
        batch(request, |broker, batch| broker.declare_queue(batch, NOBODY, broker::name(&vhost, &name), declaration))?;
    Ok(Answer::created_or_done(is_new).after(offset))
}

/// DELETE /api/queues/:vhost/:name?if-empty=true&if-unused=true
pub(super) fn delete(request: &Request) -> Outcome {
    let queue = find(request)?;
    request.may(Right::Configure, &queue.vhost, &queue.name)?;
    let deletion = Deletion { if_unused: request.flag("if-unused"), if_empty: request.flag("if-empty") };
    let (_, offset) = batch(request, |broker, batch| {
        if queue.is_internal() {
            // It goes with its exchange.
            broker.queue(NOBODY, broker::name(&queue.vhost, &queue.name))?;
        }
        broker.delete_queue(batch, &queue, deletion)
    })?;
    Ok(Answer::done().after(offset))
}

/// DELETE /api/queues/:vhost/:name/contents
pub(super) fn purge(request: &Request) -> Outcome {
    let queue = find(request)?;
    request.may(Right::Read, &queue.vhost, &queue.name)?;
    if queue.is_stream() {
        return Err(Error::bad("queue.purge not supported by stream queues"));
    }
    let (_, offset) = batch(request, |_, batch| Ok(queue.purge(batch)))?;
    Ok(Answer::done().after(offset))
}

/// POST /api/queues/:vhost/:name/actions {action: sync | cancel_sync}: every copy follows by itself.
pub(super) fn action(request: &Request) -> Outcome {
    find(request)?;
    match request.object()?.text("action")?.as_deref() {
        Some("sync" | "cancel_sync") => Ok(Answer::done()),
        other => Err(Error::bad(format!("unknown action '{}'", other.unwrap_or_default()))),
    }
}
