//! Who the sentinels are, changed while they run: one joins, one is removed, one that lost its disk is replaced.

mod common;

use common::{Cluster, Process, eventually, free_port, within};
use tercet_proto::resp::Value;

fn await_sentinels(cluster: &Cluster, names: &[&str]) {
    eventually(&format!("the sentinels are {names:?}"), || {
        let mut sentinels = cluster.world.sentinels();
        sentinels.sort();
        (sentinels == names).then_some(())
    });
    settle(cluster);
}

/// A change has two parts, and the loss of a sentinel between them may have to be waited out. Orders take turns.
fn settle(cluster: &Cluster) {
    let expected = Value::Error("ERR nobody is no sentinel of the cluster".into());
    let names = cluster.world.sentinels();
    let has_vote = |process: &&Process| process.is_running() && names.contains(&process.args[1]);
    let asked = cluster.sentinels.iter().find(has_vote).expect("a sentinel runs");
    eventually("the change is at its end", || (remove(asked, "nobody") == expected).then_some(()));
}

fn remove(through: &Process, sentinel: &str) -> Value {
    through.client().command(&["SENTINEL", "REMOVE-SENTINEL", "mymaster", sentinel])
}

fn ok() -> Value {
    Value::Simple("OK".into())
}

fn id(process: &Process) -> String {
    process.client().command(&["SENTINEL", "MYID"]).as_text().expect("an id").into_owned()
}

/// A fourth one that knows of two of the three.
fn join(cluster: &mut Cluster, name: &str) {
    let port = free_port();
    let listed = [cluster.sentinels[0].peer_port, cluster.sentinels[1].peer_port, port];
    let mut process = cluster.prepare_sentinel(name, port, &listed);
    process.start();
    cluster.sentinels.push(process);
}

#[test]
fn a_new_sentinel_joins_and_counts() {
    let mut cluster = Cluster::start(3, 2);
    cluster.await_isr(&["n1", "n2"]);
    join(&mut cluster, "s4");
    await_sentinels(&cluster, &["s1", "s2", "s3", "s4"]);
    cluster.agreed_master(&cluster.nodes[0].resp());
    // Nobody was told of it: those that were there before know it by now.
    let mut client = cluster.sentinels[2].client();
    eventually("s3 shows it", || (client.master_field("num-other-sentinels")? == "3").then_some(()));
    assert_eq!(client.master_field("quorum").as_deref(), Some("3"));
    assert_eq!(cluster.world.lapses(), 0, "the master felt it");
    // Two of four are no majority.
    cluster.sentinels[0].kill();
    cluster.sentinels[1].kill();
    eventually("n1 loses its lease", || (!cluster.nodes[0].is_master()).then_some(()));
    // With the new one there are three.
    cluster.sentinels[1].start();
    eventually("n1 has a lease", || cluster.nodes[0].is_master().then_some(()));
    cluster.nodes[0].kill();
    eventually("n2 is master", || cluster.nodes[1].is_master().then_some(()));
    cluster.world.assert_no_two_masters();
}

#[test]
fn a_removed_sentinel_ends_and_stays_out_until_it_is_emptied() {
    let mut cluster = Cluster::start(3, 2);
    cluster.await_isr(&["n1", "n2"]);
    let unknown = remove(&cluster.sentinels[0], "s9");
    assert_eq!(unknown, Value::Error("ERR s9 is no sentinel of the cluster".into()));
    join(&mut cluster, "s4");
    await_sentinels(&cluster, &["s1", "s2", "s3", "s4"]);
    // Through one that may have to forward it, and perhaps of the leader itself.
    assert_eq!(remove(&cluster.sentinels[1], "s1"), ok());
    await_sentinels(&cluster, &["s2", "s3", "s4"]);
    let reason = eventually("it ends", || cluster.sentinels[0].failure());
    assert!(reason.starts_with("this sentinel was removed from the cluster"), "{reason}");
    // A supervisor starts it again.
    cluster.sentinels[0].kill();
    cluster.sentinels[0].start();
    let reason = eventually("it ends again", || cluster.sentinels[0].failure());
    assert!(reason.starts_with("this sentinel was removed from the cluster"), "{reason}");
    assert_eq!(cluster.world.lapses(), 0, "the master felt it");
    // The three others do without it.
    cluster.sentinels[0].kill();
    cluster.sentinels[2].kill();
    cluster.nodes[0].kill();
    eventually("n2 is master", || cluster.nodes[1].is_master().then_some(()));
    cluster.sentinels[2].start();
    std::fs::remove_dir_all(&cluster.sentinels[0].data).expect("the data can be removed");
    cluster.sentinels[0].start();
    await_sentinels(&cluster, &["s1", "s2", "s3", "s4"]);
    cluster.world.assert_no_two_masters();
}

#[test]
fn a_sentinel_that_lost_its_disk_is_replaced_by_what_comes_in_its_place() {
    let mut cluster = Cluster::start(3, 2);
    cluster.await_isr(&["n1", "n2"]);
    let before = id(&cluster.sentinels[2]);
    let mut subscriber = common::subscribe(&cluster).swap_remove(0);
    cluster.sentinels[2].kill();
    std::fs::remove_dir_all(&cluster.sentinels[2].data).expect("the data can be removed");
    cluster.sentinels[2].start();
    let events = common::read_until(&mut subscriber, "+sentinel-invalid-addr");
    assert!(events.last().is_some_and(|event| event.contains(&format!(" sentinel {before} "))), "{events:?}");
    let after = id(&cluster.sentinels[2]);
    assert_ne!(before, after);
    let mut client = cluster.sentinels[0].client();
    eventually("s1 shows the new one in place of the old one", || {
        let Value::Array(sentinels) = client.command(&["SENTINEL", "SENTINELS", "mymaster"]) else { return None };
        let shown = format!("{sentinels:?}");
        let has = |id: &str| shown.contains(&format!("{:?}", id.as_bytes().to_vec()));
        (sentinels.len() == 2 && has(&after) && !has(&before)).then_some(())
    });
    settle(&cluster);
    cluster.agreed_master(&cluster.nodes[0].resp());
    assert_eq!(cluster.world.lapses(), 0, "the master felt it");
    // It counts: with it and without another one there is a majority.
    cluster.sentinels[0].kill();
    cluster.nodes[0].kill();
    within(common::BOUND, "n2 is master", || cluster.nodes[1].is_master().then_some(()));
    cluster.world.assert_no_two_masters();
}

#[test]
fn a_removal_that_would_leave_no_majority_is_refused() {
    let mut cluster = Cluster::start(3, 1);
    cluster.await_isr(&["n1"]);
    cluster.sentinels[1].kill();
    // s1 and s3 are a majority, s1 and s2 would be none. Without a leader, which may have been s2, one is elected first.
    let refused = eventually("there is a leader", || match remove(&cluster.sentinels[0], "s3") {
        Value::Error(text) if text.contains("no leader") || text.contains("try again") => None,
        other => Some(other),
    });
    let expected = "ERR of the sentinels that would remain only 1 answer, which is no majority";
    assert_eq!(refused, Value::Error(expected.into()));
    assert_eq!(cluster.world.sentinels().len(), 3);
    // The one that is gone can go.
    assert_eq!(remove(&cluster.sentinels[0], "s2"), ok());
    await_sentinels(&cluster, &["s1", "s3"]);
    assert_eq!(remove(&cluster.sentinels[2], "s3"), ok());
    await_sentinels(&cluster, &["s1"]);
    let only = remove(&cluster.sentinels[0], "s1");
    assert_eq!(only, Value::Error("ERR s1 is the only sentinel of the cluster".into()));
    assert!(cluster.nodes[0].is_master());
    cluster.world.assert_no_two_masters();
}

#[test]
fn a_sentinel_that_has_moved_is_found_again() {
    let mut cluster = Cluster::start(3, 2);
    cluster.await_isr(&["n1", "n2"]);
    cluster.sentinels[2].kill();
    let port = free_port();
    let listed = [cluster.sentinels[0].peer_port, cluster.sentinels[1].peer_port, port];
    let mut moved = cluster.prepare_sentinel("s3", port, &listed);
    std::fs::rename(&cluster.sentinels[2].data, &moved.data).expect("a directory can be renamed");
    moved.start();
    cluster.sentinels[2] = moved;
    cluster.agreed_master(&cluster.nodes[0].resp());
    eventually("the state tells of its new address", || cluster.world.electorate().0.contains(&port).then_some(()));
    cluster.sentinels[0].kill();
    cluster.nodes[0].kill();
    eventually("n2 is master", || cluster.nodes[1].is_master().then_some(()));
    cluster.world.assert_no_two_masters();
}
