//! `tercet-node status`: the cluster in ten lines, as the node on this machine sees it.

use serde_json::Value;

use crate::api::Api;
use crate::config::Config;

/// Asks the node on the management port, as `guest` with the password of the settings.
///
/// # Errors
/// Nobody answers there, or not what a node would.
pub fn ask(config: &Config) -> Result<String, String> {
    let local = Api::of_node(config)?;
    Ok(shown(&local.get("cluster")?, &local.get("failovers")?))
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
        match (&cluster["load"]["percent"], cluster["loading"] == true) {
            (Value::Number(percent), _) => format!(
                ", loading: {:.0} %, {} s left",
                percent.as_f64().unwrap_or(0.0),
                cluster["load"]["seconds_left"]
            ),
            (_, true) => ", loading".to_owned(),
            _ => String::new(),
        },
    )];
    lines.push(format!(
        "journal: {} records, {} committed; acknowledged {}",
        cluster["journal"]["end"],
        cluster["journal"]["commit"],
        text(&cluster["acknowledge"]),
    ));
    if let Some(percent) = cluster["checkpoint"]["progress"]["percent"].as_f64() {
        let left = &cluster["checkpoint"]["progress"]["seconds_left"];
        let left = left.as_u64().map_or_else(String::new, |left| format!(", {left} s left"));
        let backup = if cluster["checkpoint"]["backups_waiting"].as_u64() > Some(0) { ", then a backup" } else { "" };
        lines.push(format!("checkpoint: {percent:.0} %{left}{backup}"));
    }
    for member in list(&cluster["members"]) {
        let lag = member["lag_records"].as_u64().map_or_else(|| "-".to_owned(), |lag| lag.to_string());
        let state = match (member["in_sync"].as_bool(), member["syncing"].as_bool()) {
            (Some(true), _) => "in sync",
            (_, Some(true)) => "full sync",
            _ => "not in sync",
        };
        let state = match member["full_sync"]["percent"].as_f64() {
            Some(percent) => format!("{state} {percent:.0} %"),
            None => state.to_owned(),
        };
        lines.push(format!(
            "  {:<8} {:<8} {state:<14} lag {lag:<8} redis {} amqp {}{}",
            text(&member["name"]),
            text(&member["role"]),
            text(&member["resp"]),
            text(&member["amqp"]),
            // While an upgrade is under way.
            match member["version"].as_str() {
                Some(version) if member["version"] != cluster["version"] => format!(" version {version}"),
                _ => String::new(),
            },
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
        let mut syncing = cluster.clone();
        syncing["checkpoint"] = json!({ "progress": { "percent": 33.3, "seconds_left": 7 }, "backups_waiting": 1 });
        syncing["load"] = json!({ "percent": 41.6, "seconds_left": 3 });
        syncing["members"][0] =
            json!({ "name": "n2", "syncing": true, "full_sync": { "percent": 12.4 }, "version": "0.0.9" });
        let text = shown(&syncing, &json!([]));
        for part in
            ["loading: 42 %, 3 s left", "full sync 12 %", "version 0.0.9", "checkpoint: 33 %, 7 s left, then a backup"]
        {
            assert!(text.contains(part), "{part} in\n{text}");
        }
        let failovers = json!([{ "kind": "failover", "from": "n2", "to": "n1", "took_ms": 448, "epoch": 3 }]);
        let text = shown(&cluster, &failovers);
        for part in ["n1: master, epoch 3", "9 records, 8 committed", "in sync", "sentinels: s1", "n2 -> n1 in 448 ms"]
        {
            assert!(text.contains(part), "{part} in\n{text}");
        }
        assert!(shown(&json!({}), &json!(null)).lines().count() == 2, "whatever is missing");
    }
}
