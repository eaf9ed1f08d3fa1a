//! A message on its way in: what has come of it, and where it goes.

use tercet_proto::amqp::{Properties, ShortString};

use crate::amqp::context::Context;
use crate::amqp::error::Error;
use crate::broker::{Draft, Route};

/// What has come of a message so far.
#[derive(Debug, Default)]
pub(super) enum Incoming {
    #[default]
    Idle,
    Header(Addressed),
    Body(Addressed, Partial),
}

/// The method of a message.
#[derive(Debug)]
pub(super) struct Addressed {
    pub(super) exchange: ShortString,
    pub(super) key: ShortString,
    pub(super) mandatory: bool,
}

#[derive(Debug)]
pub(super) struct Partial {
    pub(super) properties: Properties,
    pub(super) draft: Draft,
    pub(super) announced: u64,
    /// Further routing keys, of the headers CC and BCC.
    pub(super) copies: Vec<ShortString>,
    /// Bytes of it that the connection's account has.
    pub(super) counted: usize,
}

/// A message that is whole.
#[derive(Debug)]
pub(super) struct Whole {
    pub(super) addressed: Addressed,
    pub(super) properties: Properties,
    pub(super) draft: Draft,
    pub(super) copies: Vec<ShortString>,
}

impl Whole {
    /// The queues of its routing key and of its copies.
    pub(super) fn route(&self, context: &Context<'_>) -> Result<Route, Error> {
        let Addressed { exchange, key, .. } = &self.addressed;
        let keys = std::iter::once(key).chain(&self.copies);
        let routes: Result<Vec<_>, _> =
            keys.map(|key| context.broker.route(&context.about.vhost, exchange, key, &self.properties)).collect();
        Ok(Route::join(routes?).expect("there is one key at least"))
    }

    pub(super) fn body_len(&self) -> usize {
        self.draft.body_len()
    }

    /// Bytes of memory that it takes.
    pub(super) fn held(&self) -> usize {
        self.draft.held()
    }
}

/// A route, and what it is the route of.
#[derive(Debug)]
pub(super) struct LastRoute {
    pub(super) exchange: ShortString,
    pub(super) key: ShortString,
    pub(super) route: Route,
}

impl Incoming {
    pub(super) fn is_idle(&self) -> bool {
        matches!(self, Self::Idle)
    }

    /// What is wrong with a method at this point.
    pub(super) fn expected(&self) -> Error {
        match self {
            Self::Idle => Error::NoMethod,
            Self::Header(_) => Error::NoHeader,
            Self::Body(..) => Error::NoBody,
        }
    }
}
