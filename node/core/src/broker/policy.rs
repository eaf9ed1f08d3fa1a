//! Policies: arguments that queues and exchanges get by their name, while they live.
//!
//! ```text
//! arguments of the declaration + policy of the greatest priority + operator policy of the greatest priority
//! numbers: the least; everything else: whoever says it first in this order
//! ```
//!
//! They are kept with the accounts; here is what follows from them.

use std::cmp::Reverse;
use std::sync::Arc;

use tercet_proto::amqp::{FieldTable, FieldValue, ShortBytes};

use super::Broker;
use super::queue::Queue;
use super::settings::Settings;

/// A policy, ready to be applied.
pub struct Policy {
    pub vhost: Box<str>,
    pub name: Arc<str>,
    pub of: PolicyOf,
    pub priority: i64,
    pub applies_to: AppliesTo,
    /// Whether it is for the queue or exchange of this name.
    pub matches: Box<dyn Fn(&str) -> bool + Send + Sync>,
    /// Arguments without their `x-`.
    pub definition: FieldTable,
}

impl std::fmt::Debug for Policy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Policy").field("vhost", &self.vhost).field("name", &self.name).finish_non_exhaustive()
    }
}

/// Whose it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PolicyOf {
    User,
    Operator,
}

/// What a policy is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AppliesTo {
    All,
    Exchanges,
    Queues,
    ClassicQueues,
    QuorumQueues,
    Streams,
}

impl AppliesTo {
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "all" => Some(Self::All),
            "exchanges" => Some(Self::Exchanges),
            "queues" => Some(Self::Queues),
            "classic_queues" => Some(Self::ClassicQueues),
            "quorum_queues" => Some(Self::QuorumQueues),
            "streams" => Some(Self::Streams),
            _ => None,
        }
    }

    fn is_for(self, what: What) -> bool {
        match self {
            Self::All => true,
            Self::Exchanges => what == What::Exchange,
            Self::Queues => what != What::Exchange,
            Self::ClassicQueues => what == What::Classic,
            Self::QuorumQueues => what == What::Quorum,
            Self::Streams => what == What::Stream,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum What {
    Exchange,
    Classic,
    Quorum,
    Stream,
}

/// The policies that a queue has.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Applied {
    pub policy: Option<Arc<str>>,
    pub operator_policy: Option<Arc<str>>,
}

/// All policies of a node.
#[derive(Debug, Default)]
pub(super) struct Policies {
    all: Vec<Policy>,
}

impl Policies {
    fn best(&self, of: PolicyOf, vhost: &str, name: &str, what: What) -> Option<&Policy> {
        let fits = |policy: &&Policy| {
            policy.of == of && *policy.vhost == *vhost && policy.applies_to.is_for(what) && (policy.matches)(name)
        };
        self.all.iter().filter(fits).min_by_key(|policy| (Reverse(policy.priority), Arc::clone(&policy.name)))
    }

    /// The settings of a queue: what its arguments and its policies ask for.
    pub(super) fn settings(&self, queue: &Queue) -> (Settings, Applied) {
        let arguments = &queue.declaration.arguments;
        let what = match arguments.get("x-queue-type").and_then(FieldValue::as_str) {
            Some("quorum") => What::Quorum,
            Some("stream") => What::Stream,
            _ => What::Classic,
        };
        let [policy, operator] =
            [PolicyOf::User, PolicyOf::Operator].map(|of| self.best(of, &queue.vhost, &queue.name, what));
        if policy.is_none() && operator.is_none() {
            return (Settings::of(arguments), Applied::default());
        }
        let mut merged = arguments.clone();
        for policy in [policy, operator].into_iter().flatten() {
            merge(&mut merged, &policy.definition);
        }
        let name = |policy: Option<&Policy>| policy.map(|policy| Arc::clone(&policy.name));
        (Settings::of(&merged), Applied { policy: name(policy), operator_policy: name(operator) })
    }

    /// The alternate exchange that a policy gives to an exchange that has none of its own.
    fn alternate(&self, vhost: &str, name: &str) -> Option<String> {
        let policy = self.best(PolicyOf::User, vhost, name, What::Exchange)?;
        policy.definition.get("alternate-exchange")?.as_str().map(str::to_owned)
    }
}

fn merge(arguments: &mut FieldTable, definition: &FieldTable) {
    for (name, value) in definition.iter() {
        let name = format!("x-{}", name.to_text());
        let least = match (arguments.get(&name).map(|own| (own, own.as_i64())), value.as_i64()) {
            (None, _) => value.clone(),
            (Some((_, Some(own))), Some(other)) if other < own => value.clone(),
            (Some((own, _)), _) => own.clone(),
        };
        if let Ok(name) = ShortBytes::try_from(name) {
            arguments.insert(name, least);
        }
    }
}

impl Broker {
    /// From now on these policies hold, for living queues and exchanges too. Limits of length hold with the next look
    /// or the next message, a bounded number of messages at a time.
    pub fn set_policies(&self, all: Vec<Policy>) {
        let policies = Arc::new(Policies { all });
        *self.policies.write() = Arc::clone(&policies);
        for queue in self.queues() {
            queue.take_policies(&policies);
        }
        let mut topology = self.topology.write();
        topology.is_timed = true;
        for (vhost, content) in &mut topology.vhosts {
            for (name, exchange) in &mut content.exchanges {
                exchange.set_policy_alternate(policies.alternate(vhost, name));
            }
        }
        drop(topology);
        self.version.fetch_add(1, std::sync::atomic::Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::testing::{Master, persistent};

    fn policy(name: &str, of: PolicyOf, priority: i64, definition: &[(&str, FieldValue)]) -> Policy {
        let definition = definition.iter().map(|(key, value)| ((*key).try_into().unwrap(), value.clone())).collect();
        let matches = Box::new(|name: &str| name.starts_with('q'));
        Policy {
            vhost: "/".into(),
            name: name.into(),
            of,
            priority,
            applies_to: AppliesTo::Queues,
            matches,
            definition,
        }
    }

    #[test]
    fn living_queues_follow_the_policies_and_the_least_number_wins() {
        let mut master = Master::default();
        let queue = master.declare_with("q1", [("x-max-length", 5.into())]);
        let other = master.declare_with("other", []);
        let limit = |number: i64| [("max-length", FieldValue::from(number)), ("overflow", "reject-publish".into())];
        master.engine.broker.set_policies(vec![
            policy("weak", PolicyOf::User, 0, &limit(1)),
            policy("strong", PolicyOf::User, 1, &limit(3)),
            policy("operator", PolicyOf::Operator, 0, &[("max-length", 2.into()), ("message-ttl", 50.into())]),
        ]);
        let later = master.declare_with("q2", []);
        for name in ["q1", "q2", "other"] {
            for body in ["1", "2", "3"] {
                master.publish("", name, body, &persistent());
            }
        }
        assert_eq!([&queue, &later, &other].map(|queue| queue.counts().ready), [2, 2, 3]);
        let applied = queue.policies();
        assert_eq!((applied.policy.as_deref(), applied.operator_policy.as_deref()), (Some("strong"), Some("operator")));
        master.now += 50;
        master.run(|broker, batch| broker.sweep(batch));
        assert_eq!(queue.counts().ready, 0);
        master.engine.broker.set_policies(Vec::new());
        for body in ["1", "2", "3"] {
            master.publish("", "q2", body, &persistent());
        }
        assert_eq!((later.counts().ready, later.policies()), (3, Applied::default()));
    }
}
