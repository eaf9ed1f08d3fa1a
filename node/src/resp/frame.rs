//! How a node that carries a client and the master that serves it talk: the client's bytes go there as they are, and come
//! back in frames.
//!
//! ```text
//! -->  tercet.carry epoch hello nonce
//! <--  +nonce proof                                                            (of the master)
//! -->  tercet.carry epoch proof PROOF   tercet.carry epoch session SESSION   the client's bytes ...  FIN
//! <--  +PROVEN                          +CARRIED                             R replies ...           S session
//!
//! frame: kind u8 | length u32 big endian | bytes
//! ```
//!
//! The proofs are made with the cluster's token over both nonces, the epoch and the password: who takes a session up as
//! authenticated asks for the same password, and has not been told it. Without a token nobody is proven, and no session is
//! taken up as more than its client could become by itself. The announcement comes first, for the node that is called may have ceased
//! to be master at this moment: a connection of which it knew nothing would be one more client to be carried.
//!
//! The carrying node ends its side when another epoch begins: it wants the session back, with the bytes that nobody has
//! executed, and serves the client itself or carries it on to who is master now. So a client is carried once at most,
//! however often the master changes. A connection that ends without a session has lost a command whose fate is unknown.

use std::ops::Range;

use tercet_edge::token;

use crate::config::Config;
use crate::ids::Epoch;

/// The name of the command that begins it.
pub(super) const COMMAND: &str = "tercet.carry";

/// How an announcement begins: the command with its arguments' number.
const ANNOUNCEMENT: &[u8] = b"*4\r\n$12\r\ntercet.carry\r\n";

/// The reply to a proof that is one.
pub(super) const PROVEN: &[u8] = b"+PROVEN\r\n";

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
    // `frame_replies` and `session` see to it.
    let length = u32::try_from(length).unwrap_or(u32::MAX);
    header[1..].copy_from_slice(&length.to_be_bytes());
    header
}

/// Writes the header of the replies that were appended behind an empty one at `start`. Where nothing was appended, the header
/// goes; what is longer than a frame becomes several.
pub(super) fn close(out: &mut Vec<u8>, start: usize) {
    close_pieces(out, start, LONGEST);
}

/// Bytes in a frame of replies.
const LONGEST: usize = 1 << 30;

fn close_pieces(out: &mut Vec<u8>, start: usize, longest: usize) {
    let mut at = start;
    loop {
        let rest = out.len() - at - HEADER;
        if rest == 0 {
            return out.truncate(at);
        }
        let length = rest.min(longest);
        out[at..at + HEADER].copy_from_slice(&header(Kind::Replies, length));
        at += HEADER + length;
        if length == rest {
            return;
        }
        out.splice(at..at, [0; HEADER]);
    }
}

/// The frame of a session. `None`: it is too large to be carried.
pub(super) fn session(packed: &[u8], rest: &[u8]) -> Option<Vec<u8>> {
    let length = packed.len().checked_add(rest.len())?.checked_add(4)?;
    u32::try_from(length).ok()?;
    let mut frame = header(Kind::Session, length).to_vec();
    frame.extend_from_slice(&u32::try_from(packed.len()).ok()?.to_be_bytes());
    frame.extend_from_slice(packed);
    frame.extend_from_slice(rest);
    Some(frame)
}

/// What two nodes say of themselves before a session is handed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Meeting {
    /// Of the node that carries.
    pub(crate) caller: [u8; 16],
    /// Of the master.
    pub(crate) master: [u8; 16],
    pub(crate) epoch: Epoch,
}

/// Who proves something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Caller,
    Master,
}

impl Meeting {
    pub(crate) fn prove(&self, side: Side, config: &Config) -> Option<token::Proof> {
        let password = config.requirepass.as_bytes();
        let parts: [&[u8]; 4] = [&self.caller, &self.master, &self.epoch.0.to_be_bytes(), password];
        let (label, parts) = match side {
            Side::Caller => ("tercet carry", &parts[..]),
            // Two nodes may have different passwords: then the caller learns that by its own proof's refusal.
            Side::Master => ("tercet carried", &parts[..3]),
        };
        config.cluster_token.as_ref().map(|token| token.prove(label, parts))
    }

    /// The answer to an announcement.
    pub(crate) fn welcome(&self, config: &Config) -> String {
        let proof = self.prove(Side::Master, config).unwrap_or_default();
        format!("{} {}", token::to_hex(&self.master), token::to_hex(&proof))
    }
}

/// Bytes of the answer to an announcement, as it is on the wire.
pub(super) const WELCOME: usize = 1 + 32 + 1 + 64 + 2;

/// What an answer of this length says: the master's nonce, and its proof.
pub(super) fn read_welcome(answer: &[u8; WELCOME]) -> Option<([u8; 16], token::Proof)> {
    let text = answer.strip_prefix(b"+")?.strip_suffix(b"\r\n")?;
    let (nonce, proof) = text.split_at_checked(32)?;
    Some((token::from_hex(nonce)?, token::from_hex(proof.strip_prefix(b" ")?)?))
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
        bytes.extend_from_slice(&session(b"packed", b"rest").unwrap());
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
        let command = tercet_proto::resp::Value::command(&[COMMAND, "7", "hello", "00"]);
        assert!((0..=command.len()).all(|end| is_announced(&command[..end])));
        assert!(!is_announced(b"*2\r\n$3\r\nGET"));
        assert!(!is_announced(b"PING\r\n"));
    }

    #[test]
    fn a_frame_is_closed_behind_its_replies() {
        for (replies, longest, expected) in [
            (&b"abcdefgh"[..], 5, &b"before R\0\0\0\x05abcdeR\0\0\0\x03fgh"[..]),
            (b"abcde", 5, b"before R\0\0\0\x05abcde"),
            (b"", 5, b"before "),
        ] {
            let mut out = b"before ".to_vec();
            out.extend_from_slice(&header(Kind::Replies, 0));
            out.extend_from_slice(replies);
            close_pieces(&mut out, 7, longest);
            assert_eq!(out, expected);
        }
    }

    #[test]
    fn what_is_no_frame_is_refused() {
        assert_eq!(Frames::default().next(b"-ERR no", &mut 0), Err(UnknownKind('-')));
        assert_eq!(split_session(b"\0\0\0\x09short"), None);
    }
}
