//! MQ.DECLARE, MQ.EXCHANGE, MQ.BIND, MQ.UNBIND, MQ.LEN, MQ.PURGE, MQ.DELETE

use tercet_proto::amqp::{FieldTable, ShortString};
use tercet_proto::resp::Encoder;

use super::{NOBODY, is, named, pairs, queue, short};
use crate::broker::{BindTo, Deletion, ExchangeDeclaration, ExchangeKind, QueueDeclaration};
use crate::engine::{Transaction, View};
use crate::resp::error::Error;
use crate::resp::table::{Args, Outcome};

/// What follows a name: durable unless TRANSIENT is said.
#[derive(Default)]
struct Options {
    transient: bool,
    auto_delete: bool,
    internal: bool,
    arguments: FieldTable,
}

/// [TRANSIENT] [AUTODELETE] [INTERNAL] [ARGS n name value ...]
fn options(mut rest: &Args<'_>) -> Result<Options, Error> {
    let mut options = Options::default();
    while let Some((word, more)) = rest.split_first() {
        rest = more;
        if is(word, "transient") {
            options.transient = true;
        } else if is(word, "autodelete") {
            options.auto_delete = true;
        } else if is(word, "internal") {
            options.internal = true;
        } else if is(word, "args") {
            let (table, more) = pairs(rest)?;
            (options.arguments, rest) = (table, more);
        } else {
            return Err(Error::Syntax);
        }
    }
    Ok(options)
}

pub(super) fn declare(transaction: &mut Transaction<'_>, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let name = short(args[1])?;
    let Options { transient, auto_delete, arguments, .. } = options(&args[2..])?;
    let declaration = QueueDeclaration { durable: !transient, auto_delete, owner: None, arguments };
    let batch = transaction.broker();
    batch.broker().declare_queue(batch, NOBODY, named(&name), declaration)?;
    out.ok();
    Ok(())
}

pub(super) fn exchange(transaction: &mut Transaction<'_>, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let (name, kind) = (short(args[1])?, short(args[2])?);
    let kind =
        ExchangeKind::from_name(&kind).ok_or_else(|| Error::Broker(format!("ERR unknown exchange type '{kind}'")))?;
    let Options { transient, auto_delete, internal, arguments } = options(&args[3..])?;
    let declaration = ExchangeDeclaration { kind, durable: !transient, auto_delete, internal, arguments };
    let batch = transaction.broker();
    batch.broker().declare_exchange(batch, named(&name), declaration)?;
    out.ok();
    Ok(())
}

/// queue exchange [key] [ARGS n name value ...]
fn binding(args: &Args<'_>) -> Result<(ShortString, ShortString, ShortString, FieldTable), Error> {
    let (queue, exchange) = (short(args[1])?, short(args[2])?);
    let (key, rest) = match &args[3..] {
        [key, rest @ ..] if !is(key, "args") => (short(key)?, rest),
        rest => (ShortString::default(), rest),
    };
    Ok((queue, exchange, key, options(rest)?.arguments))
}

pub(super) fn bind(transaction: &mut Transaction<'_>, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let (queue, exchange, key, arguments) = binding(args)?;
    let batch = transaction.broker();
    batch.broker().bind(batch, NOBODY, named(&exchange), BindTo::Queue(&queue), &key, arguments)?;
    out.ok();
    Ok(())
}

pub(super) fn unbind(transaction: &mut Transaction<'_>, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let (queue, exchange, key, arguments) = binding(args)?;
    let batch = transaction.broker();
    batch.broker().unbind(batch, NOBODY, named(&exchange), BindTo::Queue(&queue), &key, arguments)?;
    out.ok();
    Ok(())
}

pub(super) fn len(view: &View<'_>, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let counts = queue(view.broker(), args[1])?.counts();
    view.meets(counts.last_offset);
    out.integer(counts.ready as i64);
    Ok(())
}

pub(super) fn purge(transaction: &mut Transaction<'_>, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let batch = transaction.broker();
    let queue = queue(batch.broker(), args[1])?;
    if queue.is_stream() {
        return Err(Error::Broker("ERR MQ.PURGE is not supported by streams".to_owned()));
    }
    let purged = queue.purge(batch);
    out.integer(purged as i64);
    Ok(())
}

/// queue [IFUNUSED] [IFEMPTY]
pub(super) fn delete(transaction: &mut Transaction<'_>, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let mut deletion = Deletion::default();
    for word in &args[2..] {
        if is(word, "ifunused") {
            deletion.if_unused = true;
        } else if is(word, "ifempty") {
            deletion.if_empty = true;
        } else {
            return Err(Error::Syntax);
        }
    }
    let batch = transaction.broker();
    let queue = queue(batch.broker(), args[1])?;
    let deleted = batch.broker().delete_queue(batch, &queue, deletion)?;
    out.integer(deleted as i64);
    Ok(())
}
