//! Reads a file of `SAVE` or `BGSAVE`, a key at a time.
//!
//! ```text
//! file = "REDIS" version (4 digits) | what follows ... | 0xFF | CRC-64 (u64 LE, 0 = not computed)
//! 0xFA aux   0xFE database   0xFB sizes   0xF5 functions   0xF8 idle   0xF9 frequency   0xFD expiry (u32, seconds)
//! 0xFC expiry (u64, milliseconds)   else a key: type | key | value
//! ```

use super::read::Reader;
use super::{Error, crc64, decode, finish};

const AUX: u8 = 0xFA;
const SIZES: u8 = 0xFB;
const EXPIRY_MS: u8 = 0xFC;
const EXPIRY: u8 = 0xFD;
const DATABASE: u8 = 0xFE;
const END: u8 = 0xFF;
const FUNCTIONS: u8 = 0xF5;
const IDLE: u8 = 0xF8;
const FREQUENCY: u8 = 0xF9;

/// A file that lies in memory.
pub struct File<'a> {
    bytes: &'a [u8],
    reader: Reader<'a>,
    version: u16,
    database: u32,
}

/// What a file holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Item {
    Key(Kept),
    /// The code of a library of functions.
    Functions(Vec<u8>),
}

/// A key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    pub database: u32,
    pub key: Vec<u8>,
    /// Unix milliseconds.
    pub expire_at: Option<u64>,
    /// As DUMP answers it.
    pub payload: Vec<u8>,
}

impl std::fmt::Debug for File<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("File").field("bytes", &self.bytes.len()).field("version", &self.version).finish()
    }
}

impl<'a> File<'a> {
    /// # Errors
    /// It is no such file, of a version that is not known, or damaged.
    pub fn new(bytes: &'a [u8]) -> Result<Self, Error> {
        let mut reader = Reader::new(bytes);
        let head = reader.take(5).filter(|magic| *magic == b"REDIS").and_then(|_| reader.array::<4>());
        let version = head.and_then(|digits| std::str::from_utf8(&digits).ok()?.parse::<u16>().ok());
        let version = version.filter(|version| *version <= super::NEWEST).ok_or(Error::Footer)?;
        // Since version 5 there is a checksum behind it.
        if version >= 5 {
            let (content, crc) = bytes.split_last_chunk::<8>().ok_or(Error::Footer)?;
            let crc = u64::from_le_bytes(*crc);
            if crc != 0 && crc != crc64::checksum(content) {
                return Err(Error::Footer);
            }
        }
        Ok(Self { bytes, reader, version, database: 0 })
    }

    /// Bytes that were read, and of all.
    #[must_use]
    pub fn progress(&self) -> (usize, usize) {
        (self.bytes.len() - self.reader.rest().len(), self.bytes.len())
    }

    /// The next key or library; `None` at the end.
    ///
    /// # Errors
    /// The file is damaged, or has something of a module.
    pub fn next_item(&mut self) -> Result<Option<Item>, Error> {
        self.read().ok_or(Error::Format)
    }

    fn read(&mut self) -> Option<Option<Item>> {
        let mut expire_at = None;
        loop {
            let before = self.reader.rest();
            match self.reader.byte()? {
                END => return Some(None),
                AUX => _ = (self.reader.string()?, self.reader.string()?),
                SIZES => _ = (self.reader.number()?, self.reader.number()?),
                IDLE => _ = self.reader.number()?,
                FREQUENCY => _ = self.reader.byte()?,
                DATABASE => self.database = self.reader.number()?.try_into().ok()?,
                EXPIRY => expire_at = Some(u64::from(u32::from_le_bytes(self.reader.array()?)) * 1000),
                EXPIRY_MS => expire_at = Some(u64::from_le_bytes(self.reader.array()?)),
                FUNCTIONS => return Some(Some(Item::Functions(self.reader.string()?.into_owned()))),
                _ => {
                    let key = self.reader.string()?.into_owned();
                    // The value's type stands in front of the key, and in front of the value in a payload.
                    let value = self.reader.rest();
                    let mut kind_and_value = Vec::with_capacity(1 + value.len().min(64));
                    kind_and_value.push(before[0]);
                    let length = decode::length(before[0], value)?;
                    kind_and_value.extend_from_slice(self.reader.take(length)?);
                    finish(&mut kind_and_value, self.version);
                    let database = self.database;
                    return Some(Some(Item::Key(Kept { database, key, expire_at, payload: kind_and_value })));
                }
            }
        }
    }
}
