//! Passwords as Redis and RabbitMQ keep them, so that both can be imported and exported. None can be read back.

use sha2::{Digest, Sha256, Sha512};
use subtle::ConstantTimeEq;

/// SHA-256, as Redis's ACL has it.
#[must_use]
pub fn sha256(password: &[u8]) -> [u8; 32] {
    Sha256::digest(password).into()
}

/// The digest of a salted hash. RabbitMQ's MD5, its default before 3.6, is not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    Sha256,
    Sha512,
}

impl Algorithm {
    /// As in RabbitMQ's definitions.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Sha256 => "rabbit_password_hashing_sha256",
            Self::Sha512 => "rabbit_password_hashing_sha512",
        }
    }

    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Sha256, Self::Sha512].into_iter().find(|algorithm| algorithm.name() == name)
    }
}

/// RabbitMQ's password hash: `salt (4 bytes) | digest(salt | password)`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SaltedHash {
    pub algorithm: Algorithm,
    /// Salt and digest.
    pub bytes: Vec<u8>,
}

const SALT_BYTES: usize = 4;

impl SaltedHash {
    #[must_use]
    pub fn new(password: &[u8], salt: [u8; SALT_BYTES]) -> Self {
        let algorithm = Algorithm::Sha256;
        Self { algorithm, bytes: [&salt[..], &digest(algorithm, &salt, password)].concat() }
    }

    /// One that comes from elsewhere. `None`: it has another length than the algorithm makes.
    #[must_use]
    pub fn from_bytes(algorithm: Algorithm, bytes: Vec<u8>) -> Option<Self> {
        let length = match algorithm {
            Algorithm::Sha256 => SALT_BYTES + 32,
            Algorithm::Sha512 => SALT_BYTES + 64,
        };
        (bytes.len() == length).then_some(Self { algorithm, bytes })
    }

    /// Takes as long for a wrong password as for the right one.
    #[must_use]
    pub fn matches(&self, password: &[u8]) -> bool {
        let Some((salt, expected)) = self.bytes.split_at_checked(SALT_BYTES) else { return false };
        digest(self.algorithm, salt, password).ct_eq(expected).into()
    }
}

fn digest(algorithm: Algorithm, salt: &[u8], password: &[u8]) -> Vec<u8> {
    match algorithm {
        Algorithm::Sha256 => Sha256::new().chain_update(salt).chain_update(password).finalize().to_vec(),
        Algorithm::Sha512 => Sha512::new().chain_update(salt).chain_update(password).finalize().to_vec(),
    }
}

/// Whether two secrets are equal. Digests are compared, so that the time tells nothing about either.
pub(super) fn is_equal(left: &[u8], right: &[u8]) -> bool {
    sha256(left).ct_eq(&sha256(right)).into()
}
