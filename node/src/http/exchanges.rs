//! /api/exchanges

use serde_json::{Value, json};

use super::answer::{Answer, Error, Outcome};
use super::broker::{self, batch};
use super::json::{of_table, to_table};
use super::listing;
use super::request::Request;
use crate::broker::{Deletion, ExchangeDeclaration, ExchangeKind, ListedExchange};
use crate::permission::Right;

/// GET /api/exchanges
pub(super) fn list(request: &Request) -> Outcome {
    let all = request.node().engine.broker.exchanges();
    let seen = all.iter().filter(|exchange| request.sees(&exchange.vhost));
    listing::list(request, seen.map(described).collect())
}

/// GET /api/exchanges/:vhost
pub(super) fn list_in(request: &Request) -> Outcome {
    let vhost = request.vhost(0)?;
    let all = request.node().engine.broker.exchanges();
    listing::list(request, all.iter().filter(|exchange| exchange.vhost == vhost).map(described).collect())
}

/// GET /api/exchanges/:vhost/:name
pub(super) fn show(request: &Request) -> Outcome {
    listing::one(request, described(&find(request)?))
}

pub(super) fn find(request: &Request) -> Result<ListedExchange, Error> {
    let (vhost, name) = (request.vhost(0)?, request.exchange(1)?);
    let all = request.node().engine.broker.exchanges();
    all.into_iter().find(|exchange| exchange.vhost == vhost && exchange.name == name).ok_or(Error::NotFound)
}

fn described(exchange: &ListedExchange) -> Value {
    let ExchangeDeclaration { kind, durable, auto_delete, internal, arguments } = &exchange.declaration;
    let mut item = json!({
        "name": exchange.name.as_str(),
        "vhost": exchange.vhost.as_str(),
        "type": kind.name(),
        "durable": durable,
        "auto_delete": auto_delete,
        "internal": internal,
        "arguments": of_table(arguments),
        "user_who_performed_action": "rmq-internal",
    });
    if let Some(delayed) = exchange.delayed {
        item["messages_delayed"] = json!(delayed);
    }
    item
}

/// PUT /api/exchanges/:vhost/:name {type, durable, auto_delete, internal, arguments}
pub(super) fn declare(request: &Request) -> Outcome {
    let (vhost, name) = (request.vhost(0)?, request.exchange(1)?);
    request.may(Right::Configure, &vhost, &name)?;
    let fields = request.object()?;
    let kind = fields.text("type")?.unwrap_or_else(|| "direct".to_owned());
    let declaration = ExchangeDeclaration {
        kind: ExchangeKind::from_name(&kind).ok_or_else(|| Error::bad(format!("unknown exchange type '{kind}'")))?,
        durable: fields.flag("durable")?,
        auto_delete: fields.flag("auto_delete")?,
        internal: fields.flag("internal")?,
        arguments: to_table(&fields.object("arguments")?)?,
    };
    let is_new = find(request).is_err();
    let ((), offset) =
        batch(request, |broker, batch| broker.declare_exchange(batch, broker::name(&vhost, &name), declaration))?;
    Ok(Answer::created_or_done(is_new).after(offset))
}

/// DELETE /api/exchanges/:vhost/:name?if-unused=true
pub(super) fn delete(request: &Request) -> Outcome {
    let (vhost, name) = (request.vhost(0)?, request.exchange(1)?);
    find(request)?;
    request.may(Right::Configure, &vhost, &name)?;
    let deletion = Deletion { if_unused: request.flag("if-unused"), if_empty: false };
    let ((), offset) =
        batch(request, |broker, batch| broker.delete_exchange(batch, broker::name(&vhost, &name), deletion))?;
    Ok(Answer::done().after(offset))
}
