//! What RabbitMQ has not: the cluster, its failovers, the key space.

use serde_json::{Value, json};
use tercet_proto::grpc::cluster::v1::{Address, Member};

use super::answer::{Answer, Outcome};
use super::request::Request;
use crate::clock;
use crate::limits;
use crate::node::Node;
use crate::peers::Portion;
use crate::role::{DiskHealth, Hold, Role, State};

pub(super) fn role_name(node: &Node) -> &'static str {
    match node.authority.standing().role {
        Role::Waiting => "waiting",
        Role::Replica => "replica",
        Role::Master => "master",
        Role::Deposed => "deposed",
    }
}

/// GET /api/cluster: what the master knows, or this node where no master answers.
pub(super) fn state(request: &Request) -> Outcome {
    Ok(Answer::json(described(request.node())))
}

pub(crate) fn described(node: &Node) -> Value {
    let standing = node.authority.standing();
    let state = node.cluster.read().clone();
    let now = clock::boot_now();
    let (end, commit) = (node.engine.journal.end(), node.gate.commit());
    let lease = node.config.is_clustered().then(|| node.authority.lease_until().millis_since(now));
    let disk = node.engine.journal.durability();
    let mut body = json!({
        "node": node.identity.name,
        "run_id": node.identity.incarnation,
        "version": env!("CARGO_PKG_VERSION"),
        "uptime_ms": now.millis_since(node.started),
        "clustered": node.config.is_clustered(),
        "role": role_name(node),
        "epoch": standing.epoch.0,
        "loading": standing.state == State::Loading,
        "held": standing.hold == Hold::Held,
        "disk_failed": standing.disk == DiskHealth::Failed,
        "lease": { "length_ms": node.config.lease_ms, "remaining_ms": lease.filter(|_| standing.role == Role::Master) },
        "journal": {
            "end": end.0,
            "commit": commit.0,
            "memory_bytes": node.engine.journal.retained_bytes(),
            "written": disk.promise().map(|_| disk.written().0),
            "durable": disk.promise().map(|_| disk.durable().0),
        },
        "acknowledge": if node.is_ack_replicated() { "replicated" } else { "local" },
        "load": node.loading.report().map(|load| json!({ "percent": load.loaded_percent, "seconds_left": load.eta_seconds })),
        "checkpoint": checkpoint(node),
        "cluster_id": null,
        "master": if standing.role == Role::Master { Some(node.identity.name.clone()) } else { None },
        "min_isr": standing.min_isr,
        "isr": [],
        "sentinels": [],
    });
    let mut members = vec![member_row(node, &node.member(), now)];
    if let Some(state) = &state {
        body["cluster_id"] = json!(state.cluster_id);
        body["epoch"] = json!(state.epoch.max(standing.epoch.0));
        body["master"] = json!(state.master);
        body["min_isr"] = json!(state.min_isr);
        body["isr_version"] = json!(state.isr_version);
        body["isr"] = state.isr.iter().map(|member| json!(member.name)).collect();
        body["sentinels"] = state
            .sentinels
            .iter()
            .map(|sentinel| {
                json!({ "name": sentinel.name, "id": sentinel.sentinel_id, "address": address(sentinel.peer.as_ref()) })
            })
            .collect();
        let others = state.members.iter().filter(|member| member.name != node.identity.name);
        members.extend(others.map(|member| member_row(node, member, now)));
    }
    for member in &mut members {
        let name = member["name"].as_str().unwrap_or_default().to_owned();
        let is_master = body["master"] == json!(name);
        let in_sync = is_master || body["isr"].as_array().is_some_and(|isr| isr.contains(&json!(name)));
        member["role"] = json!(if is_master { "master" } else { "replica" });
        member["in_sync"] = json!(in_sync);
    }
    members.sort_by(|one, other| one["name"].as_str().cmp(&other["name"].as_str()));
    body["members"] = Value::Array(members);
    body
}

fn member_row(node: &Node, member: &Member, now: clock::BootNanos) -> Value {
    let is_self = member.name == node.identity.name;
    let replicas = node.replicas.read();
    let replica = replicas.iter().find(|replica| replica.member.name == member.name);
    let end = node.engine.journal.end().0;
    let about = node.peers.about(&member.name).filter(|_| replica.is_some());
    let version = about.as_ref().map(|about| about.version.clone()).filter(|version| !version.is_empty());
    let full_sync = if is_self { node.link.read().full_sync } else { about.and_then(|about| about.full_sync) };
    json!({
        "name": member.name,
        "up": is_self || replica.is_some(),
        "lag_records": if is_self { Some(0) } else { replica.map(|replica| end.saturating_sub(replica.held.received.0)) },
        "silent_ms": replica.map(|replica| now.millis_since(replica.last_heard)),
        "syncing": replica.is_some_and(|replica| replica.syncing) || is_self && node.link.read().syncing,
        "full_sync": progress(full_sync.as_ref(), now),
        "version": if is_self { Some(env!("CARGO_PKG_VERSION").to_owned()) } else { version },
        "resp": address(member.resp.as_ref()),
        "amqp": address(member.amqp.as_ref()),
        "http": address(member.http.as_ref()),
        "gateway": address(member.gateway.as_ref()),
        "peer": address(member.peer.as_ref()),
    })
}

fn checkpoint(node: &Node) -> Value {
    let status = node.checkpoint.status();
    json!({
        "running": status.is_running,
        "progress": progress(node.checkpoint.portion().as_ref(), clock::boot_now()),
        "backups_waiting": node.checkpoint.backups(),
        "completed": status.passes,
        "last_at": (status.passes > 0).then_some(status.last_at.0),
        "failure": status.failure,
    })
}

/// Something under way: percent, and seconds that are left, if they are known.
fn progress(portion: Option<&Portion>, now: clock::BootNanos) -> Option<Value> {
    portion.map(|portion| {
        json!({ "percent": portion.percent(), "seconds_left": portion.seconds_left(now), "done": portion.done, "all": portion.all })
    })
}

fn address(address: Option<&Address>) -> String {
    address.map_or_else(String::new, |address| format!("{}:{}", address.host, address.port))
}

/// GET /api/failovers: the newest first, each with the milliseconds of its phases.
pub(super) fn failovers(request: &Request) -> Outcome {
    let state = request.node().cluster.read().clone();
    let failovers = state.map(|state| state.failovers).unwrap_or_default();
    let row = |failover: &tercet_proto::grpc::cluster::v1::Failover| {
        let phases = failover.phases.iter().map(|phase| json!({ "name": phase.name, "at_ms": phase.at_ms }));
        json!({
            "epoch": failover.epoch,
            "kind": failover.kind,
            "reason": failover.reason,
            "from": failover.from,
            "to": failover.to,
            "began_at": failover.began_unix_ms,
            "took_ms": failover.phases.last().map_or(0, |phase| phase.at_ms),
            "phases": phases.collect::<Vec<_>>(),
        })
    };
    Ok(Answer::json(failovers.iter().rev().map(row).collect()))
}

/// GET /api/keyspace
pub(super) fn keyspace(request: &Request) -> Outcome {
    let node = request.node();
    let read = |counter: &std::sync::atomic::AtomicU64| counter.load(std::sync::atomic::Ordering::Relaxed);
    let databases = (0..limits::DATABASES).filter_map(|database| {
        let (keys, expiring) = node.engine.keyspace.seen_keys(database);
        (database == 0 || keys > 0).then(|| json!({ "db": database, "keys": keys, "expiring": expiring }))
    });
    let history = &request.http.history;
    Ok(Answer::json(json!({
        "databases": databases.collect::<Vec<_>>(),
        "memory_allocated": crate::memory::allocated(),
        "memory_resident": crate::memory::resident(),
        "maxmemory": node.config.live.maxmemory.size(),
        "commands": read(&node.stats.commands),
        "commands_per_second": history.rate("commands"),
        "hits": read(&node.stats.hits),
        "hits_per_second": history.rate("hits"),
        "misses": read(&node.stats.misses),
        "misses_per_second": history.rate("misses"),
        "expired": read(&node.stats.expired),
        "evicted": read(&node.eviction.evicted),
        "evicted_per_second": history.rate("evicted"),
        "expired_per_second": history.rate("expired"),
        "maxmemory_policy": node.config.text("maxmemory-policy").unwrap_or_default(),
        "families": history.families(),
        "family_calls": super::commands::families(request),
        "slow_commands": node.slowlog.len(),
        "bytes_in": read(&node.stats.bytes_in),
        "bytes_out": read(&node.stats.bytes_out),
    })))
}
