//! /api/vhosts

use serde_json::{Value, json};

use super::answer::{Answer, Error, Outcome};
use super::broker::batch;
use super::request::Request;
use super::{history, json, listing};
use crate::accounts::{Change, DEFAULT_VHOST, Permissions, Vhost};
use crate::broker::Deletion;

/// GET /api/vhosts
pub(super) fn list(request: &Request) -> Outcome {
    let seen = request.directory.vhosts.iter().filter(|(name, _)| request.sees(name));
    listing::list(request, seen.map(|(name, vhost)| described(request, name, vhost)).collect())
}

/// GET /api/vhosts/:name
pub(super) fn show(request: &Request) -> Outcome {
    let name = request.vhost(0)?;
    let vhost = request.directory.vhosts.get(name.as_str()).ok_or(Error::NotFound)?;
    listing::one(request, described(request, &name, vhost))
}

fn described(request: &Request, name: &str, vhost: &Vhost) -> Value {
    let node = request.node();
    let (mut ready, mut unacknowledged) = (0, 0);
    for queue in node.engine.broker.queues().iter().filter(|queue| *queue.vhost == *name) {
        let counts = queue.counts();
        ready += counts.ready;
        unacknowledged += counts.unacknowledged;
    }
    let mut item = json!({
        "name": name,
        "description": vhost.description,
        "tags": vhost.tags,
        "default_queue_type": if vhost.default_queue_type.is_empty() { "classic" } else { &vhost.default_queue_type },
        "tracing": vhost.is_tracing,
        "metadata": metadata(vhost),
        "cluster_state": { json::node_name(node): "running" },
        "messages": ready + unacknowledged,
        "messages_ready": ready,
        "messages_unacknowledged": unacknowledged,
    });
    if name == DEFAULT_VHOST && request.directory.vhosts.len() == 1 {
        // The numbers of the whole are its own.
        item["message_stats"] = history::total_stats(&node.engine.broker.statistics(), &request.http.history);
    }
    item
}

pub(super) fn metadata(vhost: &Vhost) -> Value {
    let mut metadata = json!({ "description": vhost.description, "tags": vhost.tags });
    if !vhost.default_queue_type.is_empty() {
        metadata["default_queue_type"] = json!(vhost.default_queue_type);
    }
    metadata
}

/// A list of words, or one text with commas: RabbitMQ takes both.
pub(super) fn words(value: Option<&Value>) -> Vec<String> {
    let trimmed = |text: &str| Some(text.trim().to_owned()).filter(|word| !word.is_empty());
    match value {
        Some(Value::Array(list)) => list.iter().filter_map(Value::as_str).filter_map(trimmed).collect(),
        Some(Value::String(text)) => text.split(',').filter_map(trimmed).collect(),
        _ => Vec::new(),
    }
}

/// PUT /api/vhosts/:name {description, tags, default_queue_type, tracing}. Who makes one may do everything in it.
pub(super) fn put(request: &Request) -> Outcome {
    let name = request.name(0)?.to_string();
    if name.is_empty() {
        return Err(Error::bad("a virtual host has a name"));
    }
    let fields = request.object()?;
    let before = request.directory.vhosts.get(&name);
    let mut vhost = before.cloned().unwrap_or_default();
    if let Some(description) = fields.text("description")? {
        vhost.description = description;
    }
    if fields.get("tags").is_some() {
        vhost.tags = words(fields.get("tags"));
    }
    if let Some(queue_type) = fields.text("default_queue_type")? {
        if !["classic", "quorum", "stream", "undefined"].contains(&queue_type.as_str()) {
            return Err(Error::bad(format!("unknown queue type '{queue_type}'")));
        }
        vhost.default_queue_type = if queue_type == "undefined" { String::new() } else { queue_type };
    }
    if fields.get("tracing").is_some() {
        vhost.is_tracing = fields.flag("tracing")?;
    }
    let is_new = before.is_none();
    let mut changes = vec![Change::SetVhost { name: name.clone(), vhost }];
    if is_new {
        let everything = || ".*".to_owned();
        let permissions = Permissions { configure: everything(), write: everything(), read: everything() };
        changes.push(Change::SetPermissions { user: request.user.name.clone(), vhost: name, permissions });
    }
    let engine = &request.node().engine;
    Ok(Answer::created_or_done(is_new).after(engine.accounts.change(&engine.journal, &changes)))
}

/// DELETE /api/vhosts/:name, with everything in it.
pub(super) fn delete(request: &Request) -> Outcome {
    let name = request.name(0)?;
    if !request.directory.vhosts.contains_key(name.as_str()) {
        return Err(Error::NotFound);
    }
    let engine = &request.node().engine;
    let queues: Vec<_> = engine.broker.queues().into_iter().filter(|queue| queue.vhost == name).collect();
    let exchanges: Vec<_> = engine.broker.exchanges().into_iter().filter(|exchange| exchange.vhost == name).collect();
    let ((), offset) = batch(request, |broker, batch| {
        for queue in &queues {
            broker.delete_queue(batch, queue, Deletion::default())?;
        }
        for exchange in &exchanges {
            // Those that are there from the beginning refuse, and are gone with the name.
            _ = broker.delete_exchange(batch, super::broker::name(&name, &exchange.name), Deletion::default());
        }
        Ok(())
    })?;
    let change = Change::DeleteVhost { name: name.to_string() };
    Ok(Answer::done().after(offset).after(engine.accounts.change(&engine.journal, &[change])))
}

/// POST /api/vhosts/:name/start/:node: they all run.
pub(super) fn start(request: &Request) -> Outcome {
    request.vhost(0)?;
    Ok(Answer::done())
}
