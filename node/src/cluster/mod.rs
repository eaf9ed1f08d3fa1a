//! A node's part in its cluster: it learns who is master, follows or leads, and answers the sentinels.
//!
//! ```text
//! thread peers  sentinels -- Watch --> adopt -.
//!               sentinels -- Peer --> fence,  +--> control: one transition at a time --> authority, journal, link
//!                            promote, observe-'
//!               replicas -- Replicate --> replication::master       link --> replication::replica
//! thread lease  Renew every 50 ms --> sentinels --> Grant --> authority
//! thread apply  replication::apply
//! ```

pub mod carry;
pub(crate) mod channel;
mod control;
pub mod grants;
mod isr;
mod lapse;
mod lease;
mod observe;
mod publications;
mod sentinels;
mod server;
mod shutdown;
pub mod state;

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use tokio::sync::oneshot;
use tracing::{error, info};

use crate::checkpoint::Position;
use crate::loading::Recovered;
use crate::node::Shared;
use crate::replication::apply::{Applier, Committed};
use crate::role::Role;
use crate::storage::Storage;
use crate::task;

/// Why the node cannot take part in a cluster.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(
        "cannot listen on {address} for peers: {source}; choose another port with --peer-port or stop what uses it"
    )]
    Listen { address: SocketAddr, source: std::io::Error },
    #[error("cannot start a thread: {0}")]
    Thread(#[from] std::io::Error),
    #[error("--sentinels: {address}: {reason}")]
    Sentinel { address: String, reason: String },
}

/// What the tasks of this module share.
#[derive(Debug)]
pub(crate) struct Cluster {
    node: Shared,
    storage: Arc<Storage>,
    applier: Arc<Applier>,
    lease: Arc<lease::Lease>,
    sentinels: sentinels::Sentinels,
    control: tokio::sync::Mutex<control::Transitions>,
}

/// Opens the port for peers.
///
/// # Errors
/// Another process has it, or the address is not of this machine.
pub fn listen(config: &crate::config::Config) -> Result<TcpListener, Error> {
    let address = SocketAddr::new(config.bind, config.peer_port);
    let bind = || {
        let listener = TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        Ok(listener)
    };
    bind().map_err(|source| Error::Listen { address, source })
}

/// The cluster side of a node, for as long as this lives.
#[derive(Debug)]
pub struct Handle {
    cluster: Arc<Cluster>,
    stop: Option<oneshot::Sender<()>>,
    runtime: tokio::runtime::Handle,
    threads: Vec<std::thread::JoinHandle<()>>,
}

/// Starts the threads `peers`, `lease` and `apply`. A node without sentinels only serves its port.
///
/// # Errors
/// A thread cannot be started, or an address of a sentinel cannot be used.
pub fn start(node: Shared, storage: Arc<Storage>, listener: TcpListener) -> Result<Handle, Error> {
    let is_clustered = node.config.is_clustered();
    if is_clustered {
        // Whatever is appended from now on, somebody may want to read.
        node.engine.journal.retain();
        node.engine.journal.promise(storage.promised_epoch());
    }
    let lease = Arc::new(lease::Lease::new(node.clone()));
    let applier = Arc::new(if node.loading.is_loading() { Applier::loading() } else { Applier::new() });
    let mut threads = Vec::new();
    let (tell, told) = std::sync::mpsc::sync_channel(1);
    let (stop, stopped) = oneshot::channel();
    {
        let (node, lease, applier) = (node.clone(), Arc::clone(&lease), Arc::clone(&applier));
        threads.push(task::runtime("peers", async move {
            let sentinels = match sentinels::Sentinels::new(&node.config, &node.dialer) {
                Ok(sentinels) => sentinels,
                Err(error) => {
                    // Whoever started this waits for the answer.
                    _ = tell.send(Err(error));
                    return;
                }
            };
            let control = tokio::sync::Mutex::default();
            let cluster = Arc::new(Cluster { node, storage, applier, lease, sentinels, control });
            _ = tell.send(Ok((Arc::clone(&cluster), tokio::runtime::Handle::current())));
            serve(cluster, listener, stopped).await;
        })?);
    }
    let (cluster, runtime) = told.recv().map_err(|_| std::io::Error::other("the thread peers has ended"))??;
    if is_clustered {
        let lease = Arc::clone(&cluster.lease);
        threads.push(task::runtime("lease", async move { lease.run().await })?);
        threads.push(task::thread("apply", move || applier.run(&node.engine))?);
        info!(
            cluster_id = cluster.storage.cluster_id().unwrap_or_default(),
            promised_epoch = cluster.storage.promised_epoch().0,
            sentinels = cluster.sentinels.count(),
            "waiting for the sentinels"
        );
    }
    Ok(Handle { cluster, stop: Some(stop), runtime, threads })
}

/// Everything on the thread `peers`, until the node stops.
async fn serve(cluster: Arc<Cluster>, listener: TcpListener, stopped: oneshot::Receiver<()>) {
    let mut tasks = Vec::new();
    if cluster.node.config.is_clustered() {
        tasks.push(task::spawn("watch", sentinels::watch_all(Arc::clone(&cluster))));
        tasks.push(task::spawn("publications", publications::follow_all(Arc::clone(&cluster))));
        tasks.push(task::spawn("isr", isr::maintain(Arc::clone(&cluster))));
        tasks.push(task::spawn("lapse", lapse::watch(Arc::clone(&cluster))));
    }
    tokio::select! {
        result = server::serve(cluster, listener) => {
            if let Err(error) = result {
                error!(%error, "the port for peers has failed");
            }
        }
        _ = stopped => {}
    }
}

impl Handle {
    /// What the load of this node is handed to, once it is done.
    pub(crate) fn take_over(&self) -> impl FnOnce(Recovered) + Send + 'static + use<> {
        let applier = Arc::clone(&self.cluster.applier);
        move |recovered| applier.recover(recovered.applied, recovered.committed, recovered.tail)
    }

    /// Says how far the partitions are; nothing while they are not the state of one moment, or nobody's.
    pub(crate) fn position(&self) -> impl Fn() -> Option<Position> + Send + 'static + use<> {
        let cluster = Arc::clone(&self.cluster);
        move || {
            let (node, term) = (&cluster.node, cluster.node.gate.term());
            let role = || node.authority.standing().role;
            match role() {
                Role::Master => {
                    // Of this mastership, if that is still the same behind the look.
                    let offset = node.engine.journal.end();
                    let is_still = role() == Role::Master && node.gate.term() == term;
                    is_still.then_some(Position { offset, state: (term, 0) })
                }
                Role::Replica | Role::Waiting => {
                    let committed = if cluster.storage.is_whole() { Committed::Only } else { Committed::OrNot };
                    let (offset, generation) = cluster.applier.position(committed)?;
                    Some(Position { offset, state: (term, generation) })
                }
                Role::Deposed => None,
            }
        }
    }

    /// Ends the mastership, if there is one, in order: the sentinels are asked for a hand-over; without one the lease
    /// is given up, so that a failover need not wait for it. Takes `limits::HANDOVER_WAIT` at the most.
    pub async fn resign(&self) {
        let cluster = Arc::clone(&self.cluster);
        let resigned = self.runtime.spawn(async move { shutdown::resign(&cluster).await });
        // An error says that the runtime is gone, and the mastership with it.
        _ = resigned.await;
    }

    /// From now on nothing comes from a master any more.
    pub async fn follow_no_more(&self) {
        let cluster = Arc::clone(&self.cluster);
        // As above.
        _ = self.runtime.spawn(async move { cluster.follow_no_more().await }).await;
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            _ = stop.send(());
        }
        self.cluster.lease.stop();
        self.cluster.applier.close();
        for thread in self.threads.drain(..) {
            // A panic was logged where it happened.
            _ = thread.join();
        }
    }
}
