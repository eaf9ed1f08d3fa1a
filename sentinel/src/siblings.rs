//! The other sentinels as this one sees them: a Hello a second to each.

use std::{collections::BTreeMap, sync::Arc};

use parking_lot::Mutex;
use tercet_proto::grpc::sentinel::v1::{HelloReply, HelloRequest};
use tracing::warn;

use crate::{clock::Moment, events::Instance, limits, raft::FORMING, shared::Shared, state::Address};

/// What one sentinel said of itself, and when it last did.
#[derive(Debug, Clone)]
pub(crate) struct Sibling {
    pub(crate) name: String,
    pub(crate) sentinel_id: String,
    pub(crate) resp: Address,
    pub(crate) answered: Moment,
    pub(crate) is_down: bool,
}

/// All that ever answered, by their number in `--sentinels`.
#[derive(Debug, Default)]
pub(crate) struct Siblings(Mutex<BTreeMap<u64, Sibling>>);

impl Siblings {
    pub(crate) fn all(&self) -> BTreeMap<u64, Sibling> {
        self.0.lock().clone()
    }

    pub(crate) fn get(&self, raft_id: u64) -> Option<Sibling> {
        self.0.lock().get(&raft_id).cloned()
    }

    /// They come back with their next Hello.
    pub(crate) fn forget(&self) {
        self.0.lock().clear();
    }
}

/// Says Hello to every other sentinel for as long as this one lives.
pub(crate) async fn greet_all(shared: Arc<Shared>) {
    let ids: Vec<u64> = shared.peers.iter().map(|peer| peer.raft_id).collect();
    futures::future::join_all(ids.into_iter().map(|raft_id| greet(Arc::clone(&shared), raft_id))).await;
}

async fn greet(shared: Arc<Shared>, raft_id: u64) {
    let Some(peer) = shared.peers.get(raft_id).cloned() else { return };
    loop {
        let hello = HelloRequest {
            name: shared.identity.name.clone(),
            sentinel_id: shared.identity.sentinel_id.clone(),
            cluster_id: shared.cluster_id(),
        };
        let reply = tokio::time::timeout(limits::HELLO_TIMEOUT, peer.control().hello(hello)).await;
        let answered = Moment::now();
        let is_first = match reply {
            Ok(Ok(reply)) if is_foreign(&shared, reply.get_ref()) => missed(&shared, raft_id, answered),
            Ok(Ok(reply)) => heard(&shared, raft_id, reply.into_inner(), answered),
            Ok(Err(_)) | Err(_) => missed(&shared, raft_id, answered),
        };
        // Until it answers for the first time we are eager: the group is being founded.
        let pause = if is_first { limits::SUSPEND_TIMEOUT } else { limits::HELLO_INTERVAL };
        tokio::time::sleep(pause).await;
    }
}

/// It answers, and is of another cluster: an address was given to somebody else.
fn is_foreign(shared: &Shared, reply: &HelloReply) -> bool {
    let ours = shared.cluster_id();
    let is_foreign =
        !ours.is_empty() && !reply.cluster_id.is_empty() && reply.cluster_id != FORMING && reply.cluster_id != ours;
    if is_foreign {
        let (name, theirs) = (&reply.name, &reply.cluster_id);
        warn!(sentinel = name, theirs, ours, "a sentinel of --sentinels belongs to another cluster");
    }
    is_foreign
}

fn heard(shared: &Shared, raft_id: u64, reply: HelloReply, answered: Moment) -> bool {
    let resp: Address = reply.resp.unwrap_or_default().into();
    let sibling = Sibling { name: reply.name, sentinel_id: reply.sentinel_id, resp, answered, is_down: false };
    let before = shared.siblings.0.lock().insert(raft_id, sibling.clone());
    let master = shared.master_name();
    let instance = Instance::Sentinel(&sibling.sentinel_id, &sibling.resp);
    match before {
        // Before there is a master there is nobody to tell it of; the first one brings all sentinels with it.
        None if shared.status.lock().announced.is_none() => {}
        None => shared.events.about("+sentinel", instance, &master),
        Some(before) => {
            if before.is_down {
                shared.events.about("-sdown", instance, &master);
            }
            if before.sentinel_id != sibling.sentinel_id {
                warn!(
                    sentinel = sibling.name,
                    was = before.sentinel_id,
                    is = sibling.sentinel_id,
                    "another data directory"
                );
            } else if before.resp != sibling.resp {
                shared.events.about("+sentinel-address-update", instance, &master);
            }
        }
    }
    false
}

fn missed(shared: &Shared, raft_id: u64, now: Moment) -> bool {
    let mut siblings = shared.siblings.0.lock();
    let Some(sibling) = siblings.get_mut(&raft_id) else { return true };
    if sibling.is_down || now.since(sibling.answered) < limits::SENTINEL_DOWN_AFTER {
        return false;
    }
    sibling.is_down = true;
    let (id, resp) = (sibling.sentinel_id.clone(), sibling.resp.clone());
    drop(siblings);
    shared.events.about("+sdown", Instance::Sentinel(&id, &resp), &shared.master_name());
    false
}
