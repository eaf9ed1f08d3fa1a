//! What is to be written to a client, in order, and how much of it may leave already.
//!
//! ```text
//! bytes:  sent | free to leave | behind mark (offset 7) | behind mark (offset 9)
//! ```
//!
//! Large texts are not copied into the bytes: they stand beside them, each with the place to which it belongs.
//!
//! A mark stands behind the replies of one batch, and says which record they depend on. Replies leave in their order, so
//! one waits for all marks up to its own.

use std::cell::Cell;
use std::collections::VecDeque;

use bytes::{Buf, Bytes};

use crate::ids::Offset;
use crate::journal::{Due, Gate};

/// Sent bytes are cut off the front when they are this many, and at least half of all.
const SENT_BYTES: usize = 64 << 10;

/// A buffer that a large message has made larger than this is not kept.
const SPARE_BYTES: usize = 1 << 20;

thread_local! {
    /// An idle client holds no buffer: those of a thread share one.
    static SPARE: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// A client's output.
#[derive(Debug, Default)]
pub(crate) struct Output {
    bytes: Vec<u8>,
    sent: usize,
    free: usize,
    marks: VecDeque<Mark>,
    /// Large texts, in their order: each leaves before the byte with this index, and when that may leave.
    texts: VecDeque<(usize, Bytes)>,
    text_bytes: usize,
    /// The mastership that the marks belong to.
    term: u64,
}

#[derive(Debug, Clone, Copy)]
struct Mark {
    due: Due,
    end: usize,
}

/// The mastership that some of the replies depend on has ended; they may never be sent.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Deposed;

impl Output {
    /// Where the next replies are appended. `mark` says afterwards what they depend on.
    #[inline]
    pub(crate) fn buffer(&mut self) -> &mut Vec<u8> {
        if self.bytes.capacity() == 0 {
            self.bytes = SPARE.take();
        }
        &mut self.bytes
    }

    /// Bytes that are not written yet.
    #[inline]
    pub(crate) fn pending(&self) -> usize {
        self.bytes.len() - self.sent + self.text_bytes
    }

    /// Large texts that belong to what was appended to the buffer.
    pub(crate) fn add_texts(&mut self, texts: Vec<(usize, Bytes)>) {
        for (at, text) in texts {
            debug_assert!(at < self.bytes.len() && self.texts.back().is_none_or(|(before, _)| *before <= at));
            self.text_bytes += text.len();
            self.texts.push_back((at, text));
        }
    }

    /// Bytes of memory that this takes, and of large texts that it keeps from being freed.
    pub(crate) fn capacity(&self) -> usize {
        self.bytes.capacity() + self.text_bytes
    }

    /// A batch has ended: what it wrote depends on `due`, and was made under the mastership `term`.
    pub(crate) fn mark(&mut self, due: Due, term: u64, gate: &Gate) {
        let end = self.bytes.len();
        match self.marks.back_mut() {
            None if self.free == end => {}
            None if due.offset() <= gate.commit() => self.free = end,
            Some(last) if due.is_within(last.due) => last.end = end,
            Some(last) if last.end == end => {}
            back => {
                if back.is_none() {
                    self.term = term;
                }
                self.marks.push_back(Mark { due, end });
            }
        }
    }

    /// What may be written now.
    pub(crate) fn sendable(&mut self, gate: &Gate) -> Result<&[u8], Deposed> {
        if !self.marks.is_empty() {
            // In this order: a commit offset of the next mastership cannot be seen without its term.
            let commit = gate.commit();
            if gate.term() == self.term {
                self.free_while(|due| gate.required(due) <= commit);
            } else {
                let commit = gate.ended_at(self.term).unwrap_or(Offset::ZERO);
                self.free_while(|due| due.offset() <= commit);
                if !self.marks.is_empty() {
                    return Err(Deposed);
                }
            }
        }
        Ok(match self.texts.front() {
            Some((at, text)) if *at == self.sent && self.sent < self.free => text,
            Some((at, _)) if *at < self.free => &self.bytes[self.sent..*at],
            _ => &self.bytes[self.sent..self.free],
        })
    }

    fn free_while(&mut self, may_leave: impl Fn(Due) -> bool) {
        while let Some(mark) = self.marks.front().filter(|mark| may_leave(mark.due)) {
            self.free = mark.end;
            self.marks.pop_front();
        }
    }

    /// The records and the mastership that the next replies wait for.
    pub(crate) fn waits_for(&self) -> Option<(Due, u64)> {
        self.marks.front().map(|mark| (mark.due, self.term))
    }

    /// So many bytes have been written.
    pub(crate) fn wrote(&mut self, count: usize) {
        if let Some((at, text)) = self.texts.front_mut()
            && *at == self.sent
            && self.sent < self.free
        {
            self.text_bytes -= count;
            text.advance(count);
            if text.is_empty() {
                self.texts.pop_front();
            }
            return;
        }
        self.sent += count;
        debug_assert!(self.sent <= self.free);
        if self.sent == self.bytes.len() {
            (self.sent, self.free) = (0, 0);
            let mut bytes = std::mem::take(&mut self.bytes);
            if bytes.capacity() <= SPARE_BYTES {
                bytes.clear();
                SPARE.set(bytes);
            }
        } else if self.sent >= SENT_BYTES && self.sent >= self.bytes.len() / 2 {
            let sent = std::mem::take(&mut self.sent);
            self.bytes.drain(..sent);
            self.free -= sent;
            self.marks.iter_mut().for_each(|mark| mark.end -= sent);
            self.texts.iter_mut().for_each(|(at, _)| *at -= sent);
            if self.bytes.capacity() > SPARE_BYTES && self.bytes.capacity() / 4 > self.bytes.len() {
                self.bytes.shrink_to(self.bytes.len() * 2);
            }
        }
    }

    /// An idle client holds no buffer.
    #[inline]
    pub(crate) fn rest(&mut self) {
        if self.bytes.is_empty() && self.bytes.capacity() > 0 {
            let bytes = std::mem::take(&mut self.bytes);
            if bytes.capacity() <= SPARE_BYTES {
                SPARE.set(bytes);
            }
        }
    }

    /// Puts something where it may leave at once: behind the marks it would come too late.
    pub(crate) fn insert(&mut self, bytes: &[u8]) {
        self.bytes.splice(self.free..self.free, bytes.iter().copied());
        self.marks.iter_mut().for_each(|mark| mark.end += bytes.len());
        let free = self.free;
        self.texts.iter_mut().filter(|(at, _)| *at >= free).for_each(|(at, _)| *at += bytes.len());
        self.free += bytes.len();
    }

    /// Drops what may not leave any more: the mastership has ended.
    pub(crate) fn drop_uncommitted(&mut self, gate: &Gate) {
        // What was committed in time is freed by this; an error says that there is more.
        _ = self.sendable(gate);
        self.bytes.truncate(self.free);
        self.texts.retain(|(at, _)| *at < self.free);
        self.text_bytes = self.texts.iter().map(|(_, text)| text.len()).sum();
        self.marks.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Output {
        fn raw(&mut self, bytes: &[u8]) {
            self.buffer().extend_from_slice(bytes);
        }
    }

    #[test]
    fn replies_leave_in_order_and_not_before_their_records() {
        let gate = Gate::default();
        let mut output = Output::default();
        output.raw(b"ab");
        output.mark(Due::NOTHING, 0, &gate);
        output.raw(b"cd");
        output.mark(Due::write(Offset(7)), 0, &gate);
        output.raw(b"ef");
        output.mark(Due::write(Offset(3)), 0, &gate);
        output.raw(b"gh");
        output.mark(Due::write(Offset(9)), 0, &gate);
        assert_eq!(output.sendable(&gate), Ok(&b"ab"[..]));
        output.wrote(1);
        assert_eq!(output.waits_for(), Some((Due::write(Offset(7)), 0)));
        gate.advance(Offset(8));
        assert_eq!(output.sendable(&gate), Ok(&b"bcdef"[..]));
        output.insert(b"beat");
        assert_eq!(output.sendable(&gate), Ok(&b"bcdefbeat"[..]));
        output.wrote(9);
        gate.advance(Offset(9));
        assert_eq!(output.sendable(&gate), Ok(&b"gh"[..]));
        output.wrote(2);
        assert_eq!((output.pending(), output.waits_for()), (0, None));
    }

    #[test]
    fn what_only_shows_leaves_when_the_uncommitted_is_shown_and_not_ahead_of_a_write() {
        let gate = Gate::default();
        let mut output = Output::default();
        for (text, due) in
            [(b"read", Due::read(Offset(9))), (b"wrote", Due::write(Offset(7))), (b"again", Due::read(Offset(5)))]
                as [(&[u8], Due); 3]
        {
            output.raw(text);
            output.mark(due, 0, &gate);
        }
        assert_eq!(output.sendable(&gate), Ok(&b""[..]));
        gate.show_uncommitted(true);
        assert_eq!(output.sendable(&gate), Ok(&b"read"[..]));
        assert_eq!(output.waits_for(), Some((Due::write(Offset(7)), 0)));
        gate.advance(Offset(7));
        assert_eq!(output.sendable(&gate), Ok(&b"readwroteagain"[..]));
    }

    #[test]
    fn what_was_sent_of_a_large_output_is_given_back() {
        let gate = Gate::default();
        let mut output = Output::default();
        output.raw(&vec![1; 8 << 20]);
        output.mark(Due::NOTHING, 0, &gate);
        output.wrote(7 << 20);
        assert!(output.capacity() <= 2 << 20, "{} bytes are held", output.capacity());
        assert_eq!(output.sendable(&gate).map(<[u8]>::len), Ok(1 << 20));
        output.wrote(1 << 20);
        assert_eq!((output.pending(), output.capacity()), (0, 0));
    }

    #[test]
    fn a_large_text_leaves_at_its_place_and_is_not_copied() {
        let gate = Gate::default();
        let mut output = Output::default();
        let text = Bytes::from_static(b"text");
        output.raw(b"$4\r\n\r\n+OK\r\n$4\r\n\r\n");
        output.add_texts(vec![(4, text.clone()), (15, text.clone())]);
        output.mark(Due::NOTHING, 0, &gate);
        output.raw(b"$4\r\n\r\n");
        output.add_texts(vec![(21, text.clone())]);
        output.mark(Due::write(Offset(7)), 0, &gate);
        assert_eq!(output.pending(), 23 + 12);
        assert!(output.capacity() >= 23 + 12, "{} bytes are held", output.capacity());
        assert_eq!(output.sendable(&gate), Ok(&b"$4\r\n"[..]));
        output.wrote(4);
        assert_eq!(output.sendable(&gate).map(<[u8]>::as_ptr), Ok(text.as_ptr()));
        output.wrote(3);
        assert_eq!(output.sendable(&gate), Ok(&b"t"[..]));
        output.insert(b"beat");
        let mut sent = Vec::new();
        let mut all = |output: &mut Output| {
            while let Ok(bytes @ [_, ..]) = output.sendable(&gate) {
                sent.extend_from_slice(bytes);
                let count = bytes.len();
                output.wrote(count);
            }
            String::from_utf8_lossy(&std::mem::take(&mut sent)).into_owned()
        };
        assert_eq!(all(&mut output), "t\r\n+OK\r\n$4\r\ntext\r\nbeat");
        assert_eq!(output.pending(), 6 + 4);
        gate.advance(Offset(7));
        assert_eq!(all(&mut output), "$4\r\ntext\r\n");
        assert_eq!((output.pending(), output.capacity()), (0, 0));
    }

    #[test]
    fn a_large_text_that_was_not_committed_never_leaves() {
        let gate = Gate::default();
        let mut output = Output::default();
        output.raw(b"ok");
        output.mark(Due::NOTHING, gate.term(), &gate);
        output.raw(b"$4\r\n\r\n");
        output.add_texts(vec![(6, Bytes::from_static(b"text"))]);
        output.mark(Due::write(Offset(5)), gate.term(), &gate);
        gate.depose(Offset(3));
        output.drop_uncommitted(&gate);
        assert_eq!(output.pending(), 2);
        assert_eq!(output.sendable(&gate), Ok(&b"ok"[..]));
    }

    #[test]
    fn what_a_deposed_master_did_not_commit_never_leaves() {
        let gate = Gate::default();
        let mut output = Output::default();
        output.raw(b"ok");
        output.mark(Due::NOTHING, gate.term(), &gate);
        output.raw(b"unknown");
        output.mark(Due::write(Offset(5)), gate.term(), &gate);
        gate.depose(Offset(100));
        assert_eq!(output.sendable(&gate), Err(Deposed));
        output.drop_uncommitted(&gate);
        assert_eq!(output.sendable(&gate), Ok(&b"ok"[..]));
    }

    #[test]
    fn what_a_deposed_master_has_committed_leaves() {
        let gate = Gate::default();
        let mut output = Output::default();
        for (text, offset) in [(b"one,", 5), (b"two,", 6)] {
            output.raw(text);
            output.mark(Due::write(Offset(offset)), gate.term(), &gate);
        }
        gate.advance(Offset(5));
        gate.depose(Offset(5));
        output.drop_uncommitted(&gate);
        assert_eq!(output.sendable(&gate), Ok(&b"one,"[..]));
    }
}
