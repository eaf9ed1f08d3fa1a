//! What Prometheus is told of a sentinel: `GET /metrics` on the port of the metrics.

use std::sync::Arc;

use axum::{Router, http::header::CONTENT_TYPE, routing::get};
use tercet_edge::accept::Sockets;
use tercet_proto::prometheus::{self, Exposition, Kind};

use super::redis_metrics;
use crate::{
    picture::{Instance, Link, Picture},
    raft::Leadership,
    shared::Shared,
    state::ClusterState,
};

/// What the samples are taken from, all of one moment.
struct Seen {
    picture: Picture,
    state: Arc<ClusterState>,
    leadership: Leadership,
}

/// A metric: name, kind, help, and what writes its samples.
type Metric = (&'static str, Kind, &'static str, fn(&Seen, &mut Exposition));

const METRICS: &[Metric] = &[
    ("tercet_sentinel_info", Kind::Gauge, "Always 1; who this sentinel is.", |seen, to| {
        let labels = [
            ("sentinel", &*seen.picture.sentinel_id),
            ("service", &seen.picture.service),
            ("version", env!("CARGO_PKG_VERSION")),
        ];
        to.sample(&labels, 1);
    }),
    ("tercet_sentinel_uptime_seconds", Kind::Gauge, "Since the process began.", |seen, to| {
        to.sample(&[], seen.picture.uptime.as_secs_f64());
    }),
    ("tercet_sentinel_raft_term", Kind::Gauge, "Term of the consensus.", |seen, to| {
        to.sample(&[], seen.leadership.term);
    }),
    ("tercet_sentinel_raft_leader", Kind::Gauge, "1 if this sentinel leads the consensus.", |seen, to| {
        to.sample(&[], u8::from(seen.leadership.is_us));
    }),
    ("tercet_sentinel_raft_leader_known", Kind::Gauge, "1 if somebody leads it.", |seen, to| {
        to.sample(&[], u8::from(seen.leadership.leader.is_some()));
    }),
    ("tercet_sentinel_epoch", Kind::Gauge, "Number of the present mastership.", |seen, to| {
        to.sample(&[], seen.state.epoch);
    }),
    ("tercet_sentinel_isr_version", Kind::Gauge, "Grows with every change of the in-sync copies.", |seen, to| {
        to.sample(&[], seen.state.isr_version);
    }),
    ("tercet_sentinel_isr_member", Kind::Gauge, "1 for a node that is in sync, 0 for the others.", |seen, to| {
        for member in &seen.state.members {
            let is_in = seen.state.isr.iter().any(|process| process.name == member.name);
            to.sample(&[("node", &member.name)], u8::from(is_in));
        }
    }),
    (
        "tercet_sentinel_master_down",
        Kind::Gauge,
        "1 by how many think so: subjective (this one), objective.",
        |seen, to| {
            let master = seen.picture.master.as_ref();
            let is_down = |down: Option<u64>| u8::from(down.is_some());
            to.sample(&[("view", "subjective")], is_down(master.and_then(|master| master.instance.s_down_ms)));
            to.sample(&[("view", "objective")], is_down(master.and_then(|master| master.o_down_ms)));
        },
    ),
    ("tercet_sentinel_replica_connected", Kind::Gauge, "1 while this sentinel hears the replica.", |seen, to| {
        for replica in &seen.picture.replicas {
            connected(&replica.instance, "replica", to);
        }
    }),
    ("tercet_sentinel_replica_offset", Kind::Gauge, "End of the replica's journal, as it last said.", |seen, to| {
        for replica in &seen.picture.replicas {
            to.sample(&[("replica", &replica.instance.address.to_string())], replica.offset);
        }
    }),
    (
        "tercet_sentinel_replica_lag_records",
        Kind::Gauge,
        "Records by which a node is behind the master.",
        |seen, to| {
            for replica in &seen.picture.replicas {
                to.sample(&[("node", &replica.name)], replica.lag);
            }
        },
    ),
    ("tercet_sentinel_sentinels", Kind::Gauge, "Sentinels that have a vote.", |seen, to| {
        to.sample(&[], seen.picture.sentinel_count as u64);
    }),
    ("tercet_sentinel_other_connected", Kind::Gauge, "1 while this sentinel hears the other one.", |seen, to| {
        for sentinel in &seen.picture.sentinels {
            connected(&sentinel.instance, "sentinel", to);
        }
    }),
];

/// Serves the metrics until the listener fails.
pub(crate) async fn serve(sockets: Sockets, shared: Arc<Shared>) {
    let scrape = move || {
        let seen = Seen {
            picture: shared.picture(),
            state: shared.state(),
            leadership: *shared.consensus.leadership().borrow(),
        };
        std::future::ready(([(CONTENT_TYPE, prometheus::CONTENT_TYPE)], text(&seen)))
    };
    if let Err(error) = axum::serve(sockets, Router::new().route("/metrics", get(scrape))).await {
        tracing::error!(%error, "the port of the metrics has failed");
    }
}

fn text(seen: &Seen) -> String {
    let mut exposition = Exposition::default();
    for (name, kind, help, write) in METRICS {
        exposition.metric(*name, *kind, help);
        write(seen, &mut exposition);
    }
    redis_metrics::write(&seen.picture, &mut exposition);
    exposition.finish()
}

fn connected(instance: &Instance, label: &str, to: &mut Exposition) {
    to.sample(&[(label, &instance.address.to_string())], u8::from(instance.link == Link::Connected));
}
