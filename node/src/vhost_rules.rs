//! What a virtual host says of what is in it: how many connections and queues there may be, which are parameters of the
//! accounts as in RabbitMQ, and the type of queues whose declaration names none.

use serde_json::Value;
use tercet_proto::amqp::{FieldValue, ShortBytes};

use crate::accounts::Directory;
use crate::broker::QueueDeclaration;

const QUEUE_TYPE: &str = "x-queue-type";

/// Gives a declaration the type that its virtual host has for queues that name none, if such a queue can be of it.
pub fn complete(directory: &Directory, vhost: &str, name: &str, declaration: &mut QueueDeclaration) {
    let Some(queue_type) = directory.vhosts.get(vhost).map(|vhost| vhost.default_queue_type.as_str()) else { return };
    let is_possible =
        declaration.durable && !declaration.auto_delete && declaration.owner.is_none() && !name.is_empty();
    if !matches!(queue_type, "quorum" | "stream") || !is_possible || declaration.arguments.get(QUEUE_TYPE).is_some() {
        return;
    }
    if let Ok(argument) = ShortBytes::try_from(QUEUE_TYPE) {
        declaration.arguments.insert(argument, FieldValue::from(queue_type.to_owned()));
    }
}

/// The component of the parameter, and the name of the one that each virtual host has.
pub const PARAMETER: (&str, &str) = ("vhost-limits", "limits");

/// The limits of one virtual host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct VhostLimits {
    pub connections: Option<usize>,
    pub queues: Option<usize>,
}

impl VhostLimits {
    #[must_use]
    pub fn of(directory: &Directory, vhost: &str) -> Self {
        let Some(json) = directory.parameter(vhost, PARAMETER.0, PARAMETER.1) else { return Self::default() };
        let limits: Value = serde_json::from_str(json).unwrap_or_default();
        // One below zero is none.
        let of = |name| limits.get(name).and_then(Value::as_i64).and_then(|limit| usize::try_from(limit).ok());
        Self { connections: of("max-connections"), queues: of("max-queues") }
    }
}

#[cfg(test)]
mod tests {
    use tercet_proto::amqp::FieldTable;

    use super::*;

    #[test]
    fn a_queue_that_names_no_type_gets_the_one_of_its_virtual_host_if_it_can() {
        let mut directory = Directory::default();
        let durable =
            QueueDeclaration { durable: true, auto_delete: false, owner: None, arguments: FieldTable::default() };
        let completed = |directory: &Directory, name: &str, mut declaration: QueueDeclaration| {
            complete(directory, "/", name, &mut declaration);
            declaration.arguments.get(QUEUE_TYPE).and_then(|value| value.as_str().map(str::to_owned))
        };
        assert_eq!(completed(&directory, "q", durable.clone()), None);
        directory.vhosts.get_mut("/").unwrap().default_queue_type = "quorum".to_owned();
        assert_eq!(completed(&directory, "q", durable.clone()).as_deref(), Some("quorum"));
        assert_eq!(completed(&directory, "", durable.clone()), None);
        assert_eq!(completed(&directory, "q", QueueDeclaration { durable: false, ..durable.clone() }), None);
        assert_eq!(completed(&directory, "q", QueueDeclaration { auto_delete: true, ..durable.clone() }), None);
        let arguments = [(QUEUE_TYPE.try_into().unwrap(), FieldValue::from("classic"))].into_iter().collect();
        let named = completed(&directory, "q", QueueDeclaration { arguments, ..durable });
        assert_eq!(named.as_deref(), Some("classic"));
    }

    #[test]
    fn limits_are_numbers_of_a_parameter_and_negative_ones_are_none() {
        let mut directory = Directory::default();
        assert_eq!(VhostLimits::of(&directory, "/"), VhostLimits::default());
        let key = ("/".to_owned(), PARAMETER.0.to_owned(), PARAMETER.1.to_owned());
        directory.parameters.insert(key, r#"{"max-connections": 0, "max-queues": -1}"#.to_owned());
        assert_eq!(VhostLimits::of(&directory, "/"), VhostLimits { connections: Some(0), queues: None });
        assert_eq!(VhostLimits::of(&directory, "other"), VhostLimits::default());
    }
}
