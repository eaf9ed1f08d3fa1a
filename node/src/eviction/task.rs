//! Measures memory, and evicts what commands have not.

use crate::clock;
use crate::limits;
use crate::memory;
use crate::node::Shared;
use crate::role::Verdict;

/// Measures, and lets go what commands have not: until the node ends.
pub(crate) async fn run(node: Shared) {
    let mut ticks = tokio::time::interval(limits::EVICTION_TICK);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut ticks_left = 0u32;
    // The first look: what there is at the start.
    _ = memory::allocated();
    loop {
        ticks.tick().await;
        let eviction = &node.eviction;
        node.follow_settings();
        if eviction.limit() == 0 {
            continue;
        }
        let is_near = eviction.used() > eviction.limit() / 16 * 15;
        if ticks_left == 0 || is_near {
            eviction.measure(&node.engine);
            ticks_left = limits::EVICTION_TICKS_APART;
        }
        ticks_left -= 1;
        if eviction.is_over() {
            let permit = node.authority.enter(clock::boot_now());
            if permit.verdict == Verdict::Master {
                eviction.make_room(&node.engine, limits::EVICTION_BATCH, &mut |key| node.tell_evicted(key));
                drop(permit);
                node.publish();
            }
        }
    }
}
