//! The topology: virtual hosts, exchanges, queues by name and number, bindings. One partition.
//!
//! Every change, from a client or from a journal record, goes through the methods here.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use tercet_proto::amqp::{FieldTable, ShortString};

use super::Error;
use super::change::Change;
use super::effect::{Binding, BrokerEffect, Target, exchange_flags, queue_flags};
use super::exchange::{self, Bound, Destination, Exchange, Kind};
use super::limits;
use super::queue::{self, Queue, State};
use super::shelf::Shelf;
use crate::budget::Budget;
use crate::ids::Offset;

/// The virtual host that there is from the beginning.
pub static DEFAULT_VHOST: ShortString = ShortString::from_static("/");

/// Exchanges that are there from the beginning, and cannot be deleted.
const PREDECLARED: &[(&str, Kind)] = &[
    ("", Kind::Direct),
    ("amq.direct", Kind::Direct),
    ("amq.fanout", Kind::Fanout),
    ("amq.topic", Kind::Topic),
    ("amq.headers", Kind::Headers),
    ("amq.match", Kind::Headers),
];

/// What the topology's lock guards.
#[derive(Debug)]
pub(super) struct Topology {
    pub(super) vhosts: HashMap<ShortString, Vhost>,
    /// Queues that are in the journal.
    pub(super) numbered: BTreeMap<u32, Arc<Queue>>,
    /// Images of queues whose declaration is still to come, in a full sync.
    pub(super) orphans: BTreeMap<u32, State>,
    /// Greatest number of a queue that is in the journal; numbers are not given twice.
    last_number: u32,
    last_transient: u32,
    pub(super) last_offset: Offset,
    budget: Arc<Budget>,
    shelf: Arc<Shelf>,
    /// Time alone may change a queue.
    pub(super) is_timed: bool,
}

#[derive(Debug)]
pub(super) struct Vhost {
    pub(super) exchanges: HashMap<ShortString, Exchange>,
    pub(super) queues: HashMap<ShortString, Arc<Queue>>,
}

impl Default for Vhost {
    /// With the exchanges that are there from the beginning.
    fn default() -> Self {
        let exchange = |(name, kind): &(&'static str, Kind)| {
            (ShortString::from_static(name), Exchange::new(exchange::Declaration::predeclared(*kind)))
        };
        Self { exchanges: PREDECLARED.iter().map(exchange).collect(), queues: HashMap::new() }
    }
}

impl Topology {
    pub(super) fn new(budget: Arc<Budget>, shelf: Arc<Shelf>) -> Self {
        Self {
            vhosts: HashMap::from([(DEFAULT_VHOST.clone(), Vhost::default())]),
            budget,
            shelf,
            is_timed: false,
            numbered: BTreeMap::new(),
            orphans: BTreeMap::new(),
            last_number: 0,
            last_transient: limits::FIRST_TRANSIENT_QUEUE,
            last_offset: Offset::ZERO,
        }
    }
}

/// Whether an exchange is there from the beginning.
pub(super) fn is_predeclared(name: &ShortString) -> bool {
    PREDECLARED.iter().any(|(predeclared, _)| name == predeclared)
}

impl Topology {
    pub(super) fn exchange(&self, vhost: &ShortString, name: &[u8]) -> Option<&Exchange> {
        self.vhosts.get(vhost)?.exchanges.get(name)
    }

    pub(super) fn queue(&self, vhost: &ShortString, name: &[u8]) -> Option<&Arc<Queue>> {
        self.vhosts.get(vhost)?.queues.get(name)
    }

    /// How many queues clients have declared in a virtual host.
    pub(super) fn declared(&self, vhost: &ShortString) -> usize {
        self.vhosts.get(vhost).map_or(0, |vhost| vhost.queues.values().filter(|queue| !queue.is_internal()).count())
    }

    /// All queues, by number.
    pub(super) fn queues(&self) -> Vec<Arc<Queue>> {
        let mut all: Vec<_> = self.vhosts.values().flat_map(|vhost| vhost.queues.values().cloned()).collect();
        all.sort_by_key(|queue| queue.number);
        all
    }

    /// The number of the next queue: from one row for those in the journal, from another for the rest.
    pub(super) fn next_number(&self, declaration: &queue::Declaration) -> u32 {
        if declaration.is_replicated() { self.last_number + 1 } else { self.last_transient + 1 }
    }

    fn add_exchange(&mut self, vhost: &ShortString, name: &ShortString, declaration: exchange::Declaration) {
        let vhost = self.vhosts.entry(vhost.clone()).or_default();
        vhost.exchanges.insert(name.clone(), Exchange::new(declaration));
    }

    /// Removes an exchange with its bindings on both sides. With it: exchanges that have lost one.
    fn remove_exchange(&mut self, vhost: &ShortString, name: &ShortString) -> Vec<ShortString> {
        let Some(vhost) = self.vhosts.get_mut(vhost) else { return Vec::new() };
        vhost.exchanges.remove(name.as_bytes());
        vhost.unbind_all(&Destination::Exchange(name.clone()))
    }

    fn add_queue(&mut self, queue: Arc<Queue>) {
        let mut state = queue.lock();
        state.join(&self.budget, &self.shelf, queue.number);
        self.is_timed |= state.settings.is_timed();
        drop(state);
        if queue.declaration.is_replicated() {
            self.last_number = self.last_number.max(queue.number);
            self.numbered.insert(queue.number, Arc::clone(&queue));
        } else {
            self.last_transient = self.last_transient.max(queue.number);
        }
        let vhost = self.vhosts.entry(queue.vhost.clone()).or_default();
        if let Some(owner) = &queue.owner
            && let Some(exchange) = vhost.exchanges.get_mut(owner.exchange.as_bytes())
        {
            exchange.queue = Some(Arc::clone(&queue));
        }
        vhost.queues.insert(queue.name.clone(), queue);
    }

    /// As `remove_exchange`.
    fn remove_queue(&mut self, queue: &Arc<Queue>) -> Vec<ShortString> {
        self.numbered.remove(&queue.number);
        let Some(vhost) = self.vhosts.get_mut(&queue.vhost) else { return Vec::new() };
        vhost.queues.remove(queue.name.as_bytes());
        if let Some(owner) = &queue.owner
            && let Some(exchange) = vhost.exchanges.get_mut(owner.exchange.as_bytes())
        {
            exchange.queue = None;
        }
        vhost.unbind_all(&Destination::Queue(Arc::clone(queue)))
    }

    /// Nothing changes if the binding was there already, or its source is not.
    fn bind(&mut self, vhost: &ShortString, source: &ShortString, bound: Bound) {
        if let Some(source) = self.exchange_mut(vhost, source) {
            source.bind(bound);
        }
    }

    fn unbind(&mut self, vhost: &ShortString, source: &ShortString, bound: &Bound) {
        if let Some(source) = self.exchange_mut(vhost, source) {
            source.unbind(bound);
        }
    }

    fn exchange_mut(&mut self, vhost: &ShortString, name: &ShortString) -> Option<&mut Exchange> {
        // The exchanges that are there from the beginning are there in every virtual host.
        self.vhosts.entry(vhost.clone()).or_default().exchanges.get_mut(name.as_bytes())
    }

    /// Whether an exchange deletes itself, now that it has no bindings.
    pub(super) fn is_abandoned(&self, vhost: &ShortString, name: &ShortString) -> bool {
        self.exchange(vhost, name.as_bytes())
            .is_some_and(|exchange| exchange.declaration.auto_delete && exchange.bindings.is_empty())
    }

    pub(super) fn is_replicated(&self, vhost: &ShortString, destination: &Destination) -> bool {
        match destination {
            Destination::Queue(queue) => queue.declaration.is_replicated(),
            Destination::Exchange(name) => {
                self.exchange(vhost, name.as_bytes()).is_some_and(|exchange| exchange.declaration.durable)
            }
        }
    }

    /// Applies a change: of a client, a record or an image. With it: the exchanges that have lost a binding.
    pub(super) fn change(&mut self, change: Change) -> Vec<ShortString> {
        match change {
            Change::DeclareExchange { vhost, name, declaration } => self.add_exchange(&vhost, &name, declaration),
            Change::DeleteExchange { vhost, name } => return self.remove_exchange(&vhost, &name),
            Change::DeclareQueue { queue } => self.add_queue(queue),
            Change::DeleteQueue { queue } => {
                queue.lock().end();
                return self.remove_queue(&queue);
            }
            Change::Bind { vhost, source, bound } => self.bind(&vhost, &source, bound),
            Change::Unbind { vhost, source, bound } => {
                self.unbind(&vhost, &source, &bound);
                return vec![source];
            }
        }
        Vec::new()
    }

    /// Whether a change is in the journal.
    pub(super) fn is_noted(&self, change: &Change) -> bool {
        match change {
            Change::DeclareExchange { declaration, .. } => declaration.durable,
            Change::DeleteExchange { vhost, name } => {
                self.exchange(vhost, name.as_bytes()).is_some_and(|exchange| exchange.declaration.durable)
            }
            Change::DeclareQueue { queue } | Change::DeleteQueue { queue } => queue.declaration.is_replicated(),
            Change::Bind { vhost, source, bound } | Change::Unbind { vhost, source, bound } => {
                let source = self.exchange(vhost, source.as_bytes());
                source.is_some_and(|source| source.declaration.durable) && self.is_replicated(vhost, &bound.to)
            }
        }
    }

    /// Applies a change out of a journal record or an image.
    pub(super) fn apply(&mut self, effect: &BrokerEffect<'_>) -> Result<(), Error> {
        let change = match effect {
            BrokerEffect::DeclareExchange { vhost, name, kind, flags, arguments } => {
                let declaration = exchange::Declaration {
                    kind: Kind::from_name(kind).ok_or_else(|| Error::ExchangeKind((*kind).to_owned()))?,
                    durable: true,
                    auto_delete: flags & exchange_flags::AUTO_DELETE != 0,
                    internal: flags & exchange_flags::INTERNAL != 0,
                    arguments: table(arguments)?,
                };
                Change::DeclareExchange { vhost: text(vhost)?, name: text(name)?, declaration }
            }
            BrokerEffect::DeleteExchange { vhost, name } => {
                Change::DeleteExchange { vhost: text(vhost)?, name: text(name)? }
            }
            BrokerEffect::DeclareQueue { number, vhost, name, flags, arguments } => {
                let declaration = queue::Declaration {
                    durable: true,
                    auto_delete: flags & queue_flags::AUTO_DELETE != 0,
                    owner: None,
                    arguments: table(arguments)?,
                };
                let queue = Queue::new(*number, text(vhost)?, text(name)?, declaration);
                if let Some(state) = self.orphans.remove(number) {
                    queue.load(state, &self.budget, &self.shelf);
                }
                Change::DeclareQueue { queue: Arc::new(queue) }
            }
            BrokerEffect::DeleteQueue { number } => match self.numbered.get(number).cloned() {
                Some(queue) => Change::DeleteQueue { queue },
                None if *number > self.last_number => return Err(Error::NoQueue(*number)),
                None => return Ok(()),
            },
            BrokerEffect::Bind(binding) => {
                let (vhost, source, bound) = self.bound(binding)?;
                Change::Bind { vhost, source, bound }
            }
            BrokerEffect::Unbind(binding) => {
                let (vhost, source, bound) = self.bound(binding)?;
                Change::Unbind { vhost, source, bound }
            }
            BrokerEffect::Enqueue { .. }
            | BrokerEffect::EnqueueUntil { .. }
            | BrokerEffect::EnqueueNoted { .. }
            | BrokerEffect::Returned { .. }
            | BrokerEffect::Seen { .. }
            | BrokerEffect::Run { .. }
            | BrokerEffect::Remove { .. } => return Err(Error::Misplaced),
        };
        self.change(change);
        Ok(())
    }

    pub(super) fn changed_at(&mut self, offset: Offset) {
        self.last_offset = self.last_offset.max(offset);
    }

    fn bound(&self, binding: &Binding<'_>) -> Result<(ShortString, ShortString, Bound), Error> {
        let to = match binding.target {
            Target::Queue(number) => {
                Destination::Queue(self.numbered.get(&number).cloned().ok_or(Error::NoQueue(number))?)
            }
            Target::Exchange(name) => Destination::Exchange(text(name)?),
        };
        let bound = Bound { key: text(binding.key)?, arguments: table(binding.arguments)?, to };
        Ok((text(binding.vhost)?, text(binding.source)?, bound))
    }

    pub(super) fn last_number(&self) -> u32 {
        self.last_number
    }

    pub(super) fn skip_numbers_to(&mut self, last_number: u32) {
        self.last_number = self.last_number.max(last_number);
    }

    /// The effects that make the durable part of this topology out of nothing, in an order of their own.
    pub(super) fn each_effect(&self, visit: &mut dyn FnMut(&BrokerEffect<'_>)) {
        let durable: BTreeMap<(&ShortString, &ShortString), &Exchange> = self
            .vhosts
            .iter()
            .flat_map(|(vhost, content)| {
                content.exchanges.iter().map(move |(name, exchange)| ((vhost, name), exchange))
            })
            .filter(|(_, exchange)| exchange.declaration.durable)
            .collect();
        for ((vhost, name), exchange) in durable.iter().filter(|((_, name), _)| !is_predeclared(name)) {
            with_exchange_effect(vhost, name, &exchange.declaration, visit);
        }
        for queue in self.numbered.values() {
            with_queue_effect(queue, visit);
        }
        for ((vhost, name), exchange) in &durable {
            for bound in exchange.bindings.iter().filter(|bound| self.is_replicated(vhost, &bound.to)) {
                with_binding(vhost, name, bound, |binding| visit(&BrokerEffect::Bind(binding)));
            }
        }
    }

    /// Drops what is in no journal. With it: the queues that went.
    pub(super) fn forget_transient(&mut self) -> Vec<Arc<Queue>> {
        let mut gone = Vec::new();
        let names: Vec<_> = self.vhosts.keys().cloned().collect();
        for name in names {
            let Some(vhost) = self.vhosts.get(&name) else { continue };
            let transient = |exchange: &&Exchange| !exchange.declaration.durable;
            let exchanges: Vec<_> =
                vhost.exchanges.iter().filter(|(_, e)| transient(e)).map(|(name, _)| name.clone()).collect();
            let queues: Vec<_> =
                vhost.queues.values().filter(|queue| !queue.declaration.is_replicated()).cloned().collect();
            for exchange in exchanges {
                self.remove_exchange(&name, &exchange);
            }
            for queue in queues {
                self.remove_queue(&queue);
                gone.push(queue);
            }
        }
        gone
    }
}

impl Vhost {
    fn unbind_all(&mut self, to: &Destination) -> Vec<ShortString> {
        let sources = self.exchanges.iter_mut();
        sources.filter_map(|(name, exchange)| exchange.unbind_all(to).then(|| name.clone())).collect()
    }
}

/// Lends the effect that declares an exchange.
pub(super) fn with_exchange_effect(
    vhost: &ShortString,
    name: &ShortString,
    declaration: &exchange::Declaration,
    visit: &mut dyn FnMut(&BrokerEffect<'_>),
) {
    let mut flags = 0;
    if declaration.auto_delete {
        flags |= exchange_flags::AUTO_DELETE;
    }
    if declaration.internal {
        flags |= exchange_flags::INTERNAL;
    }
    let arguments = encoded(&declaration.arguments);
    let kind = declaration.kind.name();
    visit(&BrokerEffect::DeclareExchange { vhost, name, kind, flags, arguments: &arguments });
}

/// Lends the effect that declares a queue.
pub(super) fn with_queue_effect(queue: &Queue, visit: &mut dyn FnMut(&BrokerEffect<'_>)) {
    let flags = if queue.declaration.auto_delete { queue_flags::AUTO_DELETE } else { 0 };
    let arguments = encoded(&queue.declaration.arguments);
    let Queue { number, vhost, name, .. } = queue;
    visit(&BrokerEffect::DeclareQueue { number: *number, vhost, name, flags, arguments: &arguments });
}

/// Lends a binding in the form of an effect.
pub(super) fn with_binding(vhost: &ShortString, source: &ShortString, bound: &Bound, visit: impl FnOnce(Binding<'_>)) {
    let arguments = encoded(&bound.arguments);
    let target = match &bound.to {
        Destination::Queue(queue) => Target::Queue(queue.number),
        Destination::Exchange(name) => Target::Exchange(name),
    };
    visit(Binding { vhost, source, target, key: &bound.key, arguments: &arguments });
}

fn encoded(table: &FieldTable) -> Vec<u8> {
    let mut out = Vec::new();
    table.encode(&mut out);
    out
}

fn table(bytes: &[u8]) -> Result<FieldTable, Error> {
    FieldTable::decode(bytes).map_err(|_| Error::Arguments)
}

fn text(text: &str) -> Result<ShortString, Error> {
    ShortString::try_from(text).map_err(|_| Error::Name)
}
