//! The bytes of an entry: a key, what it holds, and what is known of its use, in one run of the arena.
//!
//! ```text
//!  0         4     5             8      9      10
//!  | version | tag | access (24) | klen | vlen | [expiry 64 bit] [klen u16] [vlen u16] | key | value
//!              |
//!              kind (4 bits, 0 = a free run) | has an expiry | was changed in place | packed here | packed elsewhere
//!
//!  value    integer: 1, 2, 4 or 8 bytes    text: its bytes    far: address, length, capacity (8 + 4 + 4 bytes)
//!           shared: the address of a box with a buffer that others may keep too (8 bytes)
//!           collection: its bytes and room to grow (`pad`) if it is packed here, as a far text if it is packed elsewhere,
//!           otherwise the address of its box (8 bytes)
//! ```
//!
//! A klen or vlen of 255 means that a u16 follows; a key length of 65535 that the key lies elsewhere (address, length).
//! All numbers are little endian.
//!
//! **Invariant:** an address in an entry is owned by that entry and by no other one. Who frees the run of an entry has
//! dropped what it owns (`drop_value`, `drop_key`) or moved its bytes to another run.

use std::marker::PhantomData;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use bytes::Bytes;

use super::collection::Boxed;
use super::layout::{
    CHANGED, ELSEWHERE, ELSEWHERE_PACKED, EXPIRES, EXPIRY_BYTES, FAR, FAR_KEY_BYTES, FIXED_BYTES, FORM_MASK, FREE,
    HASH, INTEGER, INTEGERS, KEY_BYTES_MAX, KIND_MASK, LIST, LONG, NEAR, SET, SHARED, SORTED_SET, STREAM, TEXT,
};
use super::payload::{PACKED_AGAIN, Payload, far_words, unpadded};
use super::value::space::Room;
use super::value::stream::Stream;
use super::value::{Hash, HashRef, List, ListRef, Set, SetRef, SortedSet, SortedSetRef, ValueRef};
use crate::ids::UnixMillis;
use crate::{freeing, lent};

/// What an entry says besides its key and its value.
#[derive(Debug, Clone, Copy)]
pub(super) struct About {
    pub(super) version: u32,
    /// 24 bits, see `access`.
    pub(super) access: u32,
    /// 0 = never.
    pub(super) expire_at: u64,
}

/// The start of a run in the arena.
///
/// The functions below are unsafe for one reason: `self` has to be the start of a run that holds an entry (`tag` and `free`:
/// an entry or a free run) and that nobody frees meanwhile. Those that write, or that drop, need that nobody borrows it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Raw(pub(super) NonNull<u8>);

struct Parts {
    key_at: usize,
    /// Bytes of the key within the entry, or `ELSEWHERE`.
    key: usize,
    value_at: usize,
    value: usize,
}

impl Raw {
    #[inline]
    unsafe fn byte(self, at: usize) -> u8 {
        // SAFETY: callers ask for bytes within the run.
        unsafe { self.0.add(at).read() }
    }

    #[inline]
    unsafe fn slice<'t>(self, at: usize, length: usize) -> &'t [u8] {
        // SAFETY: as `byte`.
        unsafe { std::slice::from_raw_parts(self.0.add(at).as_ptr(), length) }
    }

    #[inline]
    unsafe fn number<const N: usize>(self, at: usize) -> [u8; N] {
        // SAFETY: as `byte`.
        unsafe { self.0.add(at).cast::<[u8; N]>().read() }
    }

    #[inline]
    unsafe fn put(self, at: usize, bytes: &[u8]) {
        // SAFETY: as `byte`, and nobody borrows the run.
        unsafe { self.0.add(at).copy_from_nonoverlapping(NonNull::from(bytes).cast(), bytes.len()) }
    }

    #[inline]
    unsafe fn meta<'t>(self) -> &'t AtomicU32 {
        // SAFETY: runs lie at multiples of eight bytes; the word is only written through this reference while others read.
        unsafe { AtomicU32::from_ptr(self.0.add(4).cast().as_ptr()) }
    }

    #[inline]
    pub(super) unsafe fn tag(self) -> u8 {
        // SAFETY: the low byte of the word, see the caller.
        unsafe { self.meta() }.load(Relaxed) as u8
    }

    /// Makes the run a free one of so many units, with the next one of its kind.
    #[inline]
    pub(super) unsafe fn set_free(self, next: u32, units: u32) {
        // SAFETY: every run has eight bytes at least.
        unsafe {
            self.put(0, &next.to_le_bytes());
            self.put(4, &(units << 8 | u32::from(FREE)).to_le_bytes());
        }
    }

    /// Units of a free run, and the next one.
    #[inline]
    pub(super) unsafe fn free(self) -> (u32, u32) {
        // SAFETY: as the caller.
        unsafe { (u32::from_le_bytes(self.number(4)) >> 8, u32::from_le_bytes(self.number(0))) }
    }

    #[inline]
    unsafe fn parts(self) -> Parts {
        // SAFETY: an entry says by itself how long it is.
        unsafe {
            let (mut key, mut value) = (usize::from(self.byte(8)), usize::from(self.byte(9)));
            let mut at = FIXED_BYTES + if self.tag() & EXPIRES != 0 { EXPIRY_BYTES } else { 0 };
            if key == LONG {
                key = usize::from(u16::from_le_bytes(self.number(at)));
                at += 2;
            }
            if value == LONG {
                value = usize::from(u16::from_le_bytes(self.number(at)));
                at += 2;
            }
            let value_at = at + if key == ELSEWHERE { FAR_KEY_BYTES } else { key };
            Parts { key_at: at, key, value_at, value }
        }
    }

    /// Bytes of the entry.
    #[inline]
    pub(super) unsafe fn bytes(self) -> usize {
        // SAFETY: as the caller.
        let parts = unsafe { self.parts() };
        parts.value_at + parts.value
    }

    #[inline]
    unsafe fn key<'t>(self) -> &'t [u8] {
        // SAFETY: a key that lies elsewhere was leaked there by `write`, and lives as long as the entry.
        unsafe {
            let parts = self.parts();
            match parts.key {
                ELSEWHERE => &*self.far_key(parts.key_at),
                length => self.slice(parts.key_at, length),
            }
        }
    }

    unsafe fn far_key(self, at: usize) -> *mut [u8] {
        // SAFETY: as `byte`.
        let (address, length) =
            unsafe { (u64::from_le_bytes(self.number(at)), u32::from_le_bytes(self.number(at + 8))) };
        std::ptr::slice_from_raw_parts_mut(std::ptr::with_exposed_provenance_mut(address as usize), length as usize)
    }

    /// Whether this is the entry of a key.
    #[inline]
    unsafe fn has_key(self, key: &[u8]) -> bool {
        // SAFETY: as the caller.
        unsafe {
            let length = usize::from(self.byte(8));
            if length == LONG {
                return key.len() >= LONG && self.key() == key;
            }
            if length != key.len() {
                return false;
            }
            let at = FIXED_BYTES
                + if self.tag() & EXPIRES != 0 { EXPIRY_BYTES } else { 0 }
                + if usize::from(self.byte(9)) == LONG { 2 } else { 0 };
            self.slice(at, length) == key
        }
    }

    #[inline]
    unsafe fn expire_at(self) -> u64 {
        // SAFETY: an entry with this bit has the eight bytes behind the fixed ones.
        unsafe { if self.tag() & EXPIRES == 0 { 0 } else { u64::from_le_bytes(self.number(FIXED_BYTES)) } }
    }

    /// Writes an entry. What lay in the run before is neither read nor dropped.
    #[inline]
    pub(super) unsafe fn write(self, about: About, key: &[u8], payload: Payload<'_>) {
        let value = payload.as_bytes();
        let expires = about.expire_at != 0;
        let tag = payload.kind() | if expires { EXPIRES } else { 0 };
        // SAFETY: the caller has made room for `Payload::entry_bytes` bytes.
        unsafe {
            self.put(0, &about.version.to_le_bytes());
            self.put(4, &(about.access << 8 | u32::from(tag)).to_le_bytes());
            self.put(8, &[key.len().min(LONG) as u8, value.len().min(LONG) as u8]);
            let mut at = FIXED_BYTES;
            if expires {
                self.put(at, &about.expire_at.to_le_bytes());
                at += EXPIRY_BYTES;
            }
            let is_far = key.len() > KEY_BYTES_MAX;
            if key.len() >= LONG {
                let length = if is_far { ELSEWHERE } else { key.len() };
                self.put(at, &(length as u16).to_le_bytes());
                at += 2;
            }
            if value.len() >= LONG {
                self.put(at, &(value.len() as u16).to_le_bytes());
                at += 2;
            }
            if is_far {
                let boxed: *mut [u8] = Box::into_raw(Box::<[u8]>::from(key));
                self.put(at, &(boxed.cast::<u8>().expose_provenance() as u64).to_le_bytes());
                self.put(at + 8, &(key.len() as u32).to_le_bytes());
                at += FAR_KEY_BYTES;
            } else {
                self.put(at, key);
                at += key.len();
            }
            self.put(at, value);
        }
    }

    /// Writes another value and version over those of an entry that keeps its key and its expiry, if the lengths allow that. The
    /// old value has been dropped.
    #[inline]
    pub(super) unsafe fn overwrite<'p>(self, version: u32, payload: Payload<'p>) -> Result<(), Payload<'p>> {
        // SAFETY: the new value is as long as the old one.
        unsafe {
            let parts = self.parts();
            if parts.value != payload.as_bytes().len() {
                return Err(payload);
            }
            self.put(parts.value_at, payload.as_bytes());
            let meta = self.meta().load(Relaxed);
            let tag = payload.kind() | meta as u8 & EXPIRES;
            self.meta().store(meta & !0xff | u32::from(tag), Relaxed);
            self.put(0, &version.to_le_bytes());
        }
        Ok(())
    }

    #[inline]
    pub(super) unsafe fn set_version(self, version: u32) {
        // SAFETY: as the caller.
        unsafe { self.put(0, &version.to_le_bytes()) }
    }

    /// Changes the expiry of an entry that has one and keeps one.
    pub(super) unsafe fn move_expiry(self, at: u64) {
        // SAFETY: as the caller.
        unsafe { self.put(FIXED_BYTES, &at.to_le_bytes()) }
    }

    /// Writes the entry that lies at `from` with an expiry, or without one. `from` is not to be used any more.
    pub(super) unsafe fn rewrite(self, from: Self, expire_at: u64) {
        // SAFETY: `self` has room for it, and is another run than `from`; what the entry owns moves with its bytes.
        unsafe {
            let meta = from.meta().load(Relaxed);
            let (had, has) = (meta as u8 & EXPIRES != 0, expire_at != 0);
            let tag = meta as u8 & !EXPIRES | if has { EXPIRES } else { 0 };
            self.put(0, &from.number::<4>(0));
            self.put(4, &(meta & !0xff | u32::from(tag)).to_le_bytes());
            self.put(8, &from.number::<2>(8));
            let (mut to, mut at) = (FIXED_BYTES, FIXED_BYTES);
            if has {
                self.put(to, &expire_at.to_le_bytes());
                to += EXPIRY_BYTES;
            }
            if had {
                at += EXPIRY_BYTES;
            }
            self.put(to, from.slice(at, from.bytes() - at));
        }
    }

    /// Moves the entry at `from` here as it is.
    #[inline]
    pub(super) unsafe fn copy_from(self, from: Self, bytes: usize) {
        // SAFETY: two different runs of so many bytes.
        unsafe { self.0.copy_from_nonoverlapping(from.0, bytes) }
    }

    #[inline]
    unsafe fn address(self, at: usize) -> *mut u8 {
        // SAFETY: as the caller.
        std::ptr::with_exposed_provenance_mut(unsafe { u64::from_le_bytes(self.number(at)) } as usize)
    }

    /// The text at `at`, as it was leaked.
    unsafe fn far_text(self, at: usize) -> Vec<u8> {
        // SAFETY: `Payload::far` has written what `Vec` is made of here; the caller forgets one of the two.
        unsafe {
            let length = u32::from_le_bytes(self.number(at + 8)) as usize;
            let capacity = u32::from_le_bytes(self.number(at + 12)) as usize;
            Vec::from_raw_parts(self.address(at), length, capacity)
        }
    }

    #[inline]
    unsafe fn value<'t>(self) -> ValueRef<'t> {
        // SAFETY: the kind says what `Payload` has written; collections live as long as the entry is not changed.
        unsafe {
            let parts = self.parts();
            let tag = self.tag();
            if tag & FORM_MASK != 0 {
                return packed(tag & KIND_MASK, self.packed_bytes(tag, &parts));
            }
            match tag & KIND_MASK {
                INTEGER => ValueRef::Integer(integer(self.slice(parts.value_at, parts.value))),
                TEXT => ValueRef::String(self.slice(parts.value_at, parts.value)),
                FAR => ValueRef::String(self.far_bytes(parts.value_at)),
                LIST => ValueRef::List((*self.address(parts.value_at).cast::<List>()).view()),
                HASH => ValueRef::Hash((*self.address(parts.value_at).cast::<Hash>()).view()),
                SET => ValueRef::Set((*self.address(parts.value_at).cast::<Set>()).view()),
                SORTED_SET => ValueRef::SortedSet((*self.address(parts.value_at).cast::<SortedSet>()).view()),
                STREAM => ValueRef::Stream(&*self.address(parts.value_at).cast()),
                SHARED => ValueRef::String(&*self.address(parts.value_at).cast::<Bytes>()),
                other => unreachable!("no entry is of kind {other}"),
            }
        }
    }

    /// The bytes that lie elsewhere.
    #[inline]
    unsafe fn far_bytes<'t>(self, at: usize) -> &'t [u8] {
        // SAFETY: as `far_text`, and the entry is not changed meanwhile.
        unsafe { std::slice::from_raw_parts(self.address(at), u32::from_le_bytes(self.number(at + 8)) as usize) }
    }

    /// The bytes of a packed collection.
    #[inline]
    unsafe fn packed_bytes<'t>(self, tag: u8, parts: &Parts) -> &'t [u8] {
        // SAFETY: the tag says which of both it is.
        unsafe {
            if tag & NEAR != 0 {
                unpadded(self.slice(parts.value_at, parts.value))
            } else {
                self.far_bytes(parts.value_at)
            }
        }
    }

    /// The kind of a packed collection.
    #[inline]
    pub(super) unsafe fn packed_kind(self) -> Option<u8> {
        // SAFETY: as the caller.
        let tag = unsafe { self.tag() };
        (tag & FORM_MASK != 0).then_some(tag & KIND_MASK)
    }

    /// Lets a packed collection be changed where it lies.
    #[inline]
    pub(super) unsafe fn change_packed<R>(self, change: impl FnOnce(u8, &mut Room<'_>) -> Option<R>) -> Option<R> {
        // SAFETY: the tag says whether `pad` has written the last byte, and the bytes before it are the collection and its room, or
        // whether they lie elsewhere: then `Taken` puts back what it was given. Nobody else borrows them.
        unsafe {
            let tag = self.tag();
            let parts = self.parts();
            if tag & NEAR == 0 {
                let mut far = Taken { raw: self, at: parts.value_at, text: self.far_text(parts.value_at) };
                return change(tag & KIND_MASK, &mut Room::elsewhere(&mut far.text, PACKED_AGAIN));
            }
            let all = std::slice::from_raw_parts_mut(self.0.add(parts.value_at).as_ptr(), parts.value);
            let (free, all) = all.split_last_mut()?;
            let length = all.len() - usize::from(*free);
            let mut room = Room::new(all, length);
            let result = change(tag & KIND_MASK, &mut room);
            *free = room.left() as u8;
            result
        }
    }

    /// Bytes of the value within the entry.
    #[inline]
    pub(super) unsafe fn value_bytes(self) -> usize {
        // SAFETY: as the caller.
        unsafe { self.parts().value }
    }

    /// Takes the bytes of a packed collection out, to be changed, into `scratch` if they lie here; the entry is an empty text then,
    /// of the same length, that owns nothing.
    #[inline]
    pub(super) unsafe fn take_packed(self, mut scratch: Vec<u8>) -> Vec<u8> {
        // SAFETY: of bytes that lie elsewhere, the entry keeps an address that nobody reads any more.
        unsafe {
            let parts = self.parts();
            let bytes = if self.tag() & NEAR != 0 {
                scratch.clear();
                scratch.extend_from_slice(unpadded(self.slice(parts.value_at, parts.value)));
                scratch
            } else {
                self.far_text(parts.value_at)
            };
            let meta = self.meta().load(Relaxed);
            self.meta().store(meta & !u32::from(KIND_MASK | FORM_MASK) | u32::from(TEXT), Relaxed);
            bytes
        }
    }

    /// The collection in its box, to be changed. Nothing for what is packed.
    #[inline]
    pub(super) unsafe fn collection<'t>(self) -> Option<Boxed<'t>> {
        // SAFETY: as `value`, and the caller borrows the table mutably.
        unsafe {
            let tag = self.tag();
            let kind = tag & KIND_MASK;
            if kind < LIST || tag & FORM_MASK != 0 {
                return None;
            }
            let address = self.address(self.parts().value_at);
            match kind {
                LIST => Some(Boxed::List(&mut *address.cast())),
                HASH => Some(Boxed::Hash(&mut *address.cast())),
                SET => Some(Boxed::Set(&mut *address.cast())),
                SORTED_SET => Some(Boxed::SortedSet(&mut *address.cast())),
                STREAM => Some(Boxed::Stream(&mut *address.cast())),
                _ => None,
            }
        }
    }

    /// Takes a text out, to be changed; the entry is an empty one then, of the same length, that owns nothing.
    pub(super) unsafe fn take_text(self) -> Option<Vec<u8>> {
        // SAFETY: of a text that lies elsewhere, the entry keeps bytes that nobody reads as an address any more.
        unsafe {
            let parts = self.parts();
            let text = match self.tag() & KIND_MASK {
                INTEGER => integer(self.slice(parts.value_at, parts.value)).to_string().into_bytes(),
                TEXT => self.slice(parts.value_at, parts.value).to_vec(),
                FAR => self.far_text(parts.value_at),
                SHARED => own(*Box::<Bytes>::from_raw(self.address(parts.value_at).cast())),
                _ => return None,
            };
            let meta = self.meta().load(Relaxed);
            self.meta().store(meta & !u32::from(KIND_MASK) | u32::from(TEXT), Relaxed);
            Some(text)
        }
    }

    /// Drops what the value owns.
    #[inline]
    pub(super) unsafe fn drop_value(self) {
        // SAFETY: as `value`; the caller overwrites or frees the entry.
        unsafe {
            let tag = self.tag();
            if tag & KIND_MASK <= TEXT || tag & NEAR != 0 {
                return;
            }
            self.drop_owned(tag);
        }
    }

    #[cold]
    unsafe fn drop_owned(self, tag: u8) {
        // SAFETY: as `drop_value`.
        unsafe {
            let at = self.parts().value_at;
            match tag & KIND_MASK {
                _ if tag & ELSEWHERE_PACKED != 0 => drop(self.far_text(at)),
                FAR => {
                    let text = self.far_text(at);
                    if text.capacity() >= lent::SHARED_BYTES {
                        let bytes = text.capacity();
                        freeing::later(text, bytes);
                    }
                }
                SHARED => {
                    let text = *Box::<Bytes>::from_raw(self.address(at).cast());
                    let bytes = text.len();
                    freeing::later(text, bytes);
                }
                LIST => drop(Box::<List>::from_raw(self.address(at).cast())),
                HASH => drop(Box::<Hash>::from_raw(self.address(at).cast())),
                SET => drop(Box::<Set>::from_raw(self.address(at).cast())),
                SORTED_SET => drop(Box::<SortedSet>::from_raw(self.address(at).cast())),
                STREAM => drop(Box::<Stream>::from_raw(self.address(at).cast())),
                _ => {}
            }
        }
    }

    /// Drops a key that lies elsewhere.
    #[inline]
    pub(super) unsafe fn drop_key(self) {
        // SAFETY: as `drop_value`.
        unsafe {
            if usize::from(self.byte(8)) == LONG {
                let parts = self.parts();
                if parts.key == ELSEWHERE {
                    drop(Box::from_raw(self.far_key(parts.key_at)));
                }
            }
        }
    }
}

/// A text that lies elsewhere, while it is changed; the entry owns it again afterwards.
struct Taken {
    raw: Raw,
    at: usize,
    text: Vec<u8>,
}

impl Drop for Taken {
    fn drop(&mut self) {
        let words = far_words(std::mem::take(&mut self.text));
        // SAFETY: the entry from which it was taken.
        unsafe { self.raw.put(self.at, &words) }
    }
}

/// The bytes of a text that is about to grow: a copy if others keep it too.
#[cold]
fn own(text: Bytes) -> Vec<u8> {
    /// The part of its length that a copy has as room.
    const ROOM_PART: usize = 16;
    match text.try_into_mut() {
        Ok(only) => only.into(),
        Err(text) => {
            let mut copy = Vec::with_capacity(text.len() + text.len() / ROOM_PART);
            copy.extend_from_slice(&text);
            copy
        }
    }
}

/// A packed collection of a kind.
#[inline]
fn packed<'t>(kind: u8, bytes: &'t [u8]) -> ValueRef<'t> {
    match kind {
        LIST => ValueRef::List(ListRef::packed(bytes)),
        HASH => ValueRef::Hash(HashRef::packed(bytes)),
        SET => ValueRef::Set(SetRef::packed(bytes, false)),
        INTEGERS => ValueRef::Set(SetRef::packed(bytes, true)),
        SORTED_SET => ValueRef::SortedSet(SortedSetRef::packed(bytes)),
        other => unreachable!("nothing packed is of kind {other}"),
    }
}

/// The number that `Payload::integer` has written.
#[inline]
fn integer(bytes: &[u8]) -> i64 {
    match *bytes {
        [byte] => i64::from(byte as i8),
        [a, b] => i64::from(i16::from_le_bytes([a, b])),
        [a, b, c, d] => i64::from(i32::from_le_bytes([a, b, c, d])),
        [a, b, c, d, e, f, g, h] => i64::from_le_bytes([a, b, c, d, e, f, g, h]),
        _ => unreachable!("no integer is of another width"),
    }
}

/// A key and what it holds, as long as its table does not change.
#[derive(Debug, Clone, Copy)]
pub struct Entry<'t> {
    raw: Raw,
    /// Fields of a hash that are due then are not there.
    now: UnixMillis,
    table: PhantomData<&'t ()>,
}

impl<'t> Entry<'t> {
    /// # Safety
    /// `raw` is the start of an entry that stays as it is for `'t`, but for its access bits.
    #[inline]
    pub(super) unsafe fn new(raw: Raw) -> Self {
        Self { raw, now: UnixMillis(0), table: PhantomData }
    }

    /// The entry as it is at a time: see `HashRef::at`.
    #[inline]
    #[must_use]
    pub fn at(self, now: UnixMillis) -> Self {
        Self { now, ..self }
    }

    #[inline]
    #[must_use]
    pub fn key(self) -> &'t [u8] {
        // SAFETY: see `new`. This holds for all functions here.
        unsafe { self.raw.key() }
    }

    #[inline]
    #[must_use]
    pub fn has_key(self, key: &[u8]) -> bool {
        // SAFETY: see `new`.
        unsafe { self.raw.has_key(key) }
    }

    #[inline]
    #[must_use]
    pub fn value(self) -> ValueRef<'t> {
        // SAFETY: see `new`.
        match unsafe { self.raw.value() } {
            ValueRef::Hash(hash) => ValueRef::Hash(hash.at(self.now)),
            other => other,
        }
    }

    #[inline]
    #[must_use]
    pub fn expire_at(self) -> Option<UnixMillis> {
        // SAFETY: see `new`.
        let at = unsafe { self.raw.expire_at() };
        (at != 0).then_some(UnixMillis(at))
    }

    #[inline]
    #[must_use]
    pub fn is_expired(self, now: UnixMillis) -> bool {
        // SAFETY: see `new`.
        let at = unsafe { self.raw.expire_at() };
        at != 0 && at <= now.0
    }

    /// Changes with every change of the key: what WATCH compares.
    #[inline]
    #[must_use]
    pub fn version(self) -> u32 {
        // SAFETY: see `new`.
        u32::from_le_bytes(unsafe { self.raw.number(0) })
    }

    /// The 24 bits of the entry's use.
    #[inline]
    #[must_use]
    pub fn access(self) -> u32 {
        // SAFETY: see `new`.
        unsafe { self.raw.meta() }.load(Relaxed) >> 8
    }

    /// Notes a use. A line that says so already is not written.
    #[inline]
    pub fn set_access(self, access: u32) {
        // SAFETY: see `new`. Writers hold the shard's lock, so the tag in the same word cannot change in between.
        let meta = unsafe { self.raw.meta() };
        let before = meta.load(Relaxed);
        let after = access << 8 | before & 0xff;
        if before != after {
            meta.store(after, Relaxed);
        }
    }

    /// The text, if others may keep it too.
    #[must_use]
    pub fn shared_text(self) -> Option<Bytes> {
        // SAFETY: see `new`; the kind says what lies there.
        unsafe {
            let is_shared = self.raw.tag() & (KIND_MASK | FORM_MASK) == SHARED;
            is_shared.then(|| (*self.raw.address(self.raw.parts().value_at).cast::<Bytes>()).clone())
        }
    }

    /// Whether APPEND or SETRANGE has made the text that is there.
    #[must_use]
    pub fn is_changed_text(self) -> bool {
        // SAFETY: see `new`.
        unsafe { self.raw.tag() & CHANGED != 0 }
    }

    /// Bytes that the key takes in all, its place in the index included. Collections are judged by `samples` elements (0: all
    /// of them), as MEMORY USAGE does.
    #[must_use]
    pub fn memory_usage(self, samples: usize) -> usize {
        // A bucket has twelve slots and is about two thirds full.
        const INDEX_BYTES: usize = 8;
        INDEX_BYTES + self.bytes().next_multiple_of(8) + self.far_bytes(samples)
    }

    /// Bytes of the entry in its arena.
    #[must_use]
    pub fn bytes(self) -> usize {
        // SAFETY: see `new`.
        unsafe { self.raw.bytes() }
    }

    /// Bytes that the key and the value take outside of the entry.
    fn far_bytes(self, samples: usize) -> usize {
        use super::value::allocated;
        // SAFETY: see `new`.
        let parts = unsafe { self.raw.parts() };
        let key = if parts.key == ELSEWHERE { allocated(self.key().len()) } else { 0 };
        // SAFETY: see `new`.
        let tag = unsafe { self.raw.tag() };
        let value = match tag & KIND_MASK {
            INTEGER | TEXT => 0,
            _ if tag & NEAR != 0 => 0,
            kind if kind == FAR || tag & ELSEWHERE_PACKED != 0 => {
                // SAFETY: as `Payload::far` has written it.
                let capacity = unsafe { self.raw.number(parts.value_at + 12) };
                allocated(u32::from_le_bytes(capacity) as usize)
            }
            // SAFETY: as `shared_text`.
            SHARED => unsafe { allocated((*self.raw.address(parts.value_at).cast::<Bytes>()).len()) },
            _ => self.value().heap_bytes(samples),
        };
        key + value
    }

    #[inline]
    pub(super) fn address(self) -> *const u8 {
        self.raw.0.as_ptr()
    }
}
