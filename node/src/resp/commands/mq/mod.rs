//! MQ.*: exchanges and queues for Redis clients, alone and in one transaction with keys.
//!
//! ```text
//! MULTI / SET balance 7 / MQ.PUBLISH "" orders paid PERSISTENT / EXEC      one record: all of it or nothing
//! ```
//!
//! A message that MQ.GET gives is lent: it is to be settled with MQ.ACK or MQ.REJECT, or is ready again after its lease.

mod publish;
mod take;
mod topology;

use std::sync::Arc;

use tercet_proto::amqp::{FieldTable, FieldValue, ShortBytes, ShortString};

use super::number;
use crate::broker::{Broker, ConnectionId, DEFAULT_VHOST, Name, Queue, Refusal};
use crate::resp::error::Error;
use crate::resp::table::flag::{DENY_OOM, FAST, PUBLISHES};
use crate::resp::table::{Args, Command, Group, Keys, read, write};

const G: Group = Group::Queue;

pub(super) const ROWS: &[Command] = &[
    write(
        "mq.publish",
        -4,
        DENY_OOM | FAST | PUBLISHES,
        Keys::None,
        G,
        "Publishes a message to an exchange. Returns the number of queues that it was routed to.",
        publish::publish,
    ),
    write("mq.get", -2, FAST, Keys::None, G, "Takes messages out of a queue, for a time or for good.", take::get),
    write("mq.ack", -3, FAST, Keys::None, G, "Removes messages that MQ.GET gave. Returns how many.", take::ack),
    write(
        "mq.reject",
        -3,
        FAST,
        Keys::None,
        G,
        "Gives up messages that MQ.GET gave: to the dead letter exchange, or back to the queue.",
        take::reject,
    ),
    read("mq.len", 2, FAST, Keys::None, G, "Returns the number of messages that are ready in a queue.", topology::len),
    write("mq.declare", -2, DENY_OOM, Keys::None, G, "Creates a queue if it doesn't exist.", topology::declare),
    write("mq.exchange", -3, DENY_OOM, Keys::None, G, "Creates an exchange if it doesn't exist.", topology::exchange),
    write("mq.bind", -3, DENY_OOM, Keys::None, G, "Binds a queue to an exchange.", topology::bind),
    write("mq.unbind", -3, 0, Keys::None, G, "Ends the binding of a queue to an exchange.", topology::unbind),
    write("mq.purge", 2, 0, Keys::None, G, "Removes the ready messages of a queue. Returns how many.", topology::purge),
    write(
        "mq.delete",
        -2,
        0,
        Keys::None,
        G,
        "Deletes a queue. Returns the number of messages that were ready.",
        topology::delete,
    ),
];

/// Redis clients own no queue.
const NOBODY: ConnectionId = ConnectionId(0);

fn short(text: &[u8]) -> Result<ShortString, Error> {
    ShortString::from_utf8(text.to_vec().into()).ok_or(Error::QueueName)
}

fn named(name: &ShortString) -> Name<'_> {
    Name { vhost: &DEFAULT_VHOST, name }
}

fn queue(broker: &Broker, name: &[u8]) -> Result<Arc<Queue>, Error> {
    Ok(broker.queue(NOBODY, named(&short(name)?))?)
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        let code = match refusal {
            Refusal::NotFound(_) => "NOTFOUND",
            Refusal::Locked(_) => "LOCKED",
            Refusal::Inequivalent { .. }
            | Refusal::InvalidArgument { .. }
            | Refusal::InUse(_)
            | Refusal::NotEmpty(_) => "PRECONDITION",
            _ => "ERR",
        };
        Self::Broker(format!("{code} {refusal}"))
    }
}

/// `n name value ...`: so many pairs. With it: what follows. Whole numbers and booleans are taken for what they are.
fn pairs<'a, 'b>(rest: &'b Args<'a>) -> Result<(FieldTable, &'b Args<'a>), Error> {
    let (count, rest) = rest.split_first().ok_or(Error::Syntax)?;
    let count = number::count(count)?;
    let length = count.checked_mul(2).filter(|length| *length <= rest.len()).ok_or(Error::Syntax)?;
    let (pairs, rest) = rest.split_at(length);
    let mut table = FieldTable::new();
    for pair in pairs.chunks_exact(2) {
        let name = ShortBytes::try_from(String::from_utf8_lossy(pair[0]).into_owned()).map_err(|_| Error::QueueName)?;
        table.insert(name, value(pair[1]));
    }
    Ok((table, rest))
}

fn value(text: &[u8]) -> FieldValue {
    match text {
        b"true" => FieldValue::Bool(true),
        b"false" => FieldValue::Bool(false),
        _ => match number::integer(text) {
            Ok(number) => FieldValue::I64(number),
            Err(_) => FieldValue::LongString(text.to_vec().into()),
        },
    }
}

fn is(word: &[u8], option: &str) -> bool {
    word.eq_ignore_ascii_case(option.as_bytes())
}
