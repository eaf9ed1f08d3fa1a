//! What a client has sent and nobody has executed yet.

use std::cell::Cell;
use std::ops::Deref;

use bytes::Bytes;

use crate::limits;

thread_local! {
    /// An idle client holds no buffer: those of a thread share one.
    static SPARE: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// A receive buffer. What was executed is cut off its front now and then, not command by command.
#[derive(Debug, Default)]
pub(super) struct Input {
    bytes: Vec<u8>,
    executed: usize,
    /// Bytes of those that are executed now which are gone already: somebody keeps them.
    gone: usize,
}

impl Deref for Input {
    type Target = [u8];

    /// What was not executed.
    fn deref(&self) -> &[u8] {
        &self.bytes[self.executed..]
    }
}

impl Input {
    /// Where the next bytes are read to, with room for `wanted` bytes in all, if those are many, or for one read.
    pub(super) fn room(&mut self, wanted: usize) -> &mut Vec<u8> {
        if self.bytes.capacity() == 0 {
            self.bytes = SPARE.take();
        }
        // A large request: not a byte more than it needs, so that its buffer is allocated once.
        let is_large = wanted > limits::SPARE_BUFFER_BYTES && wanted > self.len();
        let more = if is_large { wanted - self.len() } else { limits::READ_BYTES };
        if more > self.bytes.capacity() - self.bytes.len() {
            self.cut();
        }
        if is_large {
            self.bytes.reserve_exact(more);
        } else {
            self.bytes.reserve(more);
        }
        &mut self.bytes
    }

    /// A command that was executed and came to nothing stands before the others again.
    pub(super) fn put_back(&mut self, command: &[u8]) {
        let at = self.executed;
        drop(self.bytes.splice(at..at, command.iter().copied()));
    }

    /// So many bytes were executed. What one large request needed is given back.
    pub(super) fn executed(&mut self, count: usize) {
        self.executed += count - std::mem::take(&mut self.gone);
        if self.executed == self.bytes.len() {
            self.executed = 0;
            let mut bytes = std::mem::take(&mut self.bytes);
            if bytes.capacity() <= limits::SPARE_BUFFER_BYTES {
                bytes.clear();
                SPARE.set(bytes);
            }
        } else if self.executed >= self.bytes.len() / 2 {
            self.cut();
        }
    }

    fn cut(&mut self) {
        let executed = std::mem::take(&mut self.executed);
        self.bytes.drain(..executed);
        if self.bytes.capacity() > limits::SPARE_BUFFER_BYTES && self.bytes.capacity() / 4 > self.bytes.len() {
            self.bytes.shrink_to(self.bytes.len() * 2);
        }
    }

    /// Bytes before those that were not executed.
    pub(super) fn position(&self) -> usize {
        self.executed
    }

    /// Lends the bytes, so that a large text of the command that is executed next may be kept; `restore` takes them back. Says
    /// how long their allocation is, too.
    pub(super) fn lend(&mut self) -> (Bytes, usize) {
        let bytes = std::mem::take(&mut self.bytes);
        let capacity = bytes.capacity();
        (bytes.into(), capacity)
    }

    /// Ends `lend`. If nobody keeps the bytes they are here again; otherwise what lies behind `executed`, and `executed` is
    /// to be called with that.
    pub(super) fn restore(&mut self, lent: Bytes, executed: usize) {
        match lent.try_into_mut() {
            Ok(bytes) => self.bytes = bytes.into(),
            Err(lent) => {
                self.bytes = lent[self.executed + executed..].to_vec();
                (self.executed, self.gone) = (0, executed);
            }
        }
    }

    /// Takes everything that was not executed.
    pub(super) fn take(&mut self) -> Vec<u8> {
        self.cut();
        std::mem::take(&mut self.bytes)
    }

    pub(super) fn set(&mut self, bytes: Vec<u8>) {
        (self.bytes, self.executed, self.gone) = (bytes, 0, 0);
    }

    /// Bytes of memory that this takes.
    pub(super) fn capacity(&self) -> usize {
        self.bytes.capacity()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_executed_is_gone_and_the_rest_is_as_it_was() {
        let mut input = Input::default();
        input.room(0).extend_from_slice(b"0123456789");
        input.executed(3);
        assert_eq!(&*input, b"3456789");
        input.executed(3);
        input.room(0).extend_from_slice(b"ab");
        assert_eq!(&*input, b"6789ab");
        assert_eq!(input.take(), b"6789ab");
    }

    #[test]
    fn what_was_lent_comes_back_or_is_kept_by_others() {
        let mut input = Input::default();
        input.room(0).extend_from_slice(b"0123456789");
        input.executed(2);
        let (lent, capacity) = input.lend();
        assert!(capacity >= lent.len() && lent.len() == 10);
        input.restore(lent, 3);
        input.executed(3);
        assert_eq!(&*input, b"56789");
        let (lent, _) = input.lend();
        let kept = lent.slice(..1);
        input.restore(lent, 2);
        input.executed(2);
        assert_eq!((&*input, &kept[..]), (&b"789"[..], &b"5"[..]));
    }

    #[test]
    fn a_large_request_leaves_no_large_buffer() {
        let mut input = Input::default();
        let size = 64 << 20;
        while input.len() < size {
            let room = input.room(size);
            let read = (room.capacity() - room.len()).min(100_000);
            room.resize(room.len() + read, 7);
        }
        assert!(input.capacity() < size + limits::READ_BYTES, "{} bytes for {size}", input.capacity());
        input.room(0).extend_from_slice(b"PING");
        input.executed(size);
        assert_eq!(&*input, b"PING");
        assert!(input.capacity() <= limits::SPARE_BUFFER_BYTES);
        input.executed(4);
        assert_eq!(input.capacity(), 0, "an idle client holds nothing");
    }
}
