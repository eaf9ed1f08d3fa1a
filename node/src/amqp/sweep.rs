//! Time passes for the queues: what has expired goes, on a master.

use crate::budget::Class;
use crate::clock;
use crate::node::Shared;
use crate::role::Verdict;

use super::limits;
use super::policy;

/// Sweeps the queues as long as the node runs.
pub(super) async fn run(node: Shared) {
    let mut ticks = tokio::time::interval(limits::SWEEP);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut record = Vec::new();
    let mut policies = None;
    let mut goes_on = false;
    loop {
        let burials = node.engine.broker.burials();
        let has_dead = node.engine.broker.has_dead();
        tokio::select! {
            _ = ticks.tick() => {}
            () = burials, if !has_dead => {}
            // The rest of what an earlier turn had no time for; others have theirs in between.
            () = tokio::task::yield_now(), if has_dead && goes_on => {}
        }
        let version = node.engine.accounts.version();
        if policies != Some(version) {
            policies = Some(version);
            let directory = node.engine.accounts.directory();
            node.engine.broker.set_policies(policy::all(&directory));
            node.engine.broker.set_queue_limits(policy::queue_limits(&directory));
        }
        let broker = &node.engine.broker;
        goes_on = (broker.has_dead() || broker.is_timed()) && sweep(&node, &mut record);
        node.engine.budget.measured(Class::Journal, node.engine.journal.unwritten_bytes());
    }
}

/// False: this node may not change anything now.
fn sweep(node: &Shared, record: &mut Vec<u8>) -> bool {
    let permit = node.authority.enter(clock::boot_now());
    if permit.verdict != Verdict::Master {
        return false;
    }
    let mut batch = node.engine.broker.begin(&node.engine.journal, record, clock::unix_now());
    node.engine.broker.bury_waiting(&mut batch);
    node.engine.broker.sweep(&mut batch);
    batch.finish();
    drop(permit);
    node.publish();
    true
}
