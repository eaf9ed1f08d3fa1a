//! Replication between nodes that keep their data on disk, and with nodes that keep nothing; from end to end, through
//! restarts of both sides.

#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod support;

use std::sync::atomic::Ordering;

use support::proxy::Proxy;
use support::sentinel::{self, FakeSentinel};
use support::{Keeping, TestNode, assert_same_keys, bounded, is_level, until};
use tercet_node::ids::Offset;

const ALWAYS: &[&str] = &["--fsync", "always"];
const EVERY_SECOND: &[&str] = &["--fsync", "everysec"];
const DISKLESS: &[&str] = &["--persistence", "off"];

/// A master and a replica in its ISR, which reaches the master through the proxy.
struct Pair {
    sentinel: FakeSentinel,
    master: TestNode,
    replica: TestNode,
    proxy: Proxy,
}

async fn pair(min_isr: u32, master: &[&str], replica: &[&str]) -> Pair {
    let sentinel = FakeSentinel::start(min_isr).await;
    let master = TestNode::start_keeping("n1", &[sentinel.port], master);
    let replica = TestNode::start_keeping("n2", &[sentinel.port], replica);
    let proxy = Proxy::to(master.peer_port).await;
    bounded(sentinel.lead(&master, &[&master], vec![master.member_at(proxy.port), replica.member()])).await;
    both_are_in_sync(&sentinel, &master, &replica).await;
    Pair { sentinel, master, replica, proxy }
}

async fn both_are_in_sync(sentinel: &FakeSentinel, master: &TestNode, replica: &TestNode) {
    until("both are in the ISR", || sentinel.isr_names() == ["n1", "n2"]).await;
    master.is_serving().await;
    replica.is_up_to_date().await;
}

async fn write(master: &TestNode, numbers: std::ops::Range<u32>) {
    for number in numbers {
        let write = master.set(&format!("key:{number}"), &format!("value {number}")).unwrap();
        bounded(write.acknowledged()).await.unwrap();
    }
}

fn full_syncs(master: &TestNode) -> u64 {
    master.node.stats.full_syncs.load(Ordering::Relaxed)
}

/// How far the disk of a node that keeps its data is synced.
fn durable(node: &TestNode) -> Offset {
    node.node.engine.journal.durability().durable()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_with_and_without_disks_replicate_to_each_other() {
    for (master, replica) in [
        (EVERY_SECOND, EVERY_SECOND),
        (EVERY_SECOND, DISKLESS),
        (DISKLESS, EVERY_SECOND),
        (ALWAYS, DISKLESS),
        (DISKLESS, ALWAYS),
        (ALWAYS, EVERY_SECOND),
        (EVERY_SECOND, ALWAYS),
    ] {
        println!("{master:?} to {replica:?}");
        let Pair { master, replica, .. } = bounded(pair(2, master, replica)).await;
        for number in 0..50 {
            let write = master.set(&format!("key:{number}"), "value").unwrap();
            bounded(write.acknowledged()).await.unwrap();
            assert!(replica.end() >= write.offset, "acknowledged before the replica had it");
        }
        is_level(&master, &replica).await;
        assert_same_keys(&master, &replica);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_both_sync_always_what_is_acknowledged_is_synced_on_both() {
    let Pair { master, replica, .. } = bounded(pair(2, ALWAYS, ALWAYS)).await;
    for number in 0..100 {
        let write = master.set(&format!("key:{number}"), "value").unwrap();
        bounded(write.acknowledged()).await.unwrap();
        for node in [&master, &replica] {
            assert!(
                durable(node) >= write.offset,
                "{} has synced {:?}, not {:?}",
                node.name(),
                durable(node),
                write.offset
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_restarts_goes_on_from_its_own_journal() {
    let Pair { sentinel, master, replica, proxy } = bounded(pair(1, EVERY_SECOND, EVERY_SECOND)).await;
    write(&master, 0..100).await;
    is_level(&master, &replica).await;
    let (directory, had) = (replica.kill(), replica.end());
    drop(replica);
    until("the replica has left the ISR", || sentinel.isr_names() == ["n1"]).await;
    write(&master, 100..200).await;

    let replica = TestNode::start_in("n2", &[sentinel.port], directory, EVERY_SECOND, Keeping::OnDisk);
    assert_eq!(replica.end(), had, "what it had appended is on its disk");
    sentinel.change(|state| state.members = vec![master.member_at(proxy.port), replica.member()]);
    both_are_in_sync(&sentinel, &master, &replica).await;
    is_level(&master, &replica).await;
    assert_same_keys(&master, &replica);
    assert_eq!(full_syncs(&master), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_without_a_disk_comes_back_empty_and_is_loaded() {
    let Pair { sentinel, master, replica, proxy } = bounded(pair(1, EVERY_SECOND, DISKLESS)).await;
    write(&master, 0..100).await;
    is_level(&master, &replica).await;
    let directory = replica.kill();
    drop(replica);
    until("the replica has left the ISR", || sentinel.isr_names() == ["n1"]).await;
    write(&master, 100..200).await;

    let replica = TestNode::start_in("n2", &[sentinel.port], directory, DISKLESS, Keeping::OnDisk);
    assert_eq!(replica.end(), Offset::ZERO);
    sentinel.change(|state| state.members = vec![master.member_at(proxy.port), replica.member()]);
    both_are_in_sync(&sentinel, &master, &replica).await;
    is_level(&master, &replica).await;
    assert_same_keys(&master, &replica);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_lags_by_more_than_the_memory_keeps_goes_on_from_the_masters_disk() {
    let Pair { sentinel, master, replica, proxy } = bounded(pair(1, EVERY_SECOND, DISKLESS)).await;
    write(&master, 0..10).await;
    is_level(&master, &replica).await;
    let had = replica.end();
    proxy.break_connections();
    until("the replica has left the ISR", || sentinel.isr_names() == ["n1"]).await;
    let value = "x".repeat(1 << 20);
    for number in 0..140 {
        bounded(master.set(&format!("large:{}", number % 8), &value).unwrap().acknowledged()).await.unwrap();
    }
    let journal = &master.node.engine.journal;
    assert!(journal.retained_bytes() < 140 << 20, "the memory still has what the replica lacks");
    assert!(journal.first_kept().0 <= had.0 + 1, "the disk has it no more");
    proxy.open();
    both_are_in_sync(&sentinel, &master, &replica).await;
    is_level(&master, &replica).await;
    assert_same_keys(&master, &replica);
    assert_eq!(full_syncs(&master), 0, "the journal on disk has it");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_master_that_restarts_with_a_tail_of_its_own_gives_it_up() {
    let Pair { sentinel, master, replica, proxy } = bounded(pair(2, EVERY_SECOND, EVERY_SECOND)).await;
    write(&master, 0..20).await;
    is_level(&master, &replica).await;
    proxy.hold();
    let lost = master.set("tail", "2").unwrap();
    until("the tail is on disk", || master.node.engine.journal.durability().written() >= lost.offset).await;
    assert!(bounded(sentinel::fence(&replica, 2)).await.accepted);
    let directory = master.kill();
    assert!(!lost.is_acknowledged());
    drop((lost, master));
    bounded(sentinel.lead(&replica, &[&replica], vec![replica.member()])).await;

    let master = TestNode::start_in("n1", &[sentinel.port], directory, EVERY_SECOND, Keeping::OnDisk);
    assert_eq!(master.end(), Offset(21), "the tail lies on its disk");
    sentinel.change(|state| state.members.push(master.member()));
    until("both are in the ISR", || sentinel.isr_names() == ["n1", "n2"]).await;
    replica.is_serving().await;
    master.is_up_to_date().await;
    assert_eq!(master.get("tail"), None, "it was never acknowledged");
    write(&replica, 20..40).await;
    is_level(&replica, &master).await;
    assert_same_keys(&master, &replica);
    assert_eq!(full_syncs(&replica), 0, "what was not applied is cut off, and no more");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_stops_takes_nothing_more_before_its_disk_is_closed() {
    let Pair { sentinel, master, replica, proxy: _proxy } = pair(1, EVERY_SECOND, EVERY_SECOND).await;
    write(&master, 0..100).await;
    bounded(replica.follow_no_more()).await;
    let end = replica.node.engine.journal.end();
    assert!(end >= Offset(100));
    // The master goes on without it, once it is out of the ISR.
    until("the replica is out of the ISR", || sentinel.isr_names() == ["n1"]).await;
    write(&master, 100..200).await;
    assert_eq!(replica.node.engine.journal.end(), end);
    assert!(master.node.engine.journal.end() > end);
}
