//! The names of RabbitMQ's Prometheus plugin, so that its dashboards show a node. They join everything with
//! `rabbitmq_identity_info`.

use tercet_proto::prometheus::{Exposition, Kind};

use super::Metric;
use crate::broker::{Counts, Queue, Statistics};
use crate::clients::Protocol;
use crate::memory;
use crate::node::Node;
use crate::role::DiskHealth;

/// The protocol of all that is counted for the whole.
const AMQP: &[(&str, &str)] = &[("protocol", "amqp091")];

pub(super) const METRICS: &[Metric] = &[
    ("rabbitmq_identity_info", Kind::Gauge, "Always 1; who this node is.", |node, to| {
        let name = format!("rabbit@{}", node.identity.name);
        let cluster = node.cluster.read().as_ref().map(|state| state.cluster_id.clone()).unwrap_or_default();
        let labels = [
            ("rabbitmq_node", &*name),
            ("rabbitmq_cluster", "tercet"),
            ("rabbitmq_cluster_permanent_id", &cluster),
            ("rabbitmq_endpoint", "aggregated"),
        ];
        to.sample(&labels, 1);
    }),
    ("rabbitmq_build_info", Kind::Gauge, "Always 1; versions.", |_, to| {
        let version = env!("CARGO_PKG_VERSION");
        let labels = [
            ("rabbitmq_version", "4.1.0"),
            ("prometheus_plugin_version", version),
            ("prometheus_client_version", version),
            ("erlang_version", "0"),
            ("product_name", "Tercet"),
            ("product_version", version),
        ];
        to.sample(&labels, 1);
    }),
    ("rabbitmq_connections", Kind::Gauge, "AMQP connections.", |node, to| to.sample(&[], connections(node))),
    ("rabbitmq_channels", Kind::Gauge, "Open channels.", |node, to| to.sample(&[], channels(node))),
    ("rabbitmq_consumers", Kind::Gauge, "Consumers.", |node, to| sum(node, to, |counts| counts.consumers)),
    ("rabbitmq_queues", Kind::Gauge, "Queues.", |node, to| to.sample(&[], node.engine.broker.queues().len())),
    ("rabbitmq_queue_messages", Kind::Gauge, "Messages, ready and unacknowledged.", |node, to| {
        sum(node, to, |counts| counts.ready + counts.unacknowledged);
    }),
    ("rabbitmq_queue_messages_ready", Kind::Gauge, "Messages that wait.", |node, to| {
        sum(node, to, |counts| counts.ready)
    }),
    ("rabbitmq_queue_messages_unacked", Kind::Gauge, "Messages that are with clients.", |node, to| {
        sum(node, to, |counts| counts.unacknowledged);
    }),
    ("rabbitmq_queue_messages_bytes", Kind::Gauge, "Bytes of all messages.", |node, to| {
        sum(node, to, |counts| counts.bytes);
    }),
    ("rabbitmq_global_messages_received_total", Kind::Counter, "Messages from publishers.", |node, to| {
        total(node, to, |statistics| statistics.published);
    }),
    ("rabbitmq_global_messages_routed_total", Kind::Counter, "Messages that found a queue.", |node, to| {
        total(node, to, |from| from.published.saturating_sub(from.returned + from.dropped));
    }),
    ("rabbitmq_global_messages_confirmed_total", Kind::Counter, "Messages that were confirmed.", |node, to| {
        total(node, to, |statistics| statistics.confirmed);
    }),
    ("rabbitmq_global_messages_unroutable_dropped_total", Kind::Counter, "No queue wanted them.", |node, to| {
        total(node, to, |statistics| statistics.dropped);
    }),
    ("rabbitmq_global_messages_unroutable_returned_total", Kind::Counter, "Given back to publishers.", |node, to| {
        total(node, to, |statistics| statistics.returned);
    }),
    ("rabbitmq_global_messages_delivered_total", Kind::Counter, "Messages to clients.", |node, to| {
        total(node, to, delivered);
    }),
    (
        "rabbitmq_global_messages_delivered_consume_manual_ack_total",
        Kind::Counter,
        "To consumers that acknowledge.",
        |node, to| total(node, to, |statistics| statistics.delivered),
    ),
    (
        "rabbitmq_global_messages_delivered_consume_auto_ack_total",
        Kind::Counter,
        "To consumers that do not.",
        |node, to| total(node, to, |statistics| statistics.delivered_no_ack),
    ),
    (
        "rabbitmq_global_messages_delivered_get_manual_ack_total",
        Kind::Counter,
        "Fetched, to be acknowledged.",
        |node, to| total(node, to, |statistics| statistics.got),
    ),
    ("rabbitmq_global_messages_delivered_get_auto_ack_total", Kind::Counter, "Fetched for good.", |node, to| {
        total(node, to, |statistics| statistics.got_no_ack);
    }),
    ("rabbitmq_global_messages_get_empty_total", Kind::Counter, "Fetches that found nothing.", |node, to| {
        total(node, to, |statistics| statistics.got_empty);
    }),
    ("rabbitmq_global_messages_redelivered_total", Kind::Counter, "Delivered once more.", |node, to| {
        total(node, to, |statistics| statistics.redelivered);
    }),
    ("rabbitmq_global_messages_acknowledged_total", Kind::Counter, "Acknowledged by clients.", |node, to| {
        total(node, to, |statistics| statistics.acknowledged);
    }),
    ("rabbitmq_global_consumers", Kind::Gauge, "Consumers.", |node, to| {
        to.sample(AMQP, all(node, |counts| counts.consumers));
    }),
    ("rabbitmq_process_resident_memory_bytes", Kind::Gauge, "Physical memory.", |_, to| {
        to.sample(&[], memory::resident())
    }),
    ("rabbitmq_process_open_fds", Kind::Gauge, "Open descriptors.", |_, to| {
        to.sample(&[], memory::descriptors().0);
    }),
    ("rabbitmq_process_max_fds", Kind::Gauge, "Descriptors that there may be.", |_, to| {
        to.sample(&[], memory::descriptors().1);
    }),
    ("rabbitmq_resident_memory_limit_bytes", Kind::Gauge, "The setting maxmemory.", |node, to| {
        to.sample(&[], node.config.live.maxmemory.size());
    }),
    ("rabbitmq_disk_space_available_bytes", Kind::Gauge, "Room on the disk of --data.", |node, to| {
        to.sample(&[], memory::disk_free(&node.config.data));
    }),
    ("rabbitmq_disk_space_available_limit_bytes", Kind::Gauge, "Room that is to be left.", |node, to| {
        to.sample(&[], node.config.live.disk_free_limit.size());
    }),
    ("rabbitmq_alarms_free_disk_space_watermark", Kind::Gauge, "1 while the disk is full or fails.", |node, to| {
        to.sample(&[], u8::from(node.authority.standing().disk == DiskHealth::Failed));
    }),
];

/// A number of one queue.
type QueueMetric = (&'static str, Kind, &'static str, fn(&Counts, &Statistics) -> u64);

const QUEUE_METRICS: &[QueueMetric] = &[
    ("messages", Kind::Gauge, "Messages of a queue.", |counts, _| (counts.ready + counts.unacknowledged) as u64),
    ("messages_ready", Kind::Gauge, "Messages that wait.", |counts, _| counts.ready as u64),
    ("messages_unacked", Kind::Gauge, "Messages that are with clients.", |counts, _| counts.unacknowledged as u64),
    ("messages_bytes", Kind::Gauge, "Bytes of its messages.", |counts, _| counts.bytes as u64),
    ("messages_paged_out", Kind::Gauge, "Messages that wait on the disk.", |counts, _| counts.paged as u64),
    ("consumers", Kind::Gauge, "Its consumers.", |counts, _| counts.consumers as u64),
    ("messages_published_total", Kind::Counter, "Put into it.", |_, statistics| statistics.published),
    ("messages_delivered_total", Kind::Counter, "Taken out of it by clients.", |_, statistics| delivered(statistics)),
    ("messages_acked_total", Kind::Counter, "Acknowledged.", |_, statistics| statistics.acknowledged),
    ("sequence_gaps_total", Kind::Counter, "Numbers that counting producers left out.", |_, statistics| {
        statistics.sequence_gaps
    }),
    ("sequence_repeats_total", Kind::Counter, "Numbers of counting producers that came again.", |_, statistics| {
        statistics.sequence_repeats
    }),
];

/// Every queue by itself: on a path of its own, because there may be many.
pub(super) fn per_queue(node: &Node, prefix: &str, vhost: Option<&str>, to: &mut Exposition) {
    let queues = node.engine.broker.queues();
    let wanted: Vec<_> = queues.iter().filter(|queue| vhost.is_none_or(|vhost| *queue.vhost == *vhost)).collect();
    let read = |queue: &&std::sync::Arc<Queue>| (queue.counts(), queue.statistics());
    let numbers: Vec<(Counts, Statistics)> = wanted.iter().map(read).collect();
    for (name, kind, help, value) in QUEUE_METRICS {
        to.metric(format!("{prefix}_queue_{name}"), *kind, help);
        for (queue, (counts, statistics)) in wanted.iter().zip(&numbers) {
            to.sample(&[("vhost", &*queue.vhost), ("queue", &*queue.name)], value(counts, statistics));
        }
    }
}

fn delivered(statistics: &Statistics) -> u64 {
    statistics.delivered + statistics.delivered_no_ack + statistics.got + statistics.got_no_ack
}

fn connections(node: &Node) -> usize {
    node.clients.list().iter().filter(|client| client.protocol == Protocol::Amqp).count()
}

fn channels(node: &Node) -> usize {
    let clients = node.clients.list();
    clients.iter().filter_map(|client| client.amqp.lock().as_ref().map(|about| about.channels().len())).sum()
}

fn all(node: &Node, value: fn(&Counts) -> usize) -> usize {
    node.engine.broker.queues().iter().map(|queue| value(&queue.counts())).sum()
}

fn sum(node: &Node, to: &mut Exposition, value: fn(&Counts) -> usize) {
    to.sample(&[], all(node, value));
}

fn total(node: &Node, to: &mut Exposition, value: fn(&Statistics) -> u64) {
    to.sample(AMQP, value(&node.engine.broker.statistics()));
}
