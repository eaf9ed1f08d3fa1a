//! Partitions of the master from some of the others, both ways or one way; and a slow link of a replica.

use std::net::IpAddr;
use std::time::Duration;

use rand::Rng;
use rand::rngs::StdRng;

use super::{Error, Fault, Struck, Wound};
use crate::cluster::network::delay::{SlowLink, Slowness};
use crate::cluster::network::{self, CLIENTS, Pair};
use crate::cluster::{Cluster, Member, NODES, SENTINELS};
use crate::sys::Moment;

/// As between two regions, with a network that is not well.
const SLOW: Slowness = Slowness { delay: Duration::from_millis(5), loss: 0.01 };

pub(super) fn around(fault: Fault, cluster: &Cluster, master: usize) -> Result<Struck, Error> {
    let own = [network::address(Member::Node(master))];
    let replicas: Vec<IpAddr> =
        (0..NODES).filter(|node| *node != master).map(|node| network::address(Member::Node(node))).collect();
    let sentinels: Vec<IpAddr> = (0..SENTINELS).map(|index| network::address(Member::Sentinel(index))).collect();
    let all: Vec<IpAddr> = replicas.iter().chain(&sentinels).copied().chain([CLIENTS]).collect();
    let pairs = match fault {
        Fault::SentinelsCut => Pair::between(&own, &sentinels),
        Fault::ReplicasCut => Pair::between(&own, &replicas),
        Fault::ClientsCut => Pair::between(&own, &[CLIENTS]),
        Fault::OneWayOut => Pair::from_to(&own, &all),
        Fault::OneWayIn => Pair::from_to(&all, &own),
        _ => Pair::between(&own, &all),
    };
    let network = cluster.network()?;
    let at = Moment::now();
    network.cut(&pairs)?;
    Ok(Struck { at, killed: None, wound: Wound::Cut })
}

pub(super) fn mend(cluster: &Cluster) -> Result<(), Error> {
    match cluster.network()?.mend()?.packets {
        0 => Err(Error::DidNotHappen("no packet was dropped".to_owned())),
        _ => Ok(()),
    }
}

pub(super) fn slow_link(master: usize, random: &mut StdRng) -> Result<Struck, Error> {
    let replica = (master + random.random_range(1..NODES)) % NODES;
    let at = Moment::now();
    let link = SlowLink::start(Member::Node(replica), SLOW)?;
    Ok(Struck { at, killed: None, wound: Wound::SlowLink(link) })
}

pub(super) fn mend_link(link: SlowLink) -> Result<(), Error> {
    let passed = link.end()?;
    if passed.frames > 0 && passed.lost > 0 {
        Ok(())
    } else {
        Err(Error::DidNotHappen(format!("the slow link let {} frames pass and lost {}", passed.frames, passed.lost)))
    }
}
