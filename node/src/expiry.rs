//! Active expiry: deletes keys whose time has come, by effect, so that replicas delete the same. And what transactions have
//! put off for those who wait for a key.

use std::time::{Duration, Instant};

use crate::clock;
use crate::eviction;
use crate::limits;
use crate::node::Shared;
use crate::role::Verdict;

/// Runs until the node ends. On a node that is not master it does nothing.
pub async fn run(node: Shared) {
    let mut ticks = tokio::time::interval(Duration::from_millis(1000 / limits::EXPIRY_HZ));
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let (mut next, mut record) = (0, Vec::new());
    loop {
        ticks.tick().await;
        node.engine.keyspace.access().tick(clock::unix_now());
        serve_later(&node, &mut record);
        eviction::evict_clients(&node.clients, &node.config.live, &node.stats.evicted_clients);
        node.rates.sample(node.stats.traffic(), clock::boot_now());
        // As in Redis, CLIENT PAUSE keeps keys from expiring too.
        let is_paused = node.pause.mode(clock::boot_now()).is_some();
        if !is_paused && !node.switches.is_expiry_paused.load(std::sync::atomic::Ordering::Relaxed) {
            let began = Instant::now();
            next = cycle(&node, next, &mut record);
            let (took, stats) = (began.elapsed(), &node.stats);
            stats.expiry_micros.fetch_add(took.as_micros() as u64, std::sync::atomic::Ordering::Relaxed);
            let threshold = node.config.live.latency_monitor_threshold.load();
            if threshold > 0 && took.as_millis() as u64 >= threshold.unsigned_abs() {
                node.latency.note("expire-cycle", clock::unix_now().0 / 1000, took.as_millis() as u64);
            }
        }
    }
}

/// Serves clients that wait and were put off, for a bounded time.
fn serve_later(node: &Shared, record: &mut Vec<u8>) {
    let began = Instant::now();
    while began.elapsed() < limits::EXPIRY_BUDGET {
        let permit = node.authority.enter(clock::boot_now());
        if permit.verdict != Verdict::Master || !node.engine.serve_later(clock::unix_now(), record) {
            return;
        }
        drop(permit);
        node.publish();
    }
}

/// Walks over the shards from `next` on, for a bounded time; says where to go on.
fn cycle(node: &Shared, next: usize, record: &mut Vec<u8>) -> usize {
    let began = Instant::now();
    let count = node.engine.keyspace.len();
    for step in 0..count {
        let shard = (next + step) % count;
        loop {
            let permit = node.authority.enter(clock::boot_now());
            if permit.verdict != Verdict::Master || began.elapsed() > limits::EXPIRY_BUDGET {
                return shard;
            }
            let (expired, gone, _) = node.engine.expire_due(shard, clock::unix_now(), limits::EXPIRY_BATCH, record);
            drop(permit);
            if node.tracking.is_used() {
                let keys: Vec<&[u8]> = expired.iter().map(|(_, key)| &**key).collect();
                node.tracking.changed(0, &keys, &node.clients, &node.config.live);
            }
            let expired = expired.len();
            node.stats.expired.fetch_add(gone as u64, std::sync::atomic::Ordering::Relaxed);
            if expired > 0 {
                node.publish();
            }
            if expired < limits::EXPIRY_BATCH {
                break;
            }
        }
    }
    next
}
