//! One Observe stream to each node that is known, opened again when it breaks.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Instant,
};

use tercet_edge::name::is_name;
use tercet_proto::grpc::peer::v1::{NodeStatus, ObserveRequest, Role};
use tokio::task::JoinSet;
use tracing::{debug, warn};

use crate::{clock::Moment, limits, nodes::Double, shared::Shared, state::Address};

/// A node says where it can be observed. It is, until this is dropped.
#[derive(Debug)]
pub(crate) struct Introduction {
    shared: Arc<Shared>,
    address: Address,
}

impl Introduction {
    pub(crate) fn new(shared: &Arc<Shared>, address: Address) -> Self {
        let nodes = &shared.nodes;
        *nodes.table.lock().introduced.entry(address.clone()).or_default() += 1;
        nodes.introductions.notify_one();
        Self { shared: Arc::clone(shared), address }
    }
}

impl Drop for Introduction {
    fn drop(&mut self) {
        let nodes = &self.shared.nodes;
        let mut table = nodes.table.lock();
        if let Some(streams) = table.introduced.get_mut(&self.address) {
            *streams -= 1;
            if *streams == 0 {
                table.introduced.remove(&self.address);
            }
        }
        drop(table);
        nodes.introductions.notify_one();
    }
}

/// Whether a node can be as it says. `epoch` is the newest that was agreed on.
fn check(status: &NodeStatus, epoch: u64) -> Result<(), &'static str> {
    let member = status.member.as_ref();
    if !member.is_some_and(|member| is_name(&member.name)) {
        return Err("its name is no name");
    }
    if !is_name(&status.incarnation) || !member.is_some_and(|member| is_name(&member.node_id)) {
        return Err("its ids are no ids");
    }
    if status.replicas.len() > limits::MOST_NAMES || !status.replicas.iter().all(|replica| is_name(&replica.name)) {
        return Err("its replicas have no names, or there are too many");
    }
    let told = status.epoch.max(status.promised_epoch).max(status.last_epoch);
    // Where nothing was agreed on yet, nodes that remember more than this sentinel are as they should be.
    let is_far = epoch > 0 && told > epoch.saturating_add(limits::TERM_STEP);
    if is_far || told > limits::MOST_EPOCH { Err("its epoch is out of reach") } else { Ok(()) }
}

/// Keeps one stream to each address of `--nodes` and of the members, for as long as the sentinel lives.
pub(crate) async fn observe_all(shared: Arc<Shared>) {
    let mut state = shared.consensus.watch_applied();
    let mut observed: BTreeMap<Address, tokio::task::AbortHandle> = BTreeMap::new();
    let mut tasks = JoinSet::new();
    loop {
        let mut wanted: BTreeSet<Address> = shared.nodes.listed.iter().cloned().collect();
        {
            let state = state.borrow_and_update();
            wanted.extend(state.members.iter().map(|member| member.peer.clone()));
        }
        let is_introduced = |address: &Address| !wanted.contains(address);
        let introduced: Vec<Address> =
            shared.nodes.table.lock().introduced.keys().filter(|address| is_introduced(address)).cloned().collect();
        // Those that are known come first, where there are too many.
        let room = limits::MOST_NODES.saturating_sub(wanted.len());
        wanted.extend(introduced.into_iter().take(room));
        wanted.retain(|address| address.port != 0 && !address.host.is_empty());
        observed.retain(|address, task| {
            let keep = wanted.contains(address);
            if !keep {
                task.abort();
                shared.nodes.disconnected(address);
            }
            keep
        });
        shared.nodes.table.lock().channels.retain(|address, _| wanted.contains(address));
        for address in wanted.into_iter().take(limits::MOST_NODES) {
            observed
                .entry(address)
                .or_insert_with_key(|address| tasks.spawn(observe(Arc::clone(&shared), address.clone())));
        }
        tokio::select! {
            changed = state.changed() => if changed.is_err() { return },
            () = shared.nodes.introductions.notified() => {}
        }
    }
}

async fn observe(shared: Arc<Shared>, address: Address) {
    let mut last_warning: Option<Instant> = None;
    loop {
        let mut client = shared.nodes.client_at(&address);
        let request = ObserveRequest { cluster_id: shared.cluster_id(), sentinel: shared.identity.name.clone() };
        let opened = tokio::time::timeout(limits::OBSERVE_SILENCE, client.observe(request)).await;
        match opened {
            Ok(Ok(response)) => {
                let mut statuses = response.into_inner();
                while let Ok(Ok(Some(status))) = tokio::time::timeout(limits::OBSERVE_SILENCE, statuses.message()).await
                {
                    let ours = shared.cluster_id();
                    if !status.cluster_id.is_empty() && !ours.is_empty() && status.cluster_id != ours {
                        if last_warning.is_none_or(|at| at.elapsed() > limits::LOG_AGAIN) {
                            last_warning = Some(Instant::now());
                            let theirs = status.cluster_id;
                            warn!(node = %address, theirs, ours, "the node belongs to another cluster and is left alone");
                        }
                        break;
                    }
                    if let Err(reason) = check(&status, shared.state().epoch) {
                        if last_warning.is_none_or(|at| at.elapsed() > limits::LOG_AGAIN) {
                            last_warning = Some(Instant::now());
                            warn!(node = %address, reason, "what a node says of itself cannot be, and is left out");
                        }
                        break;
                    }
                    if status.role() == Role::Replica {
                        shared.stepped_down(&status.incarnation, status.epoch);
                    }
                    if let Err(Double { name, node_id }) = shared.nodes.record(&address, status, Moment::now())
                        && last_warning.is_none_or(|at| at.elapsed() > limits::LOG_AGAIN)
                    {
                        last_warning = Some(Instant::now());
                        warn!(node = %address, name, node_id, "another node of this name is there already; give each its own --name");
                    }
                }
                shared.nodes.disconnected(&address);
                debug!(node = %address, "observation ended");
            }
            Ok(Err(status)) if status.code() == tonic::Code::FailedPrecondition => {
                if last_warning.is_none_or(|at| at.elapsed() > limits::LOG_AGAIN) {
                    last_warning = Some(Instant::now());
                    warn!(node = %address, reason = status.message(), "the node refuses to be observed");
                }
            }
            Ok(Err(_)) | Err(_) => {}
        }
        tokio::time::sleep(limits::OBSERVE_RETRY).await;
    }
}
