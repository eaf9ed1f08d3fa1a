//! Time passes for the queues: what has expired goes, on a master.

use crate::clock;
use crate::node::Shared;
use crate::role::Verdict;

use super::limits;

/// Sweeps the queues as long as the node runs.
pub(super) async fn run(node: Shared) {
    let mut ticks = tokio::time::interval(limits::SWEEP);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut record = Vec::new();
    loop {
        ticks.tick().await;
        if node.engine.broker.is_timed() {
            sweep(&node, &mut record);
        }
    }
}

fn sweep(node: &Shared, record: &mut Vec<u8>) {
    let permit = node.authority.enter(clock::boot_now());
    if permit.verdict != Verdict::Master {
        return;
    }
    let mut batch = node.engine.broker.begin(&node.engine.journal, record, clock::unix_now());
    node.engine.broker.sweep(&mut batch);
    batch.finish();
    drop(permit);
    node.publish();
}
