//! Is an acknowledged write ever lost? Three nodes, writers, and faults drawn at random; the sentinel follows the rules
//! (fence the ISR, promote who has most, compare-and-set), and nothing here waits for a lease: safety needs no clock.

#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use support::proxy::Proxy;
use support::sentinel::{self, CLUSTER, FakeSentinel};
use support::{Keeping, TestNode, assert_same_keys, bounded, is_level, until};
use tercet_proto::grpc::cluster::v1::IsrMember;
use tercet_proto::grpc::peer::v1::PrepareHandoverRequest;

const ROUNDS: usize = 12;
const WRITERS: usize = 8;

struct Cluster {
    sentinel: FakeSentinel,
    nodes: Mutex<Vec<Arc<TestNode>>>,
    proxies: Mutex<Vec<Arc<Proxy>>>,
    acknowledged: Mutex<Vec<String>>,
    stop: AtomicBool,
    next: AtomicU64,
}

impl Cluster {
    async fn start() -> Arc<Self> {
        let sentinel = FakeSentinel::start(2).await;
        let mut nodes = Vec::new();
        let mut proxies = Vec::new();
        for name in ["n1", "n2", "n3"] {
            let node = Arc::new(TestNode::start(name, &[sentinel.port]));
            proxies.push(Arc::new(Proxy::to(node.peer_port).await));
            nodes.push(node);
        }
        let members = nodes.iter().zip(&proxies).map(|(node, proxy)| node.member_at(proxy.port)).collect();
        bounded(sentinel.lead(&nodes[0], &[&nodes[0]], members)).await;
        let cluster = Arc::new(Self {
            sentinel,
            nodes: Mutex::new(nodes),
            proxies: Mutex::new(proxies),
            acknowledged: Mutex::default(),
            stop: AtomicBool::new(false),
            next: AtomicU64::new(0),
        });
        cluster.is_whole().await;
        cluster
    }

    fn node(&self, name: &str) -> Arc<TestNode> {
        let nodes = self.nodes.lock();
        Arc::clone(nodes.iter().find(|node| node.name() == name).unwrap())
    }

    fn master(&self) -> Arc<TestNode> {
        self.node(&self.sentinel.state().master)
    }

    fn proxy_of(&self, name: &str) -> Arc<Proxy> {
        let index = self.nodes.lock().iter().position(|node| node.name() == name).unwrap();
        Arc::clone(&self.proxies.lock()[index])
    }

    /// All three in the ISR.
    async fn is_whole(&self) {
        until("all are in the ISR", || self.sentinel.isr_names() == ["n1", "n2", "n3"]).await;
        self.master().is_serving().await;
    }

    /// Ends a process. Another one takes its place when the returned closure runs.
    async fn restart(&self, name: &str) {
        let old = self.node(name);
        let directory = old.kill();
        let node = loop {
            // The data directory is free once the last handle of the old process is gone.
            match std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                TestNode::start_in(name, &[self.sentinel.port], Arc::clone(&directory), &[], Keeping::InMemory)
            })) {
                Ok(node) => break Arc::new(node),
                Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        };
        let proxy = Arc::new(Proxy::to(node.peer_port).await);
        let index = self.nodes.lock().iter().position(|node| node.name() == name).unwrap();
        self.nodes.lock()[index] = Arc::clone(&node);
        self.proxies.lock()[index] = Arc::clone(&proxy);
        self.sentinel.change(|state| {
            for member in state.members.iter_mut().filter(|member| member.name == name) {
                *member = node.member_at(proxy.port);
            }
        });
    }

    /// Fences the ISR but for its master, and promotes who has most.
    async fn fail_over(&self) {
        loop {
            let seen = self.sentinel.state();
            let mut fenced: Vec<((u64, u64), IsrMember)> = Vec::new();
            for member in seen.isr.iter().filter(|member| member.name != seen.master) {
                let reply = bounded(sentinel::fence(&self.node(&member.name), seen.epoch + 1)).await;
                if reply.accepted && reply.complete && reply.incarnation == member.incarnation {
                    fenced.push(((reply.last_epoch, reply.end_offset), member.clone()));
                }
            }
            if seen.isr.len() == 1 {
                // The master went on alone in the meantime; nobody may follow it. Who has promised the next epoch
                // already can follow it only under that one.
                let mended = self.sentinel.compare_and_change(&seen, |state| {
                    state.epoch += 1;
                    state.isr_version += 1;
                });
                if mended {
                    self.activate(&seen.master).await;
                    return;
                }
                continue;
            }
            let Some((_, best)) = fenced.iter().max_by_key(|(position, _)| *position) else {
                panic!("nobody can follow {} in {:?}", seen.master, seen.isr);
            };
            let best = best.name.clone();
            let decided = self.sentinel.compare_and_change(&seen, |state| {
                state.epoch += 1;
                state.isr_version += 1;
                state.master.clone_from(&best);
                state.isr = fenced.into_iter().map(|(_, member)| member).collect();
            });
            if decided {
                self.activate(&best).await;
                return;
            }
        }
    }

    async fn hand_over(&self) {
        let seen = self.sentinel.state();
        let target = seen.isr.iter().find(|member| member.name != seen.master).unwrap().name.clone();
        let (cluster_id, epoch) = (CLUSTER.to_owned(), seen.epoch);
        let request = PrepareHandoverRequest { cluster_id, epoch, target: target.clone(), hold_ms: 2000 };
        let prepared = self.master().peer().await.prepare_handover(request).await.unwrap().into_inner();
        let decided = prepared.accepted
            && self.sentinel.compare_and_change(&seen, |state| {
                state.epoch += 1;
                state.isr_version += 1;
                state.master.clone_from(&target);
            });
        if decided {
            self.activate(&target).await;
        }
    }

    async fn activate(&self, master: &str) {
        let state = self.sentinel.state();
        self.sentinel.grant(state.epoch);
        let reply = bounded(sentinel::promote(&self.node(master), state)).await;
        assert!(reply.accepted, "{}", reply.refusal);
    }

    /// Writes a key that nobody else writes, again and again, wherever the master is thought to be.
    async fn write(self: Arc<Self>) {
        while !self.stop.load(Ordering::Relaxed) {
            let key = format!("key:{}", self.next.fetch_add(1, Ordering::Relaxed));
            // Not only the master of the state: one that does not know yet that it is deposed is tried too.
            let nodes = self.nodes.lock().clone();
            let write = nodes.iter().find_map(|node| node.set(&key, "value"));
            let Some(write) = write else {
                tokio::time::sleep(Duration::from_millis(1)).await;
                continue;
            };
            let acknowledged = tokio::time::timeout(Duration::from_millis(300), write.acknowledged()).await;
            if acknowledged == Ok(Ok(())) {
                self.acknowledged.lock().push(key);
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_acknowledged_write_is_lost_whatever_fails() {
    let seed = std::env::var("TERCET_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(rand::random);
    println!("seed {seed} (TERCET_SEED={seed} draws the same faults)");
    let mut random = StdRng::seed_from_u64(seed);
    let cluster = Cluster::start().await;
    let writers: Vec<_> = (0..WRITERS).map(|_| tokio::spawn(Arc::clone(&cluster).write())).collect();
    let mut count = 0;
    for round in 0..ROUNDS {
        until("something was acknowledged", || cluster.acknowledged.lock().len() > count + 50).await;
        let master = cluster.master();
        let others: Vec<_> = cluster.nodes.lock().iter().filter(|node| node.name() != master.name()).cloned().collect();
        let fault = random.random_range(0..6);
        let pause = Duration::from_millis(random.random_range(0..400));
        println!(
            "round {round}: fault {fault} at {}, {} acknowledged",
            master.name(),
            cluster.acknowledged.lock().len()
        );
        match fault {
            // The master dies.
            0 => {
                cluster.sentinel.freeze_isr();
                master.kill();
                cluster.fail_over().await;
                cluster.sentinel.thaw_isr();
                cluster.restart(master.name()).await;
            }
            // The replicas hear nothing of the master, which lives; perhaps long enough for it to go on alone.
            1 => {
                let proxy = cluster.proxy_of(master.name());
                proxy.hold();
                tokio::time::sleep(pause).await;
                if cluster.sentinel.isr_names().len() > 1 {
                    cluster.fail_over().await;
                }
                proxy.open();
            }
            // The sentinels depose a healthy master.
            2 => cluster.fail_over().await,
            // A short break.
            3 => {
                let proxy = cluster.proxy_of(master.name());
                proxy.break_connections();
                tokio::time::sleep(pause / 4).await;
                proxy.open();
            }
            // A replica dies.
            4 => cluster.restart(others[random.random_range(0..others.len())].name()).await,
            _ => cluster.hand_over().await,
        }
        count = cluster.acknowledged.lock().len();
        cluster.is_whole().await;
    }
    cluster.stop.store(true, Ordering::Relaxed);
    for writer in writers {
        bounded(writer).await.unwrap();
    }
    let master = cluster.master();
    let acknowledged = cluster.acknowledged.lock().clone();
    let lost: Vec<_> = acknowledged.iter().filter(|key| master.get(key).is_none()).collect();
    println!("{} acknowledged, {} lost", acknowledged.len(), lost.len());
    assert!(lost.is_empty(), "lost with seed {seed}: {lost:?}");
    let nodes = cluster.nodes.lock().clone();
    for node in nodes.iter().filter(|node| node.name() != master.name()) {
        node.is_up_to_date().await;
        is_level(&master, node).await;
        assert_same_keys(&master, node);
    }
}
