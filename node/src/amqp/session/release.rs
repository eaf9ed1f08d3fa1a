//! The end of a session, however it came: what belongs to it goes back to the queues.
//!
//! A connection may end when this node may not write: then it waits for the verdict, and a node that is master no longer
//! forgets instead what only it knew.

use std::sync::Arc;

use super::super::context::Context;
use super::super::output::Output;
use super::{Session, clock};
use crate::role::{Role, Verdict};

impl Drop for Session {
    fn drop(&mut self) {
        if self.release_now() {
            return;
        }
        // The socket is gone and cannot wait; the queues can.
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let node = Arc::clone(&self.node);
        let mut rest = Self::new(Arc::clone(&node), Arc::clone(&self.client), None);
        std::mem::swap(&mut rest.channels, &mut self.channels);
        std::mem::swap(&mut rest.about, &mut self.about);
        std::mem::swap(&mut rest.events, &mut self.events);
        std::mem::swap(&mut rest.link, &mut self.link);
        runtime.spawn(async move {
            let mut changes = node.authority.subscribe();
            while !rest.release_now() {
                if changes.changed().await.is_err() {
                    return;
                }
            }
        });
    }
}

impl Session {
    /// False: nobody knows yet whether this node is still master.
    fn release_now(&mut self) -> bool {
        if self.channels.is_empty() && self.about.exclusive.is_empty() {
            return true;
        }
        let node = Arc::clone(&self.node);
        let permit = node.authority.enter(clock::boot_now());
        match permit.verdict {
            Verdict::Master | Verdict::TooFewReplicas | Verdict::DiskFailed => {}
            Verdict::Wait if permit.standing().role == Role::Master => return false,
            Verdict::Wait | Verdict::Replica | Verdict::Loading => {
                node.engine.broker.forget_transient();
                self.channels.clear();
                self.about.exclusive.clear();
                return true;
            }
        }
        let mut record = std::mem::take(&mut self.record);
        let batch = node.engine.broker.begin(&node.engine.journal, &mut record, clock::unix_now());
        let mut about = std::mem::take(&mut self.about);
        let mut events = std::mem::take(&mut self.events);
        let link = Arc::clone(&self.link);
        let mut context = Context {
            broker: &node.engine.broker,
            batch,
            out: &mut Output::default(),
            link: &link,
            about: &mut about,
            dirty: &mut Vec::new(),
            later: &mut events,
            accounts: &node.engine.accounts,
        };
        self.may_write = true;
        self.release(&mut context);
        let Context { batch, .. } = context;
        batch.finish();
        drop(permit);
        node.publish();
        true
    }
}
