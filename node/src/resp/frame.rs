//! How a node that carries a client and the master that serves it talk: the client's bytes go there as they are, and come
//! back in frames.
//!
//! ```text
//! -->  tercet.carry epoch  [AUTH password]  tercet.carry epoch session   the client's bytes ...  FIN
//! <--  +OK                 [+OK]            +CARRIED                     R replies ...           S session
//!
//! frame: kind u8 | length u32 big endian | bytes
//! ```
//!
//! AUTH is said if the session is authenticated. The announcement comes first, for the node that is called may have ceased
//! to be master at this moment: a connection of which it knew nothing would be one more client to be carried.
//!
//! The carrying node ends its side when another epoch begins: it wants the session back, with the bytes that nobody has
//! executed, and serves the client itself or carries it on to who is master now. So a client is carried once at most,
//! however often the master changes. A connection that ends without a session has lost a command whose fate is unknown.

use std::ops::Range;

/// The name of the command that begins it.
pub(super) const COMMAND: &str = "tercet.carry";

/// How an announcement begins: the command with one argument.
const ANNOUNCEMENT: &[u8] = b"*2\r\n$12\r\ntercet.carry\r\n";

/// The reply of the master that has taken the session up.
pub(super) const ACCEPTED: &[u8] = b"+CARRIED\r\n";

/// Whether the first bytes of a connection are, or may still become, an announcement.
pub(super) fn is_announced(input: &[u8]) -> bool {
    let length = input.len().min(ANNOUNCEMENT.len());
    input[..length] == ANNOUNCEMENT[..length]
}

/// What a frame holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Replies, to be passed on.
    Replies,
    /// The last one: the length of the packed session (u32 big endian), the session, and what was not executed.
    Session,
}

const HEADER: usize = 5;

/// A frame is of a kind that this node does not know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("frame of kind {0:?}")]
pub(super) struct UnknownKind(char);

pub(super) fn header(kind: Kind, length: usize) -> [u8; HEADER] {
    let mut header = [0; HEADER];
    header[0] = match kind {
        Kind::Replies => b'R',
        Kind::Session => b'S',
    };
    let length = u32::try_from(length).expect("a batch of replies and a query buffer are shorter than 4 GiB");
    header[1..].copy_from_slice(&length.to_be_bytes());
    header
}

/// The frame of a session.
pub(super) fn session(packed: &[u8], rest: &[u8]) -> Vec<u8> {
    let mut frame = header(Kind::Session, 4 + packed.len() + rest.len()).to_vec();
    let length = u32::try_from(packed.len()).expect("as above");
    frame.extend_from_slice(&length.to_be_bytes());
    frame.extend_from_slice(packed);
    frame.extend_from_slice(rest);
    frame
}

/// The session and the rest, of what `session` made but for the header.
pub(super) fn split_session(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, bytes) = bytes.split_first_chunk()?;
    bytes.split_at_checked(u32::from_be_bytes(*length) as usize)
}

/// Finds frames in what comes, however it is cut into pieces.
#[derive(Debug, Default)]
pub(super) struct Frames {
    header: [u8; HEADER],
    /// Bytes of the header that are there.
    known: usize,
    /// Bytes of the frame that are still to come.
    missing: usize,
}

/// A part of a frame.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Piece {
    pub(super) kind: Kind,
    pub(super) range: Range<usize>,
    pub(super) is_last: bool,
}

impl Frames {
    /// The next piece of a frame in `bytes` behind `at`, which moves on. `None`: the rest has to come.
    ///
    /// # Errors
    /// The other node speaks another language.
    pub(super) fn next(&mut self, bytes: &[u8], at: &mut usize) -> Result<Option<Piece>, UnknownKind> {
        while self.known < HEADER {
            let Some(&byte) = bytes.get(*at) else { return Ok(None) };
            self.header[self.known] = byte;
            self.known += 1;
            *at += 1;
            if self.known == HEADER {
                let [_, length @ ..] = self.header;
                self.missing = u32::from_be_bytes(length) as usize;
            }
        }
        let kind = match self.header[0] {
            b'R' => Kind::Replies,
            b'S' => Kind::Session,
            other => return Err(UnknownKind(char::from(other))),
        };
        let length = self.missing.min(bytes.len() - *at);
        if length == 0 && self.missing > 0 {
            return Ok(None);
        }
        let range = *at..*at + length;
        *at = range.end;
        self.missing -= length;
        let is_last = self.missing == 0;
        if is_last {
            self.known = 0;
        }
        Ok(Some(Piece { kind, range, is_last }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_found_however_they_are_cut() {
        let mut bytes = header(Kind::Replies, 5).to_vec();
        bytes.extend_from_slice(b"+OK\r\n");
        bytes.extend_from_slice(&session(b"packed", b"rest"));
        for size in 1..=bytes.len() {
            let (mut frames, mut replies, mut packed, mut ended) = (Frames::default(), Vec::new(), Vec::new(), 0);
            for part in bytes.chunks(size) {
                let mut at = 0;
                while let Some(piece) = frames.next(part, &mut at).unwrap() {
                    match piece.kind {
                        Kind::Replies => replies.extend_from_slice(&part[piece.range]),
                        Kind::Session => packed.extend_from_slice(&part[piece.range]),
                    }
                    ended += usize::from(piece.is_last);
                }
            }
            assert_eq!((replies.as_slice(), ended), (&b"+OK\r\n"[..], 2), "in parts of {size}");
            assert_eq!(split_session(&packed), Some((&b"packed"[..], &b"rest"[..])));
        }
    }

    #[test]
    fn an_announcement_is_known_before_it_is_whole() {
        let command = tercet_proto::resp::Value::command(&[COMMAND, "7"]);
        assert!((0..=command.len()).all(|end| is_announced(&command[..end])));
        assert!(!is_announced(b"*2\r\n$3\r\nGET"));
        assert!(!is_announced(b"PING\r\n"));
    }

    #[test]
    fn what_is_no_frame_is_refused() {
        assert_eq!(Frames::default().next(b"-ERR no", &mut 0), Err(UnknownKind('-')));
        assert_eq!(split_session(b"\0\0\0\x09short"), None);
    }
}
