//! basic.publish: method, header, body frames; then the message goes to its queues.

use bytes::Bytes;
use tercet_proto::amqp::{
    BASIC_CLASS, ContentHeader, FieldView, Method, Properties, ReplyCode, ShortBytes, ShortString,
};

use super::Channel;
use super::content::{Addressed, Incoming, LastRoute, Partial, Whole};
use crate::amqp::context::Context;
use crate::amqp::error::Error;
use crate::amqp::limits;
use crate::broker::ResourceKind;
use crate::broker::{Draft, Extra, Placed, REPLY_QUEUE, Route, Unroutable, Verdict, note_headers};
use crate::ids::Offset;
use crate::permission::Right;

const CC: &str = "CC";
const BCC: &str = "BCC";

/// What became of a message.
#[derive(Debug)]
pub(super) struct Sent {
    /// The record that its publisher depends on.
    pub(super) offset: Offset,
    verdict: Verdict,
}

impl Channel {
    #[inline]
    pub(super) fn publish(
        &mut self,
        context: &Context<'_>,
        exchange: ShortString,
        key: ShortString,
        mandatory: bool,
        immediate: bool,
    ) -> Result<(), Error> {
        if immediate {
            return Err(Error::NotImplemented("immediate=true".to_owned()));
        }
        context.check_unfinished()?;
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
        let max = context.about.message_bytes;
        if header.body_size > max {
            return Err(Error::MessageTooLarge { size: header.body_size, max });
        }
        let expected = (header.body_size as usize).min(limits::RESERVED_BODY_BYTES);
        let (exchange, key) = (addressed.exchange.as_bytes(), addressed.key.as_bytes());
        let (properties, copies, mut extras) = copies(header.properties)?;
        note_headers(&properties, context.batch.now().0, &mut extras);
        let draft = Draft::noted(exchange, key, &properties, &extras, expected);
        let partial = Partial { properties, draft, announced: header.body_size, copies, counted: 0 };
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
            context.about.unfinished -= partial.counted;
            return self.whole(context, addressed, partial);
        }
        let held = partial.draft.held();
        context.about.unfinished += held - partial.counted;
        partial.counted = held;
        self.incoming = Incoming::Body(addressed, partial);
        context.check_unfinished()
    }

    /// What has come of a message is dropped.
    pub(super) fn drop_incoming(&mut self, context: &mut Context<'_>) {
        if let Incoming::Body(_, partial) = std::mem::take(&mut self.incoming) {
            context.about.unfinished -= partial.counted;
        }
    }

    /// A request whose replies are to come to this channel: they get the name of its queue.
    #[inline]
    fn address_replies(
        &self,
        properties: Properties,
        draft: Draft,
        addressed: &Addressed,
    ) -> Result<(Properties, Draft), Error> {
        if properties.reply_to() != Some(REPLY_QUEUE.as_bytes()) {
            return Ok((properties, draft));
        }
        let queue = self.replies.as_ref().ok_or(Error::NoReplyConsumer)?;
        let mut basic = properties.to_basic();
        basic.reply_to = ShortBytes::try_from(queue.name.to_string()).ok();
        let properties = basic.encode();
        let content = draft.content();
        let (exchange, key) = (addressed.exchange.as_bytes(), addressed.key.as_bytes());
        let mut again = Draft::noted(exchange, key, &properties, content.extras, content.body.len());
        again.push(content.body);
        Ok((properties, again))
    }

    #[inline]
    fn whole(&mut self, context: &mut Context<'_>, addressed: Addressed, partial: Partial) -> Result<(), Error> {
        let Partial { properties, draft, copies, .. } = partial;
        check(&properties, context)?;
        context.check_access(Right::Write, ResourceKind::Exchange, &addressed.exchange)?;
        for key in std::iter::once(&addressed.key).chain(&copies) {
            context.check_topic(Right::Write, &addressed.exchange, key)?;
        }
        let (properties, draft) = self.address_replies(properties, draft, &addressed)?;
        let whole = Whole { addressed, properties, draft, copies };
        if self.tx.is_selected() {
            return self.publish_in_tx(context, whole);
        }
        let Sent { offset, verdict } = self.send(context, whole)?;
        match verdict {
            Verdict::Taken => self.confirms.published(self.number, offset, context),
            Verdict::Refused => self.confirms.refused(self.number, context),
        }
        Ok(())
    }

    /// Puts a message into its queues, or returns it. Says which record its publisher depends on.
    #[inline]
    fn send(&mut self, context: &mut Context<'_>, whole: Whole) -> Result<Sent, Error> {
        if whole.copies.is_empty() {
            let last = self.take_route(context, &whole)?;
            let sent = self.send_to(context, &last.route, whole);
            self.last_route = Some(last);
            return Ok(sent);
        }
        let route = whole.route(context)?;
        Ok(self.send_to(context, &route, whole))
    }

    /// As `send`, with a route that was found before.
    #[inline]
    pub(super) fn send_to(&mut self, context: &mut Context<'_>, route: &Route, whole: Whole) -> Sent {
        let Whole { addressed, properties, draft, .. } = whole;
        let Addressed { exchange, key, mandatory } = addressed;
        context.batch.count().published += 1;
        match context.broker.enqueue(&mut context.batch, route, draft) {
            Ok(Placed { offset, verdict }) => {
                self.last_publish = self.last_publish.max(offset);
                if let Some(queue) = route.long_queue() {
                    context.slow_down(queue);
                }
                Sent { offset, verdict }
            }
            Err(Unroutable { draft, offset }) => {
                let count = context.batch.count();
                (count.returned, count.dropped) =
                    (count.returned + u64::from(mandatory), count.dropped + u64::from(!mandatory));
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
                Sent { offset, verdict: Verdict::Taken }
            }
        }
    }

    /// The route of a message: mostly that of the last one.
    #[inline]
    fn take_route(&mut self, context: &Context<'_>, whole: &Whole) -> Result<LastRoute, Error> {
        let Addressed { exchange, key, .. } = &whole.addressed;
        match self.last_route.take() {
            Some(last) if last.exchange == *exchange && last.key == *key && context.broker.is_current(&last.route) => {
                Ok(last)
            }
            _ => {
                let route = context.broker.route(&context.about.vhost, exchange, key, &whole.properties)?;
                Ok(LastRoute { exchange: exchange.detached(), key: key.detached(), route })
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
        Ok(number) if number > i64::from(u32::MAX) => format!("{{value_too_large,{number}}}"),
        Ok(_) => return Ok(()),
    };
    Err(Error::Expiration { given, reason })
}

/// The routing keys in the headers CC and BCC. Nobody is to see the latter: they go on as extras.
fn copies(properties: Properties) -> Result<(Properties, Vec<ShortString>, Vec<u8>), Error> {
    let Some(headers) = properties.headers() else { return Ok((properties, Vec::new(), Vec::new())) };
    let (mut keys, mut extras) = (Vec::new(), Vec::new());
    for name in [CC, BCC] {
        let Some(value) = headers.find(name) else { continue };
        let FieldView::Array(array) = value else { return Err(Error::Copies(name)) };
        for key in array.iter() {
            let FieldView::LongString(key) = key else { return Err(Error::Copies(name)) };
            if name == BCC {
                Extra::HiddenKey(key).put(&mut extras);
            }
            keys.push(ShortString::from_utf8(key.to_vec().into()).ok_or(Error::Copies(name))?);
        }
    }
    if headers.find(BCC).is_none() {
        return Ok((properties, keys, extras));
    }
    let mut visible = headers.to_table();
    visible.remove(BCC);
    Ok((properties.with_headers(&visible), keys, extras))
}
