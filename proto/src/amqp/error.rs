//! What can be wrong with bytes that a peer sent, and the reply code each fault closes the connection with.

use super::{ReplyCode, ShortString};

/// The peer broke the protocol. Every variant closes the connection: the codes are those RabbitMQ uses.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("unknown frame type {0}")]
    FrameType(u8),
    #[error("frame payload of {size} bytes on channel {channel} is larger than frame_max {frame_max} allows")]
    FrameTooLarge { channel: u16, size: u32, frame_max: u32 },
    #[error("frame ends with octet {0} and not with 206")]
    FrameEnd(u8),
    #[error("heartbeat with a payload of {0} bytes")]
    HeartbeatPayload(u32),
    #[error("heartbeat on channel {0}")]
    HeartbeatChannel(u16),
    #[error("method frame of {0} bytes holds no class and method id")]
    MethodTooShort(usize),
    #[error("unknown method {method_id} of class {class_id}")]
    UnknownMethod { class_id: u16, method_id: u16 },
    #[error("cannot decode the fields of {method}")]
    MethodFields { method: &'static str },
    #[error("malformed UTF-8 in a short string of {method}")]
    ShortStringUtf8 { method: &'static str },
    #[error("field table or array is cut off")]
    TableTruncated,
    #[error("unknown field type {0} in a field table or array")]
    FieldType(u8),
    #[error("field table is nested deeper than {0} levels")]
    TableDepth(usize),
    #[error("content header of {0} bytes is too short")]
    HeaderTooShort(usize),
    #[error("content header has weight {0} and not 0")]
    HeaderWeight(u16),
    #[error("content header has unknown property flags {0:#06x}")]
    PropertyFlags(u16),
    #[error("properties of the content header do not match their flags")]
    PropertyFields,
}

impl Error {
    /// The code of the connection.close that answers this fault.
    #[must_use]
    pub fn reply_code(&self) -> ReplyCode {
        match self {
            Self::FrameType(_)
            | Self::FrameTooLarge { .. }
            | Self::FrameEnd(_)
            | Self::HeartbeatPayload(_)
            | Self::MethodTooShort(_)
            | Self::MethodFields { .. }
            | Self::ShortStringUtf8 { .. }
            | Self::HeaderTooShort(_) => ReplyCode::FrameError,
            Self::TableTruncated
            | Self::FieldType(_)
            | Self::TableDepth(_)
            | Self::PropertyFlags(_)
            | Self::PropertyFields => ReplyCode::SyntaxError,
            Self::UnknownMethod { .. } => ReplyCode::CommandInvalid,
            Self::HeartbeatChannel(_) | Self::HeaderWeight(_) => ReplyCode::UnexpectedFrame,
        }
    }

    /// The whole text of that connection.close: `FRAME_ERROR - unknown frame type 9`.
    #[must_use]
    pub fn reply_text(&self) -> ShortString {
        self.reply_code().text(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_names_the_code_and_the_fact() {
        assert_eq!(Error::FrameType(9).reply_text(), "FRAME_ERROR - unknown frame type 9");
        assert_eq!(Error::FieldType(b'Z').reply_code().code(), 502);
        assert_eq!(Error::UnknownMethod { class_id: 1, method_id: 2 }.reply_code().code(), 503);
        assert_eq!(Error::HeaderWeight(1).reply_code().code(), 505);
    }
}
