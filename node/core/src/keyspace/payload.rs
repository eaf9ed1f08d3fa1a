//! What an entry's value is written from.

use super::collection::Collection;
use super::layout::{
    CHANGED, ELSEWHERE, ELSEWHERE_PACKED, ENTRY_BYTES_MAX, FAR, FAR_TEXT_BYTES, GROWING_BYTES_MAX, INTEGER,
    KEY_BYTES_MAX, NEAR, SHARED, STREAM, TEXT, size,
};
use super::value::space::is_kept;
use super::value::{ShortBytes, Value, allocated};
use crate::lent;

/// Whether a value of so many bytes lies in the entry of a key with this length.
#[inline]
fn fits_here(key_length: usize, bytes: usize) -> bool {
    let key = if key_length > KEY_BYTES_MAX { ELSEWHERE } else { key_length };
    size(key, bytes, true) <= ENTRY_BYTES_MAX
}

/// A packed collection that lies elsewhere comes back into its entry if it has no more bytes than this.
pub(super) const PACKED_AGAIN: usize = ENTRY_BYTES_MAX * 3 / 4;
/// One that grows gets this part of its bytes as room, up to so much.
const ROOM_PART: usize = 16;
const ROOM_MAX: usize = 48;

/// Appends what a packed collection has behind its bytes in an entry: room to grow in place, and a byte that says how much.
/// `before`: the bytes of its value so far. Says whether it fits in an entry; otherwise nothing is appended.
#[inline]
pub(super) fn pad(bytes: &mut Vec<u8>, key_length: usize, before: Option<usize>) -> bool {
    let key = if key_length > KEY_BYTES_MAX { ELSEWHERE } else { key_length };
    let least = bytes.len() + 1;
    if size(key, least, true) > ENTRY_BYTES_MAX {
        return false;
    }
    let length = match before {
        // It stays where it is.
        Some(before) if least <= before && is_kept(before - least, least) => before,
        Some(before) if least > before => least + (least / ROOM_PART).min(ROOM_MAX),
        _ => least,
    };
    // Runs are multiples of eight bytes.
    let length = if before == Some(length) { length } else { length + size(key, length, false).wrapping_neg() % 8 };
    let length = if size(key, length, true) > ENTRY_BYTES_MAX { least } else { length };
    bytes.resize(length, 0);
    bytes[length - 1] = (length - least) as u8;
    true
}

/// The bytes of a packed collection without what `pad` has appended.
#[inline]
pub(super) fn unpadded(bytes: &[u8]) -> &[u8] {
    match bytes.split_last() {
        Some((room, rest)) => &rest[..rest.len() - usize::from(*room)],
        None => bytes,
    }
}

/// What is to be stored.
#[derive(Debug)]
pub(super) enum New<'a> {
    Integer(i64),
    /// A text that is no integer, or is not to be one.
    Text(&'a [u8]),
    /// A text that was changed, with the room that it has.
    Changed(Vec<u8>),
    /// A large text that others may keep too.
    Shared(bytes::Bytes),
    Value(Value),
    /// A packed collection of a kind, which `fits_here`, padded.
    Packed(u8, &'a [u8]),
}

/// The part of an entry that its value makes up. What it owns belongs to the entry into which it is written.
#[derive(Debug)]
pub(super) struct Payload<'a> {
    kind: u8,
    bytes: Bytes<'a>,
}

#[derive(Debug)]
enum Bytes<'a> {
    Few([u8; FAR_TEXT_BYTES], usize),
    Lent(&'a [u8]),
    Own(ShortBytes),
    Packed(Vec<u8>),
}

impl<'a> Payload<'a> {
    /// How a value lies in an entry with a key of so many bytes.
    #[inline]
    pub(super) fn new(new: New<'a>, key_length: usize) -> Self {
        let key = if key_length > KEY_BYTES_MAX { ELSEWHERE } else { key_length };
        let fits = |text: &[u8]| fits_here(key, text.len());
        match new {
            New::Integer(number) => Self::integer(number),
            New::Text(text) if fits(text) => Self { kind: TEXT, bytes: Bytes::Lent(text) },
            New::Text(text) => match lent::shared(text) {
                Some(shared) => Self::boxed(SHARED, Box::new(shared)),
                None => Self::far(text.to_vec()),
            },
            New::Shared(shared) => Self::boxed(SHARED, Box::new(shared)),
            New::Changed(text) if text.len() <= GROWING_BYTES_MAX => {
                Self { kind: TEXT | CHANGED, bytes: Bytes::Own(ShortBytes::from(&text[..])) }
            }
            New::Changed(text) => Self { kind: FAR | CHANGED, ..Self::far(text) },
            New::Value(value) => match value {
                Value::Integer(number) => Self::integer(number),
                Value::String(text) if fits(&text) => Self { kind: TEXT, bytes: Bytes::Own(text) },
                Value::String(text) => Self::far(text.to_vec()),
                Value::List(list) => Self::collection(key, *list),
                Value::Hash(hash) => Self::collection(key, *hash),
                Value::Set(set) => Self::collection(key, *set),
                Value::SortedSet(set) => Self::collection(key, *set),
                Value::Stream(stream) => Self::boxed(STREAM, stream),
            },
            New::Packed(kind, bytes) => Self { kind: kind | NEAR, bytes: Bytes::Lent(bytes) },
        }
    }

    #[inline]
    pub(super) fn kind(&self) -> u8 {
        self.kind
    }

    /// A collection: here or elsewhere if it is packed, otherwise in a box.
    fn collection<C: Collection>(key: usize, collection: C) -> Self {
        match collection.pack() {
            Ok((kind, mut bytes)) => {
                if pad(&mut bytes, key, None) {
                    return Self { kind: kind | NEAR, bytes: Bytes::Packed(bytes) };
                }
                // Room up to the end of the allocator's size class costs nothing.
                let most = allocated(bytes.len());
                bytes.shrink_to(most);
                Self { kind: kind | ELSEWHERE_PACKED, ..Self::far(bytes) }
            }
            Err((kind, large)) => Self::boxed(kind, Box::new(large)),
        }
    }

    #[inline]
    fn integer(number: i64) -> Self {
        let mut few = [0; FAR_TEXT_BYTES];
        few[..8].copy_from_slice(&number.to_le_bytes());
        Self { kind: INTEGER, bytes: Bytes::Few(few, width_of(number)) }
    }

    #[cold]
    fn far(text: Vec<u8>) -> Self {
        Self { kind: FAR, bytes: Bytes::Few(far_words(text), FAR_TEXT_BYTES) }
    }

    fn boxed<T>(kind: u8, collection: Box<T>) -> Self {
        let mut few = [0; FAR_TEXT_BYTES];
        let address = Box::into_raw(collection).expose_provenance() as u64;
        few[..8].copy_from_slice(&address.to_le_bytes());
        Self { kind, bytes: Bytes::Few(few, 8) }
    }

    #[inline]
    pub(super) fn as_bytes(&self) -> &[u8] {
        match &self.bytes {
            Bytes::Few(few, length) => &few[..*length],
            Bytes::Lent(text) => text,
            Bytes::Own(text) => text,
            Bytes::Packed(bytes) => bytes,
        }
    }

    /// Bytes of an entry with this value.
    #[inline]
    pub(super) fn entry_bytes(&self, key_length: usize, expires: bool) -> usize {
        let key = if key_length > KEY_BYTES_MAX { ELSEWHERE } else { key_length };
        size(key, self.as_bytes().len(), expires)
    }
}

/// What an entry keeps of a text that lies elsewhere; whoever takes the words owns it.
pub(super) fn far_words(text: Vec<u8>) -> [u8; FAR_TEXT_BYTES] {
    let mut words = [0; FAR_TEXT_BYTES];
    let mut text = std::mem::ManuallyDrop::new(text);
    words[..8].copy_from_slice(&(text.as_mut_ptr().expose_provenance() as u64).to_le_bytes());
    words[8..12].copy_from_slice(&(text.len() as u32).to_le_bytes());
    words[12..].copy_from_slice(&(text.capacity() as u32).to_le_bytes());
    words
}

#[inline]
fn width_of(number: i64) -> usize {
    match number {
        -0x80..=0x7f => 1,
        -0x8000..=0x7fff => 2,
        -0x8000_0000..=0x7fff_ffff => 4,
        _ => 8,
    }
}
