//! Replies, written straight into the send buffer.

use std::cell::{Cell, RefCell};

use bytes::Bytes;

use super::double::format_double;

/// Bytes that a buffer of replies holds at the most: a command may ask for the same large value many times.
pub const REPLY_BYTES: usize = 1 << 30;

/// Bytes of a short bulk string: two digits say its length.
const SHORT_BULK: usize = 64;

thread_local! {
    static IS_CUT: Cell<bool> = const { Cell::new(false) };
    static SHARED: RefCell<Shared> = const { RefCell::new(Shared { buffer: 0, texts: Vec::new(), bytes: 0 }) };
}

/// Large texts that belong into a buffer of replies and are not copied into it.
struct Shared {
    /// The address of the buffer; 0: none takes such texts.
    buffer: usize,
    texts: Vec<(usize, Bytes)>,
    bytes: usize,
}

/// From now on, until `take_shared`, large texts need not be copied into this buffer of replies.
pub fn share_with(buffer: &Vec<u8>) {
    SHARED.with_borrow_mut(|shared| shared.buffer = std::ptr::from_ref(buffer) as usize);
}

/// The texts that belong into the buffer of `share_with`, in their order: each before the byte with this index.
#[must_use]
pub fn take_shared() -> Vec<(usize, Bytes)> {
    SHARED.with_borrow_mut(|shared| {
        (shared.buffer, shared.bytes) = (0, 0);
        std::mem::take(&mut shared.texts)
    })
}

/// What was written to the buffer of replies from this index on is cut off.
pub fn forget_shared(buffer: &Vec<u8>, from: usize) {
    SHARED.with_borrow_mut(|shared| {
        if shared.buffer == std::ptr::from_ref(buffer) as usize {
            shared.texts.retain(|(at, _)| *at < from);
        }
    });
}

/// Whether something was left out since the last look, because there was too much: what is in the buffer is no reply then.
#[must_use]
pub fn was_cut() -> bool {
    IS_CUT.take()
}

/// What the client negotiated with HELLO.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Version {
    #[default]
    Resp2,
    Resp3,
}

/// Appends replies to a send buffer. Types that RESP2 does not have are written as Redis writes them for RESP2.
#[derive(Debug)]
pub struct Encoder<'a> {
    out: &'a mut Vec<u8>,
    version: Version,
    most: usize,
}

impl<'a> Encoder<'a> {
    #[inline]
    pub fn new(out: &'a mut Vec<u8>, version: Version) -> Self {
        Self { out, version, most: REPLY_BYTES }
    }

    #[inline]
    #[must_use]
    pub fn version(&self) -> Version {
        self.version
    }

    /// For replies that are kept ready as bytes.
    #[inline]
    pub fn raw(&mut self, bytes: &[u8]) {
        if self.out.len() + bytes.len() > self.most {
            return cut();
        }
        self.out.extend_from_slice(bytes);
    }

    pub fn simple(&mut self, text: &str) {
        self.line(b'+', text.as_bytes());
    }

    #[inline]
    pub fn ok(&mut self) {
        self.raw(b"+OK\r\n");
    }

    /// `text` begins with its code: `ERR`, `WRONGTYPE`, ... Line breaks become spaces, at the end they go.
    pub fn error(&mut self, text: &str) {
        self.error_bytes(text.as_bytes());
    }

    /// As `error`, for a text that shows what a client has sent.
    pub fn error_bytes(&mut self, text: &[u8]) {
        let end = text.iter().rposition(|byte| !matches!(byte, b'\r' | b'\n')).map_or(0, |last| last + 1);
        self.out.push(b'-');
        self.out.extend(text[..end].iter().map(|b| if matches!(b, b'\r' | b'\n') { b' ' } else { *b }));
        self.raw(b"\r\n");
    }

    #[inline]
    pub fn integer(&mut self, number: i64) {
        self.number_line(b':', number);
    }

    #[inline]
    pub fn bulk(&mut self, bytes: &[u8]) {
        let length = bytes.len();
        if length > SHORT_BULK {
            self.number_line(b'$', length as i64);
            self.raw(bytes);
            return self.raw(b"\r\n");
        }
        // Put together here and appended at once: most replies are that short.
        let mut line = [b'$'; 3 + SHORT_BULK + 4];
        let head = if length < 10 {
            line[1] = b'0' + length as u8;
            2
        } else {
            line[1] = b'0' + (length / 10) as u8;
            line[2] = b'0' + (length % 10) as u8;
            3
        };
        line[head..head + 2].copy_from_slice(b"\r\n");
        line[head + 2..head + 2 + length].copy_from_slice(bytes);
        let end = head + 2 + length;
        line[end..end + 2].copy_from_slice(b"\r\n");
        self.raw(&line[..end + 2]);
    }

    /// As `bulk`, of a text that need not be copied.
    pub fn bulk_shared(&mut self, text: &Bytes) {
        self.number_line(b'$', text.len() as i64);
        let (buffer, at) = (std::ptr::from_ref(&*self.out) as usize, self.out.len());
        let is_taken = SHARED.with_borrow_mut(|shared| {
            if shared.buffer != buffer {
                return false;
            }
            shared.bytes += text.len();
            if at + shared.bytes > self.most {
                cut();
            } else {
                shared.texts.push((at, text.clone()));
            }
            true
        });
        if !is_taken {
            self.raw(text);
        }
        self.raw(b"\r\n");
    }

    /// An integer as a bulk string, as GET answers for a value that is kept as a number.
    #[inline]
    pub fn bulk_integer(&mut self, number: i64) {
        let mut digits = itoa::Buffer::new();
        self.bulk(digits.format(number).as_bytes());
    }

    /// No value: `_` in RESP3, the null bulk in RESP2.
    #[inline]
    pub fn null(&mut self) {
        match self.version {
            Version::Resp2 => self.raw(b"$-1\r\n"),
            Version::Resp3 => self.raw(b"_\r\n"),
        }
    }

    /// No array: `_` in RESP3, the null array in RESP2.
    pub fn null_array(&mut self) {
        match self.version {
            Version::Resp2 => self.raw(b"*-1\r\n"),
            Version::Resp3 => self.raw(b"_\r\n"),
        }
    }

    #[inline]
    pub fn array(&mut self, length: usize) {
        self.number_line(b'*', length as i64);
    }

    /// `pairs` keys with their values: a flat array of twice the length in RESP2.
    pub fn map(&mut self, pairs: usize) {
        match self.version {
            Version::Resp2 => self.number_line(b'*', pairs as i64 * 2),
            Version::Resp3 => self.number_line(b'%', pairs as i64),
        }
    }

    pub fn set(&mut self, length: usize) {
        match self.version {
            Version::Resp2 => self.number_line(b'*', length as i64),
            Version::Resp3 => self.number_line(b'~', length as i64),
        }
    }

    /// Out-of-band data; an array in RESP2.
    pub fn push(&mut self, length: usize) {
        match self.version {
            Version::Resp2 => self.number_line(b'*', length as i64),
            Version::Resp3 => self.number_line(b'>', length as i64),
        }
    }

    pub fn boolean(&mut self, value: bool) {
        match (self.version, value) {
            (Version::Resp2, _) => self.integer(i64::from(value)),
            (Version::Resp3, true) => self.raw(b"#t\r\n"),
            (Version::Resp3, false) => self.raw(b"#f\r\n"),
        }
    }

    /// A double; a bulk string in RESP2. The text is the shortest that reads back as the same number.
    pub fn double(&mut self, value: f64) {
        let text = format_double(value);
        match self.version {
            Version::Resp2 => self.bulk(text.as_bytes()),
            Version::Resp3 => self.line(b',', text.as_bytes()),
        }
    }

    /// Text with its format (`txt` or `mkd`); a bulk string in RESP2.
    pub fn verbatim(&mut self, format: &str, text: &str) {
        debug_assert_eq!(format.len(), 3);
        match self.version {
            Version::Resp2 => self.bulk(text.as_bytes()),
            Version::Resp3 => {
                self.number_line(b'=', text.len() as i64 + 4);
                self.raw(format.as_bytes());
                self.raw(b":");
                self.raw(text.as_bytes());
                self.raw(b"\r\n");
            }
        }
    }

    fn line(&mut self, kind: u8, text: &[u8]) {
        if self.out.len() >= self.most {
            return cut();
        }
        self.out.push(kind);
        self.raw(text);
        self.raw(b"\r\n");
    }

    #[inline]
    fn number_line(&mut self, kind: u8, number: i64) {
        let digit = |number: i64| b'0' + (number % 10) as u8;
        if (0..10).contains(&number) {
            self.raw(&[kind, digit(number), b'\r', b'\n']);
        } else if (10..100).contains(&number) {
            self.raw(&[kind, digit(number / 10), digit(number), b'\r', b'\n']);
        } else if (100..1000).contains(&number) {
            self.raw(&[kind, digit(number / 100), digit(number / 10), digit(number), b'\r', b'\n']);
        } else {
            let mut digits = itoa::Buffer::new();
            self.line(kind, digits.format(number).as_bytes());
        }
    }
}

#[cold]
fn cut() {
    IS_CUT.set(true);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_does_not_grow_beyond_its_bound_and_says_so() {
        let mut out = Vec::new();
        let mut encoder = Encoder { most: 20, ..Encoder::new(&mut out, Version::Resp2) };
        encoder.bulk(b"0123456789");
        assert!(!was_cut());
        (0..1_000).for_each(|_| encoder.bulk(b"0123456789"));
        assert!(was_cut() && !was_cut());
        assert!(out.len() <= 20 + "$".len(), "{}", out.len());
    }

    #[test]
    fn bulk_strings_and_numbers_of_every_length() {
        for length in (0..200).chain([999, 1000, 1001, 12_345]) {
            let (text, mut out) = (vec![b'x'; length], Vec::new());
            Encoder::new(&mut out, Version::Resp2).bulk(&text);
            assert_eq!(out, [format!("${length}\r\n").as_bytes(), &text, b"\r\n"].concat());
            for number in [length as i64, -(length as i64)] {
                let mut out = Vec::new();
                Encoder::new(&mut out, Version::Resp2).integer(number);
                assert_eq!(out, format!(":{number}\r\n").as_bytes());
            }
        }
    }

    #[test]
    fn a_map_is_flat_for_an_old_client() {
        let mut out = Vec::new();
        Encoder::new(&mut out, Version::Resp2).map(2);
        Encoder::new(&mut out, Version::Resp3).map(2);
        assert_eq!(out, b"*4\r\n%2\r\n");
    }
}
