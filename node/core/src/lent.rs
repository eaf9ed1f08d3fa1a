//! Large texts that are not copied: whoever executes a command or a record lends the buffer that holds its bytes, and a text
//! that makes up most of that buffer keeps it.
//!
//! ```text
//! input of a client, or a record   [ SET key | 512 MB of text ]
//!                                             '--- kept by the entry, by the journal, by replies
//! ```
//!
//! A thread lends one buffer at a time. Ranges of it come through the commands as slices, as all arguments do; only where a
//! large text is kept is its buffer looked for.

use std::cell::RefCell;

use bytes::Bytes;

/// Texts from this length on are shared. Below, a copy takes less than a millisecond.
pub const SHARED_BYTES: usize = 1 << 20;

/// A text keeps a buffer of which it is this part at least, so that what a key pins is what it counts.
const PART_MIN: (usize, usize) = (7, 8);

thread_local! {
    static LENT: RefCell<Option<Lent>> = const { RefCell::new(None) };
}

struct Lent {
    bytes: Bytes,
    /// Bytes of the allocation behind it.
    capacity: usize,
}

/// As long as this lives, the buffer is lent.
#[derive(Debug)]
pub struct Lending(());

impl Drop for Lending {
    fn drop(&mut self) {
        LENT.take();
    }
}

/// Lends a buffer, in place of the one before.
#[must_use]
pub fn lend(bytes: Bytes, capacity: usize) -> Lending {
    LENT.set(Some(Lent { bytes, capacity }));
    Lending(())
}

/// A large text as a part of the buffer that is lent, if it lies there and may keep it.
#[must_use]
pub fn shared(text: &[u8]) -> Option<Bytes> {
    if text.len() < SHARED_BYTES {
        return None;
    }
    LENT.with_borrow(|lent| {
        let Lent { bytes, capacity } = lent.as_ref()?;
        let (from, whole) = (text.as_ptr() as usize, bytes.as_ptr() as usize);
        let lies_within = from >= whole && from + text.len() <= whole + bytes.len();
        let is_most = text.len() >= capacity / PART_MIN.1 * PART_MIN.0;
        (lies_within && is_most).then(|| bytes.slice_ref(text))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_that_is_most_of_what_is_lent_is_shared() {
        let whole = Bytes::from(vec![7; 2 * SHARED_BYTES]);
        assert!(shared(&whole).is_none(), "nothing is lent");
        let lending = lend(whole.clone(), whole.len());
        let text = shared(&whole[100..]).unwrap();
        assert_eq!((text.as_ptr(), text.len()), (whole[100..].as_ptr(), whole.len() - 100));
        assert!(shared(&whole[SHARED_BYTES..]).is_none(), "it would pin twice its bytes");
        assert!(shared(&whole[..100]).is_none());
        assert!(shared(&vec![7; 2 * SHARED_BYTES]).is_none(), "it lies elsewhere");
        drop(lending);
        assert!(shared(&whole[100..]).is_none());
        let _lending = lend(whole.clone(), 10 * whole.len());
        assert!(shared(&whole).is_none(), "most of the allocation is not the text");
    }
}
