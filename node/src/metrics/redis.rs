//! The names of redis_exporter, so that the dashboards that are made for it show a node.

use tercet_proto::prometheus::{Exposition, Kind};

use super::{Metric, counter, each_database};
use crate::clients::Protocol;
use crate::counters::Count;
use crate::node::Node;
use crate::resp::table;
use crate::role::Role;
use crate::{clock, memory};

pub(super) const METRICS: &[Metric] = &[
    ("redis_up", Kind::Gauge, "Always 1: the node answers.", |_, to| to.sample(&[], 1)),
    ("redis_instance_info", Kind::Gauge, "Always 1; what this instance is.", |node, to| {
        let role = if node.authority.standing().role == Role::Master { "master" } else { "slave" };
        let version = env!("CARGO_PKG_VERSION");
        to.sample(&[("role", role), ("tercet_version", version), ("redis_mode", "standalone"), ("os", "Linux")], 1);
    }),
    ("redis_uptime_in_seconds", Kind::Gauge, "Since the process began.", |node, to| {
        to.sample(&[], clock::boot_now().millis_since(node.started) / 1000);
    }),
    ("redis_connected_clients", Kind::Gauge, "RESP clients.", |node, to| {
        to.sample(&[], node.clients.list().iter().filter(|client| client.protocol == Protocol::Resp).count());
    }),
    ("redis_blocked_clients", Kind::Gauge, "Clients that wait for something.", |node, to| {
        counter(to, &node.stats.blocked);
    }),
    ("redis_connections_received_total", Kind::Counter, "Connections that were made.", |node, to| {
        counter(to, &node.stats.connections);
    }),
    ("redis_rejected_connections_total", Kind::Counter, "Refused because of --maxclients.", |node, to| {
        counter(to, &node.stats.rejected_connections);
    }),
    ("redis_commands_processed_total", Kind::Counter, "Commands that were executed.", |node, to| {
        counter(to, &node.stats.commands);
    }),
    ("redis_keyspace_hits_total", Kind::Counter, "Reads that found their key.", |node, to| {
        counter(to, &node.stats.hits)
    }),
    ("redis_keyspace_misses_total", Kind::Counter, "Reads that did not.", |node, to| counter(to, &node.stats.misses)),
    ("redis_expired_keys_total", Kind::Counter, "Keys whose time to live was over.", |node, to| {
        counter(to, &node.stats.expired);
    }),
    ("redis_evicted_keys_total", Kind::Counter, "Keys that went because memory was short.", |node, to| {
        counter(to, &node.eviction.evicted);
    }),
    ("redis_commands_total", Kind::Counter, "Calls of a command.", |node, to| {
        each_command(node, to, |count| count.calls as f64);
    }),
    ("redis_commands_duration_seconds_total", Kind::Counter, "Time that a command took in all.", |node, to| {
        each_command(node, to, |count| count.nanos as f64 / 1e9);
    }),
    ("redis_commands_rejected_calls_total", Kind::Counter, "Calls that were refused before they began.", |node, to| {
        each_command(node, to, |count| count.rejected as f64);
    }),
    ("redis_commands_failed_calls_total", Kind::Counter, "Calls that were answered with an error.", |node, to| {
        each_command(node, to, |count| count.failed as f64);
    }),
    ("redis_slowlog_length", Kind::Gauge, "Entries of the slow log.", |node, to| to.sample(&[], node.slowlog.len())),
    ("redis_slowlog_last_id", Kind::Gauge, "Number of its newest entry.", |node, to| {
        to.sample(&[], node.slowlog.newest(1).first().map_or(0, |entry| entry.id));
    }),
    ("redis_last_slow_execution_duration_seconds", Kind::Gauge, "How long that command took.", |node, to| {
        to.sample(&[], node.slowlog.newest(1).first().map_or(0.0, |entry| entry.micros as f64 / 1e6));
    }),
    ("redis_total_system_memory_bytes", Kind::Gauge, "Memory of the machine, or of the cgroup.", |_, to| {
        to.sample(&[], memory::available().unwrap_or(0));
    }),
    ("redis_memory_fragmentation_ratio", Kind::Gauge, "Physical memory by what is given out.", |_, to| {
        to.sample(&[], memory::resident() as f64 / memory::allocated().max(1) as f64);
    }),
    ("redis_net_input_bytes_total", Kind::Counter, "From RESP clients.", |node, to| counter(to, &node.stats.bytes_in)),
    ("redis_net_output_bytes_total", Kind::Counter, "To RESP clients.", |node, to| counter(to, &node.stats.bytes_out)),
    ("redis_memory_used_bytes", Kind::Gauge, "Given out by the allocator.", |_, to| {
        to.sample(&[], memory::allocated())
    }),
    ("redis_memory_used_rss_bytes", Kind::Gauge, "Physical memory.", |_, to| to.sample(&[], memory::resident())),
    ("redis_memory_max_bytes", Kind::Gauge, "The setting maxmemory; 0 is no limit.", |node, to| {
        to.sample(&[], node.config.live.maxmemory.size());
    }),
    ("redis_db_keys", Kind::Gauge, "Keys of a database.", |node, to| {
        each_database(node, to, |database| node.engine.keyspace.seen_keys(database).0);
    }),
    ("redis_db_keys_expiring", Kind::Gauge, "Keys of a database with a time to live.", |node, to| {
        each_database(node, to, |database| node.engine.keyspace.seen_keys(database).1);
    }),
    ("redis_connected_slaves", Kind::Gauge, "Replicas with a stream.", |node, to| {
        to.sample(&[], node.replicas.read().len());
    }),
    ("redis_master_repl_offset", Kind::Gauge, "Offset of the newest record.", |node, to| {
        to.sample(&[], node.engine.journal.end());
    }),
    ("redis_master_link_up", Kind::Gauge, "1 while a replica has a stream from its master.", |node, to| {
        if node.authority.standing().role == Role::Replica {
            to.sample(&[], u8::from(node.link.read().is_up));
        }
    }),
];

/// Commands that were called or refused, by the name that INFO commandstats gives them.
fn each_command(node: &Node, to: &mut Exposition, value: fn(&Count) -> f64) {
    for row in table::rows() {
        let count = node.counters.count(row.id);
        if count.calls + count.rejected + count.failed > 0 {
            to.sample(&[("cmd", row.name)], value(&count));
        }
    }
}
