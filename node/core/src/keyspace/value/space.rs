//! Where do the bytes of a packed collection lie while they change? In a vector, or in their entry as far as that has room.

use super::memory::allocated;

/// Bytes that can be given another length.
pub(crate) trait Space {
    fn bytes(&self) -> &[u8];
    fn bytes_mut(&mut self) -> &mut [u8];
    /// Whether there may be so many bytes. To be asked before anything is changed.
    fn allows(&self, length: usize) -> bool;
    /// Gives it a length that it allows. What is added is of any contents.
    fn set_length(&mut self, length: usize);

    /// Makes a gap, if there may be so many bytes more; otherwise nothing has changed.
    #[inline]
    fn open(&mut self, at: usize, bytes: usize) -> bool {
        let before = self.bytes().len();
        if !self.allows(before + bytes) {
            return false;
        }
        self.set_length(before + bytes);
        self.bytes_mut().copy_within(at..before, at + bytes);
        true
    }

    /// Takes some bytes out, if there may be so many less; otherwise nothing has changed.
    #[inline]
    fn close(&mut self, at: usize, bytes: usize) -> bool {
        let before = self.bytes().len();
        if !self.allows(before - bytes) {
            return false;
        }
        self.bytes_mut().copy_within(at + bytes.., at);
        self.set_length(before - bytes);
        true
    }

    /// Gives a part of it another length; what is behind it moves.
    #[inline]
    fn stretch(&mut self, at: usize, old: usize, new: usize) -> bool {
        if new >= old { self.open(at + old, new - old) } else { self.close(at + new, old - new) }
    }
}

impl Space for Vec<u8> {
    #[inline]
    fn bytes(&self) -> &[u8] {
        self
    }

    #[inline]
    fn bytes_mut(&mut self) -> &mut [u8] {
        self
    }

    #[inline]
    fn allows(&self, _: usize) -> bool {
        true
    }

    #[inline]
    fn set_length(&mut self, length: usize) {
        self.resize(length, 0);
    }
}

impl<S: Space> Space for &mut S {
    #[inline]
    fn bytes(&self) -> &[u8] {
        (**self).bytes()
    }

    #[inline]
    fn bytes_mut(&mut self) -> &mut [u8] {
        (**self).bytes_mut()
    }

    #[inline]
    fn allows(&self, length: usize) -> bool {
        (**self).allows(length)
    }

    #[inline]
    fn set_length(&mut self, length: usize) {
        (**self).set_length(length);
    }
}

/// A packed collection that has lost more bytes than this, and than this part of its own, does not keep them as room.
pub(crate) const ROOM_KEPT: usize = 64;
pub(crate) const ROOM_KEPT_PART: usize = 8;

/// Whether a packed collection of so many bytes may have so much room.
#[inline]
pub(crate) fn is_kept(room: usize, bytes: usize) -> bool {
    room <= ROOM_KEPT.max(bytes / ROOM_KEPT_PART)
}

/// A packed collection where its entry keeps it, with the room that it has there.
#[derive(Debug)]
pub(crate) struct Room<'t>(Lies<'t>);

#[derive(Debug)]
enum Lies<'t> {
    /// In the entry: `length` of all of these bytes.
    Here {
        all: &'t mut [u8],
        length: usize,
    },
    Elsewhere {
        bytes: &'t mut Vec<u8>,
        least: usize,
    },
}

impl<'t> Room<'t> {
    /// `length`: of the collection, which is the first part of the bytes.
    #[inline]
    pub(crate) fn new(all: &'t mut [u8], length: usize) -> Self {
        Self(Lies::Here { all, length })
    }

    /// A collection that does not lie in its entry, as long as it has more than `least` bytes.
    #[inline]
    pub(crate) fn elsewhere(bytes: &'t mut Vec<u8>, least: usize) -> Self {
        Self(Lies::Elsewhere { bytes, least })
    }

    /// Bytes of the entry that are free.
    #[inline]
    pub(crate) fn left(&self) -> usize {
        match &self.0 {
            Lies::Here { all, length } => all.len() - length,
            Lies::Elsewhere { .. } => 0,
        }
    }
}

impl Space for Room<'_> {
    #[inline]
    fn bytes(&self) -> &[u8] {
        match &self.0 {
            Lies::Here { all, length } => &all[..*length],
            Lies::Elsewhere { bytes, .. } => bytes,
        }
    }

    #[inline]
    fn bytes_mut(&mut self) -> &mut [u8] {
        match &mut self.0 {
            Lies::Here { all, length } => &mut all[..*length],
            Lies::Elsewhere { bytes, .. } => bytes,
        }
    }

    #[inline]
    fn allows(&self, wanted: usize) -> bool {
        match &self.0 {
            Lies::Here { all, length } => {
                wanted <= all.len() && (wanted >= *length || is_kept(all.len() - wanted, wanted))
            }
            Lies::Elsewhere { bytes, least } => {
                wanted >= bytes.len() || wanted > *least && wanted * 2 > bytes.capacity()
            }
        }
    }

    #[inline]
    fn set_length(&mut self, wanted: usize) {
        debug_assert!(self.allows(wanted));
        match &mut self.0 {
            Lies::Here { length, .. } => *length = wanted,
            Lies::Elsewhere { bytes, .. } => {
                if wanted > bytes.capacity() {
                    // Up to the end of the allocator's size class, which costs nothing.
                    bytes.reserve_exact(allocated(wanted) - bytes.len());
                }
                bytes.resize(wanted, 0);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_has_so_much_room_and_no_more() {
        let mut bytes = *b"abcdef....";
        let mut room = Room::new(&mut bytes, 6);
        assert!(room.open(2, 3) && !room.open(2, 2));
        room.bytes_mut()[2..5].copy_from_slice(b"xyz");
        assert_eq!((room.bytes(), room.left()), (&b"abxyzcdef"[..], 1));
        assert!(room.close(0, 2) && room.stretch(0, 3, 1) && room.stretch(1, 1, 2));
        assert_eq!((room.bytes(), room.left()), (&b"xcddef"[..], 4), "{:?}", room.bytes().escape_ascii().to_string());
    }

    #[test]
    fn what_lost_much_does_not_keep_it() {
        let mut bytes = [7; 1000];
        let mut room = Room::new(&mut bytes, 1000);
        assert!(room.close(0, 100) && !room.close(0, 50) && room.close(0, 5));
        assert_eq!(room.bytes().len(), 895);
        let mut bytes = [7; 100];
        let mut room = Room::new(&mut bytes, 100);
        assert!(room.close(0, 64) && !room.close(0, 1) && room.open(0, 1));
    }

    #[test]
    fn what_lies_elsewhere_grows_there_and_shrinks_until_it_is_small() {
        let mut bytes = vec![7; 1000];
        let mut room = Room::elsewhere(&mut bytes, 800);
        assert!(room.open(3, 500) && room.close(0, 699) && !room.close(0, 2));
        assert_eq!((room.bytes().len(), room.left()), (801, 0));
        bytes.reserve_exact(10_000);
        let mut room = Room::elsewhere(&mut bytes, 10);
        assert!(!room.close(0, 1) && room.open(0, 1));
    }
}
