//! What a channel works with while a batch is executed: the broker, and the parts of its connection.

use std::sync::Arc;

use tercet_proto::amqp::{Encoder, FieldTable, Method, ShortString};

use super::error::{Error, ForbiddenTopic};
use super::limits;
use super::output::Output;
use crate::accounts::{Accounts, Permissions};
use crate::broker::ExchangeKind;
use crate::broker::{Batch, Broker, ConnectionId, Event, Link, Name, Queue, Resource, ResourceKind};
use crate::permission::{Compiled, Right, Topics};

/// Lent to a channel for the length of a call.
pub(super) struct Context<'a> {
    pub(super) broker: &'a Broker,
    pub(super) batch: Batch<'a>,
    pub(super) out: &'a mut Output,
    pub(super) link: &'a Arc<Link>,
    pub(super) about: &'a mut About,
    /// Channels that have something to do at the end of the batch.
    pub(super) dirty: &'a mut Vec<u16>,
    /// Taken out of the inbox, and to be handled at the end of the batch.
    pub(super) later: &'a mut Vec<Event>,
    pub(super) accounts: &'a Accounts,
}

/// What a connection agreed on, and what belongs to it.
#[derive(Debug)]
pub(super) struct About {
    pub(super) vhost: ShortString,
    pub(super) user: ShortString,
    pub(super) frame_max: u32,
    pub(super) channel_max: u16,
    pub(super) heartbeat: u16,
    pub(super) capabilities: Capabilities,
    /// What the client said of itself, until the connection is open.
    pub(super) properties: FieldTable,
    pub(super) mechanism: ShortString,
    /// Queues that end with this connection.
    pub(super) exclusive: Vec<Arc<Queue>>,
    /// Bytes of messages that are not whole yet, or wait for tx.commit.
    pub(super) unfinished: usize,
    /// The largest message that may be published.
    pub(super) message_bytes: u64,
    /// What the user may do.
    pub(super) access: Option<Access>,
    /// Milliseconds since the machine's start, when this turn began.
    pub(super) now: u64,
    /// Deliveries have been made that the client has to settle, so it is looked whether it keeps one too long.
    pub(super) deliveries_are_kept: bool,
    /// The least timeout that a consumer or its queue asked for, in milliseconds; 0: none.
    pub(super) own_timeout: u64,
    /// A queue that this connection made too long.
    pub(super) slowed_by: Option<Arc<Queue>>,
    /// What the last frame asks for is being read from the disk: the frame is executed again.
    pub(super) is_put_off: bool,
}

/// What a user may do, as of one version of the accounts.
#[derive(Debug)]
pub(super) struct Access {
    version: u64,
    permissions: Compiled,
    topics: Topics,
}

/// What the client said it understands.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Capabilities {
    pub(super) consumer_cancel_notify: bool,
    pub(super) connection_blocked: bool,
    pub(super) authentication_failure_close: bool,
}

impl Context<'_> {
    pub(super) fn connection(&self) -> ConnectionId {
        self.link.connection
    }

    #[inline]
    pub(super) fn encoder(&mut self) -> Encoder<'_> {
        self.out.encoder(self.about.frame_max)
    }

    pub(super) fn send(&mut self, channel: u16, method: &Method) {
        self.encoder().method(channel, method);
    }

    /// The channel's `end_batch` is to be called.
    #[inline]
    pub(super) fn touch(&mut self, channel: u16) {
        if self.dirty.last() != Some(&channel) && !self.dirty.contains(&channel) {
            self.dirty.push(channel);
        }
    }

    /// Whether the user may do something with a queue or an exchange.
    #[inline]
    pub(super) fn check_access(
        &mut self,
        right: Right,
        resource: ResourceKind,
        name: &ShortString,
    ) -> Result<(), Error> {
        let version = self.accounts.version();
        if self.about.access.as_ref().is_none_or(|access| access.version != version) {
            let directory = self.accounts.directory();
            let (user, vhost) = (&self.about.user, &self.about.vhost);
            let permissions = directory.permissions_of(user, vhost).cloned();
            // Without permissions, or without the virtual host, nothing is allowed.
            let nothing = || Permissions { configure: "^$.".into(), write: "^$.".into(), read: "^$.".into() };
            let permissions = Compiled::new(&permissions.unwrap_or_else(nothing));
            let topics = Topics::of(&directory, user, vhost);
            self.about.access = Some(Access { version, permissions, topics });
        }
        let is_default = resource == ResourceKind::Exchange && name.is_empty();
        let matched = if is_default { "amq.default" } else { name.as_str() };
        if self.about.access.as_ref().is_some_and(|access| access.permissions.allows(right, matched)) {
            return Ok(());
        }
        let vhost = &self.about.vhost;
        let resource = match resource {
            ResourceKind::Queue => Resource::queue(vhost, name),
            ResourceKind::Exchange if is_default => Resource::exchange(vhost, &ShortString::from_static("amq.default")),
            ResourceKind::Exchange => Resource::exchange(vhost, name),
        };
        let right = match right {
            Right::Configure => "configure",
            Right::Write => "write",
            Right::Read => "read",
        };
        Err(Error::Forbidden { right, resource: Box::new(resource), user: self.about.user.clone() })
    }

    /// Whether the user may do something with a routing key of an exchange. `check_access` has been asked before.
    #[inline]
    pub(super) fn check_topic(&self, right: Right, exchange: &ShortString, key: &ShortString) -> Result<(), Error> {
        let Some(access) = self.about.access.as_ref().filter(|access| access.topics.has(exchange)) else {
            return Ok(());
        };
        let name = Name { vhost: &self.about.vhost, name: exchange };
        if self.broker.exchange_kind(name) != Some(ExchangeKind::Topic) || access.topics.allows(right, exchange, key) {
            return Ok(());
        }
        let (exchange, user) = (exchange.clone(), self.about.user.clone());
        let vhost = self.about.vhost.clone();
        let right = if right == Right::Write { "write" } else { "read" };
        Err(Error::ForbiddenTopic(Box::new(ForbiddenTopic { right, key: key.clone(), exchange, vhost, user })))
    }

    /// A queue is longer than its consumers keep up with: this publisher goes at their pace, unless it is one of them.
    #[cold]
    pub(super) fn slow_down(&mut self, queue: &Arc<Queue>) {
        if self.about.slowed_by.is_none() && !queue.serves(self.connection()) {
            self.about.slowed_by = Some(Arc::clone(queue));
        }
    }

    /// Whether messages that are not whole take more than a connection may have, or the node.
    #[inline]
    pub(super) fn check_unfinished(&self) -> Result<(), Error> {
        if self.about.unfinished == 0 {
            return Ok(());
        }
        let most = limits::UNFINISHED_BYTES + 2 * self.about.message_bytes as usize;
        if self.about.unfinished > most || self.broker.budget().is_exhausted() {
            return Err(Error::TooMuchUnfinished(self.about.unfinished));
        }
        Ok(())
    }

    /// The queue of this name, if this connection may use it.
    pub(super) fn queue(&self, name: &ShortString) -> Result<Arc<Queue>, crate::broker::Refusal> {
        self.broker.queue(self.connection(), Name { vhost: &self.about.vhost, name })
    }
}
