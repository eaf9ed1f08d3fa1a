//! The names of redis_exporter, so that the dashboards that are made for it show a node.

use tercet_proto::prometheus::Kind;

use super::{Metric, counter, each_database};
use crate::clients::Protocol;
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
        each_database(node, to, |database| node.engine.keyspace.count(database));
    }),
    ("redis_db_keys_expiring", Kind::Gauge, "Keys of a database with a time to live.", |node, to| {
        each_database(node, to, |database| node.engine.keyspace.count_expiring(database));
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
