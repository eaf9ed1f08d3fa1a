//! `tercet-node top`: the busiest commands and queues of the last seconds, drawn anew until it is stopped.

use std::fmt::Write as _;
use std::io::{IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::api::Api;
use crate::config::{Config, Times};

/// Rows of each table.
const ROWS: usize = 10;

const QUEUES: &str = "queues?columns=vhost,name,messages_ready,messages_unacknowledged,message_stats.publish_details.rate,\
                      message_stats.deliver_get_details.rate,consumers&page=1&page_size=10&sort_reverse=true&sort=\
                      message_stats.deliver_get_details.rate";

/// One look at the node.
struct Seen {
    at: Instant,
    cluster: Value,
    overview: Value,
    commands: Value,
    queues: Value,
}

/// Draws, every `every`.
///
/// # Errors
/// The node does not answer.
pub fn run(config: &Config, times: Times, every: Duration) -> Result<String, String> {
    let local = Api::of_node(config)?;
    let mut before = look(&local)?;
    loop {
        std::thread::sleep(every);
        let now = look(&local)?;
        let text = shown(&before, &now);
        if times == Times::Once {
            return Ok(text);
        }
        let clear = if std::io::stdout().is_terminal() { "\x1b[H\x1b[J" } else { "" };
        // Who does not read any more does not want it.
        let written = std::io::stdout().write_all(format!("{clear}{text}\n").as_bytes());
        if written.and_then(|()| std::io::stdout().flush()).is_err() {
            return Ok(String::new());
        }
        before = now;
    }
}

fn look(local: &Api) -> Result<Seen, String> {
    Ok(Seen {
        at: Instant::now(),
        cluster: local.get("cluster")?,
        overview: local.get("overview")?,
        commands: local.get("commands")?,
        queues: local.get(QUEUES)?,
    })
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or(0.0)
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or("-")
}

fn shown(before: &Seen, now: &Seen) -> String {
    let seconds = now.at.duration_since(before.at).as_secs_f64().max(0.001);
    let mut out = String::new();
    // Writing to a String cannot fail.
    _ = writeln!(
        out,
        "{} asked; master {}, epoch {}; {} clients, {} keys, {:.0} MiB; {} messages ready, {} unacknowledged",
        text(&now.cluster["node"]),
        text(&now.cluster["master"]),
        now.cluster["epoch"],
        now.overview["tercet"]["clients"],
        now.overview["tercet"]["keys"],
        number(&now.overview["tercet"]["memory"]) / f64::from(1 << 20),
        now.overview["queue_totals"]["messages_ready"],
        now.overview["queue_totals"]["messages_unacknowledged"],
    );
    _ = writeln!(out, "\n{:<24} {:<14} {:>12} {:>12} {:>10}", "COMMAND", "FAMILY", "CALLS/S", "US/CALL", "FAILED/S");
    for (name, family, calls, micros, failed) in commands(before, now, seconds).into_iter().take(ROWS) {
        _ = writeln!(out, "{name:<24} {family:<14} {calls:>12.1} {micros:>12.1} {failed:>10.1}");
    }
    _ = writeln!(
        out,
        "\n{:<30} {:<10} {:>10} {:>10} {:>10} {:>10} {:>6}",
        "QUEUE", "VHOST", "READY", "UNACKED", "IN/S", "OUT/S", "CONS"
    );
    for queue in list(&now.queues["items"]).take(ROWS) {
        let rate = |name: &str| number(&queue["message_stats"][name]["rate"]);
        _ = writeln!(
            out,
            "{:<30} {:<10} {:>10} {:>10} {:>10.1} {:>10.1} {:>6}",
            text(&queue["name"]),
            text(&queue["vhost"]),
            queue["messages_ready"],
            queue["messages_unacknowledged"],
            rate("publish_details"),
            rate("deliver_get_details"),
            queue["consumers"],
        );
    }
    out.truncate(out.trim_end().len());
    out
}

/// Name, family, calls a second, microseconds a call, failures a second; the busiest first.
fn commands<'s>(before: &Seen, now: &'s Seen, seconds: f64) -> Vec<(&'s str, &'s str, f64, f64, f64)> {
    let mut rows: Vec<_> = list(&now.commands)
        .filter_map(|row| {
            let known = list(&before.commands).find(|known| known["name"] == row["name"]);
            let change =
                |field: &str| (number(&row[field]) - known.map_or(0.0, |known| number(&known[field]))).max(0.0);
            let (calls, micros) = (change("calls"), change("microseconds"));
            let failed = change("failed") + change("rejected");
            let is_busy = calls + failed > 0.0;
            let per_call = if calls > 0.0 { micros / calls } else { 0.0 };
            is_busy.then(|| (text(&row["name"]), text(&row["family"]), calls / seconds, per_call, failed / seconds))
        })
        .collect();
    rows.sort_by(|one, other| other.2.total_cmp(&one.2));
    rows
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn seen(at: Instant, gets: u64, sets: u64) -> Seen {
        Seen {
            at,
            cluster: json!({ "node": "n1", "master": "n1", "epoch": 2 }),
            overview: json!({ "tercet": { "clients": 3, "keys": 7, "memory": 1 << 20 }, "queue_totals": {} }),
            commands: json!([
                { "name": "get", "family": "string", "calls": gets, "microseconds": 2 * gets, "failed": 0, "rejected": 0 },
                { "name": "set", "family": "string", "calls": sets, "microseconds": 4 * sets, "failed": 1, "rejected": 0 },
                { "name": "ping", "family": "connection", "calls": 9, "microseconds": 9, "failed": 0, "rejected": 0 },
            ]),
            queues: json!({ "items": [{ "name": "tasks", "vhost": "/", "messages_ready": 5 }] }),
        }
    }

    #[test]
    fn what_was_called_since_the_last_look_is_shown_by_how_often() {
        let start = Instant::now();
        let text = shown(&seen(start, 100, 10), &seen(start + Duration::from_secs(2), 300, 1010));
        let lines: Vec<_> = text.lines().collect();
        assert!(lines[0].contains("master n1, epoch 2; 3 clients, 7 keys, 1 MiB"), "{text}");
        let words = |line: usize| lines[line].split_whitespace().collect::<Vec<_>>();
        assert_eq!(words(3), ["set", "string", "500.0", "4.0", "0.0"], "{text}");
        assert_eq!(words(4), ["get", "string", "100.0", "2.0", "0.0"], "{text}");
        assert!(!text.contains("ping") && text.contains("tasks"), "{text}");
    }
}
