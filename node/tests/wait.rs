//! WAIT and WAITAOF with a real replica behind a proxy. The master acknowledges locally, so that only they wait.

#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod support;

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use support::proxy::Proxy;
use support::resp::{Client, Served, serve};
use support::sentinel::FakeSentinel;
use support::{bounded, until};

struct Pair {
    sentinel: FakeSentinel,
    master: Served,
    replica: Served,
    proxy: Proxy,
}

async fn pair() -> Pair {
    let sentinel = FakeSentinel::start(1).await;
    let flags: &[&str] = &["--ack", "local"];
    let (master, replica) = (serve("n1", &sentinel, flags).await, serve("n2", &sentinel, flags).await);
    let proxy = Proxy::to(master.peer_port).await;
    bounded(sentinel.lead(&master, &[&master], vec![master.member_at(proxy.port), replica.member()])).await;
    master.is_serving().await;
    until("both are in the ISR", || sentinel.isr_names() == ["n1", "n2"]).await;
    replica.is_up_to_date().await;
    Pair { sentinel, master, replica, proxy }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wait_says_how_many_replicas_hold_what_was_written() {
    let Pair { master, replica, sentinel: _sentinel, proxy: _proxy } = pair().await;
    let mut client = Client::connect(master.address).await;
    assert_eq!(client.call(&["SET", "key", "value"]).await, "OK");
    assert_eq!(client.call(&["WAIT", "1", "0"]).await, "1");
    assert_eq!(replica.end(), master.end());
    let began = Instant::now();
    assert_eq!(client.call(&["WAIT", "2", "60"]).await, "1", "there is only one");
    assert!(began.elapsed() >= Duration::from_millis(60));
    assert_eq!(
        client.call(&["WAITAOF", "0", "1", "20"]).await,
        "[0 0]",
        "neither of the nodes of this test has a disk"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_waits_is_answered_when_the_replica_has_it_and_in_order() {
    let Pair { sentinel, master, proxy, replica: _replica } = pair().await;
    // The replica stays a member, so that its stream stays too.
    sentinel.freeze_isr();
    proxy.hold();
    let mut client = Client::connect(master.address).await;
    assert_eq!(client.call(&["SET", "key", "value"]).await, "OK", "acknowledged locally");
    assert_eq!(client.call(&["WAIT", "1", "50"]).await, "0");
    client.send(&["WAIT", "1", "0"]).await;
    client.send(&["GET", "key"]).await;
    until("the client is blocked", || master.node.node.stats.blocked.load(Ordering::Relaxed) == 1).await;
    let mut other = Client::connect(master.address).await;
    assert_eq!(other.call(&["GET", "key"]).await, "value", "nobody else waits");
    let info = other.call(&["INFO", "clients"]).await;
    assert!(info.contains("blocked_clients:1"), "{info}");
    proxy.open();
    assert_eq!([client.text().await, client.text().await], ["1", "value"]);
    assert_eq!(master.node.node.stats.blocked.load(Ordering::Relaxed), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_leaves_waits_no_more() {
    let Pair { master, replica: _replica, sentinel: _sentinel, proxy: _proxy } = pair().await;
    let mut client = Client::connect(master.address).await;
    client.send(&["WAIT", "5", "0"]).await;
    until("the client is blocked", || master.node.node.stats.blocked.load(Ordering::Relaxed) == 1).await;
    drop(client);
    until("it is gone", || master.node.node.stats.blocked.load(Ordering::Relaxed) == 0).await;
    until("nobody is connected", || master.node.node.clients.is_empty()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn within_a_transaction_nothing_waits() {
    let Pair { master, replica: _replica, sentinel: _sentinel, proxy: _proxy } = pair().await;
    let mut client = Client::connect(master.address).await;
    for (command, reply) in [("MULTI", "OK"), ("INCR", "QUEUED"), ("WAIT", "QUEUED"), ("WAITAOF", "QUEUED")] {
        let words: &[&str] = match command {
            "INCR" => &["INCR", "n"],
            "WAIT" => &["WAIT", "5", "0"],
            "WAITAOF" => &["WAITAOF", "0", "5", "0"],
            _ => &["MULTI"],
        };
        assert_eq!(client.call(words).await, reply);
    }
    assert_eq!(client.call(&["EXEC"]).await, "[1 1 [0 0]]");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_does_not_wait() {
    let Pair { replica, master: _master, sentinel: _sentinel, proxy: _proxy } = pair().await;
    let mut client = Client::connect(replica.address).await;
    assert_eq!(
        client.call(&["WAIT", "0", "0"]).await,
        "ERR WAIT cannot be used with replica instances. Please also note that since Redis 4.0 if a replica is configured \
         to be writable (which is not the default) writes to replicas are just local and are not propagated."
    );
    let answer = client.call(&["WAITAOF", "0", "0", "0"]).await;
    assert!(answer.starts_with("ERR WAITAOF cannot be used with replica instances."), "{answer}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_waits_when_the_mastership_ends_is_answered_what_was_so() {
    let Pair { sentinel, master, replica, proxy: _proxy } = pair().await;
    let mut client = Client::connect(master.address).await;
    assert_eq!(client.call(&["SET", "key", "value"]).await, "OK");
    assert_eq!(client.call(&["WAIT", "1", "0"]).await, "1");
    client.send(&["WAIT", "3", "0"]).await;
    until("the client is blocked", || master.node.node.stats.blocked.load(Ordering::Relaxed) == 1).await;
    support::resp::hand_over(&sentinel, &master, &replica).await;
    assert_eq!(client.text().await, "1");
}
