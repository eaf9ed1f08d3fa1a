//! The master's lease: a thread of its own renews it at every sentinel, and says how long this node may execute.
//!
//! ```text
//! Renew{sequence = send time, heard} --> each sentinel --> Grant{sequence}
//! lease until = the majority-th newest granted send time + L
//! ```
//!
//! The sequence of a Renew is its send time in nanoseconds of CLOCK_BOOTTIME, so a grant says by itself since when it
//! counts. A node that is not master keeps its streams open, so that its first Renew is on its way at once.
//!
//! The sentinels are those of the newest state; before there is one, those of the settings.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::Stream;
use parking_lot::Mutex;
use tercet_proto::grpc::cluster::v1::ClusterState;
use tercet_proto::grpc::sentinel::v1::sentinel_client::SentinelClient;
use tercet_proto::grpc::sentinel::v1::{Grant, Renew};
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, timeout};
use tracing::{debug, error, info, warn};

use super::grants::Grants;
use super::{channel, sentinels};
use crate::clock::{self, BootNanos};
use crate::ids::Epoch;
use crate::limits;
use crate::node::Shared;
use crate::progress::Stuck;
use crate::task::{self, Task};

/// A sentinel that was not heard for so long may refuse a Renew that does not know yet that it is heard again.
const GAP_MS: u64 = 2 * limits::RENEW_EVERY.as_millis() as u64;

/// What the streams are to do.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Order {
    Idle,
    Renew { cluster_id: String, epoch: Epoch },
    Resign { cluster_id: String, epoch: Epoch },
    Stop,
}

/// The lease of this node, past, present or none. One a node.
#[derive(Debug)]
pub(super) struct Lease {
    node: Shared,
    order: watch::Sender<Order>,
    granted: Mutex<Granted>,
    sentinels: watch::Sender<Electorate>,
    /// A sentinel has answered a resignation.
    resigned: Notify,
}

/// The sentinels of one version of their set.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Electorate {
    version: u64,
    addresses: Vec<String>,
}

#[derive(Debug)]
struct Granted {
    grants: Grants,
    /// When each sentinel was heard last, nanoseconds of CLOCK_BOOTTIME.
    heard: BTreeMap<String, u64>,
    /// Renewals of this epoch that were sent since then are resignations.
    resigned: Option<(Epoch, u64)>,
    /// In this epoch the lease was not renewed because a thread made no progress.
    stuck: Option<Epoch>,
    /// What each sentinel that refuses said last, as far as it was logged.
    refusals: BTreeMap<String, String>,
}

impl Lease {
    pub(super) fn new(node: Shared) -> Self {
        let addresses: Vec<String> = sentinels::listed(&node.config);
        let grants = Grants::new(addresses.iter().cloned());
        let (heard, refusals) = (BTreeMap::new(), BTreeMap::new());
        let granted = Granted { grants, heard, resigned: None, stuck: None, refusals };
        Self {
            node,
            order: watch::Sender::new(Order::Idle),
            granted: Mutex::new(granted),
            sentinels: watch::Sender::new(Electorate { version: 0, addresses }),
            resigned: Notify::new(),
        }
    }

    /// The sentinels that a state names are those whose grants count.
    pub(super) fn adopt_sentinels(&self, state: &ClusterState) {
        let addresses = sentinels::addresses(state);
        if addresses.is_empty() {
            return;
        }
        let new = Electorate { version: state.sentinels_version, addresses };
        // Within the lock: every Renew is made, and every grant counted, by one set.
        let mut granted = self.granted.lock();
        let is_news = *self.sentinels.borrow() != new && new.version >= self.sentinels.borrow().version;
        if is_news {
            info!(version = new.version, sentinels = new.addresses.join(","), "the sentinels have changed");
            granted.refusals.clear();
            granted.heard.retain(|sentinel, _| new.addresses.contains(sentinel));
            granted.grants.change_sentinels(new.addresses.iter().cloned(), clock::boot_now());
            self.sentinels.send_replace(new);
        }
    }

    /// Begins to renew under `epoch`. Grants of earlier epochs count no more.
    pub(super) fn begin(&self, cluster_id: &str, epoch: Epoch) {
        self.forget(Some(epoch));
        self.order.send_replace(Order::Renew { cluster_id: cluster_id.to_owned(), epoch });
    }

    /// This node is not master.
    pub(super) fn end(&self) {
        self.forget(None);
        self.order.send_if_modified(|order| {
            // A resignation is still to be sent.
            let was_renewing = matches!(order, Order::Renew { .. });
            if was_renewing {
                *order = Order::Idle;
            }
            was_renewing
        });
    }

    /// Gives the lease of `epoch` up and tells the sentinels that nothing more is executed under it.
    pub(super) fn resign(&self, cluster_id: &str, epoch: Epoch) {
        self.forget(None);
        self.granted.lock().resigned = Some((epoch, clock::boot_now().0));
        self.order.send_replace(Order::Resign { cluster_id: cluster_id.to_owned(), epoch });
    }

    /// Waits until a sentinel has answered the resignation; `within` at the most.
    pub(super) async fn is_resigned(&self, within: Duration) {
        _ = timeout(within, self.resigned.notified()).await;
    }

    pub(super) fn stop(&self) {
        self.order.send_replace(Order::Stop);
    }

    fn forget(&self, epoch: Option<Epoch>) {
        let mut granted = self.granted.lock();
        granted.grants.begin(epoch);
        // Who begins has not missed anything yet.
        granted.heard.values_mut().for_each(|at| *at = clock::boot_now().0);
        self.node.authority.set_lease(clock::boot_now(), BootNanos(0));
    }

    /// What the thread does until it is stopped.
    pub(super) async fn run(self: &Arc<Self>) {
        let (mut sentinels, mut order) = (self.sentinels.subscribe(), self.order.subscribe());
        let mut streams: BTreeMap<String, Task> = BTreeMap::new();
        loop {
            let wanted = sentinels.borrow_and_update().addresses.clone();
            // Dropping a task ends it.
            streams.retain(|address, _| wanted.contains(address));
            for address in wanted {
                streams
                    .entry(address)
                    .or_insert_with_key(|address| task::spawn("lease", Arc::clone(self).keep_stream(address.clone())));
            }
            tokio::select! {
                // Neither can fail: the senders are in `self`.
                _ = sentinels.changed() => {}
                _ = order.wait_for(|order| *order == Order::Stop) => return,
            }
        }
    }

    async fn keep_stream(self: Arc<Self>, sentinel: String) {
        let mut said: Option<Instant> = None;
        loop {
            let error = self.stream(&sentinel).await;
            if said.is_none_or(|at| at.elapsed() > limits::LOG_AGAIN) {
                said = Some(Instant::now());
                info!(sentinel, %error, "no lease stream, trying again");
            } else {
                debug!(sentinel, %error, "no lease stream");
            }
            tokio::time::sleep(limits::LEASE_RECONNECT_PAUSE).await;
        }
    }

    async fn stream(self: &Arc<Self>, sentinel: &str) -> Error {
        match self.exchange(sentinel).await {
            Ok(never) => match never {},
            Err(error) => error,
        }
    }

    async fn exchange(self: &Arc<Self>, sentinel: &str) -> Result<std::convert::Infallible, Error> {
        let channel = self.node.dialer.connect(&channel::endpoint_at(sentinel)?).await?;
        self.granted.lock().heard.insert(sentinel.to_owned(), clock::boot_now().0);
        let at_once = Arc::new(Notify::new());
        let renewals = Arc::clone(self).renewals(sentinel.to_owned(), Arc::clone(&at_once));
        let mut client = SentinelClient::new(channel);
        let opened = timeout(limits::GRANT_SILENCE, client.lease(renewals));
        let mut grants = opened.await.map_err(|_| Error::Silent)??.into_inner();
        let mut order = self.order.subscribe();
        loop {
            let is_renewing = matches!(*order.borrow_and_update(), Order::Renew { .. });
            let silence = tokio::time::sleep(limits::GRANT_SILENCE);
            tokio::select! {
                grant = grants.message() => {
                    if self.take(sentinel, &grant?.ok_or(Error::Closed)?) == Gap::Yes {
                        at_once.notify_one();
                    }
                }
                () = silence, if is_renewing => return Err(Error::Silent),
                _ = order.changed() => {}
            }
        }
    }

    /// The messages of one stream: a Renew at once when this node becomes master, then one every 50 ms; a last one when
    /// it resigns.
    fn renewals(self: Arc<Self>, sentinel: String, at_once: Arc<Notify>) -> impl Stream<Item = Renew> + Send + 'static {
        let order = self.order.subscribe();
        let mut pace = tokio::time::interval(limits::RENEW_EVERY);
        pace.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let begin = (self, order, pace, Order::Idle, (sentinel, at_once));
        futures::stream::unfold(begin, |(lease, mut order, mut pace, mut done, to)| async move {
            loop {
                let now = order.borrow_and_update().clone();
                match &now {
                    Order::Renew { cluster_id, epoch } => {
                        if done == now {
                            tokio::select! {
                                _ = pace.tick() => {}
                                () = to.1.notified() => pace.reset(),
                                _ = order.changed() => continue,
                            }
                            if lease.is_stuck(*epoch) {
                                continue;
                            }
                        } else {
                            pace.reset();
                        }
                        let renew = lease.renew(&to.0, cluster_id, *epoch, Resign::No);
                        return Some((renew, (lease, order, pace, now, to)));
                    }
                    Order::Resign { cluster_id, epoch } if done != now => {
                        let renew = lease.renew(&to.0, cluster_id, *epoch, Resign::Yes);
                        return Some((renew, (lease, order, pace, now, to)));
                    }
                    Order::Stop => return None,
                    Order::Idle | Order::Resign { .. } => {
                        done = now;
                        order.changed().await.ok()?;
                    }
                }
            }
        })
    }

    /// Whether the lease is not to be renewed: a thread that serves clients makes no progress. Says so once an epoch.
    fn is_stuck(&self, epoch: Epoch) -> bool {
        let Some(Stuck { thread, since_ms, kind }) = self.node.progress.stuck(clock::boot_now()) else { return false };
        let mut granted = self.granted.lock();
        if granted.stuck != Some(epoch) {
            granted.stuck = Some(epoch);
            error!(thread, since_ms, ?kind, "a thread makes no progress: the lease is not renewed");
        }
        true
    }

    fn renew(&self, sentinel: &str, cluster_id: &str, epoch: Epoch, resign: Resign) -> Renew {
        // Held until the Renew is made: the set that it speaks of is the one by which its grant counts.
        let granted = self.granted.lock();
        Renew {
            cluster_id: cluster_id.to_owned(),
            name: self.node.identity.name.clone(),
            incarnation: self.node.identity.incarnation.clone(),
            epoch: epoch.0,
            sequence: clock::boot_now().0,
            commit_offset: self.node.gate.commit().0,
            resign: resign == Resign::Yes,
            heard: granted.heard.get(sentinel).copied().unwrap_or(0),
            sentinels_version: self.sentinels.borrow().version,
        }
    }

    /// Counts an answer. Says whether the sentinel had not been heard for some time.
    fn take(&self, sentinel: &str, grant: &Grant) -> Gap {
        let now = clock::boot_now();
        let mut granted = self.granted.lock();
        let heard_before = granted.heard.insert(sentinel.to_owned(), now.0).unwrap_or(now.0);
        // It may have refused what was sent before we heard it again.
        let gap = if now.millis_since(BootNanos(heard_before)) >= GAP_MS { Gap::Yes } else { Gap::No };
        let epoch = Epoch(grant.epoch);
        if granted.resigned.is_some_and(|(resigned, since)| resigned == epoch && grant.sequence >= since) {
            self.resigned.notify_one();
        }
        if !granted.grants.count(epoch, grant.sequence, now) {
            return gap;
        }
        if !grant.granted {
            // It may say how long it will refuse, which is no news the next time.
            let gist: String = grant.refusal.chars().filter(|letter| !letter.is_ascii_digit()).collect();
            if granted.refusals.get(sentinel) != Some(&gist) {
                warn!(sentinel, epoch = grant.epoch, refusal = grant.refusal, "a sentinel refuses the lease");
                granted.refusals.insert(sentinel.to_owned(), gist);
            }
            return gap;
        }
        granted.refusals.remove(sentinel);
        if let Some(until) = granted.grants.take(sentinel, grant.sequence, self.node.config.lease_ms) {
            // Within the lock: no lease of an earlier epoch is set behind `begin` or `end`.
            self.node.authority.set_lease(now, until);
        }
        gap
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Gap {
    Yes,
    No,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Resign {
    Yes,
    No,
}

/// Why a stream ended.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("cannot connect: {0}")]
    Connect(#[from] tonic::transport::Error),
    #[error("{}: {}", .0.code(), .0.message())]
    Status(#[from] tonic::Status),
    #[error("the sentinel is silent")]
    Silent,
    #[error("the sentinel closed the stream")]
    Closed,
}
