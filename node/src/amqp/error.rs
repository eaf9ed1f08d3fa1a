//! The only place where an error becomes a reply code and a text. The texts are RabbitMQ's: clients match them.

use tercet_proto::amqp::{self, Closes, ReplyCode, ShortString};

use crate::broker::{Refusal, Resource};

/// Why a channel or a connection is closed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Error {
    #[error(transparent)]
    Protocol(#[from] amqp::Error),
    /// Boxed, so that the road of a message does not carry its size along.
    #[error(transparent)]
    Refused(Box<Refusal>),
    #[error("no previously declared queue")]
    NoLastQueue,
    #[error("unknown exchange type '{0}'")]
    ExchangeKind(ShortString),
    #[error("unknown delivery tag {0}")]
    DeliveryTag(u64),
    #[error("message size {size} is larger than configured max size {max}")]
    MessageTooLarge { size: u64, max: u64 },
    #[error("invalid expiration '{given}': {reason}")]
    Expiration { given: String, reason: String },
    #[error("header '{0}' is not an array of strings")]
    Copies(&'static str),
    #[error("user_id property set to '{given}' but authenticated user was '{user}'")]
    UserId { given: String, user: String },
    #[error("cannot switch from {from} to {to} mode")]
    Mode { from: &'static str, to: &'static str },
    #[error("channel is not transactional")]
    NotTransactional,
    #[error("attempt to reuse consumer tag '{0}'")]
    ConsumerTag(ShortString),
    #[error("vhost {0} not found")]
    Vhost(ShortString),
    #[error("access to vhost '{vhost}' refused for user '{user}'")]
    VhostRefused { vhost: ShortString, user: ShortString },
    #[error("negotiated {what} = {given} is {relation} allowed value ({bound})")]
    Tune { what: &'static str, given: u32, relation: &'static str, bound: u32 },
    #[error("number of channels opened ({0}) has reached the negotiated channel_max ({0})")]
    TooManyChannels(u16),
    #[error("expected 'channel.open'")]
    ChannelNotOpen,
    #[error("second 'channel.open' seen")]
    ChannelOpenTwice,
    #[error("unexpected method in connection state {0}")]
    State(&'static str),
    #[error("unimplemented method")]
    NotForServers,
    #[error("expected content header for class 60, got non content header frame instead")]
    NoHeader,
    #[error("expected content header for class 60, got one for class {0} instead")]
    HeaderClass(u16),
    #[error("expected content body, got non content body frame instead")]
    NoBody,
    #[error("expected method frame, got non method frame instead")]
    NoMethod,
    #[error("body of {got} bytes is longer than the {announced} that its header announced")]
    BodyTooLong { got: u64, announced: u64 },
    #[error("unknown authentication mechanism '{0}'")]
    Mechanism(ShortString),
    #[error("cannot read the response of {0}")]
    Sasl(&'static str),
    #[error("Login was refused using authentication mechanism {0}. For details see the broker logfile.")]
    Login(ShortString),
    /// Of the specification or of an extension, and not done here yet.
    #[error("{0}")]
    NotImplemented(String),
    #[error("{right} access to {resource} refused for user '{user}'")]
    Forbidden { right: &'static str, resource: Box<Resource>, user: ShortString },
    #[error(transparent)]
    ForbiddenTopic(Box<ForbiddenTopic>),
    #[error("access to vhost '{vhost}' refused for user '{user}': connection limit ({limit}) is reached")]
    VhostConnections { vhost: ShortString, user: ShortString, limit: usize },
    #[error("connection refused for user '{user}': user connection limit ({limit}) is reached")]
    UserConnections { user: ShortString, limit: u64 },
    #[error("number of channels opened for user '{user}' has reached the maximum allowed user limit of ({limit})")]
    UserChannels { user: ShortString, limit: u64 },
    #[error("reached maximum ({0}) of consumers per channel")]
    TooManyConsumers(usize),
    #[error(
        "delivery acknowledgement on channel {channel} timed out. Timeout value used: {milliseconds} ms. This timeout \
         value can be configured, see consumers doc guide to learn more"
    )]
    ConsumerTimeout { channel: u16, milliseconds: u64 },
    #[error("{what} not supported by stream queues {queue}")]
    Stream { what: &'static str, queue: Box<Resource> },
    #[error("consumer prefetch count is not set for '{0}'")]
    NoPrefetch(Box<Resource>),
    #[error("invalid arg 'x-stream-offset' for {queue}: {{invalid_stream_offset_arg,{given}}}")]
    StreamOffset { queue: Box<Resource>, given: String },
    #[error("reply consumer cannot acknowledge")]
    ReplyAcknowledge,
    #[error("reply consumer already set")]
    ReplyConsumerTwice,
    #[error("fast reply consumer does not exist")]
    NoReplyConsumer,
    #[error("invalid arg '{argument}' for {queue}: \"expected integer, got {given}\"")]
    ConsumerArgument { queue: Box<Resource>, argument: &'static str, given: &'static str },
    #[error("{0} bytes of messages that are not whole")]
    TooMuchUnfinished(usize),
    #[error("partial tx completion")]
    PartialTx,
    #[error("this node is no longer the master")]
    NotMaster,
}

/// A routing key that a user has no permission for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{right} access to topic '{key}' in exchange '{exchange}' in vhost '{vhost}' refused for user '{user}'")]
pub(super) struct ForbiddenTopic {
    pub(super) right: &'static str,
    pub(super) key: ShortString,
    pub(super) exchange: ShortString,
    pub(super) vhost: ShortString,
    pub(super) user: ShortString,
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(Box::new(refusal))
    }
}

impl Error {
    pub(super) fn reply_code(&self) -> ReplyCode {
        match self {
            Self::Protocol(error) => error.reply_code(),
            Self::Refused(refusal) => refusal_code(refusal),
            Self::NoLastQueue => ReplyCode::NotFound,
            Self::ExchangeKind(_)
            | Self::DeliveryTag(_)
            | Self::MessageTooLarge { .. }
            | Self::Expiration { .. }
            | Self::Copies(_)
            | Self::UserId { .. }
            | Self::Mode { .. }
            | Self::NotTransactional
            | Self::ReplyAcknowledge
            | Self::ReplyConsumerTwice
            | Self::NoReplyConsumer
            | Self::ConsumerArgument { .. }
            | Self::ConsumerTimeout { .. }
            | Self::NoPrefetch(_)
            | Self::StreamOffset { .. }
            | Self::PartialTx => ReplyCode::PreconditionFailed,
            Self::ConsumerTag(_)
            | Self::Vhost(_)
            | Self::VhostRefused { .. }
            | Self::Tune { .. }
            | Self::VhostConnections { .. }
            | Self::UserConnections { .. }
            | Self::UserChannels { .. }
            | Self::TooManyConsumers(_)
            | Self::TooManyChannels(_) => ReplyCode::NotAllowed,
            Self::ChannelNotOpen | Self::ChannelOpenTwice | Self::State(_) => ReplyCode::ChannelError,
            Self::NotForServers | Self::Mechanism(_) => ReplyCode::CommandInvalid,
            Self::NoHeader | Self::HeaderClass(_) | Self::NoBody | Self::NoMethod | Self::BodyTooLong { .. } => {
                ReplyCode::UnexpectedFrame
            }
            Self::Sasl(_) => ReplyCode::SyntaxError,
            Self::Login(_) | Self::Forbidden { .. } | Self::ForbiddenTopic(_) => ReplyCode::AccessRefused,
            Self::NotImplemented(_) | Self::Stream { .. } => ReplyCode::NotImplemented,
            Self::TooMuchUnfinished(_) => ReplyCode::ResourceError,
            Self::NotMaster => ReplyCode::ConnectionForced,
        }
    }

    pub(super) fn reply_text(&self) -> ShortString {
        self.reply_code().text(self)
    }

    /// What ends with it. A refused login has no channel to close.
    pub(super) fn closes(&self) -> Closes {
        match self {
            Self::Login(_) => Closes::Connection,
            other => other.reply_code().closes(),
        }
    }
}

fn refusal_code(refusal: &Refusal) -> ReplyCode {
    match refusal {
        Refusal::NotFound(_) => ReplyCode::NotFound,
        Refusal::Locked(_) => ReplyCode::ResourceLocked,
        Refusal::ExclusiveUse(_)
        | Refusal::ReservedName(_)
        | Refusal::DefaultExchange
        | Refusal::SystemExchange(_)
        | Refusal::InternalExchange(_) => ReplyCode::AccessRefused,
        Refusal::InUse(_)
        | Refusal::NotEmpty(_)
        | Refusal::Inequivalent { .. }
        | Refusal::InvalidArgument { .. }
        | Refusal::InvalidProperty { .. }
        | Refusal::ArgumentType { .. }
        | Refusal::WrongBinding(_)
        | Refusal::WrongExchange(_)
        | Refusal::QueueLimit { .. }
        | Refusal::ArgumentOfType { .. }
        | Refusal::ServerNamed { .. } => ReplyCode::PreconditionFailed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::{DEFAULT_VHOST, Resource};

    #[test]
    fn texts_are_those_of_rabbitmq() {
        let queue = Resource::queue(&DEFAULT_VHOST, &ShortString::from_static("q"));
        let table: &[(Error, u16, &str, Closes)] = &[
            (Refusal::NotFound(queue.clone()).into(), 404, "NOT_FOUND - no queue 'q' in vhost '/'", Closes::Channel),
            (
                Refusal::Locked(queue.clone()).into(),
                405,
                "RESOURCE_LOCKED - cannot obtain exclusive access to locked queue 'q' in vhost '/'. It could be \
                 originally declared on another connection or the exclusive property value does not match that of the \
                 original declaration.",
                Closes::Channel,
            ),
            (Error::DeliveryTag(3), 406, "PRECONDITION_FAILED - unknown delivery tag 3", Closes::Channel),
            (Error::Vhost(ShortString::from_static("x")), 530, "NOT_ALLOWED - vhost x not found", Closes::Connection),
            (
                Error::Tune { what: "frame_max", given: 9, relation: "lower than the minimum", bound: 8192 },
                530,
                "NOT_ALLOWED - negotiated frame_max = 9 is lower than the minimum allowed value (8192)",
                Closes::Connection,
            ),
            (
                Error::Login(ShortString::from_static("PLAIN")),
                403,
                "ACCESS_REFUSED - Login was refused using authentication mechanism PLAIN. For details see the broker \
                 logfile.",
                Closes::Connection,
            ),
            (
                Refusal::ReservedName(queue).into(),
                403,
                "ACCESS_REFUSED - queue name 'q' contains reserved prefix 'amq.*'",
                Closes::Channel,
            ),
        ];
        for (error, code, text, closes) in table {
            assert_eq!((error.reply_code().code(), error.closes()), (*code, *closes));
            assert_eq!(error.reply_text(), *text);
        }
    }
}
