//! `tercet-sentinel status`: the cluster in a few lines, as the sentinel with these settings sees it.

use std::collections::BTreeMap;

use tercet_proto::resp::Value;

use crate::{config::Config, health};

/// What SENTINEL says of one instance.
type Facts = BTreeMap<String, String>;

/// Asks the sentinel on its own port.
///
/// # Errors
/// What did not answer, in one line.
pub async fn ask(config: &Config) -> Result<String, String> {
    let service = config.service.as_str();
    let questions: [&[&str]; 4] = [
        &["SENTINEL", "MASTERS"],
        &["SENTINEL", "REPLICAS", service],
        &["SENTINEL", "SENTINELS", service],
        &["SENTINEL", "CKQUORUM", service],
    ];
    let mut replies = health::ask(config, &questions).await?.into_iter();
    let mut next = || replies.next().unwrap_or(Value::Null);
    let (masters, replicas, others, quorum) = (next(), next(), next(), next());
    Ok(shown(config, &rows(masters), &rows(replicas), &rows(others), &line(quorum)))
}

fn text(value: Value) -> String {
    match value {
        Value::Bulk(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Value::Integer(number) => number.to_string(),
        other => line(other),
    }
}

/// A reply of one line; an error says what is wrong.
fn line(value: Value) -> String {
    match value {
        Value::Simple(text) | Value::Error(text) => text,
        _ => String::new(),
    }
}

fn rows(value: Value) -> Vec<Facts> {
    let Value::Array(items) = value else { return Vec::new() };
    let facts = |item: Value| {
        let Value::Array(pairs) = item else { return Facts::new() };
        let mut pairs = pairs.into_iter();
        std::iter::from_fn(|| Some((text(pairs.next()?), text(pairs.next()?)))).collect()
    };
    items.into_iter().map(facts).collect()
}

fn shown(config: &Config, masters: &[Facts], replicas: &[Facts], others: &[Facts], quorum: &str) -> String {
    fn of<'a>(facts: &'a Facts, name: &str) -> &'a str {
        facts.get(name).map_or("-", String::as_str)
    }
    let state = |facts: &Facts| {
        let flags: Vec<_> = of(facts, "flags").split(',').collect();
        let known = [("o_down", "down, all agree"), ("s_down", "down"), ("failover_in_progress", "failing over")];
        let said = known.iter().find(|(flag, _)| flags.contains(flag)).map_or("up", |(_, said)| said);
        format!("{said}, heard {} ms ago", of(facts, "last-ok-ping-reply"))
    };
    let place = |facts: &Facts| format!("{}:{}", of(facts, "ip"), of(facts, "port"));
    let mut lines = vec![format!("{}: watches {}; {quorum}", config.name, config.service)];
    if masters.is_empty() {
        lines.push("no master is known".to_owned());
    }
    for master in masters {
        lines.push(format!(
            "  {:<8} master   {:<21} epoch {}, {} records; in sync: {} ({} needed); {}",
            of(master, "node-name"),
            place(master),
            of(master, "config-epoch"),
            of(master, "repl-offset"),
            of(master, "in-sync-nodes"),
            of(master, "min-isr"),
            state(master),
        ));
    }
    for replica in replicas {
        let sync = if of(replica, "in-sync") == "yes" { "in sync" } else { "not in sync" };
        lines.push(format!(
            "  {:<8} replica  {:<21} {sync}, lag {} records, link {}; {}",
            of(replica, "node-name"),
            place(replica),
            of(replica, "lag-records"),
            of(replica, "master-link-status"),
            state(replica),
        ));
    }
    for other in others {
        lines.push(format!("  sentinel          {:<21} {}", place(other), state(other)));
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(pairs: &[(&str, &str)]) -> Value {
        let bulk = |text: &str| Value::Bulk(text.as_bytes().to_vec());
        Value::Array(pairs.iter().flat_map(|(name, value)| [bulk(name), bulk(value)]).collect())
    }

    #[test]
    fn a_cluster_is_shown_in_a_few_lines() {
        let args = ["tercet-sentinel", "--name", "s1", "--nodes", "n1:1", "--sentinels", "127.0.0.1:27379"];
        let Ok(crate::config::Invocation::Run(config)) = crate::config::read(args, |_| None) else {
            panic!("settings")
        };
        let master = [("node-name", "n1"), ("ip", "a"), ("port", "1"), ("flags", "master"), ("in-sync-nodes", "n1,n2")];
        let replica = [("node-name", "n2"), ("ip", "b"), ("port", "2"), ("flags", "s_down,slave"), ("in-sync", "no")];
        let (masters, replicas) = (Value::Array(vec![row(&master)]), Value::Array(vec![row(&replica)]));
        let text = shown(&config, &rows(masters), &rows(replicas), &[], "OK 3 usable Sentinels.");
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines.len(), 3, "{text}");
        assert!(lines[0].contains("s1: watches mymaster; OK 3 usable"), "{text}");
        assert!(lines[1].contains("a:1") && lines[1].contains("in sync: n1,n2") && lines[1].contains("up,"), "{text}");
        assert!(lines[2].contains("n2") && lines[2].contains("not in sync") && lines[2].contains("down,"), "{text}");
        assert!(shown(&config, &[], &[], &[], "").contains("no master is known"));
    }
}
