//! /api/overview, /api/nodes and what else is of the whole.

use serde_json::{Value, json};

use super::answer::{Answer, Error, Outcome};
use super::json::{node_name, node_name_of};
use super::request::Request;
use super::{cluster, history, listing};
use crate::accounts::{Change, Tag};
use crate::broker::ExchangeKind;
use crate::clients::Protocol;
use crate::node::Node;
use crate::role::DiskHealth;
use crate::{clock, limits, memory};

/// The version of RabbitMQ whose API this is. Tools choose their ways by it.
pub(super) const RABBITMQ_VERSION: &str = "4.1.0";

fn cluster_name_of(request: &Request) -> String {
    let set = request.directory.parameter("", "", "cluster_name");
    let set = set.and_then(|json| serde_json::from_str::<String>(json).ok());
    set.unwrap_or_else(|| "tercet".to_owned())
}

/// GET /api/overview
pub(super) fn overview(request: &Request) -> Outcome {
    let node = request.node();
    let broker = &node.engine.broker;
    let (mut ready, mut unacknowledged, mut queues, mut consumers) = (0, 0, 0, 0);
    for queue in broker.queues().iter().filter(|queue| request.sees(&queue.vhost)) {
        let counts = queue.counts();
        ready += counts.ready;
        unacknowledged += counts.unacknowledged;
        consumers += counts.consumers;
        queues += 1;
    }
    let exchanges = broker.exchanges().iter().filter(|exchange| request.sees(&exchange.vhost)).count();
    let clients = node.clients.list();
    let connections = clients.iter().filter(|client| client.protocol == Protocol::Amqp).count();
    let history = &request.http.history;
    let rate = |name: &str| json!({ "rate": history.rate(name) });
    let (ready_rate, unacknowledged_rate) = (history.rate("messages_ready"), history.rate("messages_unacknowledged"));
    let mut body = json!({
        "management_version": RABBITMQ_VERSION,
        "rates_mode": "basic",
        "sample_retention_policies": { "global": [120, 3600, 86400], "basic": [120, 3600, 86400], "detailed": [300] },
        "exchange_types": exchange_types(),
        "product_version": env!("CARGO_PKG_VERSION"),
        "product_name": "Tercet",
        "rabbitmq_version": RABBITMQ_VERSION,
        "cluster_name": cluster_name_of(request),
        "cluster_tags": [],
        "node_tags": [],
        "erlang_version": "0",
        "erlang_full_version": "none: this is Tercet",
        "release_series_support_status": "supported",
        "disable_stats": false,
        "enable_queue_totals": false,
        "default_queue_type": "classic",
        "message_stats": history::total_stats(&broker.statistics(), history),
        "churn_rates": {
            "connection_created": read(&node.stats.connections),
            "connection_created_details": rate("connections_opened"),
        },
        "queue_totals": {
            "messages": ready + unacknowledged,
            "messages_details": { "rate": ready_rate + unacknowledged_rate },
            "messages_ready": ready,
            "messages_ready_details": { "rate": ready_rate },
            "messages_unacknowledged": unacknowledged,
            "messages_unacknowledged_details": { "rate": unacknowledged_rate },
        },
        "object_totals": {
            "channels": super::connections::count_channels(request),
            "connections": connections,
            "consumers": consumers,
            "exchanges": exchanges,
            "queues": queues,
        },
        "statistics_db_event_queue": 0,
        "node": node_name(node),
        "tercet": {
            "role": cluster::role_name(node),
            "keys": keys(node),
            "clients": clients.len(),
            "commands": read(&node.stats.commands),
            "commands_details": rate("commands"),
            "memory": memory::allocated(),
        },
    });
    if request.is(Tag::Monitoring) {
        body["listeners"] = listeners(node);
        body["contexts"] = json!([{
            "node": node_name(node), "description": "Tercet management", "path": "/", "port": node.config.http_port.to_string(),
            "ip": node.config.bind.to_string(), "ssl_opts": [], "cowboy_opts": "",
        }]);
    }
    Ok(Answer::json(body))
}

fn read(counter: &std::sync::atomic::AtomicU64) -> u64 {
    counter.load(std::sync::atomic::Ordering::Relaxed)
}

fn keys(node: &Node) -> usize {
    (0..limits::DATABASES).map(|database| node.engine.keyspace.seen_keys(database).0).sum()
}

fn exchange_types() -> Value {
    let described = |kind: ExchangeKind| {
        json!({
            "name": kind.name(),
            "description": format!("AMQP {} exchange, as per the AMQP specification", kind.name()),
            "enabled": true,
        })
    };
    ExchangeKind::ALL.into_iter().map(described).collect()
}

/// Protocol and port of everything that a node listens on, as RabbitMQ calls them.
pub(super) fn ports(node: &Node) -> Vec<(&'static str, u16)> {
    let config = &node.config;
    let all = [
        ("amqp", config.amqp_port),
        ("amqp/ssl", config.amqp_tls_port),
        ("http", config.http_port),
        ("https", config.http_tls_port),
        ("http/prometheus", config.metrics_port),
        ("https/prometheus", config.metrics_tls_port),
        ("redis", config.resp_port),
        ("redis/ssl", config.resp_tls_port),
        ("grpc", config.gateway_port),
        ("grpc/ssl", config.gateway_tls_port),
        ("clustering", config.peer_port),
    ];
    all.into_iter().filter(|(_, port)| *port != 0).collect()
}

fn listeners(node: &Node) -> Value {
    let name = node_name(node);
    let listener = |(protocol, port): (&str, u16)| {
        json!({
            "node": name, "protocol": protocol, "ip_address": node.config.bind.to_string(), "port": port, "socket_opts": [],
        })
    };
    ports(node).into_iter().map(listener).collect()
}

/// GET /api/nodes
pub(super) fn nodes(request: &Request) -> Outcome {
    listing::list(request, all_nodes(request.node()))
}

/// GET /api/nodes/:name
pub(super) fn node(request: &Request) -> Outcome {
    let wanted = request.capture(0);
    let found = all_nodes(request.node()).into_iter().find(|node| node["name"] == wanted);
    listing::one(request, found.ok_or(Error::NotFound)?)
}

fn all_nodes(node: &Node) -> Vec<Value> {
    let state = node.cluster.read().clone();
    let mut nodes = vec![this_node(node)];
    for member in state.iter().flat_map(|state| &state.members) {
        if member.name != node.identity.name {
            let is_up = node.replicas.read().iter().any(|replica| replica.member.name == member.name);
            nodes.push(json!({
                "name": node_name_of(&member.name), "type": "disc", "running": is_up, "being_drained": false,
                "partitions": [], "applications": [], "contexts": [], "auth_mechanisms": [], "exchange_types": [],
                "cluster_links": [], "config_files": [], "log_files": [], "enabled_plugins": [],
            }));
        }
    }
    nodes.sort_by(|one, other| one["name"].as_str().cmp(&other["name"].as_str()));
    nodes
}

fn this_node(node: &Node) -> Value {
    let (resident, limit) = (memory::resident(), node.config.live.maxmemory.size());
    let limit = if limit > 0 { limit } else { memory::available().unwrap_or(0) };
    let disk = memory::disk_free(&node.config.data);
    let descriptors = memory::descriptors();
    let is_failed = node.authority.standing().disk == DiskHealth::Failed;
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    json!({
        "name": node_name(node),
        "type": "disc",
        "running": true,
        "being_drained": false,
        "os_pid": std::process::id().to_string(),
        "uptime": clock::boot_now().millis_since(node.started),
        "run_queue": 0,
        "processors": cores,
        "rates_mode": "basic",
        "mem_used": resident,
        "mem_used_details": { "rate": 0.0 },
        "mem_limit": limit,
        "mem_alarm": false,
        "mem_calculation_strategy": "rss",
        "disk_free": disk,
        "disk_free_limit": node.config.live.disk_free_limit.size(),
        "disk_free_alarm": is_failed,
        "fd_used": descriptors.0,
        "fd_total": descriptors.1,
        "sockets_used": node.places.taken(),
        "sockets_total": node.config.live.maxclients.size(),
        // Threads: there are no processes of Erlang's, and tools take 0 for a failure.
        "proc_used": memory::threads(),
        "proc_total": 1_048_576,
        "partitions": [],
        "exchange_types": exchange_types(),
        "auth_mechanisms": [
            { "name": "PLAIN", "description": "SASL PLAIN authentication mechanism", "enabled": true },
            { "name": "AMQPLAIN", "description": "QPid AMQPLAIN mechanism", "enabled": true },
        ],
        "applications": [{ "name": "tercet", "description": "Tercet", "version": env!("CARGO_PKG_VERSION") }],
        "contexts": [],
        "cluster_links": [],
        "config_files": [],
        "log_files": [],
        "db_dir": node.config.data.display().to_string(),
        "enabled_plugins": ["rabbitmq_management", "rabbitmq_prometheus"],
    })
}

/// GET /api/nodes/:name/memory
pub(super) fn memory(request: &Request) -> Outcome {
    if request.capture(0) != node_name(request.node()) {
        return Err(Error::NotFound);
    }
    let (resident, allocated) = (memory::resident(), memory::allocated());
    let journal = request.node().engine.journal.retained_bytes();
    Ok(Answer::json(json!({
        "memory": {
            "queue_procs": 0, "mgmt_db": 0, "journal": journal, "other": allocated.saturating_sub(journal as u64),
            "total": { "rss": resident, "allocated": allocated, "erlang": 0 },
        },
    })))
}

/// GET /api/cluster-name
pub(super) fn cluster_name(request: &Request) -> Outcome {
    Ok(Answer::json(json!({ "name": cluster_name_of(request) })))
}

/// PUT /api/cluster-name {name}
pub(super) fn set_cluster_name(request: &Request) -> Outcome {
    let fields = request.object()?;
    fields.require(&["name"])?;
    let value = Value::String(fields.text("name")?.unwrap_or_default()).to_string();
    let (vhost, component, name) = (String::new(), String::new(), "cluster_name".to_owned());
    let change = Change::SetParameter { vhost, component, name, value };
    let node = request.node();
    Ok(Answer::done().after(node.engine.accounts.change(&node.engine.journal, &[change])))
}

/// GET /api/extensions
pub(super) fn extensions(_: &Request) -> Outcome {
    Ok(Answer::json(json!([{ "javascript": "dispatcher.js" }])))
}

/// GET /api/feature-flags
pub(super) fn feature_flags(_: &Request) -> Outcome {
    Ok(Answer::json(json!([])))
}

pub(super) fn nothing(_: &Request) -> Outcome {
    Ok(Answer::json(json!([])))
}

/// POST /api/rebalance/queues: there is one master, and every copy holds everything.
pub(super) fn accepted(_: &Request) -> Outcome {
    Ok(Answer::done())
}

/// GET /api/history?series=a,b&seconds=120
pub(super) fn history(request: &Request) -> Outcome {
    let names: Vec<&str> = request.query("series").into_iter().flat_map(|names| names.split(',')).collect();
    let seconds = request.query("seconds").and_then(|text| text.parse().ok()).unwrap_or(120);
    Ok(Answer::json(request.http.history.points(&names, seconds)))
}

/// GET /api/history/:vhost/:queue
pub(super) fn queue_history(request: &Request) -> Outcome {
    let (vhost, name) = (request.vhost(0)?, request.name(1)?);
    let queue = super::broker::queue(request, &vhost, &name)?;
    Ok(Answer::json(request.http.history.queue_points(queue.number)))
}
