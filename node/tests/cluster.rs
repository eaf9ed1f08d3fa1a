//! Does a node keep its promises to the sentinels? Nodes in this process, real connections, a fake sentinel.

#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod support;

use support::sentinel::{self, CLUSTER, FakeSentinel, former};
use support::{Keeping, TestNode, assert_same_keys, bounded, is_level, until};
use tercet_edge::socket::Socket;
use tercet_node::clock;
use tercet_node::cluster::carry::{Port, carry};
use tercet_node::ids::Offset;
use tercet_node::role::{Hold, Role, Verdict};
use tercet_proto::grpc::cluster::v1::ClusterState;
use tercet_proto::grpc::peer::v1::{
    ObserveRequest, PrepareHandoverReply, PrepareHandoverRequest, PromoteRequest, Role as Seen,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

async fn lone_master(sentinel: &FakeSentinel) -> TestNode {
    let master = TestNode::start("n1", &[sentinel.port]);
    bounded(sentinel.lead(&master, &[&master], vec![master.member()])).await;
    master.is_serving().await;
    master
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_waits_for_its_first_state() {
    let sentinel = FakeSentinel::start(1).await;
    let node = TestNode::start("n1", &[sentinel.port]);
    let mut statuses = node.peer().await.observe(ObserveRequest::default()).await.unwrap().into_inner();
    let status = bounded(statuses.message()).await.unwrap().unwrap();
    assert_eq!((status.role(), status.epoch, status.end_offset), (Seen::Waiting, 0, 0));
    assert_eq!(node.verdict(), Verdict::Wait);
    // The cluster's id comes with the state, though there is no master yet.
    until("the node has joined", || node.node.cluster.read().is_some()).await;
    bounded(sentinel.lead(&node, &[&node], vec![node.member()])).await;
    let master = async {
        loop {
            let status = statuses.message().await.unwrap().unwrap();
            if status.role() == Seen::Master {
                return status;
            }
        }
    };
    let status = bounded(master).await;
    assert_eq!((status.epoch, status.cluster_id.as_str()), (1, CLUSTER));
    assert_eq!(node.verdict(), Verdict::Master, "it says so when it serves, not before");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_master_executes_only_with_a_lease_of_a_majority() {
    let sentinels = [FakeSentinel::start(1).await, FakeSentinel::start(1).await, FakeSentinel::start(1).await];
    let node = TestNode::start("n1", &[sentinels[0].port, sentinels[1].port, sentinels[2].port]);
    bounded(sentinels[0].lead(&node, &[&node], vec![node.member()])).await;
    until("it is promoted", || node.role() == Role::Master).await;
    until("one sentinel has granted", || sentinels[0].grants() >= 3).await;
    assert_eq!(node.verdict(), Verdict::Wait, "one of three grants");
    sentinels[2].grant(1);
    node.is_serving().await;
    let lease = node.node.authority.lease_until();
    let now = clock::boot_now();
    assert!(lease <= now.plus_millis(400), "no lease is longer than its sentinels think");
    sentinels[0].grant(0);
    until("the lease has run out", || node.verdict() == Verdict::Wait).await;
    until("the node says that it is deposed", || node.role() == Role::Deposed).await;
    sentinels[1].grant(1);
    node.is_serving().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_promise_survives_a_restart() {
    let sentinel = FakeSentinel::start(1).await;
    let node = TestNode::start("n1", &[sentinel.port]);
    assert!(bounded(sentinel::fence(&node, 7)).await.accepted);
    let again = bounded(sentinel::fence(&node, 7)).await;
    assert!(again.accepted, "the same order again: {}", again.refusal);
    let directory = node.kill();
    let node = TestNode::start_in("n1", &[sentinel.port], directory, &[], Keeping::InMemory);
    let reply = bounded(sentinel::fence(&node, 6)).await;
    assert_eq!((reply.accepted, reply.promised_epoch), (false, 7), "{}", reply.refusal);
    let state = ClusterState {
        cluster_id: CLUSTER.to_owned(),
        epoch: 6,
        isr_version: 9,
        master: "n1".to_owned(),
        isr: vec![node.isr_member()],
        members: vec![node.member()],
        min_isr: 1,
        log_index: 9,
        ..ClusterState::default()
    };
    let reply = bounded(sentinel::promote(&node, state)).await;
    assert!(!reply.accepted && reply.refusal.contains("7 was promised"), "{}", reply.refusal);
    assert_ne!(node.role(), Role::Master);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restarted_master_does_not_lead_and_is_loaded_by_who_does() {
    let sentinel = FakeSentinel::start(1).await;
    let n1 = lone_master(&sentinel).await;
    let n2 = TestNode::start("n2", &[sentinel.port]);
    sentinel.change(|state| state.members.push(n2.member()));
    until("both are in the ISR", || sentinel.isr_names() == ["n1", "n2"]).await;
    bounded(n1.set("key", "value").unwrap().acknowledged()).await.unwrap();
    let directory = n1.kill();
    let n1 = TestNode::start_in("n1", &[sentinel.port], directory, &[], Keeping::InMemory);
    until("it knows the state", || n1.node.cluster.read().is_some()).await;
    assert_eq!(n1.role(), Role::Waiting, "the state names another process of this name");

    assert!(bounded(sentinel::fence(&n2, 2)).await.accepted);
    bounded(sentinel.lead(&n2, &[&n2], vec![n1.member(), n2.member()])).await;
    until("both are in the ISR again", || sentinel.isr_names() == ["n1", "n2"]).await;
    n1.is_up_to_date().await;
    is_level(&n2, &n1).await;
    assert_eq!(n1.get("key").as_deref(), Some("value"));
    assert_same_keys(&n1, &n2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_empty_process_leads_if_the_state_names_it() {
    let sentinel = FakeSentinel::start(1).await;
    let n1 = lone_master(&sentinel).await;
    n1.set("key", "value").unwrap();
    let directory = n1.kill();
    let n1 = TestNode::start_in("n1", &[sentinel.port], directory, &[], Keeping::InMemory);
    bounded(sentinel.lead(&n1, &[&n1], vec![n1.member()])).await;
    n1.is_serving().await;
    assert_eq!((n1.get("key"), n1.end()), (None, Offset(0)));
    bounded(n1.set("key", "new").unwrap().acknowledged()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_promotion_is_for_the_process_that_it_names() {
    let sentinel = FakeSentinel::start(1).await;
    let node = TestNode::start("n1", &[sentinel.port]);
    let mut state = sentinel.state();
    (state.epoch, state.isr_version, state.master) = (1, 1, "n1".to_owned());
    state.isr = vec![former("n1")];
    let reply = bounded(sentinel::promote(&node, state.clone())).await;
    assert!(!reply.accepted, "another process of the same name");
    state.isr = vec![node.isr_member()];
    assert!(bounded(sentinel::promote(&node, state.clone())).await.accepted);
    assert!(bounded(sentinel::promote(&node, state)).await.accepted, "the same order again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_cluster_is_not_heeded() {
    let sentinel = FakeSentinel::start(1).await;
    let node = lone_master(&sentinel).await;
    let foreign = FakeSentinel::start_for("another cluster", 1).await;
    let request = ObserveRequest { cluster_id: "another cluster".to_owned(), sentinel: "s9".to_owned() };
    let refusal = node.peer().await.observe(request).await.err().unwrap();
    assert_eq!(refusal.code(), tonic::Code::FailedPrecondition, "{refusal}");
    let directory = node.kill();
    let node = TestNode::start_in("n1", &[foreign.port], directory, &[], Keeping::InMemory);
    foreign.decide(&node, &[&node], vec![node.member()]);
    until("the node has asked twice", || foreign.watched() >= 1).await;
    let request = PromoteRequest { state: Some(foreign.state()) };
    let refusal = node.peer().await.promote(request).await.err().unwrap();
    assert_eq!(refusal.code(), tonic::Code::FailedPrecondition);
    assert_eq!(node.role(), Role::Waiting);
}

async fn prepare(node: &TestNode, target: &str, hold_ms: u64) -> PrepareHandoverReply {
    let request =
        PrepareHandoverRequest { cluster_id: CLUSTER.to_owned(), epoch: 1, target: target.to_owned(), hold_ms };
    node.peer().await.prepare_handover(request).await.unwrap().into_inner()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hand_over_loses_nothing_and_needs_no_full_sync() {
    let sentinel = FakeSentinel::start(1).await;
    let n1 = lone_master(&sentinel).await;
    let n2 = TestNode::start("n2", &[sentinel.port]);
    sentinel.change(|state| state.members.push(n2.member()));
    until("both are in the ISR", || sentinel.isr_names() == ["n1", "n2"]).await;
    let write = n1.set("key", "value").unwrap();
    let reply = bounded(prepare(&n1, "n2", 2000)).await;
    assert!(reply.accepted, "{}", reply.refusal);
    assert_eq!((reply.end_offset, n2.end()), (1, Offset(1)));
    assert!(write.is_acknowledged(), "whoever waited has his answer");
    assert_eq!(n1.verdict(), Verdict::Wait);
    assert!(bounded(sentinel::fence(&n1, 2)).await.accepted);
    until("the lease is given up", || sentinel.resigned_epoch() == 1).await;
    assert!(bounded(sentinel::fence(&n2, 2)).await.accepted);
    bounded(sentinel.lead(&n2, &[&n1, &n2], vec![n1.member(), n2.member()])).await;
    n2.is_serving().await;
    bounded(n2.set("next", "1").unwrap().acknowledged()).await.unwrap();
    n1.is_up_to_date().await;
    is_level(&n2, &n1).await;
    assert_same_keys(&n1, &n2);
    assert_eq!(n2.node.stats.full_syncs.load(std::sync::atomic::Ordering::Relaxed), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hand_over_that_nobody_takes_is_released() {
    let sentinel = FakeSentinel::start(1).await;
    let n1 = lone_master(&sentinel).await;
    let reply = bounded(prepare(&n1, "n2", 20)).await;
    assert!(!reply.accepted && reply.refusal.contains("did not catch up"), "{}", reply.refusal);
    assert_eq!(n1.verdict(), Verdict::Master);
    let n2 = TestNode::start("n2", &[sentinel.port]);
    sentinel.change(|state| state.members.push(n2.member()));
    until("both are in the ISR", || sentinel.isr_names() == ["n1", "n2"]).await;
    assert!(bounded(prepare(&n1, "n2", 50)).await.accepted);
    assert_eq!(n1.node.authority.standing().hold, Hold::Held);
    n1.is_serving().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_stops_gives_its_lease_up() {
    let sentinel = FakeSentinel::start(1).await;
    let node = lone_master(&sentinel).await;
    bounded(node.stop()).await;
    assert_eq!(sentinel.resigned_epoch(), 1);
    assert_eq!(node.verdict(), Verdict::Wait);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_carries_clients_to_the_master() {
    let sentinel = FakeSentinel::start(1).await;
    // Something that answers on the master's AMQP port.
    let broker = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = broker.local_addr().unwrap().port().to_string();
    let master = TestNode::start_with("n1", &[sentinel.port], &["--amqp-port", &port]);
    let replica = TestNode::start("n2", &[sentinel.port]);
    let entrance = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut client = tokio::net::TcpStream::connect(entrance.local_addr().unwrap()).await.unwrap();
    let (accepted, _) = entrance.accept().await.unwrap();
    // It waits until somebody is master.
    let carried = tokio::spawn(carry(replica.node.clone(), Socket::plain(accepted, None).unwrap(), Port::Amqp));
    bounded(sentinel.lead(&master, &[&master], vec![master.member(), replica.member()])).await;

    let (mut upstream, _) = bounded(broker.accept()).await.unwrap();
    client.write_all(b"AMQP").await.unwrap();
    let mut buffer = [0; 4];
    bounded(upstream.read_exact(&mut buffer)).await.unwrap();
    assert_eq!(&buffer, b"AMQP");
    upstream.write_all(b"back").await.unwrap();
    bounded(client.read_exact(&mut buffer)).await.unwrap();
    assert_eq!(&buffer, b"back");
    assert_eq!(replica.node.clients.len(), 1);

    // Another master: the connection closes.
    until("both are in the ISR", || sentinel.isr_names() == ["n1", "n2"]).await;
    bounded(sentinel.lead(&replica, &[&replica], vec![master.member(), replica.member()])).await;
    assert_eq!(bounded(client.read(&mut buffer)).await.unwrap_or(0), 0);
    assert!(bounded(carried).await.unwrap().is_none());

    // On the master itself the client comes back to be served.
    let mut client = tokio::net::TcpStream::connect(entrance.local_addr().unwrap()).await.unwrap();
    let (accepted, _) = entrance.accept().await.unwrap();
    until("the replica leads", || replica.role() == Role::Master).await;
    let here = bounded(carry(replica.node.clone(), Socket::plain(accepted, None).unwrap(), Port::Amqp)).await;
    here.unwrap().write_all(b"here").await.unwrap();
    bounded(client.read_exact(&mut buffer)).await.unwrap();
    assert_eq!(&buffer, b"here");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_is_late_with_the_news_does_not_follow_a_deposed_master() {
    let sentinel = FakeSentinel::start(1).await;
    let n1 = lone_master(&sentinel).await;
    let n2 = TestNode::start("n2", &[sentinel.port]);
    sentinel.change(|state| state.members.push(n2.member()));
    until("both are in the ISR", || sentinel.isr_names() == ["n1", "n2"]).await;
    assert!(bounded(sentinel::fence(&n2, 2)).await.accepted);
    n1.set("key", "value").unwrap();
    until("the old master wants it out", || sentinel.isr_names() == ["n1"]).await;
    // The state of epoch 1 is news to it, and still it does not follow.
    until("the state has arrived", || n2.node.cluster.read().as_ref().is_some_and(|state| state.isr.len() == 1)).await;
    assert_eq!(n2.end(), Offset(0));
    assert!(!n2.node.link.read().is_up);
    // Epoch 2 comes, with the same master: now it does.
    assert!(bounded(sentinel::fence(&n1, 2)).await.accepted);
    bounded(sentinel.lead(&n1, &[&n1], vec![n1.member(), n2.member()])).await;
    is_level(&n1, &n2).await;
    assert_eq!(n2.get("key").as_deref(), Some("value"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_process_under_a_living_nodes_name_is_refused_and_the_first_goes_on_counting() {
    let sentinel = FakeSentinel::start(1).await;
    let n1 = lone_master(&sentinel).await;
    let n2 = TestNode::start("n2", &[sentinel.port]);
    sentinel.change(|state| state.members.push(n2.member()));
    until("both are in the ISR", || sentinel.isr_names() == ["n1", "n2"]).await;
    // Another data directory, the same name; and one that has the master's.
    let double = TestNode::start("n2", &[sentinel.port]);
    until("it has heard of the master", || double.node.link.read().master.is_some()).await;
    for count in 0..20 {
        let write = n1.set("key", &count.to_string()).unwrap();
        bounded(write.acknowledged()).await.unwrap();
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    let copies = n1.node.commit.copies();
    let of_n2: Vec<_> = copies.iter().filter(|(copy, _)| copy.member.name == "n2" && copy.is_connected()).collect();
    assert!(of_n2.len() == 1 && of_n2[0].0.incarnation == n2.node.identity.incarnation && of_n2[0].1, "{of_n2:?}");
    assert!(!double.node.link.read().is_up);
    assert_eq!((double.get("key"), n2.get("key").is_some()), (None, true));
}
