//! `kill -9`: a process is gone at once, the kernel resets its connections.

use rand::Rng;
use rand::rngs::StdRng;

use super::{Error, Struck, Wound};
use crate::cluster::{Cluster, Member, NODES, SENTINELS};
use crate::sys::Moment;

/// How often a supervisor has the master back, empty-handed, before anybody has noticed: one in so many.
const AT_ONCE: f64 = 0.25;

/// The master. Sometimes it is started again at once: an incarnation that is no longer master, and knows it.
pub(super) fn master(cluster: &mut Cluster, node: usize, random: &mut StdRng) -> Result<Struck, Error> {
    let member = Member::Node(node);
    let at = Moment::now();
    cluster.kill(member)?;
    let is_at_once = random.random_bool(AT_ONCE) && cluster.family() == crate::cluster::Family::Tercet;
    let wound = if is_at_once {
        cluster.launch(member)?;
        Wound::Done
    } else {
        Wound::Killed(vec![member])
    };
    Ok(Struck { at, killed: Some(node), wound })
}

pub(super) fn master_and_sentinel(cluster: &mut Cluster, node: usize, random: &mut StdRng) -> Result<Struck, Error> {
    let sentinel = random.random_range(0..SENTINELS);
    let members = vec![Member::Node(node), Member::Sentinel(sentinel)];
    let at = kill(cluster, &members)?;
    Ok(Struck { at, killed: Some(node), wound: Wound::Killed(members) })
}

pub(super) async fn leader(cluster: &mut Cluster) -> Result<Struck, Error> {
    let Some(leader) = cluster.raft_leader().await else {
        return Err(Error::DidNotHappen("no sentinel says that it leads Raft".to_owned()));
    };
    let members = vec![Member::Sentinel(leader)];
    let at = kill(cluster, &members)?;
    Ok(Struck { at, killed: None, wound: Wound::Killed(members) })
}

pub(super) fn all(cluster: &mut Cluster) -> Result<Struck, Error> {
    let members: Vec<_> = (0..NODES).map(Member::Node).chain((0..SENTINELS).map(Member::Sentinel)).collect();
    let at = kill(cluster, &members)?;
    Ok(Struck { at, killed: None, wound: Wound::Killed(members) })
}

fn kill(cluster: &mut Cluster, members: &[Member]) -> Result<Moment, Error> {
    let at = Moment::now();
    for member in members {
        cluster.kill(*member)?;
    }
    Ok(at)
}

pub(super) fn start_again(cluster: &mut Cluster, members: &[Member]) -> Result<(), Error> {
    for member in members {
        cluster.launch(*member)?;
    }
    Ok(())
}
