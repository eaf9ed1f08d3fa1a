//! What Prometheus is told of a node, on the port of the metrics.
//!
//! ```text
//! /metrics             ours, and the names of redis_exporter (redis.rs) and of RabbitMQ (rabbitmq.rs), aggregated
//! /metrics/per-object  every queue by itself; /metrics/detailed?vhost=… under RabbitMQ's other prefix
//! /livez /readyz /healthz
//! ```
//!
//! One row a metric. Names end in their unit; offsets and lags count records, as the journal does.

mod rabbitmq;
mod redis;

use std::future::IntoFuture as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use axum::Router;
use axum::http::header::CONTENT_TYPE;
use axum::http::{StatusCode, Uri};
use axum::routing::get;
use tercet_edge::accept::Door;
use tercet_proto::grpc::cluster::v1::Failover;
use tercet_proto::prometheus::{self, Exposition, Kind};

use crate::clock;
use crate::journal::Durability;
use crate::limits;
use crate::node::{Node, Shared};
use crate::role::{Role, State};

/// A metric: name, kind, help, and what writes its samples.
type Metric = (&'static str, Kind, &'static str, fn(&Node, &mut Exposition));

const METRICS: &[Metric] = &[
    ("tercet_node_info", Kind::Gauge, "Always 1; who this node is.", info),
    ("tercet_uptime_seconds", Kind::Gauge, "Since the process began.", |node, to| {
        to.sample(&[], seconds_since(node.started));
    }),
    ("tercet_role", Kind::Gauge, "1 for the role that the node has.", role),
    ("tercet_epoch", Kind::Gauge, "Number of the mastership that the node leads or follows.", |node, to| {
        to.sample(&[], node.authority.standing().epoch);
    }),
    (
        "tercet_loading",
        Kind::Gauge,
        "1 while the data is not whole: a start or a full sync is under way.",
        |node, to| {
            to.sample(&[], u8::from(node.authority.standing().state == State::Loading));
        },
    ),
    ("tercet_isr_members", Kind::Gauge, "In-sync copies, the master included; on the master.", |node, to| {
        on_master(node, to, |standing| standing.isr);
    }),
    ("tercet_min_isr", Kind::Gauge, "In-sync copies below which writes are refused; on the master.", |node, to| {
        on_master(node, to, |standing| standing.min_isr);
    }),
    ("tercet_lease_remaining_seconds", Kind::Gauge, "How long the master may execute without another renewal.", lease),
    ("tercet_journal_end_offset", Kind::Gauge, "Offset of the newest record.", |node, to| {
        to.sample(&[], node.engine.journal.end());
    }),
    ("tercet_commit_offset", Kind::Gauge, "Everything up to here may be acknowledged.", |node, to| {
        to.sample(&[], node.gate.commit());
    }),
    ("tercet_journal_memory_bytes", Kind::Gauge, "Records kept in memory for replicas.", |node, to| {
        to.sample(&[], node.engine.journal.retained_bytes());
    }),
    ("tercet_disk_written_offset", Kind::Gauge, "Everything up to here survives the process.", |node, to| {
        on_disk(node, to, |durability| durability.written().0);
    }),
    ("tercet_disk_durable_offset", Kind::Gauge, "Everything up to here survives a power cut.", |node, to| {
        on_disk(node, to, |durability| durability.durable().0);
    }),
    ("tercet_disk_failed", Kind::Gauge, "1 while the disk is full or fails, and writes are refused.", |node, to| {
        on_disk(node, to, |durability| u64::from(durability.refusal().is_some()));
    }),
    ("tercet_checkpoints_total", Kind::Counter, "Checkpoints that were completed.", |node, to| {
        to.sample(&[], node.checkpoint.status().passes);
    }),
    ("tercet_checkpoint_failed", Kind::Gauge, "1 if the last checkpoint did not come to its end.", |node, to| {
        to.sample(&[], u8::from(node.checkpoint.status().failure.is_some()));
    }),
    (
        "tercet_checkpoint_age_seconds",
        Kind::Gauge,
        "Since the last one was completed, or since the start.",
        |node, to| {
            let status = node.checkpoint.status();
            let since = if status.passes == 0 { node.started_unix } else { status.last_at };
            to.sample(&[], clock::unix_now().0.saturating_sub(since.0) as f64 / 1000.0);
        },
    ),
    ("tercet_replica_in_sync", Kind::Gauge, "1 for a replica that belongs to the ISR; on the master.", |node, to| {
        each_replica(node, to, |replica, _| f64::from(u8::from(replica.in_sync)));
    }),
    (
        "tercet_replica_lag_records",
        Kind::Gauge,
        "Records that the replica has not acknowledged; on the master.",
        |node, to| {
            let end = node.engine.journal.end();
            each_replica(node, to, |replica, _| end.0.saturating_sub(replica.held.received.0) as f64);
        },
    ),
    ("tercet_replica_silent_seconds", Kind::Gauge, "Since the replica said something; on the master.", |node, to| {
        each_replica(node, to, |replica, now| now.millis_since(replica.last_heard) as f64 / 1000.0);
    }),
    ("tercet_master_link_up", Kind::Gauge, "1 while a replica has a stream from its master.", |node, to| {
        on_replica(node, to, |link| f64::from(u8::from(link.is_up)));
    }),
    ("tercet_applied_offset", Kind::Gauge, "What a replica has applied.", |node, to| {
        on_replica(node, to, |link| link.applied.0 as f64);
    }),
    ("tercet_full_syncs_total", Kind::Counter, "Replicas that were sent everything.", |node, to| {
        counter(to, &node.stats.full_syncs);
    }),
    ("tercet_partial_syncs_total", Kind::Counter, "Replicas that went on from what they had.", |node, to| {
        counter(to, &node.stats.partial_syncs);
    }),
    ("tercet_clients", Kind::Gauge, "Connected clients.", |node, to| to.sample(&[], node.clients.len())),
    ("tercet_connections_total", Kind::Counter, "RESP connections that were made.", |node, to| {
        counter(to, &node.stats.connections);
    }),
    ("tercet_rejected_connections_total", Kind::Counter, "Refused because of --maxclients.", |node, to| {
        counter(to, &node.stats.rejected_connections);
    }),
    ("tercet_commands_total", Kind::Counter, "Commands that were executed.", |node, to| {
        counter(to, &node.stats.commands);
    }),
    ("tercet_received_bytes_total", Kind::Counter, "From RESP clients.", |node, to| counter(to, &node.stats.bytes_in)),
    ("tercet_sent_bytes_total", Kind::Counter, "To RESP clients.", |node, to| counter(to, &node.stats.bytes_out)),
    ("tercet_keyspace_hits_total", Kind::Counter, "Reads that found their key.", |node, to| {
        counter(to, &node.stats.hits)
    }),
    ("tercet_keyspace_misses_total", Kind::Counter, "Reads that did not.", |node, to| counter(to, &node.stats.misses)),
    ("tercet_expired_keys_total", Kind::Counter, "Keys whose time to live was over.", |node, to| {
        counter(to, &node.stats.expired);
    }),
    ("tercet_keys", Kind::Gauge, "Keys of a database.", |node, to| {
        each_database(node, to, |database| node.engine.keyspace.seen_keys(database).0);
    }),
    ("tercet_expiring_keys", Kind::Gauge, "Keys of a database with a time to live.", |node, to| {
        each_database(node, to, |database| node.engine.keyspace.seen_keys(database).1);
    }),
    ("tercet_memory_allocated_bytes", Kind::Gauge, "Given out by the allocator.", |_, to| {
        to.sample(&[], crate::memory::allocated());
    }),
    ("tercet_gateway_streams", Kind::Gauge, "Streams of the gateway that are open.", |node, to| {
        to.sample(&[], node.streams.len());
    }),
    ("tercet_gateway_streams_total", Kind::Counter, "Streams of the gateway so far.", |node, to| {
        to.sample(&[], node.streams.opened());
    }),
    ("tercet_gateway_requests_total", Kind::Counter, "Requests on them.", |node, to| {
        to.sample(&[], node.streams.requests());
    }),
    ("tercet_failover_epoch", Kind::Gauge, "Epoch that the last change of the master began.", |node, to| {
        on_last_failover(node, |failover| to.sample(&[], failover.epoch));
    }),
    ("tercet_failover_seconds", Kind::Gauge, "How long it took, from its first sign to the last phase.", |node, to| {
        on_last_failover(node, |failover| {
            to.sample(&[], failover.phases.last().map_or(0, |phase| phase.at_ms) as f64 / 1000.0);
        });
    }),
    ("tercet_failover_phase_seconds", Kind::Gauge, "How long each of its phases took.", |node, to| {
        on_last_failover(node, |failover| {
            let mut before = 0;
            for phase in &failover.phases {
                to.sample(&[("phase", &phase.name)], phase.at_ms.saturating_sub(before) as f64 / 1000.0);
                before = phase.at_ms;
            }
        });
    }),
    ("process_resident_memory_bytes", Kind::Gauge, "Physical memory of the process.", |_, to| {
        to.sample(&[], crate::memory::resident());
    }),
];

/// Serves the metrics until the listener fails.
///
/// # Errors
/// The listener is broken.
pub async fn serve(node: Shared, doors: Vec<Door>) -> std::io::Result<()> {
    let text = |text: String| std::future::ready(([(CONTENT_TYPE, prometheus::CONTENT_TYPE)], text));
    let (all, each, detailed, probed) = (Arc::clone(&node), Arc::clone(&node), Arc::clone(&node), node);
    let ready = move || {
        let answer = match crate::health::not_ready(&probed) {
            None => (StatusCode::OK, "ok\n"),
            Some(reason) => (StatusCode::SERVICE_UNAVAILABLE, reason),
        };
        std::future::ready(answer)
    };
    let router = Router::new()
        .route("/metrics", get(move || text(scrape(&all))))
        .route("/metrics/per-object", get(move || text(per_queue(&each, "rabbitmq", None))))
        .route(
            "/metrics/detailed",
            get(move |uri: Uri| {
                let query = uri.query().unwrap_or_default();
                let vhost = query.split('&').find_map(|part| part.strip_prefix("vhost="));
                let vhost = vhost.map(|vhost| vhost.replace("%2F", "/"));
                text(per_queue(&detailed, "rabbitmq_detailed", vhost.as_deref()))
            }),
        )
        .route("/livez", get(|| std::future::ready("ok\n")))
        .route("/readyz", get(ready.clone()))
        .route("/healthz", get(ready));
    let ports = doors.into_iter().map(Door::sockets).collect::<std::io::Result<Vec<_>>>()?;
    let serving = ports.into_iter().map(|sockets| axum::serve(sockets, router.clone()).into_future());
    futures::future::try_join_all(serving).await.map(|_| ())
}

fn all_rows() -> impl Iterator<Item = &'static Metric> {
    METRICS.iter().chain(redis::METRICS).chain(rabbitmq::METRICS)
}

fn scrape(node: &Node) -> String {
    let mut exposition = Exposition::default();
    for (name, kind, help, write) in all_rows() {
        exposition.metric(*name, *kind, help);
        write(node, &mut exposition);
    }
    exposition.finish()
}

fn per_queue(node: &Node, prefix: &str, vhost: Option<&str>) -> String {
    let mut exposition = Exposition::default();
    rabbitmq::per_queue(node, prefix, vhost, &mut exposition);
    exposition.finish()
}

fn info(node: &Node, to: &mut Exposition) {
    let labels = [
        ("node", &*node.identity.name),
        ("run_id", &node.identity.incarnation),
        ("version", env!("CARGO_PKG_VERSION")),
    ];
    to.sample(&labels, 1);
}

fn role(node: &Node, to: &mut Exposition) {
    let role = node.authority.standing().role;
    let roles =
        [(Role::Waiting, "waiting"), (Role::Replica, "replica"), (Role::Master, "master"), (Role::Deposed, "deposed")];
    for (which, name) in roles {
        to.sample(&[("role", name)], u8::from(role == which));
    }
}

fn lease(node: &Node, to: &mut Exposition) {
    if node.config.is_clustered() {
        let remaining_ms = node.authority.lease_until().millis_since(clock::boot_now());
        to.sample(&[], remaining_ms as f64 / 1000.0);
    }
}

fn seconds_since(moment: clock::BootNanos) -> f64 {
    clock::boot_now().millis_since(moment) as f64 / 1000.0
}

fn counter(to: &mut Exposition, counter: &AtomicU64) {
    to.sample(&[], counter.load(Relaxed));
}

/// Of a node that keeps its data on disk.
fn on_disk(node: &Node, to: &mut Exposition, value: fn(&Durability) -> u64) {
    let durability = node.engine.journal.durability();
    if durability.promise().is_some() {
        to.sample(&[], value(durability));
    }
}

fn on_master(node: &Node, to: &mut Exposition, read: impl Fn(&crate::role::Standing) -> usize) {
    let standing = node.authority.standing();
    if standing.role == Role::Master {
        to.sample(&[], read(&standing));
    }
}

/// As the sentinels have noted it; nothing, if there was none.
fn on_last_failover(node: &Node, write: impl FnOnce(&Failover)) {
    let cluster = node.cluster.read();
    if let Some(failover) = cluster.as_ref().and_then(|state| state.failovers.last()) {
        write(failover);
    }
}

fn on_replica(node: &Node, to: &mut Exposition, read: impl Fn(&crate::node::Link) -> f64) {
    if node.authority.standing().role == Role::Replica {
        to.sample(&[], read(&node.link.read()));
    }
}

fn each_replica(node: &Node, to: &mut Exposition, read: impl Fn(&crate::node::ReplicaState, clock::BootNanos) -> f64) {
    let now = clock::boot_now();
    for replica in &*node.replicas.read() {
        to.sample(&[("replica", &replica.member.name)], read(replica, now));
    }
}

fn each_database(node: &Node, to: &mut Exposition, count: impl Fn(u8) -> usize) {
    for database in 0..limits::DATABASES {
        // Database 0 is always shown, the others as far as they are in use.
        if database == 0 || node.engine.keyspace.seen_keys(database).0 > 0 {
            to.sample(&[("db", &format!("db{database}"))], count(database));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_says_the_unit_and_whether_it_only_grows() {
        for (index, (name, kind, help, _)) in all_rows().enumerate() {
            assert_eq!(name.ends_with("_total"), *kind == Kind::Counter, "{name}");
            assert!(help.ends_with('.'), "{name}: {help}");
            assert!(all_rows().take(index).all(|(other, ..)| other != name), "{name} is there twice");
        }
    }
}
