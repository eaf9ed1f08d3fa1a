//! What a failover alone cannot mend: all nodes down at once, a master that is heard and of no use, and what an operator
//! orders.

mod common;

use std::time::{Duration, Instant};

use common::{Cluster, eventually, node::FakeNode};
use tercet_proto::resp::Value;

fn order(cluster: &Cluster, at: usize, args: &[&str]) -> Value {
    cluster.sentinels[at].client().command(args)
}

fn ok() -> Value {
    Value::Simple("OK".into())
}

/// For a second the cluster stays as it is.
fn nobody_leads_for_a_second(cluster: &Cluster, epoch: u64) {
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(1) {
        assert_eq!(cluster.world.epoch(), epoch);
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_node_that_reads_its_disk_is_waited_for() {
    let mut cluster = Cluster::start(3, 2);
    cluster.await_isr(&["n1", "n2"]);
    cluster.nodes[1].write(7);
    for node in &mut cluster.nodes {
        node.kill();
    }
    cluster.nodes[1].restart();
    cluster.nodes[1].set_loading(true);
    cluster.nodes[0].restart();
    nobody_leads_for_a_second(&cluster, 1);
    cluster.nodes[1].set_loading(false);
    eventually("n2 leads", || cluster.nodes[1].is_master().then_some(()));
    cluster.await_isr(&["n1", "n2"]);
    cluster.world.assert_no_two_masters();
}

#[test]
fn an_operator_goes_on_without_a_node_that_does_not_come_back() {
    let mut cluster = Cluster::start(3, 3);
    cluster.await_isr(&["n1", "n2", "n3"]);
    let refused = order(&cluster, 0, &["SENTINEL", "RECOVER", "mymaster", "FORCE"]);
    assert_eq!(refused, Value::Error("ERR there is a master, or one is found without losing anything".into()));
    cluster.nodes[0].write(5);
    for node in &mut cluster.nodes {
        node.kill();
    }
    cluster.nodes[1].restart();
    cluster.nodes[0].restart();
    nobody_leads_for_a_second(&cluster, 1);
    let unmeant = order(&cluster, 0, &["SENTINEL", "RECOVER", "mymaster"]);
    assert!(matches!(&unmeant, Value::Error(text) if text.contains("is lost by this")), "{unmeant:?}");
    let missing = order(&cluster, 1, &["SENTINEL", "RECOVER", "mymaster", "n3", "FORCE"]);
    assert_eq!(missing, Value::Error("ERR n3 has not reported whole data".into()));
    // Through a sentinel that may have to forward it.
    assert_eq!(order(&cluster, 2, &["SENTINEL", "RECOVER", "mymaster", "FORCE"]), ok());
    assert!(cluster.nodes[0].is_master(), "n1 is the furthest that has reported");
    cluster.await_isr(&["n1", "n2"]);
    cluster.nodes[2].restart();
    cluster.await_isr(&["n1", "n2", "n3"]);
    cluster.world.assert_no_two_masters();
}

#[test]
fn a_master_that_is_cut_off_from_its_replicas_is_replaced_by_a_witness() {
    let cluster = Cluster::start(3, 3);
    cluster.await_isr(&["n1", "n2", "n3"]);
    cluster.nodes[0].write(3);
    cluster.nodes[1].write(2);
    cluster.nodes[2].write(3);
    let cut = Instant::now();
    cluster.world.cut_off("n1");
    eventually("n3 leads", || cluster.nodes[2].is_master().then_some(()));
    let took = cut.elapsed();
    println!("cut off to new master: {took:?}");
    assert!(took > Duration::from_millis(150), "a moment without replicas is no reason: {took:?}");
    cluster.agreed_master(&cluster.nodes[2].resp());
    assert_eq!(cluster.world.epoch(), 2);
    cluster.world.assert_no_two_masters();
}

#[test]
fn a_master_whose_disk_has_failed_hands_over() {
    let cluster = Cluster::start(3, 2);
    cluster.await_isr(&["n1", "n2"]);
    cluster.nodes[0].fail_disk();
    eventually("n2 leads", || cluster.nodes[1].is_master().then_some(()));
    cluster.agreed_master(&cluster.nodes[1].resp());
    // It stays so: a node with a failed disk is nobody's heir.
    nobody_leads_for_a_second(&cluster, 2);
    cluster.world.assert_no_two_masters();
}

#[test]
fn a_node_that_nobody_listed_introduces_itself_and_is_removed_when_it_is_gone() {
    let mut cluster = Cluster::start(3, 2);
    cluster.await_isr(&["n1", "n2"]);
    let mut third = FakeNode::start(&cluster.world, "n3");
    cluster.await_isr(&["n1", "n2", "n3"]);
    let running = order(&cluster, 0, &["SENTINEL", "REMOVE-NODE", "mymaster", "n3"]);
    assert_eq!(running, Value::Error("ERR n3 is running; stop it first".into()));
    third.kill();
    cluster.await_isr(&["n1", "n2"]);
    eventually("it is seen to be gone", || {
        (order(&cluster, 1, &["SENTINEL", "REMOVE-NODE", "mymaster", "n3"]) == ok()).then_some(())
    });
    eventually("it is forgotten", || (cluster.world.members() == ["n1", "n2"]).then_some(()));
    // One that is not listed is observed after a failover too.
    third.restart();
    cluster.await_isr(&["n1", "n2", "n3"]);
    cluster.nodes[0].kill();
    cluster.nodes[1].kill();
    eventually("n3 leads", || third.is_master().then_some(()));
    cluster.world.assert_no_two_masters();
}

#[test]
fn min_isr_is_changed_at_run_time_through_any_sentinel() {
    let cluster = Cluster::start(3, 2);
    cluster.await_isr(&["n1", "n2"]);
    for (at, process) in cluster.sentinels.iter().enumerate() {
        let wanted = 1 + (at as u32 + 1) % 2;
        let set = ["SENTINEL", "SET", "mymaster", "min-isr", &wanted.to_string()];
        assert_eq!(process.client().command(&set), ok());
        eventually("the nodes know", || (cluster.world.min_isr() == wanted).then_some(()));
    }
    let too_many = order(&cluster, 0, &["SENTINEL", "SET", "mymaster", "min-isr", "3"]);
    assert_eq!(too_many, Value::Error("ERR min-isr 3 is more than the 2 nodes of the cluster".into()));
}
