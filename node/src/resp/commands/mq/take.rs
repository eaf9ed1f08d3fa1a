//! MQ.GET queue [NOACK] [LEASE milliseconds] [COUNT n], MQ.ACK queue id ..., MQ.REJECT queue id ... [REQUEUE]

use tercet_proto::amqp::{FieldValue, Properties};
use tercet_proto::resp::Encoder;

use super::{is, number, queue};
use crate::broker::{Acknowledge, Delivered, Loan, Settlement, Taken};
use crate::engine::Transaction;
use crate::limits::{LEASE_MS, MESSAGES_A_GET};
use crate::resp::error::Error;
use crate::resp::table::{Args, Outcome};

/// A message is six elements: id (empty with NOACK), body, exchange, routing key, whether it may have been delivered
/// before, and headers as names and values. Without COUNT one message or nil, with it an array of them.
pub(super) fn get(transaction: &mut Transaction<'_>, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let (mut acknowledge, mut lease, mut count) = (Acknowledge::Manually, LEASE_MS, None);
    let mut rest = &args[2..];
    while let Some((word, more)) = rest.split_first() {
        rest = more;
        if is(word, "noack") {
            acknowledge = Acknowledge::Automatically;
            continue;
        }
        let (value, more) = rest.split_first().ok_or(Error::Syntax)?;
        rest = more;
        if is(word, "lease") {
            lease = number::count(value)? as u64;
        } else if is(word, "count") {
            count = Some(number::count(value)?.min(MESSAGES_A_GET));
        } else {
            return Err(Error::Syntax);
        }
    }
    let batch = transaction.broker();
    let queue = queue(batch.broker(), args[1])?;
    if queue.is_stream() {
        return Err(Error::Broker("ERR MQ.GET is not supported by streams".to_owned()));
    }
    let mut taken = Vec::new();
    while taken.len() < count.unwrap_or(1) {
        let next = match acknowledge {
            Acknowledge::Automatically => queue.get(batch, acknowledge).map(|(message, _)| (message, None)),
            Acknowledge::Manually => queue.lend(batch, lease).map(|(message, loan)| (message, Some(loan))),
        };
        let Some(next) = next else { break };
        taken.push(next);
    }
    if taken.is_empty() && queue.awaits_run() {
        return Err(Error::Broker("TRYAGAIN the next message is being read from the disk".to_owned()));
    }
    if taken.is_empty() {
        batch.depends_on(queue.counts().last_offset);
    }
    match (count, taken.first()) {
        (None, None) => out.null_array(),
        (None, Some((message, loan))) => put(message, *loan, out),
        (Some(_), _) => {
            out.array(taken.len());
            taken.iter().for_each(|(message, loan)| put(message, *loan, out));
        }
    }
    Ok(())
}

fn put(taken: &Taken, loan: Option<Loan>, out: &mut Encoder<'_>) {
    let content = taken.message.content();
    out.array(6);
    out.bulk(loan.map(|loan| format!("{}-{:08x}", loan.id, loan.token)).unwrap_or_default().as_bytes());
    out.bulk(content.body);
    out.bulk(content.exchange);
    out.bulk(content.routing_key);
    out.integer(i64::from(taken.delivered == Delivered::Maybe));
    let properties = Properties::from_raw(content.properties.to_vec().into()).unwrap_or_default();
    let headers = properties.headers().map(|headers| headers.to_table()).unwrap_or_default();
    out.array(2 * headers.iter().count());
    for (name, value) in headers.iter() {
        out.bulk(name.as_bytes());
        match value {
            FieldValue::LongString(bytes) | FieldValue::Bytes(bytes) => out.bulk(bytes),
            other => match other.as_i64() {
                Some(number) => out.integer(number),
                None => out.bulk(format!("{other:?}").as_bytes()),
            },
        }
    }
}

fn loan(text: &[u8]) -> Result<Loan, Error> {
    let text = std::str::from_utf8(text).map_err(|_| Error::MessageId)?;
    let (id, token) = text.split_once('-').ok_or(Error::MessageId)?;
    let id = id.parse().map_err(|_| Error::MessageId)?;
    Ok(Loan { id, token: u32::from_str_radix(token, 16).map_err(|_| Error::MessageId)? })
}

pub(super) fn ack(transaction: &mut Transaction<'_>, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    settle(transaction, args[1], &args[2..], Settlement::Remove, out)
}

pub(super) fn reject(transaction: &mut Transaction<'_>, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let rest = &args[2..];
    match rest.split_last() {
        Some((last, ids)) if is(last, "requeue") => settle(transaction, args[1], ids, Settlement::Requeue, out),
        _ => settle(transaction, args[1], rest, Settlement::Reject, out),
    }
}

/// Nothing is settled unless every id can be read.
fn settle(
    transaction: &mut Transaction<'_>,
    name: &[u8],
    ids: &Args<'_>,
    settlement: Settlement,
    out: &mut Encoder<'_>,
) -> Outcome {
    let loans: Vec<Loan> = ids.iter().map(|text| loan(text)).collect::<Result<_, _>>()?;
    let batch = transaction.broker();
    let queue = queue(batch.broker(), name)?;
    let settled = loans.into_iter().filter(|loan| queue.settle_loan(batch, *loan, settlement)).count();
    out.integer(settled as i64);
    Ok(())
}
