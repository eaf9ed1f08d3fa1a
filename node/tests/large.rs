//! Large data is ordinary: is it replicated, synced and kept as small data is, while others are served?

#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use support::proxy::Proxy;
use support::sentinel::FakeSentinel;
use support::{TestNode, assert_same_keys, bounded, is_level, until};
use tercet_node::effect::{End, KeyChange};

/// A link on which a message of a large record, or a large image, takes longer than a replica listens to silence.
const SLOW: u32 = 16 << 10;

/// Elements of a collection.
fn elements(count: usize) -> Vec<Vec<u8>> {
    (0..count).map(|number| format!("an element of a large collection, {number:0>60}").into_bytes()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_value_is_acknowledged_over_a_slow_link_and_the_isr_stays_as_it_is() {
    let sentinel = FakeSentinel::start(2).await;
    let (master, replica) = (TestNode::start("n1", &[sentinel.port]), TestNode::start("n2", &[sentinel.port]));
    let proxy = Proxy::to(master.peer_port).await;
    bounded(sentinel.lead(&master, &[&master], vec![master.member_at(proxy.port), replica.member()])).await;
    until("both are in the ISR", || sentinel.isr_names() == ["n1", "n2"]).await;
    let (version, syncs) = (sentinel.state().isr_version, master.node.stats.partial_syncs.load(Ordering::Relaxed));
    proxy.slow(SLOW);
    let large = "a large value ".repeat(2 << 20);
    let write = master.set("large", &large).unwrap();
    let after = master.set("small", "value").unwrap();
    assert!(!write.is_acknowledged(), "the link is slow");
    bounded(async { (write.acknowledged().await.unwrap(), after.acknowledged().await.unwrap()) }).await;
    until("it is applied", || replica.get("large").as_deref() == Some(&large[..])).await;
    assert_eq!(sentinel.state().isr_version, version, "the replica was never taken for dead");
    assert_eq!(master.node.stats.partial_syncs.load(Ordering::Relaxed), syncs, "nor the master");
    assert!(write.offset.0 > 200, "it went in parts");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_collections_are_synced_over_a_slow_link_while_they_change() {
    let sentinel = FakeSentinel::start(1).await;
    let master = Arc::new(TestNode::start("n1", &[sentinel.port]));
    let proxy = Proxy::to(master.peer_port).await;
    bounded(sentinel.lead(&master, &[&master], vec![master.member_at(proxy.port)])).await;
    master.is_serving().await;
    let all = elements(60_000);
    let all: Vec<&[u8]> = all.iter().map(Vec::as_slice).collect();
    let scored: Vec<(f64, &[u8])> = all.iter().map(|member| (1.5, *member)).collect();
    master.execute(b"list", &KeyChange::ListPush { end: End::Back, values: all.clone().into() }).unwrap();
    master.execute(b"hash", &KeyChange::HashSet { pairs: all.clone().into() }).unwrap();
    master.execute(b"set", &KeyChange::SetAdd { members: all.clone().into() }).unwrap();
    master.execute(b"sorted", &KeyChange::SortedAdd { pairs: scored.into() }).unwrap();
    master.set("text", &"text ".repeat(2 << 20)).unwrap();

    proxy.slow(SLOW);
    let replica = TestNode::start("n2", &[sentinel.port]);
    sentinel.change(|state| state.members.push(replica.member()));
    let stop = Arc::new(AtomicBool::new(false));
    let writer = {
        let (master, stop) = (Arc::clone(&master), Arc::clone(&stop));
        std::thread::spawn(move || {
            let mut number = 0u32;
            while !stop.load(Ordering::Relaxed) {
                number += 1;
                let item = format!("item {number}").into_bytes();
                let pair = [&item[..], b"value"];
                master.execute(b"list", &KeyChange::ListPush { end: End::Front, values: (&pair[..]).into() });
                master.execute(b"list", &KeyChange::ListPop { end: End::Back, count: 1 });
                master.execute(b"hash", &KeyChange::HashSet { pairs: (&pair[..]).into() });
                master.execute(b"set", &KeyChange::SetAdd { members: (&pair[..]).into() });
                master.execute(b"sorted", &KeyChange::SortedRemoveRanks { start: 0, end: 1 });
                master.execute(b"text", &KeyChange::Append { bytes: b"more" });
                std::thread::sleep(std::time::Duration::from_millis(2));
            }
        })
    };
    until("the images are coming", || replica.node.engine.keyspace.count(0) > 0).await;
    replica.is_up_to_date().await;
    stop.store(true, Ordering::Relaxed);
    writer.join().unwrap();
    is_level(&master, &replica).await;
    assert_same_keys(&master, &replica);
    let stats = &master.node.stats;
    let syncs =
        [&stats.full_syncs, &stats.resumed_syncs, &stats.partial_syncs].map(|count| count.load(Ordering::Relaxed));
    assert_eq!(syncs, [1, 0, 0], "one full sync, at the first attempt");
}
