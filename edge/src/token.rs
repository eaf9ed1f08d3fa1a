//! The secret that the nodes and sentinels of one cluster share, and how they prove that they know it without saying it.
//!
//! ```text
//! HMAC-SHA256(token, label 0x00 length part length part ...)     lengths: u64 big endian
//! ```
//!
//! A proof is made for one purpose (the label) and one occasion (the parts, of which one is random), so a proof for one
//! call opens no other one, and whoever is called by mistake or by force does not learn the token.

use std::sync::Arc;

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::limits;

const BLOCK: usize = 64;

/// A token. Its bytes are never shown.
#[derive(Clone)]
pub struct Token(Arc<[u8]>);

/// Why a text is no token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("a cluster token has at least {} characters; `openssl rand -hex 32` makes one", limits::LEAST_TOKEN)]
    Short,
    #[error("a cluster token is printable text without spaces; `openssl rand -hex 32` makes one")]
    Unprintable,
}

/// A proof that was made.
pub type Proof = [u8; 32];

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token(..)")
    }
}

impl Token {
    /// `None` for an empty text: there is no token.
    ///
    /// # Errors
    /// The text is too short, or not what a file or a flag should hold.
    pub fn parse(text: &str) -> Result<Option<Self>, Error> {
        if text.is_empty() {
            return Ok(None);
        }
        if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(Error::Unprintable);
        }
        if text.len() < limits::LEAST_TOKEN {
            return Err(Error::Short);
        }
        Ok(Some(Self(text.as_bytes().into())))
    }

    /// The text itself, to find it where it must not be seen.
    #[must_use]
    pub fn reveal(&self) -> &str {
        // It was text when it was parsed.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }

    #[must_use]
    pub fn prove(&self, label: &str, parts: &[&[u8]]) -> Proof {
        let mut key = [0; BLOCK];
        if self.0.len() > BLOCK {
            key[..32].copy_from_slice(&Sha256::digest(&self.0));
        } else {
            key[..self.0.len()].copy_from_slice(&self.0);
        }
        let mut inner = Sha256::new_with_prefix(key.map(|byte| byte ^ 0x36));
        inner.update(label.as_bytes());
        inner.update([0]);
        for part in parts {
            inner.update((part.len() as u64).to_be_bytes());
            inner.update(part);
        }
        Sha256::new_with_prefix(key.map(|byte| byte ^ 0x5c)).chain_update(inner.finalize()).finalize().into()
    }

    /// Whether `proof` is what `prove` makes; takes as long for a good beginning as for none.
    #[must_use]
    pub fn is_proven(&self, label: &str, parts: &[&[u8]], proof: &[u8]) -> bool {
        self.prove(label, parts).as_slice().ct_eq(proof).into()
    }
}

/// Compares two secrets; takes as long for a good beginning as for none. Their lengths are not secret.
#[must_use]
pub fn is_equal(one: &[u8], other: &[u8]) -> bool {
    one.ct_eq(other).into()
}

/// Bytes that nobody can foresee.
#[must_use]
pub fn nonce() -> [u8; 16] {
    rand::random()
}

#[must_use]
pub fn to_hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        // Writing to a string does not fail.
        _ = write!(text, "{byte:02x}");
        text
    })
}

/// The bytes of lower- or upper-case hexadecimal text of exactly 2 * N digits.
#[must_use]
pub fn from_hex<const N: usize>(text: &[u8]) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    if text.len() != 2 * N {
        return None;
    }
    for (byte, digits) in bytes.iter_mut().zip(text.chunks_exact(2)) {
        let digit = |at: usize| char::from(*digits.get(at)?).to_digit(16);
        *byte = u8::try_from(digit(0)? << 4 | digit(1)?).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(text: &str) -> Token {
        Token::parse(text).unwrap().unwrap()
    }

    #[test]
    fn a_proof_is_hmac_sha256() {
        // RFC 2104: a key longer than a block is hashed first.
        let key = Token([0xaa; 131].as_slice().into());
        let plain = Token(Sha256::digest([0xaa; 131]).as_slice().into());
        assert_eq!(key.prove("x", &[b"y"]), plain.prove("x", &[b"y"]));
        // As Python's hmac has it.
        let proof = token("0123456789abcdef").prove("a", &[b"b"]);
        assert_eq!(to_hex(&proof), "d2d30c1fe50567396197c3e60e789d1375c8d66e5b0794f41262304136892801");
    }

    #[test]
    fn a_proof_is_for_one_purpose_one_occasion_and_one_token() {
        let one = token("a-token-of-a-cluster");
        let proof = one.prove("call", &[b"path", b"nonce"]);
        assert!(one.is_proven("call", &[b"path", b"nonce"], &proof));
        assert!(!one.is_proven("answer", &[b"path", b"nonce"], &proof));
        assert!(!one.is_proven("call", &[b"pat", b"hnonce"], &proof), "parts do not run into each other");
        assert!(!one.is_proven("call", &[b"path", b"nonce"], &proof[..31]));
        assert!(!token("another-token-of-one").is_proven("call", &[b"path", b"nonce"], &proof));
    }

    #[test]
    fn a_token_that_can_be_guessed_is_refused() {
        assert!(Token::parse("").unwrap().is_none());
        assert_eq!(Token::parse("secret").unwrap_err(), Error::Short);
        assert_eq!(Token::parse("a token with some spaces").unwrap_err(), Error::Unprintable);
        assert_eq!(format!("{:?}", token("a-token-of-a-cluster")), "Token(..)");
    }

    #[test]
    fn hexadecimal_text_comes_back() {
        assert_eq!(from_hex::<3>(to_hex(&[0, 0x7f, 0xff]).as_bytes()), Some([0, 0x7f, 0xff]));
        assert_eq!(from_hex::<1>(b"0g"), None);
        assert_eq!(from_hex::<1>(b"000"), None);
        assert_eq!(from_hex::<2>("\u{e9}0\u{e9}".as_bytes()), None);
    }
}
