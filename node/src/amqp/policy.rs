//! Policies of the accounts in the form that the broker takes them.

use tercet_proto::amqp::FieldTable;

use crate::accounts::{Directory, PolicyKind};
use crate::broker::{AppliesTo, Policy, PolicyOf};
use crate::permission::compile;

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
