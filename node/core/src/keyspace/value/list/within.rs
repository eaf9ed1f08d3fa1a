//! Changes of a list that is packed in its entry, where it lies.
//!
//! Each says nothing, and has changed nothing, if the list is to be kept in another way afterwards, or elsewhere.

use super::super::space::{Room, Space};
use super::element::{self, Encoded};
use super::{End, HEAD_BYTES, List, SMALL_BYTES_MAX};

#[inline]
fn count(room: &Room<'_>) -> Option<usize> {
    room.bytes().first_chunk::<HEAD_BYTES>().map(|head| usize::from(u16::from_le_bytes(*head)))
}

#[inline]
fn set_count(room: &mut Room<'_>, count: usize) {
    room.bytes_mut()[..HEAD_BYTES].copy_from_slice(&(count as u16).to_le_bytes());
}

impl List {
    /// As `push`. Says how long the list is then.
    #[inline]
    pub(crate) fn push_within(room: &mut Room<'_>, end: End, item: &[u8]) -> Option<usize> {
        let (count, item) = (count(room)?, Encoded::new(item));
        let at = match end {
            End::Front => HEAD_BYTES,
            End::Back => room.bytes().len(),
        };
        if room.bytes().len() - HEAD_BYTES + item.len() > SMALL_BYTES_MAX || !room.open(at, item.len()) {
            return None;
        }
        item.write(&mut room.bytes_mut()[at..at + item.len()]);
        set_count(room, count + 1);
        Some(count + 1)
    }

    /// As `pop`; something is left.
    #[inline]
    pub(crate) fn pop_within(room: &mut Room<'_>, end: End) -> Option<()> {
        let count = count(room).filter(|count| *count > 1)?;
        let items = &room.bytes()[HEAD_BYTES..];
        let (at, length) = match end {
            End::Front => (HEAD_BYTES, element::first_len(items)),
            End::Back => {
                let length = element::last_len(items);
                (room.bytes().len() - length, length)
            }
        };
        if !room.close(at, length) {
            return None;
        }
        set_count(room, count - 1);
        Some(())
    }

    /// As `set`.
    pub(crate) fn set_within(room: &mut Room<'_>, index: usize, item: &[u8]) -> Option<bool> {
        let (count, item) = (count(room)?, Encoded::new(item));
        if index >= count {
            return Some(false);
        }
        let items = &room.bytes()[HEAD_BYTES..];
        let at = HEAD_BYTES + element::seek(items, count, index);
        let old = element::first_len(&room.bytes()[at..]);
        if items.len() + item.len() > SMALL_BYTES_MAX || !room.stretch(at, old, item.len()) {
            return None;
        }
        item.write(&mut room.bytes_mut()[at..at + item.len()]);
        Some(true)
    }
}
