//! GET /api/streams: the streams of the gateway that are open on the master.

use std::sync::atomic::Ordering::Relaxed;

use serde_json::{Value, json};

use super::answer::{Answer, Outcome};
use super::limits;
use super::request::Request;
use crate::clock;

pub(super) fn list(request: &Request) -> Outcome {
    let (node, now) = (request.node(), clock::boot_now());
    let streams = &node.streams;
    let row = |stream: &std::sync::Arc<crate::streams::Gauges>| {
        json!({
            "id": stream.id,
            "peer": stream.peer.map(|peer| peer.to_string()),
            "age_ms": now.millis_since(stream.since),
            "requests": stream.requests.load(Relaxed),
            "answers": stream.answers.load(Relaxed),
        })
    };
    let rows: Vec<Value> = streams.oldest(limits::STREAMS).iter().map(row).collect();
    Ok(Answer::json(json!({
        "open": streams.len(),
        "opened": streams.opened(),
        "requests": streams.requests(),
        "requests_per_second": request.http.history.rate("gateway"),
        "port": node.config.gateway_port,
        "tls_port": node.config.gateway_tls_port,
        "items": rows,
    })))
}
