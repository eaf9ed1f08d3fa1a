//! A Hello a second to each of the other sentinels.

use std::{collections::BTreeMap, sync::Arc};

use tercet_proto::grpc::sentinel::v1::{HelloReply, HelloRequest};
use tokio::task::JoinSet;
use tracing::warn;

use crate::{
    clock::Moment, events::Instance, limits, membership, raft::FORMING, shared::Shared, siblings::Sibling,
    state::Address,
};

/// Says Hello to every other sentinel for as long as this one lives: those of `--sentinels` and those that have a vote.
pub(crate) async fn greet_all(shared: Arc<Shared>) {
    let mut state = shared.consensus.watch_applied();
    let mut greeted: BTreeMap<Address, tokio::task::AbortHandle> = BTreeMap::new();
    let mut tasks = JoinSet::new();
    loop {
        let wanted = shared.peers.keep(&state.borrow_and_update().sentinels);
        greeted.retain(|address, task| {
            let is_wanted = wanted.contains(address);
            if !is_wanted {
                task.abort();
            }
            is_wanted
        });
        for address in wanted {
            greeted
                .entry(address)
                .or_insert_with_key(|address| tasks.spawn(greet(Arc::clone(&shared), address.clone())));
        }
        while tasks.try_join_next().is_some() {}
        let news = tokio::time::timeout(limits::HELLO_INTERVAL, state.changed()).await;
        if news.is_ok_and(|changed| changed.is_err()) {
            return;
        }
    }
}

async fn greet(shared: Arc<Shared>, address: Address) {
    let peer = shared.peers.at(&address);
    // Who answered here last.
    let mut known: Option<String> = None;
    loop {
        let hello = HelloRequest {
            name: shared.identity.name.clone(),
            sentinel_id: shared.identity.sentinel_id.clone(),
            cluster_id: shared.cluster_id(),
            peer: Some((&shared.identity.peer).into()),
        };
        let reply = tokio::time::timeout(limits::HELLO_TIMEOUT, peer.control().hello(hello)).await;
        let answered = Moment::now();
        match reply {
            Ok(Ok(reply)) if !is_foreign(&shared, reply.get_ref()) => {
                let reply = reply.into_inner();
                let knows_enough = reply.stranger_at > 0 && reply.stranger_at >= shared.state().log_index;
                if knows_enough && shared.has_joined() {
                    membership::removed(&shared);
                }
                let id = reply.sentinel_id.clone();
                if let Some(before) = known.replace(id.clone()).filter(|before| *before != id) {
                    warn!(sentinel = reply.name, was = before, is = id, "another data directory");
                    let displaced = shared.siblings.0.lock().remove(&before);
                    if let Some(Sibling { resp, .. }) = displaced {
                        let instance = Instance::Sentinel(&before, &resp);
                        shared.events.about("+sentinel-invalid-addr", instance, &shared.master_name());
                    }
                }
                heard(&shared, reply, answered);
            }
            Ok(_) | Err(_) => missed(&shared, known.as_deref(), answered),
        }
        // Until it answers for the first time we are eager: the group is being founded.
        let pause = if known.is_none() { limits::SUSPEND_TIMEOUT } else { limits::HELLO_INTERVAL };
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

fn heard(shared: &Shared, reply: HelloReply, answered: Moment) {
    let resp: Address = reply.resp.unwrap_or_default().into();
    let sibling = Sibling { name: reply.name, sentinel_id: reply.sentinel_id, resp, answered, is_down: false };
    let before = shared.siblings.0.lock().insert(sibling.sentinel_id.clone(), sibling.clone());
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
            if before.resp != sibling.resp {
                let Address { host, port } = &sibling.resp;
                let more = format!(" ip {host} port {port} for {}", sibling.sentinel_id);
                shared.events.about_with("+sentinel-address-switch", Instance::Master, &master, &more);
                shared.events.about("+sentinel-address-update", instance, &master);
            }
        }
    }
}

fn missed(shared: &Shared, known: Option<&str>, now: Moment) {
    let mut siblings = shared.siblings.0.lock();
    let Some(sibling) = known.and_then(|id| siblings.get_mut(id)) else { return };
    if sibling.is_down || now.since(sibling.answered) < limits::SENTINEL_DOWN_AFTER {
        return;
    }
    sibling.is_down = true;
    let (id, resp) = (sibling.sentinel_id.clone(), sibling.resp.clone());
    drop(siblings);
    shared.events.about("+sdown", Instance::Sentinel(&id, &resp), &shared.master_name());
}
