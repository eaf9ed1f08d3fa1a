//! Who the sentinels are, while they run: one joins, one is removed, one that lost its disk is replaced by what is there in
//! its place.
//!
//! ```text
//! join:     teach --pause--> admit            replace:  teach --pause--> dismiss the old --pause--> admit
//! remove:   --pause--> dismiss
//! ```
//! **Invariant:** two leases never overlap, whatever the set of sentinels is at each of their masters. Sets that follow
//! each other differ by one, so a majority of the one holds a sentinel of any majority of the other, and that one keeps its
//! ledger. Sets further apart do not meet: a sentinel that has the next set in its log grants nothing by the one before, a
//! majority of which has it once it is committed; and the pause lets what was granted by then end before a third set comes.

use std::sync::Arc;

use tercet_proto::grpc::sentinel::v1::HelloRequest;
use tracing::{info, warn};

use crate::{
    limits,
    raft::{self, Step},
    shared::Shared,
    state::{Address, ClusterState, SentinelMember},
};

/// A sentinel asks for a vote. Only at the Raft leader.
///
/// # Errors
/// The text of the RESP error.
pub(crate) async fn add(shared: &Shared, new: SentinelMember) -> Result<(), String> {
    let _turn = shared.reconfiguring.lock().await;
    let state = shared.state();
    if state.sentinel(&new.sentinel_id).is_some() {
        return Ok(());
    }
    let replaced = admissible(&state, &new).map_err(|why| format!("ERR {why}"))?;
    confirm(shared, &new).await?;
    info!(sentinel = new.name, address = %new.peer, "a sentinel joins");
    step(shared, Step::Teach(new.clone())).await?;
    if let Some(old) = replaced {
        warn!(sentinel = old.name, was = old.sentinel_id, is = new.sentinel_id, "it lost its data and is replaced");
        pause(shared).await?;
        check_majorities(shared, &state, &old).await?;
        step(shared, Step::Dismiss(old.raft_id)).await?;
    }
    pause(shared).await?;
    step(shared, Step::Admit(new.raft_id)).await?;
    let sentinels = shared.state().sentinels.len();
    info!(sentinel = new.name, id = new.sentinel_id, sentinels, "a sentinel has joined");
    Ok(())
}

/// `SENTINEL REMOVE-SENTINEL`, by name or id. Only at the Raft leader.
///
/// # Errors
/// The text of the RESP error.
pub(crate) async fn remove(shared: &Shared, who: &str) -> Result<(), String> {
    let _turn = shared.reconfiguring.lock().await;
    let state = shared.state();
    let is_meant = |sentinel: &&SentinelMember| sentinel.name == who || sentinel.sentinel_id == who;
    let mut meant = state.sentinels.iter().filter(is_meant);
    let Some(old) = meant.next().cloned() else { return Err(format!("ERR {who} is no sentinel of the cluster")) };
    if meant.next().is_some() {
        return Err(format!("ERR more than one sentinel is called {who}; give its id, as in SENTINEL SENTINELS"));
    }
    if state.sentinels.len() == 1 {
        return Err(format!("ERR {who} is the only sentinel of the cluster"));
    }
    pause(shared).await?;
    check_majorities(shared, &state, &old).await?;
    step(shared, Step::Dismiss(old.raft_id)).await?;
    info!(
        sentinel = old.name,
        id = old.sentinel_id,
        sentinels = shared.state().sentinels.len(),
        "a sentinel was removed"
    );
    Ok(())
}

/// For as long as the sentinel lives: ends it when it was removed; at the leader, finishes what another one began, and
/// writes down where sentinels have moved to.
pub(crate) async fn keep(shared: Arc<Shared>) {
    let mut state = shared.consensus.watch_applied();
    loop {
        let current = Arc::clone(&state.borrow_and_update());
        if shared.is_member(&current) {
            shared.note_joined();
        }
        if shared.has_joined() && shared.consensus.is_stranger(&shared.identity.sentinel_id) {
            // It may have led, and owe an answer to whoever ordered this.
            drop(shared.reconfiguring.lock().await);
            tokio::time::sleep(limits::LAST_WORDS).await;
            return removed(&shared);
        }
        if shared.consensus.leadership().borrow().is_us
            && let Ok(_turn) = shared.reconfiguring.try_lock()
        {
            tidy_up(&shared, &current).await;
        }
        // A channel that has closed says that the sentinel stops; this task with it.
        drop(tokio::time::timeout(limits::JOIN_RETRY, state.changed()).await);
    }
}

/// Somebody who knows more says that this sentinel is none any more.
pub(crate) fn removed(shared: &Shared) {
    let text =
        "this sentinel was removed from the cluster; stop it for good, or empty its data directory and it joins anew";
    // Full: it has been said already.
    drop(shared.fatal.try_send(text.into()));
}

async fn tidy_up(shared: &Shared, state: &ClusterState) {
    let moved = state.sentinels.iter().find_map(|known| {
        let peer = shared.address_of(known);
        (peer != known.peer).then(|| SentinelMember { peer, ..known.clone() })
    });
    let result = match moved {
        Some(sentinel) => {
            info!(sentinel = sentinel.name, to = %sentinel.peer, "a sentinel has moved");
            shared.consensus.reconfigure(Step::Move(sentinel)).await
        }
        None => shared.consensus.reconfigure(Step::Settle).await,
    };
    if let Err(error) = result {
        warn!(%error, "the set of sentinels could not be tidied up yet");
    }
}

/// Whom the new one replaces: a sentinel with its address, which cannot be there any more.
fn admissible(state: &ClusterState, new: &SentinelMember) -> Result<Option<SentinelMember>, String> {
    if new.name.is_empty() || new.sentinel_id.is_empty() || new.raft_id == 0 || new.peer.port == 0 {
        return Err("a sentinel needs a name, an id and an address".into());
    }
    let replaced = state.sentinels.iter().find(|known| known.peer == new.peer);
    let is_double = |known: &&SentinelMember| known.name == new.name && Some(*known) != replaced;
    if let Some(known) = state.sentinels.iter().find(is_double) {
        let SentinelMember { name, peer, .. } = known;
        return Err(format!(
            "there is a sentinel {name} at {peer}; give each its own --name, or remove that one with SENTINEL REMOVE-SENTINEL"
        ));
    }
    if replaced.is_none() && state.sentinels.len() >= limits::MOST_SENTINELS {
        return Err(format!("there are {} sentinels already, as many as there may be", limits::MOST_SENTINELS));
    }
    Ok(replaced.cloned())
}

/// Whether the new one is where it says, for there it replaces whoever was.
async fn confirm(shared: &Shared, new: &SentinelMember) -> Result<(), String> {
    match who_answers(shared, &new.peer).await {
        Some(id) if id == new.sentinel_id => Ok(()),
        Some(_) => Err(format!("ERR another sentinel answers at {}", new.peer)),
        None => Err(format!("ERR the new sentinel cannot be reached at {}", new.peer)),
    }
}

/// The id of the sentinel at that address.
async fn who_answers(shared: &Shared, address: &Address) -> Option<String> {
    let hello = HelloRequest {
        name: shared.identity.name.clone(),
        sentinel_id: shared.identity.sentinel_id.clone(),
        cluster_id: shared.cluster_id(),
        peer: Some((&shared.identity.peer).into()),
    };
    let mut client = shared.peers.at(address).control();
    let reply = tokio::time::timeout(limits::HELLO_TIMEOUT, client.hello(hello)).await;
    reply.ok()?.ok().map(|reply| reply.into_inner().sentinel_id)
}

/// Before and after the departure of `old`, those that answer now have to be a majority: a change that is begun and cannot
/// be agreed on would cost the master its lease.
async fn check_majorities(shared: &Shared, state: &ClusterState, old: &SentinelMember) -> Result<(), String> {
    let answers = state.sentinels.iter().map(async |one| {
        let is_here = one.raft_id == shared.identity.raft_id
            || who_answers(shared, &shared.address_of(one)).await.is_some_and(|id| id == one.sentinel_id);
        (one, is_here)
    });
    let answers = futures::future::join_all(answers).await;
    let present: Vec<&SentinelMember> =
        answers.into_iter().filter(|(_, is_here)| *is_here).map(|(one, _)| one).collect();
    let staying = present.iter().filter(|one| **one != old).count();
    let count = state.sentinels.len();
    if present.len() > count / 2 && staying > (count - 1) / 2 {
        return Ok(());
    }
    Err(format!("ERR of the sentinels that would remain only {staying} answer, which is no majority"))
}

/// Until every grant that was made by the set before the present one has ended.
async fn pause(shared: &Shared) -> Result<(), String> {
    for _ in 0..PATIENCE {
        let version = shared.state().sentinels_version;
        tokio::time::sleep(limits::lease_bound(shared.lease)).await;
        if shared.state().sentinels_version == version && shared.consensus.pending_sentinels_version() == 0 {
            return Ok(());
        }
    }
    Err("ERR the set of sentinels is being changed; try again".into())
}

/// Pauses for a set that goes on changing under us.
const PATIENCE: usize = 5;

async fn step(shared: &Shared, step: Step) -> Result<(), String> {
    match shared.consensus.reconfigure(step.clone()).await {
        Ok(()) => Ok(()),
        Err(
            error @ (raft::Error::NotLeader { .. }
            | raft::Error::Timeout(_)
            | raft::Error::Refused(_)
            | raft::Error::Stopped(_)),
        ) => {
            warn!(%error, ?step, "a change of the sentinels was not agreed on");
            Err(format!("ERR {error}; try again"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sentinel(name: &str, id: &str, port: u16) -> SentinelMember {
        let peer = Address { host: "h".into(), port };
        SentinelMember { raft_id: u64::from(port), sentinel_id: id.into(), name: name.into(), peer }
    }

    #[test]
    fn who_answers_at_the_address_of_a_sentinel_replaces_it_and_a_double_name_is_refused() {
        let sentinels = vec![sentinel("s1", "a", 1), sentinel("s2", "b", 2)];
        let state = ClusterState { sentinels, ..ClusterState::default() };
        assert_eq!(admissible(&state, &sentinel("s3", "c", 3)), Ok(None));
        assert_eq!(admissible(&state, &sentinel("s2", "c", 2)), Ok(Some(sentinel("s2", "b", 2))));
        let refused = admissible(&state, &sentinel("s1", "c", 2)).unwrap_err();
        assert!(refused.starts_with("there is a sentinel s1 at h:1;"), "{refused}");
        assert!(admissible(&state, &sentinel("", "c", 3)).is_err());
    }

    #[test]
    fn there_are_no_more_sentinels_than_a_few() {
        let most = limits::MOST_SENTINELS as u16;
        let sentinels = (1..=most).map(|port| sentinel(&format!("s{port}"), &format!("{port}"), port)).collect();
        let state = ClusterState { sentinels, ..ClusterState::default() };
        assert!(admissible(&state, &sentinel("new", "n", 1000)).is_err());
        assert!(admissible(&state, &sentinel("s1", "n", 1)).is_ok(), "a replacement is none more");
    }
}
