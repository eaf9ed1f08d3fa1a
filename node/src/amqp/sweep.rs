//! Time passes for the queues: what has expired goes, on a master.

use crate::budget::Class;
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
        let burials = node.engine.broker.burials();
        tokio::select! {
            _ = ticks.tick() => {}
            () = burials, if !node.engine.broker.has_dead() => {}
            // The rest of what an earlier turn had no time for; others have theirs in between.
            () = tokio::task::yield_now(), if node.engine.broker.has_dead() => {}
        }
        let broker = &node.engine.broker;
        if broker.has_dead() || broker.is_timed() {
            sweep(&node, &mut record);
        }
        node.engine.budget.measured(Class::Journal, node.engine.journal.unwritten_bytes());
    }
}

fn sweep(node: &Shared, record: &mut Vec<u8>) {
    let permit = node.authority.enter(clock::boot_now());
    if permit.verdict != Verdict::Master {
        return;
    }
    let mut batch = node.engine.broker.begin(&node.engine.journal, record, clock::unix_now());
    node.engine.broker.bury_waiting(&mut batch);
    node.engine.broker.sweep(&mut batch);
    batch.finish();
    drop(permit);
    node.publish();
}
