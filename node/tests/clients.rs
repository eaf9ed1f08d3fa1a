//! What clients do to each other and to the node, over real connections: publish and subscribe, MONITOR, caches of their
//! own, pauses, and pipelines that are written before they are read.

#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod support;

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use support::resp::{Client, Served, hand_over, pair};
use support::sentinel::FakeSentinel;
use support::{bounded, until};
use tercet_edge::accept::Door;
use tercet_node::config::{Action, Config};
use tercet_node::node::{Identity, Node, Shared, random_id};
use tercet_node::resp;
use tercet_proto::resp::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// A node of its own, and where it serves RESP.
async fn alone() -> (Shared, std::net::SocketAddr) {
    let Ok(Action::Serve(config)) = Config::from_args(["tercet-node".into()], |_| None) else { panic!("defaults") };
    let identity = Identity { name: "n1".into(), node_id: random_id(), incarnation: random_id() };
    let node = Arc::new(Node::new(*config, identity));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let door = Door::new("RESP", listener, Arc::clone(&node.places));
    tokio::spawn(resp::accept(Arc::clone(&node), door, vec![tokio::runtime::Handle::current()]));
    (node, address)
}

async fn listens(node: &Served, channel: &str) -> Client {
    let mut client = Client::connect(node.address).await;
    assert_eq!(client.call(&["SUBSCRIBE", channel]).await, format!("[subscribe {channel} 1]"));
    client
}

#[tokio::test]
async fn a_client_may_write_its_whole_pipeline_before_it_reads() {
    let (node, address) = alone().await;
    let mut client = Client::connect(address).await;
    // Far more than the kernel's buffers hold.
    let (value, count) = ("x".repeat(10_000), 5_000);
    client.call(&["SET", "k", &value]).await;
    let pipeline = Value::command(&["GET", "k"]).repeat(count);
    bounded(client.stream.write_all(&pipeline)).await.unwrap();
    let mut other = Client::connect(address).await;
    assert_eq!(other.call(&["PING"]).await, "PONG");
    for _ in 0..count {
        assert_eq!(client.text().await.len(), value.len());
    }
    until("nothing is held", || node.stats.client_bytes.load(Relaxed) == 0).await;
}

#[tokio::test]
async fn a_large_value_leaves_no_scratch_behind() {
    let (node, address) = alone().await;
    let mut client = Client::connect(address).await;
    let large = "x".repeat(32 << 20);
    assert_eq!(client.call(&["SET", "k", &large]).await, "OK");
    until("the input is given back", || node.stats.client_bytes.load(Relaxed) == 0).await;
    assert_eq!(client.call(&["GET", "k"]).await.len(), large.len());
    until("so is the output", || node.stats.client_bytes.load(Relaxed) == 0).await;
}

#[tokio::test]
async fn a_reply_that_repeats_a_large_value_has_a_bound() {
    let (node, address) = alone().await;
    let mut client = Client::connect(address).await;
    client.call(&["SET", "k", &"x".repeat(120 << 20)]).await;
    let many: Vec<&str> = std::iter::once("MGET").chain(["k"; 1_000]).collect();
    let expected = "ERR the reply takes more than 1024 MiB; what the command has changed stays so";
    assert_eq!(client.call(&many).await, expected);
    client.call(&["MULTI"]).await;
    client.send(&many).await;
    client.text().await;
    client.call(&["SET", "k", "small"]).await;
    assert_eq!(client.call(&["EXEC"]).await, format!("[{expected} OK]"));
    assert_eq!(client.call(&["MGET", "k", "k"]).await, "[small small]");
    until("the output is given back", || node.stats.client_bytes.load(Relaxed) == 0).await;
}

#[tokio::test]
async fn a_subscriber_that_does_not_read_is_closed() {
    let (node, address) = alone().await;
    let mut client = Client::connect(address).await;
    assert_eq!(client.call(&["CONFIG", "SET", "client-output-buffer-limit", "pubsub 1mb 0 0"]).await, "OK");
    client.call(&["SUBSCRIBE", "c"]).await;
    let mut publisher = Client::connect(address).await;
    let message = "x".repeat(100_000);
    let publish = async { while publisher.call(&["PUBLISH", "c", &message]).await == "1" {} };
    bounded(publish).await;
    until("it is gone", || node.clients.len() == 1).await;
}

#[tokio::test]
async fn messages_come_between_replies_and_in_their_order() {
    let (_, address) = alone().await;
    let mut client = Client::connect(address).await;
    client.call(&["HELLO", "3"]).await;
    client.send(&["PSUBSCRIBE", "a*"]).await;
    client.send(&["SUBSCRIBE", "abc"]).await;
    client.send(&["PUBLISH", "abc", "own"]).await;
    for expected in [">[psubscribe a* 1]", ">[subscribe abc 2]", "2", ">[message abc own]", ">[pmessage a* abc own]"] {
        assert_eq!(client.text().await, expected);
    }
    let mut other = Client::connect(address).await;
    for number in 0..100 {
        assert_eq!(other.call(&["PUBLISH", "abc", &number.to_string()]).await, "2");
    }
    for number in 0..100 {
        assert_eq!(client.text().await, format!(">[message abc {number}]"));
        assert_eq!(client.text().await, format!(">[pmessage a* abc {number}]"));
    }
    assert_eq!(client.call(&["PING"]).await, "PONG");
}

#[tokio::test]
async fn commands_are_shown_without_passwords() {
    let (_, address) = alone().await;
    let mut monitor = Client::connect(address).await;
    assert_eq!(monitor.call(&["MONITOR"]).await, "OK");
    let mut client = Client::connect(address).await;
    for words in [
        &["SET", "k", "a \"quoted\"\n"][..],
        &["AUTH", "default", "secret"],
        &["HELLO", "3", "AUTH", "default", "secret"],
        &["CONFIG", "GET", "port"],
        &["MULTI"],
        &["GET", "k"],
        &["EXEC"],
        &["NONSENSE"],
    ] {
        client.call(words).await;
    }
    let mut shown = String::new();
    for _ in 0..6 {
        let line = monitor.text().await;
        let (_, command) = line.split_once("] ").unwrap();
        shown.push_str(command);
        shown.push('\n');
    }
    let expected = "\"SET\" \"k\" \"a \\\"quoted\\\"\\n\"\n\"AUTH\" \"(redacted)\" \"(redacted)\"\n\
                    \"HELLO\" \"3\" \"AUTH\" \"(redacted)\" \"(redacted)\"\n\"MULTI\"\n\"GET\" \"k\"\n\"EXEC\"\n";
    assert_eq!(shown, expected);
}

#[tokio::test]
async fn a_pause_holds_writes_up_and_no_reads() {
    let (_, address) = alone().await;
    let mut client = Client::connect(address).await;
    let mut other = Client::connect(address).await;
    assert_eq!(client.call(&["CLIENT", "PAUSE", "60000", "WRITE"]).await, "OK");
    assert_eq!(client.call(&["GET", "k"]).await, "nil");
    other.send(&["SET", "k", "1"]).await;
    assert_eq!(client.call(&["GET", "k"]).await, "nil");
    assert_eq!(client.call(&["CLIENT", "UNPAUSE"]).await, "OK");
    assert_eq!(other.text().await, "OK");
    assert_eq!(client.call(&["GET", "k"]).await, "1");
}

#[tokio::test]
async fn a_client_may_ask_for_no_replies() {
    let (_, address) = alone().await;
    let mut client = Client::connect(address).await;
    client.send(&["CLIENT", "REPLY", "OFF"]).await;
    client.send(&["SET", "k", "1"]).await;
    client.send(&["NONSENSE"]).await;
    assert_eq!(client.call(&["CLIENT", "REPLY", "ON"]).await, "OK");
    client.send(&["CLIENT", "REPLY", "SKIP"]).await;
    client.send(&["SET", "k", "2"]).await;
    assert_eq!(client.call(&["GET", "k"]).await, "2");
}

#[tokio::test]
async fn a_client_is_described_as_it_is() {
    let (_, address) = alone().await;
    let mut client = Client::connect(address).await;
    let mut other = Client::connect(address).await;
    client.call(&["SUBSCRIBE", "a"]).await;
    other.call(&["MULTI"]).await;
    other.call(&["SET", "key", "value"]).await;
    let list = client_list(address, &["TYPE", "pubsub"]).await;
    assert!(list.lines().count() == 1 && list.contains("flags=P ") && list.contains(" sub=1 psub=0"), "{list}");
    let list = client_list(address, &["TYPE", "normal"]).await;
    assert!(list.contains("flags=x ") && list.contains(" multi=1 ") && list.contains("cmd=set "), "{list}");
    let own = list.lines().find(|line| line.contains("cmd=client|list")).unwrap();
    assert!(own.contains(" qbuf=") && !own.contains(" qbuf=0 ") && !own.contains(" argv-mem=0 "), "{own}");
    assert_eq!(client_list(address, &["ID", "4711"]).await, "");
}

async fn client_list(address: std::net::SocketAddr, filter: &[&str]) -> String {
    let mut client = Client::connect(address).await;
    client.call(&[&["CLIENT", "LIST"], filter].concat()).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_blocked_client_is_released_by_another() {
    let sentinel = FakeSentinel::start(1).await;
    let (n1, _n2) = pair(&sentinel, [&[], &[]]).await;
    for (how, expected) in [("TIMEOUT", "1"), ("ERROR", "UNBLOCKED client unblocked via CLIENT UNBLOCK")] {
        let mut blocked = Client::connect(n1.address).await;
        let id = blocked.call(&["CLIENT", "ID"]).await;
        blocked.call(&["SET", "k", "1"]).await;
        blocked.send(&["WAIT", "5", "0"]).await;
        until("it waits", || n1.node.node.stats.blocked.load(Relaxed) == 1).await;
        let mut other = Client::connect(n1.address).await;
        assert_eq!(other.call(&["CLIENT", "UNBLOCK", &id, how]).await, "1");
        assert_eq!(blocked.text().await, expected);
        assert_eq!(other.call(&["CLIENT", "UNBLOCK", &id]).await, "0");
        assert_eq!(blocked.call(&["PING"]).await, "PONG");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_published_on_one_node_is_heard_on_all() {
    let sentinel = FakeSentinel::start(1).await;
    let (n1, n2) = pair(&sentinel, [&[], &[]]).await;
    let (mut on_master, mut on_replica) = (listens(&n1, "c").await, listens(&n2, "c").await);
    let listening = |node: &Served| node.node.node.pubsub.is_heard_elsewhere();
    until("the nodes listen to each other", || listening(&n1) && listening(&n2)).await;
    for (publisher, message) in [(&n1, "from the master"), (&n2, "from the replica")] {
        let mut client = Client::connect(publisher.address).await;
        assert_eq!(client.call(&["PUBLISH", "c", message]).await, "1", "who is reached on this node");
        for listener in [&mut on_master, &mut on_replica] {
            assert_eq!(listener.text().await, format!("[message c {message}]"));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn subscriptions_go_along_to_the_next_master() {
    let sentinel = FakeSentinel::start(1).await;
    let (n1, n2) = pair(&sentinel, [&[], &[]]).await;
    let mut client = Client::connect(n1.address).await;
    client.call(&["HELLO", "3"]).await;
    client.call(&["SUBSCRIBE", "c"]).await;
    client.call(&["SET", "k", "1"]).await;
    hand_over(&sentinel, &n1, &n2).await;
    assert_eq!(client.call(&["GET", "k"]).await, "1");
    let subscribers = |node: &Served| node.node.node.pubsub.subscribers(tercet_node::pubsub::Channel::Plain, b"c");
    assert_eq!((subscribers(&n1), subscribers(&n2)), (0, 1));
    let mut publisher = Client::connect(n2.address).await;
    assert_eq!(publisher.call(&["PUBLISH", "c", "hello"]).await, "1");
    assert_eq!(client.text().await, ">[message c hello]");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_are_executed_while_earlier_replies_wait_for_replicas() {
    let sentinel = FakeSentinel::start(2).await;
    let n1 = support::resp::serve("n1", &sentinel, &[]).await;
    let n2 = support::resp::serve("n2", &sentinel, &[]).await;
    bounded(sentinel.lead(&n1, &[&n1, &n2], vec![n1.member(), n2.member()])).await;
    n1.is_serving().await;
    sentinel.freeze_isr();
    n2.stop().await;
    let mut client = Client::connect(n1.address).await;
    for number in 0..3 {
        client.send(&["SET", "k", &number.to_string()]).await;
        until("it is executed", || n1.get("k").as_deref() == Some(&number.to_string())).await;
    }
    let mut byte = [0];
    let early = tokio::time::timeout(std::time::Duration::from_millis(50), client.stream.read(&mut byte)).await;
    assert!(early.is_err(), "nothing is acknowledged that the replica does not hold");
}

#[tokio::test]
async fn a_transaction_may_be_left_at_once() {
    let (_, address) = alone().await;
    let mut client = Client::connect(address).await;
    client.call(&["MULTI"]).await;
    assert_eq!([client.call(&["QUIT"]).await, client.text().await], ["OK", "closed"]);
}

#[tokio::test]
async fn what_is_http_is_closed_and_not_executed() {
    let (_, address) = alone().await;
    for head in ["POST / HTTP/1.1\r\n", "GET / HTTP/1.1\r\nHost: localhost\r\n"] {
        let mut client = Client::connect(address).await;
        client.stream.write_all(format!("{head}SET stolen 1\r\n").as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        // Closing with something unread is a reset.
        _ = bounded(client.stream.read_to_end(&mut answer)).await;
        assert!(!answer.starts_with(b"+"), "{}", answer.escape_ascii());
    }
    let mut client = Client::connect(address).await;
    assert_eq!(client.call(&["GET", "stolen"]).await, "nil");
}

#[tokio::test]
async fn a_client_is_killed_by_what_is_known_of_it() {
    let (node, address) = alone().await;
    let (mut client, mut victim) = (Client::connect(address).await, Client::connect(address).await);
    let id = victim.call(&["CLIENT", "ID"]).await;
    victim.call(&["SUBSCRIBE", "c"]).await;
    assert_eq!(client.call(&["CLIENT", "KILL", "TYPE", "pubsub", "ID", &id]).await, "1");
    assert_eq!(victim.text().await, "closed");
    until("its subscription has ended", || node.pubsub.subscribers(tercet_node::pubsub::Channel::Plain, b"c") == 0)
        .await;
    assert_eq!(client.call(&["CLIENT", "KILL", "ID", &id]).await, "0");
}

#[tokio::test]
async fn a_cache_is_told_what_changes() {
    let (_, address) = alone().await;
    let mut client = Client::connect(address).await;
    let mut writer = Client::connect(address).await;
    client.call(&["HELLO", "3"]).await;
    assert_eq!(client.call(&["CLIENT", "TRACKING", "ON"]).await, "OK");
    client.call(&["MGET", "a", "b"]).await;
    writer.call(&["SET", "a", "1"]).await;
    writer.call(&["SET", "a", "2"]).await;
    writer.call(&["SET", "unread", "1"]).await;
    assert_eq!(client.text().await, ">[invalidate [a]]");
    assert_eq!(client.call(&["GET", "a"]).await, "2", "it is told once");
    writer.call(&["FLUSHALL"]).await;
    assert_eq!(client.text().await, ">[invalidate nil]");
    client.call(&["CLIENT", "TRACKING", "OFF"]).await;
    client.call(&["CLIENT", "TRACKING", "ON", "BCAST", "PREFIX", "user:", "NOLOOP"]).await;
    client.call(&["SET", "user:1", "its own"]).await;
    writer.call(&["MSET", "user:2", "x", "other", "y"]).await;
    assert_eq!(client.text().await, ">[invalidate [user:2]]", "not of its own change");
}

#[tokio::test]
async fn another_connection_is_told_for_a_client_of_the_old_protocol() {
    let (_, address) = alone().await;
    let (mut client, mut listener) = (Client::connect(address).await, Client::connect(address).await);
    let id = listener.call(&["CLIENT", "ID"]).await;
    listener.call(&["SUBSCRIBE", "__redis__:invalidate"]).await;
    assert_eq!(client.call(&["CLIENT", "TRACKING", "ON", "REDIRECT", &id, "OPTIN"]).await, "OK");
    client.call(&["GET", "not asked for"]).await;
    client.call(&["CLIENT", "CACHING", "YES"]).await;
    client.call(&["GET", "a"]).await;
    let mut writer = Client::connect(address).await;
    writer.call(&["MSET", "not asked for", "1", "a", "1"]).await;
    assert_eq!(listener.text().await, "[message __redis__:invalidate [a]]");
}
