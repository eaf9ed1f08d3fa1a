//! SIGSTOP: the host of a process hangs; its connections stay, and nothing comes from them. SIGCONT: it goes on as if
//! nothing had happened, with all that it was sent meanwhile before it.

use rand::Rng;
use rand::rngs::StdRng;

use super::{Error, Struck, Wound};
use crate::cluster::{Cluster, Member, NODES};
use crate::sys::{self, Moment, Signal};

pub(super) fn master(cluster: &mut Cluster, node: usize) -> Result<Struck, Error> {
    stop(cluster, Member::Node(node))
}

pub(super) fn replica(cluster: &mut Cluster, master: usize, random: &mut StdRng) -> Result<Struck, Error> {
    stop(cluster, Member::Node((master + random.random_range(1..NODES)) % NODES))
}

fn stop(cluster: &mut Cluster, member: Member) -> Result<Struck, Error> {
    let at = Moment::now();
    cluster.signal(member, Signal::Stop)?;
    Ok(Struck { at, killed: None, wound: Wound::Paused(member) })
}

pub(super) fn go_on(cluster: &mut Cluster, member: Member) -> Result<(), Error> {
    let was_stopped = sys::is_stopped(cluster.pid(member)?);
    cluster.signal(member, Signal::Continue)?;
    if was_stopped { Ok(()) } else { Err(Error::DidNotHappen(format!("{member} was not stopped"))) }
}
