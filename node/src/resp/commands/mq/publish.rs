//! MQ.PUBLISH exchange key body [PERSISTENT] [HEADERS n name value ...] [ID id] [TTL milliseconds] [PRIORITY p]

use tercet_proto::amqp::{BasicProperties, FieldTable, ShortBytes};
use tercet_proto::resp::Encoder;

use super::{is, number, pairs, short};
use crate::broker::{DEFAULT_VHOST, Draft, Placed, Verdict, note_headers};
use crate::engine::Transaction;
use crate::resp::error::Error;
use crate::resp::table::{Args, Outcome};

/// The header by which queues take a message once.
const UNIQUE: &str = "x-deduplication-header";

pub(super) fn publish(transaction: &mut Transaction<'_>, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let [_, exchange, key, body, options @ ..] = args else { return Err(Error::Syntax) };
    let (exchange, key) = (short(exchange)?, short(key)?);
    let mut properties = BasicProperties::default();
    let mut headers = FieldTable::new();
    let mut rest = options;
    while let Some((word, more)) = rest.split_first() {
        rest = more;
        if is(word, "persistent") {
            properties.delivery_mode = Some(2);
        } else if is(word, "headers") {
            let (table, more) = pairs(rest)?;
            for (name, value) in table.iter() {
                headers.insert(name.clone(), value.clone());
            }
            rest = more;
        } else {
            let (value, more) = rest.split_first().ok_or(Error::Syntax)?;
            rest = more;
            if is(word, "id") {
                let name = ShortBytes::try_from(UNIQUE).map_err(|_| Error::QueueName)?;
                headers.insert(name, tercet_proto::amqp::FieldValue::LongString(value.to_vec().into()));
            } else if is(word, "ttl") {
                let milliseconds = number::count(value)?;
                properties.expiration =
                    Some(ShortBytes::try_from(milliseconds.to_string()).map_err(|_| Error::OutOfRange)?);
            } else if is(word, "priority") {
                let priority = u8::try_from(number::count(value)?).map_err(|_| Error::OutOfRange)?;
                properties.priority = Some(priority);
            } else {
                return Err(Error::Syntax);
            }
        }
    }
    if headers.iter().next().is_some() {
        properties.headers = Some(headers);
    }
    let properties = properties.encode();
    let mut extras = Vec::new();
    note_headers(&properties, transaction.now().0, &mut extras);
    let batch = transaction.broker();
    let broker = batch.broker();
    let route = broker.route(&DEFAULT_VHOST, &exchange, &key, &properties)?;
    let mut draft = Draft::noted(exchange.as_bytes(), key.as_bytes(), &properties, &extras, body.len());
    draft.push(body);
    match broker.enqueue(batch, &route, draft) {
        Ok(Placed { verdict: Verdict::Refused, .. }) => Err(Error::QueueFull),
        Ok(Placed { offset, .. }) => {
            batch.depends_on(offset);
            out.integer(route.reached() as i64);
            Ok(())
        }
        Err(unroutable) => {
            batch.depends_on(unroutable.offset);
            out.integer(0);
            Ok(())
        }
    }
}
