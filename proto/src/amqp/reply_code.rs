//! Reply codes: number, name, and what they close. Append-only; a test holds the numbers.

use std::fmt::Display;

use super::ShortString;

/// What ends with a reply of this code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Closes {
    /// No error, or told in basic.return.
    Nothing,
    Channel,
    Connection,
}

macro_rules! reply_codes {
    ($($variant:ident $code:literal $name:literal $closes:ident;)*) => {
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[repr(u16)]
        pub enum ReplyCode { $($variant = $code,)* }

        impl ReplyCode {
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            #[must_use]
            pub fn from_code(code: u16) -> Option<Self> {
                match code { $($code => Some(Self::$variant),)* _ => None }
            }

            /// As it begins every reply text: `NOT_FOUND`.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// What the specification closes for it. ACCESS_REFUSED closes the connection too when the login is refused.
            #[must_use]
            pub fn closes(self) -> Closes {
                match self { $(Self::$variant => Closes::$closes,)* }
            }
        }
    };
}

reply_codes! {
    Success 200 "REPLY_SUCCESS" Nothing;
    ContentTooLarge 311 "CONTENT_TOO_LARGE" Channel;
    NoRoute 312 "NO_ROUTE" Nothing;
    NoConsumers 313 "NO_CONSUMERS" Nothing;
    ConnectionForced 320 "CONNECTION_FORCED" Connection;
    InvalidPath 402 "INVALID_PATH" Connection;
    AccessRefused 403 "ACCESS_REFUSED" Channel;
    NotFound 404 "NOT_FOUND" Channel;
    ResourceLocked 405 "RESOURCE_LOCKED" Channel;
    PreconditionFailed 406 "PRECONDITION_FAILED" Channel;
    FrameError 501 "FRAME_ERROR" Connection;
    SyntaxError 502 "SYNTAX_ERROR" Connection;
    CommandInvalid 503 "COMMAND_INVALID" Connection;
    ChannelError 504 "CHANNEL_ERROR" Connection;
    UnexpectedFrame 505 "UNEXPECTED_FRAME" Connection;
    ResourceError 506 "RESOURCE_ERROR" Connection;
    NotAllowed 530 "NOT_ALLOWED" Connection;
    NotImplemented 540 "NOT_IMPLEMENTED" Connection;
    InternalError 541 "INTERNAL_ERROR" Connection;
}

impl ReplyCode {
    #[must_use]
    pub fn code(self) -> u16 {
        self as u16
    }

    /// `NAME - explanation`, cut at a character when it would not fit a short string.
    #[must_use]
    pub fn text(self, explanation: impl Display) -> ShortString {
        ShortString::truncated(&format!("{} - {explanation}", self.name()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_never_change() {
        let codes: Vec<u16> = ReplyCode::ALL.iter().map(|code| code.code()).collect();
        let literal = [200, 311, 312, 313, 320, 402, 403, 404, 405, 406, 501, 502, 503, 504, 505, 506, 530, 540, 541];
        assert_eq!(codes, literal);
        assert!(codes.iter().all(|&code| ReplyCode::from_code(code).map(ReplyCode::code) == Some(code)));
        assert_eq!(ReplyCode::from_code(0), None);
    }

    #[test]
    fn text_is_what_clients_parse() {
        let text = ReplyCode::NotFound.text("no queue 'q' in vhost '/'");
        assert_eq!(text, "NOT_FOUND - no queue 'q' in vhost '/'");
    }

    #[test]
    fn text_never_exceeds_a_short_string() {
        let text = ReplyCode::NotAllowed.text("ü".repeat(300));
        assert_eq!(text.len(), "NOT_ALLOWED - ".len() + 240);
    }

    #[test]
    fn soft_errors_close_the_channel_only() {
        assert_eq!(ReplyCode::NotFound.closes(), Closes::Channel);
        assert_eq!(ReplyCode::NotImplemented.closes(), Closes::Connection);
        assert_eq!(ReplyCode::NoRoute.closes(), Closes::Nothing);
    }
}
