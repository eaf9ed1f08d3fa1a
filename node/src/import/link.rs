//! A connection to a server of RESP2 that takes pipelines.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};

use tercet_edge::tls::outside::Stream;

use super::error::Error;
use super::place::Place;

/// Output is sent once there is so much of it.
const OUTPUT_BYTES: usize = 256 << 10;
/// Longer values and longer arrays nobody sends.
const MOST_BYTES: usize = 1 << 30;
const MOST_ITEMS: usize = 1 << 20;

#[derive(Debug)]
pub(super) struct Link {
    address: String,
    input: BufReader<Stream>,
    output: Vec<u8>,
}

/// One reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Reply {
    Simple(String),
    Error(String),
    Integer(i64),
    Bulk(Option<Vec<u8>>),
    Array(Vec<Self>),
}

impl Reply {
    pub(super) fn bytes(self) -> Vec<u8> {
        match self {
            Self::Simple(text) | Self::Error(text) => text.into_bytes(),
            Self::Integer(number) => number.to_string().into_bytes(),
            Self::Bulk(bytes) => bytes.unwrap_or_default(),
            Self::Array(_) => Vec::new(),
        }
    }

    pub(super) fn text(self) -> String {
        String::from_utf8_lossy(&self.bytes()).into_owned()
    }

    /// The value behind a name in an array of pairs.
    pub(super) fn field(self, name: &str) -> Option<Vec<u8>> {
        let Self::Array(items) = self else { return None };
        let at = items.iter().position(|item| matches!(item, Self::Bulk(Some(text)) if text == name.as_bytes()))?;
        items.into_iter().nth(at + 1).map(Self::bytes)
    }
}

impl Link {
    pub(super) fn open(place: &Place) -> Result<Self, Error> {
        let input = BufReader::with_capacity(1 << 18, place.open()?);
        Ok(Self { address: place.address(), input, output: Vec::new() })
    }

    pub(super) fn address(&self) -> &str {
        &self.address
    }

    /// Sends a command, with the next `flush` at the latest.
    pub(super) fn send(&mut self, words: &[&[u8]]) -> Result<(), Error> {
        // Memory takes whatever is written to it.
        _ = write!(self.output, "*{}\r\n", words.len());
        for word in words {
            _ = write!(self.output, "${}\r\n", word.len());
            self.output.extend_from_slice(word);
            self.output.extend_from_slice(b"\r\n");
        }
        if self.output.len() >= OUTPUT_BYTES { self.flush() } else { Ok(()) }
    }

    pub(super) fn flush(&mut self) -> Result<(), Error> {
        let stream = self.input.get_mut();
        let sent = stream.write_all(&self.output).and_then(|()| stream.flush());
        self.output.clear();
        sent.map_err(|error| self.failed(error))
    }

    /// The next reply, whatever it is.
    pub(super) fn reply(&mut self) -> Result<Reply, Error> {
        read(&mut self.input, 0).map_err(|error| self.failed(error))
    }

    /// The next reply, which is that to `command`; an error is none.
    pub(super) fn answer(&mut self, command: &'static str) -> Result<Reply, Error> {
        match self.reply()? {
            Reply::Error(text) => Err(Error::Refused { address: self.address.clone(), command, text }),
            reply => Ok(reply),
        }
    }

    pub(super) fn ask(&mut self, command: &'static str, words: &[&[u8]]) -> Result<Reply, Error> {
        self.send(words)?;
        self.flush()?;
        self.answer(command)
    }

    fn failed(&self, error: io::Error) -> Error {
        Error::Connection { address: self.address.clone(), error }
    }
}

fn read(input: &mut BufReader<Stream>, depth: usize) -> io::Result<Reply> {
    let wrong = || io::Error::new(io::ErrorKind::InvalidData, "this is no reply of RESP2");
    let mut line = Vec::new();
    input.by_ref().take(1 << 16).read_until(b'\n', &mut line)?;
    if line.is_empty() {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let line = line.strip_suffix(b"\r\n").ok_or_else(wrong)?;
    let (kind, text) = line.split_first().ok_or_else(wrong)?;
    let text = String::from_utf8_lossy(text).into_owned();
    let count = |most: usize| match text.parse::<i64>().map_err(|_| wrong())? {
        -1 => Ok(None),
        count => usize::try_from(count).ok().filter(|count| *count <= most).map(Some).ok_or_else(wrong),
    };
    Ok(match kind {
        b'+' => Reply::Simple(text),
        b'-' => Reply::Error(text),
        b':' => Reply::Integer(text.parse().map_err(|_| wrong())?),
        b'$' => match count(MOST_BYTES)? {
            None => Reply::Bulk(None),
            Some(length) => {
                let mut bytes = vec![0; length + 2];
                input.read_exact(&mut bytes)?;
                bytes.truncate(length);
                Reply::Bulk(Some(bytes))
            }
        },
        b'*' if depth < 8 => {
            let items = (0..count(MOST_ITEMS)?.unwrap_or(0)).map(|_| read(input, depth + 1));
            Reply::Array(items.collect::<io::Result<_>>()?)
        }
        _ => return Err(wrong()),
    })
}
