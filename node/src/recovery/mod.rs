//! The start of a node: what lies on disk becomes its state.
//!
//! ```text
//! rows of each partition, exact at its cut       cut of A ----.        cut of B --.
//! journal        start -------------------------- A's records behind it ---------- | ---- commit hint ---- end
//!                                                             '--> applied          '-->  applied  '--> waits
//! ```
//!
//! A node of its own applies everything. A member of a cluster applies what is known to be committed and hands the rest
//! to the applier as a replica's: its master may say that it never was acknowledged, and a tail that is not applied can
//! be cut off.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use tracing::{error, info, warn};

use crate::checkpoint::{self, Cuts, Known};
use crate::cluster;
use crate::config::Switch;
use crate::disk;
use crate::engine;
use crate::ids::Offset;
use crate::journal::{Assembler, Block};
use crate::limits;
use crate::loading::Recovered;
use crate::node::{self, Node};
use crate::pager;
use crate::role::State;
use crate::storage::{self, Bounds, Storage};
use crate::task;

/// Pause between two log lines about how far the load is.
const SAY_EVERY: Duration = Duration::from_secs(1);

/// What lies on disk cannot become a state.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Storage(#[from] storage::Error),
    #[error("data directory {path}: {reason}; {MENDS}")]
    Damaged { path: String, reason: String },
}

/// How an operator mends a directory that is damaged.
const MENDS: &str = "restore a backup with `tercet-node restore DIR`, or empty the directory: a member of a cluster is then \
                     loaded by its master";

/// What is to be loaded.
#[derive(Debug)]
pub struct Plan {
    bounds: Bounds,
}

/// Before anybody is served: the journal goes on where the one on disk ends. `None`: the node keeps nothing on disk.
///
/// # Errors
/// What lies on disk cannot be read.
pub fn prepare(node: &Node, storage: &Storage) -> Result<Option<Plan>, Error> {
    if node.config.persistence == Switch::Off {
        if storage.journal_bounds()?.end > Offset::ZERO {
            warn!("the data on disk is not loaded: --persistence is off");
        }
        return Ok(None);
    }
    if !storage.is_whole() {
        warn!("the last full sync had not ended: this node begins with nothing");
        storage.wipe(Offset::ZERO, &[])?;
        storage.mark_whole()?;
    }
    let bounds = storage.journal_bounds()?;
    let promise = disk::promise(&node.config);
    node.engine.journal.start_disk(promise, bounds.start, bounds.end, bounds.history.clone());
    if bounds.end > Offset::ZERO {
        node.loading.begin(storage.data_bytes());
        node.authority.change(|standing| standing.state = State::Loading);
    }
    Ok(Some(Plan { bounds }))
}

/// Loads everything. Runs on a thread of its own; nobody is served meanwhile.
///
/// # Errors
/// What lies on disk is damaged.
fn load(node: &node::Shared, storage: &Storage, plan: Plan) -> Result<(Recovered, Known), Error> {
    let bounds = plan.bounds;
    if bounds.end == Offset::ZERO {
        let unused: Vec<u64> = storage.run_numbers().into_iter().collect();
        storage.delete_runs(&unused)?;
        let known = Known::none(node.engine.keyspace.len(), storage.generation());
        return Ok((Recovered { applied: Offset::ZERO, committed: Offset::ZERO, tail: Vec::new() }, known));
    }
    let began = Instant::now();
    info!(bytes = storage.data_bytes(), from = bounds.start.0, to = bounds.end.0, "loading what lies on disk");
    let checkpoint::Loaded { cuts, known, .. } =
        checkpoint::load(&node.engine, storage, &|bytes| node.loading.add(bytes)).map_err(|error| match error {
            checkpoint::LoadError::Storage(error) => Error::Storage(error),
            damaged @ checkpoint::LoadError::Damaged { .. } => {
                Error::Damaged { path: storage.path().display().to_string(), reason: damaged.to_string() }
            }
        })?;
    let rows_ms = began.elapsed().as_millis() as u64;
    let load = Load { node, storage, bounds: &bounds, cuts, assembler: Assembler::default(), said: began };
    let recovered = load.replay()?;
    node.gate.advance(recovered.committed);
    let keys: usize = (0..limits::DATABASES).map(|database| node.engine.keyspace.count(database)).sum();
    let took = began.elapsed();
    info!(
        keys,
        offset = recovered.applied.0,
        uncommitted = bounds.end.0 - recovered.applied.0,
        took_ms = took.as_millis() as u64,
        rows_ms,
        keys_per_second = (keys as f64 / took.as_secs_f64().max(0.001)) as u64,
        "loaded"
    );
    Ok((recovered, known))
}

/// The node serves from now on, or follows.
fn loaded(node: &Node) {
    if !node.config.is_clustered() {
        node.authority.change(|standing| standing.state = State::Whole);
    }
    node.loading.end();
}

struct Load<'a> {
    node: &'a node::Shared,
    storage: &'a Storage,
    bounds: &'a Bounds,
    cuts: Cuts,
    assembler: Assembler,
    said: Instant,
}

impl Load<'_> {
    fn replay(mut self) -> Result<Recovered, Error> {
        let Bounds { start, end, commit, .. } = *self.bounds;
        let from = self.cuts.floor();
        let youngest = self.cuts.youngest();
        if from < start {
            return Err(self.damaged(format!("the journal begins at {start}, and rows end at {from}")));
        }
        if youngest > end {
            return Err(self.damaged(format!("the journal ends at {end}, and rows reach {youngest}")));
        }
        // The first rows behind a full sync may be ahead of the commit offset.
        let committed = if self.node.config.is_clustered() { commit } else { end };
        let known = committed.max(youngest);
        let mut applied = from;
        let mut is_amid = false;
        let mut tail = Vec::new();
        for block in self.storage.journal_from(from)? {
            let block = block?;
            if block.first != applied.next() && tail.is_empty() {
                return Err(self.damaged(format!("the journal has a hole behind {applied}")));
            }
            self.node.loading.add(block.records.len() as u64);
            if block.first <= known {
                applied = self.apply(&block, known)?;
            }
            is_amid = block.ends_amid_record();
            if block.last > known {
                tail.push(if block.first > known { block } else { block.behind(known) });
            }
            self.say();
        }
        if is_amid {
            self.node.engine.journal.ends_amid_record();
        }
        if applied < known {
            return Err(self.damaged(format!("the journal ends at {applied}, not at {known}")));
        }
        // A record of which some parts are committed, or that a process did not write to its end, is applied with its last
        // part, if that ever comes.
        if let Some(first) = self.assembler.begun()
            && self.node.config.is_clustered()
        {
            applied = Offset(first.0 - 1);
            tail = self.storage.journal_from(applied)?.collect::<Result<_, _>>()?;
        }
        Ok(Recovered { applied, committed, tail })
    }

    fn apply(&mut self, block: &Block, up_to: Offset) -> Result<Offset, Error> {
        let mut applied = Offset(block.first.0 - 1);
        for (offset, entry) in block.iter().take_while(|(offset, _)| *offset <= up_to) {
            applied = offset;
            let record = self.assembler.take(offset, entry).map_err(|error| self.damaged(error.to_string()))?;
            let Some(record) = record else { continue };
            self.node
                .engine
                .apply_owned(offset, record, |partition| self.cuts.wants(partition, offset))
                .map_err(|error: engine::ReplayError| self.damaged(error.to_string()))?;
        }
        if applied != block.last.min(up_to) {
            return Err(self.damaged(format!("the block at {} ends at {applied}, not at {}", block.first, block.last)));
        }
        Ok(applied)
    }

    fn damaged(&self, reason: String) -> Error {
        Error::Damaged { path: self.storage.path().display().to_string(), reason }
    }

    fn say(&mut self) {
        if self.said.elapsed() < SAY_EVERY {
            return;
        }
        self.said = Instant::now();
        if let Some(report) = self.node.loading.report() {
            let (percent, eta_seconds) = (format!("{:.1}", report.loaded_percent), report.eta_seconds);
            info!(percent, eta_seconds, "loading");
        }
    }
}

/// The load, the checkpoints and the disk, for as long as this lives. Dropped, everything that was appended is on disk
/// first, most of it in rows.
#[derive(Debug)]
pub struct Running {
    node: node::Shared,
    thread: Option<std::thread::JoinHandle<()>>,
    disk: Option<disk::Threads>,
    loaded: Option<oneshot::Receiver<Result<(), Error>>>,
}

/// Loads on a thread of its own, which then makes checkpoints, and lets the journal flow to disk.
///
/// # Errors
/// A thread cannot be started.
pub fn start(
    node: &node::Shared,
    storage: &storage::Shared,
    plan: Option<Plan>,
    cluster: &cluster::Handle,
) -> std::io::Result<Running> {
    let mut running = Running { node: Arc::clone(node), thread: None, disk: None, loaded: None };
    let Some(plan) = plan else { return Ok(running) };
    pager::open(node, storage);
    running.disk = Some(disk::start(Arc::clone(node), Arc::clone(storage))?);
    let (tell, told) = oneshot::channel();
    let (node, storage) = (Arc::clone(node), Arc::clone(storage));
    let (take_over, position) = (cluster.take_over(), cluster.position());
    running.thread = Some(task::thread("checkpoint", move || {
        let result = load(&node, &storage, plan).map(|(recovered, known)| {
            take_over(recovered);
            loaded(&node);
            known
        });
        // A node that stops does not wait for it.
        match result {
            Ok(known) => {
                _ = tell.send(Ok(()));
                let (served, shelved) = (Arc::clone(&node), Arc::clone(&storage));
                let pager = task::thread("pager", move || pager::carry(&served, &shelved));
                if let Err(error) = &pager {
                    error!(%error, "long queues stay in memory");
                }
                checkpoint::keep(&node, &storage, known, &position);
                node.engine.broker.shelf().close();
                // A panic was logged where it happened.
                _ = pager.map(std::thread::JoinHandle::join);
            }
            Err(error) => _ = tell.send(Err(error)),
        }
    })?);
    running.loaded = Some(told);
    Ok(running)
}

impl Drop for Running {
    fn drop(&mut self) {
        self.node.checkpoint.close(limits::CHECKPOINT_AT_STOP);
        self.node.engine.broker.shelf().close();
        // Whoever stops amid a load does not wait for it: nothing on disk changes.
        if let Some(thread) = self.thread.take()
            && !self.node.loading.is_loading()
        {
            // A panic was logged where it happened.
            _ = thread.join();
        }
    }
}

impl Running {
    /// Resolves when what lies on disk cannot be loaded, and never otherwise.
    pub async fn failed(&mut self) -> Error {
        if let Some(loaded) = self.loaded.take()
            && let Ok(Err(error)) = loaded.await
        {
            return error;
        }
        std::future::pending().await
    }

    /// What flows to disk now, if the node keeps anything there.
    #[must_use]
    pub fn disk(&self) -> Option<&disk::Threads> {
        self.disk.as_ref()
    }
}
