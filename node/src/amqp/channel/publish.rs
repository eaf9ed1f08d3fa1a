//! basic.publish: method, header, body frames; then the message goes to its queues.

use bytes::Bytes;
use tercet_proto::amqp::{BASIC_CLASS, ContentHeader, Method, Properties, ReplyCode, ShortString};

use super::Channel;
use crate::amqp::context::Context;
use crate::amqp::error::Error;
use crate::amqp::limits;
use crate::broker::{Draft, Route, Unroutable};

/// What has come of a message so far.
#[derive(Debug, Default)]
pub(super) enum Incoming {
    #[default]
    Idle,
    Header(Addressed),
    Body(Addressed, Partial),
}

/// The method of a message.
#[derive(Debug)]
pub(super) struct Addressed {
    exchange: ShortString,
    key: ShortString,
    mandatory: bool,
}

#[derive(Debug)]
pub(super) struct Partial {
    properties: Properties,
    draft: Draft,
    announced: u64,
}

/// A message that is whole.
#[derive(Debug)]
pub(super) struct Whole {
    addressed: Addressed,
    properties: Properties,
    draft: Draft,
}

/// A route, and what it is the route of.
#[derive(Debug)]
pub(super) struct LastRoute {
    exchange: ShortString,
    key: ShortString,
    route: Route,
}

impl Incoming {
    pub(super) fn is_idle(&self) -> bool {
        matches!(self, Self::Idle)
    }

    /// What is wrong with a method at this point.
    pub(super) fn expected(&self) -> Error {
        match self {
            Self::Idle => Error::NoMethod,
            Self::Header(_) => Error::NoHeader,
            Self::Body(..) => Error::NoBody,
        }
    }
}

impl Channel {
    #[inline]
    pub(super) fn publish(
        &mut self,
        exchange: ShortString,
        key: ShortString,
        mandatory: bool,
        immediate: bool,
    ) -> Result<(), Error> {
        if immediate {
            return Err(Error::NotImplemented("immediate=true".to_owned()));
        }
        self.incoming = Incoming::Header(Addressed { exchange, key, mandatory });
        Ok(())
    }

    #[inline]
    pub(super) fn header(&mut self, context: &mut Context<'_>, payload: &Bytes) -> Result<(), Error> {
        let addressed = match std::mem::take(&mut self.incoming) {
            Incoming::Header(addressed) => addressed,
            other => return Err(other.expected()),
        };
        let header = ContentHeader::decode(payload)?;
        if header.class_id != BASIC_CLASS {
            return Err(Error::HeaderClass(header.class_id));
        }
        if header.body_size > limits::MESSAGE_BYTES {
            return Err(Error::MessageTooLarge { size: header.body_size, max: limits::MESSAGE_BYTES });
        }
        let expected = (header.body_size as usize).min(limits::RESERVED_BODY_BYTES);
        let (exchange, key) = (addressed.exchange.as_bytes(), addressed.key.as_bytes());
        let draft = Draft::new(exchange, key, &header.properties, expected);
        let partial = Partial { properties: header.properties, draft, announced: header.body_size };
        if header.body_size == 0 {
            return self.whole(context, addressed, partial);
        }
        self.incoming = Incoming::Body(addressed, partial);
        Ok(())
    }

    #[inline]
    pub(super) fn body(&mut self, context: &mut Context<'_>, payload: &Bytes) -> Result<(), Error> {
        let (addressed, mut partial) = match std::mem::take(&mut self.incoming) {
            Incoming::Body(addressed, partial) => (addressed, partial),
            other => return Err(other.expected()),
        };
        let got = (partial.draft.body_len() + payload.len()) as u64;
        if got > partial.announced {
            return Err(Error::BodyTooLong { got, announced: partial.announced });
        }
        partial.draft.push(payload);
        if got == partial.announced {
            return self.whole(context, addressed, partial);
        }
        self.incoming = Incoming::Body(addressed, partial);
        Ok(())
    }

    #[inline]
    fn whole(&mut self, context: &mut Context<'_>, addressed: Addressed, partial: Partial) -> Result<(), Error> {
        let Partial { properties, draft, .. } = partial;
        check(&properties, context)?;
        let whole = Whole { addressed, properties, draft };
        if self.tx.is_selected() {
            self.tx.publish(whole);
            return Ok(());
        }
        let offset = self.send(context, whole)?;
        self.confirms.published(self.number, offset, context);
        Ok(())
    }

    /// Puts a message into its queues, or returns it. Says which record its publisher depends on.
    #[inline]
    pub(super) fn send(&mut self, context: &mut Context<'_>, whole: Whole) -> Result<crate::ids::Offset, Error> {
        let Whole { addressed, properties, draft } = whole;
        let Addressed { exchange, key, mandatory } = addressed;
        let broker = context.broker;
        let known = self
            .last_route
            .as_ref()
            .is_some_and(|last| last.exchange == exchange && last.key == key && broker.is_current(&last.route));
        if !known {
            let route = broker.route(&context.about.vhost, &exchange, &key, &properties)?;
            self.last_route = Some(LastRoute { exchange: exchange.detached(), key: key.detached(), route });
        }
        let route = &self.last_route.as_ref().expect("known, or just looked up").route;
        match broker.enqueue(&mut context.batch, route, draft) {
            Ok(offset) => {
                self.last_publish = self.last_publish.max(offset);
                Ok(offset)
            }
            Err(Unroutable { draft, offset }) => {
                if mandatory {
                    context.batch.depends_on(offset);
                    let method = Method::BasicReturn {
                        reply_code: ReplyCode::NoRoute.code(),
                        reply_text: ShortString::from_static("NO_ROUTE"),
                        exchange,
                        routing_key: key,
                    };
                    let number = self.number;
                    context.encoder().content(number, &method, properties.raw(), draft.content().body);
                }
                Ok(offset)
            }
        }
    }
}

/// Properties that mean something to the broker.
fn check(properties: &Properties, context: &Context<'_>) -> Result<(), Error> {
    if let Some(user) = properties.user_id()
        && user != context.about.user.as_bytes()
    {
        let given = String::from_utf8_lossy(user).into_owned();
        return Err(Error::UserId { given, user: context.about.user.to_string() });
    }
    let Some(expiration) = properties.expiration() else { return Ok(()) };
    let given = String::from_utf8_lossy(expiration).into_owned();
    let reason = match given.parse::<i64>() {
        Err(_) => "no_integer".to_owned(),
        Ok(number) if number < 0 => format!("{{value_negative,{number}}}"),
        Ok(number) if number > i64::from(u32::MAX) => format!("{{value_too_big,{number}}}"),
        Ok(_) => return Err(Error::NotImplemented("property 'expiration' is not supported yet".to_owned())),
    };
    Err(Error::Expiration { given, reason })
}
