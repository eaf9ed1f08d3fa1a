//! Three sentinels and fake nodes in one process: founding, failover, what is not a failover, restarts.

mod common;

use std::time::{Duration, Instant};

use common::{Cluster, eventually, read_until, subscribe, within};
use tercet_proto::resp::Value;

/// Whether there is a failover at all: how long one takes is measured by `make drill`, not where other tests take the cores.
const FAILOVER: Duration = common::BOUND;

#[test]
fn the_first_listed_of_empty_nodes_becomes_master() {
    let cluster = Cluster::start(3, 3);
    assert_eq!(cluster.world.epoch(), 1);
    assert!(cluster.nodes[0].is_master());
    cluster.await_isr(&["n1", "n2", "n3"]);
    let mut client = cluster.sentinels[1].client();
    eventually("both other sentinels are known", || (client.master_field("num-other-sentinels")? == "2").then_some(()));
    assert_eq!(client.master_field("flags").as_deref(), Some("master"));
    assert_eq!(client.master_field("num-slaves").as_deref(), Some("2"));
    let quorum = client.command(&["SENTINEL", "CKQUORUM", "mymaster"]);
    let text = "OK 3 usable Sentinels. Quorum and failover authorization can be reached";
    assert_eq!(quorum, Value::Simple(text.into()));
}

#[test]
fn a_killed_master_is_replaced_by_the_furthest_replica_of_the_isr() {
    let mut cluster = Cluster::start(3, 3);
    cluster.await_isr(&["n1", "n2", "n3"]);
    cluster.nodes[1].write(10);
    cluster.nodes[2].write(20);
    let mut subscribers = subscribe(&cluster);
    let (old, new) = (cluster.nodes[0].resp(), cluster.nodes[2].resp());
    let killed = Instant::now();
    cluster.nodes[0].kill();
    within(FAILOVER, "n3 is master", || cluster.nodes[2].is_master().then_some(()));
    println!("kill to new master: {:?}", killed.elapsed());
    let switch = format!("+switch-master mymaster {} {}", old.replace(':', " "), new.replace(':', " "));
    for (at, subscriber) in subscribers.iter_mut().enumerate() {
        let events = read_until(subscriber, "+switch-master");
        assert_eq!(events.last(), Some(&switch), "at sentinel {at}");
        assert!(events.iter().any(|event| event.starts_with("+sdown master mymaster")), "{events:#?}");
    }
    assert_eq!(cluster.world.epoch(), 2);
    cluster.agreed_master(&new);
    // The dead one is a replica that is down, until it comes back as another process.
    let mut client = cluster.sentinels[0].client();
    eventually("the old master is flagged", || {
        let Value::Array(replicas) = client.command(&["SENTINEL", "REPLICAS", "mymaster"]) else { return None };
        format!("{replicas:?}").contains(&format!("{:?}", b"s_down,slave,disconnected".to_vec())).then_some(())
    });
    cluster.nodes[0].restart();
    cluster.await_isr(&["n1", "n2", "n3"]);
    cluster.world.assert_no_two_masters();
}

#[test]
fn a_master_that_falls_silent_is_replaced_and_is_not_master_when_it_wakes() {
    let cluster = Cluster::start(3, 2);
    cluster.await_isr(&["n1", "n2"]);
    cluster.nodes[0].freeze();
    within(FAILOVER, "n2 is master", || cluster.nodes[1].is_master().then_some(()));
    assert_eq!(cluster.world.epoch(), 2);
    cluster.agreed_master(&cluster.nodes[1].resp());
    cluster.world.assert_no_two_masters();
}

#[test]
fn the_leader_tells_the_story_in_the_order_of_redis() {
    let mut cluster = Cluster::start(3, 2);
    cluster.await_isr(&["n1", "n2"]);
    let mut subscribers = subscribe(&cluster);
    cluster.nodes[0].kill();
    let stories: Vec<Vec<String>> =
        subscribers.iter_mut().map(|subscriber| read_until(subscriber, "+switch-master")).collect();
    let leader = stories.iter().find(|story| story.iter().any(|event| event.starts_with("+try-failover")));
    let channels: Vec<&str> =
        leader.expect("one of them led").iter().filter_map(|event| event.split(' ').next()).collect();
    let wanted = [
        "+sdown",
        "+odown",
        "+new-epoch",
        "+try-failover",
        "+vote-for-leader",
        "+elected-leader",
        "+failover-state-select-slave",
        "+selected-slave",
        "+failover-state-send-slaveof-noone",
        "+failover-state-wait-promotion",
        "+promoted-slave",
        "+failover-state-reconf-slaves",
        "failover-end",
        "+failover-end",
        "+switch-master",
    ];
    let told: Vec<&str> = channels.into_iter().filter(|channel| wanted.contains(channel)).collect();
    assert_eq!(told, wanted);
}

#[test]
fn a_replica_that_finds_the_new_master_is_told_of_step_by_step() {
    let mut cluster = Cluster::start(3, 3);
    cluster.await_isr(&["n1", "n2", "n3"]);
    let mut subscribers = subscribe(&cluster);
    cluster.nodes[2].write(5);
    cluster.nodes[0].kill();
    for subscriber in &mut subscribers {
        let events = read_until(subscriber, "+replica-reconf-done");
        let follower = format!("slave {0} {1} @", cluster.nodes[1].resp(), cluster.nodes[1].resp().replace(':', " "));
        let steps: Vec<&str> = events
            .iter()
            .filter(|event| event.contains(&follower))
            .filter_map(|event| event.split(' ').next())
            .filter(|channel| channel.contains("-reconf-"))
            .collect();
        assert_eq!(steps, ["+slave-reconf-sent", "+slave-reconf-inprog", "+slave-reconf-done", "+replica-reconf-done"]);
    }
}

#[test]
fn a_live_master_whose_stream_to_one_sentinel_breaks_is_not_deposed() {
    let cluster = Cluster::start(3, 2);
    cluster.await_isr(&["n1", "n2"]);
    let lonely = &cluster.sentinels[2];
    cluster.nodes[0].cut(lonely.peer_port);
    let mut client = lonely.client();
    eventually("the cut sentinel suspects the master", || {
        (client.master_field("flags")? == "s_down,master").then_some(())
    });
    // It asks the others all the time; they hear the master.
    let began = Instant::now();
    while began.elapsed() < Duration::from_millis(1500) {
        assert_eq!(client.master_field("flags").as_deref(), Some("s_down,master"), "never objectively down");
        assert!(cluster.nodes[0].is_master());
    }
    cluster.nodes[0].mend();
    eventually("it is heard again", || (client.master_field("flags")? == "master").then_some(()));
    assert_eq!(cluster.world.epoch(), 1);
}

#[test]
fn a_failover_survives_the_death_of_the_raft_leader_with_the_master() {
    let mut cluster = Cluster::start(3, 3);
    cluster.await_isr(&["n1", "n2", "n3"]);
    // Nobody says which one leads: kill the first, that founded the group and mostly leads, with the master.
    cluster.nodes[0].kill();
    cluster.sentinels[0].kill();
    let new = within(FAILOVER, "another master", || {
        cluster.nodes[1..].iter().find(|node| node.is_master()).map(common::node::FakeNode::resp)
    });
    cluster.agreed_master(&new);
    cluster.world.assert_no_two_masters();
}

#[test]
fn sentinel_failover_hands_over_to_a_replica() {
    let cluster = Cluster::start(3, 2);
    cluster.await_isr(&["n1", "n2"]);
    // Through each of them: two forward to the leader.
    for (round, process) in cluster.sentinels.iter().enumerate() {
        let target = &cluster.nodes[(round + 1) % 2];
        let began = Instant::now();
        let reply = process.client().command(&["SENTINEL", "FAILOVER", "mymaster"]);
        println!("hand-over took {:?}", began.elapsed());
        assert_eq!(reply, Value::Simple("OK".into()), "round {round}");
        assert!(target.is_master());
        cluster.agreed_master(&target.resp());
        cluster.await_isr(&["n1", "n2"]);
    }
    assert_eq!(cluster.world.epoch(), 4);
    let unknown = cluster.sentinels[0].client().command(&["SENTINEL", "FAILOVER", "other"]);
    assert_eq!(unknown, Value::Error("ERR No such master with that name".into()));
    cluster.world.assert_no_two_masters();
}

#[test]
fn without_a_replica_a_hand_over_is_refused() {
    let cluster = Cluster::start(3, 1);
    let reply = cluster.sentinels[0].client().command(&["SENTINEL", "FAILOVER", "mymaster"]);
    assert_eq!(reply, Value::Error("NOGOODSLAVE No suitable replica to promote".into()));
}

#[test]
fn a_restarted_only_member_of_the_isr_leads_again_under_a_new_epoch() {
    let mut cluster = Cluster::start(3, 1);
    cluster.nodes[0].restart();
    eventually("n1 leads again", || (cluster.nodes[0].is_master() && cluster.world.epoch() == 2).then_some(()));
    cluster.agreed_master(&cluster.nodes[0].resp());
}

#[test]
fn when_all_nodes_restart_the_furthest_leads_once_all_have_reported() {
    let mut cluster = Cluster::start(3, 3);
    cluster.await_isr(&["n1", "n2", "n3"]);
    cluster.nodes[1].write(7);
    for node in &mut cluster.nodes {
        node.kill();
    }
    cluster.nodes[0].restart();
    cluster.nodes[2].restart();
    // n2 is missing: nobody may lead. The sentinels see both others by now.
    let mut client = cluster.sentinels[0].client();
    eventually("the replicas are seen", || {
        let Value::Array(replicas) = client.command(&["SENTINEL", "REPLICAS", "mymaster"]) else { return None };
        let up = format!("{:?}", b"slave".to_vec());
        format!("{replicas:?}").contains(&up).then_some(())
    });
    let began = Instant::now();
    while began.elapsed() < Duration::from_millis(1000) {
        assert_eq!(cluster.world.epoch(), 1);
        std::thread::sleep(Duration::from_millis(10));
    }
    cluster.nodes[1].restart();
    eventually("n2 leads", || cluster.nodes[1].is_master().then_some(()));
    assert_eq!(cluster.world.epoch(), 2);
    cluster.await_isr(&["n1", "n2", "n3"]);
    cluster.world.assert_no_two_masters();
}

#[test]
fn sentinels_keep_the_state_over_a_restart_of_all_of_them() {
    let mut cluster = Cluster::start(3, 2);
    cluster.await_isr(&["n1", "n2"]);
    let before = cluster.world.cluster_id();
    for process in &mut cluster.sentinels {
        process.kill();
    }
    for process in &mut cluster.sentinels {
        process.start();
    }
    eventually("n1 has its lease back", || cluster.nodes[0].is_master().then_some(()));
    cluster.agreed_master(&cluster.nodes[0].resp());
    assert_eq!((cluster.world.cluster_id(), cluster.world.epoch()), (before, 1));
    cluster.nodes[0].kill();
    within(FAILOVER, "and can still fail over", || cluster.nodes[1].is_master().then_some(()));
    cluster.world.assert_no_two_masters();
}

#[test]
fn a_sentinel_that_was_away_for_long_catches_up_from_a_snapshot() {
    use tercet_proto::grpc::{
        cluster::v1::{ClusterState, IsrMember},
        sentinel::v1::{ChangeIsrRequest, sentinel_client::SentinelClient},
    };
    // More than one snapshot apart, and more than the logs that are kept behind it.
    const CHANGES: u64 = 1400;
    let mut cluster = Cluster::start(3, 2);
    cluster.await_isr(&["n1", "n2"]);
    cluster.sentinels[2].kill();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let uri = format!("http://127.0.0.1:{}", cluster.sentinels[0].peer_port);
    let both: Vec<IsrMember> = cluster
        .nodes
        .iter()
        .map(|node| IsrMember { name: node.name.clone(), incarnation: node.incarnation.clone() })
        .collect();
    runtime.block_on(async {
        let mut client = SentinelClient::connect(uri).await.unwrap();
        let mut state = ClusterState::default();
        while state.isr_version < CHANGES {
            // The fake master puts n2 in as often as we take it out.
            let isr = if state.isr.len() == 2 { both[..1].to_vec() } else { both.clone() };
            let (cluster_id, isr_version) = (cluster.world.cluster_id(), state.isr_version);
            let request = ChangeIsrRequest { cluster_id, epoch: 1, isr_version, isr, ..ChangeIsrRequest::default() };
            state = client.change_isr(request).await.unwrap().into_inner().state.unwrap();
        }
    });
    cluster.sentinels[2].start();
    cluster.agreed_master(&cluster.nodes[0].resp());
    cluster.await_isr(&["n1", "n2"]);
    // It counts again: with it and without another one there is a majority.
    cluster.sentinels[0].kill();
    cluster.nodes[0].kill();
    within(Duration::from_secs(4), "n2 is master", || cluster.nodes[1].is_master().then_some(()));
}

#[test]
fn a_replica_that_promised_too_much_is_followed_by_the_epoch() {
    let cluster = Cluster::start(3, 2);
    cluster.await_isr(&["n1", "n2"]);
    // As a failover that fenced and never committed.
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let uri = format!("http://127.0.0.1:{}", cluster.nodes[1].port);
    let reply = runtime.block_on(async {
        let mut client = tercet_proto::grpc::peer::v1::peer_client::PeerClient::connect(uri).await.unwrap();
        let cluster_id = cluster.world.cluster_id();
        client.fence(tercet_proto::grpc::peer::v1::FenceRequest { cluster_id, epoch: 7 }).await.unwrap().into_inner()
    });
    assert!(reply.accepted);
    eventually("n1 goes on under epoch 7", || {
        (cluster.world.epoch() == 7 && cluster.nodes[0].is_master()).then_some(())
    });
    cluster.agreed_master(&cluster.nodes[0].resp());
    cluster.world.assert_no_two_masters();
}

#[test]
fn garbage_on_the_peer_port_harms_nobody() {
    use std::io::Write as _;
    let mut cluster = Cluster::start(3, 2);
    cluster.await_isr(&["n1", "n2"]);
    let seed = 11;
    println!("seed {seed}");
    let mut state: u64 = seed;
    let mut open = Vec::new();
    for process in &cluster.sentinels {
        for prefix in
            [b"".as_slice(), b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n", b"*1\r\n$4\r\nPING\r\n"]
        {
            let mut stream = std::net::TcpStream::connect(("127.0.0.1", process.peer_port)).unwrap();
            let noise: Vec<u8> = (0..2000)
                .map(|_| {
                    state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                    (state >> 56) as u8
                })
                .collect();
            // The sentinel may hang up in the middle.
            let _ = stream.write_all(&[prefix, noise.as_slice()].concat());
            open.push(stream);
        }
    }
    cluster.agreed_master(&cluster.nodes[0].resp());
    assert_eq!(cluster.world.epoch(), 1);
    cluster.nodes[0].kill();
    within(Duration::from_secs(4), "n2 is master", || cluster.nodes[1].is_master().then_some(()));
}

#[test]
fn a_node_of_another_cluster_is_refused_by_name() {
    let cluster = Cluster::start(3, 1);
    let ours = cluster.world.cluster_id();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let port = cluster.sentinels[0].peer_port;
    let status = runtime.block_on(async {
        let uri = format!("http://127.0.0.1:{port}");
        let mut client = tercet_proto::grpc::sentinel::v1::sentinel_client::SentinelClient::connect(uri).await.unwrap();
        let theirs = "f".repeat(40);
        let request =
            tercet_proto::grpc::sentinel::v1::WatchRequest { cluster_id: theirs, name: "stray".into(), peer: None };
        client.watch(request).await.unwrap_err()
    });
    assert_eq!(status.code(), tonic::Code::FailedPrecondition);
    assert_eq!(status.message(), format!("cluster id {} does not match this cluster's {ours}", "f".repeat(40)));
}
