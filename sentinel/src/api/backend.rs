//! The sentinel behind the RESP port.

use std::{sync::Arc, time::Duration};

use futures::future::BoxFuture;
use tokio::sync::{broadcast, watch};

use super::{grpc, resp::Backend};
use crate::{
    clock::millis,
    events::{Event, Instance},
    limits,
    orders::{self, Forward, Order},
    picture::Picture,
    raft::Replica,
    shared::Shared,
    simulated::Simulated,
};

/// The real one.
#[derive(Debug)]
pub(crate) struct Live {
    pub(crate) shared: Arc<Shared>,
    pub(crate) replica: Arc<Replica>,
    pub(crate) stop: watch::Sender<bool>,
}

impl Backend for Live {
    fn picture(&self) -> Picture {
        self.shared.picture()
    }

    fn events(&self) -> broadcast::Receiver<Event> {
        self.shared.events.subscribe()
    }

    fn fail_over(&self, service: String) -> BoxFuture<'_, Result<(), String>> {
        Box::pin(async move { grpc::fail_over(&self.shared, &service, Forward::Yes).await })
    }

    fn order(&self, order: Order) -> BoxFuture<'_, Result<(), String>> {
        Box::pin(orders::obey(&self.shared, order, Forward::Yes))
    }

    /// Of this sentinel only, as in Redis; never so short that a lease could outlive the suspicion.
    fn set_down_after(&self, new: u64) -> BoxFuture<'_, Result<(), String>> {
        Box::pin(async move {
            self.check_down_after(new)?;
            // Redis writes its file before it answers.
            self.replica.remember(DOWN_AFTER, new).await.map_err(|error| format!("the disk refuses: {error}"))?;
            let down_after = Duration::from_millis(new);
            self.shared.tunable.lock().down_after = down_after;
            self.shared.leases.lock().hearing.set_silence(down_after);
            let more = format!(" down-after-milliseconds {new}");
            self.shared.events.about_with("+set", Instance::Master, &self.shared.master_name(), &more);
            Ok(())
        })
    }

    fn reset(&self) {
        self.shared.siblings.forget();
        self.shared.status.lock().replicas_down.clear();
        self.shared.events.about("+reset-master", Instance::Master, &self.shared.master_name());
    }

    fn simulate(&self, failure: Option<Simulated>) {
        *self.shared.simulated.lock() = failure;
    }

    fn shut_down(&self) {
        self.stop.send_replace(true);
    }
}

/// Under which name `SENTINEL SET <name> down-after-milliseconds` is kept.
pub(crate) const DOWN_AFTER: &str = "down-after-ms";

impl Live {
    fn check_down_after(&self, new: u64) -> Result<(), String> {
        let least = millis(limits::lease_bound(self.shared.lease)) + 1;
        if new < least {
            let lease = self.shared.lease;
            return Err(format!("down-after-milliseconds must be at least {least} for the lease of {lease:?}"));
        }
        if new > millis(limits::MOST_DOWN_AFTER) {
            return Err(format!("down-after-milliseconds is {} at the most", millis(limits::MOST_DOWN_AFTER)));
        }
        Ok(())
    }
}
