//! What declare says of an exchange: its type, and how long it lives.

use tercet_proto::amqp::{FieldTable, FieldValue};

/// The types of exchange. A name that is not here is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Direct,
    Fanout,
    Topic,
    Headers,
    ConsistentHash,
    ModulusHash,
    Random,
    Delayed,
    RecentHistory,
}

/// The argument of an x-delayed-message exchange that says how it routes.
pub(super) const DELAYED_TYPE: &str = "x-delayed-type";

impl Kind {
    pub const ALL: [Self; 9] = [
        Self::Direct,
        Self::Fanout,
        Self::Topic,
        Self::Headers,
        Self::ConsistentHash,
        Self::ModulusHash,
        Self::Random,
        Self::Delayed,
        Self::RecentHistory,
    ];

    /// Whether the next message of the same key may go elsewhere.
    #[must_use]
    pub fn is_fickle(self) -> bool {
        matches!(self, Self::Headers | Self::ConsistentHash | Self::Random | Self::Delayed | Self::RecentHistory)
    }

    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Fanout => "fanout",
            Self::Topic => "topic",
            Self::Headers => "headers",
            Self::ConsistentHash => "x-consistent-hash",
            Self::ModulusHash => "x-modulus-hash",
            Self::Random => "x-random",
            Self::Delayed => "x-delayed-message",
            Self::RecentHistory => "x-recent-history",
        }
    }
}

/// What declare says of an exchange.
#[derive(Debug, Clone, PartialEq)]
pub struct Declaration {
    pub kind: Kind,
    pub durable: bool,
    pub auto_delete: bool,
    pub internal: bool,
    pub arguments: FieldTable,
}

impl Declaration {
    /// The type that decides where messages go, once they go.
    pub(super) fn routing_kind(&self) -> Kind {
        match self.kind {
            Kind::Delayed => {
                let name = self.arguments.get(DELAYED_TYPE).and_then(FieldValue::as_str);
                name.and_then(Kind::from_name).unwrap_or(Kind::Direct)
            }
            kind => kind,
        }
    }

    /// An exchange that is there from the beginning.
    pub(super) fn predeclared(kind: Kind) -> Self {
        Self { kind, durable: true, auto_delete: false, internal: false, arguments: FieldTable::new() }
    }
}
