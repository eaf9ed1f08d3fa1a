//! Policies of the accounts in the form that the broker takes them.

use std::collections::HashMap;

use tercet_proto::amqp::FieldTable;

use crate::accounts::{Directory, PolicyKind};
use crate::broker::{AppliesTo, Policy, PolicyOf};
use crate::permission::compile;
use crate::vhost_rules::VhostLimits;

/// How many queues virtual hosts may have.
pub(super) fn queue_limits(directory: &Directory) -> HashMap<String, usize> {
    let limit = |vhost: &String| Some((vhost.clone(), VhostLimits::of(directory, vhost).queues?));
    directory.vhosts.keys().filter_map(limit).collect()
}

/// All policies. One whose pattern or definition cannot be read applies to nothing.
pub(super) fn all(directory: &Directory) -> Vec<Policy> {
    let policies = directory.policies.iter().filter_map(|((vhost, kind, name), policy)| {
        let pattern = compile(&policy.pattern).ok()?;
        Some(Policy {
            vhost: vhost.as_str().into(),
            name: name.as_str().into(),
            of: match kind {
                PolicyKind::User => PolicyOf::User,
                PolicyKind::Operator => PolicyOf::Operator,
            },
            priority: policy.priority,
            applies_to: AppliesTo::from_name(&policy.apply_to)?,
            matches: Box::new(move |name| pattern.is_match(name)),
            definition: FieldTable::decode(&policy.definition).ok()?,
        })
    });
    policies.collect()
}
