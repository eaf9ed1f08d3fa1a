//! Publishing: where a message goes, and putting it there.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use smallvec::SmallVec;
use tercet_proto::amqp::{Properties, ShortString};

use super::Broker;
use super::batch::Batch;
use super::dead_letter::Reason;
use super::exchange::{Destination, Kind};
use super::image::enqueue;
use super::limits;
use super::message::{Draft, Persistence};
use super::queue::Queue;
use super::refusal::{Refusal, Resource};
use super::settings::Overflow;
use super::topology::Topology;
use crate::effect::Effect;
use crate::ids::Offset;

/// The queues that a routing key leads to, as of one version of the topology. A channel keeps its last one.
#[derive(Debug, Clone)]
pub struct Route {
    /// Ascending, each once.
    pub(super) queues: SmallVec<[Arc<Queue>; 2]>,
    version: u64,
    /// Headers had a say, so the next message of this key may go elsewhere.
    by_headers: bool,
    is_internal: bool,
}

/// A message that has found queues.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Placed {
    /// The record that has to be committed before the publisher is told; zero for a message that no journal holds.
    pub offset: Offset,
    pub verdict: Verdict,
}

/// Whether every queue took the message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Taken,
    /// One of them is full, and its publishers are to be told.
    Refused,
}

/// No queue wanted a message.
#[derive(Debug)]
pub struct Unroutable {
    pub draft: Draft,
    /// The record that this depends on: a binding may have gone.
    pub offset: Offset,
}

impl Route {
    /// The queues of several routes together. It is not to be kept.
    #[must_use]
    pub fn join(mut routes: Vec<Self>) -> Option<Self> {
        let mut all = routes.pop()?;
        all.queues.extend(routes.into_iter().flat_map(|route| route.queues));
        all.queues.sort_unstable_by_key(|queue| queue.number);
        all.queues.dedup_by_key(|queue| queue.number);
        all.by_headers = true;
        Some(all)
    }
}

impl Broker {
    /// Finds the queues for a message.
    ///
    /// # Errors
    /// The exchange is not there, or not for clients.
    pub fn route(
        &self,
        vhost: &ShortString,
        exchange: &ShortString,
        key: &ShortString,
        properties: &Properties,
    ) -> Result<Route, Refusal> {
        let route = self.route_dead(vhost, exchange, key, properties)?;
        if route.is_internal { Err(Refusal::InternalExchange(Resource::exchange(vhost, exchange))) } else { Ok(route) }
    }

    /// As `route`, for messages that do not come from a client: they may go to internal exchanges.
    pub(super) fn route_dead(
        &self,
        vhost: &ShortString,
        exchange: &ShortString,
        key: &ShortString,
        properties: &Properties,
    ) -> Result<Route, Refusal> {
        // Before the topology is read: a change meanwhile makes the route old, never wrong.
        let version = self.version.load(Ordering::Acquire);
        let topology = self.topology.read();
        let mut queues: SmallVec<[Arc<Queue>; 2]> = SmallVec::new();
        let (mut by_headers, mut is_internal) = (false, false);
        if exchange.is_empty() {
            queues.extend(topology.queue(vhost, key.as_bytes()).cloned());
        } else {
            let resource = || Resource::exchange(vhost, exchange);
            let first = topology.exchange(vhost, exchange.as_bytes()).ok_or_else(|| Refusal::NotFound(resource()))?;
            is_internal = first.declaration.internal;
            by_headers = walk(&topology, vhost, exchange, key, properties, &mut queues);
        }
        if queues.len() > 1 {
            queues.sort_unstable_by_key(|queue| queue.number);
            queues.dedup_by_key(|queue| queue.number);
        }
        Ok(Route { queues, version, by_headers, is_internal })
    }

    /// Whether a route still holds for its exchange and key.
    #[inline]
    #[must_use]
    pub fn is_current(&self, route: &Route) -> bool {
        !route.by_headers && route.version == self.version.load(Ordering::Acquire)
    }

    /// Puts a message into the queues of its route: in one record, if any of them is durable and the message persistent.
    ///
    /// # Errors
    /// There is no queue on its route; the message comes back.
    pub fn enqueue(&self, batch: &mut Batch<'_>, route: &Route, draft: Draft) -> Result<Placed, Unroutable> {
        if draft.time_to_live().is_some() {
            self.is_timed.store(true, Ordering::Relaxed);
        }
        if let [queue] = &route.queues[..]
            && queue.settings.overflow == Overflow::DropHead
        {
            return enqueue_in_one(batch, queue, draft).map_err(|draft| self.unroutable(draft));
        }
        let mut held: SmallVec<[_; 4]> = route.queues.iter().map(|queue| (queue, queue.lock())).collect();
        held.retain(|(_, state)| !state.is_deleted);
        if held.is_empty() {
            return Err(self.unroutable(draft));
        }
        let before = held.len();
        let mut burying: SmallVec<[&Arc<Queue>; 1]> = SmallVec::new();
        held.retain(|(queue, state)| {
            let refuses = state.refuses(&queue.settings, draft.body_len());
            if refuses && queue.buries() && queue.settings.overflow == Overflow::RejectPublishAndBury {
                burying.push(queue);
            }
            !refuses
        });
        let verdict = if held.len() < before { Verdict::Refused } else { Verdict::Taken };
        let (now, time_to_live) = (batch.now().0, draft.time_to_live());
        let persistent = draft.persistence() == Persistence::Persistent;
        let mut offset = Offset::ZERO;
        if persistent && held.iter().any(|(queue, _)| queue.declaration.is_replicated()) {
            offset = batch.append(|record| {
                for (queue, state) in held.iter().filter(|(queue, _)| queue.declaration.is_replicated()) {
                    let deadline = queue.deadline(time_to_live, now);
                    let effect = enqueue(state.messages.next_id(), deadline, draft.content());
                    Effect::Broker(effect).encode(queue.partition(), record);
                }
            });
        }
        let message = Arc::new(draft.finish(offset));
        for queue in burying {
            // No id: it was never in the queue.
            batch.bury(queue, 0, Arc::clone(&message), Reason::MaxLength);
        }
        for (queue, state) in &mut held {
            if queue.keeps(&message) {
                state.changed_at(offset);
            }
            state.place(queue, batch, Arc::clone(&message), queue.deadline(time_to_live, now));
        }
        Ok(Placed { offset, verdict })
    }

    /// A record that brought or took a binding may not be committed yet.
    fn unroutable(&self, draft: Draft) -> Unroutable {
        Unroutable { draft, offset: self.topology.read().last_offset }
    }
}

/// The common case, without a list of locks. Err: the queue has just been deleted.
fn enqueue_in_one(batch: &mut Batch<'_>, queue: &Arc<Queue>, draft: Draft) -> Result<Placed, Draft> {
    let mut state = queue.lock();
    if state.is_deleted {
        return Err(draft);
    }
    let deadline = queue.deadline(draft.time_to_live(), batch.now().0);
    let mut offset = Offset::ZERO;
    if queue.declaration.is_replicated() && draft.persistence() == Persistence::Persistent {
        offset = batch.append(|record| {
            let effect = enqueue(state.messages.next_id(), deadline, draft.content());
            Effect::Broker(effect).encode(queue.partition(), record);
        });
        state.changed_at(offset);
    }
    state.place(queue, batch, Arc::new(draft.finish(offset)), deadline);
    Ok(Placed { offset, verdict: Verdict::Taken })
}

/// Follows bindings between exchanges and alternate exchanges. Says whether headers had a say.
fn walk(
    topology: &Topology,
    vhost: &ShortString,
    exchange: &ShortString,
    key: &ShortString,
    properties: &Properties,
    queues: &mut SmallVec<[Arc<Queue>; 2]>,
) -> bool {
    let mut by_headers = false;
    let mut seen: HashSet<&[u8]> = HashSet::new();
    let mut next: SmallVec<[&ShortString; 4]> = SmallVec::from_slice(&[exchange]);
    while let Some(name) = next.pop() {
        let Some(exchange) = topology.exchange(vhost, name.as_bytes()) else { continue };
        by_headers |= exchange.declaration.kind == Kind::Headers;
        let headers = if by_headers { properties.headers() } else { None };
        let mut found = false;
        exchange.route(key.as_bytes(), headers, &mut |destination| {
            found = true;
            match destination {
                Destination::Queue(queue) => queues.push(Arc::clone(queue)),
                Destination::Exchange(name) => next.push(name),
            }
        });
        if !found {
            next.extend(exchange.alternate.as_ref());
        }
        if next.is_empty() {
            break;
        }
        // Only who goes on needs to know where he has been.
        seen.insert(name.as_bytes());
        next.retain(|name| !seen.contains(name.as_bytes()));
        if seen.len() >= limits::EXCHANGE_HOPS {
            tracing::warn!(exchange = %name, "message passed too many exchanges, the rest of its way is left out");
            break;
        }
    }
    by_headers
}
