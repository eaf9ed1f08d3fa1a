//! What a client has sent and nobody has executed yet.

use std::cell::Cell;
use std::ops::Deref;

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
}

impl Deref for Input {
    type Target = [u8];

    /// What was not executed.
    fn deref(&self) -> &[u8] {
        &self.bytes[self.executed..]
    }
}

impl Input {
    /// Where the next bytes are read to, with room for `wanted` bytes in all (and never for less than one read).
    pub(super) fn room(&mut self, wanted: usize) -> &mut Vec<u8> {
        if self.bytes.capacity() == 0 {
            self.bytes = SPARE.take();
        }
        let more = wanted.saturating_sub(self.len()).max(limits::READ_BYTES);
        if more > self.bytes.capacity() - self.bytes.len() {
            self.cut();
        }
        if more > limits::READ_BYTES {
            // A large value: not a byte more than it needs.
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
        self.executed += count;
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

    /// Takes everything that was not executed.
    pub(super) fn take(&mut self) -> Vec<u8> {
        self.cut();
        std::mem::take(&mut self.bytes)
    }

    pub(super) fn set(&mut self, bytes: Vec<u8>) {
        (self.bytes, self.executed) = (bytes, 0);
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
    fn a_large_request_leaves_no_large_buffer() {
        let mut input = Input::default();
        let size = 64 << 20;
        input.room(size).resize(size, 7);
        assert!(input.capacity() < size + limits::READ_BYTES, "{} bytes for {size}", input.capacity());
        input.room(0).extend_from_slice(b"PING");
        input.executed(size);
        assert_eq!(&*input, b"PING");
        assert!(input.capacity() <= limits::SPARE_BUFFER_BYTES);
        input.executed(4);
        assert_eq!(input.capacity(), 0, "an idle client holds nothing");
    }
}
