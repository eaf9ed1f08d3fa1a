//! The master's lease: a thread of its own renews it at every sentinel, and says how long this node may execute.
//!
//! ```text
//! Renew{sequence = send time, heard} --> each sentinel --> Grant{sequence}
//! lease until = the majority-th newest granted send time + L
//! ```
//!
//! The sequence of a Renew is its send time in nanoseconds of CLOCK_BOOTTIME, so a grant says by itself since when it
//! counts. A node that is not master keeps its streams open, so that its first Renew is on its way at once.

use std::sync::Arc;
use std::time::Duration;

use futures::Stream;
use parking_lot::Mutex;
use tercet_proto::grpc::cluster::v1::Address;
use tercet_proto::grpc::sentinel::v1::sentinel_client::SentinelClient;
use tercet_proto::grpc::sentinel::v1::{Grant, Renew};
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, timeout};
use tracing::{debug, info, warn};

use super::channel;
use super::grants::Grants;
use crate::clock::{self, BootNanos};
use crate::ids::Epoch;
use crate::limits;
use crate::node::Shared;
use crate::task;

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
    /// A sentinel has answered a resignation.
    resigned: Notify,
    /// The next Renew to a sentinel does not wait for its time.
    at_once: Vec<Notify>,
}

#[derive(Debug)]
struct Granted {
    grants: Grants,
    /// When each sentinel was heard last, nanoseconds of CLOCK_BOOTTIME.
    heard: Vec<u64>,
    /// Renewals of this epoch that were sent since then are resignations.
    resigned: Option<(Epoch, u64)>,
    last_refusal: String,
}

impl Lease {
    pub(super) fn new(node: Shared) -> Self {
        let count = node.config.sentinels.len();
        let granted =
            Granted { grants: Grants::new(count), heard: vec![0; count], resigned: None, last_refusal: String::new() };
        Self {
            node,
            order: watch::Sender::new(Order::Idle),
            granted: Mutex::new(granted),
            resigned: Notify::new(),
            at_once: (0..count).map(|_| Notify::new()).collect(),
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
        granted.heard.fill(clock::boot_now().0);
        self.node.authority.set_lease(clock::boot_now(), BootNanos(0));
    }

    /// What the thread does until it is stopped.
    pub(super) async fn run(self: &Arc<Self>) {
        let sentinels = &self.node.config.sentinels;
        let streams: Vec<_> = (0..sentinels.len())
            .map(|index| {
                let address = Address { host: sentinels[index].host.clone(), port: u32::from(sentinels[index].port) };
                task::spawn("lease", Arc::clone(self).keep_stream(index, address))
            })
            .collect();
        // Cannot fail: the sender is in `self`.
        _ = self.order.subscribe().wait_for(|order| *order == Order::Stop).await;
        drop(streams);
    }

    async fn keep_stream(self: Arc<Self>, index: usize, address: Address) {
        let mut said: Option<Instant> = None;
        loop {
            let error = self.stream(index, &address).await;
            let sentinel = format!("{}:{}", address.host, address.port);
            if said.is_none_or(|at| at.elapsed() > limits::LOG_AGAIN) {
                said = Some(Instant::now());
                info!(sentinel, %error, "no lease stream, trying again");
            } else {
                debug!(sentinel, %error, "no lease stream");
            }
            tokio::time::sleep(limits::LEASE_RECONNECT_PAUSE).await;
        }
    }

    async fn stream(self: &Arc<Self>, index: usize, address: &Address) -> Error {
        match self.exchange(index, address).await {
            Ok(never) => match never {},
            Err(error) => error,
        }
    }

    async fn exchange(self: &Arc<Self>, index: usize, address: &Address) -> Result<std::convert::Infallible, Error> {
        let channel = channel::endpoint(address)?.connect().await?;
        self.granted.lock().heard[index] = clock::boot_now().0;
        let mut client = SentinelClient::new(channel);
        let opened = timeout(limits::GRANT_SILENCE, client.lease(Arc::clone(self).renewals(index)));
        let mut grants = opened.await.map_err(|_| Error::Silent)??.into_inner();
        let mut order = self.order.subscribe();
        loop {
            let is_renewing = matches!(*order.borrow_and_update(), Order::Renew { .. });
            let silence = tokio::time::sleep(limits::GRANT_SILENCE);
            tokio::select! {
                grant = grants.message() => self.take(index, &grant?.ok_or(Error::Closed)?),
                () = silence, if is_renewing => return Err(Error::Silent),
                _ = order.changed() => {}
            }
        }
    }

    /// The messages of one stream: a Renew at once when this node becomes master, then one every 50 ms; a last one when
    /// it resigns.
    fn renewals(self: Arc<Self>, index: usize) -> impl Stream<Item = Renew> + Send + 'static {
        let order = self.order.subscribe();
        let mut pace = tokio::time::interval(limits::RENEW_EVERY);
        pace.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let begin = (self, order, pace, Order::Idle);
        futures::stream::unfold(begin, move |(lease, mut order, mut pace, mut done)| async move {
            loop {
                let now = order.borrow_and_update().clone();
                match &now {
                    Order::Renew { cluster_id, epoch } => {
                        if done == now {
                            tokio::select! {
                                _ = pace.tick() => {}
                                () = lease.at_once[index].notified() => pace.reset(),
                                _ = order.changed() => continue,
                            }
                        } else {
                            pace.reset();
                        }
                        let renew = lease.renew(index, cluster_id, *epoch, Resign::No);
                        return Some((renew, (lease, order, pace, now)));
                    }
                    Order::Resign { cluster_id, epoch } if done != now => {
                        let renew = lease.renew(index, cluster_id, *epoch, Resign::Yes);
                        return Some((renew, (lease, order, pace, now)));
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

    fn renew(&self, index: usize, cluster_id: &str, epoch: Epoch, resign: Resign) -> Renew {
        let heard = self.granted.lock().heard[index];
        Renew {
            cluster_id: cluster_id.to_owned(),
            name: self.node.identity.name.clone(),
            incarnation: self.node.identity.incarnation.clone(),
            epoch: epoch.0,
            sequence: clock::boot_now().0,
            commit_offset: self.node.gate.commit().0,
            resign: resign == Resign::Yes,
            heard,
        }
    }

    fn take(&self, index: usize, grant: &Grant) {
        let now = clock::boot_now();
        let mut granted = self.granted.lock();
        let heard_before = std::mem::replace(&mut granted.heard[index], now.0);
        // It may have refused what was sent before we heard it again.
        if now.millis_since(BootNanos(heard_before)) >= GAP_MS {
            self.at_once[index].notify_one();
        }
        let epoch = Epoch(grant.epoch);
        if granted.resigned.is_some_and(|(resigned, since)| resigned == epoch && grant.sequence >= since) {
            self.resigned.notify_one();
        }
        if !granted.grants.count(epoch, grant.sequence, now) {
            return;
        }
        if !grant.granted {
            if granted.last_refusal != grant.refusal {
                warn!(epoch = grant.epoch, refusal = grant.refusal, "a sentinel refuses the lease");
                granted.last_refusal.clone_from(&grant.refusal);
            }
            return;
        }
        granted.last_refusal.clear();
        if let Some(until) = granted.grants.take(index, grant.sequence, self.node.config.lease_ms) {
            // Within the lock: no lease of an earlier epoch is set behind `begin` or `end`.
            self.node.authority.set_lease(now, until);
        }
    }
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
