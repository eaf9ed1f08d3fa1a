//! Does a replica hold what the master has acknowledged? Nodes in this process, real connections, a fake sentinel.

#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rand::{Rng, SeedableRng};
use support::proxy::Proxy;
use support::sentinel::{self, FakeSentinel};
use support::{TestNode, assert_same_keys, bounded, is_level, until};
use tercet_node::effect::{End, Expiry, KeyChange};
use tercet_node::ids::{Offset, UnixMillis};
use tercet_node::journal::Deposed;
use tercet_node::role::{Role, Verdict};

/// A master and a replica in its ISR; the replica reaches the master through the proxy.
struct Pair {
    sentinel: FakeSentinel,
    master: TestNode,
    replica: TestNode,
    proxy: Proxy,
}

async fn pair(min_isr: u32) -> Pair {
    let sentinel = FakeSentinel::start(min_isr).await;
    let master = TestNode::start("n1", &[sentinel.port]);
    let replica = TestNode::start("n2", &[sentinel.port]);
    let proxy = Proxy::to(master.peer_port).await;
    bounded(sentinel.lead(&master, &[&master], vec![master.member_at(proxy.port), replica.member()])).await;
    until("both are in the ISR", || sentinel.isr_names() == ["n1", "n2"]).await;
    master.is_serving().await;
    replica.is_up_to_date().await;
    Pair { sentinel, master, replica, proxy }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_acknowledged_write_is_on_the_replica() {
    let Pair { master, replica, .. } = bounded(pair(2)).await;
    let mut times = Vec::new();
    for number in 0..500 {
        let began = Instant::now();
        let write = master.set(&format!("key:{number}"), "value").unwrap();
        bounded(write.acknowledged()).await.unwrap();
        times.push(began.elapsed());
        assert!(replica.end() >= write.offset, "acknowledged before the replica had it");
    }
    times.sort();
    println!("acknowledged after {:?} (median), {:?} (99 %)", times[times.len() / 2], times[times.len() * 99 / 100]);
    is_level(&master, &replica).await;
    assert_same_keys(&master, &replica);
    assert_eq!(master.node.stats.full_syncs.load(Ordering::Relaxed), 0, "an empty node needs no full sync");
}

/// Writes of every kind, as fast as they go, until told to stop.
fn write_load(master: &Arc<TestNode>, seed: u64, stop: &Arc<AtomicBool>) -> std::thread::JoinHandle<u64> {
    let (master, stop) = (Arc::clone(master), Arc::clone(stop));
    std::thread::spawn(move || {
        let mut random = rand::rngs::StdRng::seed_from_u64(seed);
        let mut count = 0;
        while !stop.load(Ordering::Relaxed) {
            let key = format!("key:{}", random.random_range(0..5000));
            let value = "v".repeat(random.random_range(1..200));
            let item = [value.as_bytes()];
            let (key, change) = match random.random_range(0..6) {
                0 => (key, KeyChange::Delete),
                1 => (format!("list:{key}"), KeyChange::ListPush { end: End::Back, values: (&item[..]).into() }),
                2 => (format!("list:{key}"), KeyChange::ListPop { end: End::Front, count: 1 }),
                3 => (format!("set:{key}"), KeyChange::SetAdd { members: (&item[..]).into() }),
                4 => {
                    let expiry = Expiry::At(UnixMillis(4_000_000_000_000 + count));
                    (key, KeyChange::SetString { value: value.as_bytes(), expiry })
                }
                _ => (key, KeyChange::SetInteger { value: random.random(), expiry: Expiry::Never }),
            };
            if master.execute(key.as_bytes(), &change).is_some() {
                count += 1;
            }
            if count % 64 == 0 {
                std::thread::yield_now();
            }
        }
        count
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_sync_under_writes_ends_with_the_same_keys() {
    let seed = rand::random();
    println!("seed {seed}");
    let sentinel = FakeSentinel::start(1).await;
    let master = Arc::new(TestNode::start("n1", &[sentinel.port]));
    bounded(sentinel.lead(&master, &[&master], vec![master.member()])).await;
    master.is_serving().await;
    // More than the journal keeps, so that a new replica cannot continue from the beginning.
    let value = "x".repeat(1 << 20);
    for number in 0..140 {
        master.set(&format!("large:{number}"), &value).unwrap();
    }
    assert!(master.node.engine.journal.first_kept() > Offset(1));

    let stop = Arc::new(AtomicBool::new(false));
    let load = write_load(&master, seed, &stop);
    let replica = TestNode::start("n2", &[sentinel.port]);
    sentinel.change(|state| state.members.push(replica.member()));
    replica.is_up_to_date().await;
    until("it is in the ISR", || sentinel.isr_names() == ["n1", "n2"]).await;
    stop.store(true, Ordering::Relaxed);
    let count = load.join().unwrap();
    println!("{count} writes during the full sync");
    is_level(&master, &replica).await;
    assert_same_keys(&master, &replica);
    assert!(master.node.stats.full_syncs.load(Ordering::Relaxed) >= 1);
    assert!(count > 0, "nothing was written meanwhile");
}

/// A master with more than its journal keeps, and a replica whose first full sync has just been broken off in the middle.
async fn broken_full_sync() -> Pair {
    let sentinel = FakeSentinel::start(1).await;
    let master = TestNode::start("n1", &[sentinel.port]);
    let proxy = Proxy::to(master.peer_port).await;
    bounded(sentinel.lead(&master, &[&master], vec![master.member_at(proxy.port)])).await;
    master.is_serving().await;
    let value = "x".repeat(1 << 20);
    for number in 0..140 {
        master.set(&format!("large:{number}"), &value).unwrap();
    }
    assert!(master.node.engine.journal.first_kept() > Offset(1));
    let replica = TestNode::start("n2", &[sentinel.port]);
    sentinel.change(|state| state.members.push(replica.member()));
    until("a part of the images is loaded", || replica.node.engine.keyspace.count(0) >= 20).await;
    proxy.break_connections();
    until("the stream is down", || !replica.node.link.read().is_up).await;
    assert!(replica.node.engine.keyspace.count(0) < 140, "the sync was over already");
    Pair { sentinel, master, replica, proxy }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broken_full_sync_goes_on_where_it_was() {
    let Pair { sentinel, master, replica, proxy } = broken_full_sync().await;
    // Changes of what has come already, and of what has not.
    for number in 0..140 {
        match number % 3 {
            0 => drop(master.set(&format!("large:{number}"), "another value")),
            1 => drop(master.execute(format!("large:{number}").as_bytes(), &KeyChange::Delete)),
            _ => drop(master.set(&format!("new:{number}"), "value")),
        }
    }
    proxy.open();
    replica.is_up_to_date().await;
    until("it is in the ISR", || sentinel.isr_names() == ["n1", "n2"]).await;
    is_level(&master, &replica).await;
    assert_same_keys(&master, &replica);
    assert_eq!(master.node.stats.full_syncs.load(Ordering::Relaxed), 1, "it began once");
    assert!(master.node.stats.resumed_syncs.load(Ordering::Relaxed) >= 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broken_full_sync_begins_anew_once_the_journal_has_moved_on() {
    let Pair { master, replica, proxy, .. } = broken_full_sync().await;
    let value = "y".repeat(1 << 20);
    for number in 0..140 {
        master.set(&format!("large:{}", number % 7), &value).unwrap();
    }
    master.execute(b"large:100", &KeyChange::Delete).unwrap();
    proxy.open();
    replica.is_up_to_date().await;
    is_level(&master, &replica).await;
    assert_same_keys(&master, &replica);
    assert_eq!(master.node.stats.full_syncs.load(Ordering::Relaxed), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broken_full_sync_begins_anew_under_the_next_epoch() {
    let Pair { sentinel, master, replica, proxy } = broken_full_sync().await;
    let reply = bounded(sentinel::fence(&replica, 2)).await;
    assert!(reply.accepted && !reply.complete, "half a copy is not fit to be promoted: {reply:?}");
    // The same node leads again, but its journal need not be the one that the images were made of.
    assert!(bounded(sentinel::fence(&master, 2)).await.accepted);
    let members = vec![master.member_at(proxy.port), replica.member()];
    bounded(sentinel.lead(&master, &[&master], members)).await;
    proxy.open();
    replica.is_up_to_date().await;
    is_level(&master, &replica).await;
    assert_same_keys(&master, &replica);
    assert_eq!(master.node.stats.full_syncs.load(Ordering::Relaxed), 2);
    assert_eq!(master.node.stats.resumed_syncs.load(Ordering::Relaxed), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_short_break_needs_no_full_sync() {
    let Pair { sentinel, master, replica, proxy } = bounded(pair(1)).await;
    master.set("before", "1").unwrap();
    is_level(&master, &replica).await;
    proxy.break_connections();
    until("the replica has left the ISR", || sentinel.isr_names() == ["n1"]).await;
    let write = master.set("meanwhile", "2").unwrap();
    bounded(write.acknowledged()).await.unwrap();
    assert_eq!(replica.get("meanwhile"), None);
    proxy.open();
    until("the replica is back in the ISR", || sentinel.isr_names() == ["n1", "n2"]).await;
    is_level(&master, &replica).await;
    assert_same_keys(&master, &replica);
    assert_eq!(master.node.stats.full_syncs.load(Ordering::Relaxed), 0);
    assert!(master.node.stats.partial_syncs.load(Ordering::Relaxed) >= 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_waits_for_a_stalled_member_until_its_removal_is_committed() {
    let Pair { sentinel, master, replica, proxy } = bounded(pair(1)).await;
    sentinel.freeze_isr();
    proxy.hold();
    let write = master.set("key", "value").unwrap();
    until("the master wants the replica out", || sentinel.asked_isr() >= 3).await;
    assert!(!write.is_acknowledged(), "the sentinels have not agreed");
    assert_eq!(replica.get("key"), None);
    sentinel.thaw_isr();
    bounded(write.acknowledged()).await.unwrap();
    assert_eq!(sentinel.isr_names(), ["n1"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_too_few_replicas_nothing_is_written() {
    let Pair { sentinel, master, replica, proxy } = bounded(pair(2)).await;
    proxy.break_connections();
    until("the replica has left the ISR", || sentinel.isr_names() == ["n1"]).await;
    until("the master refuses writes", || master.verdict() == Verdict::TooFewReplicas).await;
    proxy.open();
    master.is_serving().await;
    bounded(master.set("key", "value").unwrap().acknowledged()).await.unwrap();
    assert_eq!(replica.end(), Offset(1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_acknowledged_after_the_fence() {
    let Pair { master, replica, proxy, .. } = bounded(pair(2)).await;
    bounded(master.set("safe", "1").unwrap().acknowledged()).await.unwrap();
    proxy.hold();
    let write = master.set("in flight", "2").unwrap();
    let reply = bounded(sentinel::fence(&replica, 2)).await;
    assert!(reply.accepted && reply.complete, "{reply:?}");
    assert_eq!((reply.last_epoch, reply.end_offset), (1, 1));
    // The block is on its way and comes after the promise.
    proxy.open();
    let reply = bounded(sentinel::fence(&master, 2)).await;
    assert!(reply.accepted, "{reply:?}");
    assert_eq!(bounded(write.acknowledged()).await, Err(Deposed));
    assert!(master.set("late", "3").is_none(), "a fenced master executes nothing");
    assert_eq!(replica.end(), Offset(1), "a fenced replica takes nothing from the old master");
    assert_eq!(master.role(), Role::Deposed);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deposed_master_with_a_tail_of_its_own_is_loaded_anew() {
    let Pair { sentinel, master, replica, proxy } = bounded(pair(2)).await;
    bounded(master.set("shared", "1").unwrap().acknowledged()).await.unwrap();
    is_level(&master, &replica).await;
    proxy.hold();
    let lost = master.set("tail", "2").unwrap();
    assert_eq!(master.get("tail").as_deref(), Some("2"));
    assert!(bounded(sentinel::fence(&replica, 2)).await.accepted);
    let members = vec![master.member(), replica.member()];
    bounded(sentinel.lead(&replica, &[&replica], members)).await;

    until("both are in the ISR", || sentinel.isr_names() == ["n1", "n2"]).await;
    assert_eq!(bounded(lost.acknowledged()).await, Err(Deposed));
    replica.is_serving().await;
    master.is_up_to_date().await;
    assert_eq!(master.get("tail"), None, "it was never acknowledged");
    assert_eq!(master.get("shared").as_deref(), Some("1"));
    assert_eq!(replica.node.stats.full_syncs.load(Ordering::Relaxed), 1);
    bounded(replica.set("next", "3").unwrap().acknowledged()).await.unwrap();
    is_level(&replica, &master).await;
    assert_same_keys(&master, &replica);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_master_has_applied_what_was_appended_and_not_committed() {
    let sentinel = FakeSentinel::start(2).await;
    let [n1, n2, n3] = ["n1", "n2", "n3"].map(|name| TestNode::start(name, &[sentinel.port]));
    // The third reaches the master through a connection that will be held, so nothing more is committed.
    let proxy = Proxy::to(n1.peer_port).await;
    bounded(sentinel.lead(&n1, &[&n1], vec![n1.member_at(proxy.port), n2.member(), n3.member()])).await;
    until("all are in the ISR", || sentinel.isr_names() == ["n1", "n2", "n3"]).await;
    n1.is_serving().await;
    bounded(n1.set("committed", "1").unwrap().acknowledged()).await.unwrap();
    sentinel.freeze_isr();
    let directory = n3.kill();
    let write = n1.set("appended", "2").unwrap();
    until("the second has the record", || n2.end() == write.offset).await;
    assert!(!write.is_acknowledged(), "the third is still in the ISR");
    assert_eq!(n2.get("appended"), None, "a replica applies what is committed");
    drop(directory);

    assert!(bounded(sentinel::fence(&n2, 2)).await.accepted);
    sentinel.thaw_isr();
    bounded(sentinel.lead(&n2, &[&n2], vec![n1.member(), n2.member()])).await;
    assert_eq!(n2.get("appended").as_deref(), Some("2"), "it may have been acknowledged, for all that is known");
    until("the first follows", || sentinel.isr_names() == ["n1", "n2"]).await;
    n2.is_serving().await;
    bounded(n2.set("more", "3").unwrap().acknowledged()).await.unwrap();
    is_level(&n2, &n1).await;
    assert_same_keys(&n1, &n2);
    assert_eq!(n2.node.stats.full_syncs.load(Ordering::Relaxed), 0, "the tails agree");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_writers_at_once_are_all_acknowledged() {
    let Pair { master, replica, .. } = bounded(pair(2)).await;
    let (master, acknowledged) = (Arc::new(master), Arc::new(AtomicU64::new(0)));
    let began = Instant::now();
    let writers: Vec<_> = (0..50)
        .map(|writer| {
            let (master, acknowledged) = (Arc::clone(&master), Arc::clone(&acknowledged));
            tokio::spawn(async move {
                for number in 0..200 {
                    let write = master.set(&format!("key:{writer}:{number}"), "some value").unwrap();
                    write.acknowledged().await.unwrap();
                    acknowledged.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    for writer in writers {
        bounded(writer).await.unwrap();
    }
    let took = began.elapsed();
    println!("10000 writes of 50 writers acknowledged in {took:?}");
    assert_eq!(acknowledged.load(Ordering::Relaxed), 10_000);
    assert!(took < Duration::from_secs(20));
    is_level(&master, &replica).await;
    assert_same_keys(&master, &replica);
}
