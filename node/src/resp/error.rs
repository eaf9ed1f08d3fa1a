//! What a command refuses, in Redis's words. This is the only place where an error of the RESP frontend becomes text.

use std::borrow::Cow;

use tercet_proto::resp::REPLY_BYTES;

use crate::engine::Refused;
use crate::keyspace::WrongType;

/// Why a command was refused.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Error {
    #[error("WRONGTYPE Operation against a key holding the wrong kind of value")]
    WrongType,
    #[error("ERR syntax error")]
    Syntax,
    #[error("ERR names of queues, exchanges, keys and headers are UTF-8 of 255 bytes at most")]
    QueueName,
    #[error("ERR not an id that MQ.GET gave")]
    MessageId,
    #[error("QUEUEFULL a queue that the message was routed to is full")]
    QueueFull,
    #[error("OOM publishers are held: messages and buffers take more than 'memory-high-watermark'")]
    PublishersHeld,
    #[error("ERR fields of hashes cannot expire yet: a replica of an older version follows, upgrade it first")]
    OlderReplica,
    /// What the broker refuses, with its code.
    #[error("{0}")]
    Broker(String),
    #[error("ERR value is not an integer or out of range")]
    NotInteger,
    #[error("ERR value is out of range")]
    OutOfRange,
    #[error("ERR the reply takes more than {} MiB; what the command has changed stays so", REPLY_BYTES >> 20)]
    ReplyTooLarge,
    #[error("ERR value is out of range, must be positive")]
    NotPositive,
    #[error("ERR value is not a valid float")]
    NotFloat,
    #[error("ERR increment or decrement would overflow")]
    Overflow,
    #[error("ERR increment would produce NaN or Infinity")]
    NotANumber,
    #[error("ERR index out of range")]
    Index,
    #[error("ERR no such key")]
    NoSuchKey,
    #[error("ERR invalid cursor")]
    Cursor,
    #[error("ERR DB index is out of range")]
    DatabaseIndex,
    #[error("ERR string exceeds maximum allowed size (proto-max-bulk-len)")]
    StringTooLong,
    /// Redis knows no such bound.
    #[error("ERR what the transaction changes exceeds the maximum allowed size of a record")]
    TooLarge,
    #[error("ERR offset is out of range")]
    Offset,
    #[error("ERR invalid expire time in '{0}' command")]
    ExpireTime(&'static str),
    #[error("ERR wrong number of arguments for '{0}' command")]
    Arity(Cow<'static, str>),
    #[error("ERR unknown command '{name}', with args beginning with: {args}")]
    UnknownCommand { name: String, args: String },
    /// `command` in upper case.
    #[error("ERR unknown subcommand '{subcommand}'. Try {command} HELP.")]
    UnknownSubcommand { command: String, subcommand: String },
    #[error("NOAUTH Authentication required.")]
    NotAuthenticated,
    #[error("WRONGPASS invalid username-password pair or user is disabled.")]
    WrongPassword,
    #[error("READONLY You can't write against a read only replica.")]
    ReadOnly,
    #[error("NOREPLICAS Not enough good replicas to write.")]
    TooFewReplicas,
    /// Of a failed write of the append-only file, in Redis's words.
    #[error("MISCONF Errors writing to the AOF file: {0}")]
    DiskFailed(String),
    #[error("LOADING Tercet is loading the dataset in memory")]
    Loading,
    #[error("OOM command not allowed when used memory > 'maxmemory'.")]
    OutOfMemory,
    #[error("EXECABORT Transaction discarded because of previous errors.")]
    ExecAbort,
    /// No error: the command waits. Only `call` sees it.
    #[error("ERR the command waits for a key")]
    Blocked(Box<super::block::Block>),
    #[error("{0}")]
    Other(Cow<'static, str>),
}

/// Bytes of a name that an error shows.
const SHOWN: usize = 128;

/// A byte that is no text is kept as a letter of Unicode's private use behind this one, until the error is written.
const FOREIGN: u32 = 0xf700;

/// A client's bytes as an error shows them: up to the first NUL, as C's strings end there, and otherwise unchanged.
pub(crate) fn shown(bytes: &[u8]) -> String {
    let end = memchr::memchr(0, bytes).unwrap_or(bytes.len());
    let mut text = String::with_capacity(end);
    for chunk in bytes[..end].utf8_chunks() {
        text.push_str(chunk.valid());
        text.extend(chunk.invalid().iter().filter_map(|byte| char::from_u32(FOREIGN + u32::from(*byte))));
    }
    text
}

impl From<Refused> for Error {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::WrongType => Self::WrongType,
            Refused::TooLarge => Self::TooLarge,
        }
    }
}

impl From<WrongType> for Error {
    fn from(_: WrongType) -> Self {
        Self::WrongType
    }
}

impl Error {
    /// A text of its own, its code included.
    pub(crate) fn text(text: impl Into<Cow<'static, str>>) -> Self {
        Self::Other(text.into())
    }

    /// What Redis answers to a name that no row has: the name cut at 128 bytes, the arguments up to 128 bytes in all.
    pub(crate) fn unknown_command(args: &[&[u8]]) -> Self {
        let clean = |bytes: &[u8]| shown(&bytes[..bytes.len().min(SHOWN)]);
        let mut listed = String::new();
        for arg in args.iter().skip(1) {
            if listed.len() >= SHOWN {
                break;
            }
            let room = SHOWN - listed.len();
            listed.push('\'');
            listed.push_str(&clean(&arg[..arg.len().min(room)]));
            listed.push_str("' ");
        }
        Self::UnknownCommand { name: clean(args.first().copied().unwrap_or_default()), args: listed }
    }

    /// What Redis answers to a subcommand that no row has.
    pub(crate) fn unknown_subcommand(command: &str, subcommand: &[u8]) -> Self {
        let subcommand = shown(&subcommand[..subcommand.len().min(SHOWN)]);
        Self::UnknownSubcommand { command: command.to_ascii_uppercase(), subcommand }
    }

    /// What Redis answers to a subcommand that it knows and does not understand.
    pub(crate) fn subcommand_syntax(command: &str, subcommand: &[u8]) -> Self {
        let subcommand = shown(&subcommand[..subcommand.len().min(SHOWN)]);
        let text =
            format!("ERR unknown subcommand or wrong number of arguments for '{subcommand}'. Try {command} HELP.");
        Self::text(text)
    }

    /// What the client reads.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let text = self.to_string();
        let mut bytes = Vec::with_capacity(text.len());
        for letter in text.chars() {
            match u32::from(letter).checked_sub(FOREIGN) {
                Some(byte @ 0..=255) => bytes.push(byte as u8),
                _ => bytes.extend_from_slice(letter.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_that_are_no_text_are_answered_as_they_came() {
        let error = Error::unknown_command(&[b"b\xffd\xc3\xa9\0hidden", b"a\xfe"]);
        assert_eq!(error.to_bytes(), b"ERR unknown command 'b\xffd\xc3\xa9', with args beginning with: 'a\xfe' ");
    }

    #[test]
    fn a_long_name_is_cut() {
        let error = Error::unknown_subcommand("config", &[b'x'; 200]);
        assert_eq!(error.to_string(), format!("ERR unknown subcommand '{}'. Try CONFIG HELP.", "x".repeat(128)));
    }
}
