//! Class queue: declare, bind, unbind, purge, delete.

use std::sync::Arc;

use tercet_proto::amqp::{FieldTable, Method, ShortString};

use super::Channel;
use crate::amqp::context::Context;
use crate::amqp::error::Error;
use crate::broker::{BindTo, Deletion, Name, Queue, QueueDeclaration, Resource, ResourceKind};
use crate::permission::Right;
use crate::vhost_rules;

/// queue.declare
pub(super) struct Wish {
    pub(super) queue: ShortString,
    pub(super) passive: bool,
    pub(super) durable: bool,
    pub(super) exclusive: bool,
    pub(super) auto_delete: bool,
    pub(super) arguments: FieldTable,
}

/// RabbitMQ takes line ends out of names.
pub(super) fn clean(name: ShortString) -> ShortString {
    if name.as_bytes().iter().any(|byte| matches!(byte, b'\r' | b'\n')) {
        ShortString::truncated(&name.replace(['\r', '\n'], ""))
    } else {
        name
    }
}

impl Channel {
    pub(super) fn declare_queue(&mut self, context: &mut Context<'_>, wish: Wish) -> Result<Method, Error> {
        let queue = if wish.passive {
            // Without the shortcut for the last one, as in RabbitMQ.
            context.queue(&wish.queue)?
        } else {
            let name = clean(wish.queue);
            context.check_access(Right::Configure, ResourceKind::Queue, &name)?;
            if let Some(exchange) = text(&wish.arguments, "x-dead-letter-exchange") {
                context.check_access(Right::Read, ResourceKind::Queue, &name)?;
                context.check_access(Right::Write, ResourceKind::Exchange, &exchange)?;
            }
            let owner = wish.exclusive.then(|| context.connection());
            let mut declaration = QueueDeclaration {
                durable: wish.durable,
                auto_delete: wish.auto_delete,
                owner,
                arguments: wish.arguments,
            };
            vhost_rules::complete(&context.accounts.directory(), &context.about.vhost, &name, &mut declaration);
            let connection = context.connection();
            let name = Name { vhost: &context.about.vhost, name: &name };
            let queue = context.broker.declare_queue(&mut context.batch, connection, name, declaration)?;
            if owner.is_some() && !context.about.exclusive.iter().any(|other| Arc::ptr_eq(other, &queue)) {
                context.about.exclusive.push(Arc::clone(&queue));
            }
            queue
        };
        self.last_queue = Some(queue.name.clone());
        let counts = queue.counts();
        context.batch.shows(counts.last_offset);
        Ok(Method::QueueDeclareOk {
            queue: queue.name.clone(),
            message_count: count(counts.ready),
            consumer_count: count(counts.consumers),
        })
    }

    pub(super) fn bind_queue(
        &mut self,
        context: &mut Context<'_>,
        queue: ShortString,
        exchange: &ShortString,
        key: ShortString,
        arguments: FieldTable,
    ) -> Result<(), Error> {
        let (queue, key) = self.binding(queue, key)?;
        context.check_access(Right::Write, ResourceKind::Queue, &queue)?;
        context.check_access(Right::Read, ResourceKind::Exchange, exchange)?;
        context.check_topic(Right::Read, exchange, &key)?;
        let connection = context.connection();
        let source = Name { vhost: &context.about.vhost, name: exchange };
        let to = BindTo::Queue(&queue);
        Ok(context.broker.bind(&mut context.batch, connection, source, to, &key, arguments)?)
    }

    pub(super) fn unbind_queue(
        &mut self,
        context: &mut Context<'_>,
        queue: ShortString,
        exchange: &ShortString,
        key: ShortString,
        arguments: FieldTable,
    ) -> Result<(), Error> {
        let (queue, key) = self.binding(queue, key)?;
        context.check_access(Right::Write, ResourceKind::Queue, &queue)?;
        context.check_access(Right::Read, ResourceKind::Exchange, exchange)?;
        context.check_topic(Right::Read, exchange, &key)?;
        let connection = context.connection();
        let source = Name { vhost: &context.about.vhost, name: exchange };
        let to = BindTo::Queue(&queue);
        Ok(context.broker.unbind(&mut context.batch, connection, source, to, &key, arguments)?)
    }

    pub(super) fn purge(&mut self, context: &mut Context<'_>, queue: ShortString) -> Result<Method, Error> {
        let queue = self.find_queue(context, queue)?;
        context.check_access(Right::Read, ResourceKind::Queue, &queue.name)?;
        if queue.is_stream() {
            let queue = Box::new(Resource::queue(&queue.vhost, &queue.name));
            return Err(Error::Stream { what: "queue.purge", queue });
        }
        Ok(Method::QueuePurgeOk { message_count: count(queue.purge(&mut context.batch)) })
    }

    /// A queue that is not there is deleted already.
    pub(super) fn delete_queue(
        &mut self,
        context: &mut Context<'_>,
        queue: ShortString,
        if_unused: bool,
        if_empty: bool,
    ) -> Result<Method, Error> {
        let name = self.queue_name(queue)?;
        context.check_access(Right::Configure, ResourceKind::Queue, &name)?;
        let queue = match context.queue(&name) {
            Ok(queue) => queue,
            Err(crate::broker::Refusal::NotFound(_)) => return Ok(Method::QueueDeleteOk { message_count: 0 }),
            Err(refusal) => return Err(refusal.into()),
        };
        let deleted = context.broker.delete_queue(&mut context.batch, &queue, Deletion { if_unused, if_empty })?;
        context.about.exclusive.retain(|other| !Arc::ptr_eq(other, &queue));
        Ok(Method::QueueDeleteOk { message_count: count(deleted) })
    }

    pub(super) fn find_queue(&self, context: &Context<'_>, name: ShortString) -> Result<Arc<Queue>, Error> {
        let name = self.queue_name(name)?;
        Ok(context.queue(&name)?)
    }

    /// An empty name stands for the queue that was declared last.
    fn queue_name(&self, name: ShortString) -> Result<ShortString, Error> {
        if name.is_empty() { self.last_queue.clone().ok_or(Error::NoLastQueue) } else { Ok(name) }
    }

    /// With an empty name, an empty key stands for the queue's name too.
    fn binding(&self, queue: ShortString, key: ShortString) -> Result<(ShortString, ShortString), Error> {
        let shortcut = queue.is_empty() && key.is_empty();
        let queue = self.queue_name(queue)?;
        let key = if shortcut { queue.clone() } else { key };
        Ok((queue, key))
    }
}

/// The name of an exchange among arguments.
pub(super) fn text(arguments: &FieldTable, name: &str) -> Option<ShortString> {
    ShortString::try_from(arguments.get(name)?.as_str()?).ok()
}

pub(super) fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}
