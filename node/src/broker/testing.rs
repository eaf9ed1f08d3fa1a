//! Short ways to a broker with content, for tests.

use std::sync::Arc;

use tercet_proto::amqp::{FieldTable, ShortString};

use super::{Broker, ConnectionId, DEFAULT_VHOST, Name, Queue, QueueDeclaration};
use crate::ids::UnixMillis;
use crate::journal::Journal;

/// A transient queue.
pub(crate) fn queue(broker: &Broker, name: &str) -> Arc<Queue> {
    let (journal, mut record) = (Journal::new(), Vec::new());
    let mut batch = broker.begin(&journal, &mut record, UnixMillis(0));
    let declaration =
        QueueDeclaration { durable: false, auto_delete: false, owner: None, arguments: FieldTable::new() };
    let name = ShortString::try_from(name).unwrap();
    let name = Name { vhost: &DEFAULT_VHOST, name: &name };
    broker.declare_queue(&mut batch, ConnectionId(0), name, declaration).unwrap()
}
