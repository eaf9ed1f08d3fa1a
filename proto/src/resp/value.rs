//! A whole reply as a value: for clients (drills, sentinels that talk to nodes, tests), not for the server's own road.

/// A reply of a server.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    Null,
    Simple(String),
    Error(String),
    Integer(i64),
    Double(f64),
    Boolean(bool),
    Bulk(Vec<u8>),
    Array(Vec<Value>),
    Map(Vec<(Value, Value)>),
    Push(Vec<Value>),
}

/// The bytes are no reply.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a RESP reply: {0}")]
pub struct ValueError(String);

impl Value {
    /// Reads one reply from the start of `buffer`: the value and how many bytes it took, `None` while it is not whole.
    ///
    /// # Errors
    /// The bytes cannot begin a reply.
    pub fn decode(buffer: &[u8]) -> Result<Option<(Self, usize)>, ValueError> {
        let mut at = 0;
        Ok(decode_at(buffer, &mut at, 0)?.map(|value| (value, at)))
    }

    /// A command as a client sends it.
    #[must_use]
    pub fn command<A: AsRef<[u8]>>(args: &[A]) -> Vec<u8> {
        let mut out = format!("*{}\r\n", args.len()).into_bytes();
        for arg in args {
            let arg = arg.as_ref();
            out.extend_from_slice(format!("${}\r\n", arg.len()).as_bytes());
            out.extend_from_slice(arg);
            out.extend_from_slice(b"\r\n");
        }
        out
    }

    /// The text of a simple, bulk or error reply.
    #[must_use]
    pub fn as_text(&self) -> Option<std::borrow::Cow<'_, str>> {
        match self {
            Self::Simple(text) | Self::Error(text) => Some(text.into()),
            Self::Bulk(bytes) => Some(String::from_utf8_lossy(bytes)),
            _ => None,
        }
    }
}

/// Replies within replies: more than any server nests, and far from the end of a stack.
const DEPTH: usize = 64;

fn decode_at(buffer: &[u8], at: &mut usize, depth: usize) -> Result<Option<Value>, ValueError> {
    if depth > DEPTH {
        return Err(ValueError("replies are nested too deep".into()));
    }
    let Some(end) = memchr::memchr(b'\r', &buffer[*at..]).map(|n| *at + n) else { return Ok(None) };
    if buffer.len() < end + 2 {
        return Ok(None);
    }
    let [kind, text @ ..] = &buffer[*at..end] else { return Err(ValueError("an empty line".into())) };
    let (kind, text) = (*kind, String::from_utf8_lossy(text).into_owned());
    *at = end + 2;
    let number = || text.parse::<i64>().map_err(|_| ValueError(format!("bad number {text:?}")));
    Ok(Some(match kind {
        b'+' => Value::Simple(text),
        b'-' => Value::Error(text),
        b':' => Value::Integer(number()?),
        b'_' => Value::Null,
        b'#' => Value::Boolean(text == "t"),
        b',' => Value::Double(text.parse().map_err(|_| ValueError(format!("bad double {text:?}")))?),
        b'$' | b'=' => {
            let length = number()?;
            if length < 0 {
                return Ok(Some(Value::Null));
            }
            let length = length as usize;
            if buffer.len() - *at < length.saturating_add(2) {
                return Ok(None);
            }
            let bytes = buffer[*at..*at + length].to_vec();
            *at += length + 2;
            Value::Bulk(bytes)
        }
        b'*' | b'~' | b'>' => {
            let length = number()?;
            if length < 0 {
                return Ok(Some(Value::Null));
            }
            let mut items = Vec::new();
            for _ in 0..length {
                let Some(item) = decode_at(buffer, at, depth + 1)? else { return Ok(None) };
                items.push(item);
            }
            if kind == b'>' { Value::Push(items) } else { Value::Array(items) }
        }
        b'%' => {
            let mut pairs = Vec::new();
            for _ in 0..number()? {
                let Some(key) = decode_at(buffer, at, depth + 1)? else { return Ok(None) };
                let Some(value) = decode_at(buffer, at, depth + 1)? else { return Ok(None) };
                pairs.push((key, value));
            }
            Value::Map(pairs)
        }
        other => return Err(ValueError(format!("unknown type {:?}", char::from(other)))),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nested_reply_is_read_whole_or_not_at_all() {
        let input = b"*3\r\n$2\r\nab\r\n:-7\r\n%1\r\n+k\r\n_\r\n";
        for end in 0..input.len() {
            assert_eq!(Value::decode(&input[..end]), Ok(None));
        }
        let (value, used) = Value::decode(input).unwrap().unwrap();
        assert_eq!(used, input.len());
        let map = Value::Map(vec![(Value::Simple("k".into()), Value::Null)]);
        assert_eq!(value, Value::Array(vec![Value::Bulk(b"ab".to_vec()), Value::Integer(-7), map]));
    }
}
