//! Publishing: where a message goes, and putting it there.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use smallvec::SmallVec;
use tercet_proto::amqp::{Properties, ShortString};

use super::Broker;
use super::batch::Batch;
use super::dead_letter::Reason;
use super::effect::BrokerEffect;
use super::exchange::{Destination, Kind};
use super::image::enqueue;
use super::limits;
use super::message::{Draft, Lifetime, Message, Persistence};
use super::own_queue;
use super::queue::{Queue, State};
use super::refusal::{Refusal, Resource};
use super::settings::Overflow;
use super::topology::Topology;
use crate::effect::Effect;
use crate::ids::Offset;
use crate::lock::MutexGuard;

/// The queues that a routing key leads to, as of one version of the topology. A channel keeps its last one.
#[derive(Debug, Clone)]
pub struct Route {
    /// Ascending, each once.
    pub(super) queues: SmallVec<[Arc<Queue>; 2]>,
    version: u64,
    /// Headers had a say, so the next message of this key may go elsewhere.
    by_headers: bool,
    is_internal: bool,
    /// Milliseconds for which an exchange on the way keeps the message.
    delay: Option<u64>,
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
    /// A queue on it whose publishers are to go at the pace of its consumers.
    #[inline]
    #[must_use]
    pub fn long_queue(&self) -> Option<&Arc<Queue>> {
        self.queues.iter().find(|queue| queue.is_long())
    }

    #[must_use]
    pub fn queues(&self) -> &[Arc<Queue>] {
        &self.queues
    }

    /// How many queues get the message. An exchange that remembers it is none.
    #[must_use]
    pub fn reached(&self) -> usize {
        self.queues.iter().filter(|queue| !queue.is_history()).count()
    }

    /// To one queue, or to none.
    pub(super) fn to(queue: Option<Arc<Queue>>) -> Self {
        let queues = queue.into_iter().collect();
        Self { queues, version: 0, by_headers: true, is_internal: false, delay: None }
    }

    /// The queues of several routes together. It is not to be kept.
    #[must_use]
    pub fn join(mut routes: Vec<Self>) -> Option<Self> {
        let mut all = routes.pop()?;
        for route in routes {
            all.delay = all.delay.max(route.delay);
            all.queues.extend(route.queues);
        }
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
        let (mut by_headers, mut is_internal, mut delay) = (false, false, None);
        if exchange.is_empty() {
            queues.extend(topology.queue(vhost, key.as_bytes()).filter(|queue| !queue.is_internal()).cloned());
        } else {
            let resource = || Resource::exchange(vhost, exchange);
            let first = topology.exchange(vhost, exchange.as_bytes()).ok_or_else(|| Refusal::NotFound(resource()))?;
            is_internal = first.declaration.internal;
            Walked { by_headers, delay } = walk(&topology, vhost, exchange, key, properties, &mut queues);
        }
        if queues.len() > 1 {
            queues.sort_unstable_by_key(|queue| queue.number);
            queues.dedup_by_key(|queue| queue.number);
        }
        Ok(Route { queues, version, by_headers, is_internal, delay })
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
    pub fn enqueue(&self, batch: &mut Batch<'_>, route: &Route, mut draft: Draft) -> Result<Placed, Unroutable> {
        draft.delay(route.delay);
        if draft.lifetime() != Lifetime::default() {
            self.is_timed.store(true, Ordering::Relaxed);
        }
        if route.queues.iter().any(|queue| queue.keeps_all()) {
            draft.persist();
        }
        if !route.queues.is_empty() && route.reached() == 0 {
            return Err(self.remember(batch, route, draft));
        }
        self.place(batch, route, draft)
    }

    /// Puts a message that no queue wanted into what exchanges on its way remember.
    #[cold]
    fn remember(&self, batch: &mut Batch<'_>, route: &Route, draft: Draft) -> Unroutable {
        let placed = self.place(batch, route, draft.clone());
        let unroutable = self.unroutable(draft);
        match placed {
            Ok(Placed { offset, .. }) => Unroutable { offset: unroutable.offset.max(offset), ..unroutable },
            Err(_) => unroutable,
        }
    }

    #[inline]
    fn place(&self, batch: &mut Batch<'_>, route: &Route, draft: Draft) -> Result<Placed, Unroutable> {
        if !has_room(batch, &route.queues, &draft) {
            return Ok(Placed { offset: Offset::ZERO, verdict: Verdict::Refused });
        }
        if let [queue] = &route.queues[..] {
            let mut state = queue.lock();
            if state.is_deleted {
                drop(state);
                return Err(self.unroutable(draft));
            }
            if state.has_taken(draft.extras(), batch.now().0) {
                return Ok(Placed { offset: state.last_offset(), verdict: Verdict::Taken });
            }
            if !state.refuses(draft.body_len()) {
                return Ok(enqueue_in_one(batch, queue, &mut state, draft));
            }
        }
        let mut hands: Hands<'_> = route.queues.iter().map(Hand::taking).collect();
        hands.retain(|hand| !hand.state.is_deleted);
        if hands.is_empty() {
            return Err(self.unroutable(draft));
        }
        let mut verdict = Verdict::Taken;
        let mut burying: SmallVec<[&Arc<Queue>; 1]> = SmallVec::new();
        let mut known = Offset::ZERO;
        for hand in &mut hands {
            if hand.state.has_taken(draft.extras(), batch.now().0) {
                // It is confirmed, and not there twice.
                hand.takes = false;
                known = known.max(hand.state.last_offset());
            } else if hand.state.refuses(draft.body_len()) {
                hand.takes = false;
                verdict = Verdict::Refused;
                if hand.state.buries() && hand.state.settings.overflow == Overflow::RejectPublishAndBury {
                    burying.push(hand.queue);
                }
            }
        }
        let (offset, message) = hand_over(batch, &mut hands, draft);
        for queue in burying {
            // No id: it was never in the queue.
            batch.bury(queue, 0, Arc::clone(&message), Reason::MaxLength);
        }
        Ok(Placed { offset: offset.max(known), verdict })
    }

    /// A dead letter goes into its queues and out of its own: in one record.
    pub(super) fn enqueue_dead(
        &self,
        batch: &mut Batch<'_>,
        route: Option<(Route, Draft)>,
        from: &Arc<Queue>,
        id: u64,
    ) {
        let (queues, draft) = match route {
            Some((route, mut draft)) => {
                draft.delay(route.delay);
                if route.queues.iter().any(|queue| queue.keeps_all()) {
                    draft.persist();
                }
                (route.queues, Some(draft))
            }
            None => (SmallVec::new(), None),
        };
        let mut all = queues.clone();
        all.push(Arc::clone(from));
        all.sort_unstable_by_key(|queue| queue.number);
        all.dedup_by_key(|queue| queue.number);
        let has_room = draft.as_ref().is_some_and(|draft| has_room(batch, &queues, draft));
        let mut hands: Hands<'_> = all.iter().map(Hand::taking).collect();
        for hand in &mut hands {
            hand.takes = !hand.state.is_deleted
                && has_room
                && draft.as_ref().is_some_and(|draft| !hand.state.refuses(draft.body_len()))
                && queues.iter().any(|queue| queue.number == hand.queue.number);
            if id > 0 && hand.queue.number == from.number && !hand.state.is_deleted {
                if !hand.state.messages.is_dying(id) {
                    // It was given back meanwhile, or is gone.
                    return;
                }
                hand.gives = Some(id);
            }
        }
        match draft {
            Some(draft) => _ = hand_over(batch, &mut hands, draft),
            None => {
                if let Some(hand) = hands.iter_mut().find(|hand| hand.gives.is_some()) {
                    hand.state.remove(hand.queue, batch, vec![id]);
                }
            }
        }
    }

    /// A record that brought or took a binding may not be committed yet.
    fn unroutable(&self, draft: Draft) -> Unroutable {
        Unroutable { draft, offset: self.topology.read().last_offset }
    }
}

/// A queue that is held for one message.
struct Hand<'q> {
    queue: &'q Arc<Queue>,
    state: MutexGuard<'q, State>,
    /// The message goes in.
    takes: bool,
    /// This one goes out.
    gives: Option<u64>,
}

type Hands<'q> = SmallVec<[Hand<'q>; 4]>;

impl<'q> Hand<'q> {
    fn taking(queue: &'q Arc<Queue>) -> Self {
        Self { queue, state: queue.lock(), takes: true, gives: None }
    }
}

/// Whether the record has room for a message in all of these queues, each of which has its own copy there.
fn has_room(batch: &Batch<'_>, queues: &[Arc<Queue>], draft: &Draft) -> bool {
    if draft.persistence() == Persistence::Transient || batch.has_room(draft.body_len(), queues.len()) {
        return true;
    }
    let kept = queues.iter().filter(|queue| queue.declaration.is_replicated()).count();
    batch.has_room(draft.body_len(), kept)
}

/// Moves a message into queues that are held, and out of one: in one record.
fn hand_over(batch: &mut Batch<'_>, hands: &mut Hands<'_>, draft: Draft) -> (Offset, Arc<Message>) {
    let (now, lifetime) = (batch.now().0, draft.lifetime());
    let is_persistent = draft.persistence() == Persistence::Persistent;
    let is_kept = |hand: &Hand<'_>| is_persistent && hand.queue.declaration.is_replicated();
    let is_noted = |hand: &Hand<'_>| is_kept(hand) && (hand.takes || hand.gives.is_some());
    let mut offset = Offset::ZERO;
    if hands.iter().any(is_noted) {
        offset = batch.append(|record| {
            for hand in hands.iter().filter(|hand| is_kept(hand)) {
                if let Some(id) = hand.gives {
                    let effect = BrokerEffect::Remove { ranges: vec![(id, 1)].into() };
                    Effect::Broker(effect).encode(hand.queue.partition(), record);
                }
                if hand.takes {
                    let deadline = hand.state.deadline(lifetime, now);
                    let effect = enqueue(hand.state.messages.next_id(), deadline, draft.content());
                    Effect::Broker(effect).encode(hand.queue.partition(), record);
                }
            }
        });
    }
    let copies = hands.iter().filter(|hand| hand.takes).count();
    let message = Arc::new(draft.finish(offset, copies));
    batch.made(&message);
    for hand in hands.iter_mut() {
        if is_persistent && hand.queue.declaration.is_replicated() && (hand.takes || hand.gives.is_some()) {
            hand.state.changed_at(offset);
        }
        if let Some(id) = hand.gives {
            hand.state.messages.remove(id);
            batch.touch(hand.queue);
        }
        if hand.takes {
            let deadline = hand.state.deadline(lifetime, now);
            hand.state.place(hand.queue, batch, Arc::clone(&message), deadline);
        }
    }
    (offset, message)
}

/// The common case, without a list of locks.
#[inline]
fn enqueue_in_one(batch: &mut Batch<'_>, queue: &Arc<Queue>, state: &mut State, draft: Draft) -> Placed {
    let deadline = state.deadline(draft.lifetime(), batch.now().0);
    let mut offset = Offset::ZERO;
    if queue.declaration.is_replicated() && draft.persistence() == Persistence::Persistent {
        offset = batch.append(|record| {
            let effect = enqueue(state.messages.next_id(), deadline, draft.content());
            Effect::Broker(effect).encode(queue.partition(), record);
        });
        state.changed_at(offset);
    }
    let message = Arc::new(draft.finish(offset, 1));
    batch.made(&message);
    state.place(queue, batch, message, deadline);
    Placed { offset, verdict: Verdict::Taken }
}

/// What of a way is not its queues.
struct Walked {
    /// Headers had a say.
    by_headers: bool,
    delay: Option<u64>,
}

/// Follows bindings between exchanges and alternate exchanges.
fn walk(
    topology: &Topology,
    vhost: &ShortString,
    exchange: &ShortString,
    key: &ShortString,
    properties: &Properties,
    queues: &mut SmallVec<[Arc<Queue>; 2]>,
) -> Walked {
    let (mut by_headers, mut delay) = (false, None);
    let mut seen: HashSet<&[u8]> = HashSet::new();
    let mut next: SmallVec<[&ShortString; 4]> = SmallVec::from_slice(&[exchange]);
    while let Some(name) = next.pop() {
        let Some(exchange) = topology.exchange(vhost, name.as_bytes()) else { continue };
        by_headers |= exchange.declaration.kind.is_fickle();
        let headers = if by_headers { properties.headers() } else { None };
        let mut found = false;
        if let Some(own) = &exchange.queue {
            if exchange.declaration.kind == Kind::Delayed {
                if let Some(milliseconds) = own_queue::delay(properties) {
                    // It comes by here again.
                    delay = delay.max(Some(milliseconds));
                    queues.push(Arc::clone(own));
                    seen.insert(name.as_bytes());
                    continue;
                }
            } else if own_queue::is_remembered(properties) {
                queues.push(Arc::clone(own));
            }
        }
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
    Walked { by_headers, delay }
}
