//! What a command refuses, in Redis's words. This is the only place where an error of the RESP frontend becomes text.

use std::borrow::Cow;

use crate::keyspace::WrongType;

/// Why a command was refused.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Error {
    #[error("WRONGTYPE Operation against a key holding the wrong kind of value")]
    WrongType,
    #[error("ERR syntax error")]
    Syntax,
    #[error("ERR value is not an integer or out of range")]
    NotInteger,
    #[error("ERR value is out of range")]
    OutOfRange,
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
    #[error("ERR offset is out of range")]
    Offset,
    #[error("ERR invalid expire time in '{0}' command")]
    ExpireTime(&'static str),
    #[error("ERR wrong number of arguments for '{0}' command")]
    Arity(Cow<'static, str>),
    #[error("ERR unknown command '{name}', with args beginning with: {args}")]
    UnknownCommand { name: String, args: String },
    #[error("ERR unknown subcommand '{subcommand}'. Try {command} HELP.")]
    UnknownSubcommand { command: &'static str, subcommand: String },
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
    #[error("EXECABORT Transaction discarded because of previous errors.")]
    ExecAbort,
    #[error("{0}")]
    Other(Cow<'static, str>),
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
        const SHOWN: usize = 128;
        let clean = |bytes: &[u8]| {
            let cut = &bytes[..bytes.len().min(SHOWN)];
            String::from_utf8_lossy(cut).into_owned()
        };
        let mut shown = String::new();
        for arg in args.iter().skip(1) {
            if shown.len() >= SHOWN {
                break;
            }
            let room = SHOWN - shown.len();
            shown.push('\'');
            shown.push_str(&clean(&arg[..arg.len().min(room)]));
            shown.push_str("' ");
        }
        Self::UnknownCommand { name: clean(args.first().copied().unwrap_or_default()), args: shown }
    }
}
