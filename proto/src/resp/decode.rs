//! Requests: where the arguments of the next command lie in a receive buffer.
//!
//! ```text
//! *<n>\r\n ( $<len>\r\n <bytes>\r\n ){n}      an array of bulk strings, or
//! word "quoted word" 'word'\r\n               an inline command
//! ```
//!
//! Nothing is copied: a command is a list of ranges. The decoder is resumable, so a command that arrives in a thousand
//! pieces is looked at once. Limits and error texts are those of Redis 7.2 (`networking.c`, `processMultibulkBuffer`).

use std::ops::Range;

/// Bounds of what one client may make the server hold.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// `proto-max-bulk-len`: bytes of one argument.
    pub bulk_length: usize,
    /// Arguments of one command.
    pub array_length: usize,
    /// Bytes of an inline command, and of the line that announces an array or a bulk.
    pub inline_length: usize,
    /// Arguments and bytes a bulk of a client that has not authenticated yet.
    pub unauthenticated: Option<(usize, usize)>,
}

impl Default for Limits {
    fn default() -> Self {
        Self { bulk_length: 512 << 20, array_length: i32::MAX as usize, inline_length: 64 << 10, unauthenticated: None }
    }
}

impl Limits {
    /// What Redis allows before AUTH: 10 arguments of 16 KiB.
    #[must_use]
    pub fn unauthenticated(self) -> Self {
        Self { unauthenticated: Some((10, 16 << 10)), ..self }
    }
}

/// The client broke the protocol: answer with the text and close.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProtocolError {
    #[error("ERR Protocol error: too big mbulk count string")]
    ArrayLineTooLong,
    #[error("ERR Protocol error: invalid multibulk length")]
    ArrayLength,
    #[error("ERR Protocol error: unauthenticated multibulk length")]
    UnauthenticatedArrayLength,
    #[error("ERR Protocol error: too big bulk count string")]
    BulkLineTooLong,
    #[error("ERR Protocol error: expected '$', got '{}'", printable(*.0))]
    ExpectedBulk(u8),
    #[error("ERR Protocol error: invalid bulk length")]
    BulkLength,
    #[error("ERR Protocol error: unauthenticated bulk length")]
    UnauthenticatedBulkLength,
    #[error("ERR Protocol error: too big inline request")]
    InlineTooLong,
    #[error("ERR Protocol error: unbalanced quotes in request")]
    UnbalancedQuotes,
}

fn printable(byte: u8) -> char {
    if byte == 0 || byte == b'\r' || byte == b'\n' { ' ' } else { char::from(byte) }
}

/// The arguments of one command: ranges of the receive buffer, or owned words of an inline command with quotes.
#[derive(Debug, Default)]
pub struct Args {
    ranges: Vec<Range<usize>>,
    owned: Vec<u8>,
    is_owned: bool,
}

impl Args {
    #[must_use]
    pub fn len(&self) -> usize {
        self.ranges.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// The arguments as slices of `buffer`, the same that was decoded.
    pub fn slices<'a>(&'a self, buffer: &'a [u8]) -> impl ExactSizeIterator<Item = &'a [u8]> + 'a {
        let source = if self.is_owned { self.owned.as_slice() } else { buffer };
        self.ranges.iter().map(move |range| &source[range.clone()])
    }

    fn clear(&mut self) {
        self.ranges.clear();
        self.owned.clear();
        self.is_owned = false;
    }
}

/// Finds commands in a receive buffer. One a connection.
#[derive(Debug, Default)]
pub struct Decoder {
    args: Args,
    /// Where to go on in an array that was not whole yet.
    position: usize,
    /// Arguments still to come; `None` between commands.
    missing: Option<usize>,
    /// The announced length of a bulk whose bytes have not all come.
    bulk: Option<usize>,
}

impl Decoder {
    /// Looks for a whole command at the start of `buffer`. `Some(n)`: `args()` holds it and it took `n` bytes (an empty
    /// command has no arguments and is to be skipped). `None`: more bytes are needed; call again with the same bytes
    /// and more behind them.
    ///
    /// # Errors
    /// The stream cannot be followed any more; the connection is to be closed.
    pub fn decode(&mut self, buffer: &[u8], limits: &Limits) -> Result<Option<usize>, ProtocolError> {
        if self.missing.is_none() {
            match buffer.first() {
                None => return Ok(None),
                Some(b'*') => {}
                Some(_) => return self.decode_inline(buffer, limits),
            }
            self.args.clear();
            let Some((count, next)) = number_line(buffer, 1, limits.inline_length)
                .map_err(|error| error.of(ProtocolError::ArrayLineTooLong, ProtocolError::ArrayLength))?
            else {
                return Ok(None);
            };
            if count > limits.array_length as i64 {
                return Err(ProtocolError::ArrayLength);
            }
            if limits.unauthenticated.is_some_and(|(most, _)| count > most as i64) {
                return Err(ProtocolError::UnauthenticatedArrayLength);
            }
            if count <= 0 {
                return Ok(Some(next));
            }
            self.missing = Some(count as usize);
            self.position = next;
            self.bulk = None;
        }
        self.decode_bulks(buffer, limits)
    }

    /// The command that the last `decode` found.
    #[must_use]
    pub fn args(&self) -> &Args {
        &self.args
    }

    /// Takes the command that the last `decode` found, and gives the decoder an old one to reuse.
    pub fn take_args(&mut self, reuse: Args) -> Args {
        std::mem::replace(&mut self.args, reuse)
    }

    /// Forgets a command that was not whole: the next `decode` begins at the start of its buffer.
    pub fn restart(&mut self) {
        self.missing = None;
        self.bulk = None;
    }

    /// How many bytes the command under way needs in all, as far as is known: a hint for the size of the buffer.
    #[must_use]
    pub fn wanted(&self) -> usize {
        self.bulk.map_or(0, |length| self.position + length + 2)
    }

    /// Bytes of memory that the command under way takes besides its buffer.
    #[must_use]
    pub fn memory(&self) -> usize {
        self.args.ranges.len() * size_of::<Range<usize>>()
    }

    fn decode_bulks(&mut self, buffer: &[u8], limits: &Limits) -> Result<Option<usize>, ProtocolError> {
        let mut missing = self.missing.unwrap_or(0);
        while missing > 0 {
            let length = match self.bulk {
                Some(length) => length,
                None => match self.bulk_length(buffer, limits)? {
                    Some(length) => length,
                    None => {
                        self.missing = Some(missing);
                        return Ok(None);
                    }
                },
            };
            if buffer.len() < self.position + length + 2 {
                self.bulk = Some(length);
                self.missing = Some(missing);
                return Ok(None);
            }
            self.args.ranges.push(self.position..self.position + length);
            self.position += length + 2;
            self.bulk = None;
            missing -= 1;
        }
        self.missing = None;
        Ok(Some(self.position))
    }

    fn bulk_length(&mut self, buffer: &[u8], limits: &Limits) -> Result<Option<usize>, ProtocolError> {
        let Some(&first) = buffer.get(self.position) else { return Ok(None) };
        if first != b'$' {
            return Err(ProtocolError::ExpectedBulk(first));
        }
        let Some((length, next)) = number_line(buffer, self.position + 1, limits.inline_length)
            .map_err(|error| error.of(ProtocolError::BulkLineTooLong, ProtocolError::BulkLength))?
        else {
            return Ok(None);
        };
        if length < 0 || length > limits.bulk_length as i64 {
            return Err(ProtocolError::BulkLength);
        }
        if limits.unauthenticated.is_some_and(|(_, most)| length > most as i64) {
            return Err(ProtocolError::UnauthenticatedBulkLength);
        }
        self.position = next;
        Ok(Some(length as usize))
    }

    fn decode_inline(&mut self, buffer: &[u8], limits: &Limits) -> Result<Option<usize>, ProtocolError> {
        let Some(end) = memchr::memchr(b'\n', buffer) else {
            return if buffer.len() > limits.inline_length { Err(ProtocolError::InlineTooLong) } else { Ok(None) };
        };
        if end > limits.inline_length {
            return Err(ProtocolError::InlineTooLong);
        }
        self.args.clear();
        let line = buffer[..end].strip_suffix(b"\r").unwrap_or(&buffer[..end]);
        self.args.is_owned = true;
        split_words(line, &mut self.args)?;
        Ok(Some(end + 1))
    }
}

enum LineError {
    TooLong,
    NotANumber,
}

impl LineError {
    fn of(self, too_long: ProtocolError, not_a_number: ProtocolError) -> ProtocolError {
        match self {
            Self::TooLong => too_long,
            Self::NotANumber => not_a_number,
        }
    }
}

/// The number from `start` to the next CR LF, and where the line after it begins.
#[inline]
fn number_line(buffer: &[u8], start: usize, limit: usize) -> Result<Option<(i64, usize)>, LineError> {
    let mut at = start;
    let negative = buffer.get(at) == Some(&b'-');
    if negative {
        at += 1;
    }
    let digits = at;
    let mut number: i64 = 0;
    while let Some(&byte) = buffer.get(at) {
        if byte.is_ascii_digit() {
            number = number
                .checked_mul(10)
                .and_then(|n| n.checked_add(i64::from(byte - b'0')))
                .ok_or(LineError::NotANumber)?;
            at += 1;
        } else if byte == b'\r' {
            if at == digits {
                return Err(LineError::NotANumber);
            }
            // Redis waits for the byte behind CR and does not look at it.
            return Ok((buffer.len() > at + 1).then_some((if negative { -number } else { number }, at + 2)));
        } else {
            // Redis looks for the CR first: a line without one is too long before it is wrong.
            return match memchr::memchr(b'\r', &buffer[at..]) {
                Some(_) => Err(LineError::NotANumber),
                None if buffer.len() - start > limit => Err(LineError::TooLong),
                None => Ok(None),
            };
        }
    }
    if buffer.len() - start.min(buffer.len()) > limit { Err(LineError::TooLong) } else { Ok(None) }
}

/// Words of an inline command with the quoting of redis-cli (`sdssplitargs`): "..." with escapes, '...' with \'.
fn split_words(line: &[u8], args: &mut Args) -> Result<(), ProtocolError> {
    let mut rest = line.iter().copied().peekable();
    loop {
        while rest.peek().is_some_and(u8::is_ascii_whitespace) {
            rest.next();
        }
        if rest.peek().is_none() {
            return Ok(());
        }
        let start = args.owned.len();
        let mut quote = None;
        loop {
            match (quote, rest.next()) {
                (None, None) => break,
                (Some(_), None) => return Err(ProtocolError::UnbalancedQuotes),
                (None, Some(byte)) if byte.is_ascii_whitespace() => break,
                (None, Some(byte @ (b'"' | b'\''))) => quote = Some(byte),
                (Some(b'"'), Some(b'\\')) => {
                    let escaped = rest.next().ok_or(ProtocolError::UnbalancedQuotes)?;
                    args.owned.push(unescape(escaped, &mut rest));
                }
                (Some(b'\''), Some(b'\\')) if rest.peek() == Some(&b'\'') => {
                    rest.next();
                    args.owned.push(b'\'');
                }
                (Some(open), Some(byte)) if byte == open => {
                    // A closing quote ends the word: what follows must be a space or nothing.
                    if rest.peek().is_some_and(|next| !next.is_ascii_whitespace()) {
                        return Err(ProtocolError::UnbalancedQuotes);
                    }
                    break;
                }
                (_, Some(byte)) => args.owned.push(byte),
            }
        }
        args.ranges.push(start..args.owned.len());
    }
}

fn unescape(escaped: u8, rest: &mut (impl Iterator<Item = u8> + Clone)) -> u8 {
    match escaped {
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'b' => 8,
        b'a' => 7,
        b'x' => {
            let mut ahead = rest.clone();
            let digits = [ahead.next(), ahead.next()].map(|d| d.and_then(|d| char::from(d).to_digit(16)));
            if let [Some(high), Some(low)] = digits {
                *rest = ahead;
                (high * 16 + low) as u8
            } else {
                b'x'
            }
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode_all(input: &[u8]) -> Result<Vec<Vec<Vec<u8>>>, ProtocolError> {
        let (mut decoder, mut at, mut commands) = (Decoder::default(), 0, Vec::new());
        while let Some(used) = decoder.decode(&input[at..], &Limits::default())? {
            commands.push(decoder.args().slices(&input[at..]).map(<[u8]>::to_vec).collect());
            at += used;
        }
        Ok(commands)
    }

    #[test]
    fn arrays_are_split_into_arguments() {
        let commands = decode_all(b"*2\r\n$3\r\nGET\r\n$1\r\nk\r\n*1\r\n$4\r\nPING\r\n").unwrap();
        assert_eq!(commands, [vec![b"GET".to_vec(), b"k".to_vec()], vec![b"PING".to_vec()]]);
    }

    #[test]
    fn a_command_in_single_bytes_is_found_once_it_is_whole() {
        let input = b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$5\r\nv\r\nxy\r\n";
        let mut decoder = Decoder::default();
        for end in 0..input.len() {
            assert_eq!(decoder.decode(&input[..end], &Limits::default()), Ok(None), "after {end} bytes");
        }
        assert_eq!(decoder.decode(input, &Limits::default()), Ok(Some(input.len())));
        let args: Vec<_> = decoder.args().slices(input).collect();
        assert_eq!(args, [b"SET".as_slice(), b"k", b"v\r\nxy"]);
    }

    #[test]
    fn inline_words_keep_their_quoting() {
        let commands = decode_all(b"set \"a b\\x41\\n\" 'it\\'s'\r\n\r\nping\n").unwrap();
        assert_eq!(commands[0], [b"set".to_vec(), b"a bA\n".to_vec(), b"it's".to_vec()]);
        assert!(commands[1].is_empty());
        assert_eq!(commands[2], [b"ping".to_vec()]);
    }

    #[test]
    fn error_texts_are_those_of_redis() {
        let cases: [(&[u8], &str); 6] = [
            (b"*abc\r\n", "ERR Protocol error: invalid multibulk length"),
            (b"*2147483648\r\n", "ERR Protocol error: invalid multibulk length"),
            (b"*1\r\n:3\r\n", "ERR Protocol error: expected '$', got ':'"),
            (b"*1\r\n$-5\r\n", "ERR Protocol error: invalid bulk length"),
            (b"*1\r\n$1000000000\r\n", "ERR Protocol error: invalid bulk length"),
            (b"set \"a\r\n", "ERR Protocol error: unbalanced quotes in request"),
        ];
        for (input, text) in cases {
            assert_eq!(decode_all(input).unwrap_err().to_string(), text, "{}", input.escape_ascii());
        }
        let long = vec![b'a'; (64 << 10) + 1];
        assert_eq!(decode_all(&long), Err(ProtocolError::InlineTooLong));
    }

    #[test]
    fn a_stranger_may_not_announce_much() {
        let limits = Limits::default().unauthenticated();
        let mut decoder = Decoder::default();
        assert_eq!(decoder.decode(b"*11\r\n", &limits), Err(ProtocolError::UnauthenticatedArrayLength));
        let mut decoder = Decoder::default();
        assert_eq!(decoder.decode(b"*1\r\n$16385\r\n", &limits), Err(ProtocolError::UnauthenticatedBulkLength));
    }

    #[test]
    fn negative_and_empty_arrays_are_skipped() {
        assert_eq!(decode_all(b"*-1\r\n*0\r\n*1\r\n$0\r\n\r\n").unwrap(), [vec![], vec![], vec![b"".to_vec()]]);
    }
}
