//! A virtual host, what users may do in it, and its policies.

/// What a user may do in a virtual host: regular expressions over the names of resources, as in RabbitMQ.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Permissions {
    pub configure: String,
    pub write: String,
    pub read: String,
}

/// What a user may do with the routing keys of a topic exchange.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TopicPermissions {
    pub write: String,
    pub read: String,
}

/// A virtual host. What is in it is the broker's.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Vhost {
    pub description: String,
    pub tags: Vec<String>,
    /// Type of queues that name none; empty: classic.
    pub default_queue_type: String,
    pub is_tracing: bool,
}

/// Whose policies: those of users, or the ones of operators that win over them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PolicyKind {
    User,
    Operator,
}

/// Arguments for all queues or exchanges of a virtual host whose name matches.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Policy {
    /// A regular expression.
    pub pattern: String,
    /// `queues`, `classic_queues`, `quorum_queues`, `streams`, `exchanges` or `all`.
    pub apply_to: String,
    pub priority: i64,
    /// An encoded AMQP field table.
    pub definition: Vec<u8>,
}
