//! The lease as a master sees it when sentinels come and go.

mod common;

use std::time::{Duration, Instant};

use common::{Cluster, eventually};
use tercet_proto::grpc::sentinel::v1::{Renew, sentinel_client::SentinelClient};

/// The default of `--lease-ms`.
const LEASE: Duration = Duration::from_millis(400);

/// When another sentinel may be lost after one was restarted: the pause that an orchestrator makes at the least, and far
/// more than this takes on a busy machine.
const SOON: Duration = Duration::from_millis(1500);

#[test]
fn a_restarted_sentinel_grants_again_as_soon_as_nothing_that_it_granted_can_live() {
    let mut cluster = Cluster::start(3, 1);
    cluster.await_isr(&["n1"]);
    cluster.sentinels[1].kill();
    let restarted = Instant::now();
    cluster.sentinels[1].start();
    let ready = Instant::now();
    let (refused, granted) = renew_until_granted(&cluster, cluster.sentinels[1].peer_port);
    println!("granted {:?} after it was ready", granted.duration_since(ready));
    assert!(refused.contains("this sentinel has just started"), "{refused}");
    assert!(granted.duration_since(restarted) > LEASE, "a lease of before may have been valid");
    assert!(granted.duration_since(ready) < SOON, "the loss of another sentinel would have cost the lease");
    assert!(cluster.nodes[0].is_master());
}

/// Renews the lease of n1 at one sentinel; the first refusal, and when it was granted.
fn renew_until_granted(cluster: &Cluster, port: u16) -> (String, Instant) {
    let (cluster_id, incarnation) = (cluster.world.cluster_id(), cluster.nodes[0].incarnation.clone());
    let runtime = tokio::runtime::Runtime::new().expect("a runtime starts");
    let mut refusals = Vec::new();
    let granted = eventually("it grants", || {
        let renew = Renew {
            cluster_id: cluster_id.clone(),
            name: "n1".into(),
            incarnation: incarnation.clone(),
            epoch: 1,
            ..Renew::default()
        };
        let grant = runtime.block_on(async {
            let mut client = SentinelClient::connect(format!("http://127.0.0.1:{port}")).await.ok()?;
            client.lease(tokio_stream::iter([renew])).await.ok()?.into_inner().message().await.ok()?
        })?;
        if grant.granted {
            return Some(Instant::now());
        }
        refusals.push(grant.refusal);
        None
    });
    (refusals.into_iter().next().unwrap_or_default(), granted)
}
