//! The lease: `cluster::grants` decides, here are the streams (`cluster::lease`).

use tercet_node::clock::BootNanos;
use tercet_node::cluster::grants::Grants;
use tercet_node::ids::Epoch;
use tercet_node::limits;

use super::super::clock::Nanos;
use super::super::context::Context;
use super::super::message::{Host, Message, StreamKind};
use super::super::mutation::Mutation;
use super::super::network::StreamId;
use super::super::{LEASE_MS, sentinel_name};
use super::Process;

/// See `cluster::lease`.
const GAP_MS: u64 = 2 * limits::RENEW_EVERY.as_millis() as u64;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    Idle,
    Renew(u64),
    Resign(u64),
}

#[derive(Debug)]
pub(super) struct Lease {
    grants: Grants,
    order: Order,
    to: Vec<ToSentinel>,
}

/// The stream to one sentinel.
#[derive(Debug, Clone)]
struct ToSentinel {
    stream: Option<StreamId>,
    retry_at: Nanos,
    /// Since when its silence counts for the stream.
    silent_since: Nanos,
    /// When it was heard last, as the next Renew says.
    heard: Nanos,
    renew_at: Nanos,
    done: Order,
}

impl Lease {
    pub(super) fn new(sentinels: usize) -> Self {
        let to = ToSentinel { stream: None, retry_at: 0, silent_since: 0, heard: 0, renew_at: 0, done: Order::Idle };
        Self { grants: Grants::new((0..sentinels).map(sentinel_name)), order: Order::Idle, to: vec![to; sentinels] }
    }

    pub(super) fn closed(&mut self, stream: StreamId, now: Nanos) {
        for to in self.to.iter_mut().filter(|to| to.stream == Some(stream)) {
            (to.stream, to.retry_at) = (None, now + limits::LEASE_RECONNECT_PAUSE.as_nanos() as u64);
        }
    }

    fn give(&mut self, order: Order, now: Nanos) {
        self.order = order;
        self.to.iter_mut().for_each(|to| to.silent_since = now);
    }
}

impl Process {
    pub(super) fn begin_lease(&mut self, context: &mut Context, epoch: u64) {
        let now = self.now(context);
        self.forget_lease(Some(epoch), now);
        self.lease.give(Order::Renew(epoch), now);
        self.renew(context, now);
    }

    pub(super) fn end_lease(&mut self, context: &Context) {
        let now = self.now(context);
        self.forget_lease(None, now);
        if matches!(self.lease.order, Order::Renew(_)) {
            self.lease.give(Order::Idle, now);
        }
    }

    pub(super) fn resign(&mut self, context: &mut Context, epoch: u64) {
        let now = self.now(context);
        self.forget_lease(None, now);
        self.lease.give(Order::Resign(epoch), now);
        self.renew(context, now);
    }

    fn forget_lease(&mut self, epoch: Option<u64>, now: Nanos) {
        self.lease.grants.begin(epoch.map(Epoch));
        self.lease.to.iter_mut().for_each(|to| to.heard = now);
        self.authority.set_lease(BootNanos(now), BootNanos(0));
    }

    /// Keeps the streams, and sends what is due.
    pub(super) fn renew(&mut self, context: &mut Context, now: Nanos) {
        let order = self.lease.order;
        let is_renewing = matches!(order, Order::Renew(_));
        for index in 0..self.lease.to.len() {
            let to = &mut self.lease.to[index];
            let is_silent = now > to.silent_since + limits::GRANT_SILENCE.as_nanos() as u64;
            if let Some(stream) = to.stream.filter(|_| is_renewing && is_silent) {
                context.close(stream, self.host);
                (to.stream, to.retry_at) = (None, now + limits::LEASE_RECONNECT_PAUSE.as_nanos() as u64);
            }
            if to.stream.is_none() && now >= to.retry_at {
                let stream = context.open(StreamKind::Lease, self.host, context.sentinel(index));
                *to =
                    ToSentinel { stream: Some(stream), silent_since: now, heard: now, done: Order::Idle, ..to.clone() };
            }
            let is_due = to.done != order || is_renewing && now >= to.renew_at;
            let (Some(stream), true) = (to.stream, is_due) else { continue };
            (to.done, to.renew_at) = (order, now + limits::RENEW_EVERY.as_nanos() as u64);
            let (epoch, resign) = match order {
                Order::Idle => continue,
                Order::Renew(epoch) => (epoch, false),
                Order::Resign(epoch) => (epoch, true),
            };
            let (sequence, deaf_ns) = (now, now.saturating_sub(to.heard));
            let incarnation = self.identity.incarnation.clone();
            context.stream(stream, self.host, Message::Renew { epoch, sequence, deaf_ns, resign, incarnation });
        }
    }

    pub(super) fn granted(&mut self, context: &mut Context, from: Host, epoch: u64, sequence: u64, granted: bool) {
        let now = self.now(context);
        let index = from - context.swarm.nodes;
        let to = &mut self.lease.to[index];
        let heard_before = std::mem::replace(&mut to.heard, now);
        to.silent_since = now;
        if (now - heard_before.min(now)) / 1_000_000 >= GAP_MS {
            to.renew_at = now;
        }
        if granted && self.lease.grants.count(Epoch(epoch), sequence, BootNanos(now)) {
            let sequence = if context.is(Mutation::LeaseFromReceipt) { now } else { sequence };
            let mut until = self.lease.grants.take(&sentinel_name(index), sequence, LEASE_MS);
            if context.is(Mutation::LeaseFromMinority) {
                for other in 0..self.lease.to.len() {
                    until = self.lease.grants.take(&sentinel_name(other), sequence, LEASE_MS).or(until);
                }
            }
            if let Some(until) = until {
                self.authority.set_lease(BootNanos(now), until);
            }
        }
        self.renew(context, now);
    }
}
