//! Records within a block: each is its length (varint) and the effects of one transaction.

use crate::ids::Offset;
use crate::wire::Reader;

/// Walks over the records of a block. A block whose end is cut off yields what is whole.
#[derive(Debug)]
pub struct Records<'a> {
    next: Offset,
    reader: Reader<'a>,
}

impl<'a> Records<'a> {
    #[must_use]
    pub fn new(first: Offset, records: &'a [u8]) -> Self {
        Self { next: first, reader: Reader::new(records) }
    }

    /// The offset of the record that `next` would give.
    #[must_use]
    pub fn next_offset(&self) -> Offset {
        self.next
    }

    /// Bytes not walked over yet.
    #[must_use]
    pub fn remaining(&self) -> usize {
        self.reader.remaining()
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = (Offset, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        if self.reader.is_empty() {
            return None;
        }
        let record = self.reader.bytes().ok()?;
        let offset = self.next;
        self.next = offset.next();
        Some((offset, record))
    }
}
