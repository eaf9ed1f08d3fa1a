//! What the broker refuses, as facts. A frontend turns them into its own words.

use tercet_proto::amqp::ShortString;

/// An operation that was not done; nothing has changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("no {0}")]
    NotFound(Resource),
    #[error(
        "cannot obtain exclusive access to locked {0}. It could be originally declared on another connection or the \
         exclusive property value does not match that of the original declaration."
    )]
    Locked(Resource),
    /// A consumer has the queue for itself, or wants it for itself and is not alone.
    #[error("{0} in exclusive use")]
    ExclusiveUse(Resource),
    /// `if-unused`, but it has consumers or bindings.
    #[error("{0} in use")]
    InUse(Resource),
    /// `if-empty`, but it has messages.
    #[error("{0} not empty")]
    NotEmpty(Resource),
    /// It was declared in another way.
    #[error("inequivalent arg '{argument}' for {resource}: received {received} but current is {current}")]
    Inequivalent { resource: Resource, argument: String, received: String, current: String },
    #[error("invalid arg '{argument}' for {resource}: {reason}")]
    InvalidArgument { resource: Resource, argument: String, reason: String },
    #[error("invalid arg '{argument}' for {resource} of queue type rabbit_{queue_type}_queue")]
    ArgumentOfType { resource: Resource, argument: String, queue_type: String },
    #[error("Cannot declare a server-named queue for type rabbit_{queue_type}_queue")]
    ServerNamed { queue_type: String },
    #[error("invalid property '{property}' for {resource}")]
    InvalidProperty { resource: Resource, property: &'static str },
    #[error("invalid type '{given}' for arg '{argument}' in {resource}")]
    ArgumentType { resource: Resource, argument: String, given: &'static str },
    #[error("{} name '{}' contains reserved prefix 'amq.*'", .0.kind.name(), .0.name)]
    ReservedName(Resource),
    #[error("operation not permitted on the default exchange")]
    DefaultExchange,
    #[error("deletion of system {0} not allowed")]
    SystemExchange(Resource),
    #[error("cannot publish to internal {0}")]
    InternalExchange(Resource),
    #[error("cannot declare {}: queue limit in vhost '{}' ({limit}) is reached", NameOf(.queue), .queue.vhost)]
    QueueLimit { queue: Resource, limit: usize },
    #[error("{0}")]
    WrongBinding(String),
    #[error("{0}")]
    WrongExchange(String),
}

/// What an operation was about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resource {
    pub kind: ResourceKind,
    pub vhost: Box<str>,
    pub name: Box<str>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResourceKind {
    Queue,
    Exchange,
}

impl ResourceKind {
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Queue => "queue",
            Self::Exchange => "exchange",
        }
    }
}

impl Resource {
    #[must_use]
    pub fn queue(vhost: &ShortString, name: &ShortString) -> Self {
        Self { kind: ResourceKind::Queue, vhost: vhost.as_str().into(), name: name.as_str().into() }
    }

    #[must_use]
    pub fn exchange(vhost: &ShortString, name: &ShortString) -> Self {
        Self { kind: ResourceKind::Exchange, vhost: vhost.as_str().into(), name: name.as_str().into() }
    }
}

/// Kind and name of a resource, without its virtual host.
struct NameOf<'a>(&'a Resource);

impl std::fmt::Display for NameOf<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} '{}'", self.0.kind.name(), self.0.name)
    }
}

impl std::fmt::Display for Resource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} '{}' in vhost '{}'", self.kind.name(), self.name, self.vhost)
    }
}
