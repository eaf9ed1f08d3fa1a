//! Health: the probes of orchestrators, and RabbitMQ's checks. Each is of the node that was asked.

use serde_json::{Value, json};

use super::answer::{Answer, Outcome};
use super::request::Request;
use super::{json, overview};
use crate::role::DiskHealth;

/// Paths of probes, without `/api` and without a login.
pub(super) fn is_probe(path: &str) -> bool {
    matches!(path, "/livez" | "/readyz" | "/healthz")
}

fn passed() -> Answer {
    Answer::json(json!({ "status": "ok" }))
}

fn failed(reason: &str) -> Answer {
    Answer::failed(json!({ "status": "failed", "reason": reason }))
}

/// GET /livez: the process answers.
pub(super) fn live(_: &Request) -> Outcome {
    Ok(passed())
}

/// GET /readyz and /healthz: it may be sent clients.
pub(super) fn ready(request: &Request) -> Outcome {
    Ok(crate::health::not_ready(request.node()).map_or_else(passed, failed))
}

pub(super) fn ok(_: &Request) -> Outcome {
    Ok(passed())
}

/// GET /api/health/checks/is-in-service and …/ready-to-serve-clients
pub(super) fn in_service(request: &Request) -> Outcome {
    ready(request)
}

/// GET /api/health/checks/alarms and …/local-alarms
pub(super) fn alarms(request: &Request) -> Outcome {
    let node = request.node();
    if node.authority.standing().disk == DiskHealth::Well {
        return Ok(passed());
    }
    let alarm = json!({ "node": json::node_name(node), "resource": "disk" });
    Ok(Answer::failed(json!({ "status": "failed", "reason": "There are alarms in effect", "alarms": [alarm] })))
}

/// GET /api/health/checks/port-listener/:port
pub(super) fn port_listener(request: &Request) -> Outcome {
    let ports = overview::ports(request.node());
    let wanted = request.capture(0).parse::<u16>().ok();
    if let Some((_, port)) = ports.iter().find(|(_, port)| Some(*port) == wanted) {
        return Ok(Answer::json(json!({ "status": "ok", "port": port })));
    }
    let ports: Vec<_> = ports.iter().map(|(_, port)| port).collect();
    let missing = wanted.map_or_else(|| json!(request.capture(0)), Value::from);
    Ok(Answer::failed(
        json!({ "status": "failed", "reason": "No active listener", "missing": missing, "ports": ports }),
    ))
}

/// GET /api/health/checks/protocol-listener/:protocol
pub(super) fn protocol_listener(request: &Request) -> Outcome {
    let wanted = match request.capture(0) {
        "amqp091" | "amqp0.9.1" | "amqp" => "amqp",
        other => other,
    };
    let ports = overview::ports(request.node());
    if ports.iter().any(|(protocol, _)| *protocol == wanted) {
        return Ok(Answer::json(json!({ "status": "ok", "protocol": wanted })));
    }
    let protocols: Vec<_> = ports.iter().map(|(protocol, _)| protocol).collect();
    Ok(Answer::failed(json!({
        "status": "failed", "reason": "No active listener", "missing": wanted, "protocols": protocols,
    })))
}

/// GET /api/health/checks/node-is-quorum-critical: whether the cluster takes writes without this node.
pub(super) fn node_is_critical(request: &Request) -> Outcome {
    let node = request.node();
    let state = node.cluster.read().clone();
    let Some(state) = state else { return Ok(passed()) };
    let is_member = state.isr.iter().any(|member| member.name == node.identity.name);
    if is_member && state.isr.len() <= state.min_isr as usize {
        return Ok(failed("without this node there are not enough in-sync copies to take writes"));
    }
    Ok(passed())
}

/// GET /api/health/checks/below-node-connection-limit
pub(super) fn below_connection_limit(request: &Request) -> Outcome {
    let node = request.node();
    let (current, limit) = (node.clients.len(), node.config.live.maxclients.size());
    if current < limit {
        return Ok(Answer::json(json!({ "status": "ok", "current": current, "limit": limit })));
    }
    Ok(Answer::failed(json!({
        "status": "failed", "reason": "node connection limit is reached", "current": current, "limit": limit,
    })))
}
