//! What an operator does on purpose: a hand-over, and a restart of one node after the other.

use std::time::Duration;

use rand::Rng;
use rand::rngs::StdRng;
use tercet_proto::resp::Value;

use super::{Error, Struck, Wound};
use crate::client::resp::Connection;
use crate::cluster::{Cluster, Member, NODES, SENTINELS, SERVICE};
use crate::process::Ended;
use crate::sys::Moment;

/// An order is answered when it is done; the sentinel gives up long before.
const ORDER_LIMIT: Duration = Duration::from_secs(5);
/// Until a restarted node is in sync again, and the next one may go.
const WHOLE_LIMIT: Duration = Duration::from_secs(60);

pub(super) async fn hand_over(cluster: &Cluster, master: usize, random: &mut StdRng) -> Result<Struck, Error> {
    let sentinel = random.random_range(0..SENTINELS);
    let did_not = |why: String| Error::DidNotHappen(format!("{}: {why}", Member::Sentinel(sentinel)));
    let at = Moment::now();
    let address = cluster.sentinel_address(sentinel);
    let mut connection = Connection::open(address, ORDER_LIMIT).await.map_err(|error| did_not(error.to_string()))?;
    let reply =
        connection.command(&["SENTINEL", "FAILOVER", SERVICE]).await.map_err(|error| did_not(error.to_string()))?;
    if reply != Value::Simple("OK".to_owned()) {
        return Err(did_not(format!("{reply:?}")));
    }
    match cluster.status().await.master() {
        Ok(now) if now == master => Err(did_not(format!("{} is still master", Member::Node(master)))),
        _ => Ok(Struck { at, killed: None, wound: Wound::Done }),
    }
}

/// The replicas first, as an operator would, but the master is not spared.
pub(super) async fn rolling_restart(cluster: &mut Cluster) -> Result<Struck, Error> {
    let at = Moment::now();
    for node in 0..NODES {
        let member = Member::Node(node);
        let ended = tokio::task::block_in_place(|| cluster.stop(member))?;
        if ended == Ended::Killed {
            return Err(Error::DidNotHappen(format!("{member} did not end by itself")));
        }
        cluster.launch(member)?;
        cluster.wait_until_whole(WHOLE_LIMIT).await?;
    }
    Ok(Struck { at, killed: None, wound: Wound::Done })
}
