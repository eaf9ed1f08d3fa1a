//! INFO: the sections of a Redis sentinel.

use std::{fmt::Write as _, sync::atomic::Ordering};

use super::{Server, row::Call};
use crate::{picture::Picture, simulated::Simulated};

type Section = fn(&Server, &Picture) -> String;

const SECTIONS: &[(&str, &str, Section)] = &[
    ("server", "Server", server),
    ("clients", "Clients", clients),
    ("cpu", "CPU", cpu),
    ("stats", "Stats", stats),
    ("sentinel", "Sentinel", sentinel),
];

pub(super) fn info(call: &mut Call<'_>) {
    let wanted: Vec<String> = call.args[1..].iter().map(|arg| String::from_utf8_lossy(arg).to_lowercase()).collect();
    let is_all =
        wanted.is_empty() || wanted.iter().any(|name| matches!(name.as_str(), "all" | "everything" | "default"));
    let picture = call.server.backend.picture();
    let mut text = String::new();
    for (name, title, section) in SECTIONS {
        if is_all || wanted.iter().any(|wanted| wanted == name) {
            if !text.is_empty() {
                text.push_str("\r\n");
            }
            // Writing to a string does not fail.
            let _ = write!(text, "# {title}\r\n{}", section(call.server, &picture));
        }
    }
    call.reply().verbatim("txt", &text);
}

fn lines(pairs: &[(&str, String)]) -> String {
    pairs.iter().map(|(name, value)| format!("{name}:{value}\r\n")).collect()
}

fn server(server: &Server, picture: &Picture) -> String {
    let seconds = picture.uptime.as_secs();
    lines(&[
        ("redis_version", super::REDIS_VERSION.into()),
        ("redis_git_sha1", "00000000".into()),
        ("redis_git_dirty", "0".into()),
        ("redis_mode", "sentinel".into()),
        ("tercet_version", env!("CARGO_PKG_VERSION").into()),
        ("os", std::env::consts::OS.into()),
        ("arch_bits", (usize::BITS).to_string()),
        ("process_id", std::process::id().to_string()),
        ("run_id", picture.sentinel_id.clone()),
        ("tcp_port", server.port.to_string()),
        ("uptime_in_seconds", seconds.to_string()),
        ("uptime_in_days", (seconds / 86_400).to_string()),
    ])
}

fn clients(server: &Server, _: &Picture) -> String {
    lines(&[
        ("connected_clients", server.clients.lock().len().to_string()),
        ("maxclients", crate::limits::MOST_CLIENTS.to_string()),
        ("blocked_clients", "0".into()),
    ])
}

fn cpu(_: &Server, _: &Picture) -> String {
    let (user, system) = cpu_seconds();
    lines(&[("used_cpu_sys", format!("{system:.6}")), ("used_cpu_user", format!("{user:.6}"))])
}

/// From `/proc/self/stat`: fields 14 and 15, in ticks of 10 ms on every Linux.
fn cpu_seconds() -> (f64, f64) {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The name in field 2 may hold spaces; it ends at the last parenthesis.
    let rest = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let ticks = |at: usize| rest.split_whitespace().nth(at).and_then(|text| text.parse::<f64>().ok()).unwrap_or(0.0);
    (ticks(11) / 100.0, ticks(12) / 100.0)
}

fn stats(server: &Server, picture: &Picture) -> String {
    let commands = server.commands_processed.load(Ordering::Relaxed);
    let per_second = commands / picture.uptime.as_secs().max(1);
    let subscribed = |count: fn(&super::Facts) -> usize| {
        let clients = server.clients.lock();
        clients.values().filter(|client| count(&client.facts.lock()) > 0).count().to_string()
    };
    lines(&[
        ("total_connections_received", server.connections_received.load(Ordering::Relaxed).to_string()),
        ("total_commands_processed", commands.to_string()),
        ("instantaneous_ops_per_sec", per_second.to_string()),
        ("pubsub_channels", subscribed(|facts| facts.subscriptions)),
        ("pubsub_patterns", subscribed(|facts| facts.patterns)),
    ])
}

fn sentinel(_: &Server, picture: &Picture) -> String {
    let mut text = lines(&[
        ("sentinel_masters", usize::from(picture.master.is_some()).to_string()),
        ("sentinel_tilt", u8::from(picture.tilt_ms.is_some()).to_string()),
        ("sentinel_tilt_since_seconds", picture.tilt_ms.map_or_else(|| "-1".into(), |ms| (ms / 1000).to_string())),
        ("sentinel_running_scripts", "0".into()),
        ("sentinel_scripts_queue_length", "0".into()),
        ("sentinel_simulate_failure_flags", picture.simulated.map_or(0, Simulated::flag).to_string()),
    ]);
    if let Some(master) = &picture.master {
        let status = match (master.o_down_ms, master.instance.s_down_ms) {
            (Some(_), _) => "odown",
            (None, Some(_)) => "sdown",
            (None, None) => "ok",
        };
        let _ = write!(
            text,
            "master0:name={},status={status},address={},slaves={},sentinels={}\r\n",
            picture.service,
            master.instance.address,
            picture.replicas.len(),
            picture.sentinels.len() + 1
        );
    }
    text
}

/// The INFO of a data node as far as a sentinel knows it, for `SENTINEL INFO-CACHE`.
pub(super) fn cached(picture: &Picture) -> Vec<(u64, String)> {
    let Some(master) = &picture.master else { return Vec::new() };
    let master_info = {
        let mut text = lines(&[
            ("run_id", master.instance.run_id.clone()),
            ("role", "master".into()),
            ("connected_slaves", picture.replicas.len().to_string()),
        ]);
        for (at, replica) in picture.replicas.iter().enumerate() {
            let crate::state::Address { host, port } = &replica.instance.address;
            let _ = write!(text, "slave{at}:ip={host},port={port},state=online,offset={}\r\n", replica.offset);
        }
        (master.instance.last_reply_ms, text)
    };
    let replicas = picture.replicas.iter().map(|replica| {
        let up = replica.master_link_up == crate::picture::Link::Connected;
        let text = lines(&[
            ("run_id", replica.instance.run_id.clone()),
            ("role", "slave".into()),
            ("master_host", replica.master.host.clone()),
            ("master_port", replica.master.port.to_string()),
            ("master_link_status", if up { "up" } else { "down" }.into()),
            ("slave_repl_offset", replica.offset.to_string()),
            ("slave_priority", replica.priority.to_string()),
            ("replica_announced", "1".into()),
        ]);
        (replica.instance.last_reply_ms, text)
    });
    std::iter::once(master_info).chain(replicas).collect()
}
