//! Exchanges: where a message goes. Each type is one file, and knows only keys, arguments and destinations.

mod direct;
mod fanout;
mod hashed;
mod headers;
mod topic;

use std::sync::Arc;

use tercet_proto::amqp::{FieldTable, ShortString, TableView};

pub use super::exchange_kind::{Declaration, Kind};
use super::queue::Queue;

/// Where a binding leads. Exchanges are named, for they may be deleted and declared anew.
#[derive(Debug, Clone)]
pub(super) enum Destination {
    Queue(Arc<Queue>),
    Exchange(ShortString),
}

impl PartialEq for Destination {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Queue(one), Self::Queue(other)) => one.number == other.number,
            (Self::Exchange(one), Self::Exchange(other)) => one == other,
            _ => false,
        }
    }
}

/// One binding of an exchange.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Bound {
    pub key: ShortString,
    pub arguments: FieldTable,
    pub to: Destination,
}

/// An exchange with its bindings: a list that is the truth, and the index of its type.
#[derive(Debug)]
pub(super) struct Exchange {
    pub declaration: Declaration,
    pub bindings: Vec<Bound>,
    /// Where messages go that find no other way.
    pub alternate: Option<ShortString>,
    own_alternate: Option<ShortString>,
    /// Its own queue: see `own_queue`.
    pub queue: Option<Arc<Queue>>,
    router: Router,
}

#[derive(Debug)]
enum Router {
    Direct(direct::Direct),
    Fanout(fanout::Fanout),
    Topic(topic::Topic),
    Headers(headers::Headers),
    ConsistentHash(hashed::HashOf, hashed::OneOf),
    ModulusHash(hashed::OneOf),
    Random(hashed::OneOf),
}

impl Exchange {
    #[must_use]
    pub(super) fn new(declaration: Declaration) -> Self {
        let router = match declaration.routing_kind() {
            // A delayed exchange of delayed exchanges is refused.
            Kind::Direct | Kind::Delayed => Router::Direct(direct::Direct::default()),
            Kind::Fanout | Kind::RecentHistory => Router::Fanout(fanout::Fanout::default()),
            Kind::Topic => Router::Topic(topic::Topic::default()),
            Kind::Headers => Router::Headers(headers::Headers::default()),
            Kind::ConsistentHash => {
                Router::ConsistentHash(hashed::HashOf::of(&declaration.arguments), hashed::OneOf::default())
            }
            Kind::ModulusHash => Router::ModulusHash(hashed::OneOf::default()),
            Kind::Random => Router::Random(hashed::OneOf::default()),
        };
        let alternate = declaration.arguments.get("alternate-exchange").and_then(|value| value.as_str());
        let alternate = alternate.and_then(|name| ShortString::try_from(name).ok());
        let own_alternate = alternate.clone();
        Self { declaration, bindings: Vec::new(), alternate, own_alternate, queue: None, router }
    }

    /// A policy gives it an alternate exchange, or none any more. Its own argument wins.
    pub(super) fn set_policy_alternate(&mut self, name: Option<String>) {
        let of_policy = || name.and_then(|name| ShortString::try_from(name.as_str()).ok());
        self.alternate = self.own_alternate.clone().or_else(of_policy);
    }

    pub(super) fn has(&self, bound: &Bound) -> bool {
        self.bindings.contains(bound)
    }

    /// False: it was there already.
    pub(super) fn bind(&mut self, bound: Bound) -> bool {
        if self.bindings.contains(&bound) {
            return false;
        }
        match &mut self.router {
            Router::Direct(direct) => direct.insert(&bound.key, bound.to.clone()),
            Router::Fanout(fanout) => fanout.insert(bound.to.clone()),
            Router::Topic(topic) => topic.insert(&bound.key, bound.to.clone()),
            Router::Headers(headers) => headers.insert(&bound.arguments, bound.to.clone()),
            Router::ConsistentHash(_, one_of) | Router::ModulusHash(one_of) | Router::Random(one_of) => {
                one_of.insert(&bound.key, bound.to.clone());
            }
        }
        self.bindings.push(bound);
        true
    }

    /// False: it was not there.
    pub(super) fn unbind(&mut self, bound: &Bound) -> bool {
        let Some(at) = self.bindings.iter().position(|other| other == bound) else { return false };
        let bound = self.bindings.remove(at);
        self.router.remove(&bound);
        true
    }

    /// Takes all bindings to a destination out. Says whether there was one.
    pub(super) fn unbind_all(&mut self, to: &Destination) -> bool {
        let before = self.bindings.len();
        let router = &mut self.router;
        self.bindings.retain(|bound| {
            let goes = bound.to == *to;
            if goes {
                router.remove(bound);
            }
            !goes
        });
        self.bindings.len() < before
    }

    /// Visits where a message goes. A destination may come several times.
    pub(super) fn route<'a>(
        &'a self,
        key: &[u8],
        headers: Option<TableView<'_>>,
        visit: &mut dyn FnMut(&'a Destination),
    ) {
        match &self.router {
            Router::Direct(direct) => direct.route(key, visit),
            Router::Fanout(fanout) => fanout.route(visit),
            Router::Topic(topic) => topic.route(key, visit),
            Router::Headers(matching) => matching.route(headers, visit),
            Router::ConsistentHash(of, one_of) => one_of.route_consistently(of, key, headers, visit),
            Router::ModulusHash(one_of) => one_of.route_by_modulus(key, visit),
            Router::Random(one_of) => one_of.route_at_random(visit),
        }
    }

    /// What is wrong with the arguments of a binding, if anything.
    pub(super) fn wrong_arguments(&self, key: &ShortString, arguments: &FieldTable) -> Option<String> {
        match self.router {
            Router::Headers(_) => headers::wrong_match(arguments),
            Router::ConsistentHash(..) => hashed::wrong_weight(key),
            Router::Direct(_) | Router::Fanout(_) | Router::Topic(_) | Router::ModulusHash(_) | Router::Random(_) => {
                None
            }
        }
    }
}

impl Router {
    fn remove(&mut self, bound: &Bound) {
        match self {
            Self::Direct(direct) => direct.remove(&bound.key, &bound.to),
            Self::Fanout(fanout) => fanout.remove(&bound.to),
            Self::Topic(topic) => topic.remove(&bound.key, &bound.to),
            Self::Headers(headers) => headers.remove(&bound.arguments, &bound.to),
            Self::ConsistentHash(_, one_of) | Self::ModulusHash(one_of) | Self::Random(one_of) => {
                one_of.remove(&bound.key, &bound.to);
            }
        }
    }
}

/// Bindings that differ in their arguments only lie in the index once each; one of them goes.
fn remove_one(destinations: &mut Vec<Destination>, destination: &Destination) {
    if let Some(at) = destinations.iter().position(|other| other == destination) {
        destinations.swap_remove(at);
    }
}
