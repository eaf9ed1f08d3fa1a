//! INFO: sections of `name:value` lines with the names of Redis, so that its exporters and clients can read them.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::sync::atomic::Ordering::Relaxed;

use tercet_proto::grpc::cluster::v1::Address;
use tercet_proto::resp::Encoder;

use super::{REDIS_VERSION, Session};
use crate::clients::Sizes;
use crate::clock;
use crate::engine::View;
use crate::freeing;
use crate::keyspace::Wants;
use crate::limits;
use crate::node::Node;
use crate::pubsub::Channel;
use crate::replication::commit::Held;
use crate::resp::table::{self, Args, Outcome};
use crate::role::{Role, State};

/// A section: its name in lower case, its title, what writes it.
type Section = (&'static str, &'static str, fn(&Node, &View<'_>, &mut String));

const SECTIONS: &[Section] = &[
    ("server", "Server", server),
    ("clients", "Clients", clients),
    ("memory", "Memory", memory),
    ("persistence", "Persistence", persistence),
    ("stats", "Stats", stats),
    ("replication", "Replication", replication),
    ("cpu", "CPU", cpu),
    ("modules", "Modules", |_, _, _| ()),
    ("commandstats", "Commandstats", commandstats),
    ("errorstats", "Errorstats", errorstats),
    ("latencystats", "Latencystats", latencystats),
    ("cluster", "Cluster", |_, _, text| line(text, "cluster_enabled", 0)),
    ("keyspace", "Keyspace", keyspace),
];

pub(super) fn info(session: &mut Session, view: &View<'_>, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let wanted: Vec<Vec<u8>> = args[1..].iter().map(|name| name.to_ascii_lowercase()).collect();
    let everything =
        wanted.is_empty() || wanted.iter().any(|name| matches!(name.as_slice(), b"all" | b"default" | b"everything"));
    let and_commands = wanted.iter().any(|name| matches!(name.as_slice(), b"all" | b"everything" | b"commandstats"));
    let mut text = String::new();
    for (name, title, write) in SECTIONS {
        let is_wanted = match *name {
            // As in Redis, not by default.
            "commandstats" => and_commands,
            "latencystats" => {
                wanted.iter().any(|name| matches!(name.as_slice(), b"all" | b"everything" | b"latencystats"))
            }
            _ => everything || wanted.iter().any(|wanted| wanted == name.as_bytes()),
        };
        if is_wanted {
            if !text.is_empty() {
                text.push_str("\r\n");
            }
            // Writing to a String cannot fail.
            _ = write!(text, "# {title}\r\n");
            write(&session.node, view, &mut text);
        }
    }
    out.verbatim("txt", &text);
    Ok(())
}

fn line(text: &mut String, name: &str, value: impl std::fmt::Display) {
    // Writing to a String cannot fail.
    _ = write!(text, "{name}:{value}\r\n");
}

/// Host and port, empty and 0 if unknown.
pub(super) fn address(address: Option<&Address>) -> (String, i64) {
    address.map_or_else(Default::default, |address| (address.host.clone(), i64::from(address.port)))
}

fn server(node: &Node, _: &View<'_>, text: &mut String) {
    let uptime = clock::boot_now().millis_since(node.started) / 1000;
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    line(text, "redis_version", REDIS_VERSION);
    line(text, "tercet_version", env!("CARGO_PKG_VERSION"));
    line(text, "redis_mode", "standalone");
    line(text, "os", format_args!("Linux {} {}", kernel.trim(), std::env::consts::ARCH));
    line(text, "arch_bits", usize::BITS);
    line(text, "monotonic_clock", "POSIX clock_gettime");
    line(text, "multiplexing_api", "epoll");
    line(text, "atomicvar_api", "rust");
    line(text, "process_supervised", "no");
    line(text, "redis_build_id", env!("CARGO_PKG_VERSION"));
    line(text, "redis_git_sha1", "00000000");
    line(text, "redis_git_dirty", 0);
    line(text, "process_id", std::process::id());
    line(text, "run_id", &node.identity.incarnation);
    line(text, "tcp_port", node.config.resp_port);
    line(text, "server_time_usec", clock::unix_now().0 * 1000);
    line(text, "uptime_in_seconds", uptime);
    line(text, "uptime_in_days", uptime / 86_400);
    line(text, "hz", limits::EXPIRY_HZ);
    line(text, "configured_hz", node.config.live.hz.load());
    line(text, "lru_clock", (clock::unix_now().0 / 1000) & 0xff_ffff);
    line(text, "executable", std::env::current_exe().unwrap_or_default().display());
    line(text, "config_file", node.config.file.as_deref().unwrap_or(std::path::Path::new("")).display());
    line(text, "io_threads_active", 0);
    line(text, "node_name", &node.identity.name);
    line(text, "node_id", &node.identity.node_id);
}

fn clients(node: &Node, view: &View<'_>, text: &mut String) {
    line(text, "connected_clients", node.clients.len());
    line(text, "cluster_connections", 0);
    line(text, "maxclients", node.config.live.maxclients.size());
    let clients = node.clients.list();
    let largest = |size: fn(&Sizes) -> usize| clients.iter().map(|client| size(&client.sizes)).max().unwrap_or(0);
    line(text, "client_recent_max_input_buffer", largest(|sizes| sizes.query_buffer.load(Relaxed)));
    line(text, "client_recent_max_output_buffer", largest(|sizes| sizes.output_buffer.load(Relaxed)));
    let blocked = node.stats.blocked.load(Relaxed);
    line(text, "blocked_clients", blocked);
    line(text, "tracking_clients", node.tracking.trackers().0);
    line(text, "clients_in_timeout_table", 0);
    let (mut keys, mut without) = (HashSet::new(), HashSet::new());
    if blocked > 0 {
        view.each_shard(|shard| {
            for ticket in shard.all_waiters() {
                let names = ticket.keys.iter().map(|key| (ticket.database, key.clone()));
                keys.extend(names.clone());
                if ticket.wants == Wants::Group {
                    without.extend(names);
                }
            }
        });
    }
    line(text, "total_blocking_keys", keys.len());
    line(text, "total_blocking_keys_on_nokey", without.len());
}

fn memory(node: &Node, view: &View<'_>, text: &mut String) {
    let allocated = crate::memory::allocated();
    let resident = crate::memory::resident();
    line(text, "used_memory", allocated);
    line(text, "used_memory_human", human(allocated));
    line(text, "used_memory_rss", resident);
    line(text, "used_memory_rss_human", human(resident));
    let peak = crate::memory::peak().max(allocated);
    line(text, "used_memory_peak_perc", format_args!("{:.2}%", allocated as f64 * 100.0 / peak.max(1) as f64));
    let system = system_memory();
    line(text, "total_system_memory", system);
    line(text, "total_system_memory_human", human(system));
    let scripts = &node.scripts;
    let (cached, script_bytes) = scripts.kept();
    let lua = scripts.memory.load(Relaxed) as u64;
    let libraries = node.libraries.of(&node.engine.accounts);
    line(text, "used_memory_lua", lua);
    line(text, "used_memory_vm_eval", lua);
    line(text, "used_memory_lua_human", human(lua));
    line(text, "used_memory_scripts_eval", script_bytes);
    line(text, "number_of_cached_scripts", cached);
    line(text, "number_of_functions", libraries.functions());
    line(text, "number_of_libraries", libraries.len());
    line(text, "used_memory_vm_functions", 0);
    line(text, "used_memory_vm_total", lua);
    line(text, "used_memory_vm_total_human", human(lua));
    line(text, "used_memory_functions", libraries.bytes());
    line(text, "used_memory_scripts", script_bytes + libraries.bytes());
    line(text, "used_memory_scripts_human", human((script_bytes + libraries.bytes()) as u64));
    line(text, "maxmemory", node.config.live.maxmemory.load());
    line(text, "maxmemory_human", human(node.config.live.maxmemory.load() as u64));
    line(text, "maxmemory_policy", node.config.live.policy());
    let (start, journal) = (crate::memory::at_start(), node.engine.journal.retained_bytes() as u64);
    let (active, pages) = crate::memory::pages();
    line(text, "used_memory_peak", crate::memory::peak());
    line(text, "used_memory_peak_human", human(crate::memory::peak()));
    line(text, "used_memory_startup", start);
    line(text, "used_memory_overhead", start + journal);
    line(text, "used_memory_dataset", allocated.saturating_sub(start + journal));
    line(text, "allocator_allocated", allocated);
    line(text, "allocator_active", active);
    line(text, "allocator_resident", pages);
    // Within EXEC all shards are held: they are seen through the view.
    let mut dead = 0;
    view.each_shard(|shard| dead += shard.databases().map(|(_, keys)| keys.bytes().1).sum::<usize>());
    line(text, "mem_not_counted_for_evict", journal + dead as u64);
    line(text, "mem_fragmentation_ratio", format_args!("{:.2}", resident as f64 / allocated.max(1) as f64));
    line(text, "mem_fragmentation_bytes", resident.saturating_sub(allocated));
    line(text, "allocator_frag_ratio", "1.00");
    line(text, "allocator_frag_bytes", 0);
    line(text, "allocator_rss_ratio", format_args!("{:.2}", resident as f64 / allocated.max(1) as f64));
    line(text, "allocator_rss_bytes", resident.saturating_sub(allocated));
    line(text, "rss_overhead_ratio", "1.00");
    line(text, "rss_overhead_bytes", 0);
    line(text, "mem_replication_backlog", node.engine.journal.retained_bytes());
    for name in [
        "mem_total_replication_buffers",
        "mem_clients_slaves",
        "mem_clients_normal",
        "mem_cluster_links",
        "mem_aof_buffer",
        "active_defrag_running",
    ] {
        line(text, name, 0);
    }
    line(text, "lazyfree_pending_objects", freeing::pending());
    line(text, "lazyfreed_objects", freeing::freed());
    line(text, "mem_allocator", "jemalloc");
}

fn system_memory() -> u64 {
    let info = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let total = info.lines().find_map(|line| line.strip_prefix("MemTotal:")?.trim().strip_suffix(" kB")?.parse().ok());
    total.map_or(0, |kilobytes: u64| kilobytes * 1024)
}

fn human(bytes: u64) -> String {
    let units = [("G", 1u64 << 30), ("M", 1 << 20), ("K", 1 << 10)];
    match units.iter().find(|(_, size)| bytes >= *size) {
        Some((unit, size)) => format!("{:.2}{unit}", bytes as f64 / *size as f64),
        None => format!("{bytes}B"),
    }
}

fn persistence(node: &Node, _: &View<'_>, text: &mut String) {
    let loading = matches!(node.authority.standing().state, State::Loading);
    let checkpoint = node.checkpoint.status();
    line(text, "loading", u8::from(loading));
    line(text, "async_loading", 0);
    line(
        text,
        "rdb_changes_since_last_save",
        node.engine.journal.end().0.saturating_sub(checkpoint.last.map_or(0, |report| report.floor.0)),
    );
    let durability = node.engine.journal.durability();
    let refusal = durability.refusal();
    let status = |is_well: bool| if is_well { "ok" } else { "err" };
    let took_seconds = checkpoint.last.map_or(-1, |report| report.took.as_secs() as i64);
    line(text, "rdb_bgsave_in_progress", u8::from(checkpoint.is_running));
    line(text, "rdb_last_save_time", super::save::last_save(node).0 / 1000);
    line(text, "rdb_last_bgsave_status", status(checkpoint.failure.is_none()));
    line(text, "rdb_last_bgsave_time_sec", took_seconds);
    let portion = node.checkpoint.portion();
    let running_seconds = portion.map_or(-1, |portion| (clock::boot_now().millis_since(portion.began) / 1000) as i64);
    line(text, "rdb_current_bgsave_time_sec", running_seconds);
    line(text, "rdb_saves", checkpoint.passes);
    line(text, "aof_enabled", u8::from(durability.promise().is_some()));
    line(text, "aof_rewrite_in_progress", u8::from(checkpoint.is_running));
    line(text, "aof_rewrite_scheduled", 0);
    line(text, "aof_last_rewrite_time_sec", took_seconds);
    line(text, "aof_last_bgrewrite_status", status(checkpoint.failure.is_none()));
    line(text, "aof_last_write_status", status(refusal.is_none()));
    line(text, "aof_current_rewrite_time_sec", running_seconds);
    line(text, "aof_rewrites", checkpoint.passes);
    for name in [
        "current_cow_peak",
        "current_cow_size",
        "current_cow_size_age",
        "rdb_last_cow_size",
        "rdb_last_load_keys_expired",
        "rdb_last_load_keys_loaded",
        "aof_rewrites_consecutive_failures",
        "aof_last_cow_size",
        "module_fork_in_progress",
        "module_fork_last_cow_size",
    ] {
        line(text, name, 0);
    }
    // Keys and messages that the checkpoint has looked at; Redis's names.
    line(text, "current_save_keys_processed", portion.map_or(0, |portion| portion.done));
    line(text, "current_save_keys_total", portion.map_or(0, |portion| portion.all));
    line(text, "current_fork_perc", format_args!("{:.2}", portion.map_or(0.0, |portion| portion.percent())));
    if let Some(left) = portion.and_then(|portion| portion.seconds_left(clock::boot_now())) {
        line(text, "tercet_checkpoint_seconds_left", left);
    }
    if let Some(report) = node.loading.report() {
        line(text, "loading_start_time", report.start_time);
        line(text, "loading_total_bytes", report.total_bytes);
        line(text, "loading_loaded_bytes", report.loaded_bytes);
        line(text, "loading_loaded_perc", format_args!("{:.2}", report.loaded_percent));
        line(text, "loading_eta_seconds", report.eta_seconds);
    }
    if durability.promise().is_some() {
        line(text, "tercet_written_offset", durability.written());
        line(text, "tercet_durable_offset", durability.durable());
        line(text, "tercet_checkpoint_floor", checkpoint.last.map_or(0, |report| report.floor.0));
    }
    if let Some(reason) = refusal {
        line(text, "tercet_disk_refuses", reason);
    }
}

fn stats(node: &Node, _: &View<'_>, text: &mut String) {
    let stats = &node.stats;
    line(text, "total_connections_received", stats.connections.load(Relaxed));
    line(text, "total_commands_processed", stats.commands.load(Relaxed));
    line(text, "total_net_input_bytes", stats.bytes_in.load(Relaxed));
    line(text, "total_net_output_bytes", stats.bytes_out.load(Relaxed));
    line(text, "rejected_connections", stats.rejected_connections.load(Relaxed));
    line(text, "sync_full", stats.full_syncs.load(Relaxed));
    line(text, "sync_partial_ok", stats.partial_syncs.load(Relaxed));
    line(text, "tercet_sync_resumed", stats.resumed_syncs.load(Relaxed));
    line(text, "expired_keys", stats.expired.load(Relaxed));
    line(text, "evicted_keys", node.eviction.evicted.load(Relaxed));
    line(text, "keyspace_hits", stats.hits.load(Relaxed));
    line(text, "keyspace_misses", stats.misses.load(Relaxed));
    line(text, "pubsub_channels", node.pubsub.channels(Channel::Plain, None).len());
    line(text, "pubsub_patterns", node.pubsub.patterns());
    line(text, "pubsubshard_channels", node.pubsub.channels(Channel::Shard, None).len());
    let rate = node.rates.average();
    line(text, "instantaneous_ops_per_sec", rate.commands);
    line(text, "instantaneous_input_kbps", format_args!("{:.2}", rate.bytes_in as f64 / 1024.0));
    line(text, "instantaneous_output_kbps", format_args!("{:.2}", rate.bytes_out as f64 / 1024.0));
    line(text, "expire_cycle_cpu_milliseconds", stats.expiry_micros.load(Relaxed) / 1000);
    line(text, "tracking_total_keys", node.tracking.known());
    line(text, "tracking_total_items", node.tracking.items());
    line(text, "tracking_total_prefixes", node.tracking.trackers().1);
    line(text, "total_reads_processed", stats.reads.load(Relaxed));
    line(text, "total_writes_processed", stats.writes.load(Relaxed));
    line(text, "evicted_clients", stats.evicted_clients.load(Relaxed));
    line(text, "latest_fork_usec", 0);
    line(text, "total_error_replies", node.counters.errors().values().sum::<u64>());
    for name in [
        "instantaneous_input_repl_kbps",
        "instantaneous_output_repl_kbps",
        "total_net_repl_input_bytes",
        "total_net_repl_output_bytes",
        "sync_partial_err",
        "expired_stale_perc",
        "expired_time_cap_reached_count",
        "total_eviction_exceeded_time",
        "current_eviction_exceeded_time",
        "total_forks",
        "migrate_cached_sockets",
        "slave_expires_tracked_keys",
        "active_defrag_hits",
        "active_defrag_misses",
        "active_defrag_key_hits",
        "active_defrag_key_misses",
        "total_active_defrag_time",
        "current_active_defrag_time",
        "unexpected_error_replies",
        "dump_payload_sanitizations",
        "io_threaded_reads_processed",
        "io_threaded_writes_processed",
        "reply_buffer_shrinks",
        "reply_buffer_expands",
    ] {
        line(text, name, 0);
    }
}

fn replication(node: &Node, _: &View<'_>, text: &mut String) {
    let standing = node.authority.standing();
    let now = clock::boot_now();
    let end = node.engine.journal.end();
    if standing.role == Role::Master {
        let replicas = node.replicas.read().clone();
        line(text, "role", "master");
        line(text, "connected_slaves", replicas.len());
        for (index, replica) in replicas.iter().enumerate() {
            let (host, port) = address(replica.member.resp.as_ref());
            let state = if replica.syncing { "send_bulk" } else { "online" };
            let lag = now.millis_since(replica.last_heard) / 1000;
            let Held { received, durable, applied } = replica.held;
            let value = format!("ip={host},port={port},state={state},offset={received},lag={lag}");
            line(text, &format!("slave{index}"), value);
            // In a line of its own: exporters take every pair of Redis's line for a number they know.
            let (name, in_sync) = (&replica.member.name, u8::from(replica.in_sync));
            let behind = end.0.saturating_sub(received.0);
            let silent_ms = now.millis_since(replica.last_heard);
            let disk = replica.disk.name();
            let value = format!(
                "name={name},in_sync={in_sync},durable={durable},applied={applied},behind={behind},silent_ms={silent_ms},disk={disk}"
            );
            line(text, &format!("tercet_replica{index}"), value);
        }
    } else {
        let link = node.link.read().clone();
        let master = link.master.clone().or_else(|| node.other_master());
        let (host, port) = address(master.as_ref().and_then(|master| master.resp.as_ref()));
        line(text, "role", "slave");
        line(text, "master_host", host);
        line(text, "master_port", port);
        line(text, "master_link_status", if link.is_up && !link.syncing { "up" } else { "down" });
        line(text, "master_last_io_seconds_ago", now.millis_since(link.last_heard) / 1000);
        line(text, "master_sync_in_progress", u8::from(link.syncing));
        if let Some(portion) = link.full_sync {
            line(text, "master_sync_perc", format!("{:.2}", portion.percent()));
            line(text, "tercet_sync_eta_seconds", portion.seconds_left(now).map_or(-1, |seconds| seconds as i64));
        }
        if !link.is_up {
            line(text, "master_link_down_since_seconds", now.millis_since(link.down_since) / 1000);
        }
        line(text, "slave_read_repl_offset", end);
        line(text, "slave_repl_offset", link.applied);
        line(text, "slave_priority", 100);
        line(text, "slave_read_only", 1);
        line(text, "replica_announced", 1);
        line(text, "connected_slaves", 0);
    }
    line(text, "master_failover_state", "no-failover");
    line(text, "master_replid", &node.identity.incarnation);
    line(text, "master_replid2", "0".repeat(40));
    line(text, "second_repl_offset", -1);
    line(text, "master_repl_offset", end);
    line(text, "tercet_epoch", standing.epoch);
    line(text, "tercet_commit_offset", node.gate.commit());
    line(text, "tercet_isr", standing.isr);
    line(text, "tercet_min_isr", standing.min_isr);
    if let Some(state) = &*node.cluster.read() {
        let names: Vec<_> = state.isr.iter().map(|member| member.name.as_str()).collect();
        line(text, "tercet_isr_members", names.join(","));
        line(text, "tercet_cluster_id", &state.cluster_id);
    }
    line(text, "repl_backlog_active", u8::from(node.engine.journal.is_retaining()));
    line(text, "repl_backlog_size", limits::JOURNAL_MEMORY_BYTES);
    line(text, "repl_backlog_first_byte_offset", node.engine.journal.first_kept());
    line(text, "repl_backlog_histlen", end.0 + 1 - node.engine.journal.first_kept().0.min(end.0 + 1));
}

fn commandstats(node: &Node, _: &View<'_>, text: &mut String) {
    for row in table::rows() {
        let count = node.counters.count(row.id);
        if count.calls + count.rejected > 0 {
            let micros = count.nanos / 1000;
            let each = if count.calls == 0 { 0.0 } else { count.nanos as f64 / 1000.0 / count.calls as f64 };
            let (calls, rejected, failed) = (count.calls, count.rejected, count.failed);
            let value = format!(
                "calls={calls},usec={micros},usec_per_call={each:.2},rejected_calls={rejected},failed_calls={failed}"
            );
            line(text, &format!("cmdstat_{}", row.name), value);
        }
    }
}

/// Percentiles of the times of each command: the upper end of the bucket that a percentile falls in.
fn latencystats(node: &Node, _: &View<'_>, text: &mut String) {
    if !node.config.live.latency_tracking.is_on() {
        return;
    }
    let percentiles = node.config.live.latency_tracking_info_percentiles.load();
    for row in table::rows() {
        let count = node.counters.count(row.id);
        if count.calls == 0 {
            continue;
        }
        let values = percentiles.iter().map(|percentile| {
            let wanted = (count.calls as f64 * percentile / 100.0).ceil().max(1.0) as u64;
            let mut seen = 0;
            let bucket = count.buckets.iter().position(|calls| {
                seen += calls;
                seen >= wanted
            });
            format!("p{percentile}={:.3}", (1_u64 << bucket.unwrap_or(0)) as f64)
        });
        line(text, &format!("latency_percentiles_usec_{}", row.name), values.collect::<Vec<_>>().join(","));
    }
}

fn errorstats(node: &Node, _: &View<'_>, text: &mut String) {
    for (code, count) in node.counters.errors() {
        line(text, &format!("errorstat_{code}"), format_args!("count={count}"));
    }
}

#[allow(unsafe_code, reason = "std has no getrusage")]
fn cpu(_: &Node, _: &View<'_>, text: &mut String) {
    // SAFETY: an all-zero rusage is a valid value, and the pointer is writable for the length of the call.
    let usage = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        libc::getrusage(libc::RUSAGE_SELF, &raw mut usage);
        usage
    };
    let seconds = |time: libc::timeval| time.tv_sec as f64 + time.tv_usec as f64 / 1e6;
    line(text, "used_cpu_sys", format_args!("{:.6}", seconds(usage.ru_stime)));
    line(text, "used_cpu_user", format_args!("{:.6}", seconds(usage.ru_utime)));
    line(text, "used_cpu_sys_children", "0.000000");
    line(text, "used_cpu_user_children", "0.000000");
}

fn keyspace(_: &Node, view: &View<'_>, text: &mut String) {
    let mut counts = [(0, 0, 0); limits::DATABASES as usize];
    view.each_shard(|shard| {
        for (database, held) in shard.databases() {
            if let Some((keys, expires, timed)) = counts.get_mut(usize::from(database)) {
                *keys += held.len();
                *expires += held.expiring();
                *timed += shard.timed_hashes(database);
            }
        }
    });
    for (database, (keys, expires, timed)) in counts.into_iter().enumerate().filter(|(_, (keys, ..))| *keys > 0) {
        // Redis has this number since 7.4: it is told where there is something to tell.
        let timed = if timed > 0 { format!(",subexpiry={timed}") } else { String::new() };
        line(text, &format!("db{database}"), format_args!("keys={keys},expires={expires},avg_ttl=0{timed}"));
    }
}
