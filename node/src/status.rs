//! `tercet-node status`: the cluster in ten lines, as the node on this machine sees it.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use crate::accounts::INITIAL_AMQP_USER;
use crate::config::Config;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// Bytes of an answer that are read.
const MOST_BYTES: u64 = 1 << 20;

/// Asks the node on the management port, as `guest` with the password of the settings.
///
/// # Errors
/// Nobody answers there, or not what a node would.
pub fn ask(config: &Config) -> Result<String, String> {
    let password = if config.requirepass.is_empty() { INITIAL_AMQP_USER } else { &config.requirepass };
    let host = if config.bind.is_unspecified() { [127, 0, 0, 1].into() } else { config.bind };
    let address = SocketAddr::new(host, config.http_port);
    let cluster = get(address, password, "cluster")?;
    let failovers = get(address, password, "failovers")?;
    Ok(shown(&cluster, &failovers))
}

fn get(address: SocketAddr, password: &str, path: &str) -> Result<Value, String> {
    let login = STANDARD.encode(format!("{INITIAL_AMQP_USER}:{password}"));
    let request = format!(
        "GET /api/{path} HTTP/1.1\r\nhost: localhost\r\nauthorization: Basic {login}\r\nconnection: close\r\n\r\n"
    );
    let ask = || -> std::io::Result<Vec<u8>> {
        let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(request.as_bytes())?;
        let mut answer = Vec::new();
        stream.take(MOST_BYTES).read_to_end(&mut answer)?;
        Ok(answer)
    };
    let answer = ask().map_err(|error| format!("no node answers on {address}: {error}"))?;
    let text = String::from_utf8_lossy(&answer);
    let (head, body) = text.split_once("\r\n\r\n").ok_or_else(|| format!("{address} does not speak HTTP"))?;
    let status = head.split(' ').nth(1).unwrap_or_default();
    if status == "401" {
        return Err("the node has another password: say it with --requirepass".to_owned());
    }
    serde_json::from_str(body).map_err(|_| format!("{address} answers {status}"))
}

fn shown(cluster: &Value, failovers: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let mut lines = vec![format!(
        "{}: {}, epoch {}, version {}{}",
        text(&cluster["node"]),
        text(&cluster["role"]),
        cluster["epoch"],
        text(&cluster["version"]),
        if cluster["loading"] == true { ", loading" } else { "" },
    )];
    lines.push(format!(
        "journal: {} records, {} committed; acknowledged {}",
        cluster["journal"]["end"],
        cluster["journal"]["commit"],
        text(&cluster["acknowledge"]),
    ));
    for member in list(&cluster["members"]) {
        let lag = member["lag_records"].as_u64().map_or_else(|| "-".to_owned(), |lag| lag.to_string());
        let state = match (member["in_sync"].as_bool(), member["syncing"].as_bool()) {
            (Some(true), _) => "in sync",
            (_, Some(true)) => "full sync",
            _ => "not in sync",
        };
        lines.push(format!(
            "  {:<8} {:<8} {state:<12} lag {lag:<8} redis {} amqp {}",
            text(&member["name"]),
            text(&member["role"]),
            text(&member["resp"]),
            text(&member["amqp"]),
        ));
    }
    let sentinels: Vec<_> = list(&cluster["sentinels"]).iter().map(|sentinel| text(&sentinel["name"])).collect();
    if !sentinels.is_empty() {
        lines.push(format!("sentinels: {}; {} copies needed in sync", sentinels.join(", "), cluster["min_isr"]));
    }
    for failover in list(failovers).iter().take(3) {
        lines.push(format!(
            "{} {} -> {} in {} ms (epoch {})",
            text(&failover["kind"]),
            text(&failover["from"]),
            text(&failover["to"]),
            failover["took_ms"],
            failover["epoch"],
        ));
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_cluster_is_shown_in_a_few_lines() {
        let cluster = json!({
            "node": "n1", "role": "master", "epoch": 3, "version": "0.1.0", "acknowledge": "replicated", "min_isr": 2,
            "journal": { "end": 9, "commit": 8 }, "sentinels": [{ "name": "s1" }],
            "members": [{ "name": "n1", "role": "master", "in_sync": true, "lag_records": 0, "resp": "a:1", "amqp": "a:2" }],
        });
        let failovers = json!([{ "kind": "failover", "from": "n2", "to": "n1", "took_ms": 448, "epoch": 3 }]);
        let text = shown(&cluster, &failovers);
        for part in ["n1: master, epoch 3", "9 records, 8 committed", "in sync", "sentinels: s1", "n2 -> n1 in 448 ms"]
        {
            assert!(text.contains(part), "{part} in\n{text}");
        }
        assert!(shown(&json!({}), &json!(null)).lines().count() == 2, "whatever is missing");
    }
}
