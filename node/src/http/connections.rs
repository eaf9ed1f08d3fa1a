//! /api/connections, /api/channels and /api/consumers: clients of AMQP, and those of RESP besides with `?protocol=all`.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use serde_json::{Value, json};

use super::answer::{Answer, Error, Outcome};
use super::request::Request;
use super::{json, listing};
use crate::accounts::Tag;
use crate::broker::{Acknowledge, ConnectionId, Consumer};
use crate::clients::{AmqpAbout, ChannelGauges, Client, Protocol};
use crate::clock;

fn amqp_clients(request: &Request) -> Vec<(Arc<Client>, AmqpAbout)> {
    let all = request.node().clients.list().into_iter().filter(|client| client.protocol == Protocol::Amqp);
    let open = all.filter_map(|client| {
        let about = client.amqp.lock().clone()?;
        Some((client, about))
    });
    open.filter(|(_, about)| may_see(request, about)).collect()
}

/// Everybody sees its own connections; who monitors sees all.
fn may_see(request: &Request, about: &AmqpAbout) -> bool {
    request.is(Tag::Monitoring) || about.user == request.user.name
}

fn name_of(client: &Client) -> String {
    format!("{} -> {}", client.address, client.local)
}

fn described(request: &Request, client: &Client, about: &AmqpAbout) -> Value {
    let node = request.node();
    let age = clock::boot_now().millis_since(client.since);
    json!({
        "name": name_of(client),
        "node": json::node_name(node),
        "type": "network",
        "protocol": "AMQP 0-9-1",
        "state": "running",
        "user": about.user,
        "user_who_performed_action": about.user,
        "vhost": about.vhost,
        "auth_mechanism": about.mechanism,
        "channels": about.channels().len(),
        "channel_max": about.channel_max,
        "frame_max": about.frame_max,
        "timeout": about.heartbeat,
        "client_properties": json::of_table(&about.properties),
        "user_provided_name": about.properties.get("connection_name").and_then(|name| name.as_str()),
        "host": client.local.ip().to_canonical().to_string(),
        "port": client.local.port(),
        "peer_host": client.address.ip().to_canonical().to_string(),
        "peer_port": client.address.port(),
        "connected_at": clock::unix_now().0.saturating_sub(age),
        "ssl": false,
        "ssl_cipher": null,
        "ssl_hash": null,
        "ssl_key_exchange": null,
        "ssl_protocol": null,
        "peer_cert_issuer": null,
        "peer_cert_subject": null,
        "peer_cert_validity": null,
    })
}

fn resp_described(request: &Request, client: &Client) -> Value {
    let about = client.about.lock().clone();
    let age = clock::boot_now().millis_since(client.since);
    json!({
        "name": name_of(client),
        "node": json::node_name(request.node()),
        "type": "network",
        "protocol": format!("RESP{}", about.resp),
        "state": "running",
        "user": about.user,
        "vhost": "",
        "channels": 0,
        "client_properties": { "product": about.library, "version": about.library_version, "connection_name": about.name },
        "user_provided_name": about.name,
        "last_command": about.last_command,
        "database": about.database,
        "peer_host": client.address.ip().to_canonical().to_string(),
        "peer_port": client.address.port(),
        "connected_at": clock::unix_now().0.saturating_sub(age),
        "ssl": false,
    })
}

/// GET /api/connections
pub(super) fn list(request: &Request) -> Outcome {
    let clients = amqp_clients(request);
    let mut rows: Vec<_> = clients.iter().map(|(client, about)| described(request, client, about)).collect();
    if request.query("protocol") == Some("all") && request.is(Tag::Monitoring) {
        let all = request.node().clients.list();
        let resp = all.iter().filter(|client| client.protocol == Protocol::Resp);
        rows.extend(resp.map(|client| resp_described(request, client)));
    }
    listing::list(request, rows)
}

/// GET /api/vhosts/:vhost/connections
pub(super) fn list_in(request: &Request) -> Outcome {
    let vhost = request.vhost(0)?;
    let clients = amqp_clients(request);
    let wanted = clients.iter().filter(|(_, about)| about.vhost == *vhost);
    listing::list(request, wanted.map(|(client, about)| described(request, client, about)).collect())
}

/// GET /api/connections/username/:user
pub(super) fn of_user(request: &Request) -> Outcome {
    let user = request.capture(0);
    let clients = amqp_clients(request);
    let wanted = clients.iter().filter(|(_, about)| about.user == user);
    listing::list(request, wanted.map(|(client, about)| described(request, client, about)).collect())
}

fn find(request: &Request) -> Result<(Arc<Client>, AmqpAbout), Error> {
    let wanted = request.capture(0);
    amqp_clients(request).into_iter().find(|(client, _)| name_of(client) == wanted).ok_or(Error::NotFound)
}

/// GET /api/connections/:name
pub(super) fn show(request: &Request) -> Outcome {
    let (client, about) = find(request)?;
    listing::one(request, described(request, &client, &about))
}

/// DELETE /api/connections/:name, with the header `x-reason`
pub(super) fn close(request: &Request) -> Outcome {
    let wanted = request.capture(0);
    if let Ok((client, about)) = find(request) {
        close_one(request, &client, &about.user);
        return Ok(Answer::done());
    }
    // One of RESP is an administrator's business.
    let all = request.node().clients.list();
    let found = all.iter().find(|client| client.protocol == Protocol::Resp && name_of(client) == wanted);
    let client = found.filter(|_| request.is(Tag::Administrator)).ok_or(Error::NotFound)?;
    close_one(request, client, "default");
    Ok(Answer::done())
}

/// DELETE /api/connections/username/:user
pub(super) fn close_of_user(request: &Request) -> Outcome {
    let user = request.capture(0);
    for (client, about) in amqp_clients(request).iter().filter(|(_, about)| about.user == user) {
        close_one(request, client, &about.user);
    }
    Ok(Answer::done())
}

fn close_one(request: &Request, client: &Client, user: &str) {
    let reason = request.headers.get("x-reason").and_then(|reason| reason.to_str().ok()).unwrap_or_default();
    tracing::info!(client = client.id, address = %client.address, user, by = request.user.name, reason, "connection closed by an operator");
    client.close();
}

fn channel_row(request: &Request, client: &Client, about: &AmqpAbout, channel: &ChannelGauges) -> Value {
    let connection = name_of(client);
    json!({
        "name": format!("{connection} ({})", channel.number),
        "number": channel.number,
        "node": json::node_name(request.node()),
        "user": about.user,
        "user_who_performed_action": about.user,
        "vhost": about.vhost,
        "state": "running",
        "confirm": channel.confirms.load(Relaxed),
        "transactional": channel.is_transactional.load(Relaxed),
        "consumer_count": channel.consumers.load(Relaxed),
        "messages_unacknowledged": channel.unacknowledged.load(Relaxed),
        "messages_unconfirmed": 0,
        "messages_uncommitted": 0,
        "acks_uncommitted": 0,
        "prefetch_count": channel.prefetch.load(Relaxed),
        "global_prefetch_count": 0,
        "connection_details": {
            "name": connection,
            "peer_host": client.address.ip().to_canonical().to_string(),
            "peer_port": client.address.port(),
        },
        "message_stats": {},
    })
}

fn channel_rows(request: &Request, is_wanted: impl Fn(&Client, &AmqpAbout) -> bool) -> Vec<Value> {
    let clients = amqp_clients(request);
    let wanted = clients.iter().filter(|(client, about)| is_wanted(client, about));
    wanted
        .flat_map(|(client, about)| {
            about.channels().iter().map(|channel| channel_row(request, client, about, channel)).collect::<Vec<_>>()
        })
        .collect()
}

pub(super) fn count_channels(request: &Request) -> usize {
    amqp_clients(request).iter().map(|(_, about)| about.channels().len()).sum()
}

/// GET /api/channels
pub(super) fn channels(request: &Request) -> Outcome {
    listing::list(request, channel_rows(request, |_, _| true))
}

/// GET /api/vhosts/:vhost/channels
pub(super) fn channels_in(request: &Request) -> Outcome {
    let vhost = request.vhost(0)?;
    listing::list(request, channel_rows(request, |_, about| about.vhost == *vhost))
}

/// GET /api/connections/:name/channels
pub(super) fn channels_of(request: &Request) -> Outcome {
    let (wanted, _) = find(request)?;
    listing::list(request, channel_rows(request, |client, _| client.id == wanted.id))
}

/// GET /api/channels/:name
pub(super) fn channel(request: &Request) -> Outcome {
    let wanted = request.capture(0);
    let found = channel_rows(request, |_, _| true).into_iter().find(|row| row["name"] == wanted);
    let mut row = found.ok_or(Error::NotFound)?;
    row["consumer_details"] = json!([]);
    listing::one(request, row)
}

/// Of the connection that a queue belongs to.
pub(super) fn owner(request: &Request, owner: ConnectionId) -> Value {
    let all = request.node().clients.list();
    all.iter().find(|client| client.id == owner.0).map_or(json!({}), |client| {
        json!({
            "name": name_of(client),
            "peer_host": client.address.ip().to_canonical().to_string(),
            "peer_port": client.address.port(),
        })
    })
}

pub(super) fn consumer(request: &Request, consumer: &Consumer, is_active: bool) -> Value {
    let owner = request.node().clients.get(consumer.link.connection.0);
    let (name, address, user) = match &owner {
        Some(client) => {
            let user = client.amqp.lock().as_ref().map(|about| about.user.clone());
            (name_of(client), Some(client.address), user.unwrap_or_default())
        }
        None => (String::new(), None, String::new()),
    };
    json!({
        "arguments": {},
        "ack_required": consumer.acknowledge == Acknowledge::Manually,
        "active": is_active,
        "activity_status": if is_active { "up" } else { "waiting" },
        "channel_details": {
            "connection_name": name,
            "name": format!("{name} ({})", consumer.channel),
            "node": json::node_name(request.node()),
            "number": consumer.channel,
            "peer_host": address.map_or_else(String::new, |address| address.ip().to_canonical().to_string()),
            "peer_port": address.map_or(0, |address| address.port()),
            "user": user,
        },
        "consumer_tag": consumer.tag.as_str(),
        "exclusive": consumer.is_exclusive(),
        "prefetch_count": consumer.prefetch,
        "priority": consumer.priority,
        "queue": { "name": consumer.queue.name.as_str(), "vhost": consumer.queue.vhost.as_str() },
    })
}

fn consumer_rows(request: &Request, is_wanted: impl Fn(&str) -> bool) -> Vec<Value> {
    let queues = request.node().engine.broker.queues();
    let wanted = queues.iter().filter(|queue| is_wanted(&queue.vhost));
    wanted
        .flat_map(|queue| {
            let consumers = queue.consumers();
            consumers.iter().map(|one| consumer(request, one, true)).collect::<Vec<_>>()
        })
        .collect()
}

/// GET /api/consumers
pub(super) fn consumers(request: &Request) -> Outcome {
    listing::list(request, consumer_rows(request, |vhost| request.sees(vhost)))
}

/// GET /api/consumers/:vhost
pub(super) fn consumers_in(request: &Request) -> Outcome {
    let wanted = request.vhost(0)?;
    listing::list(request, consumer_rows(request, |vhost| *vhost == *wanted))
}
