//! Class exchange: declare, delete, bind, unbind.

use tercet_proto::amqp::{FieldTable, ShortString};

use super::Channel;
use crate::amqp::context::Context;
use crate::amqp::error::Error;
use crate::broker::{BindTo, Deletion, ExchangeDeclaration, ExchangeKind, Name, ResourceKind};
use crate::permission::Right;

/// exchange.declare
pub(super) struct Wish {
    pub(super) exchange: ShortString,
    pub(super) kind: ShortString,
    pub(super) passive: bool,
    pub(super) durable: bool,
    pub(super) auto_delete: bool,
    pub(super) internal: bool,
    pub(super) arguments: FieldTable,
}

pub(super) fn declare(_channel: &mut Channel, context: &mut Context<'_>, wish: Wish) -> Result<(), Error> {
    let exchange = super::queue::clean(wish.exchange);
    if !wish.passive {
        context.check_access(Right::Configure, ResourceKind::Exchange, &exchange)?;
        if let Some(alternate) = super::queue::text(&wish.arguments, "alternate-exchange") {
            context.check_access(Right::Read, ResourceKind::Exchange, &exchange)?;
            context.check_access(Right::Write, ResourceKind::Exchange, &alternate)?;
        }
    }
    let name = Name { vhost: &context.about.vhost, name: &exchange };
    if wish.passive {
        return Ok(context.broker.find_exchange(&mut context.batch, name)?);
    }
    let kind = ExchangeKind::from_name(&wish.kind).ok_or(Error::ExchangeKind(wish.kind))?;
    let declaration = ExchangeDeclaration {
        kind,
        durable: wish.durable,
        auto_delete: wish.auto_delete,
        internal: wish.internal,
        arguments: wish.arguments,
    };
    Ok(context.broker.declare_exchange(&mut context.batch, name, declaration)?)
}

pub(super) fn delete(context: &mut Context<'_>, exchange: &ShortString, if_unused: bool) -> Result<(), Error> {
    context.check_access(Right::Configure, ResourceKind::Exchange, exchange)?;
    let name = Name { vhost: &context.about.vhost, name: exchange };
    let deletion = Deletion { if_unused, if_empty: false };
    Ok(context.broker.delete_exchange(&mut context.batch, name, deletion)?)
}

pub(super) fn bind(
    context: &mut Context<'_>,
    destination: &ShortString,
    source: &ShortString,
    key: &ShortString,
    arguments: FieldTable,
) -> Result<(), Error> {
    context.check_access(Right::Write, ResourceKind::Exchange, destination)?;
    context.check_access(Right::Read, ResourceKind::Exchange, source)?;
    context.check_topic(Right::Read, source, key)?;
    let connection = context.connection();
    let source = Name { vhost: &context.about.vhost, name: source };
    let to = BindTo::Exchange(destination);
    Ok(context.broker.bind(&mut context.batch, connection, source, to, key, arguments)?)
}

pub(super) fn unbind(
    context: &mut Context<'_>,
    destination: &ShortString,
    source: &ShortString,
    key: &ShortString,
    arguments: FieldTable,
) -> Result<(), Error> {
    context.check_access(Right::Write, ResourceKind::Exchange, destination)?;
    context.check_access(Right::Read, ResourceKind::Exchange, source)?;
    context.check_topic(Right::Read, source, key)?;
    let connection = context.connection();
    let source = Name { vhost: &context.about.vhost, name: source };
    let to = BindTo::Exchange(destination);
    Ok(context.broker.unbind(&mut context.batch, connection, source, to, key, arguments)?)
}
